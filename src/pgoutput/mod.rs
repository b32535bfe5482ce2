//! Decodes pgoutput, protocol 1: bytes of the WAL in, committed changes out.
//! No I/O, and no bytes make it panic.
//!
//! The source of every layout here is "Logical Replication Message Formats" in
//! the PostgreSQL manual (protocol, §55.9).

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use crate::lsn::Lsn;

pub mod error;
pub mod kept;
mod oversized;
mod reader;
pub mod relation;
pub mod transaction;
pub mod tuple;
pub mod value;

#[cfg(test)]
mod tests;

pub use error::{DecodeError, Fault, MessageKind};
pub use oversized::Abridged;
pub use relation::{Column, Relation, ReplicaIdentity};
pub use transaction::Decoder;
pub use tuple::{OldTuple, Tuple, TupleValue};

/// What the header of a transaction says (`B`). Protocol 1 sends a transaction
/// only after it has committed, so the commit's LSN is known from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionHeader {
    pub xid: u32,
    /// Where the commit record begins: the transaction's place in the order of commits.
    pub commit_lsn: Lsn,
    pub committed_at: Timestamp,
}

/// One inserted, updated, deleted or truncated thing.
#[derive(Clone, Debug)]
pub struct Change {
    pub relation: Arc<Relation>,
    /// The change's place in its transaction, from 0.
    pub ordinal: u64,
    pub operation: Operation,
}

#[derive(Clone)]
pub enum Operation {
    Insert {
        new: Tuple,
    },
    /// `old` is absent under DEFAULT identity unless the key changed.
    Update {
        old: Option<OldTuple>,
        new: Tuple,
    },
    Delete {
        old: OldTuple,
    },
    /// One for each relation that the TRUNCATE names.
    Truncate,
}

/// Says which kind of operation, never a row's values.
impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::Insert { .. } => "Insert",
            Operation::Update { .. } => "Update",
            Operation::Delete { .. } => "Delete",
            Operation::Truncate => "Truncate",
        })
    }
}

/// What the stream says, in its order. A transaction is never collected whole:
/// it is a `Begin`, its changes and a `Commit`.
#[derive(Clone, Debug)]
pub enum StreamEvent {
    Begin(TransactionHeader),
    Change(Change),
    /// A logical decoding message (`pg_logical_emit_message`).
    Message {
        transactional: bool,
        lsn: Lsn,
        prefix: String,
        content: Bytes,
    },
    /// `end_lsn` is what may be acknowledged once the transaction is durable;
    /// acknowledging anything inside it would replay all of it.
    Commit {
        commit_lsn: Lsn,
        end_lsn: Lsn,
    },
    /// The server has sent everything up to `wal_end`. Stands in the stream so
    /// that it is acknowledged only after all that was received before it.
    Keepalive {
        wal_end: Lsn,
        /// The server waits to hear how far we are.
        reply_requested: bool,
    },
    /// A message that could not be decoded; `ordinal` is taken when it was a change.
    Undecodable {
        lsn: Lsn,
        ordinal: Option<u64>,
        /// The relation's `schema.table`, where it is known.
        relation: Option<String>,
        error: DecodeError,
        payload: Bytes,
    },
}
