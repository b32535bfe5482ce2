//! A change that is kept outside of the WAL, so that it can be mapped again: in pgoutput's
//! own messages, which describe it whole.

use bytes::{BufMut, Bytes};

use super::tuple::OMITTED;
use super::{
    Change, Decoder, OldTuple, Operation, Relation, ReplicaIdentity, StreamEvent,
    TransactionHeader, Tuple, TupleValue,
};
use crate::lsn::Lsn;

/// 2000-01-01 in microseconds since 1970-01-01.
const EPOCH: i64 = 946_684_800_000_000;

/// `None` for a truncate, which has no row.
pub fn encode(header: &TransactionHeader, change: &Change) -> Option<Vec<u8>> {
    let mut row = Vec::new();
    let (tag, rows) = match &change.operation {
        Operation::Insert { new } => (b'I', vec![(b'N', new)]),
        Operation::Update { old, new } => {
            let old = old.as_ref().map(old_row);
            (b'U', old.into_iter().chain([(b'N', new)]).collect())
        }
        Operation::Delete { old } => (b'D', vec![old_row(old)]),
        Operation::Truncate => return None,
    };
    row.put_u8(tag);
    row.put_u32(change.relation.oid);
    for (part, tuple) in rows {
        row.put_u8(part);
        put_tuple(&mut row, tuple);
    }
    let mut kept = Vec::with_capacity(row.len() + 256);
    kept.put_u64(change.ordinal);
    for message in [begin(header), relation(&change.relation), row] {
        kept.put_u32(u32::try_from(message.len()).ok()?);
        kept.put_slice(&message);
    }
    Some(kept)
}

/// `None` where the bytes are not what [`encode`] writes.
pub fn decode(kept: &[u8]) -> Option<(TransactionHeader, Change)> {
    let (ordinal, mut rest) = kept.split_first_chunk::<8>()?;
    let mut decoder = Decoder::new();
    let mut events = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (message, behind) = behind.split_at_checked(length)?;
        decoder.decode(Lsn::ZERO, Bytes::copy_from_slice(message), &mut events);
        rest = behind;
    }
    let mut events = events.into_iter();
    let (StreamEvent::Begin(header), StreamEvent::Change(mut change)) =
        (events.next()?, events.next()?)
    else {
        return None;
    };
    change.ordinal = u64::from_be_bytes(*ordinal);
    Some((header, change))
}

fn old_row(old: &OldTuple) -> (u8, &Tuple) {
    match old {
        OldTuple::Key(tuple) => (b'K', tuple),
        OldTuple::Full(tuple) => (b'O', tuple),
    }
}

fn begin(header: &TransactionHeader) -> Vec<u8> {
    let mut message = vec![b'B'];
    message.put_u64(header.commit_lsn.0);
    message.put_i64(header.committed_at.as_microsecond() - EPOCH);
    message.put_u32(header.xid);
    message
}

fn relation(relation: &Relation) -> Vec<u8> {
    let mut message = vec![b'R'];
    message.put_u32(relation.oid);
    put_name(&mut message, &relation.namespace);
    put_name(&mut message, &relation.name);
    message.put_u8(match relation.replica_identity {
        ReplicaIdentity::Default => b'd',
        ReplicaIdentity::Nothing => b'n',
        ReplicaIdentity::Full => b'f',
        ReplicaIdentity::Index => b'i',
    });
    message.put_u16(count(relation.columns.len()));
    for column in &relation.columns {
        message.put_u8(u8::from(column.identity));
        put_name(&mut message, &column.name);
        message.put_u32(column.type_oid);
        message.put_i32(column.type_modifier);
    }
    message
}

fn put_name(message: &mut Vec<u8>, name: &str) {
    message.put_slice(name.as_bytes());
    message.put_u8(0);
}

fn put_tuple(message: &mut Vec<u8>, tuple: &Tuple) {
    message.put_u16(count(tuple.len()));
    for value in tuple {
        match value {
            TupleValue::Null => message.put_u8(b'n'),
            TupleValue::UnchangedToast => message.put_u8(b'u'),
            TupleValue::Omitted { bytes } => {
                message.put_u8(OMITTED);
                message.put_u32(length(*bytes));
            }
            TupleValue::Text(text) => {
                message.put_u8(b't');
                message.put_u32(length(text.len()));
                message.put_slice(text);
            }
        }
    }
}

/// A table has at most 1,600 columns.
fn count(columns: usize) -> u16 {
    u16::try_from(columns).unwrap_or(u16::MAX)
}

/// A value of the WAL is below 1 GiB.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;

    use super::*;
    use crate::pgoutput::Column;

    #[test]
    fn a_change_is_kept_whole_and_damaged_bytes_do_not_pass() {
        let column = |name: &str, type_oid| Column {
            name: name.to_owned(),
            identity: name == "id",
            type_oid,
            type_modifier: -1,
        };
        let relation = Arc::new(Relation {
            oid: 7,
            namespace: "public".to_owned(),
            name: "Größe".to_owned(),
            replica_identity: ReplicaIdentity::Index,
            columns: vec![column("id", 20), column("a", 25), column("b", 3802)],
        });
        let header = TransactionHeader {
            xid: 42,
            commit_lsn: Lsn(0x16B_3748),
            committed_at: Timestamp::from_microsecond(1_795_435_200_123_456).unwrap(),
        };
        let text = TupleValue::Text(Bytes::from_static(b"1"));
        let tuple = vec![
            text.clone(),
            TupleValue::UnchangedToast,
            TupleValue::Omitted { bytes: 100 },
        ];
        let old = vec![text, TupleValue::Null, TupleValue::Null];
        for operation in [
            Operation::Insert { new: tuple.clone() },
            Operation::Update {
                old: None,
                new: tuple.clone(),
            },
            Operation::Update {
                old: Some(OldTuple::Full(old.clone())),
                new: tuple,
            },
            Operation::Delete {
                old: OldTuple::Key(old),
            },
        ] {
            let change = Change {
                relation: Arc::clone(&relation),
                ordinal: 99,
                operation,
            };
            let kept = encode(&header, &change).unwrap();
            let (read_header, read) = decode(&kept).unwrap();
            assert_eq!(read_header, header);
            assert_eq!(read.relation, relation);
            assert_eq!(read.ordinal, 99);
            assert_eq!(encode(&header, &read).as_ref(), Some(&kept));
            for cut in 0..kept.len() {
                assert!(decode(&kept[..cut]).is_none(), "{cut} of {}", kept.len());
            }
        }
    }
}
