//! Attempts against a real receiver, which verifies as subscribers do.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::*;
use crate::delivery::client::SecurityConfig;
use crate::event::SubscriptionId;
use crate::lsn::Lsn;
use crate::secret::SigningSecret;
use crate::subscription::Active;

const ID: &str = "evt_0198c0de-0000-7000-8000-000000000000";
const BODY: &[u8] = br#"{"id":"evt_0198c0de-0000-7000-8000-000000000000","type":"payment.received","timestamp":"2026-11-23T12:00:00Z","tenant_id":"acme","sequence":"00000000016B3748-0000000003","data":{"amount":1.10}}"#;

struct Received {
    headers: axum::http::HeaderMap,
    body: Bytes,
}

impl Received {
    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    fn verifies_with(&self, secret: &SigningSecret) -> bool {
        standardwebhooks::Webhook::from_bytes(secret.key().to_vec())
            .unwrap()
            .verify(&self.body, &self.headers)
            .is_ok()
    }
}

/// A receiver that answers everything alike, and what it received.
async fn receiver(status: u16, text: &'static str) -> (String, mpsc::UnboundedReceiver<Received>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let handler = move |headers: axum::http::HeaderMap, body: Bytes| {
        sender.send(Received { headers, body }).unwrap();
        async move { (StatusCode::from_u16(status).unwrap(), text) }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let router = Router::new().fallback(handler);
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, receiver)
}

fn client() -> Client {
    let security = SecurityConfig {
        allow_http: true,
        allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
        ..SecurityConfig::default()
    };
    Client::new(&security, &[], Duration::from_secs(30), 64 * 1024).unwrap()
}

fn subscription(url: &str, secrets: &[(&SigningSecret, Option<Instant>)]) -> Subscription {
    let secrets = secrets.iter().map(|(secret, expires_at)| Active {
        key: (*secret).clone(),
        expires_at: *expires_at,
    });
    Subscription {
        id: SubscriptionId(Uuid::now_v7()),
        row_version: 0,
        version: 1,
        tenant_id: Arc::from("acme"),
        url: url.to_owned(),
        events: vec!["*".to_owned()],
        filter: None,
        headers: BTreeMap::new(),
        format: Format::Standard,
        rate_limit: None,
        batching: None,
        active: true,
        secrets: secrets.collect(),
        signing_keys: Vec::new(),
        ordering: crate::subscription::Ordering::None,
        ordering_settled: true,
        from_lsn: Lsn::ZERO,
        created_at: Timestamp::now(),
        unreadable: None,
    }
}

async fn attempted(subscription: &Subscription, format: Format) -> Outcome {
    let body = Bytes::from_static(BODY);
    attempt(
        &client(),
        subscription,
        &Message {
            webhook_id: ID,
            event_type: "payment.received",
            format,
            body: &body,
            is_batch: false,
        },
        || {},
    )
    .await
}

#[tokio::test]
async fn a_receiver_verifies_what_was_stored() {
    let (url, mut received) = receiver(200, "thanks").await;
    let secret = SigningSecret::generate();
    let mut subscription = subscription(&url, &[(&secret, None)]);
    subscription.headers = BTreeMap::from([("X-Api-Key".into(), "k".into())]);
    let outcome = attempted(&subscription, Format::Standard).await;
    assert!(outcome.is_success());
    assert_eq!(outcome.http_status, Some(200));
    assert_eq!(outcome.error, None);
    assert_eq!(outcome.excerpt.as_deref(), Some("thanks"));

    let request = received.recv().await.unwrap();
    assert_eq!(request.body, BODY);
    assert!(request.verifies_with(&secret));
    assert_eq!(request.header("webhook-id"), ID);
    let timestamp: i64 = request.header("webhook-timestamp").parse().unwrap();
    let age = Timestamp::now().as_second() - timestamp;
    assert!((0..60).contains(&age), "{age}");
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(request.header("user-agent"), USER_AGENT);
    assert_eq!(request.header("x-api-key"), "k");
    assert_eq!(
        request.header("x-webhook-signature"),
        sign(ID, 0, BODY, &[&secret], &[]).x_webhook_signature
    );
}

