//! Builds an event's body: the exact bytes that are stored, signed and sent.
//!
//! Written by hand, column by column, from the text in the WAL. A tree of JSON values
//! costs eight times as much and would lose digits of numerics.

use crate::event::{EventId, EventPosition};
use crate::pgoutput::value::{ValueError, write_json, write_string};

use super::language::check::Checked;
use super::language::evaluate::{Evaluation, Failure, write_output};
use super::language::program::{Node, Version};
use super::language::types::Type;
use super::language::value::Value;
use super::programs::Values;
use super::row::{Kind, Missing, RowChange};
use super::rules::{Member, Source, label};

/// Why a row's payload cannot be written. Never holds the row's values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PayloadError {
    #[error(transparent)]
    Evaluation(#[from] Failure),
    #[error(transparent)]
    Missing(#[from] Missing),
    #[error("column `{column}`: {source}")]
    Value { column: String, source: ValueError },
    #[error("a JSON value cannot be written")]
    Json,
}

/// A rule's `data` for one relation: labels and places, ready to be written.
pub(super) enum Data<'a> {
    Members(Members<'a>),
    WholeRow(&'a [(Vec<u8>, usize)]),
}

#[derive(Clone, Copy)]
pub(super) struct Members<'a> {
    pub(super) members: &'a [Member],
    /// Of the rule's names, their places in the relation.
    pub(super) columns: &'a [usize],
    pub(super) programs: &'a [Checked],
    pub(super) evaluation: &'a Evaluation<'a, Values<'a>>,
}

impl Members<'_> {
    /// The column that a member copies, and of which row.
    fn copied(&self, source: &Source) -> Option<(Version, usize)> {
        match source {
            Source::Column(name) => {
                let place = self.columns.get(*name).copied().unwrap_or(usize::MAX);
                Some((Version::Current, place))
            }
            Source::Expression(place) => match self.programs.get(*place)?.node {
                Node::Column(version, place, _) => Some((version, place)),
                _ => None,
            },
            Source::Object(_) => None,
        }
    }
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

/// Writes `data`, `previous` where the WAL carries old values, and the end.
pub(super) fn write_rest(
    out: &mut Vec<u8>,
    data: &Data<'_>,
    row: &RowChange<'_>,
) -> Result<(), PayloadError> {
    match data {
        Data::Members(members) => write_members(out, members, members.members, row)?,
        Data::WholeRow(columns) => write_whole_row(out, columns, row)?,
    }
    if row.has_old_values() {
        out.extend_from_slice(b",\"previous\":");
        match data {
            Data::Members(members) => {
                write_previous(out, members, members.members, row)?;
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
    data: &Members<'_>,
    members: &[Member],
    row: &RowChange<'_>,
) -> Result<(), PayloadError> {
    let mut object = Object::open(out);
    for member in members {
        let out = object.member(&member.label);
        match (&member.source, data.copied(&member.source)) {
            (_, Some((version, column))) => write_column(out, row, version, column)?,
            (Source::Object(members), None) => write_members(out, data, members, row)?,
            (Source::Expression(place), None) => {
                if let Some(program) = data.programs.get(*place) {
                    let value = data.evaluation.value(&program.node)?;
                    write_value(out, &program.r#type, value.as_ref())?;
                }
            }
            (Source::Column(_), None) => {}
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
        let old = row.value(Version::Old, *column);
        if row.kind == Kind::Delete && matches!(old, Err(Missing::OldValue(_))) {
            continue;
        }
        write_column(object.member(label), row, Version::Current, *column)?;
    }
    object.close();
    Ok(())
}

fn write_column(
    out: &mut Vec<u8>,
    row: &RowChange<'_>,
    version: Version,
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
    data: &Members<'_>,
    members: &[Member],
    row: &RowChange<'_>,
) -> Result<bool, PayloadError> {
    let mut object = Object::open(out);
    for member in members {
        match (&member.source, data.copied(&member.source)) {
            (_, Some((Version::Current | Version::New, column))) => {
                write_old_value(&mut object, &member.label, column, row)?;
            }
            (Source::Object(members), None) => {
                let (before, was_empty) = (object.out.len(), object.is_empty);
                let out = object.member(&member.label);
                if !write_previous(out, data, members, row)? {
                    object.out.truncate(before);
                    object.is_empty = was_empty;
                }
            }
            (Source::Column(_) | Source::Expression(_), _) | (Source::Object(_), Some(_)) => {}
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
    let tellable = |column| match row.value(Version::Old, column) {
        Ok(Some(text)) => std::str::from_utf8(text).is_ok(),
        Ok(None) => true,
        Err(_) => false,
    };
    match row.changed(column) {
        Ok(true) if tellable(column) => {
            write_column(object.member(label), row, Version::Old, column)
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// A computed value, as a bare column of its type is written.
pub(super) fn write_value(
    out: &mut Vec<u8>,
    r#type: &Type,
    value: Option<&Value<'_>>,
) -> Result<(), PayloadError> {
    let Some(value) = value else {
        out.extend_from_slice(b"null");
        return Ok(());
    };
    match (value, r#type) {
        (Value::Bool(value), _) => {
            out.extend_from_slice(if *value { b"true" } else { b"false" });
        }
        (Value::Text(text), Type::Text | Type::Varchar | Type::Enum(_) | Type::Opaque(_)) => {
            write_string(out, text);
        }
        (Value::Json(json), _) => out.extend_from_slice(json.as_bytes()),
        (Value::Timestamp(value), Type::Timestamptz) => {
            let mut text = String::new();
            value.write_timestamptz(&mut text);
            write_as(out, r#type, &text)?;
        }
        (value, r#type) => {
            let mut text = String::new();
            write_output(&mut text, value);
            write_as(out, r#type, &text)?;
        }
    }
    Ok(())
}

fn write_as(out: &mut Vec<u8>, r#type: &Type, text: &str) -> Result<(), PayloadError> {
    let oid = match r#type {
        Type::Enum(_) | Type::Opaque(_) | Type::Unknown => None,
        known => known.oid(),
    };
    match oid {
        Some(oid) => write_json(out, oid, text.as_bytes()).map_err(|_| PayloadError::Json),
        None => {
            write_string(out, text);
            Ok(())
        }
    }
}
