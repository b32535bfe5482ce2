//! What has been handed over and is not durable yet, in the WAL's order. It is written
//! a little later, when most results are in, many groups at a time: a delivery that
//! succeeds at once costs one insert and no update, and its latency no commit. The slot
//! is held back until then: after a crash the WAL brings all of it again, under the
//! same ids.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::group::{Group, Written};
use super::writer::{Failed, Writer};

/// How long the oldest waits for others to share its transaction, and its commit: each waits for
/// the disk, and where the store is in the application's cluster so do the application's. What is
/// sent is sent before.
const LINGER: Duration = Duration::from_millis(50);

/// … and where as many as these wait, which make a commit worth it.
const MANY: usize = 100;
const LINGER_OF_MANY: Duration = Duration::from_millis(20);

/// A group of which no result has come for this long has slow endpoints: it is not
/// waited for any longer, and their results are recorded by themselves.
const QUIET: Duration = Duration::from_millis(50);

/// However its results trickle in, a group is written after this long.
const LONGEST: Duration = Duration::from_millis(500);

/// Events, deliveries and rows of the shadow in one transaction of the store. Measured, a binary COPY of
/// 1,000 rows writes 46,000 a second, and larger ones gain little.
const MAX_ROWS: usize = 1_000;

/// Deliveries, and bytes of bodies, that may be handed over and not be durable: bounds the
/// memory, and what is sent twice after a crash.
const MAX_UNWRITTEN: usize = 2_000;
const MAX_UNWRITTEN_BYTES: usize = 8 * 1024 * 1024;

pub(crate) struct Queue {
    writer: Arc<Writer>,
    groups: VecDeque<Group>,
    writing: Option<JoinHandle<Result<(), Failed>>>,
    /// Of the groups that are being written.
    under_way: Option<UnderWay>,
    /// How the write ended that was waited for.
    ended: Option<Result<(), Failed>>,
    /// Events, deliveries or rows of the shadow, whichever are more.
    rows: usize,
    bytes: usize,
}

struct UnderWay {
    written: Written,
    rows: usize,
    bytes: usize,
}

impl Queue {
    pub(crate) fn new(writer: Arc<Writer>) -> Self {
        Queue {
            writer,
            groups: VecDeque::new(),
            writing: None,
            under_way: None,
            ended: None,
            rows: 0,
            bytes: 0,
        }
    }

    /// Everything that was handed over is durable.
    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.under_way.is_none()
    }

    pub(crate) fn has_room(&self) -> bool {
        self.rows < MAX_UNWRITTEN && self.bytes < MAX_UNWRITTEN_BYTES
    }

    pub(crate) fn push(&mut self, group: Group) {
        self.rows += group.len();
        self.bytes += group.bytes();
        self.groups.push_back(group);
    }

    /// Waits until [`advance`](Self::advance) has something to do. Cancel-safe: how a
    /// write ended is kept.
    pub(crate) async fn due(&mut self) {
        if self.ended.is_some() {
            return;
        }
        if let Some(writing) = &mut self.writing {
            let ended = writing.await;
            self.writing = None;
            self.ended = Some(ended.unwrap_or_else(|panic| {
                Err(Failed {
                    error: panic.into(),
                    unconfirmed: Vec::new(),
                })
            }));
            return;
        }
        loop {
            let Some(at) = self.next_write() else {
                return std::future::pending().await;
            };
            tokio::select! {
                () = tokio::time::sleep_until(at.into()) => return,
                () = self.writer.offered.settled.notified() => {}
            }
        }
    }

    /// Takes the end of a write, of which it answers how far it brought us, and begins the next
    /// one where it is time, or at once in a `hurry`.
    pub(crate) fn advance(&mut self, hurry: bool) -> Result<Option<Written>, Failed> {
        let durable = match self.ended.take() {
            None => None,
            Some(ended) => {
                let UnderWay {
                    written,
                    rows,
                    bytes,
                } = self.under_way.take().expect("what ended was under way");
                self.rows -= rows;
                self.bytes -= bytes;
                if let Err(failed) = ended {
                    // What is after it must not be written without it.
                    self.abandon();
                    return Err(failed);
                }
                Some(written)
            }
        };
        let is_due = self.next_write().is_some_and(|at| at <= Instant::now());
        if is_due || (hurry && self.writing.is_none()) {
            self.begin(hurry);
        }
        Ok(durable)
    }

    /// Gives up what is not under way: the WAL brings it again.
    fn abandon(&mut self) {
        let (offered, now) = (&self.writer.offered, Instant::now());
        for group in self.groups.drain(..) {
            self.rows -= group.len();
            self.bytes -= group.bytes();
            offered.orphan(group.number, group.owned(), now);
        }
    }

    /// When the first group is to be written; none while another write is under way.
    fn next_write(&self) -> Option<Instant> {
        if self.under_way.is_some() {
            return None;
        }
        let first = self.groups.front()?;
        let settled = self.settled_at(first);
        let handed_over = first.owned().next().is_some();
        Some(match handed_over {
            true if self.rows >= MANY => settled.max(first.since + LINGER_OF_MANY),
            true => settled.max(first.since + LINGER),
            false => settled,
        })
    }

    /// When the results of a group are in or are not to be waited for any longer.
    fn settled_at(&self, group: &Group) -> Instant {
        match self.writer.offered.results(group.number) {
            Some(results) if results.remaining > 0 => {
                (results.last_result + QUIET).min(group.since + LONGEST)
            }
            _ => group.since,
        }
    }

    fn begin(&mut self, hurry: bool) {
        let now = Instant::now();
        let mut taken = Vec::new();
        let mut under_way: Option<UnderWay> = None;
        while let Some(group) = self.groups.front()
            && (hurry || self.settled_at(group) <= now)
            && under_way.as_ref().is_none_or(|taken| taken.rows < MAX_ROWS)
            && let Some(group) = self.groups.pop_front()
        {
            let counted = under_way.get_or_insert(UnderWay {
                written: group.written(),
                rows: 0,
                bytes: 0,
            });
            counted.written = group.written();
            counted.rows += group.len();
            counted.bytes += group.bytes();
            taken.push(group);
        }
        let Some(counted) = under_way else { return };
        let (writer, progress) = (Arc::clone(&self.writer), counted.written.progress);
        self.under_way = Some(counted);
        self.writing = Some(tokio::spawn(async move {
            writer.write(&taken, &progress).await
        }));
    }
}

/// What is not of the session any more is not awaited, wherever the session ended.
impl Drop for Queue {
    fn drop(&mut self) {
        self.abandon();
    }
}
