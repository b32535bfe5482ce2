//! Literals of date, timestamp and timestamptz, and texts that are cast to them.
//!
//! The server reads much more (`Jan 5`, `now`, `5.1.2024`, zone names), some of it by
//! the session's settings or the time of day. Here is ISO 8601 as rules may write it:
//!
//! ```text
//! YYYY-MM-DD | YYYYMMDD, the year of more digits too in the first form
//! [ BC] [ (space | T) HH:MM[:SS[.f]] [ space ] [ Z | ±HH[:MM] ] ] [ BC]
//! infinity | -infinity
//! ```
//!
//! Letters in either case, spaces around. `BC` stands once.

use std::borrow::Cow;

use super::calendar::{CivilDate, MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE};
use super::date::Date;
use super::error::TimeError;
use super::extract::TimeType;
use super::scan::{Scan, number, rounded_micros};
use super::timestamp::{Timestamp, micros_of_time};

/// The server gives up at some 130 bytes; a date has no use for half of it.
const LONGEST: usize = 100;

/// What is wrong, the end of a sentence.
type Wrong = Cow<'static, str>;

pub(super) fn date(text: &str) -> Result<Date, TimeError> {
    read_date(trimmed(text)).map_err(|wrong| refused(text, TimeType::Date, &wrong))
}

pub(super) fn timestamp(text: &str, of: TimeType) -> Result<Timestamp, TimeError> {
    read_timestamp(trimmed(text), of).map_err(|wrong| refused(text, of, &wrong))
}

pub(super) fn trimmed(text: &str) -> &str {
    text.trim_matches(' ')
}

/// Of a long text, only its start: it may be a whole document of a row.
pub(super) fn refused(text: &str, of: TimeType, wrong: &str) -> TimeError {
    let article = if of == TimeType::Interval { "an" } else { "a" };
    TimeError::Literal(match text.char_indices().nth(LONGEST) {
        Some((end, _)) => {
            let start = text.get(..end).unwrap_or_default();
            format!("`{start}…` is not {article} {of}: {wrong}")
        }
        None => format!("`{text}` is not {article} {of}: {wrong}"),
    })
}

fn read_date(text: &str) -> Result<Date, Wrong> {
    if let Some(negative) = infinite(text)? {
        return Ok(if negative {
            Date::NEGATIVE_INFINITY
        } else {
            Date::INFINITY
        });
    }
    let mut scan = Scan::new(text);
    let day = read_day(&mut scan)?;
    let bc = eat_bc(&mut scan);
    if !scan.is_empty() {
        return Err(if starts_time(&scan) {
            "it has a time; cast it to timestamp first".into()
        } else {
            unexpected(&scan)
        });
    }
    Date::from_civil(day.civil(bc)?).ok_or(Wrong::Borrowed(
        "dates are from 4714-11-24 BC to 5874897-12-31",
    ))
}

fn read_timestamp(text: &str, of: TimeType) -> Result<Timestamp, Wrong> {
    if let Some(negative) = infinite(text)? {
        return Ok(if negative {
            Timestamp::NEGATIVE_INFINITY
        } else {
            Timestamp::INFINITY
        });
    }
    let mut scan = Scan::new(text);
    let day = read_day(&mut scan)?;
    let mut bc = eat_bc(&mut scan);
    let (mut micros, mut zone) = (0, None);
    if starts_time(&scan) {
        micros = read_time(&mut scan)?;
        zone = read_zone(&mut scan)?;
        bc = bc || eat_bc(&mut scan);
    }
    if !scan.is_empty() {
        return Err(unexpected(&scan));
    }
    if zone.is_some() && of == TimeType::Timestamp {
        // The server drops it silently.
        return Err("it has a time zone; cast it to timestamptz, or leave the zone out".into());
    }
    let days = day.civil(bc)?.to_days();
    days.and_then(|days| Timestamp::from_day(days, micros - zone.unwrap_or(0)))
        .ok_or(Wrong::Borrowed(
            "timestamps are from 4714-11-24 BC to 294276-12-31",
        ))
}

/// Whether it is negative, where it is infinite.
fn infinite(text: &str) -> Result<Option<bool>, Wrong> {
    let (negative, word) = match text.strip_prefix('-') {
        Some(word) => (true, word),
        None => (false, text),
    };
    if word.eq_ignore_ascii_case("infinity") {
        Ok(Some(negative))
    } else if text.len() > LONGEST {
        Err("it is too long".into())
    } else {
        Ok(None)
    }
}

/// A day as it is written.
struct Day {
    year: i64,
    month: i32,
    day: i32,
}

impl Day {
    fn civil(&self, bc: bool) -> Result<CivilDate, Wrong> {
        let Day { year, month, day } = *self;
        if year == 0 {
            return Err("there is no year 0; the year before 0001 is `0001-… BC`".into());
        }
        if !(1..=12).contains(&month) {
            return Err(format!("month {month}").into());
        }
        // A year of more digits is out of every range.
        let year = i32::try_from(year).unwrap_or(i32::MAX);
        let year = if bc { 1 - year } else { year };
        let last = CivilDate::days_in_month(year, month);
        if !(1..=last).contains(&day) {
            return Err(format!("day {day} of a month of {last} days").into());
        }
        Ok(CivilDate { year, month, day })
    }
}

