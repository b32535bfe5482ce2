//! A local HTTP receiver that verifies every signature: what `walhook listen` and
//! the demo deliver to. Can answer with errors and late, so that retries show.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
pub use axum::http::StatusCode;
use axum::http::{HeaderMap, Method, Request};
use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::delivery::batch::BATCH_TYPE;
use crate::delivery::verification::{SignedHeaders, VerificationError, verify};
use crate::secret::{PublicKey, SigningSecret};

/// The running receiver. [`Receiver::stop`] ends it.
pub struct Receiver {
    address: SocketAddr,
    shutdown: CancellationToken,
    server: JoinHandle<std::io::Result<()>>,
}

/// A place that receives webhooks, and how it behaves.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The path that it serves; `None` serves every path.
    pub path: Option<String>,
    /// Verify with any of these …
    pub secrets: Vec<SigningSecret>,
    /// … or of these; both empty: do not verify.
    pub public_keys: Vec<PublicKey>,
    /// The answer to a request that verified or was not to be verified.
    pub status: StatusCode,
    /// The share of attempts, in percent, that are answered 503 instead. A webhook is
    /// refused so twice at most, so that it arrives within any retry schedule.
    pub failing: u8,
    /// How long it takes to answer.
    pub delay: Duration,
}

/// One request, as it was received and answered.
#[derive(Clone, Debug)]
pub struct Received {
    pub at: Timestamp,
    pub path: String,
    /// As sent, which may hold anything: escape before printing. So may the next two.
    pub webhook_id: Option<String>,
    pub event_type: Option<String>,
    pub tenant_id: Option<String>,
    /// How many are in it, where it is a batch.
    pub events: Option<usize>,
    pub verdict: Verdict,
    /// From the event's timestamp, the commit, to the last byte of the request. Zero
    /// where the clocks of two machines disagree.
    pub latency: Option<Duration>,
    /// The how manieth request with this id since it last succeeded, from 1.
    pub attempt: u32,
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Verified,
    Refused(VerificationError),
    /// The endpoint has neither a secret nor a key.
    NotChecked,
}

/// A body may be four times what walhook sends by default (256 KiB).
const MAX_BODY: usize = 1024 * 1024;

/// Webhooks under retry that an endpoint remembers: enough for a demo; beyond it the
/// count of attempts begins again.
const MAX_REMEMBERED: usize = 10_000;

/// A receiver that is stopped waits this long for requests that it is answering.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

