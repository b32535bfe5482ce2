//! What can be wrong with a message, and whether the stream may go on after it.

use std::fmt;

use crate::lsn::Lsn;

/// A message that could not be decoded. Names the message, the place and the
/// fault; never carries a row's values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error(
        "an empty message came where pgoutput must say something; check that the source is PostgreSQL itself and not a proxy"
    )]
    Empty,
    /// Streamed and two-phase transactions have tags that only protocols 2 and 3 know.
    #[error(
        "message tag 0x{tag:02X} is not in pgoutput's protocol 1, the one walhook asks for; check that the source is PostgreSQL itself and not a proxy"
    )]
    UnknownTag { tag: u8 },
    #[error(
        "{message} came outside of a transaction, so that its position in the WAL is unknown; reconnect to have the transaction sent again"
    )]
    OutsideTransaction { message: MessageKind },
    #[error(
        "Begin came before the Commit of transaction {open_xid}; reconnect to have it sent again"
    )]
    NestedBegin { open_xid: u32 },
    #[error(
        "Commit says {found} where Begin announced {announced}; reconnect to have the transaction sent again"
    )]
    CommitMismatch { announced: Lsn, found: Lsn },
    /// Acknowledging such an end could skip changes: the server believes any LSN.
    #[error(
        "Commit at {commit_lsn} says that it ends at {end_lsn}, which is not after it; reconnect to have the transaction sent again"
    )]
    CommitEnd { commit_lsn: Lsn, end_lsn: Lsn },
    /// Any relation of the session may be the one that changed.
    #[error(
        "Relation is too short to say which relation it describes; reconnect to be sent every definition again"
    )]
    UnnamedRelation,
    #[error("{message} is malformed at byte {offset}: {fault}")]
    Malformed {
        message: MessageKind,
        /// Counted from the message's tag, which is byte 0.
        offset: usize,
        fault: Fault,
    },
    #[error(
        "{message} names relation {oid}, which this session has not described; reconnect to be sent its definition"
    )]
    UnknownRelation { message: MessageKind, oid: u32 },
    #[error(
        "{message} carries {found} columns where its relation has {expected}; reconnect to be sent the definition again"
    )]
    ColumnCount {
        message: MessageKind,
        expected: usize,
        found: usize,
    },
}

impl DecodeError {
    /// Whether the stream must stop here, because what follows can no longer be
    /// placed: going on would give later changes a wrong position, which is their
    /// identity, or acknowledge what was not understood.
    ///
    /// - Fatal: broken framing of transactions (`Begin`, `Commit`, anything outside
    ///   of one that belongs inside), an unknown tag, a Truncate whose number of
    ///   relations is not sure (each takes an ordinal), a Relation that does not say
    ///   whose definition it replaces.
    /// - Not fatal: an insert, update or delete, which is one message and takes one
    ///   ordinal whatever it holds, so that it alone is parked. A Relation that
    ///   cannot be read: its old definition is forgotten, so that each change of that
    ///   relation is parked and none is read by a definition that no longer holds.
    ///   A Type or Message: nothing else depends on it for its place.
    pub fn is_fatal(&self) -> bool {
        match self {
            DecodeError::Empty
            | DecodeError::UnknownTag { .. }
            | DecodeError::OutsideTransaction { .. }
            | DecodeError::NestedBegin { .. }
            | DecodeError::CommitMismatch { .. }
            | DecodeError::CommitEnd { .. }
            | DecodeError::UnnamedRelation => true,
            DecodeError::Malformed { message, .. } => match message {
                MessageKind::Begin | MessageKind::Commit | MessageKind::Truncate => true,
                MessageKind::Relation
                | MessageKind::Type
                | MessageKind::Insert
                | MessageKind::Update
                | MessageKind::Delete
                | MessageKind::Message => false,
            },
            DecodeError::UnknownRelation { .. } | DecodeError::ColumnCount { .. } => false,
        }
    }
}

/// The messages whose bytes are read; Origin is skipped unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    Begin,
    Commit,
    Relation,
    Type,
    Insert,
    Update,
    Delete,
    Truncate,
    Message,
}

impl fmt::Display for MessageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What was wrong with the bytes at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("{needed} more bytes were announced than there are")]
    EndsEarly { needed: usize },
    #[error("{count} bytes follow its end")]
    TrailingBytes { count: usize },
    #[error("a length or count is negative")]
    NegativeLength,
    #[error("a name has no end")]
    UnterminatedName,
    #[error("a name is not UTF-8; give the database an encoding or rename it")]
    NameNotUtf8,
    #[error("byte 0x{found:02X} stands where {expected} is expected")]
    UnexpectedByte { found: u8, expected: &'static str },
    #[error("a column came in binary format, for which walhook never asks")]
    BinaryColumn,
    #[error("its time is outside of the years -9999 to 9999; check the server's clock")]
    TimeOutOfRange,
}
