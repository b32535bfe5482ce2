//! Numbers as PostgreSQL computes them: numeric, the three integers, the two floats.
//!
//! Each function returns what the server returns, or fails where the server fails. Values
//! of different types are promoted by the caller, as the server does it: integer, numeric,
//! double.

use std::fmt;

mod arithmetic;
mod conversion;
mod decimal;
pub mod float;
pub mod integer;
mod rounding;
mod shortest;
#[cfg(test)]
mod tests;
mod text;

pub use decimal::Decimal;
pub use text::compare_texts;

/// Why a number could not be read or computed, in the server's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberError {
    /// The value does not fit the named type.
    OutOfRange(&'static str),
    /// More than 131072 digits before the point, or 16383 after it.
    NumericOverflow,
    FloatOverflow,
    /// A product or a quotient that is not zero, and too small for its type.
    FloatUnderflow,
    /// `NaN` or `infinity` has no counterpart in the named type.
    NotConvertible {
        value: &'static str,
        into: &'static str,
    },
    DivisionByZero,
    /// The text is not a number.
    Invalid,
}

impl fmt::Display for NumberError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NumberError::OutOfRange(name) => write!(f, "{name} out of range"),
            NumberError::NumericOverflow => f.write_str("value overflows numeric format"),
            NumberError::FloatOverflow => f.write_str("value out of range: overflow"),
            NumberError::FloatUnderflow => f.write_str("value out of range: underflow"),
            NumberError::NotConvertible { value, into } => {
                write!(f, "cannot convert {value} to {into}")
            }
            NumberError::DivisionByZero => f.write_str("division by zero"),
            NumberError::Invalid => f.write_str("invalid input syntax for a number"),
        }
    }
}

impl std::error::Error for NumberError {}

/// Removes what `isspace` takes for blank around the text of a number.
fn trim_blanks(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r'])
}

/// The text of one number, on the stack: long enough for an `i128` and for a float with an
/// exponent.
struct Digits {
    bytes: [u8; Digits::CAPACITY],
    length: usize,
}

impl Digits {
    const CAPACITY: usize = 48;

    fn of(arguments: fmt::Arguments<'_>) -> Digits {
        let mut digits = Digits {
            bytes: [0; Digits::CAPACITY],
            length: 0,
        };
        // What does not fit is cut; no caller writes as much.
        let _ = fmt::write(&mut digits, arguments);
        digits
    }

    fn as_str(&self) -> &str {
        let written = self.bytes.get(..self.length).unwrap_or_default();
        std::str::from_utf8(written).unwrap_or_default()
    }
}

impl fmt::Write for Digits {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        let target = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
        target.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}
