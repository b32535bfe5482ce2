//! Members and containment of json.

use std::borrow::Cow;

use crate::mapping::language::array;
use crate::mapping::language::json::{self, Json, Kind, Slice, Step};
use crate::mapping::language::program::{Conversion, JsonOperation, Node, Version};
use crate::mapping::language::value::Value;

use super::compare::of_json;
use super::{Evaluation, Result, Row, failed};

impl<'a, R: Row> Evaluation<'a, R> {
    pub(super) fn json(
        &'a self,
        operation: JsonOperation,
        left: &'a Node,
        right: &'a Node,
        current: Version,
    ) -> Result<Option<Value<'a>>> {
        // The server looks at json's escapes only where neither operand is null, nor a part of
        // the path.
        let (document, escapes) = match left {
            Node::Convert(conversion @ Conversion::JsonIn(_), of) => (&**of, Some(*conversion)),
            left => (left, None),
        };
        let Some(text) = self.text(document, current)? else {
            self.evaluate(right, current)?;
            return Ok(None);
        };
        let Some(argument) = self.evaluate(right, current)? else {
            return Ok(None);
        };
        self.pass(text.len(), 1024)?;
        let is_path = matches!(
            operation,
            JsonOperation::Path { .. } | JsonOperation::JsonPath { .. }
        );
        let text = match escapes {
            Some(escapes) if !(is_path && has_null(&argument)) => {
                match self.convert(escapes, Value::Text(text))? {
                    Value::Text(text) => text,
                    _ => return failed("a JSON value is expected"),
                }
            }
            _ => text,
        };
        let truth = |held: Result<bool, json::JsonError>| {
            held.map(|held| Some(Value::Bool(held))).map_err(of_json)
        };
        let (kind, is_path, as_text) = match operation {
            JsonOperation::Has => {
                let Value::Text(name) = argument else {
                    return failed("a name is expected");
                };
                let document = Slice {
                    text: &text,
                    kind: Kind::Jsonb,
                };
                return truth(document.exists(&name));
            }
            JsonOperation::Contains | JsonOperation::ContainedIn => {
                let Value::Text(other) = argument else {
                    return failed("a JSON value is expected");
                };
                // Each part of one may be looked for in all of the other.
                self.pass(text.len().min(other.len()), 16)?;
                self.pass(text.len() + other.len(), 64)?;
                let (container, contained) = match operation {
                    JsonOperation::Contains => (&text, &other),
                    _ => (&other, &text),
                };
                let contained = Json::parse_jsonb(contained).map_err(of_json)?;
                return truth(json::contains(container, &contained));
            }
            JsonOperation::Member { as_text } => (Kind::Jsonb, false, as_text),
            JsonOperation::JsonMember { as_text } => (Kind::Json, false, as_text),
            JsonOperation::Path { as_text } => (Kind::Jsonb, true, as_text),
            JsonOperation::JsonPath { as_text } => (Kind::Json, true, as_text),
        };
        match text {
            Cow::Borrowed(text) => {
                let found = found(Slice { text, kind }, &argument, is_path, as_text)?;
                if let Some(Cow::Owned(made)) = &found {
                    self.make(made.len())?;
                }
                Ok(found.map(Value::Text))
            }
            Cow::Owned(text) => {
                let found = found(Slice { text: &text, kind }, &argument, is_path, as_text)?;
                let found = found.map(Cow::into_owned);
                if let Some(made) = &found {
                    self.make(made.len())?;
                }
                Ok(found.map(|found| Value::Text(Cow::Owned(found))))
            }
        }
    }
}

/// Whether a part of the path is null.
fn has_null(path: &Value<'_>) -> bool {
    match path {
        Value::Text(path) => array::elements(path).any(|step| matches!(step, Ok(None))),
        _ => false,
    }
}

fn found<'t>(
    document: Slice<'t>,
    argument: &Value<'_>,
    is_path: bool,
    as_text: bool,
) -> Result<Option<Cow<'t, str>>> {
    let part = match argument {
        Value::Text(path) if is_path => {
            let steps: Result<Vec<_>, _> = array::elements(path).collect();
            let Ok(steps) = steps else {
                return failed("a path cannot be read");
            };
            let steps: Vec<Option<&str>> = steps.iter().map(|step| step.as_deref()).collect();
            document.path(&steps)
        }
        Value::Text(name) => document.get(Step::Key(name)),
        Value::Integer(index) => match i32::try_from(*index) {
            Ok(index) => document.get(Step::Index(index)),
            Err(_) => return failed("integer out of range"),
        },
        _ => return failed("a name or a number is expected"),
    };
    match part.map_err(of_json)? {
        None => Ok(None),
        Some(part) if as_text => part.as_text().map_err(of_json),
        Some(part) => Ok(Some(Cow::Borrowed(part.text))),
    }
}
