//! Values while an expression is evaluated: what PostgreSQL keeps of them, borrowed from the
//! row or from the expression where that is possible.

use std::borrow::Cow;

use super::number::Decimal;
use super::time::{Date, Interval, Timestamp};

/// A value that stands in the expression itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Constant {
    Bool(bool),
    Integer(i64),
    Numeric(Decimal),
    Float4(f32),
    Float8(f64),
    /// Texts, and what is kept as the server writes it: labels, uuid, json, arrays, bytea.
    Text(String),
    Date(Date),
    /// With or without time zone; in UTC.
    Timestamp(Timestamp),
    Interval(Interval),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    Bool(bool),
    Integer(i64),
    Numeric(Cow<'a, Decimal>),
    Float4(f32),
    Float8(f64),
    Text(Cow<'a, str>),
    /// A member of an event, as its JSON stands there.
    Json(Cow<'a, str>),
    Date(Date),
    Timestamp(Timestamp),
    Interval(Interval),
}

impl Constant {
    pub fn as_value(&self) -> Value<'_> {
        match self {
            Constant::Bool(value) => Value::Bool(*value),
            Constant::Integer(value) => Value::Integer(*value),
            Constant::Numeric(value) => Value::Numeric(Cow::Borrowed(value)),
            Constant::Float4(value) => Value::Float4(*value),
            Constant::Float8(value) => Value::Float8(*value),
            Constant::Text(value) => Value::Text(Cow::Borrowed(value)),
            Constant::Date(value) => Value::Date(*value),
            Constant::Timestamp(value) => Value::Timestamp(*value),
            Constant::Interval(value) => Value::Interval(*value),
        }
    }
}

impl Value<'_> {
    pub fn into_constant(self) -> Constant {
        match self {
            Value::Bool(value) => Constant::Bool(value),
            Value::Integer(value) => Constant::Integer(value),
            Value::Numeric(value) => Constant::Numeric(value.into_owned()),
            Value::Float4(value) => Constant::Float4(value),
            Value::Float8(value) => Constant::Float8(value),
            Value::Text(value) | Value::Json(value) => Constant::Text(value.into_owned()),
            Value::Date(value) => Constant::Date(value),
            Value::Timestamp(value) => Constant::Timestamp(value),
            Value::Interval(value) => Constant::Interval(value),
        }
    }
}
