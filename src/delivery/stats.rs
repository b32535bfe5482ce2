//! What became of attempts, counted for each subscription and minute.
//!
//! Attempts are counted in memory, and the recorder writes the counts every few seconds, in a
//! transaction that it has anyway: that costs a delivery next to nothing, and locks no row for
//! longer than results are written. A crash loses the counts since, and never a delivery.
//! Minutes are folded into hours, and hours into days, as they become old.

use std::collections::HashMap;
use std::collections::hash_map::Entry as MapEntry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use jiff::Timestamp;
use uuid::Uuid;

use super::attempt::Outcome;
use super::client::ErrorClass;
use super::state::Transition;
use crate::conninfo::Queries;
use crate::event::SubscriptionId;

mod folding;
mod latency;
mod reading;

pub use folding::fold;
pub use latency::{BUCKETS, quantile};
pub use reading::{Counts, Last, Pending, Range, Step, last, of_subscriptions, of_tenant, pending};

/// Classes of errors: the columns `failed_…` of `delivery_stats`, in this order.
pub const CLASSES: usize = ErrorClass::ALL.len();

/// How old counts become in memory.
const PERIOD: Duration = Duration::from_secs(10);

/// Counts that are not in the store yet.
#[derive(Default)]
pub struct Stats(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    counted: HashMap<Key, Counted>,
    /// When the first of them was counted.
    since: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    subscription: SubscriptionId,
    /// Unix minutes, by the store's clock.
    minute: i64,
}

#[derive(Clone, Debug)]
struct Counted {
    tenant: Arc<str>,
    delivered: i32,
    first_try: i32,
    dead: i32,
    failed: [i32; CLASSES],
    latency: [i32; BUCKETS],
    last_success_at: Option<Timestamp>,
    last_failure: Option<Failure>,
}

#[derive(Clone, Copy, Debug)]
struct Failure {
    at: Timestamp,
    class: ErrorClass,
    http_status: Option<i16>,
}

/// An attempt that has ended.
pub struct Ended<'a> {
    pub subscription: SubscriptionId,
    pub tenant: &'a Arc<str>,
    /// Deliveries that it decided on: several where it was a batch's.
    pub deliveries: usize,
    /// How many attempts there were, this one included.
    pub attempts: u32,
    pub outcome: &'a Outcome,
    pub transition: &'a Transition,
    /// When it ended, by the store's clock.
    pub at: Timestamp,
}

impl Stats {
    pub fn count(&self, ended: &Ended<'_>) {
        let key = Key {
            subscription: ended.subscription,
            minute: ended.at.as_second().div_euclid(60),
        };
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        memory.since.get_or_insert_with(Instant::now);
        let counted = match memory.counted.entry(key) {
            MapEntry::Occupied(entry) => entry.into_mut(),
            MapEntry::Vacant(entry) => entry.insert(Counted::new(ended.tenant)),
        };
        counted.add(ended);
    }

    /// Whether there are counts that are to be written by now.
    pub fn is_due(&self, now: Instant) -> bool {
        let memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let old = |since: Instant| now.saturating_duration_since(since) >= PERIOD;
        memory.since.is_some_and(old)
    }

    /// Takes all of them, to be written until they are.
    pub fn take(&self) -> Taken {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        memory.since = None;
        let mut rows: Vec<_> = memory.counted.drain().collect();
        // In one order, so that two writers never wait for each other.
        rows.sort_unstable_by_key(|(key, _)| *key);
        Taken(rows)
    }
}

impl Counted {
    fn new(tenant: &Arc<str>) -> Self {
        Counted {
            tenant: Arc::clone(tenant),
            delivered: 0,
            first_try: 0,
            dead: 0,
            failed: [0; CLASSES],
            latency: [0; BUCKETS],
            last_success_at: None,
            last_failure: None,
        }
    }

    fn add(&mut self, ended: &Ended<'_>) {
        let deliveries = i32::try_from(ended.deliveries).unwrap_or(i32::MAX);
        let add = |count: &mut i32, more: i32| *count = count.saturating_add(more);
        let latency = latency::bucket(ended.outcome.duration);
        if let Some(bucket) = self.latency.get_mut(latency) {
            add(bucket, 1);
        }
        match &ended.outcome.error {
            None => {
                add(&mut self.delivered, deliveries);
                if ended.attempts == 1 {
                    add(&mut self.first_try, deliveries);
                }
                self.last_success_at = self.last_success_at.max(Some(ended.at));
            }
            Some((class, _)) => {
                let place = ErrorClass::ALL.iter().position(|one| one == class);
                if let Some(count) = place.and_then(|place| self.failed.get_mut(place)) {
                    add(count, deliveries);
                }
                if matches!(ended.transition, Transition::Failed | Transition::Gone) {
                    add(&mut self.dead, deliveries);
                }
                if self.last_failure.is_none_or(|last| last.at <= ended.at) {
                    self.last_failure = Some(Failure {
                        at: ended.at,
                        class: *class,
                        http_status: ended.outcome.stored_status(),
                    });
                }
            }
        }
    }
}

