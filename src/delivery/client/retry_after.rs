//! `Retry-After` (RFC 9110 §10.2.3): seconds, or a date in any form of §5.6.7.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

/// An endpoint may not put itself off for longer.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the answer's endpoint asks to be left alone. A date is one of its own clock, and
/// so is compared with its `Date` (RFC 9110 §6.6.1), not with our clock; with ours where it
/// sends none.
pub(super) fn of(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok();
    let sent_at = text(DATE).and_then(|date| http_date(date.trim()));
    parse(text(RETRY_AFTER)?, sent_at.unwrap_or_else(Timestamp::now))
}

/// How long to wait from `now`: zero for a date that has passed, none if the value
/// is neither form.
fn parse(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number holds are a long time too.
        let seconds = value.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(LONGEST));
    }
    let wait = http_date(value)?.duration_since(now);
    Some(Duration::try_from(wait).unwrap_or_default().min(LONGEST))
}

fn http_date(value: &str) -> Option<Timestamp> {
    if let Ok(at) = DateTimeParser::new().parse_timestamp(value) {
        return Some(at);
    }
    // Obsolete forms, which a recipient must still read: RFC 850 and asctime, in UTC.
    ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"]
        .iter()
        .find_map(|form| BrokenDownTime::parse(form, value).ok()?.to_datetime().ok())
        .and_then(|date| date.to_zoned(TimeZone::UTC).ok())
        .map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    #[test]
    fn a_date_counts_from_the_date_of_the_answer() {
        let answer = |pairs: &[(_, &'static str)]| {
            let pairs = pairs.iter().cloned();
            of(&pairs
                .map(|(name, text)| (name, HeaderValue::from_static(text)))
                .collect())
        };
        let retry_after = (RETRY_AFTER, "Sun, 06 Nov 1994 08:49:37 GMT");
        let date = (DATE, "Sun, 06 Nov 1994 08:49:07 GMT");
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(answer(&[retry_after.clone(), date]), seconds(30));
        assert_eq!(answer(&[retry_after.clone(), (DATE, "soon")]), seconds(0));
        assert_eq!(answer(&[retry_after]), seconds(0));
        assert_eq!(answer(&[]), None);
    }

    #[test]
    fn every_form_is_read_and_clamped() {
        // 30 s before the example of RFC 9110.
        let now: Timestamp = "1994-11-06T08:49:07Z".parse().unwrap();
        for (value, seconds) in [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("86401", Some(86_400)),
            ("99999999999999999999999", Some(86_400)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(30)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(30)),
            ("Sun Nov  6 08:49:37 1994", Some(30)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("Fri, 06 Nov 2094 08:49:37 GMT", None),
            ("Sat, 06 Nov 2094 08:49:37 GMT", Some(86_400)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("+5", None),
            ("soon", None),
            ("1 hour", None),
        ] {
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(parse(value, now), expected, "{value}");
        }
    }
}
