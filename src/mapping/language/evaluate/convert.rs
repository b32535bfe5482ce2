//! Casts, and values as the server prints them.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::mapping::language::check::{read_boolean, read_uuid};
use crate::mapping::language::json;
use crate::mapping::language::number::{Decimal, NumberError, float, integer};
use crate::mapping::language::program::{Conversion, NumberKind};
use crate::mapping::language::time::{Date, Interval, TimeError, Timestamp};
use crate::mapping::language::value::Value;

use super::{Evaluation, Failure, Result, Row, failed};

pub(super) fn of_number(error: NumberError) -> Failure {
    Failure::Failed(error.to_string())
}

/// Without the text that could not be read.
pub(super) fn of_time(error: TimeError) -> Failure {
    Failure::Failed(match error {
        TimeError::Literal(_) => {
            "a text is no date, time or interval in a form that is read".to_owned()
        }
        error => error.to_string(),
    })
}

impl<R: Row> Evaluation<'_, R> {
    pub(super) fn convert<'v>(
        &self,
        conversion: Conversion,
        value: Value<'v>,
    ) -> Result<Value<'v>> {
        Ok(match (conversion, value) {
            (Conversion::Expect(expected), Value::Json(json)) => {
                return self.expect(expected, json);
            }
            (Conversion::IntegerTo(kind), Value::Integer(value)) => {
                integer_to(value, kind).map_err(of_number)?
            }
            (Conversion::NumericTo(kind), Value::Numeric(value)) => {
                numeric_to(value, kind).map_err(of_number)?
            }
            (Conversion::Float4To(kind), Value::Float4(value)) => match kind {
                NumberKind::Float4 => Value::Float4(value),
                NumberKind::Numeric => Value::Numeric(Cow::Owned(Decimal::from(value))),
                kind => double_to(f64::from(value), kind).map_err(of_number)?,
            },
            (Conversion::Float8To(kind), Value::Float8(value)) => {
                double_to(value, kind).map_err(of_number)?
            }
            (Conversion::Unpad, Value::Text(text)) => Value::Text(match text {
                Cow::Borrowed(text) => Cow::Borrowed(text.trim_end_matches(' ')),
                Cow::Owned(text) => Cow::Owned(text.trim_end_matches(' ').to_owned()),
            }),
            (Conversion::JsonbIn(encoding), Value::Text(text)) => {
                match text.chars().all(|c| encoding.holds(c)) {
                    true => Value::Text(text),
                    false => {
                        return failed("JSON holds a character that the database's encoding lacks");
                    }
                }
            }
            (Conversion::JsonIn(encoding), Value::Text(text)) => {
                match json::check_escapes(&text, |c| encoding.holds(c)) {
                    Ok(()) => Value::Text(text),
                    Err(_) => {
                        return failed("JSON holds a character that the database's encoding lacks");
                    }
                }
            }
            (Conversion::ToText, Value::Bool(value)) => {
                Value::Text(Cow::Borrowed(if value { "true" } else { "false" }))
            }
            (Conversion::TimestamptzToOutput, Value::Timestamp(value)) => {
                let mut out = String::new();
                value.write_timestamptz(&mut out);
                Value::Text(Cow::Owned(out))
            }
            (
                Conversion::ToText | Conversion::ToOutput | Conversion::TimestamptzToOutput,
                value,
            ) => {
                let text = output(value);
                if let Cow::Owned(text) = &text {
                    self.make(text.len())?;
                }
                Value::Text(text)
            }
            (Conversion::DateToTimestamp, Value::Date(value)) => {
                Value::Timestamp(value.to_timestamp().map_err(of_time)?)
            }
            (Conversion::TimestampToDate, Value::Timestamp(value)) => Value::Date(value.to_date()),
            (conversion, Value::Text(text)) => {
                self.pass(text.len(), 16)?;
                return self.read(conversion, text);
            }
            _ => return failed("a value has not the type of its cast"),
        })
    }

    /// A text to another type. The server's messages would show the text.
    fn read<'v>(&self, conversion: Conversion, text: Cow<'v, str>) -> Result<Value<'v>> {
        let number = |error: NumberError| {
            Failure::Failed(match error {
                NumberError::Invalid => "a text is no number".to_owned(),
                error => error.to_string(),
            })
        };
        Ok(match conversion {
            Conversion::TextToBool => match read_boolean(&text) {
                Some(value) => Value::Bool(value),
                None => return failed("a text is neither true nor false"),
            },
            Conversion::TextToNumber(kind) => match kind {
                NumberKind::Int2 => {
                    Value::Integer(integer::parse::<i16>(&text).map_err(number)?.into())
                }
                NumberKind::Int4 => {
                    Value::Integer(integer::parse::<i32>(&text).map_err(number)?.into())
                }
                NumberKind::Int8 => Value::Integer(integer::parse(&text).map_err(number)?),
                NumberKind::Numeric => {
                    Value::Numeric(Cow::Owned(Decimal::parse(&text).map_err(number)?))
                }
                NumberKind::Float4 => Value::Float4(float::parse_f32(&text).map_err(number)?),
                NumberKind::Float8 => Value::Float8(float::parse_f64(&text).map_err(number)?),
            },
            Conversion::TextToUuid => match read_uuid(&text) {
                Some(uuid) => Value::Text(Cow::Owned(uuid)),
                None => return failed("a text is no uuid"),
            },
            Conversion::TextToDate => Value::Date(Date::parse_literal(&text).map_err(of_time)?),
            Conversion::TextToTimestamp => {
                Value::Timestamp(Timestamp::parse_literal(&text).map_err(of_time)?)
            }
            Conversion::TextToTimestamptz => {
                Value::Timestamp(Timestamp::parse_literal_tz(&text).map_err(of_time)?)
            }
            Conversion::TextToInterval => {
                Value::Interval(Interval::parse_literal(&text).map_err(of_time)?)
            }
            Conversion::TextToJsonb => {
                self.make(text.len())?;
                match json::to_jsonb_text(&text) {
                    Ok(normal) => Value::Text(Cow::Owned(normal)),
                    Err(_) => return failed("a text is no JSON"),
                }
            }
            Conversion::TextToJson => match json::Json::parse(&text) {
                Ok(_) => Value::Text(text),
                Err(_) => return failed("a text is no JSON"),
            },
            _ => return failed("a value has not the type of its cast"),
        })
    }
}

