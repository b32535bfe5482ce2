//! Attempts as callers see them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::trail::AuditPrincipal;
use crate::delivery::attempt_log;

#[derive(Serialize, ToSchema)]
pub struct Attempt {
    /// 1 for the first.
    number: i32,
    /// What brought it about: `schedule` (the event itself, or the retry schedule), `retry` (of
    /// this delivery by hand), `retry_many` (of all that match), `replay`, `probe` (the endpoint's
    /// circuit breaker was open, and admitted one attempt) or `test`.
    #[schema(examples("schedule"))]
    trigger: &'static str,
    /// Who asked for it, where someone did.
    actor: Option<AuditPrincipal>,
    started_at: Timestamp,
    duration_ms: i32,
    /// The version of the subscription's settings that it was made with: see
    /// `/subscriptions/{id}/history`.
    subscription_version: Option<i32>,
    /// Where it was sent: the URL of that version.
    url: Option<String>,
    http_status: Option<i16>,
    /// Null on success; else what kind of failure it was, such as `timeout` or `http_status`.
    error_class: Option<String>,
    error: Option<String>,
    /// The beginning of what the receiver answered, as one line of printable text.
    response_excerpt: Option<String>,
    content_type: Option<String>,
    /// Of a failure: those of the answer's headers that help to find its cause, at most 2 KiB.
    #[schema(value_type = Option<Object>)]
    response_headers: Option<Value>,
    /// Of a failure: the answer's body as it came, at most 16 KiB.
    response_body: Option<String>,
    /// How `response_body` is written: `utf8`, or `base64` where it is no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    response_body_encoding: Option<&'static str>,
    /// There was more of the body, or it broke off; null: no answer was kept.
    response_truncated: Option<bool>,
}

impl From<attempt_log::Attempt> for Attempt {
    fn from(attempt: attempt_log::Attempt) -> Self {
        let truncated = attempt.response_truncated == Some(true);
        let body = attempt.response_body.map(|body| readable(body, truncated));
        let (response_body, response_body_encoding) = body.unzip();
        Attempt {
            number: attempt.number,
            trigger: attempt.trigger.as_str(),
            actor: attempt.actor.map(AuditPrincipal::from),
            started_at: attempt.started_at,
            duration_ms: attempt.duration_ms,
            subscription_version: attempt.subscription_version,
            url: attempt.url,
            http_status: attempt.http_status,
            error_class: attempt.error_class,
            error: attempt.error,
            response_excerpt: attempt.response_excerpt,
            content_type: attempt.content_type,
            response_headers: attempt.response_headers,
            response_body,
            response_body_encoding,
            response_truncated: attempt.response_truncated,
        }
    }
}

/// A body as JSON can hold it, and how that is written. Where it was cut within a character,
/// the character's beginning is left out.
fn readable(body: Vec<u8>, truncated: bool) -> (String, &'static str) {
    match String::from_utf8(body) {
        Ok(text) => (text, "utf8"),
        Err(error) => {
            let cut = error.utf8_error();
            let ends_within = truncated && cut.error_len().is_none();
            let mut bytes = error.into_bytes();
            if !ends_within {
                return (STANDARD.encode(bytes), "base64");
            }
            bytes.truncate(cut.valid_up_to());
            (String::from_utf8_lossy(&bytes).into_owned(), "utf8")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_is_text_where_it_is_utf8_and_base64_otherwise() {
        let read = |body: &[u8], truncated| readable(body.to_vec(), truncated);
        assert_eq!(
            read("{\n\"é\"}".as_bytes(), false),
            ("{\n\"é\"}".into(), "utf8")
        );
        assert_eq!(read(b"\xff\x00", false), ("/wA=".into(), "base64"));
        assert_eq!(read(b"ab\xc3", true), ("ab".into(), "utf8"));
        assert_eq!(read(b"ab\xc3", false), ("YWLD".into(), "base64"));
    }
}
