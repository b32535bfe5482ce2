//! The decoder of a session's stream: one message in, its events out.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::error::{DecodeError, Fault, MessageKind};
use super::reader::Reader;
use super::relation::{self, Relation};
use super::tuple::{self, OldTuple};
use super::{Change, Operation, StreamEvent, TransactionHeader, value};
use crate::lsn::Lsn;

/// Decodes the messages of one session in their order. A new session needs a new
/// decoder: the server describes every relation again.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    /// As the session last described them. A B-tree, as it is read for every change:
    /// among the few relations of a publication that is faster than hashing.
    relations: BTreeMap<u32, Arc<Relation>>,
    /// Domains over built-in types, to those types (`Y`).
    base_types: HashMap<u32, u32>,
    open: Option<OpenTransaction>,
}

#[derive(Clone, Debug)]
struct OpenTransaction {
    header: TransactionHeader,
    next_ordinal: u64,
}

impl OpenTransaction {
    fn take_ordinal(&mut self) -> u64 {
        let ordinal = self.next_ordinal;
        self.next_ordinal += 1;
        ordinal
    }
}

impl Decoder {
    pub fn new() -> Self {
        Decoder::default()
    }

    /// Appends to `out` what one message says: one event for most, one a relation
    /// for a Truncate, none for Relation, Type and Origin. `wal_start` is that of
    /// the XLogData around it.
    ///
    /// Never fails: what cannot be decoded is an event too
    /// ([`StreamEvent::Undecodable`]). After one whose error
    /// [is fatal](DecodeError::is_fatal) later events have no sure place: the
    /// caller must stop using this decoder and its session.
    pub fn decode(&mut self, wal_start: Lsn, payload: Bytes, out: &mut Vec<StreamEvent>) {
        let Some(tag) = payload.first() else {
            return self.undecodable(wal_start, payload, DecodeError::Empty, out);
        };
        let done = match tag {
            b'I' => return self.decode_change(MessageKind::Insert, wal_start, payload, out),
            b'U' => return self.decode_change(MessageKind::Update, wal_start, payload, out),
            b'D' => return self.decode_change(MessageKind::Delete, wal_start, payload, out),
            b'B' => self.decode_begin(&payload, out),
            b'C' => self.decode_commit(&payload, out),
            b'R' => self.decode_relation(&payload),
            b'Y' => self.decode_type(&payload),
            b'T' => self.decode_truncate(wal_start, &payload, out),
            b'M' => self.decode_message(&payload, out),
            // Which server a change first came from: of no consequence here.
            b'O' => Ok(()),
            &tag => Err(DecodeError::UnknownTag { tag }),
        };
        if let Err(error) = done {
            self.undecodable(wal_start, payload, error, out);
        }
    }

    fn undecodable(
        &self,
        wal_start: Lsn,
        payload: Bytes,
        error: DecodeError,
        out: &mut Vec<StreamEvent>,
    ) {
        out.push(StreamEvent::Undecodable {
            lsn: self.place(wal_start),
            ordinal: None,
            relation: None,
            error,
            payload,
        });
    }

    /// Relation and Type messages come with LSN 0/0: the transaction says more.
    fn place(&self, wal_start: Lsn) -> Lsn {
        match &self.open {
            Some(open) if wal_start == Lsn::ZERO => open.header.commit_lsn,
            _ => wal_start,
        }
    }

    fn decode_begin(
        &mut self,
        payload: &Bytes,
        out: &mut Vec<StreamEvent>,
    ) -> Result<(), DecodeError> {
        let mut reader = Reader::behind_tag(MessageKind::Begin, payload);
        let commit_lsn = reader.lsn()?;
        let committed_at = timestamp(&mut reader)?;
        let xid = reader.u32()?;
        reader.finish()?;
        if let Some(open) = &self.open {
            let open_xid = open.header.xid;
            return Err(DecodeError::NestedBegin { open_xid });
        }
        let header = TransactionHeader {
            xid,
            commit_lsn,
            committed_at,
        };
        self.open = Some(OpenTransaction {
            header,
            next_ordinal: 0,
        });
        out.push(StreamEvent::Begin(header));
        Ok(())
    }

