//! Rows as the WAL carries them: text, null, or nothing at all.

use std::fmt;

use bytes::Bytes;

use super::error::{DecodeError, Fault};
use super::reader::Reader;
use super::relation::Relation;

/// One column's value in the server's text format.
#[derive(Clone, PartialEq, Eq)]
pub enum TupleValue {
    Null,
    /// A TOASTed value that the update did not touch: not in the WAL, and never null.
    UnchangedToast,
    /// A large value of a row that was too large to be held: it came and was passed over.
    Omitted {
        bytes: usize,
    },
    Text(Bytes),
}

/// The format of a value that was passed over, followed by its length alone. Never the
/// server's: [`Abridged`](super::Abridged) writes it.
pub(super) const OMITTED: u8 = b'o';

/// Never shows a row's values.
impl fmt::Debug for TupleValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TupleValue::Null => f.write_str("Null"),
            TupleValue::UnchangedToast => f.write_str("UnchangedToast"),
            TupleValue::Omitted { bytes } => write!(f, "Omitted({bytes} bytes)"),
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

/// Reads a TupleData. The values share the message's memory.
///
/// A count that differs from the relation's is refused before anything is
/// allocated: values would stand under other columns' names.
pub(super) fn read(reader: &mut Reader<'_>, relation: &Relation) -> Result<Tuple, DecodeError> {
    let count = reader.count16()?;
    if count != relation.columns.len() {
        return Err(DecodeError::ColumnCount {
            message: reader.message(),
            expected: relation.columns.len(),
            found: count,
        });
    }
    let mut tuple = Vec::with_capacity(count);
    for _ in 0..count {
        if let Some(text) = reader.text() {
            tuple.push(TupleValue::Text(text));
            continue;
        }
        tuple.push(match reader.u8()? {
            b'n' => TupleValue::Null,
            b'u' => TupleValue::UnchangedToast,
            OMITTED => TupleValue::Omitted {
                bytes: reader.count32()?,
            },
            // A text that did not fit; said by what fails of it.
            b't' => {
                let length = reader.count32()?;
                TupleValue::Text(reader.bytes(length)?)
            }
            b'b' => return Err(reader.malformed(Fault::BinaryColumn)),
            other => return Err(reader.unexpected(other, "a column's format (n, u or t)")),
        });
    }
    Ok(tuple)
}
