//! A row as expressions see it: values by the names of a rule, in the kinds that
//! expressions tell apart.

use std::borrow::Cow;

use super::condition::{EvaluationError, Scope, Value, equal, of_json};
use super::expression::Row;
use super::number::Number;
use super::row::{Kind, Missing, RowChange};

/// A row under a rule's names; `columns[name]` is the name's place in the relation.
pub(crate) struct RowScope<'a> {
    pub(crate) row: RowChange<'a>,
    pub(crate) columns: &'a [usize],
}

impl RowScope<'_> {
    pub(super) fn place(&self, name: usize) -> usize {
        // Every name of a rule is bound before it is evaluated; a place that no
        // relation has reads as `Missing::Column`.
        self.columns.get(name).copied().unwrap_or(usize::MAX)
    }

    fn typed(&self, row: Row, column: usize) -> Result<Value<'_>, EvaluationError> {
        let Some(text) = self.row.value(row, column)? else {
            return Ok(Value::Null);
        };
        let Some(described) = self.row.relation.columns.get(column) else {
            return Err(Missing::Column(column).into());
        };
        read(described.type_oid, text).ok_or_else(|| {
            EvaluationError::Type(format!(
                "the value of column `{}` cannot be read as its type",
                described.name
            ))
        })
    }
}

impl Scope for RowScope<'_> {
    fn column(&self, row: Row, name: usize) -> Result<Value<'_>, EvaluationError> {
        self.typed(row, self.place(name))
    }

    fn operation(&self) -> &'static str {
        self.row.kind.as_str()
    }

    fn changed(&self, name: usize) -> Result<bool, EvaluationError> {
        Ok(self.row.changed(self.place(name))?)
    }

    /// True on an insert with the value and on an update into it. The old value is
    /// looked at only where the new one matches.
    fn became(&self, name: usize, value: &Value<'_>) -> Result<bool, EvaluationError> {
        let column = self.place(name);
        match self.row.kind {
            Kind::Delete | Kind::Truncate => Ok(false),
            Kind::Insert => Ok(equal(&self.typed(Row::New, column)?, value)),
            Kind::Update if self.row.is_untouched(column) => Ok(false),
            Kind::Update => Ok(equal(&self.typed(Row::New, column)?, value)
                && !equal(&self.typed(Row::Old, column)?, value)),
        }
    }
}

/// The kinds of column that expressions tell apart, by built-in type. Everything
/// else, dates and enums among it, is text as PostgreSQL writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColumnKind {
    Bool,
    Number,
    Json,
    /// `char(n)`: PostgreSQL pads it, and ignores the padding when it compares.
    Padded,
    Text,
}

impl ColumnKind {
    /// Object ids are those of `pg_type.dat`, which are the same in every database.
    pub(crate) fn of(type_oid: u32) -> Self {
        match type_oid {
            16 => ColumnKind::Bool,
            20 | 21 | 23 | 26 | 700 | 701 | 1700 => ColumnKind::Number,
            114 | 3802 => ColumnKind::Json,
            1042 => ColumnKind::Padded,
            _ => ColumnKind::Text,
        }
    }
}

fn read(type_oid: u32, text: &[u8]) -> Option<Value<'_>> {
    let text = std::str::from_utf8(text).ok()?;
    Some(match ColumnKind::of(type_oid) {
        ColumnKind::Bool => Value::Bool(text == "t"),
        ColumnKind::Number => Value::Number(Number::parse(text)?),
        ColumnKind::Json => of_json(Cow::Owned(serde_json::from_str(text).ok()?)),
        ColumnKind::Padded => Value::Text(Cow::Borrowed(text.trim_end_matches(' '))),
        ColumnKind::Text => Value::Text(Cow::Borrowed(text)),
    })
}
