//! What stands between the receiver's thread and the pipeline: decoded events,
//! bounded by the bytes that they hold, and the positions of both sides.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::error::ReplicationError;
use crate::lsn::Lsn;
use crate::pgoutput::StreamEvent;

/// Small reads are joined up to this, so that a pipeline that is behind takes
/// few large batches.
const BATCH_BYTES: usize = 256 * 1024;

pub(super) struct Queue {
    /// Bytes that may wait; a single larger event is let in alone.
    limit: usize,
    state: Mutex<State>,
    /// Wakes the pipeline.
    filled: Notify,
    /// Wakes the thread.
    room: Condvar,
    /// What the pipeline has made durable, and what it was handed for that.
    acknowledged: AtomicU64,
    received: AtomicU64,
    stopping: AtomicBool,
}

#[derive(Default)]
struct State {
    batches: VecDeque<Batch>,
    bytes: usize,
    end: Option<ReplicationError>,
    ended: bool,
}

struct Batch {
    events: Vec<StreamEvent>,
    bytes: usize,
}

impl Queue {
    pub(super) fn new(limit: usize) -> Self {
        Queue {
            limit,
            state: Mutex::default(),
            filled: Notify::new(),
            room: Condvar::new(),
            acknowledged: AtomicU64::new(0),
            received: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
        }
    }

    // The thread's side.

    /// Takes `events` if there is room, or as soon as there is within `patience`;
    /// says whether it did. They hold `bytes` in memory.
    pub(super) fn offer(
        &self,
        events: &mut Vec<StreamEvent>,
        bytes: usize,
        patience: Duration,
    ) -> bool {
        let has_room = |state: &State| state.bytes == 0 || state.bytes + bytes <= self.limit;
        let mut state = self.lock();
        if !has_room(&state) {
            let waited = self.room.wait_timeout(state, patience);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if !has_room(&state) {
                return false;
            }
        }
        self.received
            .fetch_max(last_safe_position(events).0, Ordering::Release);
        state.push(std::mem::take(events), bytes);
        drop(state);
        self.filled.notify_one();
        true
    }

    /// Ends the stream after what was offered.
    pub(super) fn finish(&self, error: ReplicationError) {
        let mut state = self.lock();
        if !state.ended {
            state.ended = true;
            state.end = Some(error);
        }
        drop(state);
        self.filled.notify_one();
    }

    pub(super) fn acknowledged(&self) -> Lsn {
        Lsn(self.acknowledged.load(Ordering::Acquire))
    }

    pub(super) fn received(&self) -> Lsn {
        Lsn(self.received.load(Ordering::Acquire))
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    // The pipeline's side.

    /// The next events in their order, or why there are no more. Cancel-safe:
    /// events leave the queue only in the poll that returns them.
    pub(super) async fn next(&self) -> Result<Vec<StreamEvent>, ReplicationError> {
        loop {
            if let Some(next) = self.try_next() {
                return next;
            }
            // A permit is kept when events come between the look and the wait.
            self.filled.notified().await;
        }
    }

    fn try_next(&self) -> Option<Result<Vec<StreamEvent>, ReplicationError>> {
        let mut state = self.lock();
        if let Some(batch) = state.batches.pop_front() {
            state.bytes -= batch.bytes;
            drop(state);
            self.room.notify_one();
            return Some(Ok(batch.events));
        }
        if !state.ended {
            return None;
        }
        let ended = || ReplicationError::Protocol("the session has ended already".to_owned());
        Some(Err(state.end.take().unwrap_or_else(ended)))
    }

    /// Raises the acknowledged position, never beyond what was handed over: the
    /// server believes any figure, and skips everything up to it.
    pub(super) fn acknowledge(&self, lsn: Lsn) {
        let lsn = lsn.min(self.received());
        self.acknowledged.fetch_max(lsn.0, Ordering::AcqRel);
    }

    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.room.notify_one();
    }

