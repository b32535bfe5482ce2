//! A row of the shadow: its key, its values, and what a change of the log makes of them.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::pgoutput::{OldTuple, Operation, Relation, ReplicaIdentity, Tuple, TupleValue};

/// The values of a row by the table's places; `UnchangedToast` is one that is not known.
pub(super) type Values = Vec<TupleValue>;

/// A row's key as the store has it: the values of the replica identity's columns.
pub(super) type RowKey = Vec<u8>;

/// The store's index takes entries of about 2,700 bytes; a longer key is kept as its hash.
const LONGEST_KEY: usize = 1_024;

const NULL: u32 = u32::MAX;
const UNKNOWN: u32 = u32::MAX - 1;

/// Each value's length in four bytes, then its text.
pub(super) fn encode(values: &[TupleValue]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(values.len() * 12);
    for value in values {
        match value {
            TupleValue::Null => encoded.extend_from_slice(&NULL.to_be_bytes()),
            TupleValue::UnchangedToast | TupleValue::Omitted { .. } => {
                encoded.extend_from_slice(&UNKNOWN.to_be_bytes());
            }
            TupleValue::Text(text) => {
                // A value of the log is below 1 GiB.
                let length = u32::try_from(text.len()).unwrap_or(UNKNOWN);
                encoded.extend_from_slice(&length.to_be_bytes());
                encoded.extend_from_slice(text);
            }
        }
    }
    encoded
}

/// `None` where the bytes are not what [`encode`] writes.
pub(super) fn decode(encoded: &[u8]) -> Option<Values> {
    let mut values = Vec::new();
    let mut rest = encoded;
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let (value, behind) = match u32::from_be_bytes(*length) {
            NULL => (TupleValue::Null, behind),
            UNKNOWN => (TupleValue::UnchangedToast, behind),
            length => {
                let (text, behind) = behind.split_at_checked(usize::try_from(length).ok()?)?;
                (TupleValue::Text(Bytes::copy_from_slice(text)), behind)
            }
        };
        values.push(value);
        rest = behind;
    }
    rest.is_empty().then_some(values)
}

pub(super) fn key_of<'a>(values: impl Iterator<Item = Option<&'a [u8]>>) -> Option<RowKey> {
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
pub(super) struct Binding {
    /// The key's columns, in the shadow's order.
    key: Vec<usize>,
    /// The column of each place; `None` where there is none (any more).
    places: Vec<Option<usize>>,
}

impl Binding {
    /// `None` where the relation's identity is not the shadow's key: then a change does
    /// not say which row it met.
    pub(super) fn of(relation: &Relation, key: &[String], places: &[String]) -> Option<Self> {
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
        })
    }

    /// The row before the change, and the row after it.
    pub(super) fn keys(&self, operation: &Operation) -> (Option<RowKey>, Option<RowKey>) {
        let of = |tuple: &Tuple, fallback: Option<&Tuple>| {
            key_of(self.key.iter().map(|column| {
                match (
                    tuple.get(*column),
                    fallback.and_then(|old| old.get(*column)),
                ) {
                    (Some(TupleValue::Text(text)), _) => Some(&text[..]),
                    // A key that is TOASTed: the log then carries the old one.
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
                Some(OldTuple::Full(old)) => old.get(column),
                Some(OldTuple::Key(_)) | None => None,
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

    /// The operation as the log would have it under REPLICA IDENTITY FULL, as far as the
    /// shadow knows the row before; `None` where there is nothing to add.
    pub(super) fn with_old_values(
        &self,
        relation: &Relation,
        operation: &Operation,
        before: &Values,
    ) -> Option<Operation> {
        // Under DEFAULT an update without an old tuple did not touch the key.
        let identity = match operation {
            Operation::Update { old: None, new } => new,
            Operation::Update {
                old: Some(OldTuple::Key(old)),
                ..
            }
            | Operation::Delete {
                old: OldTuple::Key(old),
            } => old,
            Operation::Update {
                old: Some(OldTuple::Full(_)),
                ..
            }
            | Operation::Delete {
                old: OldTuple::Full(_),
            }
            | Operation::Insert { .. }
            | Operation::Truncate => return None,
        };
        let mut old = vec![TupleValue::UnchangedToast; relation.columns.len()];
        for ((slot, column), value) in old.iter_mut().zip(&relation.columns).zip(identity) {
            if column.identity {
                *slot = value.clone();
            }
        }
        for (column, value) in self.places.iter().zip(before) {
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
        assert_eq!(decode(&[]), Some(Vec::new()));
        for cut in [1, 3, 4, encoded.len() - 1] {
            let decoded = decode(&encoded[..cut]);
            assert!(decoded.is_none(), "{cut} bytes read as {decoded:?}");
        }
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
