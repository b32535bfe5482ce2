//! Matches events with subscriptions.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use super::filter_failures::FilterFailures;
use crate::delivery::cause::Cause;
use crate::delivery::{Delivery, Hold, ParkedReason};
use crate::event::{DeliveryId, Event};
use crate::handoff::{Batch, DeliveryRows, WaitsFor};
use crate::mapping::filter::{Body, Filter, FilterError, Share};
use crate::subscription::directory::Snapshot;
use crate::subscription::{Ordering, Subscription};
use uuid::Uuid;

/// Filters, compiled once for all subscriptions that have the same, and kept while one does.
#[derive(Default)]
pub struct Filters {
    /// The subscriptions that these were last compared with.
    generation: i64,
    compiled: HashMap<String, Compiled>,
    /// Events so far.
    asked: u64,
    failures: Arc<FilterFailures>,
}

struct Compiled {
    filter: Result<Filter, FilterError>,
    /// Of the event that was asked about last, by its number.
    answer: Option<(u64, Result<bool, FilterError>)>,
}

impl Compiled {
    fn of(source: &str) -> Self {
        Compiled {
            filter: Filter::compile(source),
            answer: None,
        }
    }

    /// Evaluates the filter once for an event, for all subscriptions that have it.
    fn answer(&mut self, asked: &mut Asked<'_>) -> Result<bool, FilterError> {
        match &self.answer {
            Some((number, answer)) if *number == asked.number => answer.clone(),
            _ => {
                let answer = match &self.filter {
                    Ok(filter) => asked.admitted_by(filter),
                    Err(error) => Err(error.clone()),
                };
                self.answer = Some((asked.number, answer.clone()));
                answer
            }
        }
    }
}

impl Filters {
    pub fn new(failures: Arc<FilterFailures>) -> Self {
        Filters {
            failures,
            ..Filters::default()
        }
    }

    /// Forgets the filters that no subscription has any more.
    fn follow(&mut self, snapshot: &Snapshot) {
        if self.generation != snapshot.generation {
            self.generation = snapshot.generation;
            let in_use: HashSet<&str> = snapshot
                .all()
                .filter_map(|subscription| subscription.filter.as_deref())
                .collect();
            self.compiled
                .retain(|source, _| in_use.contains(source.as_str()));
        }
    }

    /// An event of which nothing was asked yet.
    fn ask<'a>(&mut self, event: &'a Event) -> Asked<'a> {
        self.asked += 1;
        Asked {
            number: self.asked,
            event,
            body: None,
            share: Share::default(),
        }
    }

    /// A filter that cannot be evaluated goes on record and never matches.
    fn admits(&mut self, subscription: &Subscription, asked: &mut Asked<'_>) -> bool {
        let Some(source) = subscription.filter.as_deref() else {
            return true;
        };
        if !self.compiled.contains_key(source) {
            self.compiled
                .insert(source.to_owned(), Compiled::of(source));
        }
        let answer = self.compiled.get_mut(source);
        match answer.map_or(Ok(false), |compiled| compiled.answer(asked)) {
            Ok(admits) => admits,
            Err(error) => {
                self.failures.add(subscription, source, &error);
                false
            }
        }
    }
}

/// An event of which filters are asked: its body, read when the first is, and what they may
/// take together.
struct Asked<'a> {
    number: u64,
    event: &'a Event,
    body: Option<Body<'a>>,
    share: Share,
}

