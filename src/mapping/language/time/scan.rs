//! Reads a text from its front, byte by byte.

/// What is left of a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scan<'a> {
    rest: &'a str,
}

impl<'a> Scan<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Scan { rest: text }
    }

    pub(super) fn rest(&self) -> &'a str {
        self.rest
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.rest.as_bytes().first().copied()
    }

    /// Cuts off `text`, which stands there exactly.
    #[inline]
    pub(super) fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Cuts off the word in either case, where a space or the end follows it.
    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        let Some((start, rest)) = self.rest.split_at_checked(word.len()) else {
            return false;
        };
        let found = start.eq_ignore_ascii_case(word) && (rest.is_empty() || rest.starts_with(' '));
        if found {
            self.rest = rest;
        }
        found
    }

    /// Returns whether there was one.
    pub(super) fn skip_spaces(&mut self) -> bool {
        let rest = self.rest.trim_start_matches(' ');
        let skipped = rest.len() < self.rest.len();
        self.rest = rest;
        skipped
    }

    /// Cuts off all digits at the front; they may be none.
    pub(super) fn digits(&mut self) -> &'a str {
        self.take_while(u8::is_ascii_digit)
    }

    pub(super) fn letters(&mut self) -> &'a str {
        self.take_while(u8::is_ascii_alphabetic)
    }

    /// A point and the digits after it, of which there is at least one.
    pub(super) fn fraction(&mut self) -> Option<&'a str> {
        let mut ahead = *self;
        if !ahead.eat(".") || ahead.digits().is_empty() {
            return None;
        }
        let length = self.rest.len() - ahead.rest.len();
        let fraction = self.rest.get(..length)?;
        *self = ahead;
        Some(fraction)
    }

    #[inline]
    fn take_while(&mut self, fits: impl Fn(&u8) -> bool) -> &'a str {
        let length = self.rest.bytes().take_while(fits).count();
        // Only ASCII is taken, so this is a boundary of characters.
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .unwrap_or(("", self.rest));
        self.rest = rest;
        taken
    }

    /// Exactly two digits: a third one behind them is not looked at.
    #[inline]
    pub(super) fn two_digits(&mut self) -> Option<i32> {
        let [tens @ b'0'..=b'9', ones @ b'0'..=b'9', ..] = self.rest.as_bytes() else {
            return None;
        };
        let value = i32::from(tens - b'0') * 10 + i32::from(ones - b'0');
        self.rest = self.rest.get(2..)?;
        Some(value)
    }
}

/// `None` where it does not fit; of no digits at all, 0.
pub(super) fn number(digits: &str) -> Option<i64> {
    digits.bytes().try_fold(0_i64, |value, digit| {
        value
            .checked_mul(10)?
            .checked_add(i64::from(digit.checked_sub(b'0')?))
    })
}

/// The digits after a point as microseconds, exactly: one to six.
pub(super) fn exact_micros(digits: &str) -> Option<i64> {
    const POWERS: [i64; 6] = [100_000, 10_000, 1_000, 100, 10, 1];
    let power = POWERS.get(digits.len().checked_sub(1)?)?;
    Some(number(digits)? * power)
}

/// A fraction of a second, point included, as microseconds: by way of a double, and
/// half to even, since the server does so and `.0000005` shows it.
pub(super) fn rounded_micros(fraction: &str) -> Option<i64> {
    let fraction: f64 = fraction.parse().ok()?;
    Some((fraction * 1_000_000.0).round_ties_even() as i64)
}
