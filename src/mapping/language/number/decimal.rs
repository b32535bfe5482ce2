//! PostgreSQL's numeric: a decimal of any length with a display scale, NaN or an infinity.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use num_bigint::{BigInt, BigUint, Sign};
use num_traits::{Signed, ToPrimitive};

use super::{Digits, NumberError, trim_blanks};

/// numeric's limits: digits before the point, digits after it.
pub(super) const MAX_WHOLE_DIGITS: u32 = 131_072;
pub(super) const MAX_SCALE: u16 = 16_383;

/// The powers of ten that an `i128` holds.
pub(super) const POWERS: [i128; 39] = {
    let mut powers = [1; 39];
    let mut index = 1;
    while index < powers.len() {
        powers[index] = powers[index - 1] * 10;
        index += 1;
    }
    powers
};

/// A numeric. Values whose digits fit an `i128` are read, compared and computed without
/// allocation.
#[derive(Clone, Debug)]
pub struct Decimal(pub(super) Value);

#[derive(Clone, Debug)]
pub(super) enum Value {
    /// `.0 / 10^.1`
    Small(i128, u16),
    /// The same, where `.0` does not fit an `i128`.
    Large(Box<BigInt>, u16),
    NaN,
    Infinity,
    NegativeInfinity,
}

impl Decimal {
    pub const ZERO: Decimal = Decimal::small(0, 0);
    pub const NAN: Decimal = Decimal(Value::NaN);
    pub const INFINITY: Decimal = Decimal(Value::Infinity);
    pub const NEGATIVE_INFINITY: Decimal = Decimal(Value::NegativeInfinity);

