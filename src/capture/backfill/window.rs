//! What the stream did to a table between a chunk's two watermarks.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use crate::capture::shadow::row::{Binding, RowKey};
use crate::pgoutput::{Change, Operation, Relation, Tuple, TupleValue};

/// Rows that are kept between two watermarks. They are some milliseconds apart, so that
/// only a large transaction changes more; then the chunk is read again.
const MAX_ROWS: usize = 50_000;

/// Bytes of their values.
const MAX_BYTES: usize = 16 * 1024 * 1024;

pub(super) struct Window {
    pub(super) backfill: Uuid,
    pub(super) number: u64,
    /// Transactions that the stream had brought when it began.
    pub(super) earlier: u64,
    /// The rows that were touched, as they are now; `None`: deleted. What the WAL does
    /// not say of a value, because it was not touched, is `UnchangedToast`.
    rows: HashMap<RowKey, Option<Tuple>>,
    bytes: usize,
    /// All rows before this were deleted.
    truncated: bool,
    relation: Option<Arc<Relation>>,
    spoiled: bool,
}

/// What became of a row that was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Now {
    AsRead(Tuple),
    Changed(Tuple),
    Gone,
}

impl Window {
    pub(super) fn open(backfill: Uuid, number: u64, earlier: u64) -> Self {
        Window {
            backfill,
            number,
            earlier,
            rows: HashMap::new(),
            bytes: 0,
            truncated: false,
            relation: None,
            spoiled: false,
        }
    }

    /// What is in it is not all that happened.
    pub(super) fn spoil(&mut self) {
        self.spoiled = true;
        self.rows = HashMap::new();
    }

    pub(super) fn is_spoiled(&self) -> bool {
        self.spoiled
    }

    pub(super) fn apply(&mut self, binding: Option<&Binding>, change: &Change) {
        if self.spoiled {
            return;
        }
        if let Operation::Truncate = change.operation {
            self.rows.clear();
            self.truncated = true;
            return;
        }
        let described = self
            .relation
            .get_or_insert_with(|| Arc::clone(&change.relation));
        let altered = !Arc::ptr_eq(described, &change.relation);
        let (Some(binding), false) = (binding, altered) else {
            return self.spoil();
        };
        let (old, new) = binding.keys(&change.operation);
        let before = old.as_ref().and_then(|key| self.rows.remove(key)).flatten();
        let after = after(&change.operation, before.as_ref());
        if let Some(key) = old {
            self.rows.insert(key, None);
        }
        match (new, after) {
            (Some(key), Some(tuple)) => {
                self.bytes += size(&tuple);
                self.rows.insert(key, Some(tuple));
            }
            (None, None) => {}
            // The WAL does not say which row it is.
            (Some(_), None) | (None, Some(_)) => return self.spoil(),
        }
        if self.rows.len() > MAX_ROWS || self.bytes > MAX_BYTES {
            self.spoil();
        }
    }

    /// The row as it is now, in the order of `relation`'s columns, which it was read by.
    /// `None` where the table was altered in between.
    pub(super) fn now(&self, relation: &Relation, key: &RowKey, read: Tuple) -> Option<Now> {
        let Some(touched) = self.rows.get(key) else {
            return Some(match self.truncated {
                true => Now::Gone,
                false => Now::AsRead(read),
            });
        };
        let Some(tuple) = touched else {
            return Some(Now::Gone);
        };
        let described = self.relation.as_ref()?;
        let value = |(column, read): (&crate::pgoutput::Column, TupleValue)| {
            let place = described.column_index(&column.name)?;
            let same = described.columns.get(place)?.type_oid == column.type_oid;
            same.then(|| match tuple.get(place) {
                None | Some(TupleValue::UnchangedToast) => read,
                Some(value) => value.clone(),
            })
        };
        let values = relation.columns.iter().zip(read).map(value);
        values.collect::<Option<Tuple>>().map(Now::Changed)
    }
}

/// The row after the change; what an update did not touch is as it was before, and where
/// nothing between the watermarks did, as it was read.
fn after(operation: &Operation, before: Option<&Tuple>) -> Option<Tuple> {
    let new = match operation {
        Operation::Insert { new } | Operation::Update { new, .. } => new,
        Operation::Delete { .. } | Operation::Truncate => return None,
    };
    let value = |(place, value): (usize, &TupleValue)| match value {
        TupleValue::UnchangedToast => {
            let known = before.and_then(|before| before.get(place));
            known.cloned().unwrap_or(TupleValue::UnchangedToast)
        }
        known => known.clone(),
    };
    Some(new.iter().enumerate().map(value).collect())
}

