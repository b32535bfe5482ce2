//! What walhook tells a tenant about itself: operational events. They go to the
//! subscriptions that ask for them by name or by `webhook.*`; `*` means the events of
//! the application. A subscription's filter is not asked: it speaks of those.

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_postgres::Error;
use uuid::Uuid;

use super::Letter;
use super::manual::notify;
use super::recorder::Record;
use crate::conninfo::Transaction;
use crate::event::{DeliveryId, EventId, EventPosition, SubscriptionId};
use crate::lsn::Lsn;
use crate::subscription::Subscription;
use crate::subscription::directory::{Snapshot, type_matches};

/// Types below this belong to walhook; no rule may make them.
pub const PREFIX: &str = "webhook.";

pub const SUBSCRIPTION_DISABLED: &str = "webhook.subscription.disabled";
pub const DELIVERY_FAILED: &str = "webhook.delivery.failed";

/// Every operational event's type.
pub const TYPES: [&str; 2] = [DELIVERY_FAILED, SUBSCRIPTION_DISABLED];

/// Something that a tenant may want to know.
#[derive(Clone, Debug)]
pub struct Notice {
    pub tenant_id: String,
    pub event_type: &'static str,
    pub data: Value,
}

impl Notice {
    pub fn disabled(tenant_id: String, subscription: SubscriptionId, reason: &str) -> Self {
        Notice {
            tenant_id,
            event_type: SUBSCRIPTION_DISABLED,
            data: json!({"subscription_id": subscription.to_string(), "reason": reason}),
        }
    }

    /// Of a dead letter, which may have been sent in a batch.
    pub fn failed(tenant_id: &str, record: &Record, letter: &Letter<'_>) -> Self {
        let outcome = record.outcome.as_ref();
        let error = outcome.and_then(|outcome| outcome.error.as_ref());
        Notice {
            tenant_id: tenant_id.to_owned(),
            event_type: DELIVERY_FAILED,
            data: json!({
                "delivery_id": letter.id.to_string(),
                "event_id": letter.event_id.to_string(),
                "event": letter.event_type,
                "subscription_id": record.delivery.subscription_id.to_string(),
                "attempts": record.delivery.attempts,
                "last_http_status": outcome.and_then(|outcome| outcome.http_status),
                "last_error": error.map(|(_, message)| message),
            }),
        }
    }
}

/// The events that somebody asks for, and their deliveries, as the columns that
/// `unnest` takes.
#[derive(Default)]
pub struct Announcement {
    now: Timestamp,
    ids: Vec<Uuid>,
    tenants: Vec<String>,
    types: Vec<&'static str>,
    bodies: Vec<Vec<u8>>,
    deliveries: Vec<Uuid>,
    delivered_events: Vec<Uuid>,
    subscriptions: Vec<Uuid>,
    formats: Vec<&'static str>,
    batched: Vec<bool>,
}

impl Announcement {
    /// Nobody is told of what nobody asked for.
    pub fn of(notices: &[Notice], subscriptions: &Snapshot, now: Timestamp) -> Self {
        let mut announcement = Announcement {
            now,
            ..Announcement::default()
        };
        for notice in notices {
            let event = EventId::random(now);
            let before = announcement.deliveries.len();
            let of_tenant = subscriptions.of_tenant(&notice.tenant_id);
            for subscription in of_tenant.filter(|one| asks_for(one, notice.event_type)) {
                announcement.deliver(event, subscription);
            }
            if announcement.deliveries.len() > before {
                announcement.ids.push(event.0);
                announcement.tenants.push(notice.tenant_id.clone());
                announcement.types.push(notice.event_type);
                let body = body(
                    event,
                    notice.event_type,
                    &notice.tenant_id,
                    &notice.data.to_string(),
                    false,
                    now,
                );
                announcement.bodies.push(body);
            }
        }
        announcement
    }

    fn deliver(&mut self, event: EventId, subscription: &Subscription) {
        let delivery = DeliveryId::derive(event, subscription.id.0, Uuid::nil());
        self.deliveries.push(delivery.0);
        self.delivered_events.push(event.0);
        self.subscriptions.push(subscription.id.0);
        self.formats.push(subscription.format.as_str());
        self.batched.push(subscription.batching.is_some());
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The ids, whose days need partitions.
    pub fn ids(&self) -> impl Iterator<Item = Uuid> + '_ {
        self.ids.iter().copied()
    }

    /// Stores the events with their deliveries, due now or in the next batch, and wakes
    /// the claimers.
    pub async fn insert(&self, transaction: &Transaction<'_>, schema: &str) -> Result<(), Error> {
        transaction
            .execute(
                include_str!("../../sql/queries/delivery/insert_operational_events.sql"),
                &[
                    &self.now,
                    &self.ids,
                    &self.tenants,
                    &self.types,
                    &self.bodies,
                    &self.deliveries,
                    &self.delivered_events,
                    &self.subscriptions,
                    &self.formats,
                    &self.batched,
                ],
            )
            .await?;
        notify(transaction, schema).await
    }
}

fn asks_for(subscription: &Subscription, event_type: &str) -> bool {
    let mut patterns = subscription.events.iter();
    subscription.active
        && patterns.any(|one| one.starts_with(PREFIX) && type_matches(one, event_type))
}

/// The body of an event that stands nowhere in the WAL. `data` is JSON. One that `is_test` says
/// so: a receiver must not take it for something that happened.
pub fn body(
    event: EventId,
    event_type: &str,
    tenant: &str,
    data: &str,
    is_test: bool,
    now: Timestamp,
) -> Vec<u8> {
    let nowhere = EventPosition {
        commit_lsn: Lsn::ZERO,
        ordinal: 0,
        rule_index: 0,
    };
    // By hand, as `json!` orders keys by their names.
    let test = if is_test { r#""test":true,"# } else { "" };
    format!(
        r#"{{"id":"{event}","type":"{event_type}","timestamp":"{}","tenant_id":{},"sequence":"{}",{test}"data":{data}}}"#,
        now.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"),
        json!(tenant),
        nowhere.sequence(),
    )
    .into_bytes()
}
