//! Values of a row that an example writes in TOML, as PostgreSQL writes them.

use serde_json::Value as Json;
use toml::Value as Toml;

use crate::mapping::language::json::to_jsonb_text;
use crate::mapping::language::types::Type;

/// The kinds of value that TOML writes in ways of its own.
#[derive(Clone, Copy)]
enum ColumnKind {
    Bool,
    Number,
    Json,
    Jsonb,
    Text,
}

impl ColumnKind {
    fn of(type_oid: u32) -> Self {
        match Type::of_oid(type_oid, "") {
            Type::Bool => ColumnKind::Bool,
            Type::Json => ColumnKind::Json,
            Type::Jsonb => ColumnKind::Jsonb,
            number if number.is_number() => ColumnKind::Number,
            _ => ColumnKind::Text,
        }
    }
}

/// A value as PostgreSQL writes it.
pub(super) fn text(type_oid: u32, value: &Toml) -> Result<String, String> {
    let kind = ColumnKind::of(type_oid);
    Ok(match (kind, value) {
        (ColumnKind::Json, value) => json_text(value),
        (ColumnKind::Jsonb, value) => {
            to_jsonb_text(&json_text(value)).map_err(|error| error.to_string())?
        }
        (ColumnKind::Bool, Toml::Boolean(bool)) => if *bool { "t" } else { "f" }.to_owned(),
        (ColumnKind::Bool, _) => return Err("expected true or false".to_owned()),
        (ColumnKind::Number, Toml::Integer(integer)) => integer.to_string(),
        (ColumnKind::Number, Toml::Float(float)) => float.to_string(),
        (ColumnKind::Number, Toml::String(digits)) if digits.trim().parse::<f64>().is_ok() => {
            digits.trim().to_owned()
        }
        (ColumnKind::Number, _) => {
            return Err(
                "expected a number; in quotes it keeps its digits, as in \"12.50\"".to_owned(),
            );
        }
        (ColumnKind::Text, Toml::String(text)) => text.clone(),
        (ColumnKind::Text, Toml::Datetime(at)) => {
            at.to_string().replace('T', " ").replace('Z', "+00")
        }
        (ColumnKind::Text, _) => {
            return Err("expected a text in quotes, as PostgreSQL writes the value".to_owned());
        }
    })
}

/// A text that is JSON already is taken as it is, as PostgreSQL's own literals are.
fn json_text(value: &Toml) -> String {
    match value {
        Toml::String(text) if serde_json::from_str::<Json>(text).is_ok() => text.clone(),
        value => json(value).to_string(),
    }
}

pub(super) fn json(value: &Toml) -> Json {
    match value {
        Toml::String(text) => Json::from(text.as_str()),
        Toml::Integer(integer) => Json::from(*integer),
        Toml::Float(float) => Json::from(*float),
        Toml::Boolean(bool) => Json::from(*bool),
        Toml::Datetime(at) => Json::from(at.to_string()),
        Toml::Array(items) => items.iter().map(json).collect(),
        Toml::Table(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), json(value)))
            .collect(),
    }
}