/// Counts on their way into the store.
#[derive(Clone, Debug, Default)]
pub struct Taken(Vec<(Key, Counted)>);

impl Taken {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn append(&mut self, mut other: Taken) {
        self.0.append(&mut other.0);
    }

    /// Adds them to what the store has.
    pub async fn write(&self, client: &impl Queries) -> anyhow::Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let subscriptions: Vec<Uuid> = self.0.iter().map(|(key, _)| key.subscription.0).collect();
        let minutes: Vec<Timestamp> = self.0.iter().map(|(key, _)| key.at()).collect();
        let of = |read: fn(&Counted) -> i32| -> Vec<i32> {
            self.0.iter().map(|(_, counted)| read(counted)).collect()
        };
        let counted = || self.0.iter().map(|(_, counted)| counted);
        let tenants: Vec<&str> = counted().map(|one| &*one.tenant).collect();
        let failed: Vec<i32> = counted().flat_map(|one| one.failed).collect();
        let latency: Vec<i32> = counted().flat_map(|one| one.latency).collect();
        let succeeded: Vec<_> = counted().map(|one| one.last_success_at).collect();
        let failure = || counted().map(|one| one.last_failure);
        let failed_at: Vec<_> = failure().map(|one| Some(one?.at)).collect();
        let classes: Vec<_> = failure().map(|one| Some(one?.class.as_str())).collect();
        let statuses: Vec<Option<i16>> = failure().map(|one| one?.http_status).collect();
        client
            .execute(
                include_str!("../../sql/queries/delivery/add_stats.sql"),
                &[
                    &subscriptions,
                    &minutes,
                    &tenants,
                    &of(|one| one.delivered),
                    &of(|one| one.first_try),
                    &of(|one| one.dead),
                    &failed,
                    &latency,
                ],
            )
            .await
            .context("write statistics")?;
        client
            .execute(
                include_str!("../../sql/queries/delivery/note_last_results.sql"),
                &[
                    &subscriptions,
                    &tenants,
                    &succeeded,
                    &failed_at,
                    &classes,
                    &statuses,
                ],
            )
            .await
            .context("note what endpoints last answered")?;
        Ok(())
    }
}

impl Key {
    fn at(self) -> Timestamp {
        Timestamp::from_second(self.minute.saturating_mul(60)).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::client::Answer;

    fn outcome(error: Option<ErrorClass>, milliseconds: u64) -> Outcome {
        Outcome {
            began: Instant::now(),
            duration: Duration::from_millis(milliseconds),
            http_status: error.is_none().then_some(200),
            error: error.map(|class| (class, String::new())),
            retry_after: None,
            excerpt: None,
            answer: Answer::default(),
            subscription_version: 1,
        }
    }

    #[test]
    fn attempts_are_counted_by_subscription_and_minute() {
        let stats = Stats::default();
        let tenant: Arc<str> = "acme".into();
        let subscription = SubscriptionId(Uuid::from_u128(1));
        let count = |second, outcome: &Outcome, attempts, transition: Transition| {
            stats.count(&Ended {
                subscription,
                tenant: &tenant,
                deliveries: 2,
                attempts,
                outcome,
                transition: &transition,
                at: Timestamp::from_second(second).unwrap(),
            });
        };
        count(59, &outcome(None, 3), 1, Transition::Delivered);
        count(61, &outcome(None, 3), 2, Transition::Delivered);
        count(
            62,
            &outcome(Some(ErrorClass::Timeout), 15_000),
            9,
            Transition::Failed,
        );
        assert!(!stats.is_due(Instant::now()));
        assert!(stats.is_due(Instant::now() + PERIOD));
        let Taken(rows) = stats.take();
        let [(first, one), (second, two)] = &rows[..] else {
            panic!("{rows:?}");
        };
        assert_eq!((first.minute, second.minute), (0, 1));
        assert_eq!((one.delivered, one.first_try, one.dead), (2, 2, 0));
        assert_eq!((two.delivered, two.first_try, two.dead), (2, 0, 2));
        assert_eq!(two.failed.iter().sum::<i32>(), 2);
        assert_eq!(two.failed[1], 2, "timeouts");
        assert_eq!(two.latency.iter().sum::<i32>(), 2);
        assert_eq!(two.last_failure.unwrap().class, ErrorClass::Timeout);
        assert!(stats.take().is_empty());
        assert!(!stats.is_due(Instant::now() + PERIOD));
    }
}
