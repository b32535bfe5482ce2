//! smallint, integer and bigint: every operation of two of one type has that type, and
//! fails beyond its range.

use std::cmp::Ordering;
use std::num::{IntErrorKind, ParseIntError};
use std::str::FromStr;

use num_traits::{CheckedNeg, CheckedRem, FromPrimitive, PrimInt, Signed};

use super::{NumberError, trim_blanks};

/// An integer type of the server.
pub trait Integer:
    PrimInt + Signed + CheckedNeg + CheckedRem + FromPrimitive + FromStr<Err = ParseIntError>
{
    /// As the server names it.
    const NAME: &'static str;
}

impl Integer for i16 {
    const NAME: &'static str = "smallint";
}

impl Integer for i32 {
    const NAME: &'static str = "integer";
}

impl Integer for i64 {
    const NAME: &'static str = "bigint";
}

/// Reads decimal digits with a sign and blanks around; not `0x`, `0o`, `0b` and `_`, which
/// only newer servers know.
pub fn parse<I: Integer>(text: &str) -> Result<I, NumberError> {
    trim_blanks(text)
        .parse()
        .map_err(|error: ParseIntError| match error.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => {
                NumberError::OutOfRange(I::NAME)
            }
            _ => NumberError::Invalid,
        })
}

/// Integers of any two types.
pub fn compare(left: impl Into<i64>, right: impl Into<i64>) -> Ordering {
    left.into().cmp(&right.into())
}

pub fn add<I: Integer>(left: I, right: I) -> Result<I, NumberError> {
    in_range(left.checked_add(&right))
}

pub fn sub<I: Integer>(left: I, right: I) -> Result<I, NumberError> {
    in_range(left.checked_sub(&right))
}

pub fn mul<I: Integer>(left: I, right: I) -> Result<I, NumberError> {
    in_range(left.checked_mul(&right))
}

/// Cuts towards zero.
pub fn div<I: Integer>(left: I, right: I) -> Result<I, NumberError> {
    if right.is_zero() {
        return Err(NumberError::DivisionByZero);
    }
    in_range(left.checked_div(&right))
}

/// The remainder, with the sign of `left`.
pub fn rem<I: Integer>(left: I, right: I) -> Result<I, NumberError> {
    if right.is_zero() {
        return Err(NumberError::DivisionByZero);
    }
    // Only the smallest integer and -1 have no quotient; their remainder is zero.
    Ok(left.checked_rem(&right).unwrap_or_else(I::zero))
}

pub fn neg<I: Integer>(value: I) -> Result<I, NumberError> {
    in_range(value.checked_neg())
}

pub fn abs<I: Integer>(value: I) -> Result<I, NumberError> {
    match value.is_negative() {
        true => neg(value),
        false => Ok(value),
    }
}

fn in_range<I: Integer>(result: Option<I>) -> Result<I, NumberError> {
    result.ok_or(NumberError::OutOfRange(I::NAME))
}
