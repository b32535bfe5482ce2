//! What an order to send again would find, before it is given.

use jiff::Timestamp;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::{Order, replay_of};
use crate::conninfo::Transaction;
use crate::console::State;
use crate::console::deliveries::committed;
use crate::console::fault::Fault;
use crate::console::markup::{count, counted};
use crate::console::shell::Visitor;
use crate::console::words::{EndpointName, Endpoints};
use crate::subscription::queries::{StoredSubscription, SubscriptionId};

/// How far what failed is counted before it is sent again.
const COUNTED: i64 = 100_000;

/// What was found to be sent again.
pub(super) struct Preview {
    /// Of active endpoints: these are sent.
    pub(super) total: u64,
    /// More than was counted.
    pub(super) is_more: bool,
    pub(super) by_endpoint: Vec<Part>,
    pub(super) oldest: Option<Timestamp>,
    pub(super) newest: Option<Timestamp>,
    /// On how many events a filter failed.
    pub(super) filter_failures: u64,
}

pub(super) struct Part {
    pub(super) endpoint: EndpointName,
    pub(super) count: u64,
    /// Why these are not sent.
    pub(super) left: Option<&'static str>,
}

impl Part {
    pub(super) fn count(&self) -> String {
        count(self.count)
    }
}

impl Preview {
    pub(super) fn filter_failures(&self) -> String {
        counted(self.filter_failures, "event", "events")
    }

    pub(super) fn total(&self) -> String {
        let more = if self.is_more { "more than " } else { "" };
        format!("{more}{}", counted(self.total, "delivery", "deliveries"))
    }
}

/// Of what waits in the schedule, by endpoint.
pub(super) async fn preview_waiting(
    transaction: &Transaction<'_>,
    order: &Order,
    endpoints: &Endpoints,
) -> Result<Preview, Fault> {
    let ids = order.ids();
    let rows = transaction
        .query(
            include_str!("../../../sql/queries/console/count_recoverable.sql"),
            &[
                &order.what.as_str() as &(dyn ToSql + Sync),
                &ids.from,
                &ids.to,
                &order.event_type,
                &order.endpoint.map(|SubscriptionId(id)| id),
                &COUNTED,
            ],
        )
        .await?;
    let mut preview = Preview {
        total: 0,
        is_more: false,
        by_endpoint: Vec::new(),
        oldest: None,
        newest: None,
        filter_failures: 0,
    };
    let mut counted_all = 0;
    let time = |id: &str| Uuid::try_parse(id).ok().map(committed);
    for row in rows {
        let id = SubscriptionId(row.get("subscription_id"));
        let number = u64::try_from(row.get::<_, i64>("deliveries")).unwrap_or(0);
        counted_all += number;
        let left = match endpoints.get(id) {
            None => Some("its endpoint is deleted"),
            Some(endpoint) if !endpoint.active => Some("its endpoint is disabled"),
            Some(_) => None,
        };
        if left.is_none() {
            preview.total += number;
            let (oldest, newest) = (time(row.get("oldest")), time(row.get("newest")));
            preview.oldest = [preview.oldest, oldest].into_iter().flatten().min();
            preview.newest = preview.newest.max(newest);
        }
        preview.by_endpoint.push(Part {
            endpoint: endpoints.name(id),
            count: number,
            left,
        });
    }
    preview.is_more = counted_all >= u64::try_from(COUNTED).unwrap_or(u64::MAX);
    Ok(preview)
}

/// Of every event of the time, to one endpoint.
pub(super) async fn preview_all(
    state: &State,
    visitor: &Visitor,
    order: &Order,
    endpoint: &StoredSubscription,
) -> Result<Preview, Fault> {
    let found = replay_of(state, visitor, order, endpoint, true).await?;
    Ok(Preview {
        total: found.deliveries,
        is_more: false,
        by_endpoint: vec![Part {
            endpoint: EndpointName::of(endpoint),
            count: found.deliveries,
            left: None,
        }],
        oldest: order.since.filter(|_| found.deliveries > 0),
        newest: None,
        filter_failures: found.filter_failures,
    })
}
