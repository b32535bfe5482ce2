//! Sums, differences and fields of times.

use std::borrow::Cow;

use crate::mapping::language::number::Decimal;
use crate::mapping::language::program::TimeOperation as Op;
use crate::mapping::language::time::{ExtractField, Extracted, TimeType};
use crate::mapping::language::value::Value;

use super::convert::of_time;
use super::{Failure, Result, failed};

pub(super) fn compute<'v>(operation: Op, left: &Value<'_>, right: &Value<'_>) -> Result<Value<'v>> {
    let days = |days: &i64| {
        i32::try_from(*days).map_err(|_| Failure::Failed("integer out of range".to_owned()))
    };
    let value = match (operation, left, right) {
        (Op::DateMinusDate, Value::Date(a), Value::Date(b)) => {
            a.minus_date(*b).map(|days| Value::Integer(days.into()))
        }
        (Op::DatePlusInteger, Value::Date(a), Value::Integer(b)) => {
            a.plus_days(days(b)?).map(Value::Date)
        }
        (Op::DateMinusInteger, Value::Date(a), Value::Integer(b)) => {
            a.minus_days(days(b)?).map(Value::Date)
        }
        (Op::DatePlusInterval, Value::Date(a), Value::Interval(b)) => {
            a.plus_interval(*b).map(Value::Timestamp)
        }
        (Op::DateMinusInterval, Value::Date(a), Value::Interval(b)) => {
            a.minus_interval(*b).map(Value::Timestamp)
        }
        (Op::TimestampMinusTimestamp, Value::Timestamp(a), Value::Timestamp(b)) => {
            a.minus_timestamp(*b).map(Value::Interval)
        }
        (Op::TimestampPlusInterval, Value::Timestamp(a), Value::Interval(b)) => {
            a.plus_interval(*b).map(Value::Timestamp)
        }
        (Op::TimestampMinusInterval, Value::Timestamp(a), Value::Interval(b)) => {
            a.minus_interval(*b).map(Value::Timestamp)
        }
        (Op::IntervalPlusInterval, Value::Interval(a), Value::Interval(b)) => {
            a.plus(*b).map(Value::Interval)
        }
        (Op::IntervalMinusInterval, Value::Interval(a), Value::Interval(b)) => {
            a.minus(*b).map(Value::Interval)
        }
        _ => return failed("times are expected"),
    };
    value.map_err(of_time)
}

pub(super) fn extract<'v>(
    field: ExtractField,
    of: TimeType,
    value: &Value<'_>,
) -> Result<Option<Value<'v>>> {
    let extracted = match (of, value) {
        (TimeType::Date, Value::Date(value)) => field.of_date(*value),
        (TimeType::Timestamp, Value::Timestamp(value)) => field.of_timestamp(*value),
        (TimeType::Timestamptz, Value::Timestamp(value)) => field.of_timestamptz(*value),
        (TimeType::Interval, Value::Interval(value)) => field.of_interval(*value),
        _ => return failed("a time is expected"),
    };
    let number = match extracted.map_err(of_time)? {
        Extracted::Null => return Ok(None),
        Extracted::NegativeInfinity => Decimal::NEGATIVE_INFINITY,
        Extracted::Infinity => Decimal::INFINITY,
        Extracted::Number { unscaled, scale } => Decimal::of_parts(unscaled, scale.into()),
    };
    Ok(Some(Value::Numeric(Cow::Owned(number))))
}
