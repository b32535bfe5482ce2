//! Small pieces of HTML that many pages hold, and the words in them. Whatever they are made of
//! is ours or escaped here.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use crate::delivery::listing::{Delivery, Status};

/// Where it is another, a row of the delivery is to be shown again.
pub fn mark(delivery: &Delivery) -> String {
    format!("{} {}", delivery.status.as_str(), delivery.attempts)
}

/// HTML that needs no escaping.
#[derive(Clone, Debug, Default)]
pub struct Markup(String);

impl fmt::Display for Markup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl askama::filters::HtmlSafe for Markup {}

impl Markup {
    /// Of text that holds nothing foreign, or holds it escaped.
    pub(super) fn ours(text: String) -> Self {
        Markup(text)
    }
}

pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

/// A time as its distance from now, with the time itself for readers and for the pointer. The
/// script replaces the title by local time, and counts on.
pub fn time(at: Timestamp, now: Timestamp) -> Markup {
    Markup(format!(
        "<time datetime=\"{at:.3}\" title=\"{}\">{}</time>",
        exact(at),
        distance(at, now)
    ))
}

/// A time itself, to the millisecond.
pub fn exact_time(at: Timestamp) -> Markup {
    Markup(format!(
        "<time class=\"exact\" datetime=\"{at:.3}\">{}</time>",
        exact(at)
    ))
}

pub fn exact(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S%.3f UTC").to_string()
}

/// `3 min ago`, `in 4 min`.
pub fn distance(at: Timestamp, now: Timestamp) -> String {
    let milliseconds = at.as_millisecond() - now.as_millisecond();
    let length = Duration::from_millis(milliseconds.unsigned_abs());
    match milliseconds {
        ..0 if length.as_secs() < 1 => "just now".to_owned(),
        ..0 => format!("{} ago", rounded(length)),
        _ if length.as_secs() < 1 => "now".to_owned(),
        _ => format!("in {}", rounded(length)),
    }
}

/// One unit, rounded down: for what is long ago or far ahead.
pub fn rounded(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// `184 ms`, `2.1 s`, `4 min 10 s`: for what was measured.
pub fn measured(length: Duration) -> String {
    let milliseconds = length.as_millis();
    match milliseconds {
        0..1_000 => format!("{milliseconds} ms"),
        1_000..60_000 => format!("{:.1} s", length.as_secs_f64()),
        60_000..3_600_000 => {
            let seconds = length.as_secs();
            format!("{} min {} s", seconds / 60, seconds % 60)
        }
        _ => {
            let minutes = length.as_secs() / 60;
            match minutes / 60 {
                hours @ 0..48 => format!("{hours} h {} min", minutes % 60),
                hours => format!("{} days {} h", hours / 24, hours % 24),
            }
        }
    }
}

/// `1 204`.
pub fn count(number: impl TryInto<u64>) -> String {
    let number = number.try_into().unwrap_or(0);
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + 4);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// `1 delivery`, `1 204 deliveries`.
pub fn counted(number: u64, one: &str, many: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{} {many}", count(number)),
    }
}

/// The shape of a state, beside its word and its colour.
fn shape(status: Status) -> &'static str {
    match status {
        Status::Delivered => "✓",
        Status::Pending => "↻",
        Status::InFlight => "▶",
        Status::Failed => "✕",
        Status::Parked => "❚❚",
        Status::Cancelled => "–",
    }
}

pub fn word(status: Status) -> &'static str {
    match status {
        Status::InFlight => "in flight",
        Status::Delivered
        | Status::Pending
        | Status::Failed
        | Status::Parked
        | Status::Cancelled => status.as_str(),
    }
}

/// Every state, in the order in which they matter.
pub const STATES: [Status; 6] = [
    Status::Failed,
    Status::Pending,
    Status::InFlight,
    Status::Parked,
    Status::Delivered,
    Status::Cancelled,
];

pub fn state_named(name: &str) -> Option<Status> {
    STATES.into_iter().find(|status| status.as_str() == name)
}

/// Hidden fields of a form.
pub fn hidden(fields: &[(&str, &str)]) -> Markup {
    let field = |(name, value): &(&str, &str)| {
        let value = escape(value);
        format!("<input type=\"hidden\" name=\"{name}\" value=\"{value}\">")
    };
    Markup(fields.iter().map(field).collect())
}

/// A state as colour, shape and word.
pub fn state(status: Status) -> Markup {
    badge(status.as_str(), shape(status), word(status))
}

pub fn badge(class: &str, shape: &str, word: &str) -> Markup {
    Markup(format!(
        "<span class=\"state s-{class}\"><i aria-hidden=\"true\">{shape}</i>{}</span>",
        escape(word)
    ))
}

/// What a delivery was answered last, in few words.
pub fn last_answer(delivery: &Delivery) -> String {
    match (delivery.last_http_status, &delivery.last_error) {
        (Some(status), _) => named_status(status),
        (None, Some(error)) => {
            // The class, as attempts have it.
            let class = error.split(':').next().unwrap_or(error);
            class.replace('_', " ")
        }
        (None, None) => "–".to_owned(),
    }
}

/// `500 Internal Server Error`.
pub fn named_status(status: i16) -> String {
    let code = u16::try_from(status).ok();
    let code = code.and_then(|code| axum::http::StatusCode::from_u16(code).ok());
    match code.and_then(|code| code.canonical_reason()) {
        Some(reason) => format!("{status} {reason}"),
        None => status.to_string(),
    }
}

/// `404.5 KiB`.
pub fn size(bytes: usize) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        _ => format!("{:.1} KiB", bytes as f64 / 1024.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_the_unit_that_tells_most() {
        let of = |milliseconds| measured(Duration::from_millis(milliseconds));
        assert_eq!(of(184), "184 ms");
        assert_eq!(of(2_140), "2.1 s");
        assert_eq!(of(250_000), "4 min 10 s");
        assert_eq!(of(3 * 3_600_000 + 60_000), "3 h 1 min");
        assert_eq!(of(3 * 86_400_000), "3 days 0 h");
        assert_eq!(rounded(Duration::from_secs(200_000)), "2 days");
    }

    #[test]
    fn distances_look_both_ways() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let at = |second| distance(Timestamp::from_second(second).unwrap(), now);
        assert_eq!(at(999_800), "3 min ago");
        assert_eq!(at(1_000_240), "in 4 min");
        assert_eq!(at(1_000_000), "now");
    }

    #[test]
    fn numbers_are_grouped_and_counted() {
        assert_eq!(count(1_204_u64), "1\u{202f}204");
        assert_eq!(count(12_u64), "12");
        assert_eq!(counted(1, "delivery", "deliveries"), "1 delivery");
        assert_eq!(counted(2, "delivery", "deliveries"), "2 deliveries");
    }

    #[test]
    fn what_is_foreign_is_escaped() {
        let html = badge("x", "?", "<script>'\"&").to_string();
        assert!(html.contains("&lt;script&gt;&#39;&quot;&amp;"), "{html}");
    }
}
