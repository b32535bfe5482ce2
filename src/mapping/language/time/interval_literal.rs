//! Literals of interval, and texts that are cast to it: numbers with units, a time,
//! in any order, each at most once; ` ago` at the end turns all signs.
//!
//! The server reads more (`1` is a second, `P1D`, `1-2` years and months, fractions of
//! days). Only seconds may have a fraction here: that of other units the server
//! spreads over smaller ones by rules which few know.

use std::borrow::Cow;

use super::calendar::{MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND};
use super::error::TimeError;
use super::extract::TimeType;
use super::interval::Interval;
use super::literal::{read_minutes, refused, trimmed};
use super::scan::Scan;
use super::unit::Unit;

/// The server gives up at 255 bytes, its ends of words included.
const LONGEST: usize = 200;

/// Twelve units and a time: more would be one of them twice.
const MOST_PARTS: usize = 13;

type Wrong = Cow<'static, str>;

pub(super) fn interval(text: &str) -> Result<Interval, TimeError> {
    let trimmed = trimmed(text);
    let unsigned = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
    if unsigned.eq_ignore_ascii_case("infinity") {
        return Err(TimeError::InfiniteInterval);
    }
    let read = || {
        let (parts, count, ago) = read_parts(trimmed)?;
        // From the last to the first, as the server does: it decides which sums overflow.
        let mut sum = Sum::default();
        let parts = parts.iter().take(count).rev();
        let added = parts.flatten().try_for_each(|part| sum.add(part));
        added
            .and_then(|()| sum.interval(ago))
            .ok_or(Wrong::Borrowed("it is out of range"))
    };
    read().map_err(|wrong| refused(text, TimeType::Interval, &wrong))
}

enum Part {
    Units {
        unit: Unit,
        value: i64,
        /// Below 1, of the sign of the value, which may be zero.
        fraction: f64,
    },
    Time {
        micros: i64,
    },
}

type Parts = ([Option<Part>; MOST_PARTS], usize, bool);

fn read_parts(text: &str) -> Result<Parts, Wrong> {
    if text.len() > LONGEST {
        return Err("it is too long".into());
    }
    let mut scan = Scan::new(text);
    let mut parts = [const { None }; MOST_PARTS];
    let mut count = 0;
    let mut seen = Seen::default();
    loop {
        scan.skip_spaces();
        if scan.is_empty() {
            break;
        }
        if count > 0 && scan.eat_word("ago") {
            return if scan.is_empty() {
                Ok((parts, count, true))
            } else {
                Err("`ago` stands at the end".into())
            };
        }
        let part = read_part(&mut scan)?;
        if !matches!(scan.peek(), None | Some(b' ')) {
            let rest = scan.rest();
            return Err(format!("expected a space before `{rest}`").into());
        }
        let slot = parts.get_mut(count).filter(|_| seen.is_first(&part));
        let Some(slot) = slot else {
            return Err(twice(&part));
        };
        *slot = Some(part);
        count += 1;
    }
    if count == 0 {
        return Err("expected a number and a unit, such as `2 days`, or HH:MM".into());
    }
    Ok((parts, count, false))
}

fn read_part(scan: &mut Scan<'_>) -> Result<Part, Wrong> {
    let start = scan.rest();
    let negative = scan.eat("-");
    if !negative {
        scan.eat("+");
    }
    let digits = scan.digits();
    if digits.is_empty() {
        let wrong = "expected a number and a unit, such as `2 days`, or HH:MM";
        return Err(format!("{wrong}, instead of `{start}`").into());
    }
    if scan.peek() == Some(b':') {
        let micros = read_time(scan, digits)?;
        let micros = if negative { -micros } else { micros };
        return Ok(Part::Time { micros });
    }
    let too_large = || Wrong::Borrowed("a number is too large");
    let value = signed(negative, digits).ok_or_else(too_large)?;
    let mut fraction = None;
    if scan.peek() == Some(b'.') {
        let unsigned: Option<f64> = scan.fraction().and_then(|digits| digits.parse().ok());
        let unsigned = unsigned.ok_or("expected digits after the point")?;
        fraction = Some(if negative { -unsigned } else { unsigned });
    }
    scan.skip_spaces();
    let word = scan.letters();
    let unit = match Unit::parse(word) {
        Some(unit) if unit != Unit::Quarter => unit,
        _ if word.is_empty() => {
            return Err(format!("`{digits}` has no unit; write it as in `2 days`").into());
        }
        _ => return Err(format!("`{word}` is no unit of intervals").into()),
    };
    if fraction.is_some() && unit != Unit::Second {
        let article = if unit == Unit::Hour { "an" } else { "a" };
        let name = unit.name();
        return Err(format!("a fraction of {article} {name}: only seconds may have one").into());
    }
    Ok(Part::Units {
        unit,
        value,
        fraction: fraction.unwrap_or(0.0),
    })
}