fn integer_to(value: i64, kind: NumberKind) -> Result<Value<'static>, NumberError> {
    Ok(match kind {
        NumberKind::Int2 => {
            i16::try_from(value).map_err(|_| NumberError::OutOfRange("smallint"))?;
            Value::Integer(value)
        }
        NumberKind::Int4 => {
            i32::try_from(value).map_err(|_| NumberError::OutOfRange("integer"))?;
            Value::Integer(value)
        }
        NumberKind::Int8 => Value::Integer(value),
        NumberKind::Numeric => Value::Numeric(Cow::Owned(Decimal::from(value))),
        NumberKind::Float4 => Value::Float4(value as f32),
        NumberKind::Float8 => Value::Float8(value as f64),
    })
}

fn numeric_to(value: Cow<'_, Decimal>, kind: NumberKind) -> Result<Value<'_>, NumberError> {
    Ok(match kind {
        NumberKind::Int2 => Value::Integer(value.to_integer::<i16>()?.into()),
        NumberKind::Int4 => Value::Integer(value.to_integer::<i32>()?.into()),
        NumberKind::Int8 => Value::Integer(value.to_integer::<i64>()?),
        NumberKind::Numeric => Value::Numeric(value),
        NumberKind::Float4 => Value::Float4(value.to_f32()?),
        NumberKind::Float8 => Value::Float8(value.to_f64()?),
    })
}

fn double_to(value: f64, kind: NumberKind) -> Result<Value<'static>, NumberError> {
    Ok(match kind {
        NumberKind::Int2 => Value::Integer(float::to_integer::<i16>(value)?.into()),
        NumberKind::Int4 => Value::Integer(float::to_integer::<i32>(value)?.into()),
        NumberKind::Int8 => Value::Integer(float::to_integer::<i64>(value)?),
        NumberKind::Numeric => Value::Numeric(Cow::Owned(Decimal::from(value))),
        NumberKind::Float4 => Value::Float4(float::to_f32(value)?),
        NumberKind::Float8 => Value::Float8(value),
    })
}

/// The text that the server prints; of a timestamp, without time zone.
pub(super) fn output(value: Value<'_>) -> Cow<'_, str> {
    match value {
        Value::Text(text) => text,
        value => {
            let mut out = String::new();
            write_output(&mut out, &value);
            Cow::Owned(out)
        }
    }
}

/// The text that the server prints; of a timestamp, without time zone.
pub fn write_output(out: &mut String, value: &Value<'_>) {
    match value {
        Value::Bool(value) => out.push(if *value { 't' } else { 'f' }),
        // Writing to a String never fails.
        Value::Integer(value) => {
            let _ = write!(out, "{value}");
        }
        Value::Numeric(value) => {
            let _ = write!(out, "{value}");
        }
        Value::Float4(value) => float::write_f32(*value, out),
        Value::Float8(value) => float::write_f64(*value, out),
        Value::Text(value) | Value::Json(value) => out.push_str(value),
        Value::Date(value) => value.write(out),
        Value::Timestamp(value) => value.write_timestamp(out),
        Value::Interval(value) => value.write(out),
    }
}
