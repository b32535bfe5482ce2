//! Builds an event's body: the exact bytes that are stored, signed and sent.
//!
//! Written by hand, column by column, from the text in the log. A tree of JSON values
//! costs eight times as much and would lose digits of numerics.

use crate::event::{EventId, EventPosition};
use crate::pgoutput::value::{ValueError, write_json, write_string};

use super::condition::{EvaluationError, Value, evaluate};
use super::expression::{Node, Row};
use super::number::Number;
use super::row::{Kind, Missing, RowChange};
use super::rules::{Member, Source, label};
use super::scope::RowScope;

/// `numeric` in `pg_type.dat`: digits that JSON would not take, such as a constant
/// `00.5`, become a string.
const NUMERIC: u32 = 1700;

/// Why a row's payload cannot be written. Never holds the row's values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PayloadError {
    #[error(transparent)]
    Evaluation(#[from] EvaluationError),
    #[error(transparent)]
    Missing(#[from] Missing),
    #[error("column `{column}`: {source}")]
    Value { column: String, source: ValueError },
    #[error("a JSON value cannot be written")]
    Json,
}

/// A rule's `data` for one relation: labels and places, ready to be written.
pub(super) enum Data<'a> {
    Members(&'a [Member], &'a [usize]),
    WholeRow(&'a [(Vec<u8>, usize)]),
}

/// The labels and places of all columns of a relation.
pub(super) fn whole_row(relation: &crate::pgoutput::Relation) -> Vec<(Vec<u8>, usize)> {
    let columns = relation.columns.iter().enumerate();
    columns
        .map(|(place, column)| (label(&column.name), place))
        .collect()
}

/// What stands before `data`; the timestamp is that of the commit, as RFC 3339.
pub(super) fn write_head(
    out: &mut Vec<u8>,
    id: EventId,
    event_type: &str,
    timestamp: &str,
    tenant_id: &str,
    position: &EventPosition,
) {
    let mut uuid = [0; uuid::fmt::Hyphenated::LENGTH];
    out.extend_from_slice(b"{\"id\":\"evt_");
    out.extend_from_slice(id.0.hyphenated().encode_lower(&mut uuid).as_bytes());
    out.extend_from_slice(b"\",\"type\":");
    write_string(out, event_type);
    out.extend_from_slice(b",\"timestamp\":\"");
    out.extend_from_slice(timestamp.as_bytes());
    out.extend_from_slice(b"\",\"tenant_id\":");
    write_string(out, tenant_id);
    out.extend_from_slice(b",\"sequence\":\"");
    out.extend_from_slice(position.sequence().as_bytes());
    out.extend_from_slice(b"\",\"data\":");
}

/// Writes `data`, `previous` where the log carries old values, and the end.
pub(super) fn write_rest(
    out: &mut Vec<u8>,
    data: &Data<'_>,
    row: &RowChange<'_>,
) -> Result<(), PayloadError> {
    match data {
        Data::Members(members, columns) => {
            let scope = RowScope { row: *row, columns };
            write_members(out, members, &scope)?;
        }
        Data::WholeRow(columns) => write_whole_row(out, columns, row)?,
    }
    if row.has_old_values() {
        out.extend_from_slice(b",\"previous\":");
        match data {
            Data::Members(members, columns) => {
                write_previous(out, members, columns, row)?;
            }
            Data::WholeRow(columns) => {
                let mut object = Object::open(out);
                for (label, column) in *columns {
                    write_old_value(&mut object, label, *column, row)?;
                }
                object.close();
            }
        }
    }
    out.push(b'}');
    Ok(())
}

/// A JSON object that is being written.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    is_empty: bool,
}

impl<'a> Object<'a> {
    fn open(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Object {
            out,
            is_empty: true,
        }
    }

    /// Starts a member; its value comes next.
    fn member(&mut self, label: &[u8]) -> &mut Vec<u8> {
        if !std::mem::replace(&mut self.is_empty, false) {
            self.out.push(b',');
        }
        self.out.extend_from_slice(label);
        self.out
    }

    fn close(self) {
        self.out.push(b'}');
    }
}

fn write_members(
    out: &mut Vec<u8>,
    members: &[Member],
    scope: &RowScope<'_>,
) -> Result<(), PayloadError> {
    let mut object = Object::open(out);
    for member in members {
        let out = object.member(&member.label);
        match &member.source {
            Source::Column(row, name) => write_column(out, &scope.row, *row, scope.place(*name))?,
            Source::Expression(node) => write_expression(out, node, scope)?,
            Source::Object(members) => write_members(out, members, scope)?,
        }
    }
    object.close();
    Ok(())
}