impl Receiver {
    /// Serves `endpoints` on `listener` and tells of every request through `received`,
    /// which holds requests back while it is full.
    pub fn start(
        listener: TcpListener,
        endpoints: Vec<Endpoint>,
        received: mpsc::Sender<Received>,
    ) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let served = endpoints
            .into_iter()
            .map(|endpoint| Served {
                endpoint,
                attempts: Mutex::default(),
            })
            .collect();
        let state = Arc::new(Shared { served, received });
        let router = Router::new().fallback(receive).with_state(state);
        let shutdown = CancellationToken::new();
        let stopped = shutdown.clone().cancelled_owned();
        let server = axum::serve(listener, router).with_graceful_shutdown(stopped);
        let server = tokio::spawn(server.into_future());
        Ok(Receiver {
            address,
            shutdown,
            server,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers what is being received, and ends.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        if tokio::time::timeout(STOP_TIMEOUT, &mut self.server)
            .await
            .is_err()
        {
            self.server.abort();
        }
    }
}

struct Shared {
    served: Vec<Served>,
    received: mpsc::Sender<Received>,
}

struct Served {
    endpoint: Endpoint,
    /// Attempts so far of each webhook that has not succeeded.
    attempts: Mutex<HashMap<String, u32>>,
}

/// What a standard body and a CloudEvent say of themselves, and a batch of either.
#[derive(Default)]
struct Envelope {
    event_type: Option<String>,
    tenant_id: Option<String>,
    timestamp: Option<Timestamp>,
    events: Option<usize>,
}

impl Envelope {
    /// A body that is no event is received and shown all the same.
    fn of(body: &[u8]) -> Self {
        if let Ok(batch) = serde_json::from_slice::<Vec<OneEvent>>(body) {
            let events = Some(batch.len());
            let first = batch.into_iter().next().unwrap_or_default();
            return Envelope {
                event_type: Some(BATCH_TYPE.to_owned()),
                tenant_id: first.tenant_id,
                timestamp: first.timestamp,
                events,
            };
        }
        let one: OneEvent = serde_json::from_slice(body).unwrap_or_default();
        let is_batch = one.event_type.as_deref() == Some(BATCH_TYPE);
        let data = is_batch.then(|| serde_json::from_slice::<Members>(body).ok());
        Envelope {
            event_type: one.event_type,
            tenant_id: one.tenant_id,
            timestamp: one.timestamp,
            events: data.flatten().map(|members| members.data.len()),
        }
    }
}

#[derive(Deserialize)]
struct Members {
    data: Vec<IgnoredAny>,
}

#[derive(Default, Deserialize)]
struct OneEvent {
    #[serde(rename = "type")]
    event_type: Option<String>,
    #[serde(alias = "tenantid")]
    tenant_id: Option<String>,
    #[serde(alias = "time")]
    timestamp: Option<Timestamp>,
}

async fn receive(
    State(shared): State<Arc<Shared>>,
    request: Request<Body>,
) -> (StatusCode, &'static str) {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let serves = |served: &&Served| {
        served
            .endpoint
            .path
            .as_deref()
            .is_none_or(|own| own == path)
    };
    let Some(served) = shared.served.iter().find(serves) else {
        return (StatusCode::NOT_FOUND, "no endpoint has this path\n");
    };
    if head.method != Method::POST {
        return (StatusCode::METHOD_NOT_ALLOWED, "webhooks are POSTed here\n");
    }
    let Ok(body) = to_bytes(body, MAX_BODY).await else {
        return (StatusCode::PAYLOAD_TOO_LARGE, "the body exceeds 1 MiB\n");
    };

    let at = Timestamp::now();
    let verdict = served.verify(&head.headers, &body, at);
    let webhook_id = text(&head.headers, "webhook-id").map(str::to_owned);
    let (attempt, status) = served.answer(webhook_id.as_deref(), &verdict);
    let envelope = Envelope::of(&body);
    let latency = envelope
        .timestamp
        .map(|sent| Duration::try_from(at.duration_since(sent)).unwrap_or_default());
    let received = Received {
        at,
        path: path.to_owned(),
        webhook_id,
        event_type: envelope.event_type,
        tenant_id: envelope.tenant_id,
        events: envelope.events,
        verdict,
        latency,
        attempt,
        status,
        headers: head.headers,
        body,
    };
    if !served.endpoint.delay.is_zero() {
        tokio::time::sleep(served.endpoint.delay).await;
    }
    // Whoever listened has gone while we are being stopped: the sender still gets its answer.
    drop(shared.received.send(received).await);
    (status, "")
}

