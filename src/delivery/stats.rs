//! What became of attempts, counted for each subscription and minute.
//!
//! Attempts are counted in memory, and the recorder writes the counts every few seconds, in a
//! transaction that it has anyway: that costs a delivery next to nothing, and locks no row for
//! longer than results are written. A crash loses the counts since, and never a delivery.
//! Minutes are folded into hours, and hours into days, as they become old.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
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
pub(super) const PERIOD: Duration = Duration::from_secs(10);

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
        let counted = memory.counted.entry(key);
        counted
            .or_insert_with(|| Counted::new(ended.tenant))
            .add(ended);
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
        Taken(memory.counted.drain().collect())
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
                self.note_failure(Failure {
                    at: ended.at,
                    class: *class,
                    http_status: ended.outcome.stored_status(),
                });
            }
        }
    }

    fn note_failure(&mut self, failure: Failure) {
        if self.last_failure.is_none_or(|last| last.at <= failure.at) {
            self.last_failure = Some(failure);
        }
    }

    fn merge(&mut self, more: &Counted) {
        let add = |count: &mut i32, more: i32| *count = count.saturating_add(more);
        add(&mut self.delivered, more.delivered);
        add(&mut self.first_try, more.first_try);
        add(&mut self.dead, more.dead);
        for (count, more) in self.failed.iter_mut().zip(more.failed) {
            add(count, more);
        }
        for (count, more) in self.latency.iter_mut().zip(more.latency) {
            add(count, more);
        }
        self.last_success_at = self.last_success_at.max(more.last_success_at);
        if let Some(failure) = more.last_failure {
            self.note_failure(failure);
        }
    }
}

/// Counts on their way into the store, in one order, so that two writers never wait for each
/// other.
#[derive(Clone, Debug, Default)]
pub struct Taken(BTreeMap<Key, Counted>);

impl Taken {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Of a minute that both have, the sum: a statement adds to no row twice.
    pub fn append(&mut self, other: Taken) {
        for (key, more) in other.0 {
            match self.0.entry(key) {
                Entry::Occupied(entry) => entry.into_mut().merge(&more),
                Entry::Vacant(entry) => drop(entry.insert(more)),
            }
        }
    }

    /// Adds them to what the store has.
    pub async fn write(&self, client: &impl Queries) -> anyhow::Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let subscriptions: Vec<Uuid> = self.0.keys().map(|key| key.subscription.0).collect();
        let minutes: Vec<Timestamp> = self.0.keys().map(|key| key.at()).collect();
        let of = |read: fn(&Counted) -> i32| -> Vec<i32> { self.0.values().map(read).collect() };
        let counted = || self.0.values();
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
        let mut taken = stats.take();
        let rows: Vec<(&Key, &Counted)> = taken.0.iter().collect();
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

        // What is taken again before it was written, as while the store was away.
        count(63, &outcome(None, 3), 1, Transition::Delivered);
        count(121, &outcome(None, 3), 1, Transition::Delivered);
        taken.append(stats.take());
        let minutes: Vec<i64> = taken.0.keys().map(|key| key.minute).collect();
        assert_eq!(minutes, [0, 1, 2], "each minute once");
        let sums: Vec<i32> = taken.0.values().map(|one| one.delivered).collect();
        assert_eq!(sums, [2, 4, 2]);
        let second = taken.0.values().nth(1).unwrap();
        assert_eq!(second.latency.iter().sum::<i32>(), 3);
        assert_eq!(second.last_success_at, Timestamp::from_second(63).ok());
        assert_eq!(second.last_failure.unwrap().class, ErrorClass::Timeout);
    }
}
