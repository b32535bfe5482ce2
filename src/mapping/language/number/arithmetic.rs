//! `+ - * / %` of numeric, with the server's scale of the result.

use num_bigint::BigInt;

use super::decimal::{MAX_SCALE, POWERS, Value, power_of_ten, scaled};
use super::rounding::{divide_rounding, divide_rounding_big};
use super::{Decimal, NumberError};

/// A quotient has at least so many significant digits …
const MIN_SIGNIFICANT_DIGITS: i32 = 16;
/// … and at most so many after the point.
const MAX_QUOTIENT_SCALE: i32 = 1000;
/// The server keeps its digits in groups of four, and counts in groups where it chooses
/// the scale of a quotient.
const GROUP: i32 = 4;

impl Decimal {
    pub fn add(&self, other: &Decimal) -> Result<Decimal, NumberError> {
        self.sum(other, i128::checked_add, |left, right| left + right)
    }

    pub fn sub(&self, other: &Decimal) -> Result<Decimal, NumberError> {
        if other.finite_value() {
            return self.sum(other, i128::checked_sub, |left, right| left - right);
        }
        self.add(&other.neg())
    }

    fn sum(
        &self,
        other: &Decimal,
        small: fn(i128, i128) -> Option<i128>,
        large: fn(&BigInt, &BigInt) -> BigInt,
    ) -> Result<Decimal, NumberError> {
        if let Some((left, right, scale)) = aligned(self, other)
            && let Some(sum) = small(left, right)
        {
            return Ok(Decimal::small(sum, scale));
        }
        match (self.finite(), other.finite()) {
            (Some((left, left_scale)), Some((right, right_scale))) => {
                let scale = left_scale.max(right_scale);
                let left = scaled(left, scale - left_scale);
                let right = scaled(right, scale - right_scale);
                Decimal::from_big(large(&left, &right), scale)
            }
            (None, Some(_)) => Ok(self.clone()),
            (Some(_), None) => Ok(other.clone()),
            // Two infinities of one sign, or one infinity and its opposite, or NaN.
            (None, None) if self.signum() == other.signum() => Ok(self.clone()),
            (None, None) => Ok(Decimal::NAN),
        }
    }

    /// Exact; rounded only where the product has more digits after the point than a
    /// numeric can have.
    pub fn mul(&self, other: &Decimal) -> Result<Decimal, NumberError> {
        if let (Value::Small(left, left_scale), Value::Small(right, right_scale)) =
            (&self.0, &other.0)
            && let Some(product) = left.checked_mul(*right)
            && left_scale + right_scale <= MAX_SCALE
        {
            return Ok(Decimal::small(product, left_scale + right_scale));
        }
        let (Some((left, left_scale)), Some((right, right_scale))) =
            (self.finite(), other.finite())
        else {
            return Ok(infinity(self.sign_product(other)));
        };
        let product = left.as_ref() * right.as_ref();
        let scale = left_scale + right_scale;
        match scale.checked_sub(MAX_SCALE) {
            None | Some(0) => Decimal::from_big(product, scale),
            Some(excess) => {
                let divisor = power_of_ten(u32::from(excess));
                Decimal::from_big(divide_rounding_big(&product, &divisor), MAX_SCALE)
            }
        }
    }

    /// The quotient with the scale that the server chooses for it, rounded half away from
    /// zero.
    pub fn div(&self, other: &Decimal) -> Result<Decimal, NumberError> {
        match (self.finite_value(), other.finite_value()) {
            _ if self.is_nan() || other.is_nan() => return Ok(Decimal::NAN),
            (false, false) => return Ok(Decimal::NAN),
            (true, false) => return Ok(Decimal::ZERO),
            (_, true) if other.signum() == Some(0) => return Err(NumberError::DivisionByZero),
            (false, true) => return Ok(infinity(self.sign_product(other))),
            (true, true) => {}
        }
        let scale = quotient_scale(self, other);
        if let (Value::Small(left, left_scale), Value::Small(right, right_scale)) =
            (&self.0, &other.0)
            && let Some(quotient) = divide_small(
                *left,
                *right,
                i32::from(scale) + i32::from(*right_scale) - i32::from(*left_scale),
            )
        {
            return Ok(Decimal::small(quotient, scale));
        }
        let (Some((left, left_scale)), Some((right, right_scale))) =
            (self.finite(), other.finite())
        else {
            return Ok(Decimal::NAN);
        };
        let left = left.as_ref() * power_of_ten(u32::from(scale) + u32::from(right_scale));
        let right = right.as_ref() * power_of_ten(u32::from(left_scale));
        Decimal::from_big(divide_rounding_big(&left, &right), scale)
    }

    /// The remainder of the quotient cut towards zero: it has the sign of `self`.
    pub fn rem(&self, other: &Decimal) -> Result<Decimal, NumberError> {
        if self.is_nan() || other.is_nan() {
            return Ok(Decimal::NAN);
        }
        if other.signum() == Some(0) {
            return Err(NumberError::DivisionByZero);
        }
        if let Some((left, right, scale)) = aligned(self, other) {
            // The smallest integer has no remainder by -1, and no quotient.
            return Ok(Decimal::small(left.checked_rem(right).unwrap_or(0), scale));
        }
        match (self.finite(), other.finite()) {
            (Some((left, left_scale)), Some((right, right_scale))) => {
                let scale = left_scale.max(right_scale);
                let left = scaled(left, scale - left_scale);
                let right = scaled(right, scale - right_scale);
                Decimal::from_big(left.as_ref() % right.as_ref(), scale)
            }
            (Some(_), None) => Ok(self.clone()),
            (None, _) => Ok(Decimal::NAN),
        }
    }

