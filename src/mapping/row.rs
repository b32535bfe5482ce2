//! One change's row, before and after, and what of it the WAL carries.
//!
//! A row that does not exist, the one before an insert or after a delete, counts as
//! all nulls. A value that exists but is not in the WAL is an error, never a null.

use bytes::Bytes;

use crate::pgoutput::{Change, OldTuple, Operation, Relation, ReplicaIdentity, TupleValue};

use super::language::program::Version;

/// A value that the change has but the WAL does not carry. Names the column, no values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Missing {
    #[error(
        "there is no old value of column `{0}`: neither the WAL, for lack of REPLICA IDENTITY FULL, nor the shadow, which keeps no value above 256 KiB, has it"
    )]
    OldValue(String),
    #[error(
        "column `{0}` is stored out of line (TOAST) and the update did not touch it, so that it is not in the WAL, nor does the shadow have it, which keeps no value above 256 KiB; old_values = \"shadow\" or REPLICA IDENTITY FULL would bring it"
    )]
    UnchangedToast(String),
    #[error(
        "column `{column}` has {bytes} bytes, in a row that is larger than source.max_row allows: leave it out of the rule, or raise the limit"
    )]
    TooLarge { column: String, bytes: usize },
    #[error("the row has no column {0}, though its relation has")]
    Column(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Insert,
    Update,
    Delete,
    /// Of all rows at once: there is no row to speak of.
    Truncate,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Kind::Insert => "insert",
            Kind::Update => "update",
            Kind::Delete => "delete",
            Kind::Truncate => "truncate",
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct RowChange<'a> {
    pub(crate) relation: &'a Relation,
    pub(crate) kind: Kind,
    new: &'a [TupleValue],
    old: Old<'a>,
    /// Old values count as nulls, as those of an insert do.
    old_hidden: bool,
}