    fn decode_commit(
        &mut self,
        payload: &Bytes,
        out: &mut Vec<StreamEvent>,
    ) -> Result<(), DecodeError> {
        let mut reader = Reader::behind_tag(MessageKind::Commit, payload);
        // Flags, of which protocol 1 uses none.
        reader.u8()?;
        let commit_lsn = reader.lsn()?;
        let end_lsn = reader.lsn()?;
        // The time stood in Begin already.
        reader.i64()?;
        reader.finish()?;
        let Some(open) = &self.open else {
            let message = MessageKind::Commit;
            return Err(DecodeError::OutsideTransaction { message });
        };
        let announced = open.header.commit_lsn;
        if commit_lsn != announced {
            let found = commit_lsn;
            return Err(DecodeError::CommitMismatch { announced, found });
        }
        if end_lsn <= commit_lsn {
            return Err(DecodeError::CommitEnd {
                commit_lsn,
                end_lsn,
            });
        }
        self.open = None;
        out.push(StreamEvent::Commit {
            commit_lsn,
            end_lsn,
        });
        Ok(())
    }

    fn decode_relation(&mut self, payload: &Bytes) -> Result<(), DecodeError> {
        let mut reader = Reader::behind_tag(MessageKind::Relation, payload);
        let oid = reader.u32().map_err(|_| DecodeError::UnnamedRelation)?;
        // Forgotten first: if the new definition cannot be read, the old one must
        // not stay, or values would stand under the wrong names.
        self.relations.remove(&oid);
        let mut relation = Relation::read(oid, &mut reader)?;
        for column in &mut relation.columns {
            if let Some(base) = self.base_types.get(&column.type_oid) {
                column.type_oid = *base;
            }
        }
        self.relations.insert(oid, Arc::new(relation));
        Ok(())
    }

    /// Comes before the Relation that uses the type. For a domain the server
    /// writes the domain's oid and its base type's name.
    fn decode_type(&mut self, payload: &Bytes) -> Result<(), DecodeError> {
        let mut reader = Reader::behind_tag(MessageKind::Type, payload);
        let oid = reader.u32()?;
        // Oids are reused: what stood here before may be another type.
        self.base_types.remove(&oid);
        let namespace = relation::namespace(reader.name()?);
        let name = reader.name()?;
        reader.finish()?;
        if namespace == "pg_catalog"
            && let Some(base) = value::built_in_oid(name)
        {
            self.base_types.insert(oid, base);
        }
        Ok(())
    }

    fn decode_message(
        &mut self,
        payload: &Bytes,
        out: &mut Vec<StreamEvent>,
    ) -> Result<(), DecodeError> {
        let message = MessageKind::Message;
        let mut reader = Reader::behind_tag(message, payload);
        let transactional = reader.u8()? & 1 != 0;
        let lsn = reader.lsn()?;
        let prefix = reader.name()?.to_owned();
        let length = reader.count32()?;
        let content = reader.bytes(length)?;
        reader.finish()?;
        if transactional && self.open.is_none() {
            return Err(DecodeError::OutsideTransaction { message });
        }
        out.push(StreamEvent::Message {
            transactional,
            lsn,
            prefix,
            content,
        });
        Ok(())
    }

    /// One change, and one ordinal, for each relation that the statement names.
    fn decode_truncate(
        &mut self,
        wal_start: Lsn,
        payload: &Bytes,
        out: &mut Vec<StreamEvent>,
    ) -> Result<(), DecodeError> {
        let message = MessageKind::Truncate;
        let lsn = self.place(wal_start);
        let Some(open) = &mut self.open else {
            return Err(DecodeError::OutsideTransaction { message });
        };
        let mut reader = Reader::behind_tag(message, payload);
        let count = reader.count32()?;
        // CASCADE and RESTART IDENTITY: nothing hangs on them here.
        reader.u8()?;
        reader.require(count.saturating_mul(4))?;
        let mut oids = Vec::with_capacity(count);
        for _ in 0..count {
            oids.push(reader.u32()?);
        }
        // Before any ordinal is taken: whether all of them are known is sure only now.
        reader.finish()?;
        for oid in oids {
            let ordinal = open.take_ordinal();
            out.push(match self.relations.get(&oid) {
                Some(relation) => StreamEvent::Change(Change {
                    relation: Arc::clone(relation),
                    ordinal,
                    operation: Operation::Truncate,
                }),
                None => StreamEvent::Undecodable {
                    lsn,
                    ordinal: Some(ordinal),
                    relation: None,
                    error: DecodeError::UnknownRelation { message, oid },
                    payload: payload.clone(),
                },
            });
        }
        Ok(())
    }

