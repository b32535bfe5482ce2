//! The search box: terms such as `status:failed type:payment.*`, or an id, which leads to its page.

use axum::response::Response;

use super::fault::Fault;
use super::fields::Asked;
use super::markup::state_named;
use super::shell::see_other;
use super::wanted::{TIMES, Wanted};
use crate::api::deliveries::{error_class, http_statuses};
use crate::event::{DeliveryId, EventId, SubscriptionId};

/// Leads to what was typed.
pub async fn show(Asked(fields): Asked) -> Result<Response, Fault> {
    let text = fields.get("q").unwrap_or_default();
    Ok(see_other(&target(text)?))
}

fn target(text: &str) -> Result<String, Fault> {
    if text.parse::<DeliveryId>().is_ok() {
        return Ok(format!("/console/deliveries/{text}"));
    }
    if text.parse::<EventId>().is_ok() {
        return Ok(format!("/console/events/{text}"));
    }
    if text.parse::<SubscriptionId>().is_ok() {
        return Ok(format!("/console/endpoints/{text}"));
    }
    if let Some(key) = row_key(text) {
        let wanted = Wanted {
            row: Some(key.to_owned()),
            ..Wanted::default()
        };
        return Ok(wanted.path());
    }
    Ok(terms(text)?.path())
}

/// A word without a colon is no term, and an id was asked for before: it is the key of a row.
/// So is what has its table before it, as in `public.orders:4711`, and a key of several columns.
fn row_key(text: &str) -> Option<&str> {
    let text = text.trim();
    let is_term = text
        .split_once(':')
        .is_some_and(|(name, _)| TERMS.contains(&name));
    let is_word = !text.contains(char::is_whitespace) || text.starts_with('[');
    (!text.is_empty() && !is_term && is_word).then_some(text)
}

const TERMS: [&str; 8] = [
    "status", "type", "endpoint", "http", "error", "row", "after", "before",
];

/// Reads terms. What is none of ours is refused with what there is.
fn terms(text: &str) -> Result<Wanted, Fault> {
    let mut wanted = Wanted::default();
    let refused = |term: &str, expected: &str| {
        let term: String = term.chars().take(60).collect();
        Fault::invalid(
            "unknown_term",
            format!("`{term}` is not a term: {expected}"),
        )
        .with_next("/console/deliveries", "All deliveries")
    };
    for term in text.split_whitespace() {
        let (name, value) = term.split_once(':').unwrap_or(("", term));
        match name {
            "status" if state_named(value).is_some() => wanted.status = Some(value.to_owned()),
            "status" => {
                return Err(refused(
                    term,
                    "status is failed, pending, in_flight, parked, delivered or cancelled.",
                ));
            }
            "type" => wanted.event_type = Some(value.to_owned()),
            "endpoint" if value.parse::<SubscriptionId>().is_ok() => {
                wanted.endpoint = Some(value.to_owned());
            }
            "endpoint" => return Err(refused(term, "endpoint takes the id of one, as in sub_….")),
            "http" if http_statuses(value).is_ok() => wanted.http = Some(value.to_owned()),
            "http" => return Err(refused(term, "http takes a status such as 404, or 5xx.")),
            "error" => match error_class(value) {
                Ok(_) => wanted.error = Some(value.to_owned()),
                Err(problem) => return Err(problem.into()),
            },
            "row" => wanted.row = Some(value.to_owned()),
            "after" if TIMES.iter().any(|(name, _)| *name == value) => {
                wanted.within = Some(value.to_owned());
            }
            "after" => match value.parse::<jiff::Timestamp>() {
                Ok(_) => wanted.since = Some(value.to_owned()),
                Err(_) => {
                    return Err(refused(
                        term,
                        "after takes 1h, 24h, 7d, 30d or a time such as 2026-11-29T10:00Z.",
                    ));
                }
            },
            "before" => match value.parse::<jiff::Timestamp>() {
                Ok(_) => wanted.until = Some(value.to_owned()),
                Err(_) => {
                    return Err(refused(
                        term,
                        "before takes a time such as 2026-11-29T10:00Z.",
                    ));
                }
            },
            _ => {
                return Err(refused(
                    term,
                    "there are status:failed, type:payment.*, endpoint:sub_…, http:5xx, error:timeout, \
                     row:4711, after:24h, before:2026-11-29T10:00Z, ids such as evt_… and dlv_…, \
                     and the key of a row alone.",
                ));
            }
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_lead_to_their_pages_and_terms_to_a_list() {
        let id = "019aa8f1-7c00-7000-8000-000000000000";
        for (text, path) in [
            (format!("dlv_{id}"), format!("/console/deliveries/dlv_{id}")),
            (format!("evt_{id}"), format!("/console/events/evt_{id}")),
            (format!("sub_{id}"), format!("/console/endpoints/sub_{id}")),
            (String::new(), "/console/deliveries".to_owned()),
            (
                "status:failed type:payment.received".to_owned(),
                "/console/deliveries?status=failed&type=payment.received".to_owned(),
            ),
            (
                "http:5xx error:timeout row:4711".to_owned(),
                "/console/deliveries?http=5xx&error=timeout&row=4711".to_owned(),
            ),
            (
                " 4711 ".to_owned(),
                "/console/deliveries?row=4711".to_owned(),
            ),
            (
                "public.orders:4711".to_owned(),
                "/console/deliveries?row=public.orders%3A4711".to_owned(),
            ),
            (
                "after:24h".to_owned(),
                "/console/deliveries?within=24h".to_owned(),
            ),
        ] {
            assert_eq!(target(&text).unwrap(), path, "{text}");
        }
        for text in [
            "hello world",
            "status:broken",
            "endpoint:x",
            "after:soon",
            "before:x",
        ] {
            assert!(target(text).is_err(), "{text}");
        }
    }
}
