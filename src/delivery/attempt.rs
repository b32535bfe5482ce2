//! One attempt of a delivery: sign, send, and say what came of it.

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;

use super::client::{
    Answer, Client, ErrorClass, HeaderMap, HeaderName, HeaderValue, OutgoingRequest, SendError,
    check_headers,
};
use super::cloud_event::cloud_event;
use super::signature::sign;
use crate::subscription::{Active, Format, Subscription};

const USER_AGENT: &str = concat!("walhook/", env!("CARGO_PKG_VERSION"));

// Constants: a name made at every attempt is looked up and hashed at every attempt.
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const X_WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("x-webhook-signature");
const CONTENT_TYPE: HeaderName = HeaderName::from_static("content-type");
const SENDER: HeaderName = HeaderName::from_static("user-agent");

/// What came of an attempt.
#[derive(Clone, PartialEq, Eq)]
pub struct Outcome {
    pub began: Instant,
    pub duration: Duration,
    /// Of the answer, also where its body then failed.
    pub http_status: Option<u16>,
    /// None on success. The message may be shown to the tenant.
    pub error: Option<(ErrorClass, String)>,
    /// How long the endpoint asks to be left alone, at most 24 h.
    pub retry_after: Option<Duration>,
    /// The beginning of the answer's body, at most 1 KiB of printable text; none if
    /// there was no complete answer or nothing in it.
    pub excerpt: Option<String>,
    /// What is kept of the answer as it came.
    pub answer: Answer,
    /// The version of the subscription's settings that it was made with.
    pub subscription_version: i32,
}

impl Outcome {
    /// An answer of 2xx, and nothing else.
    pub fn is_success(&self) -> bool {
        self.error.is_none()
    }

    /// The class of the error and what was wrong; empty on success.
    pub fn reason(&self) -> String {
        let error = self.error.as_ref();
        error.map_or_else(String::new, |(class, message)| {
            format!("{}: {message}", class.as_str())
        })
    }

    /// As the store keeps it.
    pub fn duration_ms(&self) -> i32 {
        i32::try_from(self.duration.as_millis()).unwrap_or(i32::MAX)
    }

    pub fn ended(&self) -> Instant {
        self.began + self.duration
    }

    /// As the store keeps it.
    pub fn stored_status(&self) -> Option<i16> {
        self.http_status.and_then(|code| i16::try_from(code).ok())
    }
}

/// Without excerpt and answer: receivers echo what they were sent.
impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcome")
            .field("began", &self.began)
            .field("duration", &self.duration)
            .field("http_status", &self.http_status)
            .field("error", &self.error)
            .field("retry_after", &self.retry_after)
            .finish_non_exhaustive()
    }
}

/// What is sent, the same at every attempt.
pub struct Message<'a> {
    /// The event's id (`evt_…`), or the batch's.
    pub webhook_id: &'a str,
    pub event_type: &'a str,
    /// The delivery's, whatever the subscription's is by now; a batch comes in it already.
    pub format: Format,
    /// The event's stored bytes.
    pub body: &'a Bytes,
    pub is_batch: bool,
}

/// Sends a message to the subscription's endpoint once, under a fresh timestamp and
/// signature. Never takes much longer than the client's timeout; calls `on_slow` once it
/// has taken longer than a second.
pub async fn attempt(
    client: &Client,
    subscription: &Subscription,
    message: &Message<'_>,
    on_slow: impl FnOnce(),
) -> Outcome {
    let began = Instant::now();
    // The one time of ours that others compare with their clock: `status` warns of skew.
    let signed_at = Timestamp::now();
    let result = match request(subscription, message, signed_at) {
        Ok(request) => client.post(request, on_slow).await,
        Err(error) => Err(error),
    };
    let duration = began.elapsed();
    let outcome = match result {
        Ok(response) => Outcome {
            began,
            duration,
            http_status: Some(response.status),
            error: status_error(response.status),
            retry_after: response.retry_after,
            excerpt: Some(response.excerpt).filter(|text| !text.is_empty()),
            answer: response.answer,
            subscription_version: subscription.version,
        },
        Err(error) => Outcome {
            began,
            duration,
            http_status: error.status,
            error: Some((error.class, error.message)),
            retry_after: None,
            excerpt: None,
            answer: error.answer,
            subscription_version: subscription.version,
        },
    };
    tracing::trace!(
        event.id = message.webhook_id,
        event.r#type = message.event_type,
        subscription.id = %subscription.id,
        http.status = outcome.http_status,
        error = outcome.error.as_ref().map(|(class, _)| class.as_str()),
        duration_ms = duration.as_millis() as u64,
        "Attempted a delivery"
    );
    outcome
}

