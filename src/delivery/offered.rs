//! Deliveries that were offered to the lanes before their rows are in the store, so that most rows
//! are written once, with their results in them. Each leaves by one of these doors:
//!
//! ```text
//!   offered ─ settle ─► settled ─ take ─► being written ─ written ─► durable with its result
//!      │                   │                    │
//!      │                   ├─────── written ────┼──────────────────► durable; its result is the recorder's
//!      ├────────── written ─────────────────────┼──────────────────► durable; its result will be
//!      └────────────── orphan ──────────────────┴─► orphaned ──┬───► adopted: the WAL brought it again
//!                                                              ├───► disowned: another leads, and sends it
//!                                                              └───► forgotten, after a minute
//! ```
//!
//! What holds at any time (`offered/tests.rs` drives random histories against it): no result goes to
//! the recorder before its row is there; no delivery whose row says that this process has it is
//! unknown to both the lanes and the recorder; and what the WAL brings again while it is known here
//! is not sent again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::Hold;
use super::recorder::Record;
use super::state::Transition;
use crate::event::{DeliveryId, IdMap, IdSet};

#[cfg(test)]
mod tests;

/// How long the WAL may take to bring an orphan again: after that another leads, or its
/// row has been met elsewhere.
const ORPHANED: Duration = Duration::from_secs(60);

/// Shared by the enqueuer, which writes the rows, and the dispatcher, which has the
/// results.
#[derive(Default)]
pub struct Offered {
    state: Mutex<State>,
    /// Notified when the last result of a group is in.
    pub settled: Notify,
    /// Some may be another's to send.
    disowned: AtomicBool,
}

#[derive(Default)]
struct State {
    entries: IdMap<DeliveryId, Entry>,
    groups: HashMap<u64, GroupResults>,
    groups_made: u64,
    /// Up to this one groups are of sessions that have ended.
    ended: u64,
    /// No fewer than there are of sessions that have ended.
    left_over: usize,
    /// Another leads since the last session.
    is_deposed: bool,
    /// When last deliveries waited for nothing but those in flight.
    busy_at: Option<Instant>,
}

struct Entry {
    stage: Stage,
    written_by: WrittenBy,
}

enum Stage {
    /// In its lane, or being sent.
    Offered,
    Settled(Arc<Record>),
    /// Its row is being written with this result in it.
    BeingWritten(Arc<Record>),
}

/// Which group's write has the row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WrittenBy {
    Group(u64),
    /// None's, until the WAL brings the delivery again.
    Orphaned {
        since: Instant,
    },
    /// The other leader's, which sends it too.
    Disowned {
        since: Instant,
    },
}

/// The results of deliveries that were offered together.
#[derive(Clone, Copy, Debug)]
pub struct GroupResults {
    /// How many have no result yet.
    pub remaining: usize,
    /// When the last result came; at first, when they were offered, or when last as
    /// much as may be was in flight: one for which nothing came may not have been sent.
    pub last_result: Instant,
    has_result: bool,
}

impl Offered {
    /// A session begins: what is here is of sessions that have ended, and the WAL may bring it again.
    pub fn begin_session(&self) {
        let mut state = self.lock();
        state.is_deposed = false;
        state.ended = state.groups_made;
        state.left_over = state.entries.len();
    }

    /// Those that a session that has ended offered: each is in its lane, or has its result. The next
    /// [`offer`](Self::offer) adopts them.
    pub fn left_over(
        &self,
        ids: impl Iterator<Item = DeliveryId>,
        now: Instant,
    ) -> IdSet<DeliveryId> {
        let mut state = self.lock();
        if state.left_over == 0 {
            return IdSet::default();
        }
        // Here and nowhere else: what is adopted must not be forgotten before it is offered.
        state.forget_old_orphans(now);
        ids.filter(|id| state.entries.contains_key(id)).collect()
    }

