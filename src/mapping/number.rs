//! Numbers in expressions: exact where PostgreSQL's are.
//!
//! Integers and numerics compare digit by digit, however long, and `+ - *` on them is
//! exact up to 38 digits, so that `amount * 100` of 19.99 is 1999 and not
//! 1998.9999999999998. Only `/`, floats, and results beyond 38 digits go through `f64`.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::expression::Arithmetic;

#[derive(Clone, Debug)]
pub(crate) enum Number<'a> {
    Integer(i128),
    /// Digits as PostgreSQL writes a numeric: a sign, digits, perhaps a point and digits.
    Decimal(Cow<'a, str>),
    Float(f64),
}

impl<'a> Number<'a> {
    /// Reads PostgreSQL's text of an integer, a numeric or a float, or a JSON number.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        if let Ok(integer) = text.parse() {
            return Some(Number::Integer(integer));
        }
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let plain = match unsigned.split_once('.') {
            Some((whole, fraction)) => digits(whole) && digits(fraction),
            None => digits(unsigned),
        };
        match plain {
            true => Some(Number::Decimal(Cow::Borrowed(text))),
            false => text.parse().ok().map(Number::Float),
        }
    }

    /// As PostgreSQL orders numbers: NaN equals itself and is above everything.
    pub(crate) fn order(&self, other: &Number<'_>) -> Ordering {
        if matches!(self, Number::Float(_)) || matches!(other, Number::Float(_)) {
            let (left, right) = (self.to_f64(), other.to_f64());
            return left
                .partial_cmp(&right)
                .unwrap_or_else(|| left.is_nan().cmp(&right.is_nan()));
        }
        if let (Number::Integer(left), Number::Integer(right)) = (self, other) {
            return left.cmp(right);
        }
        order_digits(&self.digits(), &other.digits())
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.order(&Number::Integer(0)) == Ordering::Equal
    }

    pub(crate) fn to_f64(&self) -> f64 {
        match self {
            Number::Integer(integer) => *integer as f64,
            // Its digits are always a float's text; NaN would only fail comparisons.
            Number::Decimal(digits) => digits.parse().unwrap_or(f64::NAN),
            Number::Float(float) => *float,
        }
    }

    /// The number as text: what `~` and the payload show.
    pub(crate) fn digits(&self) -> Cow<'_, str> {
        match self {
            Number::Integer(integer) => Cow::Owned(integer.to_string()),
            Number::Decimal(digits) => Cow::Borrowed(digits),
            Number::Float(float) => Cow::Owned(float.to_string()),
        }
    }

    pub(crate) fn negate(self) -> Number<'static> {
        match self {
            Number::Float(float) => Number::Float(-float),
            other => Number::Integer(0)
                .combine(Arithmetic::Subtract, &other)
                .unwrap_or(Number::Float(f64::NAN)),
        }
    }

    /// `None` is a division by zero.
    pub(crate) fn combine(&self, kind: Arithmetic, other: &Number<'_>) -> Option<Number<'static>> {
        if let (Some(left), Some(right)) = (self.scaled(), other.scaled())
            && let Some(exact) = left.combine(kind, right)
        {
            return Some(exact.into_number());
        }
        let (left, right) = (self.to_f64(), other.to_f64());
        let divides = matches!(
            kind,
            Arithmetic::Divide | Arithmetic::FloorDivide | Arithmetic::Remainder
        );
        if divides && right == 0.0 {
            return None;
        }
        Some(Number::Float(match kind {
            Arithmetic::Add => left + right,
            Arithmetic::Subtract => left - right,
            Arithmetic::Multiply => left * right,
            Arithmetic::Divide => left / right,
            Arithmetic::FloorDivide => (left / right).floor(),
            Arithmetic::Remainder => left - right * (left / right).floor(),
        }))
    }

    /// Rounded half away from zero, as PostgreSQL rounds a numeric.
    pub(crate) fn round(&self, places: u32) -> Number<'static> {
        match self.scaled() {
            Some(scaled) if scaled.scale <= places => scaled.into_number(),
            Some(Scaled { mantissa, scale }) => {
                let unit = 10i128.checked_pow(scale - places).unwrap_or(i128::MAX);
                let half = unit / 2;
                let shifted = mantissa.saturating_add(if mantissa < 0 { -half } else { half });
                Scaled {
                    mantissa: shifted / unit,
                    scale: places,
                }
                .into_number()
            }
            None => {
                let unit = 10f64.powi(i32::try_from(places).unwrap_or(i32::MAX));
                let rounded = (self.to_f64() * unit).round() / unit;
                Number::Float(if rounded.is_finite() {
                    rounded
                } else {
                    self.to_f64()
                })
            }
        }
    }

    /// Cut towards zero; `None` where the result has no place in 38 digits.
    pub(crate) fn truncate(&self) -> Option<Number<'static>> {
        match self {
            Number::Integer(integer) => Some(Number::Integer(*integer)),
            Number::Decimal(digits) => {
                let whole = digits.split('.').next().unwrap_or_default();
                whole.parse().ok().map(Number::Integer)
            }
            Number::Float(float) => {
                (float.abs() < 1e38).then(|| Number::Integer(float.trunc() as i128))
            }
        }
    }

    fn scaled(&self) -> Option<Scaled> {
        match self {
            Number::Integer(mantissa) => Some(Scaled {
                mantissa: *mantissa,
                scale: 0,
            }),
            Number::Decimal(digits) => {
                let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
                Some(Scaled {
                    mantissa: format!("{whole}{fraction}").parse().ok()?,
                    scale: u32::try_from(fraction.len()).ok()?,
                })
            }
            Number::Float(_) => None,
        }
    }
}