impl Served {
    fn verify(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Verdict {
        let Endpoint {
            secrets,
            public_keys,
            ..
        } = &self.endpoint;
        if secrets.is_empty() && public_keys.is_empty() {
            return Verdict::NotChecked;
        }
        let signed = SignedHeaders {
            webhook_id: text(headers, "webhook-id"),
            webhook_timestamp: text(headers, "webhook-timestamp"),
            webhook_signature: text(headers, "webhook-signature"),
        };
        match verify(signed, body, secrets, public_keys, now) {
            Ok(()) => Verdict::Verified,
            Err(error) => Verdict::Refused(error),
        }
    }

    /// Counts the attempt and decides its answer.
    fn answer(&self, webhook_id: Option<&str>, verdict: &Verdict) -> (u32, StatusCode) {
        if matches!(verdict, Verdict::Refused(_)) {
            return (1, StatusCode::UNAUTHORIZED);
        }
        let id = webhook_id.unwrap_or_default();
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let attempt = attempts.remove(id).unwrap_or(0) + 1;
        let status = if attempt <= 2 && falls_in(self.endpoint.failing, (id, attempt)) {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            self.endpoint.status
        };
        if !status.is_success() && !id.is_empty() {
            if attempts.len() >= MAX_REMEMBERED {
                attempts.clear();
            }
            attempts.insert(id.to_owned(), attempt);
        }
        (attempt, status)
    }
}

/// Whether `subject` is among the `percent` that are chosen by its hash.
fn falls_in(percent: u8, subject: impl Hash) -> bool {
    let mut hasher = DefaultHasher::new();
    subject.hash(&mut hasher);
    hasher.finish() % 100 < u64::from(percent)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(failing: u8, status: StatusCode) -> Served {
        Served {
            endpoint: Endpoint {
                path: None,
                secrets: Vec::new(),
                public_keys: Vec::new(),
                status,
                failing,
                delay: Duration::ZERO,
            },
            attempts: Mutex::default(),
        }
    }

    #[test]
    fn a_flaky_endpoint_refuses_a_webhook_twice_at_most() {
        let served = served(100, StatusCode::OK);
        let answers: Vec<_> = (0..4)
            .map(|_| served.answer(Some("evt_1"), &Verdict::Verified))
            .collect();
        let failing = StatusCode::SERVICE_UNAVAILABLE;
        let ok = StatusCode::OK;
        assert_eq!(answers, [(1, failing), (2, failing), (3, ok), (1, failing)]);
        served.answer(Some("evt_1"), &Verdict::Verified);
        served.answer(Some("evt_1"), &Verdict::Verified);
        assert!(served.attempts.lock().unwrap().is_empty());
    }

    #[test]
    fn a_share_is_a_share() {
        let failures = (0..10_000).filter(|n| falls_in(25, n)).count();
        assert!((2_000..3_000).contains(&failures), "{failures}");
        assert!(!(0..1_000).any(|n| falls_in(0, n)));
    }

    #[test]
    fn an_unverified_request_is_unauthorized_whatever_else_is_configured() {
        let served = served(0, StatusCode::OK);
        let verdict = Verdict::Refused(VerificationError::NoMatch);
        let answer = served.answer(Some("evt_1"), &verdict);
        assert_eq!(answer, (1, StatusCode::UNAUTHORIZED));
    }

    #[test]
    fn both_formats_say_what_they_are() {
        for body in [
            r#"{"id":"evt_1","type":"a.b","timestamp":"2026-11-23T12:00:00.123456Z","tenant_id":"acme","data":{}}"#,
            r#"{"specversion":"1.0","type":"a.b","time":"2026-11-23T12:00:00.123456Z","tenantid":"acme","data":{}}"#,
        ] {
            let envelope = Envelope::of(body.as_bytes());
            assert_eq!(envelope.event_type.as_deref(), Some("a.b"));
            assert_eq!(envelope.tenant_id.as_deref(), Some("acme"));
            assert!(envelope.timestamp.is_some() && envelope.events.is_none());
            for batch in [
                format!("[{body},{body}]"),
                format!(
                    r#"{{"type":"webhook.batch","timestamp":"2026-11-23T12:00:00Z","tenant_id":"acme","data":[{body},{body}]}}"#
                ),
            ] {
                let envelope = Envelope::of(batch.as_bytes());
                assert_eq!(envelope.event_type.as_deref(), Some("webhook.batch"));
                assert_eq!(envelope.tenant_id.as_deref(), Some("acme"));
                assert!(envelope.timestamp.is_some() && envelope.events == Some(2));
            }
        }
    }
}
