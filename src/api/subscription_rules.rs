//! What a subscription's fields may be. Each refusal is a 400 that names the remedy.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};

use super::State;
use super::error::Problem;
use crate::delivery::client::{check_headers, check_url};
use crate::secret::SigningSecret;
use crate::subscription::directory::type_matches;
use crate::subscription::{Format, Ordering};

/// Characters: a line or two for people.
const MAX_DESCRIPTION: usize = 1024;
/// Bytes: tenants write filters, and each is evaluated for each of their events.
const MAX_FILTER: usize = 1024;
/// Types and patterns of one subscription; whoever wants more wants `*`.
const MAX_EVENTS: usize = 100;

pub fn url(state: &State, url: &str) -> Result<String, Problem> {
    match check_url(url, &state.security) {
        // As it was understood: the text may hold what a URL parser leaves out.
        Ok(url) => Ok(url.to_string()),
        Err(error) => Err(Problem::invalid("invalid_url", error.to_string())),
    }
}

/// `event` or `events`; `None` where neither is given.
pub fn events(
    state: &State,
    event: Option<String>,
    events: Option<Vec<String>>,
) -> Result<Option<Vec<String>>, Problem> {
    let invalid = |detail: String| Err(Problem::invalid("invalid_events", detail));
    let mut patterns = match (event, events) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return invalid("give `event` or `events`, not both".to_owned());
        }
        (Some(event), None) => vec![event],
        (None, Some(events)) => events,
    };
    let mut seen = std::collections::HashSet::new();
    patterns.retain(|pattern| seen.insert(pattern.clone()));
    if !(1..=MAX_EVENTS).contains(&patterns.len()) {
        return invalid(format!(
            "there are {} event types: use 1 to {MAX_EVENTS}, `prefix.*` or `*`",
            patterns.len()
        ));
    }
    for pattern in &patterns {
        check_type(&state.event_types.names(), pattern)?;
    }
    Ok(Some(patterns))
}

/// A pattern that no known type matches would be silent for ever.
pub fn check_type(known: &[String], pattern: &str) -> Result<(), Problem> {
    let invalid = |detail| Err(Problem::invalid("invalid_events", detail));
    let named = pattern.strip_suffix(".*").unwrap_or(pattern);
    let segment = |text: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        !text.is_empty() && text.chars().all(plain)
    };
    if pattern != "*" && (pattern.len() > 200 || !named.split('.').all(segment)) {
        let shown: String = pattern.escape_debug().take(60).collect();
        return invalid(format!(
            "`{shown}` is not an event type: expected one like `payment.received`, `payment.*` or `*`"
        ));
    }
    if known.is_empty() || known.iter().any(|known| type_matches(pattern, known)) {
        return Ok(());
    }
    let hint = match nearest(pattern, named, known) {
        Some(nearest) => format!("did you mean `{nearest}`? "),
        None => String::new(),
    };
    invalid(format!(
        "no event has the type `{pattern}`: {hint}GET /event-types lists all"
    ))
}

/// A type, or for a pattern one that matches some; nothing where all are far.
fn nearest(pattern: &str, named: &str, known: &[String]) -> Option<String> {
    let beginnings = |known: &String| -> Vec<String> {
        let dots = known.match_indices('.');
        dots.map(|(at, _)| format!("{}.*", &known[..at])).collect()
    };
    let candidates: Vec<String> = match pattern.ends_with(".*") {
        true => known.iter().flat_map(beginnings).collect(),
        false => known.to_vec(),
    };
    let distance = |candidate: &String| strsim::damerau_levenshtein(pattern, candidate);
    let nearest = candidates.into_iter().min_by_key(distance)?;
    (distance(&nearest) <= 2.max(named.len() / 3)).then_some(nearest)
}

pub fn description(description: Option<String>) -> Result<Option<String>, Problem> {
    match &description {
        Some(text) if text.chars().count() > MAX_DESCRIPTION => Err(Problem::invalid(
            "invalid_description",
            format!("the description is longer than {MAX_DESCRIPTION} characters"),
        )),
        _ => Ok(description),
    }
}

/// For the events that the subscription asks for.
pub fn filter(state: &State, filter: Option<&str>, events: &[String]) -> Result<(), Problem> {
    let Some(source) = filter else {
        return Ok(());
    };
    let invalid = |detail| Problem::invalid("invalid_filter", detail);
    // Before the parser sees it, whose stack a long one could overflow.
    if source.len() > MAX_FILTER {
        return Err(invalid(format!(
            "the filter has {} bytes: use at most {MAX_FILTER}",
            source.len()
        )));
    }
    let data = state.event_types.data_of(events);
    (state.check_filter)(source, data.as_deref()).map_err(invalid)
}