impl Asked<'_> {
    fn admitted_by(&mut self, filter: &Filter) -> Result<bool, FilterError> {
        let body = match &self.body {
            Some(body) => body,
            None => self.body.insert(Body::parse(&self.event.body)?),
        };
        filter.matches_within(body, &mut self.share)
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
    // What was parked is mapped again long after its commit.
    let of_stream = batch.chunk.is_none() && batch.unparked.is_empty();
    for (index, event) in batch.events.iter().enumerate() {
        let mut asked = filters.ask(event);
        // Parked for each endpoint: there is no point in reading it.
        let oversized = (event.body.len() > max_body).then_some(ParkedReason::Oversized);
        // A backfill is for those who had begun when it was asked for.
        let (begun_at, only) = match &batch.chunk {
            None => (event.position.commit_lsn, None),
            Some(chunk) => (chunk.from_lsn, chunk.subscription),
        };
        let candidates = snapshot
            .matching(&event.tenant_id, &event.event_type, begun_at)
            .filter(|subscription| only.is_none_or(|only| subscription.id == only));
        for subscription in candidates {
            if oversized.is_none() && !filters.admits(subscription, &mut asked) {
                continue;
            }
            let id = DeliveryId::derive(event.id, subscription.id.0, Uuid::nil());
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
                of_stream,
                cause: Cause::default(),
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
    use crate::event::{EventId, EventPosition, SubscriptionId};
    use crate::lsn::Lsn;
    use crate::subscription::Format;
    use std::collections::BTreeMap;

    fn event(body: &[u8]) -> Event {
        Event {
            id: EventId(Uuid::from_u128(1)),
            position: EventPosition {
                commit_lsn: Lsn(1),
                ordinal: 0,
                rule_index: 0,
            },
            tenant_id: "acme".into(),
            row_key: String::new(),
            event_type: "payment.received".into(),
            occurred_at: jiff::Timestamp::UNIX_EPOCH,
            body: body.to_vec().into(),
        }
    }

    fn subscription(number: u128, filter: &str) -> Subscription {
        Subscription {
            id: SubscriptionId(Uuid::from_u128(number)),
            row_version: 0,
            version: 1,
            tenant_id: "acme".into(),
            url: "https://example.com".to_owned(),
            events: vec!["*".to_owned()],
            filter: Some(filter.to_owned()),
            headers: BTreeMap::new(),
            format: Format::Standard,
            rate_limit: None,
            batching: None,
            ordering: Ordering::None,
            ordering_settled: true,
            active: true,
            secrets: Vec::new(),
            signing_keys: Vec::new(),
            from_lsn: Lsn(0),
            created_at: jiff::Timestamp::UNIX_EPOCH,
            unreadable: None,
        }
    }

    fn matched(
        filters: &mut Filters,
        body: &[u8],
        subscriptions: Vec<Subscription>,
        max_body: usize,
    ) -> usize {
        let generation = filters.generation + 1;
        let snapshot = Snapshot::of(generation, subscriptions);
        let mut batch = Batch::default();
        batch.events.push(event(body));
        match_deliveries(&batch, &snapshot, filters, max_body)
            .0
            .len()
    }

    #[test]
    fn filters_that_no_subscription_has_any_more_are_forgotten() {
        let mut filters = Filters::default();
        let body = br#"{"data":{"a":1}}"#;
        let both = vec![
            subscription(1, "data.a = 1"),
            subscription(2, "data.a = 1"),
            subscription(3, "data.a > 1"),
        ];
        assert_eq!(matched(&mut filters, body, both, 1000), 2);
        assert_eq!(filters.compiled.len(), 2, "one for those that are the same");
        let one = vec![subscription(3, "data.a > 1")];
        assert_eq!(matched(&mut filters, body, one, 1000), 0);
        assert_eq!(filters.compiled.len(), 1);
    }

    #[test]
    fn the_filters_of_an_event_share_a_budget_and_the_same_is_asked_once() {
        let body = format!(r#"{{"data":{{"tags":[{}0]}}}}"#, "1,".repeat(60_000));
        // Some 7,500 steps each, so that the fourteenth goes beyond 100,000 together.
        let filter = |number: u128| format!("data.id = {number} or 7 = any(data.tags)");
        let mut filters = Filters::default();
        let many = (0..20).map(|number| subscription(number, &filter(number)));
        let same = (20..500).map(|number| subscription(number, &filter(0)));
        let cheap = [subscription(1000, "type is null")];
        let all = many.chain(same).chain(cheap).collect();
        assert_eq!(matched(&mut filters, body.as_bytes(), all, 1 << 20), 0);
        let failed = filters.failures.take();
        // The rest of them, also what would have taken little.
        let mut numbers: Vec<u128> = failed.keys().map(|id| id.0.as_u128()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [13, 14, 15, 16, 17, 18, 19, 1000]);
        for failed in failed.values() {
            assert!(failed.reason.contains("together"), "{}", failed.reason);
        }
    }

    #[test]
    fn a_body_above_the_limit_is_not_read() {
        let mut filters = Filters::default();
        let parked = matched(
            &mut filters,
            br#"{"data":{"a":1}}"#,
            vec![subscription(1, "data.a = 2"), subscription(2, "true")],
            8,
        );
        assert_eq!(parked, 2, "whoever asks for the type has it parked");
        assert!(filters.compiled.is_empty());
    }
}
