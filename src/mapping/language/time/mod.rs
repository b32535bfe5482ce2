//! Dates, timestamps and intervals as PostgreSQL computes them: datestyle ISO,
//! intervalstyle postgres, TimeZone UTC. Pure; nothing here panics.
//!
//! # Layout
//! - `date`, `timestamp`, `interval`: the types, their output text, arithmetic.
//! - `literal`, `interval_literal`: the forms that a rule or a cast of text may use.
//! - `extract`, `trunc`: `extract(field from x)`, `date_trunc(field, x)`.
//! - `unit`, `calendar`, `scan`: names of units, the Gregorian calendar, reading text.

mod calendar;
mod date;
mod error;
mod extract;
mod interval;
mod interval_literal;
mod literal;
mod scan;
mod timestamp;
mod trunc;
mod unit;

#[cfg(test)]
mod tests;

pub use date::Date;
pub use error::TimeError;
pub use extract::{ExtractField, Extracted, TimeType};
pub use interval::Interval;
pub use timestamp::Timestamp;
pub use trunc::TruncField;
pub use unit::Unit;
