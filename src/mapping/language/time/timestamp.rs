//! `timestamp` and `timestamptz`, which is in UTC: microseconds, with both infinities.

use super::calendar::{
    CivilDate, MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND, push_time,
};
use super::date::{Date, civil, read_day};
use super::error::TimeError;
use super::extract::TimeType;
use super::interval::Interval;
use super::literal;
use super::scan::{Scan, exact_micros};

/// 4714-11-24 00:00:00 BC to the end of 294276 AD, or infinite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Since 2000-01-01; the extremes of the type are the infinities, as on the server.
    micros: i64,
}

impl Timestamp {
    pub const NEGATIVE_INFINITY: Timestamp = Timestamp { micros: i64::MIN };
    pub const INFINITY: Timestamp = Timestamp { micros: i64::MAX };
    const FIRST: i64 = -211_813_488_000_000_000;
    const END: i64 = 9_223_371_331_200_000_000;

    /// Microseconds since 2000-01-01; `None` outside of the server's range.
    pub fn from_micros(micros: i64) -> Option<Self> {
        let timestamp = Timestamp { micros };
        (!timestamp.is_finite() || (Self::FIRST..Self::END).contains(&micros)).then_some(timestamp)
    }

    /// Of an infinite timestamp, the extremes of `i64`.
    pub fn micros(self) -> i64 {
        self.micros
    }

    pub fn is_finite(self) -> bool {
        self != Self::NEGATIVE_INFINITY && self != Self::INFINITY
    }

    /// Reads what the server prints of a timestamp: `2024-01-31 10:00:00.5`,
    /// `0044-03-15 10:00:00 BC`.
    pub fn parse_output(text: &str) -> Result<Self, TimeError> {
        Self::read_output(text, "").ok_or(TimeError::NotOutput(TimeType::Timestamp))
    }

    /// Reads what the server prints of a timestamptz: `2024-01-31 10:00:00.5+00`.
    pub fn parse_output_tz(text: &str) -> Result<Self, TimeError> {
        Self::read_output(text, "+00").ok_or(TimeError::NotOutput(TimeType::Timestamptz))
    }

    /// Reads a literal, or a text that is cast to timestamp. A zone is refused.
    pub fn parse_literal(text: &str) -> Result<Self, TimeError> {
        literal::timestamp(text, TimeType::Timestamp)
    }

    /// Reads a literal, or a text that is cast to timestamptz. Without a zone: UTC.
    pub fn parse_literal_tz(text: &str) -> Result<Self, TimeError> {
        literal::timestamp(text, TimeType::Timestamptz)
    }

    fn read_output(text: &str, zone: &str) -> Option<Self> {
        match text {
            "infinity" => return Some(Self::INFINITY),
            "-infinity" => return Some(Self::NEGATIVE_INFINITY),
            _ => {}
        }
        let mut scan = Scan::new(text);
        let (year, month, day) = read_day(&mut scan)?;
        let mut shape = scan.eat(" ");
        let hour = scan.two_digits()?;
        shape &= scan.eat(":");
        let minute = scan.two_digits()?;
        shape &= scan.eat(":");
        let second = scan.two_digits()?;
        let mut micros = 0;
        if scan.eat(".") {
            micros = exact_micros(scan.digits())?;
        }
        shape &= scan.eat(zone);
        let bc = scan.eat(" BC");
        if !shape || !scan.is_empty() || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let days = civil(year, month, day, bc)?.to_days()?;
        Self::from_day(days, micros_of_time(hour, minute, second) + micros)
    }

    /// `None` outside of the type's range.
    pub(super) fn from_day(days: i64, micros_of_day: i64) -> Option<Self> {
        let micros = days
            .checked_mul(MICROS_PER_DAY)?
            .checked_add(micros_of_day)?;
        Self::finite(micros)
    }

    /// Microseconds that are a time, not an infinity.
    fn finite(micros: i64) -> Option<Self> {
        (Self::FIRST..Self::END)
            .contains(&micros)
            .then_some(Timestamp { micros })
    }

