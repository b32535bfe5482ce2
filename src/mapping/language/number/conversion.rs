//! numeric from and to the other numbers, as the server casts.

use super::decimal::{POWERS, Value};
use super::integer::Integer;
use super::{Decimal, Digits, NumberError, float};

impl From<i16> for Decimal {
    fn from(value: i16) -> Decimal {
        Decimal::small(i128::from(value), 0)
    }
}

impl From<i32> for Decimal {
    fn from(value: i32) -> Decimal {
        Decimal::small(i128::from(value), 0)
    }
}

impl From<i64> for Decimal {
    fn from(value: i64) -> Decimal {
        Decimal::small(i128::from(value), 0)
    }
}

/// The server casts through 15 significant digits.
impl From<f64> for Decimal {
    fn from(value: f64) -> Decimal {
        match value {
            value if value.is_nan() => Decimal::NAN,
            f64::INFINITY => Decimal::INFINITY,
            f64::NEG_INFINITY => Decimal::NEGATIVE_INFINITY,
            value => from_scientific(&Digits::of(format_args!("{value:.14e}"))),
        }
    }
}

/// … of a real, through 6.
impl From<f32> for Decimal {
    fn from(value: f32) -> Decimal {
        match value {
            value if value.is_nan() => Decimal::NAN,
            f32::INFINITY => Decimal::INFINITY,
            f32::NEG_INFINITY => Decimal::NEGATIVE_INFINITY,
            value => from_scientific(&Digits::of(format_args!("{value:.5e}"))),
        }
    }
}

/// Reads `-d.ddde-d`, of which zeros at the end do not count.
fn from_scientific(digits: &Digits) -> Decimal {
    let text = digits.as_str();
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(unsigned) => (true, unsigned),
        None => (false, text),
    };
    let (mantissa, exponent) = unsigned.split_once('e').unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0').as_bytes();
    let exponent = exponent.parse().unwrap_or(0);
    // The exponents of floats are far within numeric's limits.
    Decimal::from_parts(negative, whole.as_bytes(), fraction, exponent).unwrap_or(Decimal::NAN)
}

impl Decimal {
    pub fn to_f64(&self) -> Result<f64, NumberError> {
        // Up to here a double holds every integer, and every power of ten up to so many
        // zeros: the quotient of two such is the nearest double.
        const EXACT: u128 = 1 << f64::MANTISSA_DIGITS;
        const EXACT_ZEROS: u16 = 22;
        match &self.0 {
            Value::Small(unscaled, scale)
                if unscaled.unsigned_abs() <= EXACT && *scale <= EXACT_ZEROS =>
            {
                Ok(*unscaled as f64 / POWERS[usize::from(*scale)] as f64)
            }
            Value::Small(..) | Value::Large(..) => float::parse_f64(&self.to_string()),
            Value::NaN => Ok(f64::NAN),
            Value::Infinity => Ok(f64::INFINITY),
            Value::NegativeInfinity => Ok(f64::NEG_INFINITY),
        }
    }

    pub fn to_f32(&self) -> Result<f32, NumberError> {
        const EXACT: u128 = 1 << f32::MANTISSA_DIGITS;
        const EXACT_ZEROS: u16 = 10;
        match &self.0 {
            Value::Small(unscaled, scale)
                if unscaled.unsigned_abs() <= EXACT && *scale <= EXACT_ZEROS =>
            {
                Ok(*unscaled as f32 / POWERS[usize::from(*scale)] as f32)
            }
            Value::Small(..) | Value::Large(..) => float::parse_f32(&self.to_string()),
            Value::NaN => Ok(f32::NAN),
            Value::Infinity => Ok(f32::INFINITY),
            Value::NegativeInfinity => Ok(f32::NEG_INFINITY),
        }
    }

    /// Rounds half away from zero.
    pub fn to_integer<I: Integer>(&self) -> Result<I, NumberError> {
        let not_convertible = |value| {
            Err(NumberError::NotConvertible {
                value,
                into: I::NAME,
            })
        };
        let rounded = match &self.0 {
            Value::NaN => return not_convertible("NaN"),
            Value::Infinity | Value::NegativeInfinity => return not_convertible("infinity"),
            // Only the rounding of the largest numeric overflows.
            Value::Small(..) | Value::Large(..) => self.round(0),
        };
        match rounded.map(|rounded| rounded.0) {
            Ok(Value::Small(value, _)) => I::from_i128(value),
            _ => None,
        }
        .ok_or(NumberError::OutOfRange(I::NAME))
    }
}
