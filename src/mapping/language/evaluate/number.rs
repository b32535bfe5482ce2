//! `+ - * / %` and the functions of numbers.

use std::borrow::Cow;

use crate::mapping::language::number::{Decimal, NumberError, float, integer};
use crate::mapping::language::program::NumberKind;
use crate::mapping::language::syntax::Arithmetic;
use crate::mapping::language::value::Value;

use super::convert::of_number;
use super::{Evaluation, Failure, Result, Row};

type Computed<'v> = Result<Value<'v>, NumberError>;

fn no_number() -> Failure {
    Failure::Failed("a number is expected".to_owned())
}

impl<R: Row> Evaluation<'_, R> {
    pub(super) fn number<'v>(
        &self,
        operator: Arithmetic,
        kind: NumberKind,
        left: &Value<'_>,
        right: &Value<'_>,
    ) -> Result<Value<'v>> {
        let computed = match (kind, left, right) {
            (NumberKind::Int2, Value::Integer(a), Value::Integer(b)) => {
                integers::<i16>(operator, *a, *b)
            }
            (NumberKind::Int4, Value::Integer(a), Value::Integer(b)) => {
                integers::<i32>(operator, *a, *b)
            }
            (NumberKind::Int8, Value::Integer(a), Value::Integer(b)) => {
                integers::<i64>(operator, *a, *b)
            }
            (NumberKind::Numeric, Value::Numeric(a), Value::Numeric(b)) => {
                // Digits are steps: a product of long numbers is not one.
                self.step(a.bits().saturating_add(b.bits()) / 32)?;
                numerics(operator, a, b)
            }
            (NumberKind::Float4, Value::Float4(a), Value::Float4(b)) => {
                floats(operator, *a, *b).map(Value::Float4)
            }
            (NumberKind::Float8, Value::Float8(a), Value::Float8(b)) => {
                floats(operator, *a, *b).map(Value::Float8)
            }
            _ => return Err(no_number()),
        };
        computed.map_err(of_number)
    }
}

fn integers<I: integer::Integer + Into<i64> + TryFrom<i64>>(
    operator: Arithmetic,
    a: i64,
    b: i64,
) -> Computed<'static> {
    let narrow = |value: i64| I::try_from(value).map_err(|_| NumberError::OutOfRange(I::NAME));
    let (a, b) = (narrow(a)?, narrow(b)?);
    let value = match operator {
        Arithmetic::Add => integer::add(a, b),
        Arithmetic::Subtract => integer::sub(a, b),
        Arithmetic::Multiply => integer::mul(a, b),
        Arithmetic::Divide => integer::div(a, b),
        Arithmetic::Remainder => integer::rem(a, b),
    };
    value.map(|value| Value::Integer(value.into()))
}

fn numerics(operator: Arithmetic, a: &Decimal, b: &Decimal) -> Computed<'static> {
    let value = match operator {
        Arithmetic::Add => a.add(b),
        Arithmetic::Subtract => a.sub(b),
        Arithmetic::Multiply => a.mul(b),
        Arithmetic::Divide => a.div(b),
        Arithmetic::Remainder => a.rem(b),
    };
    value.map(|value| Value::Numeric(Cow::Owned(value)))
}

fn floats<F: num_traits::Float>(operator: Arithmetic, a: F, b: F) -> Result<F, NumberError> {
    match operator {
        Arithmetic::Add => float::add(a, b),
        Arithmetic::Subtract => float::sub(a, b),
        Arithmetic::Multiply => float::mul(a, b),
        Arithmetic::Divide => float::div(a, b),
        // Refused when the expression is checked.
        Arithmetic::Remainder => Err(NumberError::Invalid),
    }
}

pub(super) fn negate<'v>(kind: NumberKind, value: &Value<'_>) -> Result<Value<'v>> {
    let computed = match (kind, value) {
        (NumberKind::Int2, Value::Integer(value)) => unary::<i16>(*value, integer::neg),
        (NumberKind::Int4, Value::Integer(value)) => unary::<i32>(*value, integer::neg),
        (NumberKind::Int8, Value::Integer(value)) => unary::<i64>(*value, integer::neg),
        (_, Value::Numeric(value)) => Ok(Value::Numeric(Cow::Owned(value.neg()))),
        (_, Value::Float4(value)) => Ok(Value::Float4(-value)),
        (_, Value::Float8(value)) => Ok(Value::Float8(-value)),
        _ => return Err(no_number()),
    };
    computed.map_err(of_number)
}

fn unary<I: integer::Integer + Into<i64> + TryFrom<i64>>(
    value: i64,
    compute: fn(I) -> Result<I, NumberError>,
) -> Computed<'static> {
    let narrow = I::try_from(value).map_err(|_| NumberError::OutOfRange(I::NAME))?;
    compute(narrow).map(|value| Value::Integer(value.into()))
}

pub(super) fn abs<'v>(kind: NumberKind, value: &Value<'_>) -> Result<Value<'v>> {
    let computed = match (kind, value) {
        (NumberKind::Int2, Value::Integer(value)) => unary::<i16>(*value, integer::abs),
        (NumberKind::Int4, Value::Integer(value)) => unary::<i32>(*value, integer::abs),
        (NumberKind::Int8, Value::Integer(value)) => unary::<i64>(*value, integer::abs),
        (_, Value::Numeric(value)) => Ok(Value::Numeric(Cow::Owned(value.abs()))),
        (_, Value::Float4(value)) => Ok(Value::Float4(value.abs())),
        (_, Value::Float8(value)) => Ok(Value::Float8(value.abs())),
        _ => return Err(no_number()),
    };
    computed.map_err(of_number)
}

#[derive(Clone, Copy)]
pub(super) enum Rounding {
    Round,
    Trunc,
    Floor,
    Ceil,
}

pub(super) fn rounded<'v>(rounding: Rounding, value: &Value<'_>, places: i32) -> Result<Value<'v>> {
    match value {
        Value::Numeric(value) => {
            let computed = match rounding {
                Rounding::Round => value.round(places),
                Rounding::Trunc => value.trunc(places),
                Rounding::Floor => value.floor(),
                Rounding::Ceil => value.ceil(),
            };
            computed
                .map(|value| Value::Numeric(Cow::Owned(value)))
                .map_err(of_number)
        }
        Value::Float8(value) => Ok(Value::Float8(match rounding {
            Rounding::Round => float::round(*value),
            Rounding::Trunc => value.trunc(),
            Rounding::Floor => value.floor(),
            Rounding::Ceil => value.ceil(),
        })),
        _ => Err(no_number()),
    }
}
