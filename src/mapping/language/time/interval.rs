//! `interval`: months, days and microseconds, finite.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use super::calendar::{
    MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND, push_padded, push_time,
};
use super::error::TimeError;
use super::extract::TimeType;
use super::interval_literal;
use super::scan::{Scan, exact_micros, number};

/// Equality and order count a month as 30 days and a day as 24 hours, so that
/// intervals of different parts may be equal.
#[derive(Clone, Copy, Debug)]
pub struct Interval {
    pub months: i32,
    pub days: i32,
    pub micros: i64,
}

impl Interval {
    /// `None` for what is infinite from PostgreSQL 17 on: all parts at one extreme.
    pub fn new(months: i32, days: i32, micros: i64) -> Option<Self> {
        let infinite = matches!(
            (months, days, micros),
            (i32::MIN, i32::MIN, i64::MIN) | (i32::MAX, i32::MAX, i64::MAX)
        );
        (!infinite).then_some(Interval {
            months,
            days,
            micros,
        })
    }

    /// Reads what the server prints: `1 year 2 mons -3 days +04:05:06.7`.
    pub fn parse_output(text: &str) -> Result<Self, TimeError> {
        if text == "infinity" || text == "-infinity" {
            return Err(TimeError::InfiniteInterval);
        }
        Self::read_output(text).ok_or(TimeError::NotOutput(TimeType::Interval))
    }

    /// Reads a literal of a rule or a text that is cast.
    pub fn parse_literal(text: &str) -> Result<Self, TimeError> {
        interval_literal::interval(text)
    }

    fn read_output(text: &str) -> Option<Self> {
        let mut scan = Scan::new(text);
        let (mut years, mut months, mut days, mut micros) = (0_i64, 0_i64, 0_i64, 0_i64);
        // Each part stands at most once, in this order: years, months, days, time.
        let mut next_part = 0;
        loop {
            let negative = scan.eat("-");
            if !negative {
                scan.eat("+");
            }
            let digits = scan.digits();
            if digits.is_empty() {
                return None;
            }
            let part;
            if scan.peek() == Some(b':') {
                part = 3;
                micros = read_time(&mut scan, digits, negative)?;
            } else {
                let value = number(digits)?;
                let value = if negative { -value } else { value };
                let spaced = scan.eat(" ");
                let slot;
                (part, slot) = match scan.letters() {
                    "year" | "years" => (0, &mut years),
                    "mon" | "mons" => (1, &mut months),
                    "day" | "days" => (2, &mut days),
                    _ => return None,
                };
                if !spaced {
                    return None;
                }
                *slot = value;
            }
            if part < next_part {
                return None;
            }
            next_part = part + 1;
            if scan.is_empty() {
                break;
            }
            if !scan.eat(" ") {
                return None;
            }
        }
        let months = years.checked_mul(12)?.checked_add(months)?;
        Self::new(months.try_into().ok()?, days.try_into().ok()?, micros)
    }

    /// Appends the server's text.
    pub fn write(self, out: &mut String) {
        let parts = [
            (self.months / 12, "year"),
            (self.months % 12, "mon"),
            (self.days, "day"),
        ];
        let (mut empty, mut after_negative) = (true, false);
        for (value, unit) in parts.into_iter().filter(|(value, _)| *value != 0) {
            if !empty {
                out.push(' ');
            }
            if value < 0 {
                out.push('-');
            } else if after_negative {
                out.push('+');
            }
            push_padded(out, u64::from(value.unsigned_abs()), 1);
            out.push(' ');
            out.push_str(unit);
            // `-1 years`: the plural is of all but 1.
            if value != 1 {
                out.push('s');
            }
            empty = false;
            after_negative = value < 0;
        }
        if empty || self.micros != 0 {
            if !empty {
                out.push(' ');
            }
            if self.micros < 0 {
                out.push('-');
            } else if after_negative {
                out.push('+');
            }
            push_time(out, self.micros.unsigned_abs());
        }
    }

    /// `interval + interval`.
    pub fn plus(self, other: Interval) -> Result<Self, TimeError> {
        Self::checked(
            self.months.checked_add(other.months),
            self.days.checked_add(other.days),
            self.micros.checked_add(other.micros),
        )
    }

    /// `interval - interval`.
    pub fn minus(self, other: Interval) -> Result<Self, TimeError> {
        Self::checked(
            self.months.checked_sub(other.months),
            self.days.checked_sub(other.days),
            self.micros.checked_sub(other.micros),
        )
    }

    /// `- interval`.
    pub fn negated(self) -> Result<Self, TimeError> {
        Self::checked(
            self.months.checked_neg(),
            self.days.checked_neg(),
            self.micros.checked_neg(),
        )
    }

    fn checked(
        months: Option<i32>,
        days: Option<i32>,
        micros: Option<i64>,
    ) -> Result<Self, TimeError> {
        let interval = || Self::new(months?, days?, micros?);
        interval().ok_or(TimeError::IntervalRange)
    }

    /// Its length for comparisons, in microseconds.
    fn length(self) -> i128 {
        let days = i64::from(self.months) * 30 + i64::from(self.days);
        i128::from(days) * i128::from(MICROS_PER_DAY) + i128::from(self.micros)
    }
}

/// What stands after the hours, which may be of any number of digits. Counted down
/// from zero where negative, since the smallest interval has no positive counterpart.
fn read_time(scan: &mut Scan<'_>, hours: &str, negative: bool) -> Option<i64> {
    let mut shape = hours.len() >= 2 && scan.eat(":");
    let minutes = scan.two_digits()?;
    shape &= scan.eat(":");
    let seconds = scan.two_digits()?;
    let mut fraction = 0;
    if scan.eat(".") {
        fraction = exact_micros(scan.digits())?;
    }
    if !shape || minutes > 59 || seconds > 59 {
        return None;
    }
    let below_an_hour =
        i64::from(minutes) * MICROS_PER_MINUTE + i64::from(seconds) * MICROS_PER_SECOND + fraction;
    let hours = number(hours)?.checked_mul(MICROS_PER_HOUR)?;
    if negative {
        (-hours).checked_sub(below_an_hour)
    } else {
        hours.checked_add(below_an_hour)
    }
}

impl PartialEq for Interval {
    fn eq(&self, other: &Self) -> bool {
        self.length() == other.length()
    }
}

impl Eq for Interval {}

impl PartialOrd for Interval {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Interval {
    fn cmp(&self, other: &Self) -> Ordering {
        self.length().cmp(&other.length())
    }
}

impl Hash for Interval {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.length().hash(state);
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write(&mut text);
        f.write_str(&text)
    }
}
