//! round, trunc, floor and ceil of numeric.

use num_bigint::BigInt;
use num_integer::Integer;
use num_traits::Signed;

use super::decimal::{MAX_SCALE, MAX_WHOLE_DIGITS, POWERS, Value, power_of_ten};
use super::{Decimal, NumberError};

#[derive(Clone, Copy)]
enum Rounding {
    HalfAway,
    Truncate,
    Floor,
    Ceil,
}

impl Decimal {
    /// Rounds half away from zero to so many places; negative ones are before the point.
    pub fn round(&self, places: i32) -> Result<Decimal, NumberError> {
        // One place more than a numeric has: its first digit may round up.
        let lowest = -(MAX_WHOLE_DIGITS as i32) - 1;
        let places = places.clamp(lowest, i32::from(MAX_SCALE));
        self.at(places, Rounding::HalfAway)
    }

    /// Cuts towards zero.
    pub fn trunc(&self, places: i32) -> Result<Decimal, NumberError> {
        let lowest = -(MAX_WHOLE_DIGITS as i32);
        let places = places.clamp(lowest, i32::from(MAX_SCALE));
        self.at(places, Rounding::Truncate)
    }

    pub fn floor(&self) -> Result<Decimal, NumberError> {
        self.at(0, Rounding::Floor)
    }

    pub fn ceil(&self) -> Result<Decimal, NumberError> {
        self.at(0, Rounding::Ceil)
    }

    fn at(&self, places: i32, rounding: Rounding) -> Result<Decimal, NumberError> {
        let scale = places.max(0) as u16;
        if let Value::Small(unscaled, from) = &self.0
            && let Some(unscaled) = small_at(*unscaled, i32::from(*from) - places, rounding)
            && let Some(unscaled) = with_zeros(unscaled, places.min(0).unsigned_abs())
        {
            return Ok(Decimal::small(unscaled, scale));
        }
        let Some((unscaled, from)) = self.finite() else {
            return Ok(self.clone());
        };
        let excess = i32::from(from) - places;
        let power = power_of_ten(excess.unsigned_abs());
        let unscaled = match excess {
            ..=0 => unscaled.as_ref() * power,
            1.. => divide_big(&unscaled, &power, rounding),
        };
        let zeros = power_of_ten(places.min(0).unsigned_abs());
        Decimal::from_big(unscaled * zeros, scale)
    }
}

/// Without the last `excess` digits, or with as many zeros more, where that fits.
fn small_at(unscaled: i128, excess: i32, rounding: Rounding) -> Option<i128> {
    if excess <= 0 {
        return with_zeros(unscaled, excess.unsigned_abs());
    }
    let Some(power) = POWERS.get(excess.unsigned_abs() as usize) else {
        // Less than half of 10^39: an `i128` is below 1.8 * 10^38.
        return Some(match rounding {
            Rounding::HalfAway | Rounding::Truncate => 0,
            Rounding::Floor => unscaled.signum().min(0),
            Rounding::Ceil => unscaled.signum().max(0),
        });
    };
    match rounding {
        Rounding::HalfAway => divide_rounding(unscaled, *power),
        Rounding::Truncate => Some(unscaled / power),
        Rounding::Floor => Some(unscaled.div_euclid(*power)),
        Rounding::Ceil => Some(unscaled / power + i128::from(unscaled % power > 0)),
    }
}

fn with_zeros(unscaled: i128, zeros: u32) -> Option<i128> {
    if unscaled == 0 {
        return Some(0);
    }
    unscaled.checked_mul(*POWERS.get(zeros as usize)?)
}

fn divide_big(unscaled: &BigInt, power: &BigInt, rounding: Rounding) -> BigInt {
    match rounding {
        Rounding::HalfAway => divide_rounding_big(unscaled, power),
        Rounding::Truncate => unscaled / power,
        Rounding::Floor => unscaled.div_floor(power),
        Rounding::Ceil => unscaled.div_ceil(power),
    }
}

/// The quotient rounded half away from zero, where it fits.
pub(super) fn divide_rounding(left: i128, right: i128) -> Option<i128> {
    let quotient = left.checked_div(right)?;
    let rest = left.checked_rem(right)?.unsigned_abs();
    // Neither is above 2^127.
    if rest >= right.unsigned_abs() - rest {
        let away = if (left < 0) == (right < 0) { 1 } else { -1 };
        return quotient.checked_add(away);
    }
    Some(quotient)
}

/// The same, of any length; `right` is not zero.
pub(super) fn divide_rounding_big(left: &BigInt, right: &BigInt) -> BigInt {
    let (quotient, rest) = left.div_rem(right);
    if rest.magnitude() * 2u8 >= *right.magnitude() {
        let away = if left.is_negative() == right.is_negative() {
            1
        } else {
            -1
        };
        return quotient + away;
    }
    quotient
}