fn write_whole_row(
    out: &mut Vec<u8>,
    columns: &[(Vec<u8>, usize)],
    row: &RowChange<'_>,
) -> Result<(), PayloadError> {
    let mut object = Object::open(out);
    let has_row = row.kind != Kind::Truncate;
    for (label, column) in columns.iter().filter(|_| has_row) {
        // A delete without FULL has the key only: the rest is absent, not null.
        let old = row.value(Row::Old, *column);
        if row.kind == Kind::Delete && matches!(old, Err(Missing::OldValue(_))) {
            continue;
        }
        write_column(object.member(label), row, Row::Current, *column)?;
    }
    object.close();
    Ok(())
}

fn write_column(
    out: &mut Vec<u8>,
    row: &RowChange<'_>,
    version: Row,
    column: usize,
) -> Result<(), PayloadError> {
    let Some(text) = row.value(version, column)? else {
        out.extend_from_slice(b"null");
        return Ok(());
    };
    let described = row
        .relation
        .columns
        .get(column)
        .ok_or(Missing::Column(column))?;
    write_json(out, described.type_oid, text).map_err(|source| PayloadError::Value {
        column: described.name.clone(),
        source,
    })
}

/// The old values of the columns of `data` that changed, under the names that they
/// have there. Values that expressions compute have no previous.
fn write_previous(
    out: &mut Vec<u8>,
    members: &[Member],
    columns: &[usize],
    row: &RowChange<'_>,
) -> Result<bool, PayloadError> {
    let mut object = Object::open(out);
    for member in members {
        match &member.source {
            Source::Column(Row::Current | Row::New, name) => {
                let column = columns.get(*name).copied().unwrap_or(usize::MAX);
                write_old_value(&mut object, &member.label, column, row)?;
            }
            Source::Column(Row::Old, _) | Source::Expression(_) => {}
            Source::Object(members) => {
                let (before, was_empty) = (object.out.len(), object.is_empty);
                let out = object.member(&member.label);
                if !write_previous(out, members, columns, row)? {
                    object.out.truncate(before);
                    object.is_empty = was_empty;
                }
            }
        }
    }
    let wrote = !object.is_empty;
    object.close();
    Ok(wrote)
}

fn write_old_value(
    object: &mut Object<'_>,
    label: &[u8],
    column: usize,
    row: &RowChange<'_>,
) -> Result<(), PayloadError> {
    // Under DEFAULT a changed key brings the old key only: what is unknown is left out,
    // and so is what JSON cannot tell.
    let tellable = |column| match row.value(Row::Old, column) {
        Ok(Some(text)) => std::str::from_utf8(text).is_ok(),
        Ok(None) => true,
        Err(_) => false,
    };
    match row.changed(column) {
        Ok(true) if tellable(column) => write_column(object.member(label), row, Row::Old, column),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn write_expression(
    out: &mut Vec<u8>,
    node: &Node,
    scope: &RowScope<'_>,
) -> Result<(), PayloadError> {
    write_value(out, &evaluate(node, scope)?)
}

pub(super) fn write_value(out: &mut Vec<u8>, value: &Value<'_>) -> Result<(), PayloadError> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(bool) => out.extend_from_slice(if *bool { b"true" } else { b"false" }),
        Value::Number(number @ (Number::Integer(_) | Number::Decimal(_))) => {
            write_json(out, NUMERIC, number.digits().as_bytes()).map_err(|_| PayloadError::Json)?;
        }
        Value::Number(Number::Float(float)) if float.is_finite() => {
            serde_json::to_writer(out, float).map_err(|_| PayloadError::Json)?;
        }
        // As bare columns do: what JSON has no number for is a string.
        Value::Number(Number::Float(float)) => write_string(
            out,
            match () {
                () if float.is_nan() => "NaN",
                () if *float > 0.0 => "Infinity",
                () => "-Infinity",
            },
        ),
        Value::Text(text) => write_string(out, text),
        Value::List(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_value(out, item)?;
            }
            out.push(b']');
        }
        Value::Json(json) => {
            serde_json::to_writer(out, json.as_ref()).map_err(|_| PayloadError::Json)?;
        }
    }
    Ok(())
}