    /// Deliveries that were offered and have no row.
    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Another leads: orphans are its to send, and so are those that become orphans.
    pub fn disown(&self) {
        let mut state = self.lock();
        state.is_deposed = true;
        for entry in state.entries.values_mut() {
            if let WrittenBy::Orphaned { since } = entry.written_by {
                entry.written_by = WrittenBy::Disowned { since };
                self.disowned.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Whether it is not to be sent, as another does.
    pub fn is_disowned(&self, id: DeliveryId) -> bool {
        // Asked before each attempt.
        self.disowned.load(Ordering::Relaxed)
            && self
                .lock()
                .entries
                .get(&id)
                .is_some_and(|entry| matches!(entry.written_by, WrittenBy::Disowned { .. }))
    }

    /// Notes deliveries that are offered together, and adopts those that are left over. Returns the
    /// number of their group.
    pub fn offer(&self, ids: impl Iterator<Item = DeliveryId>, now: Instant) -> u64 {
        let mut state = self.lock();
        state.groups_made += 1;
        let group = state.groups_made;
        let mut remaining = 0;
        for id in ids {
            let entry = state.entries.entry(id).or_insert(Entry {
                stage: Stage::Offered,
                written_by: WrittenBy::Group(group),
            });
            entry.written_by = WrittenBy::Group(group);
            match &entry.stage {
                Stage::Offered => remaining += 1,
                Stage::Settled(_) => {}
                // That write has failed: a session begins when the one before it has ended.
                Stage::BeingWritten(record) => entry.stage = Stage::Settled(Arc::clone(record)),
            }
        }
        if remaining > 0 {
            let offered = GroupResults {
                remaining,
                last_result: now,
                has_result: false,
            };
            state.groups.insert(group, offered);
        }
        group
    }

    /// Keeps the result of a delivery that has no row yet; gives back any other, which
    /// is the recorder's.
    pub fn settle(&self, record: Record) -> Option<Record> {
        if record.delivery.hold == Hold::Leased {
            return Some(record);
        }
        let mut state = self.lock();
        let State {
            entries, groups, ..
        } = &mut *state;
        let Some(entry) = entries.get_mut(&record.delivery.id) else {
            return Some(record);
        };
        let is_first = matches!(entry.stage, Stage::Offered);
        // A replay after a fault of the store sends again what was being sent: of two
        // results a success counts.
        let counts = is_first || record.transition == Transition::Delivered;
        if counts && !matches!(entry.stage, Stage::BeingWritten(_)) {
            entry.stage = Stage::Settled(Arc::new(record));
        }
        if is_first
            && let WrittenBy::Group(group) = entry.written_by
            && let Some(group) = groups.get_mut(&group)
        {
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

    /// None where no result of the group is missing.
    pub fn results(&self, group: u64) -> Option<GroupResults> {
        let state = self.lock();
        let results = state.groups.get(&group)?;
        let busy_at = state.busy_at.filter(|_| !results.has_result);
        Some(GroupResults {
            last_result: busy_at.map_or(results.last_result, |busy| busy.max(results.last_result)),
            ..*results
        })
    }

    /// As much as may be is in flight, and more waits.
    pub fn say_busy(&self, now: Instant) {
        self.lock().busy_at = Some(now);
    }

    /// The first attempts among these that have succeeded, each in its place: they are
    /// written with their row.
    pub fn take_delivered(
        &self,
        ids: impl Iterator<Item = DeliveryId>,
    ) -> Vec<Option<Arc<Record>>> {
        let mut state = self.lock();
        let delivered = |id| {
            let entry = state.entries.get_mut(&id)?;
            let Stage::Settled(record) = &entry.stage else {
                return None;
            };
            if record.transition != Transition::Delivered || record.delivery.attempts != 1 {
                return None;
            }
            let record = Arc::clone(record);
            entry.stage = Stage::BeingWritten(Arc::clone(&record));
            Some(record)
        };
        ids.map(delivered).collect()
    }

    /// Forgets these, which have their rows by now. Returns the results that the rows lack.
    pub fn written(&self, group: u64, ids: impl Iterator<Item = DeliveryId>) -> Vec<Record> {
        let mut state = self.lock();
        state.groups.remove(&group);
        ids.filter_map(|id| {
            let entry = state.entries.get(&id)?;
            if entry.written_by != WrittenBy::Group(group) {
                return None;
            }
            match state.entries.remove(&id)?.stage {
                Stage::Settled(record) => Some(Arc::unwrap_or_clone(record)),
                Stage::Offered | Stage::BeingWritten(_) => None,
            }
        })
        .collect()
    }

    /// The rows of these were not written, nor will be until the WAL brings them again.
    pub fn orphan(&self, group: u64, ids: impl Iterator<Item = DeliveryId>, now: Instant) {
        let mut state = self.lock();
        state.groups.remove(&group);
        let orphaned = match state.is_deposed {
            true => WrittenBy::Disowned { since: now },
            false => WrittenBy::Orphaned { since: now },
        };
        for id in ids {
            let Some(entry) = state.entries.get_mut(&id) else {
                continue;
            };
            if entry.written_by != WrittenBy::Group(group) {
                continue;
            }
            entry.written_by = orphaned;
            state.left_over += 1;
        }
        if state.is_deposed {
            self.disowned.store(true, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget_old_orphans(&mut self, now: Instant) {
        let is_old = |since: Instant| now.saturating_duration_since(since) >= ORPHANED;
        self.entries.retain(|_, entry| match entry.written_by {
            WrittenBy::Group(_) => true,
            WrittenBy::Orphaned { since } => !is_old(since),
            // It waits in its lane until it has a result of some kind.
            WrittenBy::Disowned { since } => {
                matches!(entry.stage, Stage::Offered) || !is_old(since)
            }
        });
        let ended = self.ended;
        let is_left_over = |entry: &&Entry| match entry.written_by {
            WrittenBy::Group(group) => group <= ended,
            WrittenBy::Orphaned { .. } | WrittenBy::Disowned { .. } => true,
        };
        self.left_over = self.entries.values().filter(is_left_over).count();
    }
}
