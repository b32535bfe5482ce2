//! The Gregorian calendar, extended backwards, and decimal digits.

pub(super) const MICROS_PER_SECOND: i64 = 1_000_000;
pub(super) const MICROS_PER_MINUTE: i64 = 60 * MICROS_PER_SECOND;
pub(super) const MICROS_PER_HOUR: i64 = 60 * MICROS_PER_MINUTE;
pub(super) const MICROS_PER_DAY: i64 = 24 * MICROS_PER_HOUR;

/// The Julian day of 2000-01-01, the server's day zero.
pub(super) const EPOCH_JULIAN: i32 = 2_451_545;

/// From 0000-03-01 to 2000-01-01, where the algorithms below count from.
const EPOCH_FROM_YEAR_ZERO: i64 = 730_425;
const DAYS_PER_400_YEARS: i64 = 146_097;

/// A day of the calendar. Year 0 is 1 BC, year -1 is 2 BC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CivilDate {
    pub(super) year: i32,
    pub(super) month: i32,
    pub(super) day: i32,
}

impl CivilDate {
    /// Days since 2000-01-01. `None` outside of November 4714 BC to May 5874898: the
    /// server refuses those before it looks at the type's own range, which a time
    /// zone may bring a day of that November back into.
    pub(super) fn to_days(self) -> Option<i64> {
        let month = (self.year, self.month);
        if !((-4713, 11)..(5_874_898, 6)).contains(&month) {
            return None;
        }
        let march_based = i64::from((self.month + 9) % 12);
        let year = i64::from(self.year) - i64::from(self.month <= 2);
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * march_based + 2) / 5 + i64::from(self.day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        Some(year.div_euclid(400) * DAYS_PER_400_YEARS + day_of_era - EPOCH_FROM_YEAR_ZERO)
    }

    pub(super) fn from_days(days: i32) -> Self {
        let days = i64::from(days) + EPOCH_FROM_YEAR_ZERO;
        let day_of_era = days.rem_euclid(DAYS_PER_400_YEARS);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_based = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * march_based + 2) / 5 + 1;
        let month = (march_based + 2) % 12 + 1;
        let year = days.div_euclid(DAYS_PER_400_YEARS) * 400 + year_of_era + i64::from(month <= 2);
        // Of 32 bits of days, no year has more than seven digits.
        CivilDate {
            year: year as i32,
            month: month as i32,
            day: day as i32,
        }
    }

    pub(super) fn days_in_month(year: i32, month: i32) -> i32 {
        match month {
            2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }

    /// `YYYY-MM-DD`; before Christ, the caller appends ` BC` after the time.
    pub(super) fn write(self, out: &mut String) {
        let year = if self.is_bc() {
            1 - i64::from(self.year)
        } else {
            i64::from(self.year)
        };
        push_padded(out, year.unsigned_abs(), 4);
        out.push('-');
        push_padded(out, u64::from(self.month.unsigned_abs()), 2);
        out.push('-');
        push_padded(out, u64::from(self.day.unsigned_abs()), 2);
    }

    pub(super) fn is_bc(self) -> bool {
        self.year <= 0
    }
}

/// 0 is Sunday.
pub(super) fn day_of_week(days: i32) -> i64 {
    (i64::from(days) + 6).rem_euclid(7)
}

/// The Monday of the day's week.
pub(super) fn monday(days: i32) -> i64 {
    let days = i64::from(days);
    days - (days + 5).rem_euclid(7)
}

/// `HH:MM:SS`, then the fraction without trailing zeros. Hours may be of more digits.
pub(super) fn push_time(out: &mut String, micros: u64) {
    let seconds = micros / 1_000_000;
    push_padded(out, seconds / 3600, 2);
    out.push(':');
    push_padded(out, seconds / 60 % 60, 2);
    out.push(':');
    push_padded(out, seconds % 60, 2);
    let mut fraction = micros % 1_000_000;
    if fraction == 0 {
        return;
    }
    let mut width = 6;
    while fraction.is_multiple_of(10) {
        fraction /= 10;
        width -= 1;
    }
    out.push('.');
    push_padded(out, fraction, width);
}

/// Without the formatting machinery: timestamps are written for every event.
pub(super) fn push_padded(out: &mut String, mut value: u64, width: usize) {
    const MOST_DIGITS: usize = 20;
    let mut digits = ['0'; MOST_DIGITS];
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        if value == 0 && used >= width {
            break;
        }
        *digit = char::from(b'0' + (value % 10) as u8);
        value /= 10;
        used += 1;
    }
    out.extend(digits.iter().skip(MOST_DIGITS - used));
}
