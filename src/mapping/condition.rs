//! Evaluates expressions over a row or over an event's body.
//!
//! What differs from minijinja, each so that a rule never fails to match in silence:
//! - `none` is null. `==`, `!=` and `in` treat it as a value of its own; `< <= > >=` do
//!   not hold where either side is null, as in SQL; arithmetic on null gives null.
//! - `< <= > >=` between a number and a text is an error, not an order of kinds.
//! - Numbers compare and calculate exactly ([`super::number`]).

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::Value as Json;

use super::expression::{Arithmetic, Comparison, Filter, Node, Row, Test};
use super::number::Number;
use super::row::Missing;

/// Why an expression has no result on this row. Never holds the row's values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EvaluationError {
    #[error(transparent)]
    Missing(#[from] Missing),
    #[error("{0}")]
    Type(String),
}

fn type_error<T>(message: impl Into<String>) -> Result<T, EvaluationError> {
    Err(EvaluationError::Type(message.into()))
}

#[derive(Clone, Debug)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    Number(Number<'a>),
    Text(Cow<'a, str>),
    List(Vec<Value<'a>>),
    /// An object or array of a JSON value; its scalars become the variants above.
    Json(Cow<'a, Json>),
}

/// Where an expression's names get their values.
pub(crate) trait Scope {
    fn column(&self, row: Row, name: usize) -> Result<Value<'_>, EvaluationError>;
    fn operation(&self) -> &'static str;
    fn changed(&self, name: usize) -> Result<bool, EvaluationError>;
    fn became(&self, name: usize, value: &Value<'_>) -> Result<bool, EvaluationError>;
}

pub(crate) fn of_json(json: Cow<'_, Json>) -> Value<'_> {
    let number = |number: &serde_json::Number| match number.as_i128() {
        Some(integer) => Number::Integer(integer),
        None => Number::Float(number.as_f64().unwrap_or(f64::NAN)),
    };
    match json {
        Cow::Owned(Json::String(text)) => Value::Text(Cow::Owned(text)),
        Cow::Borrowed(Json::String(text)) => Value::Text(Cow::Borrowed(text)),
        other => match other.as_ref() {
            Json::Null => Value::Null,
            Json::Bool(bool) => Value::Bool(*bool),
            Json::Number(json) => Value::Number(number(json)),
            Json::String(_) | Json::Array(_) | Json::Object(_) => Value::Json(other),
        },
    }
}

/// Whether the expression holds: its value is neither null, false, zero nor empty.
pub(crate) fn holds(node: &Node, scope: &impl Scope) -> Result<bool, EvaluationError> {
    Ok(truth(&evaluate(node, scope)?))
}

pub(crate) fn evaluate<'a, S: Scope>(
    node: &'a Node,
    scope: &'a S,
) -> Result<Value<'a>, EvaluationError> {
    Ok(match node {
        Node::Null => Value::Null,
        Node::Bool(bool) => Value::Bool(*bool),
        Node::Integer(integer) => Value::Number(Number::Integer(*integer)),
        Node::Float(float) => Value::Number(Number::Float(*float)),
        Node::Decimal(digits) => Value::Number(Number::Decimal(Cow::Borrowed(digits))),
        Node::Text(text) => Value::Text(Cow::Borrowed(text)),
        Node::List(items) => {
            let items: Result<_, _> = items.iter().map(|item| evaluate(item, scope)).collect();
            Value::List(items?)
        }
        Node::Column(row, name) => scope.column(*row, *name)?,
        Node::Operation => Value::Text(Cow::Borrowed(scope.operation())),
        Node::Member(of, name) => member(evaluate(of, scope)?, name.as_str())?,
        Node::Element(of, index) => match usize::try_from(*index) {
            Ok(index) => member(evaluate(of, scope)?, index)?,
            Err(_) => return type_error("an index in `[…]` is negative"),
        },
        Node::Not(operand) => Value::Bool(!holds(operand, scope)?),
        Node::Negate(operand) => match evaluate(operand, scope)? {
            Value::Null => Value::Null,
            Value::Number(number) => Value::Number(number.negate()),
            other => return type_error(format!("`-` needs a number, not {}", kind(&other))),
        },
        Node::And(left, right) => match evaluate(left, scope)? {
            left if truth(&left) => evaluate(right, scope)?,
            left => left,
        },
        Node::Or(left, right) => match evaluate(left, scope)? {
            left if truth(&left) => left,
            _ => evaluate(right, scope)?,
        },
        Node::Compare(first, links) => {
            let mut left = evaluate(first, scope)?;
            for (comparison, right) in links {
                let right = evaluate(right, scope)?;
                if !compare(*comparison, &left, &right)? {
                    return Ok(Value::Bool(false));
                }
                left = right;
            }
            Value::Bool(true)
        }
        Node::Arithmetic(kind, left, right) => {
            calculate(*kind, &evaluate(left, scope)?, &evaluate(right, scope)?)?
        }
        Node::Concatenate(left, right) => {
            let left = evaluate(left, scope)?;
            let right = evaluate(right, scope)?;
            Value::Text(Cow::Owned(format!("{}{}", text(&left)?, text(&right)?)))
        }
        Node::Choose(test, yes, no) => match holds(test, scope)? {
            true => evaluate(yes, scope)?,
            false => evaluate(no, scope)?,
        },
        Node::Filter(filter, operand, arguments) => {
            let argument = arguments
                .first()
                .map(|one| evaluate(one, scope))
                .transpose()?;
            apply(*filter, evaluate(operand, scope)?, argument)?
        }
        Node::Test(test, operand, arguments) => {
            let argument = arguments
                .first()
                .map(|one| evaluate(one, scope))
                .transpose()?;
            let value = evaluate(operand, scope)?;
            Value::Bool(match test {
                Test::None => matches!(value, Value::Null),
                Test::String => matches!(value, Value::Text(_)),
                Test::Number => matches!(value, Value::Number(_)),
                Test::Boolean => matches!(value, Value::Bool(_)),
                Test::StartingWith | Test::EndingWith => match (&value, argument) {
                    (Value::Null, _) => false,
                    (Value::Text(value), Some(Value::Text(part))) => match test {
                        Test::StartingWith => value.starts_with(part.as_ref()),
                        _ => value.ends_with(part.as_ref()),
                    },
                    _ => return type_error("`startingwith` and `endingwith` compare texts"),
                },
            })
        }
        Node::Became(name, value) => Value::Bool(scope.became(*name, &evaluate(value, scope)?)?),
        Node::Changed(names) => {
            let mut changed = false;
            for name in names {
                changed = changed || scope.changed(*name)?;
            }
            Value::Bool(changed)
        }
    })
}

pub(super) fn truth(value: &Value<'_>) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(bool) => *bool,
        Value::Number(number) => !number.is_zero(),
        Value::Text(text) => !text.is_empty(),
        Value::List(items) => !items.is_empty(),
        Value::Json(json) => match json.as_ref() {
            Json::Array(items) => !items.is_empty(),
            Json::Object(members) => !members.is_empty(),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => true,
        },
    }
}

fn kind(value: &Value<'_>) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::Text(_) => "a text",
        Value::List(_) => "a list",
        Value::Json(_) => "a JSON object or array",
    }
}

