//! Chunks of rows that are read between two transactional messages in the WAL, as in
//! DBLog: for the shadow's seed and for backfills.
//!
//! When the second message arrives, every change between them has been taken. One gap is
//! left, that a transaction which stands in the WAL before the first message is not
//! visible yet when the chunk is read; the chunk's snapshot says which those may be, and
//! then the chunk is read again.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Context;
use uuid::Uuid;

use crate::conninfo::{Client, Queries, column};

/// The prefix of our messages in the WAL.
pub const MESSAGE_PREFIX: &str = "walhook";

/// Writes a message into the WAL, in a transaction of its own.
pub async fn emit(client: &Client, content: &str) -> anyhow::Result<()> {
    let emit = include_str!("../../sql/queries/capture/emit_message.sql");
    let emitted = client.execute(emit, &[&MESSAGE_PREFIX, &content]).await;
    emitted.map(drop).context("write a message into the WAL")
}

/// What a chunk saw (`pg_current_snapshot`), in the WAL's 32-bit transaction ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    xmin: u32,
    /// With the epoch, which the WAL's ids lack.
    xmax: u64,
    in_progress: HashSet<u32>,
}

impl Snapshot {
    /// What the transaction that is open sees.
    pub async fn read(source: &impl Queries) -> anyhow::Result<Self> {
        let query = include_str!("../../sql/queries/capture/current_snapshot.sql");
        let row = source.query_one(query, &[]).await?;
        Snapshot::parse(column(&row, 0)?).context("the server returned no snapshot")
    }

    /// Reads `xmin:xmax:xip,xip…`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let xid = |text: &str| text.parse::<u64>().ok().map(in_wal);
        let (xmin, xmax) = (xid(parts.next()?)?, parts.next()?.parse().ok()?);
        let running = parts.next()?.split(',').filter(|text| !text.is_empty());
        Some(Snapshot {
            xmin,
            xmax,
            in_progress: running.map(xid).collect::<Option<_>>()?,
        })
    }

    pub(super) fn may_miss(&self, xid: u32) -> bool {
        self.in_progress.contains(&xid) || !precedes(xid, in_wal(self.xmax))
    }

    /// The first id that no transaction had yet.
    pub(super) fn next_xid(&self) -> u64 {
        self.xmax
    }

    /// Whether all transactions with lower ids had ended.
    pub(super) fn has_left(&self, xid: u64) -> bool {
        !precedes(self.xmin, in_wal(xid))
    }

    pub(super) fn is_past(&self, xid: u32) -> bool {
        precedes(xid, self.xmin)
    }
}

/// The WAL has no epoch: its ids are the lower half.
pub(super) fn in_wal(xid: u64) -> u32 {
    xid as u32
}

/// Transaction ids wrap around.
pub(super) fn precedes(xid: u32, other: u32) -> bool {
    (xid.wrapping_sub(other) as i32) < 0
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    Low,
    High,
}

/// What a chunk is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The shadow of a table, by its id.
    Shadow(i32),
    Backfill(Uuid),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Shadow(table) => write!(f, "shadow {table}"),
            Subject::Backfill(id) => write!(f, "backfill {id}"),
        }
    }
}

/// A message in the WAL that begins or ends a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// The session that the chunk is read for: another one does not have it.
    pub run: Uuid,
    pub subject: Subject,
    pub chunk: u64,
    pub bound: Bound,
}

impl Watermark {
    pub fn content(&self) -> String {
        let bound = match self.bound {
            Bound::Low => "low",
            Bound::High => "high",
        };
        format!("{} {} {} {bound}", self.subject, self.run, self.chunk)
    }

