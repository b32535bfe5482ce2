//! First attempts whose deliveries are not in the store yet: the enqueuer hands a
//! delivery over before it writes its row, so that most rows are written once, with the
//! result in them. A result that comes before its row waits here.
//!
//! Where the write fails, what was handed over stays known for a while: the WAL brings
//! the same deliveries again, and they need not be sent again. Where another leads by
//! then, the WAL brings them to that one, and this one sends none that it has not begun.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::Hold;
use super::recorder::Record;
use super::state::Transition;
use crate::event::{DeliveryId, IdMap};

/// How long the WAL may take to bring an orphan again: after that another leads, or its
/// row has been met elsewhere.
const ORPHANED: Duration = Duration::from_secs(60);

/// Shared by the enqueuer, which writes the rows, and the dispatcher, which has the
/// results.
#[derive(Default)]
pub struct Unwritten {
    state: Mutex<State>,
    /// Notified when the last result of a group is in.
    pub settled: Notify,
    /// Some may be another's to send.
    disowned: AtomicBool,
}

#[derive(Default)]
struct State {
    awaited: IdMap<DeliveryId, Awaited>,
    groups: HashMap<u64, Group>,
    groups_made: u64,
    /// No fewer than the orphans among `awaited`.
    orphans: usize,
    /// When last deliveries waited for nothing but those in flight.
    busy_at: Option<Instant>,
}

struct Awaited {
    group: u64,
    /// Boxed, or the map would be as large as if all had their results.
    result: Option<Box<Record>>,
    /// Since when nobody is going to write its row.
    orphaned: Option<Instant>,
    /// Another is going to send it.
    disowned: bool,
}

/// Deliveries that were handed over together.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// How many have no result yet.
    pub remaining: usize,
    /// When the last result came; at first, when they were handed over, or when last as
    /// much as may be was in flight: one for which nothing came may not have been sent.
    pub last_result: Instant,
    has_result: bool,
}

impl Unwritten {
    /// Whether it was handed over by an enqueue that failed.
    pub fn is_orphan(&self, id: DeliveryId) -> bool {
        let state = self.lock();
        state.orphans > 0 && state.awaited.contains_key(&id)
    }