/// `mantissa / 10^scale`.
#[derive(Clone, Copy)]
struct Scaled {
    mantissa: i128,
    scale: u32,
}

impl Scaled {
    /// `None` where the result is not exact in an `i128`.
    fn combine(self, kind: Arithmetic, other: Scaled) -> Option<Scaled> {
        if let Arithmetic::Multiply = kind {
            return Some(Scaled {
                mantissa: self.mantissa.checked_mul(other.mantissa)?,
                scale: self.scale.checked_add(other.scale)?,
            });
        }
        let scale = self.scale.max(other.scale);
        let left = self.at(scale)?;
        let right = other.at(scale)?;
        let (mantissa, scale) = match kind {
            Arithmetic::Add => (left.checked_add(right)?, scale),
            Arithmetic::Subtract => (left.checked_sub(right)?, scale),
            Arithmetic::FloorDivide => {
                let quotient = left.checked_div(right)?;
                let below = left % right != 0 && (left < 0) != (right < 0);
                (quotient - i128::from(below), 0)
            }
            Arithmetic::Remainder => {
                let remainder = left.checked_rem(right)?;
                let other_sign = remainder != 0 && (remainder < 0) != (right < 0);
                (
                    if other_sign {
                        remainder + right
                    } else {
                        remainder
                    },
                    scale,
                )
            }
            Arithmetic::Multiply | Arithmetic::Divide => return None,
        };
        Some(Scaled { mantissa, scale })
    }

    fn at(self, scale: u32) -> Option<i128> {
        self.mantissa
            .checked_mul(10i128.checked_pow(scale - self.scale)?)
    }

    fn into_number(self) -> Number<'static> {
        if self.scale == 0 {
            return Number::Integer(self.mantissa);
        }
        let scale = self.scale as usize;
        let digits = format!(
            "{:0>width$}",
            self.mantissa.unsigned_abs(),
            width = scale + 1
        );
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        let sign = if self.mantissa < 0 { "-" } else { "" };
        Number::Decimal(Cow::Owned(format!("{sign}{whole}.{fraction}")))
    }
}

/// Orders two numbers by their digits.
fn order_digits(left: &str, right: &str) -> Ordering {
    fn parts(text: &str) -> (bool, &str, &str) {
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let (whole, fraction) = (
            whole.trim_start_matches('0'),
            fraction.trim_end_matches('0'),
        );
        let zero = whole.is_empty() && fraction.is_empty();
        (text.starts_with('-') && !zero, whole, fraction)
    }
    let (left_negative, left_whole, left_fraction) = parts(left);
    let (right_negative, right_whole, right_fraction) = parts(right);
    match (left_negative, right_negative) {
        (true, false) => return Ordering::Less,
        (false, true) => return Ordering::Greater,
        (true, true) | (false, false) => {}
    }
    let magnitude = left_whole
        .len()
        .cmp(&right_whole.len())
        .then_with(|| left_whole.cmp(right_whole))
        .then_with(|| left_fraction.cmp(right_fraction));
    match left_negative {
        true => magnitude.reverse(),
        false => magnitude,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number<'_> {
        Number::parse(text).unwrap()
    }

    #[test]
    fn orders_numbers_exactly_however_long() {
        let digits_40 = "1234567890123456789012345678901234567890";
        for (left, right, expected) in [
            ("1", "1.00", Ordering::Equal),
            ("-0.00", "0", Ordering::Equal),
            ("2", "10", Ordering::Less),
            ("-2", "-10", Ordering::Greater),
            ("-1", "1", Ordering::Less),
            ("0.1", "0.10000000000000000001", Ordering::Less),
            (
                digits_40,
                "1234567890123456789012345678901234567891",
                Ordering::Less,
            ),
            ("NaN", digits_40, Ordering::Greater),
            ("NaN", "NaN", Ordering::Equal),
            ("-Infinity", "0", Ordering::Less),
            ("1e400", digits_40, Ordering::Greater),
        ] {
            assert_eq!(
                number(left).order(&number(right)),
                expected,
                "{left} {right}"
            );
        }
    }

    #[test]
    fn calculates_money_exactly() {
        let of = |left, kind, right| {
            number(left)
                .combine(kind, &number(right))
                .unwrap()
                .digits()
                .into_owned()
        };
        assert_eq!(of("19.99", Arithmetic::Multiply, "100"), "1999.00");
        assert_eq!(of("0.1", Arithmetic::Add, "0.2"), "0.3");
        assert_eq!(of("0.05", Arithmetic::Subtract, "1"), "-0.95");
        assert_eq!(of("-7", Arithmetic::FloorDivide, "2"), "-4");
        assert_eq!(of("-7", Arithmetic::Remainder, "3"), "2");
        assert_eq!(of("1", Arithmetic::Divide, "4"), "0.25");
        assert!(
            number("1")
                .combine(Arithmetic::Divide, &number("0"))
                .is_none()
        );
        assert!(
            number("1.5")
                .combine(Arithmetic::FloorDivide, &number("0.0"))
                .is_none()
        );
        assert!(
            number("1")
                .combine(Arithmetic::Remainder, &number("0"))
                .is_none()
        );
        assert_eq!(number("2.345").round(2).digits(), "2.35");
        assert_eq!(number("-2.345").round(0).digits(), "-2");
        assert_eq!(number("-0.5").negate().digits(), "0.5");
        assert_eq!(number("-2.9").truncate().unwrap().digits(), "-2");
    }
}