/// A member that is not there, and any member of null, is null: in JSON absence is common.
fn member(
    of: Value<'_>,
    index: impl serde_json::value::Index,
) -> Result<Value<'_>, EvaluationError> {
    match of {
        Value::Null => Ok(Value::Null),
        Value::Json(Cow::Borrowed(json)) => Ok(json
            .get(index)
            .map_or(Value::Null, |json| of_json(Cow::Borrowed(json)))),
        Value::Json(Cow::Owned(mut json)) => Ok(json
            .get_mut(index)
            .map_or(Value::Null, |json| of_json(Cow::Owned(json.take())))),
        other => type_error(format!("{} has no members", kind(&other))),
    }
}

pub(super) fn equal(left: &Value<'_>, right: &Value<'_>) -> bool {
    match (left, right) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(left), Value::Bool(right)) => left == right,
        (Value::Number(left), Value::Number(right)) => left.order(right) == Ordering::Equal,
        (Value::Text(left), Value::Text(right)) => left == right,
        (Value::Json(left), Value::Json(right)) => left == right,
        (Value::List(left), Value::List(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|(left, right)| equal(left, right))
        }
        _ => false,
    }
}

fn compare(
    comparison: Comparison,
    left: &Value<'_>,
    right: &Value<'_>,
) -> Result<bool, EvaluationError> {
    let holds: fn(Ordering) -> bool = match comparison {
        Comparison::Equal => return Ok(equal(left, right)),
        Comparison::NotEqual => return Ok(!equal(left, right)),
        Comparison::In => return contains(right, left),
        Comparison::NotIn => return Ok(!contains(right, left)?),
        Comparison::Less => Ordering::is_lt,
        Comparison::LessOrEqual => Ordering::is_le,
        Comparison::Greater => Ordering::is_gt,
        Comparison::GreaterOrEqual => Ordering::is_ge,
    };
    match (left, right) {
        (Value::Null, _) | (_, Value::Null) => Ok(false),
        (Value::Number(left), Value::Number(right)) => Ok(holds(left.order(right))),
        (Value::Text(left), Value::Text(right)) => Ok(holds(left.cmp(right))),
        (Value::Bool(left), Value::Bool(right)) => Ok(holds(left.cmp(right))),
        (left, right) => type_error(format!("cannot order {} and {}", kind(left), kind(right))),
    }
}

