//! A row of the shadow: its key, its values, and what a change of the WAL makes of them.

use bytes::{Buf as _, Bytes};
use sha2::{Digest as _, Sha256};

use crate::pgoutput::{OldTuple, Operation, Relation, ReplicaIdentity, Tuple, TupleValue};

/// The values of a row by the table's places; `UnchangedToast` is one that is not known.
pub(super) type Values = Vec<TupleValue>;

/// A row's key as the store has it: the values of the replica identity's columns.
pub(in crate::capture) type RowKey = Vec<u8>;

/// The store's index takes entries of about 2,700 bytes; a longer key is kept as its hash.
const LONGEST_KEY: usize = 1_024;

const NULL: u32 = u32::MAX;
const UNKNOWN: u32 = u32::MAX - 1;

/// A longer value is not kept, and counts as not known: it would be held with others
/// in memory, and is more than a body may be by default (`delivery.max_body`).
pub const LONGEST_VALUE: usize = 256 * 1024;

/// Each value's length in four bytes, then its text.
pub(super) fn encode(values: &[TupleValue]) -> Bytes {
    let text = |value: &TupleValue| match value {
        TupleValue::Text(text) => text.len(),
        TupleValue::Null | TupleValue::UnchangedToast | TupleValue::Omitted { .. } => 0,
    };
    let length = values.iter().map(|value| 4 + text(value)).sum();
    let mut encoded = Vec::with_capacity(length);
    for value in values {
        match value {
            TupleValue::Null => encoded.extend_from_slice(&NULL.to_be_bytes()),
            TupleValue::UnchangedToast | TupleValue::Omitted { .. } => {
                encoded.extend_from_slice(&UNKNOWN.to_be_bytes());
            }
            TupleValue::Text(text) => match u32::try_from(text.len()) {
                Ok(length) if text.len() <= LONGEST_VALUE => {
                    encoded.extend_from_slice(&length.to_be_bytes());
                    encoded.extend_from_slice(text);
                }
                _ => encoded.extend_from_slice(&UNKNOWN.to_be_bytes()),
            },
        }
    }
    encoded.into()
}

/// `None` where the bytes are not what [`encode`] writes.
pub(super) fn decode(encoded: &Bytes) -> Option<Values> {
    let mut values = Vec::new();
    let mut rest = encoded.clone();
    while let Some(length) = rest.first_chunk::<4>() {
        let length = u32::from_be_bytes(*length);
        rest.advance(4);
        values.push(match length {
            NULL => TupleValue::Null,
            UNKNOWN => TupleValue::UnchangedToast,
            length => {
                let length = usize::try_from(length).ok()?;
                if length > rest.len() {
                    return None;
                }
                TupleValue::Text(rest.split_to(length))
            }
        });
    }
    rest.is_empty().then_some(values)
}

pub(in crate::capture) fn key_of<'a>(
    values: impl Iterator<Item = Option<&'a [u8]>>,
) -> Option<RowKey> {
    let mut key = Vec::new();
    for value in values {
        let value = value?;
        key.extend_from_slice(&u32::try_from(value.len()).ok()?.to_be_bytes());
        key.extend_from_slice(value);
    }
    if key.len() > LONGEST_KEY {
        key = Sha256::digest(&key).to_vec();
    }
    Some(key)
}

/// The known values, with those that are not known as they were seen.
pub(super) fn fill(known: &Values, seen: Values) -> Values {
    let value = |(place, seen): (usize, TupleValue)| match known.get(place) {
        None | Some(TupleValue::UnchangedToast) => seen,
        Some(known) => known.clone(),
    };
    seen.into_iter().enumerate().map(value).collect()
}

/// Where a relation, as the stream describes it, has what the shadow watches.
pub(in crate::capture) struct Binding {
    /// The key's columns, in the shadow's order.
    key: Vec<usize>,
    /// The column of each place; `None` where there is none (any more).
    places: Vec<Option<usize>>,
    /// An old row that says it is whole is: a partitioned table's changes come with what
    /// each partition logs, under what the root announces.
    whole: bool,
}

impl Binding {
    /// `None` where the relation's identity is not the shadow's key: then a change does
    /// not say which row it met.
    pub(in crate::capture) fn of(
        relation: &Relation,
        key: &[String],
        places: &[String],
        partitioned: bool,
    ) -> Option<Self> {
        let named = |name: &String| relation.column_index(name);
        let key: Vec<usize> = key.iter().map(named).collect::<Option<_>>()?;
        let identifies = match relation.replica_identity {
            ReplicaIdentity::Full => true,
            ReplicaIdentity::Nothing => false,
            ReplicaIdentity::Default | ReplicaIdentity::Index => {
                let columns = relation.columns.iter().enumerate();
                let mut identity: Vec<usize> = columns
                    .filter(|(_, column)| column.identity)
                    .map(|(index, _)| index)
                    .collect();
                let mut sorted = key.clone();
                identity.sort_unstable();
                sorted.sort_unstable();
                identity == sorted
            }
        };
        identifies.then(|| Binding {
            key,
            places: places.iter().map(named).collect(),
            whole: !partitioned,
        })
    }