    /// An insert, update or delete. The tag alone tells that it is one change, so
    /// its ordinal is taken before the rest is looked at.
    fn decode_change(
        &mut self,
        message: MessageKind,
        wal_start: Lsn,
        payload: Bytes,
        out: &mut Vec<StreamEvent>,
    ) {
        let Some(open) = &mut self.open else {
            let error = DecodeError::OutsideTransaction { message };
            return self.undecodable(wal_start, payload, error, out);
        };
        let ordinal = open.take_ordinal();
        let mut reader = Reader::behind_tag(message, &payload);
        let mut known = None;
        let change = reader
            .u32()
            .and_then(|oid| {
                self.relations
                    .get(&oid)
                    .ok_or(DecodeError::UnknownRelation { message, oid })
            })
            .and_then(|relation| {
                known = Some(relation);
                let operation = read_operation(&mut reader, relation)?;
                Ok(Change {
                    relation: Arc::clone(relation),
                    ordinal,
                    operation,
                })
            });
        out.push(match change {
            Ok(change) => StreamEvent::Change(change),
            Err(error) => StreamEvent::Undecodable {
                lsn: self.place(wal_start),
                ordinal: Some(ordinal),
                relation: known.map(|relation| relation.qualified_name()),
                error,
                payload,
            },
        });
    }
}

/// Reads what follows the relation's oid in an Insert, Update or Delete.
fn read_operation(reader: &mut Reader<'_>, relation: &Relation) -> Result<Operation, DecodeError> {
    let operation = match (reader.message(), reader.u8()?) {
        (MessageKind::Insert, b'N') => Operation::Insert {
            new: tuple::read(reader, relation)?,
        },
        (MessageKind::Update, b'N') => Operation::Update {
            old: None,
            new: tuple::read(reader, relation)?,
        },
        (MessageKind::Update, part @ (b'K' | b'O')) => {
            let old = read_old(part, reader, relation)?;
            match reader.u8()? {
                b'N' => Operation::Update {
                    old: Some(old),
                    new: tuple::read(reader, relation)?,
                },
                other => return Err(reader.unexpected(other, "the new row (N)")),
            }
        }
        (MessageKind::Delete, part @ (b'K' | b'O')) => Operation::Delete {
            old: read_old(part, reader, relation)?,
        },
        (MessageKind::Insert, other) => return Err(reader.unexpected(other, "the new row (N)")),
        (MessageKind::Delete, other) => {
            return Err(reader.unexpected(other, "the old row (K or O)"));
        }
        (_, other) => return Err(reader.unexpected(other, "a row (K, O or N)")),
    };
    reader.finish()?;
    Ok(operation)
}

fn read_old(
    part: u8,
    reader: &mut Reader<'_>,
    relation: &Relation,
) -> Result<OldTuple, DecodeError> {
    let tuple = tuple::read(reader, relation)?;
    Ok(match part {
        b'K' => OldTuple::Key(tuple),
        _ => OldTuple::Full(tuple),
    })
}

/// Microseconds since 2000-01-01 UTC, as the server counts them.
fn timestamp(reader: &mut Reader<'_>) -> Result<Timestamp, DecodeError> {
    /// 2000-01-01 in microseconds since 1970-01-01.
    const EPOCH: i64 = 946_684_800_000_000;
    reader
        .i64()?
        .checked_add(EPOCH)
        .and_then(|micros| Timestamp::from_microsecond(micros).ok())
        .ok_or_else(|| reader.malformed(Fault::TimeOutOfRange))
}