    /// Reads the server's text of a numeric, and what a cast from text takes; not `0x`,
    /// `0o`, `0b` and `_`, which only newer servers know.
    pub fn parse(text: &str) -> Result<Decimal, NumberError> {
        let text = trim_blanks(text);
        let (negative, unsigned) = match text.as_bytes() {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        let (whole, rest) = split_digits(unsigned);
        let (fraction, rest) = match rest {
            [b'.', rest @ ..] => split_digits(rest),
            _ => (&[][..], rest),
        };
        if whole.is_empty() && fraction.is_empty() {
            return parse_special(text, negative, unsigned);
        }
        Decimal::from_parts(negative, whole, fraction, parse_exponent(rest)?)
    }

    /// `whole.fraction * 10^exponent`, where both are digits.
    pub(super) fn from_parts(
        negative: bool,
        whole: &[u8],
        fraction: &[u8],
        exponent: i64,
    ) -> Result<Decimal, NumberError> {
        // What is left when the fraction's digits are part of the integer.
        let exponent = exponent - fraction.len() as i64;
        let scale = u16::try_from(exponent.min(0).unsigned_abs())
            .ok()
            .filter(|scale| *scale <= MAX_SCALE)
            .ok_or(NumberError::NumericOverflow)?;
        let whole = trim_zeros(whole);
        let fraction = match whole {
            [] => trim_zeros(fraction),
            _ => fraction,
        };
        let count = whole.len() + fraction.len();
        if count == 0 {
            return Ok(Decimal::small(0, scale));
        }
        if count as i64 + exponent > i64::from(MAX_WHOLE_DIGITS) {
            return Err(NumberError::NumericOverflow);
        }
        let zeros = exponent.max(0) as usize;
        let digits = whole.iter().chain(fraction);
        if count + zeros < POWERS.len() {
            let value = digits.fold(0, |value, digit| value * 10 + i128::from(digit - b'0'));
            let value = value * POWERS[zeros];
            return Ok(Decimal::small(if negative { -value } else { value }, scale));
        }
        let mut digits: Vec<u8> = digits.copied().collect();
        digits.resize(count + zeros, b'0');
        let magnitude = BigUint::parse_bytes(&digits, 10).ok_or(NumberError::Invalid)?;
        let sign = if negative { Sign::Minus } else { Sign::Plus };
        Decimal::from_big(BigInt::from_biguint(sign, magnitude), scale)
    }

    /// `unscaled / 10^scale`, with that display scale.
    pub fn of_parts(unscaled: i128, scale: u16) -> Decimal {
        Decimal(Value::Small(unscaled, scale))
    }

    /// How long its digits are, in bits.
    pub fn bits(&self) -> u32 {
        match &self.0 {
            Value::Large(unscaled, _) => u32::try_from(unscaled.bits()).unwrap_or(u32::MAX),
            _ => 0,
        }
    }

    pub(super) const fn small(unscaled: i128, scale: u16) -> Decimal {
        Decimal(Value::Small(unscaled, scale))
    }

    /// Fails beyond numeric's digits before the point.
    pub(super) fn from_big(unscaled: BigInt, scale: u16) -> Result<Decimal, NumberError> {
        if let Some(small) = unscaled.to_i128() {
            return Ok(Decimal::small(small, scale));
        }
        let digits = MAX_WHOLE_DIGITS + u32::from(scale);
        // A digit has 3.3219 bits: fewer than 3.32 of them are certainly within the limit.
        if unscaled.bits() > u64::from(digits) * 332 / 100
            && *unscaled.magnitude() >= BigUint::from(10u8).pow(digits)
        {
            return Err(NumberError::NumericOverflow);
        }
        Ok(Decimal(Value::Large(Box::new(unscaled), scale)))
    }

    pub fn is_nan(&self) -> bool {
        matches!(self.0, Value::NaN)
    }

    /// -1, 0 or 1; NaN has none.
    pub(super) fn signum(&self) -> Option<i8> {
        match &self.0 {
            Value::Small(unscaled, _) => Some(unscaled.signum() as i8),
            Value::Large(unscaled, _) => Some(if unscaled.is_negative() { -1 } else { 1 }),
            Value::Infinity => Some(1),
            Value::NegativeInfinity => Some(-1),
            Value::NaN => None,
        }
    }

    /// The unscaled value and the scale of a finite number.
    pub(super) fn finite(&self) -> Option<(Cow<'_, BigInt>, u16)> {
        match &self.0 {
            Value::Small(unscaled, scale) => Some((Cow::Owned(BigInt::from(*unscaled)), *scale)),
            Value::Large(unscaled, scale) => Some((Cow::Borrowed(unscaled), *scale)),
            Value::NaN | Value::Infinity | Value::NegativeInfinity => None,
        }
    }
}

/// The digits at the start, and what follows them.
fn split_digits(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit());
    text.split_at(end.unwrap_or(text.len()))
}

fn trim_zeros(digits: &[u8]) -> &[u8] {
    let start = digits.iter().position(|digit| *digit != b'0');
    digits
        .get(start.unwrap_or(digits.len())..)
        .unwrap_or_default()
}

fn parse_special(text: &str, negative: bool, unsigned: &[u8]) -> Result<Decimal, NumberError> {
    if text.eq_ignore_ascii_case("nan") {
        return Ok(Decimal::NAN);
    }
    if unsigned.eq_ignore_ascii_case(b"inf") || unsigned.eq_ignore_ascii_case(b"infinity") {
        return Ok(match negative {
            true => Decimal::NEGATIVE_INFINITY,
            false => Decimal::INFINITY,
        });
    }
    Err(NumberError::Invalid)
}

/// The exponent that follows the digits, if any.
fn parse_exponent(text: &[u8]) -> Result<i64, NumberError> {
    // The server's bound, which every exponent of a number within numeric's limits keeps.
    const LIMIT: i64 = (i32::MAX / 2) as i64;
    let (negative, digits) = match text {
        [] => return Ok(0),
        [b'e' | b'E', b'-', digits @ ..] => (true, digits),
        [b'e' | b'E', b'+', digits @ ..] | [b'e' | b'E', digits @ ..] => (false, digits),
        _ => return Err(NumberError::Invalid),
    };
    let (digits, rest) = split_digits(digits);
    if digits.is_empty() || !rest.is_empty() {
        return Err(NumberError::Invalid);
    }
    let mut exponent = 0;
    for digit in digits {
        exponent = exponent * 10 + i64::from(digit - b'0');
        if exponent >= LIMIT {
            return Err(NumberError::NumericOverflow);
        }
    }
    Ok(if negative { -exponent } else { exponent })
}

