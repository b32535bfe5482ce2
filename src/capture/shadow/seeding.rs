//! Filling the shadow with the rows that exist, while the stream goes on.
//!
//! A chunk is read between two transactional messages in the WAL, as in DBLog. When the
//! second arrives, every change between them has been taken: rows that one of them
//! touched are not written over. One gap is left, that a transaction which stands in the
//! log before the first message is not visible yet when the chunk is read; the chunk's
//! snapshot says which those may be, and then the chunk is read again.

use std::collections::HashSet;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

pub use super::row::LONGEST_VALUE;
use super::row::RowKey;
use crate::capture::watermark::{Snapshot, precedes};
use crate::mapping::TableName;
use crate::pgoutput::TupleValue;

/// What is left to seed, and where the chunks go.
pub struct Seeding {
    pub tables: Vec<SeedTable>,
    pub run: Uuid,
    pub chunks: mpsc::Sender<Chunk>,
}

/// A table that is to be read.
#[derive(Clone, Debug)]
pub struct SeedTable {
    pub id: i32,
    pub table: TableName,
    pub partitioned: bool,
    pub key: Vec<String>,
    /// By place; empty where the place is not used any more.
    pub places: Vec<String>,
    /// The key of the last row that has been seeded.
    pub after: Option<Vec<String>>,
}

/// Rows that were read between two watermarks.
pub struct Chunk {
    pub table: i32,
    pub number: u64,
    pub rows: Vec<SeedRow>,
    /// The key of the last row; `None` where there was none.
    pub last: Option<Vec<String>>,
    /// There is nothing after it.
    pub end: bool,
    pub snapshot: Snapshot,
    /// Whether it has been taken and is durable. Not answered where the session ended.
    pub taken: oneshot::Sender<Taken>,
}

pub struct SeedRow {
    pub key: Vec<Bytes>,
    /// By place.
    pub values: Vec<TupleValue>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    Durable,
    /// It may lack a transaction that came before it in the WAL: read it again.
    ReadAgain,
}

/// Transactions that are remembered one by one. As long as a seed fails none is
/// forgotten, which may be for days.
const REMEMBERED: usize = 100_000;

/// What the stream did to a table while it is seeded.
#[derive(Default)]
pub(super) struct Touched {
    /// Transactions that changed the table before the open chunk's first watermark.
    earlier: HashSet<u32>,
    /// The last one of those that were too many to remember.
    crowd: Option<u32>,
    since: HashSet<u32>,
    chunk: Option<OpenChunk>,
}

struct OpenChunk {
    number: u64,
    rows: HashSet<RowKey>,
    all: bool,
    spoilt: bool,
}

impl Touched {
    pub(super) fn row(&mut self, xid: u32, keys: [Option<&RowKey>; 2]) {
        self.since.insert(xid);
        if let Some(chunk) = &mut self.chunk {
            chunk.rows.extend(keys.into_iter().flatten().cloned());
        }
    }

    /// A row that is touched may be read as it was before, and nothing tells that it is not.
    pub(super) fn spoil(&mut self) {
        if let Some(chunk) = &mut self.chunk {
            chunk.spoilt = true;
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.chunk.is_some()
    }

    pub(super) fn all(&mut self, xid: u32) {
        self.since.insert(xid);
        if let Some(chunk) = &mut self.chunk {
            chunk.all = true;
        }
    }

    pub(super) fn low(&mut self, number: u64) {
        self.earlier.extend(self.since.drain());
        if self.earlier.len() > REMEMBERED {
            let later = |a: u32, b: u32| if precedes(a, b) { b } else { a };
            self.crowd = self.earlier.drain().chain(self.crowd).reduce(later);
        }
        self.chunk = Some(OpenChunk {
            number,
            rows: HashSet::new(),
            all: false,
            spoilt: false,
        });
    }

    /// The rows that the chunk must not write over; `None` where it must be read again.
    pub(super) fn high(&mut self, number: u64, snapshot: &Snapshot) -> Option<Untouched> {
        let crowd = self.crowd.filter(|last| !snapshot.is_past(*last));
        let missed = crowd.is_some() || self.earlier.iter().any(|xid| snapshot.may_miss(*xid));
        self.crowd = crowd;
        self.earlier.extend(self.since.drain());
        // What this snapshot sees, every later one does.
        self.earlier.retain(|xid| !snapshot.is_past(*xid));
        let chunk = self.chunk.take().filter(|chunk| chunk.number == number)?;
        (!missed && !chunk.spoilt).then_some(Untouched {
            touched: chunk.rows,
            all: chunk.all,
        })
    }
}

pub(super) struct Untouched {
    touched: HashSet<RowKey>,
    all: bool,
}

impl Untouched {
    pub(super) fn contains(&self, key: &RowKey) -> bool {
        !self.all && !self.touched.contains(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_that_may_lack_an_earlier_transaction_is_read_again() {
        let snapshot = |text| Snapshot::parse(text).unwrap();
        // 12 stands in the WAL before the chunk, and ran when the chunk was read.
        let mut touched = Touched::default();
        touched.row(12, [Some(&vec![1]), None]);
        touched.low(1);
        assert!(touched.high(1, &snapshot("12:14:12")).is_none());
        touched.low(2);
        assert!(
            touched.high(2, &snapshot("10:12:10")).is_none(),
            "not begun"
        );
        touched.low(3);
        touched.row(15, [Some(&vec![2]), Some(&vec![3])]);
        let untouched = touched.high(3, &snapshot("13:14:13")).unwrap();
        assert!(untouched.contains(&vec![1]));
        assert!(!untouched.contains(&vec![2]) && !untouched.contains(&vec![3]));
        // A truncate touches all.
        touched.low(4);
        touched.all(16);
        assert!(
            !touched
                .high(4, &snapshot("17:17:"))
                .unwrap()
                .contains(&vec![1])
        );
        assert!(Snapshot::parse("1:2").is_none());
    }

    #[test]
    fn a_chunk_that_an_unsure_value_fell_into_is_read_again() {
        let snapshot = Snapshot::parse("20:20:").unwrap();
        let mut touched = Touched::default();
        touched.low(1);
        touched.row(12, [Some(&vec![1]), None]);
        touched.spoil();
        assert!(touched.high(1, &snapshot).is_none());
        touched.low(2);
        assert!(touched.high(2, &snapshot).is_some());
    }

    #[test]
    fn too_many_transactions_to_remember_count_as_their_last() {
        let snapshot = |text| Snapshot::parse(text).unwrap();
        let mut touched = Touched::default();
        for xid in (10..).take(REMEMBERED + 1) {
            touched.row(xid, [None, None]);
        }
        touched.low(1);
        assert!(touched.earlier.is_empty());
        assert!(touched.high(1, &snapshot("20:200000:20")).is_none());
        touched.low(2);
        assert!(touched.high(2, &snapshot("200000:200000:")).is_some());
    }
}
