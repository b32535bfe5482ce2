//! Matches events with subscriptions.

use std::collections::HashMap;
use std::time::Instant;

use super::batch::{Batch, DeliveryRows, WaitsFor};
use crate::delivery::{Delivery, Hold, ParkedReason};
use crate::event::{DeliveryId, Event, SubscriptionId};
use crate::mapping::filter::{Body, Filter, FilterError};
use crate::metrics::METRICS;
use crate::subscription::directory::Snapshot;
use crate::subscription::{Ordering, Subscription};
use uuid::Uuid;

/// Subscriptions' filters, compiled once and kept while their source stays the same.
#[derive(Default)]
pub struct Filters {
    /// The subscriptions that these were last compared with.
    generation: i64,
    compiled: HashMap<SubscriptionId, (String, Option<Filter>)>,
}

impl Filters {
    /// Forgets the filters of subscriptions that are gone or have none any more.
    fn follow(&mut self, snapshot: &Snapshot) {
        if self.generation != snapshot.generation {
            self.generation = snapshot.generation;
            self.compiled.retain(|id, _| {
                let subscription = snapshot.get(*id);
                subscription.is_some_and(|subscription| subscription.filter.is_some())
            });
        }
    }

    /// A filter that cannot be evaluated is reported and never matches.
    fn admits(&mut self, id: SubscriptionId, source: &str, body: &mut LazyBody<'_>) -> bool {
        let known = self
            .compiled
            .get(&id)
            .is_some_and(|(known, _)| known == source);
        if !known {
            let compiled = Filter::compile(source)
                .inspect_err(|error| report(id, error))
                .ok();
            self.compiled.insert(id, (source.to_owned(), compiled));
        }
        let Some((_, Some(filter))) = self.compiled.get(&id) else {
            return false;
        };
        let matched = body.parsed().and_then(|body| filter.matches_body(body));
        matched
            .inspect_err(|error| report(id, error))
            .unwrap_or(false)
    }
}

fn report(id: SubscriptionId, error: &FilterError) {
    METRICS.parked.with_label_values(&["filter"]).inc();
    tracing::warn!(subscription = %id, %error, "a subscription's filter failed; the event is not sent to it");
}

/// An event's body, parsed when the first filter asks for it.
struct LazyBody<'a> {
    event: &'a Event,
    parsed: Option<Body<'a>>,
}

impl<'a> LazyBody<'a> {
    fn parsed(&mut self) -> Result<&Body<'a>, FilterError> {
        match &mut self.parsed {
            Some(body) => Ok(body),
            empty => Ok(empty.insert(Body::parse(&self.event.body)?)),
        }
    }
}

/// The deliveries of a batch: the rows, and beside each what the dispatcher would send;
/// none where the row is parked or goes through the schedule.
pub(super) fn match_deliveries(
    batch: &Batch,
    snapshot: &Snapshot,
    filters: &mut Filters,
    max_body: usize,
) -> (DeliveryRows, Vec<Option<Delivery>>) {
    filters.follow(snapshot);
    let mut rows = DeliveryRows::default();
    let mut deliveries = Vec::with_capacity(batch.events.len());
    let now = Instant::now();
    for (index, event) in batch.events.iter().enumerate() {
        let mut body = LazyBody {
            event,
            parsed: None,
        };
        // A backfill is for those who had begun when it was asked for.
        let (begun_at, only) = match &batch.chunk {
            None => (event.position.commit_lsn, None),
            Some(chunk) => (chunk.from_lsn, chunk.subscription),
        };
        let candidates = snapshot
            .matching(&event.tenant_id, &event.event_type, begun_at)
            .filter(|subscription| only.is_none_or(|only| subscription.id == only));
        for subscription in candidates {
            let admitted = subscription
                .filter
                .as_deref()
                .is_none_or(|filter| filters.admits(subscription.id, filter, &mut body));
            if !admitted {
                continue;
            }
            let id = DeliveryId::derive(event.id, subscription.id.0, Uuid::nil());
            let oversized = (event.body.len() > max_body).then_some(ParkedReason::Oversized);
            rows.push(
                id.0,
                index,
                subscription.id.0,
                subscription.format,
                oversized,
                waits_for(subscription, event),
            );
            let handed_over = oversized.is_none() && !subscription.goes_through_the_schedule();
            deliveries.push(handed_over.then(|| Delivery {
                id,
                event_id: event.id,
                subscription_id: subscription.id,
                event_type: event.event_type.clone(),
                format: subscription.format,
                body: event.body.clone(),
                attempts: 0,
                occurred_at: event.occurred_at,
                queued_at: now,
                hold: Hold::Owned,
                batch: None,
            }));
        }
    }
    (rows, deliveries)
}

/// What an event of a subscription waits for in the schedule.
fn waits_for(subscription: &Subscription, event: &Event) -> WaitsFor {
    match subscription.ordering {
        _ if subscription.batching.is_some() => WaitsFor::Batch,
        Ordering::Row if !event.row_key.is_empty() => WaitsFor::Row,
        Ordering::Row | Ordering::None => WaitsFor::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_of_subscriptions_that_are_gone_are_forgotten() {
        let mut filters = Filters::default();
        let gone = SubscriptionId(Uuid::from_u128(1));
        filters.compiled.insert(gone, ("true".to_owned(), None));
        filters.follow(&Snapshot::default());
        assert_eq!(filters.compiled.len(), 1, "the generation is the same");
        let mut next = Snapshot::default();
        next.generation += 1;
        filters.follow(&next);
        assert!(filters.compiled.is_empty());
    }
}
