//! Numerics compared by their text, as the server writes it.

use std::cmp::Ordering;

/// Compares two output texts of numeric by value, without allocation; `None` if one is not
/// such a text.
pub fn compare_texts(left: &str, right: &str) -> Option<Ordering> {
    Some(compare(&Parts::of(left)?, &Parts::of(right)?))
}

/// In the server's order.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    NegativeInfinity,
    Negative,
    Zero,
    Positive,
    Infinity,
    NaN,
}

struct Parts<'a> {
    class: Class,
    /// Without zeros at the start.
    whole: &'a [u8],
    /// Without zeros at the end.
    fraction: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Option<Parts<'a>> {
        let special = match text {
            "NaN" => Some(Class::NaN),
            "Infinity" => Some(Class::Infinity),
            "-Infinity" => Some(Class::NegativeInfinity),
            _ => None,
        };
        if let Some(class) = special {
            return Some(Parts {
                class,
                whole: &[],
                fraction: &[],
            });
        }
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(unsigned) => (true, unsigned),
            None => (false, text),
        };
        let digits =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let (whole, fraction) = match unsigned.split_once('.') {
            Some((whole, fraction)) if digits(whole) && digits(fraction) => (whole, fraction),
            None if digits(unsigned) => (unsigned, ""),
            _ => return None,
        };
        let whole = whole.trim_start_matches('0').as_bytes();
        let fraction = fraction.trim_end_matches('0').as_bytes();
        let class = match (whole.is_empty() && fraction.is_empty(), negative) {
            (true, _) => Class::Zero,
            (false, true) => Class::Negative,
            (false, false) => Class::Positive,
        };
        Some(Parts {
            class,
            whole,
            fraction,
        })
    }
}

fn compare(left: &Parts<'_>, right: &Parts<'_>) -> Ordering {
    left.class.cmp(&right.class).then_with(|| {
        let magnitude = left
            .whole
            .len()
            .cmp(&right.whole.len())
            .then_with(|| left.whole.cmp(right.whole))
            .then_with(|| left.fraction.cmp(right.fraction));
        match left.class {
            Class::Negative => magnitude.reverse(),
            _ => magnitude,
        }
    })
}
