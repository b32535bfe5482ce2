//! real and double precision.
//!
//! An integer becomes a float by `as`, a real a double by `from`; abs, trunc, floor, ceil
//! and the sign's change are the methods of `f64` and `f32`: these are what the server does.

use std::cmp::Ordering;
use std::str::FromStr;

use num_traits::Float;

use super::integer::Integer;
use super::{NumberError, trim_blanks};

pub use super::shortest::{write_f32, write_f64};

/// Reads what a cast from text takes; not hexadecimal digits.
pub fn parse_f64(text: &str) -> Result<f64, NumberError> {
    parse(text, "double precision")
}

pub fn parse_f32(text: &str) -> Result<f32, NumberError> {
    parse(text, "real")
}

fn parse<F: Float + FromStr>(text: &str, name: &'static str) -> Result<F, NumberError> {
    let text = trim_blanks(text);
    let Ok(value) = text.parse::<F>() else {
        return match is_nan_with_payload(text) {
            true => Ok(F::nan()),
            false => Err(NumberError::Invalid),
        };
    };
    // A text with digits is a finite number, and zero only if they are.
    let digits = text.split(['e', 'E']).next().unwrap_or_default();
    let nearest_differs = match value {
        value if value.is_infinite() => digits.contains(|c: char| c.is_ascii_digit()),
        value if value.is_zero() => digits.contains(|c: char| matches!(c, '1'..='9')),
        _ => false,
    };
    match nearest_differs {
        true => Err(NumberError::OutOfRange(name)),
        false => Ok(value),
    }
}

/// `nan(…)`, which the server's C library reads.
fn is_nan_with_payload(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let Some((name, payload)) = unsigned.split_once('(') else {
        return false;
    };
    let Some(payload) = payload.strip_suffix(')') else {
        return false;
    };
    name.eq_ignore_ascii_case("nan")
        && payload
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// As the server orders: NaN equals itself and is above everything; -0 equals 0.
pub fn compare<F: Float>(left: F, right: F) -> Ordering {
    left.partial_cmp(&right)
        .unwrap_or_else(|| left.is_nan().cmp(&right.is_nan()))
}

/// A real with a double: as doubles.
pub fn compare_mixed(left: f32, right: f64) -> Ordering {
    compare(f64::from(left), right)
}

pub fn add<F: Float>(left: F, right: F) -> Result<F, NumberError> {
    without_overflow(left + right, left.is_infinite() || right.is_infinite())
}

pub fn sub<F: Float>(left: F, right: F) -> Result<F, NumberError> {
    without_overflow(left - right, left.is_infinite() || right.is_infinite())
}

pub fn mul<F: Float>(left: F, right: F) -> Result<F, NumberError> {
    let product = left * right;
    if product.is_zero() && !left.is_zero() && !right.is_zero() {
        return Err(NumberError::FloatUnderflow);
    }
    without_overflow(product, left.is_infinite() || right.is_infinite())
}

pub fn div<F: Float>(left: F, right: F) -> Result<F, NumberError> {
    if right.is_zero() && !left.is_nan() {
        return Err(NumberError::DivisionByZero);
    }
    let quotient = left / right;
    if quotient.is_zero() && !left.is_zero() && !right.is_infinite() {
        return Err(NumberError::FloatUnderflow);
    }
    without_overflow(quotient, left.is_infinite())
}

fn without_overflow<F: Float>(result: F, infinite: bool) -> Result<F, NumberError> {
    match result.is_infinite() && !infinite {
        true => Err(NumberError::FloatOverflow),
        false => Ok(result),
    }
}

/// Rounds to an integer, half to even.
pub fn round(value: f64) -> f64 {
    value.round_ties_even()
}

pub fn to_f32(value: f64) -> Result<f32, NumberError> {
    let real = value as f32;
    if real == 0.0 && value != 0.0 {
        return Err(NumberError::FloatUnderflow);
    }
    without_overflow(real, value.is_infinite())
}

/// Rounds half to even; a real goes through `f64`.
pub fn to_integer<I: Integer>(value: f64) -> Result<I, NumberError> {
    I::from_f64(round(value)).ok_or(NumberError::OutOfRange(I::NAME))
}