/// Behind the hours. Seconds may be 60.
fn read_time(scan: &mut Scan<'_>, hours: &str) -> Result<i64, Wrong> {
    const FORM: &str = "expected a time as HH:MM or HH:MM:SS";
    if hours.len() < 2 || !scan.eat(":") {
        return Err(FORM.into());
    }
    let (minutes, seconds, fraction) = read_minutes(scan).ok_or(FORM)?;
    if minutes > 59 {
        return Err(format!("minute {minutes}").into());
    }
    if seconds > 60 {
        return Err(format!("second {seconds}").into());
    }
    let below_an_hour =
        i64::from(minutes) * MICROS_PER_MINUTE + i64::from(seconds) * MICROS_PER_SECOND + fraction;
    signed(false, hours)
        .and_then(|hours| {
            hours
                .checked_mul(MICROS_PER_HOUR)?
                .checked_add(below_an_hour)
        })
        .ok_or(Wrong::Borrowed("it is out of range"))
}

/// Counted down from zero, since the smallest number has no positive counterpart.
fn signed(negative: bool, digits: &str) -> Option<i64> {
    let below = digits.bytes().try_fold(0_i64, |value, digit| {
        value
            .checked_mul(10)?
            .checked_sub(i64::from(digit.checked_sub(b'0')?))
    })?;
    if negative {
        Some(below)
    } else {
        below.checked_neg()
    }
}

/// Which units were read. A time counts as hours, minutes and all below, a second with
/// a fraction as milliseconds and microseconds too.
#[derive(Default)]
struct Seen {
    units: u16,
}

impl Seen {
    fn is_first(&mut self, part: &Part) -> bool {
        let bit = |unit: Unit| 1_u16 << unit as u16;
        let seconds = bit(Unit::Second) | bit(Unit::Millisecond) | bit(Unit::Microsecond);
        let units = match part {
            Part::Time { .. } => seconds | bit(Unit::Minute) | bit(Unit::Hour),
            Part::Units { fraction, .. } if *fraction != 0.0 => seconds,
            Part::Units { unit, .. } => bit(*unit),
        };
        let first = self.units & units == 0;
        self.units |= units;
        first
    }
}

fn twice(part: &Part) -> Wrong {
    match part {
        Part::Time { .. } => "a time beside hours, minutes or seconds".into(),
        Part::Units { unit, .. } => format!("the {} is given twice", unit.name()).into(),
    }
}

#[derive(Default)]
struct Sum {
    years: i32,
    months: i32,
    days: i32,
    micros: i64,
}

impl Sum {
    /// `None` on overflow.
    fn add(&mut self, part: &Part) -> Option<()> {
        let (unit, value, fraction) = match part {
            Part::Time { micros } => {
                self.micros = *micros;
                return Some(());
            }
            Part::Units {
                unit,
                value,
                fraction,
            } => (*unit, *value, *fraction),
        };
        let (field, per_unit) = match unit {
            Unit::Microsecond => return self.add_micros(value, 1),
            Unit::Millisecond => return self.add_micros(value, 1000),
            Unit::Second => {
                self.add_micros(value, MICROS_PER_SECOND)?;
                return self.add_micros(fraction_micros(fraction), 1);
            }
            Unit::Minute => return self.add_micros(value, MICROS_PER_MINUTE),
            Unit::Hour => return self.add_micros(value, MICROS_PER_HOUR),
            Unit::Day => (&mut self.days, 1),
            Unit::Week => (&mut self.days, 7),
            Unit::Month => (&mut self.months, 1),
            Unit::Quarter => return None,
            Unit::Year => (&mut self.years, 1),
            Unit::Decade => (&mut self.years, 10),
            Unit::Century => (&mut self.years, 100),
            Unit::Millennium => (&mut self.years, 1000),
        };
        let value = i32::try_from(value).ok()?;
        *field = field.checked_add(value.checked_mul(per_unit)?)?;
        Some(())
    }

    fn add_micros(&mut self, value: i64, per_unit: i64) -> Option<()> {
        self.micros = self.micros.checked_add(value.checked_mul(per_unit)?)?;
        Some(())
    }

    fn interval(self, ago: bool) -> Option<Interval> {
        let Sum {
            mut years,
            mut months,
            mut days,
            mut micros,
        } = self;
        if ago {
            years = years.checked_neg()?;
            months = months.checked_neg()?;
            days = days.checked_neg()?;
            micros = micros.checked_neg()?;
        }
        let months = i64::from(years) * 12 + i64::from(months);
        Interval::new(i32::try_from(months).ok()?, days, micros)
    }
}

/// A fraction of a second as the server rounds it: half towards zero, in doubles.
fn fraction_micros(fraction: f64) -> i64 {
    let micros = fraction * 1_000_000.0;
    let whole = micros as i64;
    let rest = micros - whole as f64;
    if rest > 0.5 {
        whole + 1
    } else if rest < -0.5 {
        whole - 1
    } else {
        whole
    }
}
