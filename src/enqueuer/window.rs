//! What has been handed over and is not durable yet, in the WAL's order. It is written
//! a little later, when most results are in, many passes at a time: a delivery that
//! succeeds at once costs one insert and no update, and its latency no commit. The slot
//! is held back until then: after a crash the WAL brings all of it again, under the
//! same ids.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::pass::{Pass, Written};
use super::writer::{Failed, Writer};

/// How long the oldest waits for others to share its transaction, and its commit.
const LINGER: Duration = Duration::from_millis(20);

/// A pass of which no result has come for this long has slow endpoints: it is not
/// waited for any longer, and their results are recorded by themselves.
const QUIET: Duration = Duration::from_millis(50);

/// However its results trickle in, a pass is written after this long.
const LONGEST: Duration = Duration::from_millis(500);

/// Events, deliveries and rows of the shadow in one transaction of the store. Measured, a binary COPY of
/// 1,000 rows writes 46,000 a second, and larger ones gain little.
const MAX_ROWS: usize = 1_000;

/// Deliveries, and bytes of bodies, that may be handed over and not be durable: bounds the
/// memory, and what is sent twice after a crash.
const MAX_UNWRITTEN: usize = 2_000;
const MAX_UNWRITTEN_BYTES: usize = 8 * 1024 * 1024;

pub(super) struct Window {
    writer: Arc<Writer>,
    passes: VecDeque<Pass>,
    writing: Option<JoinHandle<Result<(), Failed>>>,
    /// Of the passes that are being written.
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

impl Window {
    pub(super) fn new(writer: Arc<Writer>) -> Self {
        Window {
            writer,
            passes: VecDeque::new(),
            writing: None,
            under_way: None,
            ended: None,
            rows: 0,
            bytes: 0,
        }
    }

    /// Everything that was handed over is durable.
    pub(super) fn is_empty(&self) -> bool {
        self.passes.is_empty() && self.under_way.is_none()
    }

    pub(super) fn has_room(&self) -> bool {
        self.rows < MAX_UNWRITTEN && self.bytes < MAX_UNWRITTEN_BYTES
    }

    pub(super) fn push(&mut self, pass: Pass) {
        self.rows += pass.len();
        self.bytes += pass.bytes();
        self.passes.push_back(pass);
    }

    /// Waits until [`advance`](Self::advance) has something to do. Cancel-safe: how a
    /// write ended is kept.
    pub(super) async fn due(&mut self) {
        if self.ended.is_some() {
            return;
        }
        if let Some(writing) = &mut self.writing {
            let ended = writing.await;
            self.writing = None;
            self.ended = Some(ended.unwrap_or_else(|panic| {
                Err(Failed {
                    error: panic.into(),
                    unanswered: Vec::new(),
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
                () = self.writer.unwritten.settled.notified() => {}
            }
        }
    }

    /// Takes the end of a write, of which it answers how far it brought us, and begins the next
    /// one where it is time, or at once in a `hurry`.
    pub(super) fn advance(&mut self, hurry: bool) -> Result<Option<Written>, Failed> {
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
        let unwritten = &self.writer.unwritten;
        for pass in self.passes.drain(..) {
            self.rows -= pass.len();
            self.bytes -= pass.bytes();
            unwritten.orphan(pass.group, pass.owned(), std::iter::empty());
        }
    }

    /// When the first pass is to be written; none while another write is under way.
    fn next_write(&self) -> Option<Instant> {
        if self.under_way.is_some() {
            return None;
        }
        let first = self.passes.front()?;
        let settled = self.settled_at(first);
        let handed_over = first.owned().next().is_some();
        Some(match handed_over {
            true => settled.max(first.since + LINGER),
            false => settled,
        })
    }

    /// When the results of a pass are in or are not to be waited for any longer.
    fn settled_at(&self, pass: &Pass) -> Instant {
        match self.writer.unwritten.group(pass.group) {
            Some(group) if group.remaining > 0 => {
                (group.last_result + QUIET).min(pass.since + LONGEST)
            }
            _ => pass.since,
        }
    }

    fn begin(&mut self, hurry: bool) {
        let now = Instant::now();
        let mut taken = Vec::new();
        let mut under_way: Option<UnderWay> = None;
        while let Some(pass) = self.passes.front()
            && (hurry || self.settled_at(pass) <= now)
            && under_way.as_ref().is_none_or(|taken| taken.rows < MAX_ROWS)
            && let Some(pass) = self.passes.pop_front()
        {
            let counted = under_way.get_or_insert(UnderWay {
                written: pass.written(),
                rows: 0,
                bytes: 0,
            });
            counted.written = pass.written();
            counted.rows += pass.len();
            counted.bytes += pass.bytes();
            taken.push(pass);
        }
        let Some(counted) = under_way else { return };
        let (writer, progress) = (Arc::clone(&self.writer), counted.written.progress);
        self.under_way = Some(counted);
        self.writing = Some(tokio::spawn(async move {
            writer.write(&taken, &progress, None).await.map(drop)
        }));
    }
}

/// What is not of the session any more is not awaited, wherever the session ended.
impl Drop for Window {
    fn drop(&mut self) {
        self.abandon();
    }
}