pub fn headers(headers: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Problem> {
    match check_headers(&headers) {
        Ok(()) => Ok(headers),
        Err(error) => Err(Problem::invalid("invalid_headers", error.to_string())),
    }
}

/// Reads the secret, or makes one.
pub fn secret(secret: Option<&SecretString>) -> Result<SigningSecret, Problem> {
    match secret {
        None => Ok(SigningSecret::generate()),
        Some(text) => SigningSecret::parse(text.expose_secret())
            .map_err(|error| Problem::invalid("invalid_secret", error.to_string())),
    }
}

pub fn format(format: Option<&str>) -> Result<Option<Format>, Problem> {
    let Some(name) = format else {
        return Ok(None);
    };
    Format::parse(name).map(Some).ok_or_else(|| {
        Problem::invalid("invalid_format", "`format` is `standard` or `cloudevents`")
    })
}

/// What is more is no limit: an endpoint gets `delivery.endpoint_concurrency` at a time.
const RATE_LIMITS: std::ops::RangeInclusive<i64> = 1..=10_000;

/// Deliveries in a second; `None` where there is no limit.
pub fn rate_limit(per_second: Option<&serde_json::Value>) -> Result<Option<i32>, Problem> {
    let number = match per_second {
        None | Some(serde_json::Value::Null) => return Ok(None),
        Some(value) => value.as_i64().filter(|number| RATE_LIMITS.contains(number)),
    };
    let number = number.and_then(|number| i32::try_from(number).ok());
    number.map(Some).ok_or_else(|| {
        let (least, most) = (RATE_LIMITS.start(), RATE_LIMITS.end());
        let detail = format!(
            "`rate_limit` is deliveries per second: use a whole number from {least} to {most}, or null for no limit"
        );
        Problem::invalid("invalid_rate_limit", detail)
    })
}

pub fn ordering(ordering: Option<&str>) -> Result<Option<Ordering>, Problem> {
    let Some(name) = ordering else {
        return Ok(None);
    };
    let refused = || Problem::invalid("invalid_ordering", "`ordering` is `none` or `row`");
    Ordering::parse(name).map(Some).ok_or_else(refused)
}

/// Shows of a value its last four characters, and of a short one nothing: whatever the
/// header's name, it may be a credential.
pub fn mask(mut headers: BTreeMap<String, String>) -> BTreeMap<String, String> {
    for value in headers.values_mut() {
        let shown = if value.len() >= 16 {
            value.len() - 4
        } else {
            value.len()
        };
        *value = format!("…{}", value.get(shown..).unwrap_or_default());
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_no_rule_makes_has_a_suggestion_only_where_one_is_near() {
        let known = ["order.created", "payment.received", "stock.low"].map(str::to_owned);
        for (pattern, expected) in [
            ("order.craeted", Some("order.created")),
            ("ordr.*", Some("order.*")),
            ("payments.*", Some("payment.*")),
            ("low.stock", None),
            ("invoice.*", None),
        ] {
            let named = pattern.strip_suffix(".*").unwrap_or(pattern);
            let found = nearest(pattern, named, &known);
            assert_eq!(found.as_deref(), expected, "{pattern}");
        }
    }

    #[test]
    fn a_type_that_nothing_can_match_is_refused() {
        let known = ["payment.received".to_owned(), "customer.created".to_owned()];
        for pattern in ["*", "payment.*", "payment.received", "customer.created"] {
            assert!(check_type(&known, pattern).is_ok(), "{pattern}");
            assert!(check_type(&[], pattern).is_ok(), "{pattern}");
        }
        for pattern in [
            "",
            ".",
            "a..b",
            "pay*",
            "*.received",
            "a b",
            "é",
            "payment.",
            "\0",
        ] {
            assert!(check_type(&[], pattern).is_err(), "{pattern}");
        }
        let problem = check_type(&known, "payment.recieved").unwrap_err();
        assert!(format!("{problem:?}").contains("did you mean `payment.received`"));
        assert!(check_type(&known, "lead.*").is_err());
    }

    #[test]
    fn values_of_headers_are_masked_whatever_their_names() {
        let headers = [
            ("Authorization", "Bearer 0123456789abcdef"),
            ("x-api-key", "short"),
            ("x-region", "eu"),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let masked = mask(BTreeMap::from(headers));
        assert_eq!(masked["Authorization"], "…cdef");
        assert_eq!(masked["x-api-key"], "…");
        assert_eq!(masked["x-region"], "…");
    }
}