    /// A panic of the other side leaves plain data behind: nothing to distrust.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push(&mut self, events: Vec<StreamEvent>, bytes: usize) {
        if let Some(last) = self.batches.back_mut()
            && last.bytes + bytes <= BATCH_BYTES
        {
            // An idle server's keepalives need not pile up while the pipeline is
            // busy: the last of a row says it all.
            if let (
                [
                    StreamEvent::Keepalive {
                        wal_end: newer,
                        reply_requested: asked,
                    },
                ],
                Some(StreamEvent::Keepalive {
                    wal_end,
                    reply_requested,
                }),
            ) = (events.as_slice(), last.events.last_mut())
            {
                *wal_end = (*wal_end).max(*newer);
                *reply_requested |= asked;
                return;
            }
            last.events.extend(events);
            last.bytes += bytes;
        } else {
            self.batches.push_back(Batch { events, bytes });
        }
        self.bytes += bytes;
    }
}

/// The furthest position among `events` that may be acknowledged at all.
fn last_safe_position(events: &[StreamEvent]) -> Lsn {
    events
        .iter()
        .filter_map(|event| match event {
            StreamEvent::Commit { end_lsn, .. } => Some(*end_lsn),
            StreamEvent::Keepalive { wal_end, .. } => Some(*wal_end),
            StreamEvent::Begin(_)
            | StreamEvent::Change(_)
            | StreamEvent::Message { .. }
            | StreamEvent::Undecodable { .. } => None,
        })
        .max()
        .unwrap_or(Lsn::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(end: u64) -> Vec<StreamEvent> {
        vec![StreamEvent::Commit {
            commit_lsn: Lsn(end - 1),
            end_lsn: Lsn(end),
        }]
    }

    fn keepalive(wal_end: u64) -> Vec<StreamEvent> {
        let wal_end = Lsn(wal_end);
        vec![StreamEvent::Keepalive {
            wal_end,
            // The one in the middle of the test's three.
            reply_requested: wal_end == Lsn(13),
        }]
    }

    #[test]
    fn bytes_bound_what_waits_and_one_large_event_still_passes() {
        let queue = Queue::new(100);
        let offer = |bytes| queue.offer(&mut commit(10), bytes, Duration::ZERO);
        assert!(offer(1000), "alone, anything passes");
        assert!(!offer(1));
        assert!(queue.try_next().unwrap().is_ok());
        assert!(offer(60) && offer(40) && !offer(1));
    }

    #[test]
    fn acknowledgement_only_rises_and_never_beyond_what_was_received() {
        let queue = Queue::new(100);
        queue.acknowledge(Lsn(u64::MAX));
        assert_eq!(queue.acknowledged(), Lsn::ZERO);
        assert!(queue.offer(&mut commit(10), 1, Duration::ZERO));
        queue.acknowledge(Lsn(u64::MAX));
        assert_eq!(queue.acknowledged(), Lsn(10));
        queue.acknowledge(Lsn(5));
        assert_eq!(queue.acknowledged(), Lsn(10));
    }

    #[test]
    fn keepalives_in_a_row_become_one_behind_what_came_before() {
        let queue = Queue::new(100);
        for events in [commit(10), keepalive(11), keepalive(13), keepalive(12)] {
            assert!(queue.offer(&mut events.clone(), 1, Duration::ZERO));
        }
        let events = queue.try_next().unwrap().unwrap();
        assert_eq!(events.len(), 2);
        assert!(matches!(
            events[1],
            StreamEvent::Keepalive {
                wal_end: Lsn(13),
                reply_requested: true,
            }
        ));
        assert!(queue.try_next().is_none());
    }

    #[tokio::test]
    async fn the_end_comes_after_the_events_and_stays() {
        let queue = Queue::new(100);
        assert!(queue.offer(&mut commit(10), 1, Duration::ZERO));
        queue.finish(ReplicationError::Closed { position: Lsn(10) });
        assert!(queue.next().await.is_ok());
        let closed = queue.next().await;
        assert!(matches!(closed, Err(ReplicationError::Closed { .. })));
        assert!(queue.next().await.is_err());
    }
}
