//! `Idempotency-Key`: carried out once, answered alike.

use jiff::{Timestamp, ToSpan};
use reqwest::Method;
use serde_json::{Value, json};
use walhook::db::StoreConfig;
use walhook::delivery::pruner::prune;

use super::fixtures::{Answer, Api, id, send, with_json};

async fn post(api: &Api, path: &str, token: &str, key: &str, body: &Value) -> Answer {
    let request = api
        .request(Method::POST, path, token)
        .header("idempotency-key", key);
    send(with_json(request, body)).await
}

#[tokio::test]
async fn a_repeated_creation_is_answered_alike_with_its_secret() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let body = json!({"url": "https://example.com/hook", "event": "*"});
    let first = post(&api, "/subscriptions", &token, "k1", &body).await;
    assert_eq!(first.status, 201);
    assert!(!first.headers.contains_key("idempotency-replayed"));
    let again = post(&api, "/subscriptions", &token, "k1", &body).await;
    assert_eq!((again.status, &again.text), (first.status, &first.text));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(
        api.count("select count(*) from webhook_subscriptions")
            .await,
        1
    );
    // The stored answer holds the secret: encrypted.
    let stored: Vec<u8> = api
        .database
        .client
        .query_one("select response from walhook.idempotency_keys", &[])
        .await
        .unwrap()
        .get(0);
    assert!(!String::from_utf8_lossy(&stored).contains("whsec_"));

    let other = json!({"url": "https://example.com/other", "event": "*"});
    post(&api, "/subscriptions", &token, "k1", &other)
        .await
        .refused(422, "idempotency_key_reused");
    let path = format!("/subscriptions/{}/test", id(&first.json));
    post(&api, &path, &token, "k1", &body)
        .await
        .refused(422, "idempotency_key_reused");
    // Another tenant's keys are its own.
    let theirs = api.token("globex").await;
    let theirs = post(&api, "/subscriptions", &theirs, "k1", &body)
        .await
        .expect(201);
    assert_ne!(theirs["id"], first.json["id"]);
}

#[tokio::test]
async fn at_the_same_time_only_one_is_carried_out() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let body = json!({"url": "https://example.com/hook", "event": "*"});
    let calls = (0..8).map(|_| post(&api, "/subscriptions", &token, "race", &body));
    let answers = futures_util::future::join_all(calls).await;
    for answer in &answers {
        match answer.status.as_u16() {
            201 => {}
            _ => answer.refused(409, "in_progress"),
        }
    }
    assert!(answers.iter().any(|answer| answer.status == 201));
    assert_eq!(
        api.count("select count(*) from webhook_subscriptions")
            .await,
        1
    );
}

#[tokio::test]
async fn a_refused_call_releases_its_key() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let bad = json!({"url": "http://example.com/hook", "event": "*"});
    post(&api, "/subscriptions", &token, "k", &bad)
        .await
        .refused(400, "invalid_url");
    let good = json!({"url": "https://example.com/hook", "event": "*"});
    post(&api, "/subscriptions", &token, "k", &good)
        .await
        .expect(201);
    let long = "x".repeat(256);
    post(&api, "/subscriptions", &token, &long, &good)
        .await
        .refused(400, "invalid_idempotency_key");
}

#[tokio::test]
async fn a_call_that_was_cut_short_is_not_carried_out_twice_until_its_key_expires() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let body = json!({"url": "https://example.com/hook", "event": "*"});
    post(&api, "/subscriptions", &token, "k", &body)
        .await
        .expect(201);
    let age = |age: &str| {
        format!(
            "update idempotency_keys set http_status = 0, created_at = now() - interval '{age}'"
        )
    };
    api.execute(&age("1 second")).await;
    post(&api, "/subscriptions", &token, "k", &body)
        .await
        .refused(409, "in_progress");
    api.execute(&age("1 hour")).await;
    post(&api, "/subscriptions", &token, "k", &body)
        .await
        .refused(409, "outcome_unknown");
    api.execute(&age("25 hours")).await;
    post(&api, "/subscriptions", &token, "k", &body)
        .await
        .expect(201);
}

#[tokio::test]
async fn keys_are_forgotten_after_a_day() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let body = json!({"url": "https://example.com/hook", "event": "*"});
    post(&api, "/subscriptions", &token, "k1", &body)
        .await
        .expect(201);
    let now = Timestamp::now();
    for (hours, left) in [(23, 1), (25, 0)] {
        let later = now + i64::from(hours).hours();
        prune(&api.store, &StoreConfig::default(), later)
            .await
            .unwrap();
        let keys = "select count(*) from idempotency_keys";
        assert_eq!(api.count(keys).await, left, "after {hours} hours");
    }
}
