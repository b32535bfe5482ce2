//! Rows as the log carries them: text, null, or nothing at all.

use std::fmt;

use bytes::Bytes;

/// One column's value in the server's text format.
#[derive(Clone, PartialEq, Eq)]
pub enum TupleValue {
    Null,
    /// A TOASTed value that the update did not touch: not in the log, and never null.
    UnchangedToast,
    Text(Bytes),
}

/// Never shows a row's values.
impl fmt::Debug for TupleValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TupleValue::Null => f.write_str("Null"),
            TupleValue::UnchangedToast => f.write_str("UnchangedToast"),
            TupleValue::Text(text) => write!(f, "Text({} bytes)", text.len()),
        }
    }
}

/// The values of a row in the order of its relation's columns.
pub type Tuple = Vec<TupleValue>;

/// What an update or delete says of the row before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OldTuple {
    /// The replica identity's columns only (`K`); the others stand as `Null` and are absent.
    Key(Tuple),
    /// The whole row (`O`), under REPLICA IDENTITY FULL.
    Full(Tuple),
}
