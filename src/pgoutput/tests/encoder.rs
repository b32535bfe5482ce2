//! Writes messages as the server does, for tests that need frames of their own.

use bytes::Bytes;

use crate::lsn::Lsn;
use crate::pgoutput::{Relation, ReplicaIdentity, Tuple, TupleValue};

pub(super) fn begin(commit_lsn: Lsn, micros_since_2000: i64, xid: u32) -> Bytes {
    message(b'B', |out| {
        out.extend(commit_lsn.0.to_be_bytes());
        out.extend(micros_since_2000.to_be_bytes());
        out.extend(xid.to_be_bytes());
    })
}

pub(super) fn commit(commit_lsn: Lsn, end_lsn: Lsn) -> Bytes {
    message(b'C', |out| {
        out.push(0);
        out.extend(commit_lsn.0.to_be_bytes());
        out.extend(end_lsn.0.to_be_bytes());
        out.extend(0i64.to_be_bytes());
    })
}

pub(super) fn relation(relation: &Relation) -> Bytes {
    message(b'R', |out| {
        out.extend(relation.oid.to_be_bytes());
        name(out, &relation.namespace);
        name(out, &relation.name);
        out.push(match relation.replica_identity {
            ReplicaIdentity::Default => b'd',
            ReplicaIdentity::Nothing => b'n',
            ReplicaIdentity::Full => b'f',
            ReplicaIdentity::Index => b'i',
        });
        out.extend((relation.columns.len() as u16).to_be_bytes());
        for column in &relation.columns {
            out.push(u8::from(column.identity));
            name(out, &column.name);
            out.extend(column.type_oid.to_be_bytes());
            out.extend(column.type_modifier.to_be_bytes());
        }
    })
}

pub(super) fn type_name(oid: u32, namespace: &str, type_name: &str) -> Bytes {
    message(b'Y', |out| {
        out.extend(oid.to_be_bytes());
        name(out, namespace);
        name(out, type_name);
    })
}

pub(super) fn insert(oid: u32, new: &Tuple) -> Bytes {
    change(b'I', oid, &[(b'N', new)])
}

/// An insert, update or delete of any rows, well-formed or not.
pub(super) fn change(tag: u8, oid: u32, rows: &[(u8, &Tuple)]) -> Bytes {
    message(tag, |out| {
        out.extend(oid.to_be_bytes());
        for (part, tuple) in rows {
            out.push(*part);
            out.extend((tuple.len() as u16).to_be_bytes());
            for value in *tuple {
                match value {
                    TupleValue::Null => out.push(b'n'),
                    TupleValue::UnchangedToast => out.push(b'u'),
                    // No server sends one.
                    TupleValue::Omitted { .. } => unreachable!(),
                    TupleValue::Text(text) => {
                        out.push(b't');
                        out.extend((text.len() as u32).to_be_bytes());
                        out.extend(text);
                    }
                }
            }
        }
    })
}

pub(super) fn truncate(oids: &[u32]) -> Bytes {
    message(b'T', |out| {
        out.extend((oids.len() as u32).to_be_bytes());
        out.push(0);
        oids.iter().for_each(|oid| out.extend(oid.to_be_bytes()));
    })
}

pub(super) fn logical_message(
    transactional: bool,
    lsn: Lsn,
    prefix: &str,
    content: &[u8],
) -> Bytes {
    message(b'M', |out| {
        out.push(u8::from(transactional));
        out.extend(lsn.0.to_be_bytes());
        name(out, prefix);
        out.extend((content.len() as u32).to_be_bytes());
        out.extend(content);
    })
}

fn message(tag: u8, write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut out = vec![tag];
    write(&mut out);
    out.into()
}

fn name(out: &mut Vec<u8>, name: &str) {
    out.extend(name.as_bytes());
    out.push(0);
}