    /// The day since 2000-01-01 and the microseconds of it. Of a finite timestamp.
    pub(super) fn split(self) -> (i32, i64) {
        // At most 106,751,982 days.
        let days = self.micros.div_euclid(MICROS_PER_DAY) as i32;
        (days, self.micros.rem_euclid(MICROS_PER_DAY))
    }

    /// Appends the server's text of a timestamp.
    pub fn write_timestamp(self, out: &mut String) {
        self.write(out, "");
    }

    /// Appends the server's text of a timestamptz, in UTC.
    pub fn write_timestamptz(self, out: &mut String) {
        self.write(out, "+00");
    }

    fn write(self, out: &mut String, zone: &str) {
        match self {
            Self::INFINITY => out.push_str("infinity"),
            Self::NEGATIVE_INFINITY => out.push_str("-infinity"),
            _ => {
                let (days, micros) = self.split();
                let date = CivilDate::from_days(days);
                date.write(out);
                out.push(' ');
                push_time(out, micros.unsigned_abs());
                out.push_str(zone);
                if date.is_bc() {
                    out.push_str(" BC");
                }
            }
        }
    }

    /// The cast to date; of a timestamptz, the day in UTC.
    pub fn to_date(self) -> Date {
        match self {
            Self::INFINITY => Date::INFINITY,
            Self::NEGATIVE_INFINITY => Date::NEGATIVE_INFINITY,
            _ => Date::of_finite_days(self.split().0),
        }
    }

    /// `timestamp - timestamp`: days and time. The difference of the two extremes does
    /// not fit; PostgreSQL 15 returns a wrong value there where later ones fail.
    pub fn minus_timestamp(self, other: Timestamp) -> Result<Interval, TimeError> {
        if !self.is_finite() || !other.is_finite() {
            return Err(TimeError::InfiniteTimestamps);
        }
        let micros = self
            .micros
            .checked_sub(other.micros)
            .ok_or(TimeError::IntervalRange)?;
        Ok(Interval {
            months: 0,
            days: (micros / MICROS_PER_DAY) as i32,
            micros: micros % MICROS_PER_DAY,
        })
    }

    /// `timestamp + interval`: months first, to no day after the month's last, then
    /// days, then the time. Each step must stay in the range.
    pub fn plus_interval(self, interval: Interval) -> Result<Timestamp, TimeError> {
        if !self.is_finite() {
            return Ok(self);
        }
        let Interval {
            months,
            days,
            micros,
        } = interval;
        let mut sum = Some(self);
        if months != 0 {
            sum = sum.and_then(|sum| sum.plus_months(months));
        }
        if days != 0 {
            sum = sum.and_then(|sum| {
                let (day, time) = sum.split();
                Self::from_day(i64::from(day) + i64::from(days), time)
            });
        }
        sum.and_then(|sum| Self::finite(sum.micros.checked_add(micros)?))
            .ok_or(TimeError::TimestampRange)
    }

    /// `timestamp - interval`.
    pub fn minus_interval(self, interval: Interval) -> Result<Timestamp, TimeError> {
        self.plus_interval(interval.negated()?)
    }

    fn plus_months(self, months: i32) -> Option<Self> {
        let (days, time) = self.split();
        let CivilDate { year, month, day } = CivilDate::from_days(days);
        let months = i64::from(year) * 12 + i64::from(month - 1) + i64::from(months);
        let year = i32::try_from(months.div_euclid(12)).ok()?;
        let month = months.rem_euclid(12) as i32 + 1;
        let day = day.min(CivilDate::days_in_month(year, month));
        Self::from_day(CivilDate { year, month, day }.to_days()?, time)
    }
}

pub(super) fn micros_of_time(hour: i32, minute: i32, second: i32) -> i64 {
    i64::from(hour) * MICROS_PER_HOUR
        + i64::from(minute) * MICROS_PER_MINUTE
        + i64::from(second) * MICROS_PER_SECOND
}