#[derive(Clone, Copy)]
enum Old<'a> {
    /// There was no row.
    Absent,
    /// An update that the WAL gives no old tuple for: its identity did not change.
    Unlogged,
    Key(&'a [TupleValue]),
    Full(&'a [TupleValue]),
}

impl<'a> RowChange<'a> {
    pub(crate) fn of(change: &'a Change) -> Self {
        let old_of = |old: &'a OldTuple| match old {
            OldTuple::Key(tuple) => Old::Key(tuple),
            OldTuple::Full(tuple) => Old::Full(tuple),
        };
        let (kind, new, old) = match &change.operation {
            Operation::Insert { new } => (Kind::Insert, new.as_slice(), Old::Absent),
            Operation::Update { old, new } => {
                let old = old.as_ref().map_or(Old::Unlogged, old_of);
                (Kind::Update, new.as_slice(), old)
            }
            Operation::Delete { old } => (Kind::Delete, [].as_slice(), old_of(old)),
            Operation::Truncate => (Kind::Truncate, [].as_slice(), Old::Absent),
        };
        RowChange {
            relation: &change.relation,
            kind,
            new,
            old,
            old_hidden: false,
        }
    }

    /// The same row as one that came into being: nothing is told of it before.
    pub(crate) fn without_old(self) -> Self {
        RowChange {
            old_hidden: self.kind != Kind::Delete,
            ..self
        }
    }

    /// A column's text; `None` is null.
    pub(crate) fn value(
        &self,
        version: Version,
        column: usize,
    ) -> Result<Option<&'a Bytes>, Missing> {
        match (version, self.kind) {
            (Version::Old, _) | (Version::Current, Kind::Delete) => self.old_value(column),
            (Version::New, Kind::Delete) => Ok(None),
            // Rules that take truncates name no columns.
            (Version::New | Version::Current, Kind::Insert | Kind::Update | Kind::Truncate) => {
                self.new_value(column)
            }
        }
    }

    /// Whether an update brought the column another value. An inserted or deleted
    /// value changed unless it is null.
    pub(crate) fn changed(&self, column: usize) -> Result<bool, Missing> {
        if self.is_untouched(column) {
            return Ok(false);
        }
        Ok(self.value(Version::Old, column)? != self.value(Version::New, column)?)
    }

    /// The WAL says of an update that it left the column's TOASTed value alone.
    pub(crate) fn is_untouched(&self, column: usize) -> bool {
        self.kind == Kind::Update
            && !self.old_hidden
            && matches!(self.new.get(column), Some(TupleValue::UnchangedToast))
    }

    /// Whether this is an update of which the WAL carries old values, at least the key's.
    pub(crate) fn has_old_values(&self) -> bool {
        self.kind == Kind::Update
            && !self.old_hidden
            && matches!(self.old, Old::Key(_) | Old::Full(_))
    }

    /// Whether a value was passed over, for the row was too large to be held.
    pub(crate) fn is_abridged(&self) -> bool {
        let omitted = |value: &TupleValue| matches!(value, TupleValue::Omitted { .. });
        self.tuples().any(omitted)
    }

    /// Bytes of the row in the WAL, before and after, with those that were passed over.
    pub(crate) fn bytes(&self) -> usize {
        let bytes = |value: &TupleValue| match value {
            TupleValue::Null | TupleValue::UnchangedToast => 0,
            TupleValue::Omitted { bytes } => *bytes,
            TupleValue::Text(text) => text.len(),
        };
        self.tuples().map(bytes).sum()
    }

    fn tuples(&self) -> impl Iterator<Item = &'a TupleValue> {
        let old = match self.old {
            Old::Absent | Old::Unlogged => &[],
            Old::Key(old) | Old::Full(old) => old,
        };
        self.new.iter().chain(old)
    }

    fn new_value(&self, column: usize) -> Result<Option<&'a Bytes>, Missing> {
        match self.new.get(column) {
            Some(TupleValue::Text(text)) => Ok(Some(text)),
            Some(TupleValue::Null) => Ok(None),
            Some(TupleValue::UnchangedToast) => match self.old {
                Old::Full(old) => {
                    logged(old, column).ok_or_else(|| Missing::UnchangedToast(self.name(column)))
                }
                Old::Absent | Old::Unlogged | Old::Key(_) => {
                    Err(Missing::UnchangedToast(self.name(column)))
                }
            },
            Some(TupleValue::Omitted { bytes }) => Err(self.too_large(column, *bytes)),
            None => Err(Missing::Column(column)),
        }
    }

    fn too_large(&self, column: usize, bytes: usize) -> Missing {
        Missing::TooLarge {
            column: self.name(column),
            bytes,
        }
    }

    fn old_value(&self, column: usize) -> Result<Option<&'a Bytes>, Missing> {
        if self.old_hidden {
            return Ok(None);
        }
        let missing = || Missing::OldValue(self.name(column));
        let identity = self
            .relation
            .columns
            .get(column)
            .is_some_and(|c| c.identity);
        if let Old::Key(old) | Old::Full(old) = self.old
            && let Some(TupleValue::Omitted { bytes }) = old.get(column)
        {
            return Err(self.too_large(column, *bytes));
        }
        match self.old {
            Old::Absent => Ok(None),
            Old::Full(old) => logged(old, column).ok_or_else(missing),
            // The others stand as null in a key tuple, and are absent.
            Old::Key(old) if identity => logged(old, column).ok_or_else(missing),
            Old::Key(_) => Err(missing()),
            // Without a change of the identity the old key is the new one.
            Old::Unlogged => match (identity, self.relation.replica_identity) {
                (true, ReplicaIdentity::Default | ReplicaIdentity::Index) => self.new_value(column),
                (false, _) | (true, ReplicaIdentity::Full | ReplicaIdentity::Nothing) => {
                    Err(missing())
                }
            },
        }
    }

    fn name(&self, column: usize) -> String {
        let named = self.relation.columns.get(column);
        named.map(|column| column.name.clone()).unwrap_or_default()
    }
}

fn logged(tuple: &[TupleValue], column: usize) -> Option<Option<&Bytes>> {
    match tuple.get(column)? {
        TupleValue::Text(text) => Some(Some(text)),
        TupleValue::Null => Some(None),
        TupleValue::UnchangedToast | TupleValue::Omitted { .. } => None,
    }
}