#[tokio::test]
async fn a_cloud_event_is_signed_as_it_is_sent() {
    let (url, mut received) = receiver(202, "").await;
    let secret = SigningSecret::generate();
    let subscription = subscription(&url, &[(&secret, None)]);
    let outcome = attempted(&subscription, Format::CloudEvents).await;
    assert!(outcome.is_success());
    assert_eq!(outcome.excerpt, None);
    let request = received.recv().await.unwrap();
    assert!(request.verifies_with(&secret));
    assert_eq!(
        request.header("content-type"),
        "application/cloudevents+json"
    );
    assert_eq!(request.body, cloud_event(BODY).unwrap());
}

#[tokio::test]
async fn during_a_rotation_both_secrets_verify_and_an_expired_one_does_not() {
    let (url, mut received) = receiver(200, "").await;
    let [newest, previous, expired] = [(); 3].map(|()| SigningSecret::generate());
    let secrets = [
        (&newest, None),
        (&previous, Some(Instant::now() + Duration::from_secs(3600))),
        (&expired, Some(Instant::now())),
    ];
    let outcome = attempted(&subscription(&url, &secrets), Format::Standard).await;
    assert!(outcome.is_success());
    let request = received.recv().await.unwrap();
    assert!(request.verifies_with(&newest));
    assert!(request.verifies_with(&previous));
    assert!(!request.verifies_with(&expired));
    let outcome = attempted(&subscription(&url, &secrets[2..]), Format::Standard).await;
    let (class, message) = outcome.error.unwrap();
    assert_eq!(class, ErrorClass::Request);
    assert!(message.contains("rotate"), "{message}");
}

#[tokio::test]
async fn nothing_but_2xx_is_success() {
    let secret = SigningSecret::generate();
    for (status, success) in [
        (200, true),
        (204, true),
        (299, true),
        (304, false),
        (308, false),
        (400, false),
        (410, false),
        (429, false),
        (503, false),
    ] {
        let (url, _received) = receiver(status, "").await;
        let outcome = attempted(&subscription(&url, &[(&secret, None)]), Format::Standard).await;
        assert_eq!(outcome.is_success(), success, "{status}");
        assert_eq!(outcome.http_status, Some(status));
        let class = outcome.error.map(|(class, _)| class);
        assert_eq!(class, (!success).then_some(ErrorClass::HttpStatus));
    }
}

#[tokio::test]
async fn a_header_that_came_past_the_api_stops_the_attempt() {
    let (url, mut received) = receiver(200, "").await;
    let secret = SigningSecret::generate();
    for (name, value) in [("Webhook-Id", "evt_other"), ("x-a", "b\r\nhost: inside")] {
        let mut subscription = subscription(&url, &[(&secret, None)]);
        subscription.headers = BTreeMap::from([(name.into(), value.into())]);
        let outcome = attempted(&subscription, Format::Standard).await;
        assert!(!outcome.is_success());
        assert_eq!(outcome.http_status, None);
        let (class, message) = outcome.error.unwrap();
        assert_eq!(class, ErrorClass::Request);
        assert!(!message.contains(value), "{message}");
    }
    assert!(received.try_recv().is_err());
}

#[tokio::test]
async fn debug_shows_neither_answer_nor_secret() {
    let (url, _received) = receiver(500, "echo of the row").await;
    let secret = SigningSecret::generate();
    let subscription = subscription(&url, &[(&secret, None)]);
    let outcome = attempted(&subscription, Format::Standard).await;
    assert!(!format!("{outcome:?}").contains("echo"));
    assert!(!format!("{subscription:?}").contains(secret.text()));
}
