//! `extract(field from x)`: numeric, with the server's scale.

use std::fmt;

use super::calendar::{
    CivilDate, EPOCH_JULIAN, MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, day_of_week,
    monday,
};
use super::date::Date;
use super::error::TimeError;
use super::interval::Interval;
use super::timestamp::Timestamp;
use super::unit::Unit;

/// From 1970-01-01 to 2000-01-01.
const UNIX_EPOCH_SECONDS: i64 = 946_684_800;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimeType {
    Date,
    Timestamp,
    Timestamptz,
    Interval,
}

impl fmt::Display for TimeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TimeType::Date => "date",
            TimeType::Timestamp => "timestamp",
            TimeType::Timestamptz => "timestamptz",
            TimeType::Interval => "interval",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extracted {
    /// Of an infinite value, a field that goes round, such as the month.
    Null,
    NegativeInfinity,
    Infinity,
    /// `unscaled / 10^scale`; the numeric has that scale.
    Number {
        unscaled: i128,
        scale: u8,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtractField {
    Unit(Unit),
    /// Sunday is 0.
    Dow,
    /// Monday is 1, Sunday 7.
    Isodow,
    Doy,
    Isoyear,
    Julian,
    Epoch,
    Timezone,
    TimezoneHour,
    TimezoneMinute,
}

impl ExtractField {
    /// All words that the server has, in either case, but `dec`, a reserved word
    /// there, and `mm`, which is the minute and looks like the month.
    pub fn parse(word: &str) -> Option<Self> {
        const WORDS: [(&str, ExtractField); 11] = [
            ("dow", ExtractField::Dow),
            ("isodow", ExtractField::Isodow),
            ("doy", ExtractField::Doy),
            ("isoyear", ExtractField::Isoyear),
            ("j", ExtractField::Julian),
            ("jd", ExtractField::Julian),
            ("julian", ExtractField::Julian),
            ("epoch", ExtractField::Epoch),
            ("timezone", ExtractField::Timezone),
            ("timezone_hour", ExtractField::TimezoneHour),
            ("timezone_minute", ExtractField::TimezoneMinute),
        ];
        if word.eq_ignore_ascii_case("dec") {
            return None;
        }
        let named = WORDS
            .iter()
            .find(|(name, _)| word.eq_ignore_ascii_case(name));
        match named {
            Some((_, field)) => Some(*field),
            None => Unit::parse(word).map(ExtractField::Unit),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            ExtractField::Unit(unit) => unit.name(),
            ExtractField::Dow => "dow",
            ExtractField::Isodow => "isodow",
            ExtractField::Doy => "doy",
            ExtractField::Isoyear => "isoyear",
            ExtractField::Julian => "julian",
            ExtractField::Epoch => "epoch",
            ExtractField::Timezone => "timezone",
            ExtractField::TimezoneHour => "timezone_hour",
            ExtractField::TimezoneMinute => "timezone_minute",
        }
    }

    /// Whether values of the type have the field. The week of an interval is new in
    /// PostgreSQL 18, and its quarter differs there where negative: neither fits.
    pub fn fits(self, of: TimeType) -> bool {
        match self {
            ExtractField::Unit(unit) => match of {
                TimeType::Date => unit >= Unit::Day,
                TimeType::Timestamp | TimeType::Timestamptz => true,
                TimeType::Interval => unit != Unit::Week && unit != Unit::Quarter,
            },
            ExtractField::Epoch => true,
            ExtractField::Dow
            | ExtractField::Isodow
            | ExtractField::Doy
            | ExtractField::Isoyear
            | ExtractField::Julian => of != TimeType::Interval,
            ExtractField::Timezone | ExtractField::TimezoneHour | ExtractField::TimezoneMinute => {
                of == TimeType::Timestamptz
            }
        }
    }

    pub fn of_date(self, date: Date) -> Result<Extracted, TimeError> {
        self.check(TimeType::Date)?;
        if !date.is_finite() {
            return Ok(self.of_infinite(date == Date::INFINITY));
        }
        let days = date.days();
        let value = match self {
            ExtractField::Julian => i64::from(days) + i64::from(EPOCH_JULIAN),
            ExtractField::Epoch => i64::from(days) * 86_400 + UNIX_EPOCH_SECONDS,
            field => field.of_day(days),
        };
        Ok(whole(value))
    }

    pub fn of_timestamp(self, timestamp: Timestamp) -> Result<Extracted, TimeError> {
        self.check(TimeType::Timestamp)?;
        Ok(self.of_moment(timestamp))
    }

    /// In UTC.
    pub fn of_timestamptz(self, timestamp: Timestamp) -> Result<Extracted, TimeError> {
        self.check(TimeType::Timestamptz)?;
        Ok(self.of_moment(timestamp))
    }

    pub fn of_interval(self, interval: Interval) -> Result<Extracted, TimeError> {
        self.check(TimeType::Interval)?;
        let Interval {
            months,
            days,
            micros,
        } = interval;
        let years = i64::from(months / 12);
        Ok(match self {
            // A year is 365.25 days, a month outside of a year 30.
            ExtractField::Epoch => {
                let quarter_days =
                    1461 * years + 120 * i64::from(months % 12) + 4 * i64::from(days);
                let seconds = i128::from(quarter_days) * 21_600;
                scaled(seconds * 1_000_000 + i128::from(micros), 6)
            }
            ExtractField::Unit(unit) => match unit {
                Unit::Day => whole(days.into()),
                Unit::Month => whole(i64::from(months % 12)),
                Unit::Year => whole(years),
                Unit::Decade => whole(years / 10),
                Unit::Century => whole(years / 100),
                Unit::Millennium => whole(years / 1000),
                // These fit no interval.
                Unit::Week | Unit::Quarter => Extracted::Null,
                Unit::Hour => whole(micros / MICROS_PER_HOUR),
                Unit::Microsecond | Unit::Millisecond | Unit::Second | Unit::Minute => {
                    of_time(unit, micros)
                }
            },
            _ => Extracted::Null,
        })
    }

    fn check(self, of: TimeType) -> Result<(), TimeError> {
        if self.fits(of) {
            return Ok(());
        }
        let field = self.name();
        Err(TimeError::Field { field, of })
    }

    /// Infinite where the field grows with time, else null.
    fn of_infinite(self, positive: bool) -> Extracted {
        let grows = match self {
            ExtractField::Unit(unit) => unit >= Unit::Year,
            ExtractField::Isoyear | ExtractField::Julian | ExtractField::Epoch => true,
            ExtractField::Dow
            | ExtractField::Isodow
            | ExtractField::Doy
            | ExtractField::Timezone
            | ExtractField::TimezoneHour
            | ExtractField::TimezoneMinute => false,
        };
        match (grows, positive) {
            (false, _) => Extracted::Null,
            (true, false) => Extracted::NegativeInfinity,
            (true, true) => Extracted::Infinity,
        }
    }

    fn of_moment(self, timestamp: Timestamp) -> Extracted {
        if !timestamp.is_finite() {
            return self.of_infinite(timestamp == Timestamp::INFINITY);
        }
        let (days, micros) = timestamp.split();
        match self {
            ExtractField::Unit(unit) if unit < Unit::Hour => of_time(unit, micros),
            ExtractField::Unit(Unit::Hour) => whole(micros / MICROS_PER_HOUR),
            ExtractField::Julian => julian(days, micros),
            ExtractField::Epoch => unix_seconds(timestamp.micros()),
            field => whole(field.of_day(days)),
        }
    }

    /// The fields that a day decides.
    fn of_day(self, days: i32) -> i64 {
        let CivilDate { year, month, day } = CivilDate::from_days(days);
        let (year, month) = (i64::from(year), i64::from(month));
        match self {
            ExtractField::Unit(unit) => match unit {
                Unit::Day => day.into(),
                Unit::Week => iso_week(days).1,
                Unit::Month => month,
                Unit::Quarter => (month - 1) / 3 + 1,
                // There is no year zero.
                Unit::Year if year <= 0 => year - 1,
                Unit::Year => year,
                // Decades count from the year 0 that is 1 BC, the others from 1 AD.
                Unit::Decade => year.div_euclid(10),
                Unit::Century => period(year, 100),
                Unit::Millennium => period(year, 1000),
                // These fit no date.
                Unit::Microsecond
                | Unit::Millisecond
                | Unit::Second
                | Unit::Minute
                | Unit::Hour => 0,
            },
            ExtractField::Dow => day_of_week(days),
            ExtractField::Isodow => (day_of_week(days) + 6) % 7 + 1,
            ExtractField::Doy => day_of_year(days, year),
            ExtractField::Isoyear => {
                let year = iso_week(days).0;
                if year <= 0 { year - 1 } else { year }
            }
            ExtractField::Julian
            | ExtractField::Epoch
            | ExtractField::Timezone
            | ExtractField::TimezoneHour
            | ExtractField::TimezoneMinute => 0,
        }
    }
}

fn whole(value: i64) -> Extracted {
    scaled(value.into(), 0)
}

fn scaled(unscaled: i128, scale: u8) -> Extracted {
    Extracted::Number { unscaled, scale }
}

/// Exact, but for the last 30 years before the end of the range: there the server
/// divides as numeric, which gives four digits, and then two zeros.
fn unix_seconds(micros: i64) -> Extracted {
    const UNIX_EPOCH: i64 = UNIX_EPOCH_SECONDS * 1_000_000;
    let since_1970 = i128::from(micros) + i128::from(UNIX_EPOCH);
    let exact = micros < i64::MAX - UNIX_EPOCH;
    let rounded = (since_1970 + 50) / 100 * 100;
    scaled(if exact { since_1970 } else { rounded }, 6)
}

/// Minutes and below; the seconds with their fraction.
fn of_time(unit: Unit, micros: i64) -> Extracted {
    let below_a_minute = i128::from(micros % MICROS_PER_MINUTE);
    match unit {
        Unit::Microsecond => scaled(below_a_minute, 0),
        Unit::Millisecond => scaled(below_a_minute, 3),
        Unit::Second => scaled(below_a_minute, 6),
        _ => whole(micros % MICROS_PER_HOUR / MICROS_PER_MINUTE),
    }
}

/// The century or millennium: the first is of the years 1 to `years`, the one before
/// it is -1.
fn period(year: i64, years: i64) -> i64 {
    if year > 0 {
        (year + years - 1) / years
    } else {
        -((years - year) / years)
    }
}

/// A week belongs to the year of its Thursday.
fn iso_week(days: i32) -> (i64, i64) {
    // At most 5874898-01-03, which still fits.
    let thursday = (monday(days) + 3) as i32;
    let year = i64::from(CivilDate::from_days(thursday).year);
    (year, (day_of_year(thursday, year) - 1) / 7 + 1)
}

fn day_of_year(days: i32, year: i64) -> i64 {
    let first = CivilDate {
        year: year as i32,
        month: 1,
        day: 1,
    };
    // Only 4714 BC is cut off before its first day, which is day -2451545 - 327.
    let first = first.to_days().unwrap_or(-i64::from(EPOCH_JULIAN) - 327);
    i64::from(days) - first + 1
}

/// The Julian day and the part of it that has passed, by numeric division, whose scale
/// is so that the quotient has 16 significant digits, counted in groups of four.
fn julian(days: i32, micros: i64) -> Extracted {
    const DAY_WEIGHT: u32 = 2;
    const DAY_FIRST_GROUP: i64 = 864;
    let (weight, first_group) = match micros {
        100_000_000.. => (2, micros / 100_000_000),
        10_000.. => (1, micros / 10_000),
        _ => (0, micros),
    };
    let behind = DAY_WEIGHT - weight + u32::from(first_group <= DAY_FIRST_GROUP);
    let scale = 16 + 4 * behind;
    let power = 10_i128.pow(scale);
    let day = i128::from(MICROS_PER_DAY);
    // No overflow: the scale is small where the microseconds are many.
    let part = (i128::from(micros) * power + day / 2) / day;
    let whole = i128::from(days) + i128::from(EPOCH_JULIAN);
    scaled(whole * power + part, scale as u8)
}