    /// The row before the change, and the row after it.
    pub(in crate::capture) fn keys(
        &self,
        operation: &Operation,
    ) -> (Option<RowKey>, Option<RowKey>) {
        let of = |tuple: &Tuple, fallback: Option<&Tuple>| {
            key_of(self.key.iter().map(|column| {
                match (
                    tuple.get(*column),
                    fallback.and_then(|old| old.get(*column)),
                ) {
                    (Some(TupleValue::Text(text)), _) => Some(&text[..]),
                    // A key that is TOASTed: the WAL then carries the old one.
                    (Some(TupleValue::UnchangedToast), Some(TupleValue::Text(text))) => {
                        Some(&text[..])
                    }
                    _ => None,
                }
            }))
        };
        match operation {
            Operation::Insert { new } => (None, of(new, None)),
            Operation::Update { old: None, new } => {
                let key = of(new, None);
                (key.clone(), key)
            }
            Operation::Update {
                old: Some(OldTuple::Key(old) | OldTuple::Full(old)),
                new,
            } => (of(old, None), of(new, Some(old))),
            Operation::Delete {
                old: OldTuple::Key(old) | OldTuple::Full(old),
            } => (of(old, None), None),
            Operation::Truncate => (None, None),
        }
    }

    /// What the shadow holds after an insert or update.
    pub(super) fn values_after(&self, operation: &Operation, before: Option<&Values>) -> Values {
        let (old, new) = match operation {
            Operation::Insert { new } => (None, new),
            Operation::Update { old, new } => (old.as_ref(), new),
            Operation::Delete { .. } | Operation::Truncate => return Vec::new(),
        };
        let kept = |place: usize, column: usize| {
            let logged = match old {
                Some(OldTuple::Full(old)) if self.whole => old.get(column),
                Some(OldTuple::Full(_) | OldTuple::Key(_)) | None => None,
            };
            let known = logged.or_else(|| before.and_then(|before| before.get(place)));
            known.cloned().unwrap_or(TupleValue::UnchangedToast)
        };
        let value = |(place, column): (usize, &Option<usize>)| match *column {
            None => TupleValue::UnchangedToast,
            Some(column) => match new.get(column) {
                Some(TupleValue::UnchangedToast) => kept(place, column),
                // It has another value, which is too large to be held: not known.
                Some(TupleValue::Omitted { .. }) | None => TupleValue::UnchangedToast,
                Some(known) => known.clone(),
            },
        };
        self.places.iter().enumerate().map(value).collect()
    }

    /// The operation as the WAL would have it under REPLICA IDENTITY FULL, as far as the
    /// shadow knows the row before; `None` where there is nothing to add.
    pub(super) fn with_old_values(
        &self,
        relation: &Relation,
        operation: &Operation,
        before: Option<&Values>,
    ) -> Option<Operation> {
        let (logged, is_whole) = match operation {
            // Under DEFAULT an update without an old tuple did not touch the key.
            Operation::Update { old: None, new } => (new, false),
            Operation::Update { old: Some(old), .. } | Operation::Delete { old } => match old {
                OldTuple::Key(old) => (old, false),
                OldTuple::Full(old) => (old, true),
            },
            Operation::Insert { .. } | Operation::Truncate => return None,
        };
        // A partition that logs its key alone shows nulls for the rest, and they may
        // come as a whole row.
        let is_trusted = is_whole && self.whole;
        if is_trusted || (before.is_none() && !is_whole) {
            return None;
        }
        let mut old = vec![TupleValue::UnchangedToast; relation.columns.len()];
        for column in &self.key {
            if let (Some(slot), Some(value)) = (old.get_mut(*column), logged.get(*column)) {
                *slot = value.clone();
            }
        }
        for (column, value) in self.places.iter().zip(before.into_iter().flatten()) {
            if let Some(slot) = column.and_then(|column| old.get_mut(column)) {
                *slot = value.clone();
            }
        }
        let old = OldTuple::Full(old);
        Some(match operation {
            Operation::Update { new, .. } => Operation::Update {
                old: Some(old),
                new: new.clone(),
            },
            _ => Operation::Delete { old },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &'static str) -> TupleValue {
        TupleValue::Text(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn values_survive_the_store_and_damaged_bytes_do_not_pass() {
        let values = vec![
            text("a"),
            TupleValue::Null,
            TupleValue::UnchangedToast,
            text(""),
        ];
        let encoded = encode(&values);
        assert_eq!(decode(&encoded), Some(values));
        assert_eq!(decode(&Bytes::new()), Some(Vec::new()));
        for cut in [1, 3, 4, encoded.len() - 1] {
            let decoded = decode(&encoded.slice(..cut));
            assert!(decoded.is_none(), "{cut} bytes read as {decoded:?}");
        }
    }

    #[test]
    fn values_that_are_too_long_are_not_kept() {
        let of = |length: usize| TupleValue::Text(Bytes::from(vec![b'x'; length]));
        let values = [of(LONGEST_VALUE), of(LONGEST_VALUE + 1), text("a")];
        let decoded = decode(&encode(&values)).unwrap();
        assert_eq!(decoded[0], values[0]);
        assert_eq!(decoded[1..], [TupleValue::UnchangedToast, text("a")]);
    }

    #[test]
    fn keys_keep_their_columns_apart_and_their_length_in_bounds() {
        let key = |values: &[&'static str]| key_of(values.iter().map(|v| Some(v.as_bytes())));
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
        let long = "x".repeat(5_000);
        let hashed = key_of([Some(long.as_bytes())].into_iter()).unwrap();
        assert_eq!(hashed.len(), 32);
        assert_eq!(key_of([Some(&b"a"[..]), None].into_iter()), None);
    }
}
