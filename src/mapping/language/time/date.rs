//! `date`: days, with both infinities.

use std::cmp::Ordering;
use std::fmt;

use super::calendar::{CivilDate, EPOCH_JULIAN, MICROS_PER_DAY};
use super::error::TimeError;
use super::extract::TimeType;
use super::interval::Interval;
use super::literal;
use super::scan::{Scan, number};
use super::timestamp::Timestamp;

/// 4714-11-24 BC to 5874897-12-31, or infinite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    /// Since 2000-01-01; the extremes of the type are the infinities, as on the server.
    days: i32,
}

impl Date {
    pub const NEGATIVE_INFINITY: Date = Date { days: i32::MIN };
    pub const INFINITY: Date = Date { days: i32::MAX };
    const FIRST: i32 = -EPOCH_JULIAN;
    const LAST: i32 = 2_145_031_948;
    /// 294277-01-01, the first day that no timestamp has.
    const TIMESTAMP_END: i32 = 106_751_983;

    /// Days since 2000-01-01; `None` outside of the server's range.
    pub fn from_days(days: i32) -> Option<Self> {
        let date = Date { days };
        (!date.is_finite() || (Self::FIRST..=Self::LAST).contains(&days)).then_some(date)
    }

    /// Of an infinite date, the extremes of `i32`.
    pub fn days(self) -> i32 {
        self.days
    }

    pub fn is_finite(self) -> bool {
        self != Self::NEGATIVE_INFINITY && self != Self::INFINITY
    }

    /// Reads what the server prints: `2024-01-31`, `15000-01-01`, `0044-03-15 BC`.
    pub fn parse_output(text: &str) -> Result<Self, TimeError> {
        Self::read_output(text).ok_or(TimeError::NotOutput(TimeType::Date))
    }

    /// Reads a literal of a rule or a text that is cast.
    pub fn parse_literal(text: &str) -> Result<Self, TimeError> {
        literal::date(text)
    }

    fn read_output(text: &str) -> Option<Self> {
        match text {
            "infinity" => return Some(Self::INFINITY),
            "-infinity" => return Some(Self::NEGATIVE_INFINITY),
            _ => {}
        }
        let mut scan = Scan::new(text);
        let (year, month, day) = read_day(&mut scan)?;
        let bc = scan.eat(" BC");
        if !scan.is_empty() {
            return None;
        }
        Self::from_civil(civil(year, month, day, bc)?)
    }

    /// `None` outside of the type's range.
    pub(super) fn from_civil(date: CivilDate) -> Option<Self> {
        let days = i32::try_from(date.to_days()?).ok()?;
        (Self::FIRST..=Self::LAST)
            .contains(&days)
            .then_some(Date { days })
    }

    /// Of a finite timestamp, whose days always fit.
    pub(super) fn of_finite_days(days: i32) -> Self {
        Date { days }
    }

    /// Appends the server's text.
    pub fn write(self, out: &mut String) {
        match self {
            Self::INFINITY => out.push_str("infinity"),
            Self::NEGATIVE_INFINITY => out.push_str("-infinity"),
            Date { days } => {
                let date = CivilDate::from_days(days);
                date.write(out);
                if date.is_bc() {
                    out.push_str(" BC");
                }
            }
        }
    }

    /// The cast to timestamp and, in UTC, to timestamptz: at midnight.
    pub fn to_timestamp(self) -> Result<Timestamp, TimeError> {
        match self {
            Self::INFINITY => Ok(Timestamp::INFINITY),
            Self::NEGATIVE_INFINITY => Ok(Timestamp::NEGATIVE_INFINITY),
            Date { days } if days >= Self::TIMESTAMP_END => Err(TimeError::DateBeyondTimestamp),
            Date { days } => Timestamp::from_micros(i64::from(days) * MICROS_PER_DAY)
                .ok_or(TimeError::DateBeyondTimestamp),
        }
    }

    /// Against a timestamp, or a timestamptz in UTC. A date that no timestamp reaches
    /// is after all of them, and before infinity.
    pub fn cmp_timestamp(self, other: Timestamp) -> Ordering {
        match self.to_timestamp() {
            Ok(timestamp) => timestamp.cmp(&other),
            Err(_) if other == Timestamp::INFINITY => Ordering::Less,
            Err(_) => Ordering::Greater,
        }
    }

    /// `date + integer`.
    pub fn plus_days(self, days: i32) -> Result<Self, TimeError> {
        self.moved(self.days.checked_add(days))
    }

    /// `date - integer`.
    pub fn minus_days(self, days: i32) -> Result<Self, TimeError> {
        self.moved(self.days.checked_sub(days))
    }

    fn moved(self, days: Option<i32>) -> Result<Self, TimeError> {
        if !self.is_finite() {
            return Ok(self);
        }
        days.filter(|days| (Self::FIRST..=Self::LAST).contains(days))
            .map(|days| Date { days })
            .ok_or(TimeError::DateRange)
    }

    /// `date - date`.
    pub fn minus_date(self, other: Date) -> Result<i32, TimeError> {
        if !self.is_finite() || !other.is_finite() {
            return Err(TimeError::InfiniteDates);
        }
        self.days
            .checked_sub(other.days)
            .ok_or(TimeError::DateRange)
    }

    /// `date + interval`, a timestamp.
    pub fn plus_interval(self, interval: Interval) -> Result<Timestamp, TimeError> {
        self.to_timestamp()?.plus_interval(interval)
    }

    /// `date - interval`, a timestamp.
    pub fn minus_interval(self, interval: Interval) -> Result<Timestamp, TimeError> {
        self.to_timestamp()?.minus_interval(interval)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write(&mut text);
        f.write_str(&text)
    }
}

/// `YYYY-MM-DD`, the year of four digits or more, as the server prints it.
pub(super) fn read_day(scan: &mut Scan<'_>) -> Option<(i64, i32, i32)> {
    let year = scan.digits();
    if year.len() < 4 {
        return None;
    }
    let dash = scan.eat("-");
    let month = scan.two_digits()?;
    let second_dash = scan.eat("-");
    let day = scan.two_digits()?;
    (dash && second_dash).then_some((number(year)?, month, day))
}

/// The day that is written so; `None` where the calendar does not have it.
pub(super) fn civil(year: i64, month: i32, day: i32, bc: bool) -> Option<CivilDate> {
    let year = i32::try_from(year).ok().filter(|year| *year > 0)?;
    let year = if bc { 1 - year } else { year };
    ((1..=12).contains(&month) && (1..=CivilDate::days_in_month(year, month)).contains(&day))
        .then_some(CivilDate { year, month, day })
}
