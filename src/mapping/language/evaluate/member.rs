//! Members of an event, which are of the kind that their JSON has.

use std::borrow::Cow;

use crate::mapping::language::json::{self, Kind, Slice, to_jsonb_text};
use crate::mapping::language::number::Decimal;
use crate::mapping::language::program::{Comparer, Expected, Node, Version};
use crate::mapping::language::value::Value;

use super::compare::of_json;
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

/// Two members: of one kind, or not to be compared.
pub(super) fn equal(left: &str, right: &str) -> Result<bool> {
    if kind(left) != kind(right) {
        return failed(format!(
            "{} and {} are not compared",
            kind(left),
            kind(right)
        ));
    }
    let (left, right) = (to_jsonb_text(left)?, to_jsonb_text(right)?);
    Ok(json::equals(&left, &right)?)
}

impl<'a, R: Row> Evaluation<'a, R> {
    /// The member as a value of the kind that it is to be; another is an error, not a match.
    pub(super) fn expect<'v>(&self, expected: Expected, json: Cow<'v, str>) -> Result<Value<'v>> {
        let first = json.as_bytes().first().copied().unwrap_or(b' ');
        let wanted = match (expected, first) {
            (Expected::Bool, b't' | b'f') => return Ok(Value::Bool(first == b't')),
            (Expected::Number, b'-' | b'0'..=b'9') => return self.number_in(&json),
            (Expected::Text | Expected::AsText, b'"') => {
                return Ok(Value::Text(match json {
                    Cow::Borrowed(json) => self.text_in(json)?,
                    Cow::Owned(json) => Cow::Owned(self.text_in(&json)?.into_owned()),
                }));
            }
            (Expected::AsText, b't' | b'f' | b'-' | b'0'..=b'9') => return Ok(Value::Text(json)),
            (Expected::Jsonb, _) => return Ok(Value::Text(Cow::Owned(self.jsonb_in(&json)?))),
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

    fn number_in(&self, json: &str) -> Result<Value<'static>> {
        self.pass(json.len(), 16)?;
        match Decimal::parse(json) {
            Ok(number) => Ok(Value::Numeric(Cow::Owned(number))),
            Err(error) => failed(error.to_string()),
        }
    }

    fn text_in<'v>(&self, json: &'v str) -> Result<Cow<'v, str>> {
        self.pass(json.len(), 64)?;
        if json.contains('\\') {
            self.pass(json.len(), 16)?;
            self.make(json.len())?;
        }
        let slice = Slice {
            text: json,
            kind: Kind::Json,
        };
        Ok(slice.as_text()?.unwrap_or_default())
    }

    /// In the form in which jsonb is compared.
    fn jsonb_in(&self, json: &str) -> Result<String> {
        self.pass(json.len(), 8)?;
        self.make(json.len())?;
        Ok(to_jsonb_text(json)?)
    }

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
        let Some(mut elements) = json::elements(&array) else {
            return failed(format!(
                "an array is expected, and the event has {}",
                kind(&array)
            ));
        };
        self.pass(array.len(), 16)?;
        let Some(value) = value else {
            return Ok(match elements.next() {
                None => Some(false),
                Some(_) => None,
            });
        };
        for element in elements {
            let element = element?;
            let alike = match (&value, element.as_bytes().first()) {
                (Value::Text(_), Some(b'"')) => Value::Text(self.text_in(element)?),
                (Value::Numeric(_), Some(b'-' | b'0'..=b'9')) => match self.number_in(element) {
                    Err(Failure::Failed(_)) => continue,
                    number => number?,
                },
                (Value::Bool(_), Some(b't' | b'f')) => Value::Bool(element == "true"),
                _ => continue,
            };
            if self.equal(comparer, &value, &alike)? {
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
