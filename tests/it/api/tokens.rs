//! `/tokens`: a tenant makes, sees and revokes its own.

use std::num::NonZeroU32;

use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::json;
use walhook::api::tokens::{self, NewToken};
use walhook::api::{Limits, LimitsConfig};
use walhook::audit::Caller;

use super::fixtures::{Api, id, send, with_json};

/// One that manages tokens, and when it ends.
async fn managing(api: &Api, tenant: &str, expires_at: Option<Timestamp>) -> String {
    let new = NewToken {
        name: "first",
        expires_at,
        manages_tokens: true,
        ..NewToken::default()
    };
    let token = tokens::create_by(&Caller::walhook(), &api.store, tenant, &new).await;
    token.unwrap().text().to_owned()
}

#[tokio::test]
async fn a_token_is_shown_once_and_refused_once_it_is_revoked() {
    let api = Api::start().await;
    let first = managing(&api, "acme", None).await;
    let made = api.post("/tokens", &first, json!({"name": " CI "})).await;
    let made = made.expect(201);
    let token = made["token"].as_str().unwrap();
    assert_eq!(
        (&made["name"], &made["expires_at"]),
        (&json!("CI"), &json!(null))
    );
    api.get("/events", token).await.expect(200);
    let listed = api.get("/tokens?limit=1", &first).await;
    assert!(!listed.text.contains("whk_"), "{}", listed.text);
    let listed = listed.expect(200);
    let one = &listed["data"][0];
    assert_eq!((&one["id"], &one["name"]), (&made["id"], &json!("CI")));
    assert_eq!(one["created_by"]["kind"], "token");
    assert_eq!(one["created_by"]["actor"], "first");
    assert_eq!(one["last_used_from"], "127.0.0.1");
    assert!(one["last_used_at"].is_string());
    let cursor = listed["next_cursor"].as_str().unwrap();
    let rest = api.get(&format!("/tokens?cursor={cursor}"), &first).await;
    assert_eq!(rest.expect(200)["data"][0]["name"], "first");
    let path = format!("/tokens/{}", id(&made));
    assert_eq!(api.delete(&path, &first).await.status, 204);
    // At once, though it was used a moment ago.
    api.get("/events", token).await.refused(401, "unauthorized");
    let again = api.delete(&path, &first).await;
    again.refused(404, "not_found");
    let listed = api.get("/tokens", &first).await.expect(200);
    assert!(listed["data"][0]["revoked_at"].is_string());
    // Neither the store nor the audit log has it.
    let stored = "select count(*) from audit_log where action in ('token.create', 'token.revoke')
        and principal_kind = 'token' and object = $$ID$$ and not (audit_log::text like '%whk_%')";
    assert_eq!(api.count(&stored.replace("ID", id(&made))).await, 2);
}

#[tokio::test]
async fn an_answer_with_a_token_is_repeated_to_the_one_alone_who_had_it() {
    let api = Api::start().await;
    let (first, plain) = (managing(&api, "acme", None).await, api.token("acme").await);
    let make = async |token: &str| {
        let request = api.request(Method::POST, "/tokens", token);
        let request = request.header("idempotency-key", "one");
        send(with_json(request, &json!({"name": "CI"}))).await
    };
    let made = make(&first).await.expect(201);
    assert_eq!(make(&first).await.expect(201), made);
    let other = make(&plain).await;
    other.refused(422, "idempotency_key_reused");
    assert!(!other.text.contains("whk_"));
}

#[tokio::test]
async fn a_token_gives_no_right_and_no_time_that_it_lacks() {
    let api = Api::start().await;
    let plain = api.token("acme").await;
    // The store keeps microseconds.
    let ends = Timestamp::from_second(Timestamp::now().as_second() + 3600).unwrap();
    let first = managing(&api, "acme", Some(ends)).await;
    let theirs = managing(&api, "globex", None).await;
    for (method, path, body) in [
        (Method::GET, "/tokens", json!(null)),
        (Method::POST, "/tokens", json!({"name": "x"})),
        (
            Method::DELETE,
            "/tokens/019aa8f1-7c00-7000-8000-000000000000",
            json!(null),
        ),
    ] {
        let request = with_json(api.request(method, path, &plain), &body);
        let refused = send(request).await;
        refused.refused(403, "tokens_not_permitted");
    }
    let later = ends + SignedDuration::from_secs(1);
    for (body, status, code) in [
        (json!({"name": "x"}), 403, "expires_too_late"),
        (
            json!({"name": "x", "expires_at": later}),
            403,
            "expires_too_late",
        ),
        (
            json!({"name": "x", "expires_at": "2020-01-01T00:00:00Z"}),
            400,
            "invalid_expires_at",
        ),
        (
            json!({"name": " ", "expires_at": ends}),
            400,
            "invalid_name",
        ),
    ] {
        let refused = api.post("/tokens", &first, body).await;
        refused.refused(status, code);
    }
    let body = json!({"name": "x", "expires_at": ends});
    let made = api.post("/tokens", &first, body).await.expect(201);
    assert_eq!(made["manages_tokens"], false);
    let made_token = made["token"].as_str().unwrap();
    let refused = api.post("/tokens", made_token, json!({"name": "y"})).await;
    refused.refused(403, "tokens_not_permitted");
    // Another tenant's are as absent as unknown ones.
    let path = format!("/tokens/{}", id(&made));
    api.delete(&path, &theirs).await.refused(404, "not_found");
    let listed = api.get("/tokens", &theirs).await.expect(200);
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    // One that was revoked elsewhere makes none, though this instance admits it for seconds yet.
    api.execute("update api_tokens set revoked_at = now() where manages_tokens")
        .await;
    let refused = api.post("/tokens", &theirs, json!({"name": "z"})).await;
    refused.refused(403, "tokens_not_permitted");
}

#[tokio::test]
async fn a_tenant_makes_no_more_tokens_than_the_limit() {
    let api = Api::start_with(|state| {
        let config = LimitsConfig {
            tokens: NonZeroU32::new(2).unwrap(),
            ..LimitsConfig::default()
        };
        state.limits = Limits::new(config, 8);
    })
    .await;
    let first = managing(&api, "acme", None).await;
    let two = [0, 1].map(|_| api.post("/tokens", &first, json!({"name": "x"})));
    let [one, other] = two;
    let (one, other) = tokio::join!(one, other);
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 429]);
    let refused = api.post("/tokens", &first, json!({"name": "x"})).await;
    refused.refused(429, "too_many_tokens");
    // What is revoked makes room.
    let listed = api.get("/tokens", &first).await.expect(200);
    let path = format!("/tokens/{}", id(&listed["data"][0]));
    assert_eq!(api.delete(&path, &first).await.status, 204);
    let made = api.post("/tokens", &first, json!({"name": "x"})).await;
    made.expect(201);
}
