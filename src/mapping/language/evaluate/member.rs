//! Members of an event, which are of the kind that their JSON has.

use std::borrow::Cow;

use crate::mapping::language::json::{self, Json, Kind, Slice, to_jsonb_text};
use crate::mapping::language::number::Decimal;
use crate::mapping::language::program::{Comparer, Expected, Node, Version};
use crate::mapping::language::value::Value;

use super::compare::{equal as values_equal, of_json};
use super::{Evaluation, Failure, Result, Row, failed};

/// As messages name the kind.
fn kind(json: &str) -> &'static str {
    match json.as_bytes().first() {
        Some(b'"') => "a text",
        Some(b't' | b'f') => "true or false",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// The member as a value of the kind that it is to be; another is an error, not a match.
pub(super) fn expect(expected: Expected, json: Cow<'_, str>) -> Result<Value<'_>> {
    let first = json.as_bytes().first().copied().unwrap_or(b' ');
    let wanted = match (expected, first) {
        (Expected::Bool, b't' | b'f') => return Ok(Value::Bool(first == b't')),
        (Expected::Number, b'-' | b'0'..=b'9') => {
            return match Decimal::parse(&json) {
                Ok(number) => Ok(Value::Numeric(Cow::Owned(number))),
                Err(error) => failed(error.to_string()),
            };
        }
        (Expected::Text | Expected::AsText, b'"') => return text(json).map(Value::Text),
        (Expected::AsText, b't' | b'f' | b'-' | b'0'..=b'9') => return Ok(Value::Text(json)),
        (Expected::Jsonb, _) => {
            let normal = to_jsonb_text(&json).map_err(of_json)?;
            return Ok(Value::Text(Cow::Owned(normal)));
        }
        (Expected::Bool, _) => "true or false",
        (Expected::Number, _) => "a number",
        (Expected::Text, _) => "a text",
        (Expected::AsText, _) => "a text, a number, true or false",
    };
    failed(format!(
        "{wanted} is expected, and the event has {}",
        kind(&json)
    ))
}

fn text(json: Cow<'_, str>) -> Result<Cow<'_, str>> {
    Ok(match json {
        Cow::Borrowed(json) => text_of(json)?,
        Cow::Owned(json) => Cow::Owned(text_of(&json)?.into_owned()),
    })
}

fn text_of(json: &str) -> Result<Cow<'_, str>> {
    let slice = Slice {
        text: json,
        kind: Kind::Json,
    };
    Ok(slice.as_text().map_err(of_json)?.unwrap_or_default())
}

/// Two members: of one kind, or not to be compared.
pub(super) fn equal(left: &str, right: &str) -> Result<bool> {
    if kind(left) != kind(right) {
        return failed(format!(
            "{} and {} are not compared",
            kind(left),
            kind(right)
        ));
    }
    let (left, right) = (
        to_jsonb_text(left).map_err(of_json)?,
        to_jsonb_text(right).map_err(of_json)?,
    );
    json::equals(&left, &right).map_err(of_json)
}

impl<'a, R: Row> Evaluation<'a, R> {
    /// `x = any(member)`: elements of another kind than `x` are passed over.
    pub(super) fn any_of_member(
        &'a self,
        comparer: &Comparer,
        value: Option<Value<'a>>,
        array: &'a Node,
        current: Version,
    ) -> Result<Option<bool>> {
        let Some(Value::Json(array)) = self.evaluate(array, current)? else {
            return Ok(None);
        };
        let Ok(Json::Array(elements)) = Json::parse(&array) else {
            return failed(format!(
                "an array is expected, and the event has {}",
                kind(&array)
            ));
        };
        self.step(u32::try_from(elements.len() / 16).unwrap_or(u32::MAX))?;
        let Some(value) = value else {
            return Ok(if elements.is_empty() {
                Some(false)
            } else {
                None
            });
        };
        for element in elements {
            let element = match (&value, element) {
                (Value::Text(_), Json::String(text)) => Value::Text(text),
                (Value::Numeric(_), Json::Number(digits)) => match Decimal::parse(digits) {
                    Ok(number) => Value::Numeric(Cow::Owned(number)),
                    Err(_) => continue,
                },
                (Value::Bool(_), Json::Bool(bool)) => Value::Bool(bool),
                _ => continue,
            };
            if values_equal(comparer, &value, &element)? {
                return Ok(Some(true));
            }
        }
        Ok(Some(false))
    }
}

impl From<json::JsonError> for Failure {
    fn from(error: json::JsonError) -> Self {
        of_json(error)
    }
}
