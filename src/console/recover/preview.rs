//! What an order to send again would find, before it is given.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::Order;
use crate::conninfo::Transaction;
use crate::console::State;
use crate::console::deliveries::committed;
use crate::console::fault::Fault;
use crate::console::markup::{count, counted};
use crate::console::shell::Visitor;
use crate::console::words::{EndpointName, Endpoints};
use crate::delivery::replay::Replay;
use crate::subscription::queries::{StoredSubscription, SubscriptionId};

/// How far what failed is counted before it is sent again.
const COUNTED: i64 = 100_000;
/// … and for how long events are, each of which a filter may have to see.
const COUNTING: Duration = Duration::from_secs(15);

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
    let every = || vec!["*".to_owned()];
    let types = order.event_type.clone().map_or_else(every, |one| vec![one]);
    let wanted = Replay {
        subscription: endpoint,
        since: order.since.unwrap_or(Timestamp::UNIX_EPOCH),
        until: order.until,
        from_lsn: None,
        to_lsn: None,
        types: &types,
        matches: state.api.filter_matches,
    };
    let store = &state.api.store;
    let client = store.get().await?;
    let range = wanted.range(&*client).await?.unwrap_or_default();
    drop(client);
    let counting = wanted.estimate(store, visitor.tenant(), range);
    let Ok(found) = timeout(COUNTING, counting).await else {
        return Err(Fault::invalid(
            "too_many_events",
            "There are more events than can be counted here: choose a shorter time or one type.",
        )
        .with_next("/console/recover", "Recover"));
    };
    let found = found?;
    Ok(Preview {
        total: found.matching,
        is_more: false,
        by_endpoint: vec![Part {
            endpoint: EndpointName::of(endpoint),
            count: found.matching,
            left: None,
        }],
        oldest: found.oldest.map(|event| committed(event.0)),
        newest: found.sample.last().map(|event| committed(event.0)),
        filter_failures: found.filter_failures,
    })
}
