//! The search box: terms such as `status:failed type:payment.*`, or an id, which leads to its page.

use axum::response::Response;

use super::fault::Fault;
use super::fields::Asked;
use super::markup::state_named;
use super::shell::see_other;
use super::wanted::{TIMES, Wanted};
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
    Ok(terms(text)?.path())
}

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
                    "there are status:failed, type:payment.received, endpoint:sub_…, after:24h, \
                     before:2026-11-29T10:00Z, and ids such as evt_… and dlv_….",
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
                "after:24h".to_owned(),
                "/console/deliveries?within=24h".to_owned(),
            ),
        ] {
            assert_eq!(target(&text).unwrap(), path, "{text}");
        }
        for text in [
            "hello",
            "status:broken",
            "endpoint:x",
            "after:soon",
            "before:x",
        ] {
            assert!(target(text).is_err(), "{text}");
        }
    }
}