    /// Deliveries that were handed over and have no row.
    pub fn len(&self) -> usize {
        self.lock().awaited.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Another leads: orphans are its to send.
    pub fn disown(&self) {
        let mut state = self.lock();
        let orphans = state.awaited.values_mut();
        for orphan in orphans.filter(|one| one.orphaned.is_some()) {
            orphan.disowned = true;
            self.disowned.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it is not to be sent, as another does.
    pub fn is_disowned(&self, id: DeliveryId) -> bool {
        // Asked before each attempt.
        self.disowned.load(Ordering::Relaxed)
            && self
                .lock()
                .awaited
                .get(&id)
                .is_some_and(|awaited| awaited.disowned)
    }

    /// Announces deliveries that are handed over together, or were as orphans; answers
    /// the number of their group.
    pub fn expect(&self, ids: impl Iterator<Item = DeliveryId>) -> u64 {
        let mut state = self.lock();
        state.forget_old_orphans();
        state.groups_made += 1;
        let group = state.groups_made;
        let mut remaining = 0;
        for id in ids {
            let awaited = state.awaited.entry(id).or_insert(Awaited {
                group,
                result: None,
                orphaned: None,
                disowned: false,
            });
            awaited.group = group;
            awaited.orphaned = None;
            awaited.disowned = false;
            remaining += usize::from(awaited.result.is_none());
        }
        if remaining > 0 {
            let last_result = Instant::now();
            let announced = Group {
                remaining,
                last_result,
                has_result: false,
            };
            state.groups.insert(group, announced);
        }
        group
    }

    /// Keeps the result of a delivery that has no row yet; gives back any other, which
    /// is the recorder's.
    pub fn keep(&self, record: Record) -> Option<Record> {
        if record.delivery.hold == Hold::Leased {
            return Some(record);
        }
        let mut state = self.lock();
        let State {
            awaited, groups, ..
        } = &mut *state;
        let Some(awaited) = awaited.get_mut(&record.delivery.id) else {
            return Some(record);
        };
        let is_first = awaited.result.is_none();
        // A replay after a fault of the store sends again what was being sent: of two
        // results a success counts.
        if is_first || record.transition == Transition::Delivered {
            awaited.result = Some(Box::new(record));
        }
        if is_first && let Some(group) = groups.get_mut(&awaited.group) {
            group.remaining = group.remaining.saturating_sub(1);
            group.last_result = Instant::now();
            group.has_result = true;
            if group.remaining == 0 {
                drop(state);
                self.settled.notify_one();
            }
        }
        None
    }

    /// None where nothing of the group is awaited.
    pub fn group(&self, number: u64) -> Option<Group> {
        let state = self.lock();
        let group = state.groups.get(&number)?;
        let busy_at = state.busy_at.filter(|_| !group.has_result);
        Some(Group {
            last_result: busy_at.map_or(group.last_result, |busy| busy.max(group.last_result)),
            ..*group
        })
    }

    /// As much as may be is in flight, and more waits.
    pub fn say_busy(&self, now: Instant) {
        self.lock().busy_at = Some(now);
    }

    /// The first attempts among these that have succeeded, each in its place: they are
    /// written with their row, and are awaited no more.
    pub fn take_delivered(
        &self,
        ids: impl Iterator<Item = DeliveryId>,
    ) -> Vec<Option<Box<Record>>> {
        let mut state = self.lock();
        let delivered = |id| {
            let result = state.awaited.get(&id)?.result.as_ref()?;
            if result.transition != Transition::Delivered || result.delivery.attempts != 1 {
                return None;
            }
            state.awaited.remove(&id)?.result
        };
        ids.map(delivered).collect()
    }

    /// These have their rows: nothing of them is awaited any more. Answers the results
    /// that were kept.
    pub fn release(&self, group: u64, ids: impl Iterator<Item = DeliveryId>) -> Vec<Box<Record>> {
        let mut state = self.lock();
        state.groups.remove(&group);
        ids.filter_map(|id| {
            let awaited = state.awaited.get(&id)?;
            if awaited.group != group {
                return None;
            }
            state.awaited.remove(&id)?.result
        })
        .collect()
    }

    /// The rows of these were not written, nor will be until the WAL brings them again.
    /// `results` are those that were taken to be written.
    pub fn orphan(
        &self,
        group: u64,
        ids: impl Iterator<Item = DeliveryId>,
        results: impl Iterator<Item = Box<Record>>,
    ) {
        let mut state = self.lock();
        state.groups.remove(&group);
        let orphaned = Some(Instant::now());
        for id in ids {
            if let Some(awaited) = state.awaited.get_mut(&id)
                && awaited.group == group
            {
                awaited.orphaned = orphaned;
                state.orphans += 1;
            }
        }
        for record in results {
            let orphan = Awaited {
                group,
                orphaned,
                disowned: false,
                result: None,
            };
            let id = record.delivery.id;
            state.awaited.entry(id).or_insert(orphan).result = Some(record);
            state.orphans += 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget_old_orphans(&mut self) {
        if self.orphans == 0 {
            return;
        }
        let is_old = |orphan: &Awaited| {
            let is_old = |since: Instant| since.elapsed() >= ORPHANED;
            orphan.orphaned.is_some_and(is_old)
        };
        // One that is another's waits in its lane until it has a result of some kind.
        let waits = |orphan: &Awaited| orphan.disowned && orphan.result.is_none();
        self.awaited
            .retain(|_, awaited| waits(awaited) || !is_old(awaited));
        let orphans = self.awaited.values();
        self.orphans = orphans.filter(|one| one.orphaned.is_some()).count();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::Delivery;
    use crate::event::{EventId, SubscriptionId};
    use crate::subscription::Format;
    use jiff::Timestamp;
    use uuid::Uuid;

    fn delivered(id: DeliveryId) -> Record {
        let delivery = Delivery {
            id,
            event_id: EventId::random(Timestamp::UNIX_EPOCH),
            subscription_id: SubscriptionId(Uuid::nil()),
            event_type: "t".into(),
            format: Format::Standard,
            body: bytes::Bytes::new(),
            attempts: 1,
            occurred_at: Timestamp::UNIX_EPOCH,
            queued_at: Instant::now(),
            hold: Hold::Owned,
            of_stream: true,
            batch: None,
        };
        Record::unattempted(delivery, Transition::Delivered)
    }

    /// Others have as much in flight as may be, but its own have their turns: one that is
    /// slow is not waited for on their account.
    #[test]
    fn a_group_that_is_being_sent_is_judged_by_its_own_results() {
        let unwritten = Unwritten::default();
        let ids = [1, 2].map(|number| DeliveryId(Uuid::from_u128(number)));
        let group = unwritten.expect(ids.into_iter());
        let busy = Instant::now() + Duration::from_secs(1);
        unwritten.say_busy(busy);
        let last_result = || unwritten.group(group).unwrap().last_result;
        assert_eq!(last_result(), busy);
        assert!(unwritten.keep(delivered(ids[0])).is_none());
        assert!(last_result() < busy);
        let taken = unwritten.take_delivered(ids.into_iter());
        assert_eq!(
            taken.iter().map(Option::is_some).collect::<Vec<_>>(),
            [true, false]
        );
    }

    #[test]
    fn a_group_is_not_quiet_while_nothing_more_can_be_sent() {
        let unwritten = Unwritten::default();
        let id = DeliveryId::derive(
            EventId::random(Timestamp::UNIX_EPOCH),
            Uuid::nil(),
            Uuid::nil(),
        );
        let group = unwritten.expect(std::iter::once(id));
        let last_result = || unwritten.group(group).unwrap().last_result;
        let handed_over = last_result();
        let busy = handed_over + Duration::from_secs(1);
        unwritten.say_busy(busy);
        assert_eq!(last_result(), busy);
    }
}