/// Writes the server's text.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Value::Small(unscaled, scale) => {
                let digits = Digits::of(format_args!("{}", unscaled.unsigned_abs()));
                write_scaled(f, *unscaled < 0, digits.as_str(), *scale)
            }
            Value::Large(unscaled, scale) => {
                let digits = unscaled.magnitude().to_str_radix(10);
                write_scaled(f, unscaled.is_negative(), &digits, *scale)
            }
            Value::NaN => f.write_str("NaN"),
            Value::Infinity => f.write_str("Infinity"),
            Value::NegativeInfinity => f.write_str("-Infinity"),
        }
    }
}

fn write_scaled(
    f: &mut fmt::Formatter<'_>,
    negative: bool,
    digits: &str,
    scale: u16,
) -> fmt::Result {
    if negative {
        f.write_str("-")?;
    }
    let scale = usize::from(scale);
    match digits.len().checked_sub(scale) {
        Some(_) if scale == 0 => f.write_str(digits),
        None | Some(0) => {
            f.write_str("0.")?;
            for _ in digits.len()..scale {
                f.write_str("0")?;
            }
            f.write_str(digits)
        }
        Some(point) => {
            let (whole, fraction) = digits.split_at(point);
            f.write_str(whole)?;
            f.write_str(".")?;
            f.write_str(fraction)
        }
    }
}

/// As the server orders: NaN equals itself and is above everything.
impl Ord for Decimal {
    fn cmp(&self, other: &Decimal) -> Ordering {
        match (&self.0, &other.0) {
            (Value::Small(left, left_scale), Value::Small(right, right_scale)) => {
                compare_small(*left, *left_scale, *right, *right_scale)
            }
            (Value::Small(..) | Value::Large(..), Value::Small(..) | Value::Large(..)) => {
                compare_large(self, other)
            }
            (left, right) => rank(left).cmp(&rank(right)),
        }
    }
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::NegativeInfinity => 0,
        Value::Small(..) | Value::Large(..) => 1,
        Value::Infinity => 2,
        Value::NaN => 3,
    }
}

fn compare_small(left: i128, left_scale: u16, right: i128, right_scale: u16) -> Ordering {
    if left_scale > right_scale {
        return compare_small(right, right_scale, left, left_scale).reverse();
    }
    let zeros = usize::from(right_scale - left_scale);
    let scaled = POWERS.get(zeros).and_then(|power| left.checked_mul(*power));
    match scaled {
        Some(left) => left.cmp(&right),
        None if left == 0 => 0.cmp(&right),
        // Brought to the same scale, `left` is larger than any `i128`.
        None => left.cmp(&0),
    }
}

fn compare_large(left: &Decimal, right: &Decimal) -> Ordering {
    let signs = left.signum().cmp(&right.signum());
    let (Some((left, left_scale)), Some((right, right_scale)), Ordering::Equal) =
        (left.finite(), right.finite(), signs)
    else {
        return signs;
    };
    let scale = left_scale.max(right_scale);
    scaled(left, scale - left_scale).cmp(&scaled(right, scale - right_scale))
}

/// The value with as many zeros more.
pub(super) fn scaled(value: Cow<'_, BigInt>, zeros: u16) -> Cow<'_, BigInt> {
    match zeros {
        0 => value,
        _ => Cow::Owned(value.as_ref() * power_of_ten(u32::from(zeros))),
    }
}

pub(super) fn power_of_ten(exponent: u32) -> BigInt {
    BigInt::from(10).pow(exponent)
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Decimal) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Decimal) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal {}
