//! The text of a float: the shortest decimal that lies between the value's neighbours.
//!
//! PostgreSQL leaves out a decimal that lies exactly in the middle between two floats,
//! though reading it would give the even one, and rounds half to even where two decimals
//! are as near. Rust does neither, so those few values are looked for again.

use std::fmt::{LowerExp, Write};
use std::str::FromStr;

use num_traits::Float;

use super::Digits;

/// Writes a double as the server does.
pub fn write_f64(value: f64, out: &mut String) {
    let bits = value.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i32;
    let binary = Binary::new(bits & ((1 << 52) - 1), exponent, 52, 1023);
    write_float(value, &binary, 15, out);
}

/// Writes a real as the server does.
pub fn write_f32(value: f32, out: &mut String) {
    let bits = value.to_bits();
    let exponent = ((bits >> 23) & 0xff) as i32;
    let binary = Binary::new(u64::from(bits & ((1 << 23) - 1)), exponent, 23, 127);
    write_float(value, &binary, 6, out);
}

/// `mantissa * 2^exponent`
struct Binary {
    mantissa: u64,
    exponent: i32,
    /// The float below is half as far as the float above.
    power_of_two: bool,
}

impl Binary {
    fn new(fraction: u64, exponent: i32, mantissa_bits: u32, bias: i32) -> Binary {
        let hidden = u64::from(exponent > 0) << mantissa_bits;
        Binary {
            mantissa: hidden | fraction,
            exponent: exponent.max(1) - bias - mantissa_bits as i32,
            power_of_two: fraction == 0 && exponent > 1,
        }
    }

    /// Whether a decimal is exactly in the middle between this float and a neighbour.
    fn is_midway(&self, decimal: &Scientific) -> bool {
        let mantissa = u128::from(self.mantissa);
        let above = (2 * mantissa + 1, self.exponent - 1);
        let below = match self.power_of_two {
            true => (4 * mantissa - 1, self.exponent - 2),
            false => (2 * mantissa - 1, self.exponent - 1),
        };
        decimal.equals(above) || decimal.equals(below)
    }

    /// Whether this float is exactly in the middle between a decimal and the next one with
    /// as many digits.
    fn is_tie(&self, decimal: &Scientific) -> bool {
        let twos = self.mantissa.trailing_zeros();
        let value = (
            u128::from(self.mantissa >> twos),
            self.exponent + twos as i32,
        );
        [decimal.digits * 10 + 5, decimal.digits * 10 - 5]
            .into_iter()
            .any(|digits| {
                let middle = Scientific {
                    digits,
                    exponent: decimal.exponent - 1,
                };
                middle.equals(value)
            })
    }
}

/// `digits * 10^exponent`
struct Scientific {
    digits: u64,
    exponent: i32,
}

impl Scientific {
    /// Reads `d.ddde-d`.
    fn parse(text: &str) -> Scientific {
        let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
        let fraction = mantissa
            .split_once('.')
            .map_or("", |(_, fraction)| fraction);
        let digits = mantissa
            .bytes()
            .filter(u8::is_ascii_digit)
            .fold(0, |digits, digit| digits * 10 + u64::from(digit - b'0'));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        Scientific {
            digits,
            exponent: exponent - fraction.len() as i32,
        }
        .without_zeros()
    }

    fn without_zeros(mut self) -> Scientific {
        while self.digits != 0 && self.digits.is_multiple_of(10) {
            self.digits /= 10;
            self.exponent += 1;
        }
        self
    }

    /// Whether this is `odd * 2^exponent`, by comparing the powers of five and of two.
    fn equals(&self, (odd, exponent): (u128, i32)) -> bool {
        // A larger power of five is not in a number of so few bits.
        if self.exponent.abs() > 26 {
            return false;
        }
        let fives = 5u128.pow(self.exponent.unsigned_abs());
        let digits = u128::from(self.digits);
        let twos = digits.trailing_zeros();
        let (left, right) = match self.exponent >= 0 {
            true => ((digits >> twos) * fives, odd),
            false => (digits >> twos, odd * fives),
        };
        left == right && twos as i32 + self.exponent == exponent
    }
}

fn write_float<F>(value: F, binary: &Binary, fixed_digits: i32, out: &mut String)
where
    F: Float + LowerExp + FromStr,
{
    if value.is_nan() {
        return out.push_str("NaN");
    }
    if value.is_sign_negative() {
        out.push('-');
    }
    if value.is_infinite() {
        return out.push_str("Infinity");
    }
    if value.is_zero() {
        return out.push('0');
    }
    let magnitude = value.abs();
    let text = Digits::of(format_args!("{magnitude:e}"));
    let mut decimal = Scientific::parse(text.as_str());
    if binary.is_tie(&decimal) || binary.is_midway(&decimal) {
        decimal = search(magnitude, binary, decimal);
    }
    write_decimal(&decimal, fixed_digits, out);
}

/// The shortest decimal inside the interval, of at least as many digits as `found`.
fn search<F>(magnitude: F, binary: &Binary, found: Scientific) -> Scientific
where
    F: Float + LowerExp + FromStr,
{
    let reads_back = |decimal: &Scientific| {
        let text = Digits::of(format_args!("{}e{}", decimal.digits, decimal.exponent));
        text.as_str().parse().is_ok_and(|read: F| read == magnitude) && !binary.is_midway(decimal)
    };
    let shortest = found.digits.ilog10() as usize;
    for places in shortest..=17 {
        let text = Digits::of(format_args!("{magnitude:.places$e}"));
        let nearest = Scientific::parse(text.as_str());
        if reads_back(&nearest) {
            return nearest;
        }
        // Below a power of two the interval is narrower: the nearest decimal may be outside
        // of it, and the next one inside.
        let unit = 10u64.pow((places as u32).saturating_sub(nearest.digits.ilog10()));
        let next = Scientific {
            digits: nearest.digits * unit + 1,
            exponent: nearest.exponent - unit.ilog10() as i32,
        };
        if reads_back(&next) {
            return next.without_zeros();
        }
    }
    found
}

/// Writes with an exponent as `printf("%g")` would.
fn write_decimal(decimal: &Scientific, fixed_digits: i32, out: &mut String) {
    let text = Digits::of(format_args!("{}", decimal.digits));
    let digits = text.as_str();
    let length = digits.len() as i32;
    let exponent = decimal.exponent + length - 1;
    if !(-4..fixed_digits).contains(&exponent) {
        let (first, rest) = digits.split_at(1);
        out.push_str(first);
        if !rest.is_empty() {
            out.push('.');
            out.push_str(rest);
        }
        let sign = if exponent < 0 { '-' } else { '+' };
        // Writing to a String does not fail.
        let _ = write!(out, "e{sign}{:02}", exponent.unsigned_abs());
        return;
    }
    match decimal.exponent {
        0.. => {
            out.push_str(digits);
            out.extend((0..decimal.exponent).map(|_| '0'));
        }
        ..0 if exponent >= 0 => {
            let (whole, fraction) = digits.split_at(exponent as usize + 1);
            out.push_str(whole);
            out.push('.');
            out.push_str(fraction);
        }
        ..0 => {
            out.push_str("0.");
            out.extend((exponent + 1..0).map(|_| '0'));
            out.push_str(digits);
        }
    }
}
