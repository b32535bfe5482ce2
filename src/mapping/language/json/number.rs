//! Numbers of JSON as PostgreSQL's numeric: their order, limits and printed form.

use std::cmp::Ordering;

/// The most digits that numeric keeps after the point.
const MAX_SCALE: i64 = 16_383;
/// The power of ten of the highest digit that numeric holds.
const MAX_POWER: i64 = 131_071;
/// The server refuses larger exponents, even of a zero.
const MAX_EXPONENT: i64 = i32::MAX as i64 / 2;

/// Compares two numbers of JSON's grammar by value, whatever their size, and allocates
/// nothing.
pub fn compare_numbers(a: &str, b: &str) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    let (a, b) = (Decimal::read(a), Decimal::read(b));
    let (a_power, b_power) = (a.power(), b.power());
    let sign = |number: &Decimal<'_>, power: Option<i64>| match power {
        None => 0,
        Some(_) if number.negative => -1,
        Some(_) => 1,
    };
    let by_sign = sign(&a, a_power).cmp(&sign(&b, b_power));
    if by_sign != Ordering::Equal {
        return by_sign;
    }
    let by_magnitude = a_power
        .cmp(&b_power)
        .then_with(|| compare_digits(a.significant(), b.significant()));
    match a.negative {
        true => by_magnitude.reverse(),
        false => by_magnitude,
    }
}

/// Whether numeric holds the number of JSON's grammar.
pub(super) fn fits_numeric(text: &str) -> bool {
    // The usual number is far from every limit.
    if text.len() <= MAX_SCALE as usize && !text.contains(['e', 'E']) {
        return true;
    }
    let number = Decimal::read(text);
    number.exponent.abs() < MAX_EXPONENT
        && number.scale() <= MAX_SCALE
        && number.power().is_none_or(|power| power <= MAX_POWER)
}

/// Appends the number, which [fits numeric](fits_numeric), as numeric prints it: without
/// exponent, its digits after the point kept.
pub(super) fn push_numeric(text: &str, out: &mut String) {
    let number = Decimal::read(text);
    let power = number.power();
    if number.exponent == 0 {
        // JSON has no leading zeros; only a zero's sign is to go.
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let unsigned = unsigned.split(['e', 'E']).next().unwrap_or(unsigned);
        if number.negative && power.is_some() {
            out.push('-');
        }
        out.push_str(unsigned);
        return;
    }
    if number.negative && power.is_some() {
        out.push('-');
    }
    let scale = number.scale();
    let highest = power.unwrap_or(0).max(0);
    let mut digits = number.significant();
    for place in (-scale..=highest).rev() {
        if place == -1 {
            out.push('.');
        }
        let digit = match power {
            Some(power) if place <= power => digits.next().unwrap_or(b'0'),
            _ => b'0',
        };
        out.push(char::from(digit));
    }
}

/// A number's parts as written.
struct Decimal<'a> {
    negative: bool,
    integer: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

impl<'a> Decimal<'a> {
    fn read(text: &'a str) -> Self {
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(unsigned) => (true, unsigned),
            None => (false, text),
        };
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, read_exponent(exponent)),
            None => (unsigned, 0),
        };
        let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        Self {
            negative,
            integer: integer.as_bytes(),
            fraction: fraction.as_bytes(),
            exponent,
        }
    }

    /// The digits after the point once the exponent is written out.
    fn scale(&self) -> i64 {
        (self.fraction.len() as i64)
            .saturating_sub(self.exponent)
            .max(0)
    }

    /// The digits from the first that is not zero.
    fn significant(&self) -> impl Iterator<Item = u8> {
        let digits = self.integer.iter().chain(self.fraction).copied();
        digits.skip_while(|digit| *digit == b'0')
    }

    /// The power of ten of the first digit that is not zero; none of zero.
    fn power(&self) -> Option<i64> {
        let mut digits = self.integer.iter().chain(self.fraction);
        let zeros = digits.position(|digit| *digit != b'0')? as i64;
        let power = self.integer.len() as i64 - 1 - zeros;
        Some(power.saturating_add(self.exponent))
    }
}

/// An exponent, cut to what no text is long enough for its digits to make up for.
fn read_exponent(text: &str) -> i64 {
    const CUT: i64 = i64::MAX / 4;
    match text.parse::<i64>() {
        Ok(exponent) => exponent.clamp(-CUT, CUT),
        Err(_) if text.starts_with('-') => -CUT,
        Err(_) => CUT,
    }
}

/// Compares digits after a common point; the shorter goes on with zeros.
fn compare_digits(mut a: impl Iterator<Item = u8>, mut b: impl Iterator<Item = u8>) -> Ordering {
    loop {
        match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (a, b) => match a.unwrap_or(b'0').cmp(&b.unwrap_or(b'0')) {
                Ordering::Equal => {}
                different => return different,
            },
        }
    }
}