fn read_day(scan: &mut Scan<'_>) -> Result<Day, Wrong> {
    const FORM: &str = "expected YYYY-MM-DD or YYYYMMDD";
    let digits = scan.digits();
    let value = number(digits).unwrap_or(i64::MAX);
    if !scan.eat("-") {
        return if digits.len() == "YYYYMMDD".len() {
            Ok(Day {
                year: value / 10_000,
                month: (value / 100 % 100) as i32,
                day: (value % 100) as i32,
            })
        } else {
            Err(FORM.into())
        };
    }
    if digits.len() < "YYYY".len() {
        // The server takes `24-01-31` for 2024 or, by its settings, for a day first.
        return Err(FORM.into());
    }
    let month = scan.two_digits().ok_or(FORM)?;
    let dash = scan.eat("-");
    let day = scan.two_digits().ok_or(FORM)?;
    if !dash || matches!(scan.peek(), Some(b'0'..=b'9' | b'-')) {
        return Err(FORM.into());
    }
    Ok(Day {
        year: value,
        month,
        day,
    })
}

fn eat_bc(scan: &mut Scan<'_>) -> bool {
    let mut ahead = *scan;
    let found = ahead.skip_spaces() && ahead.eat_word("BC");
    if found {
        *scan = ahead;
    }
    found
}

fn starts_time(scan: &Scan<'_>) -> bool {
    let mut ahead = *scan;
    match ahead.peek() {
        Some(b'T' | b't') => true,
        _ => ahead.skip_spaces() && ahead.peek().is_some_and(|byte| byte.is_ascii_digit()),
    }
}

/// The separator and the time, as microseconds of the day. 24:00:00 and second 60 are
/// times where they do not go beyond the end of the day.
fn read_time(scan: &mut Scan<'_>) -> Result<i64, Wrong> {
    const FORM: &str = "expected HH:MM or HH:MM:SS after the date";
    if !scan.eat("T") && !scan.eat("t") {
        scan.skip_spaces();
    }
    let hour = scan.two_digits().ok_or(FORM)?;
    if !scan.eat(":") {
        return Err(FORM.into());
    }
    let (minute, second, fraction) = read_minutes(scan).ok_or(FORM)?;
    let micros = micros_of_time(hour, minute, second) + fraction;
    match (hour, minute, second) {
        (25.., _, _) => Err(format!("hour {hour}").into()),
        (_, 60.., _) => Err(format!("minute {minute}").into()),
        (_, _, 61..) => Err(format!("second {second}").into()),
        _ if micros > MICROS_PER_DAY => Err("the time is beyond 24:00:00".into()),
        _ => Ok(micros),
    }
}

/// `MM[:SS[.f]]`, then no further digit: minutes, seconds, microseconds.
pub(super) fn read_minutes(scan: &mut Scan<'_>) -> Option<(i32, i32, i64)> {
    let minute = scan.two_digits()?;
    let (mut second, mut micros) = (0, 0);
    if scan.eat(":") {
        second = scan.two_digits()?;
        if scan.peek() == Some(b'.') {
            micros = rounded_micros(scan.fraction()?)?;
        }
    }
    let ended = !matches!(scan.peek(), Some(b'0'..=b'9' | b':' | b'.'));
    ended.then_some((minute, second, micros))
}

/// The offset from UTC in microseconds, where there is a zone.
fn read_zone(scan: &mut Scan<'_>) -> Result<Option<i64>, Wrong> {
    const FORM: &str = "expected a time zone as `Z`, `+02` or `+02:30`";
    let mut ahead = *scan;
    ahead.skip_spaces();
    if ahead.eat_word("Z") {
        *scan = ahead;
        return Ok(Some(0));
    }
    let negative = ahead.eat("-");
    if !negative && !ahead.eat("+") {
        return Ok(None);
    }
    let hours = ahead.two_digits().ok_or(FORM)?;
    let mut minutes = 0;
    if ahead.eat(":") {
        minutes = ahead.two_digits().ok_or(FORM)?;
    }
    if !matches!(ahead.peek(), None | Some(b' ')) {
        return Err(FORM.into());
    }
    if hours > 15 || minutes > 59 {
        return Err("time zones are at most 15:59 from UTC".into());
    }
    *scan = ahead;
    let offset = i64::from(hours) * MICROS_PER_HOUR + i64::from(minutes) * MICROS_PER_MINUTE;
    Ok(Some(if negative { -offset } else { offset }))
}

fn unexpected(scan: &Scan<'_>) -> Wrong {
    format!(
        "`{}` is not understood",
        scan.rest().trim_start_matches(' ')
    )
    .into()
}