    /// `None` where the message is another's, or another purpose's.
    pub(super) fn parse(content: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(content).ok()?.split(' ');
        let (purpose, id) = (words.next()?, words.next()?);
        let watermark = Watermark {
            subject: match purpose {
                "shadow" => Subject::Shadow(id.parse().ok()?),
                "backfill" => Subject::Backfill(id.parse().ok()?),
                _ => return None,
            },
            run: words.next()?.parse().ok()?,
            chunk: words.next()?.parse().ok()?,
            bound: match words.next()? {
                "low" => Bound::Low,
                "high" => Bound::High,
                _ => return None,
            },
        };
        words.next().is_none().then_some(watermark)
    }
}

/// The transactions that the stream has brought lately, whatever they changed.
#[derive(Default)]
pub(super) struct Recent {
    xids: VecDeque<(u32, Instant)>,
    brought: u64,
}

/// A transaction that waits for a synchronous standby stands in the WAL and is not
/// visible; every session that commits may be one, and there are at most 262,143.
const REMEMBERED: usize = 1 << 18;

/// Ids that are much older could be taken for ids to come: they wrap around after two
/// thousand million transactions. No commit waits for a standby that long.
const YOUNG: Duration = Duration::from_secs(6 * 3600);

impl Recent {
    pub(super) fn push(&mut self, xid: u32) {
        if self.xids.len() == REMEMBERED {
            self.xids.pop_front();
        }
        self.xids.push_back((xid, Instant::now()));
        self.brought += 1;
    }

    /// How many have been brought so far.
    pub(super) fn brought(&self) -> u64 {
        self.brought
    }

    /// Whether one of the first `earlier` may be missing from what the snapshot sees.
    pub(super) fn may_be_missed(&self, earlier: u64, snapshot: &Snapshot) -> bool {
        let since = usize::try_from(self.brought.saturating_sub(earlier)).unwrap_or(usize::MAX);
        let earlier = self.xids.len().saturating_sub(since);
        let mut earlier = self.xids.iter().take(earlier);
        earlier.any(|(xid, at)| {
            !snapshot.is_past(*xid) && snapshot.may_miss(*xid) && at.elapsed() < YOUNG
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watermarks_read_what_they_write_and_nothing_else() {
        for subject in [Subject::Shadow(7), Subject::Backfill(Uuid::now_v7())] {
            let watermark = Watermark {
                run: Uuid::now_v7(),
                subject,
                chunk: 12,
                bound: Bound::High,
            };
            let content = watermark.content();
            assert_eq!(Watermark::parse(content.as_bytes()), Some(watermark));
            let longer = format!("{content} more");
            assert_eq!(Watermark::parse(longer.as_bytes()), None);
        }
        for other in ["", "shadow", "backfill 1", "other 1 2 3 low", "\u{fffd}"] {
            assert_eq!(Watermark::parse(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn only_transactions_before_the_chunk_can_be_missed() {
        let snapshot = Snapshot::parse("12:14:12").unwrap();
        let mut recent = Recent::default();
        recent.push(11);
        assert!(!recent.may_be_missed(recent.brought(), &snapshot));
        recent.push(12);
        let earlier = recent.brought();
        assert!(recent.may_be_missed(earlier, &snapshot));
        assert!(!recent.may_be_missed(1, &snapshot), "12 came later");
        recent.push(15);
        assert!(!recent.may_be_missed(earlier, &Snapshot::parse("13:14:13").unwrap()));
    }

    #[test]
    fn a_snapshot_has_left_the_ids_below_its_oldest() {
        let snapshot = Snapshot::parse("12:14:12").unwrap();
        assert!(snapshot.has_left(12) && !snapshot.has_left(13));
        assert_eq!(snapshot.next_xid(), 14);
    }

    #[test]
    fn transaction_ids_wrap() {
        let snapshot = Snapshot::parse("4294967300:4294967302:4294967301").unwrap();
        assert!(snapshot.may_miss(5) && snapshot.may_miss(6) && !snapshot.may_miss(4));
        assert!(!snapshot.may_miss(u32::MAX) && snapshot.is_past(u32::MAX));
    }
}
