//! `date_trunc(field, x)`, in UTC.

use super::calendar::{
    CivilDate, MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND, monday,
};
use super::date::Date;
use super::error::TimeError;
use super::extract::TimeType;
use super::interval::Interval;
use super::timestamp::Timestamp;
use super::unit::Unit;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TruncField(Unit);

impl TruncField {
    /// All words that the server has, in either case.
    pub fn parse(word: &str) -> Option<Self> {
        Unit::parse(word).map(TruncField)
    }

    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// A month has no whole weeks.
    pub fn fits(self, of: TimeType) -> bool {
        of != TimeType::Interval || self.0 != Unit::Week
    }

    /// A timestamptz, as the server's function of a date is.
    pub fn of_date(self, date: Date) -> Result<Timestamp, TimeError> {
        self.of_timestamp(date.to_timestamp()?)
    }

    /// Of a timestamptz too: in UTC.
    pub fn of_timestamp(self, timestamp: Timestamp) -> Result<Timestamp, TimeError> {
        if !timestamp.is_finite() {
            return Ok(timestamp);
        }
        let (days, micros) = timestamp.split();
        let day = match time_unit(self.0) {
            Some(length) => {
                return in_range(i64::from(days), micros - micros % length);
            }
            None => CivilDate::from_days(days),
        };
        let CivilDate { year, month, .. } = day;
        let first = match self.0 {
            Unit::Month => CivilDate { day: 1, ..day },
            Unit::Quarter => first_of(year, (month - 1) / 3 * 3 + 1),
            Unit::Year => first_of(year, 1),
            // A decade begins with 2020, a century with 2001.
            Unit::Decade => first_of(year.div_euclid(10) * 10, 1),
            Unit::Century => first_of((year - 1).div_euclid(100) * 100 + 1, 1),
            Unit::Millennium => first_of((year - 1).div_euclid(1000) * 1000 + 1, 1),
            Unit::Week => return in_range(monday(days), 0),
            Unit::Microsecond
            | Unit::Millisecond
            | Unit::Second
            | Unit::Minute
            | Unit::Hour
            | Unit::Day => day,
        };
        in_range(first.to_days().ok_or(TimeError::TimestampRange)?, 0)
    }

    /// Towards zero.
    pub fn of_interval(self, interval: Interval) -> Result<Interval, TimeError> {
        let Interval {
            months,
            days,
            micros,
        } = interval;
        let of_months = |length: i32| Interval {
            months: months / length * length,
            days: 0,
            micros: 0,
        };
        Ok(match self.0 {
            Unit::Week => {
                let (field, of) = (self.name(), TimeType::Interval);
                return Err(TimeError::Field { field, of });
            }
            Unit::Month => of_months(1),
            Unit::Quarter => of_months(3),
            Unit::Year => of_months(12),
            Unit::Decade => of_months(120),
            Unit::Century => of_months(1200),
            Unit::Millennium => of_months(12_000),
            Unit::Day => Interval {
                months,
                days,
                micros: 0,
            },
            Unit::Microsecond | Unit::Millisecond | Unit::Second | Unit::Minute | Unit::Hour => {
                let length = time_unit(self.0).unwrap_or(1);
                Interval {
                    months,
                    days,
                    micros: micros - micros % length,
                }
            }
        })
    }
}

/// Its microseconds, where each day begins with a whole one.
fn time_unit(unit: Unit) -> Option<i64> {
    match unit {
        Unit::Microsecond => Some(1),
        Unit::Millisecond => Some(1000),
        Unit::Second => Some(MICROS_PER_SECOND),
        Unit::Minute => Some(MICROS_PER_MINUTE),
        Unit::Hour => Some(MICROS_PER_HOUR),
        Unit::Day => Some(MICROS_PER_DAY),
        Unit::Week
        | Unit::Month
        | Unit::Quarter
        | Unit::Year
        | Unit::Decade
        | Unit::Century
        | Unit::Millennium => None,
    }
}

fn first_of(year: i32, month: i32) -> CivilDate {
    CivilDate {
        year,
        month,
        day: 1,
    }
}

fn in_range(days: i64, micros: i64) -> Result<Timestamp, TimeError> {
    Timestamp::from_day(days, micros).ok_or(TimeError::TimestampRange)
}