fn status_error(status: u16) -> Option<(ErrorClass, String)> {
    let message = match status {
        200..=299 => return None,
        300..=399 => format!("the endpoint answered {status}: redirects are not followed"),
        _ => format!("the endpoint answered {status}"),
    };
    Some((ErrorClass::HttpStatus, message))
}

fn request<'a>(
    subscription: &'a Subscription,
    message: &Message<'_>,
    at: Timestamp,
) -> Result<OutgoingRequest<'a>, SendError> {
    let Message {
        webhook_id,
        format,
        body,
        is_batch,
        ..
    } = *message;
    let refused = |message: &str| SendError::new(ErrorClass::Request, message);
    let (body, content_type) = match (format, is_batch) {
        (Format::Standard, _) => (body.clone(), "application/json"),
        (Format::CloudEvents, true) => (body.clone(), "application/cloudevents-batch+json"),
        (Format::CloudEvents, false) => {
            let body = cloud_event(body).map_err(|error| refused(&error.to_string()))?;
            (body, "application/cloudevents+json")
        }
    };
    let now = Instant::now();
    let secrets = Active::at(&subscription.secrets, now);
    let signing_keys = Active::at(&subscription.signing_keys, now);
    if secrets.is_empty() {
        return Err(refused(
            "the subscription has no valid signing secret: rotate its secret",
        ));
    }
    let timestamp = at.as_second();
    let signature = sign(webhook_id, timestamp, &body, &secrets, &signing_keys);

    let mut headers = custom_headers(subscription)?;
    // Ours come last and replace, so that no custom header can stand in for one.
    let mut set = |name: HeaderName, value: Result<HeaderValue, _>| {
        let value = value.map_err(|_| refused("the event's id cannot be sent as a header"))?;
        headers.insert(name, value);
        Ok::<_, SendError>(())
    };
    set(WEBHOOK_ID, HeaderValue::try_from(webhook_id))?;
    set(WEBHOOK_TIMESTAMP, Ok(HeaderValue::from(timestamp)))?;
    set(
        WEBHOOK_SIGNATURE,
        HeaderValue::try_from(signature.webhook_signature),
    )?;
    set(
        X_WEBHOOK_SIGNATURE,
        HeaderValue::try_from(signature.x_webhook_signature),
    )?;
    set(CONTENT_TYPE, Ok(HeaderValue::from_static(content_type)))?;
    set(SENDER, Ok(HeaderValue::from_static(USER_AGENT)))?;
    Ok(OutgoingRequest {
        url: &subscription.url,
        headers,
        body,
    })
}

/// Checked again: a row may have been written past the API.
fn custom_headers(subscription: &Subscription) -> Result<HeaderMap, SendError> {
    check_headers(&subscription.headers)?;
    // Ours and the client's: a map that grows enters each of them again.
    let mut headers = HeaderMap::with_capacity(subscription.headers.len() + 9);
    for (name, value) in &subscription.headers {
        let parsed = (HeaderName::try_from(name), HeaderValue::try_from(value));
        if let (Ok(name), Ok(mut value)) = parsed {
            // Often a credential: HTTP/2 then never puts it into its table.
            value.set_sensitive(true);
            headers.insert(name, value);
        }
    }
    Ok(headers)
}

#[cfg(test)]
mod tests;