fn contains(container: &Value<'_>, value: &Value<'_>) -> Result<bool, EvaluationError> {
    match (container, value) {
        (Value::Null, _) => Ok(false),
        (Value::List(items), value) => Ok(items.iter().any(|item| equal(item, value))),
        (Value::Text(_), Value::Null) => Ok(false),
        (Value::Text(text), Value::Text(part)) => Ok(text.contains(part.as_ref())),
        (Value::Json(json), value) => match (json.as_ref(), value) {
            (Json::Array(items), value) => Ok(items
                .iter()
                .any(|item| equal(&of_json(Cow::Borrowed(item)), value))),
            (Json::Object(members), Value::Text(name)) => Ok(members.contains_key(name.as_ref())),
            _ => Ok(false),
        },
        (container, value) => type_error(format!(
            "`in` cannot look for {} in {}",
            kind(value),
            kind(container)
        )),
    }
}

fn calculate<'a>(
    arithmetic: Arithmetic,
    left: &Value<'a>,
    right: &Value<'a>,
) -> Result<Value<'a>, EvaluationError> {
    match (left, right) {
        (Value::Null, _) | (_, Value::Null) => Ok(Value::Null),
        (Value::Number(left), Value::Number(right)) => match left.combine(arithmetic, right) {
            Some(number) => Ok(Value::Number(number)),
            None => type_error("division by zero"),
        },
        (left, right) => type_error(format!(
            "cannot calculate with {} and {}; texts are joined by `~`",
            kind(left),
            kind(right)
        )),
    }
}

/// A value as text, for `~` and `string`; null is empty.
fn text<'v>(value: &'v Value<'_>) -> Result<Cow<'v, str>, EvaluationError> {
    match value {
        Value::Null => Ok(Cow::Borrowed("")),
        Value::Bool(bool) => Ok(Cow::Borrowed(if *bool { "true" } else { "false" })),
        Value::Number(number) => Ok(number.digits()),
        Value::Text(text) => Ok(Cow::Borrowed(text)),
        Value::List(_) | Value::Json(_) => type_error(format!("{} is not text", kind(value))),
    }
}

fn apply<'a>(
    filter: Filter,
    value: Value<'a>,
    argument: Option<Value<'a>>,
) -> Result<Value<'a>, EvaluationError> {
    let owned = |text: String| Ok(Value::Text(Cow::Owned(text)));
    match (filter, &value) {
        (Filter::Default, Value::Null) => Ok(argument.unwrap_or(Value::Null)),
        (Filter::Default, _) => Ok(value),
        (_, Value::Null) => Ok(Value::Null),
        (Filter::Lower, Value::Text(text)) => owned(text.to_lowercase()),
        (Filter::Upper, Value::Text(text)) => owned(text.to_uppercase()),
        (Filter::Trim, Value::Text(text)) => owned(text.trim().to_owned()),
        (Filter::Length, value) => {
            let length = match value {
                Value::Text(text) => text.chars().count(),
                Value::List(items) => items.len(),
                Value::Json(json) => match json.as_ref() {
                    Json::Array(items) => items.len(),
                    Json::Object(members) => members.len(),
                    Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => 0,
                },
                other => return type_error(format!("{} has no length", kind(other))),
            };
            Ok(Value::Number(Number::Integer(length as i128)))
        }
        (Filter::Abs, Value::Number(number)) => {
            Ok(Value::Number(match number.order(&Number::Integer(0)) {
                Ordering::Less => number.clone().negate(),
                Ordering::Equal | Ordering::Greater => number.clone(),
            }))
        }
        (Filter::Round, Value::Number(number)) => match argument {
            None => Ok(Value::Number(number.round(0))),
            Some(Value::Number(Number::Integer(places @ 0..=38))) => {
                Ok(Value::Number(number.round(places as u32)))
            }
            Some(_) => type_error("`round` takes a number of places from 0 to 38"),
        },
        (Filter::Int | Filter::Float, Value::Number(_) | Value::Text(_)) => {
            let number = match &value {
                Value::Number(number) => Some(number.clone()),
                other => Number::parse(text(other)?.trim()).map(|number| match number {
                    // Detach it from the text that it was read from.
                    Number::Decimal(digits) => Number::Decimal(Cow::Owned(digits.into_owned())),
                    Number::Integer(integer) => Number::Integer(integer),
                    Number::Float(float) => Number::Float(float),
                }),
            };
            let number = match filter {
                Filter::Int => number.and_then(|number| number.truncate()),
                _ => number.map(|number| Number::Float(number.to_f64())),
            };
            match number {
                Some(number) => Ok(Value::Number(number)),
                None => type_error("a text is not a number"),
            }
        }
        (Filter::String, value) => owned(text(value)?.into_owned()),
        (filter, value) => type_error(format!(
            "the filter `{}` does not apply to {}",
            format!("{filter:?}").to_lowercase(),
            kind(value)
        )),
    }
}