fn size(tuple: &Tuple) -> usize {
    let values = tuple.iter().map(|value| match value {
        TupleValue::Text(text) => text.len(),
        TupleValue::Null | TupleValue::UnchangedToast | TupleValue::Omitted { .. } => 0,
    });
    values.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::shadow::row::key_of;
    use crate::pgoutput::{Column, OldTuple, ReplicaIdentity};

    fn text(text: &str) -> TupleValue {
        TupleValue::Text(bytes::Bytes::copy_from_slice(text.as_bytes()))
    }

    fn relation(names: &[&str]) -> Arc<Relation> {
        let column = |(place, name): (usize, &&str)| Column {
            name: (*name).to_owned(),
            identity: place == 0,
            type_oid: 25,
            type_modifier: -1,
        };
        Arc::new(Relation {
            oid: 1,
            namespace: "public".to_owned(),
            name: "t".to_owned(),
            replica_identity: ReplicaIdentity::Default,
            columns: names.iter().enumerate().map(column).collect(),
        })
    }

    fn key(id: &str) -> RowKey {
        key_of([Some(id.as_bytes())].into_iter()).unwrap()
    }

    fn apply(window: &mut Window, relation: &Arc<Relation>, operation: Operation) {
        let binding = Binding::of(relation, &["id".to_owned()], &[], false);
        let change = Change {
            relation: Arc::clone(relation),
            ordinal: 0,
            operation,
        };
        window.apply(binding.as_ref(), &change);
    }

    fn update(old: Option<OldTuple>, new: Vec<TupleValue>) -> Operation {
        Operation::Update { old, new }
    }

    #[test]
    fn a_touched_row_is_as_the_last_change_left_it() {
        let stream = relation(&["id", "status", "note"]);
        let mut window = Window::open(Uuid::nil(), 1, 0);
        let toast = || TupleValue::UnchangedToast;
        apply(
            &mut window,
            &stream,
            update(None, vec![text("1"), text("a"), text("long")]),
        );
        apply(
            &mut window,
            &stream,
            update(None, vec![text("1"), text("b"), toast()]),
        );
        apply(
            &mut window,
            &stream,
            update(None, vec![text("2"), text("c"), toast()]),
        );
        let moved = OldTuple::Key(vec![text("3"), TupleValue::Null, TupleValue::Null]);
        apply(
            &mut window,
            &stream,
            update(Some(moved), vec![text("4"), text("d"), toast()]),
        );
        let deleted = OldTuple::Key(vec![text("5"), TupleValue::Null, TupleValue::Null]);
        apply(&mut window, &stream, Operation::Delete { old: deleted });

        // Read by columns in another order, of which the stream has one more.
        let read_by = relation(&["note", "id"]);
        let now = |id: &str| {
            let read = vec![text("read"), text(id)];
            window.now(&read_by, &key(id), read).unwrap()
        };
        assert_eq!(now("1"), Now::Changed(vec![text("long"), text("1")]));
        assert_eq!(now("2"), Now::Changed(vec![text("read"), text("2")]));
        assert_eq!(now("3"), Now::Gone);
        assert_eq!(now("4"), Now::Changed(vec![text("read"), text("4")]));
        assert_eq!(now("5"), Now::Gone);
        assert_eq!(now("6"), Now::AsRead(vec![text("read"), text("6")]));
        assert!(
            window
                .now(
                    &relation(&["id", "new"]),
                    &key("1"),
                    vec![text("1"), text("x")]
                )
                .is_none()
        );
    }

    #[test]
    fn a_truncate_leaves_what_came_after_it() {
        let stream = relation(&["id"]);
        let mut window = Window::open(Uuid::nil(), 1, 0);
        apply(
            &mut window,
            &stream,
            Operation::Insert {
                new: vec![text("1")],
            },
        );
        apply(&mut window, &stream, Operation::Truncate);
        apply(
            &mut window,
            &stream,
            Operation::Insert {
                new: vec![text("2")],
            },
        );
        let now = |id: &str| window.now(&stream, &key(id), vec![text(id)]).unwrap();
        assert_eq!(now("1"), Now::Gone);
        assert_eq!(now("2"), Now::Changed(vec![text("2")]));
    }

    #[test]
    fn an_altered_table_or_too_much_at_once_spoils_it() {
        let mut window = Window::open(Uuid::nil(), 1, 0);
        apply(
            &mut window,
            &relation(&["id"]),
            Operation::Insert {
                new: vec![text("1")],
            },
        );
        apply(
            &mut window,
            &relation(&["id"]),
            Operation::Insert {
                new: vec![text("2")],
            },
        );
        assert!(window.is_spoiled(), "described again");
        let stream = relation(&["id"]);
        let mut window = Window::open(Uuid::nil(), 1, 0);
        for id in 0..=MAX_ROWS {
            assert!(!window.is_spoiled());
            apply(
                &mut window,
                &stream,
                Operation::Insert {
                    new: vec![text(&id.to_string())],
                },
            );
        }
        assert!(window.is_spoiled());
    }
}