    pub fn neg(&self) -> Decimal {
        match &self.0 {
            Value::Small(unscaled, scale) => match unscaled.checked_neg() {
                Some(negated) => Decimal::small(negated, *scale),
                None => Decimal(Value::Large(Box::new(-BigInt::from(*unscaled)), *scale)),
            },
            // 2^127 is large, and its opposite is not.
            Value::Large(unscaled, scale) => {
                let negated = -unscaled.as_ref();
                match i128::try_from(&negated) {
                    Ok(negated) => Decimal::small(negated, *scale),
                    Err(_) => Decimal(Value::Large(Box::new(negated), *scale)),
                }
            }
            Value::NaN => Decimal::NAN,
            Value::Infinity => Decimal::NEGATIVE_INFINITY,
            Value::NegativeInfinity => Decimal::INFINITY,
        }
    }

    pub fn abs(&self) -> Decimal {
        match self.signum() {
            Some(-1) => self.neg(),
            _ => self.clone(),
        }
    }

    /// -1, 0, 1 or NaN.
    pub fn sign(&self) -> Decimal {
        self.signum()
            .map_or(Decimal::NAN, |sign| Decimal::small(i128::from(sign), 0))
    }

    fn finite_value(&self) -> bool {
        matches!(self.0, Value::Small(..) | Value::Large(..))
    }

    fn sign_product(&self, other: &Decimal) -> Option<i8> {
        Some(self.signum()? * other.signum()?)
    }
}

/// The infinity of a sign; NaN where there is none, as for `0 * infinity`.
fn infinity(sign: Option<i8>) -> Decimal {
    match sign {
        Some(1) => Decimal::INFINITY,
        Some(-1) => Decimal::NEGATIVE_INFINITY,
        _ => Decimal::NAN,
    }
}

/// Both at the larger scale, where that fits.
fn aligned(left: &Decimal, right: &Decimal) -> Option<(i128, i128, u16)> {
    let (Value::Small(left, left_scale), Value::Small(right, right_scale)) = (&left.0, &right.0)
    else {
        return None;
    };
    let scale = *left_scale.max(right_scale);
    let at_scale =
        |value: i128, from: u16| value.checked_mul(*POWERS.get(usize::from(scale - from))?);
    Some((
        at_scale(*left, *left_scale)?,
        at_scale(*right, *right_scale)?,
        scale,
    ))
}

/// `left * 10^exponent / right`, rounded, where it fits.
fn divide_small(left: i128, right: i128, exponent: i32) -> Option<i128> {
    let power = *POWERS.get(exponent.unsigned_abs() as usize)?;
    match exponent < 0 {
        true => divide_rounding(left, right.checked_mul(power)?),
        false => divide_rounding(left.checked_mul(power)?, right),
    }
}

/// The scale of a quotient: `select_div_scale` of the server.
fn quotient_scale(left: &Decimal, right: &Decimal) -> u16 {
    let (left_weight, left_first, left_scale) = leading_group(left);
    let (right_weight, right_first, right_scale) = leading_group(right);
    let mut weight = left_weight - right_weight;
    if left_first <= right_first {
        weight -= 1;
    }
    (MIN_SIGNIFICANT_DIGITS - weight * GROUP)
        .max(i32::from(left_scale))
        .max(i32::from(right_scale))
        .clamp(0, MAX_QUOTIENT_SCALE) as u16
}

/// The place of the first group of four digits that is not zero, counted from the point,
/// the group, and the number's scale.
fn leading_group(value: &Decimal) -> (i32, u128, u16) {
    let (top, cut, scale) = match &value.0 {
        Value::Small(unscaled, scale) => (unscaled.unsigned_abs(), 0, *scale),
        Value::Large(unscaled, scale) => {
            // A bit is 0.30102 digits and a little more: some 30 digits are left, of which
            // the first are exact.
            let digits = unscaled.bits() * 30_102 / 100_000;
            let cut = u32::try_from(digits.saturating_sub(25)).unwrap_or(u32::MAX);
            let top = unscaled.magnitude() / power_of_ten(cut).magnitude();
            (u128::try_from(top).unwrap_or(u128::MAX), cut, *scale)
        }
        Value::NaN | Value::Infinity | Value::NegativeInfinity => (0, 0, 0),
    };
    let Some(last) = top.checked_ilog10() else {
        return (0, 0, scale);
    };
    let place = i64::from(last) + i64::from(cut) - i64::from(scale);
    let group = i64::from(GROUP);
    let digits = place.rem_euclid(group) as u32;
    let first = match last.checked_sub(digits) {
        Some(excess) => top / 10u128.pow(excess),
        None => top * 10u128.pow(digits - last),
    };
    (place.div_euclid(group) as i32, first, scale)
}
