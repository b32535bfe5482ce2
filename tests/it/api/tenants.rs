//! Whose request it is, and that nobody sees what is another's.

use ::walhook::conninfo::Purpose;
use reqwest::Method;
use serde_json::json;
use walhook::api::tokens;
use walhook::audit::Caller;
use walhook::db::{Store, StoreConfig};

use super::fixtures::{Api, id, send, with_json};
use crate::harness::TestDatabase;

#[tokio::test]
async fn another_tenants_ids_are_not_found_by_any_call() {
    let api = Api::start().await;
    let (mine, theirs) = (api.token("acme").await, api.token("globex").await);
    let subscription = api.subscribe(&mine).await;
    let sub = id(&subscription);
    let event = api
        .event("acme", "payment.received", jiff::Timestamp::now())
        .await;
    let delivery = api.delivery("acme", event, sub, "failed").await;
    let calls = [
        (Method::GET, format!("/subscriptions/{sub}"), json!(null)),
        (
            Method::PATCH,
            format!("/subscriptions/{sub}"),
            json!({"active": false}),
        ),
        (
            Method::POST,
            format!("/subscriptions/{sub}/rotate-secret"),
            json!({}),
        ),
        (
            Method::POST,
            format!("/subscriptions/{sub}/rotate-signing-key"),
            json!({}),
        ),
        (
            Method::POST,
            format!("/subscriptions/{sub}/test"),
            json!({}),
        ),
        (
            Method::POST,
            format!("/subscriptions/{sub}/enable"),
            json!({}),
        ),
        (
            Method::POST,
            format!("/subscriptions/{sub}/replay"),
            json!({"since": "2026-01-01T00:00:00Z"}),
        ),
        (Method::GET, format!("/deliveries/{delivery}"), json!(null)),
        (
            Method::POST,
            format!("/deliveries/{delivery}/retry"),
            json!({}),
        ),
        (Method::GET, format!("/events/{event}"), json!(null)),
        (Method::DELETE, format!("/subscriptions/{sub}"), json!(null)),
    ];
    let unknown = [
        (Method::GET, "/subscriptions/sub_0".to_owned(), json!(null)),
        (Method::GET, "/subscriptions/%00".to_owned(), json!(null)),
        (
            Method::DELETE,
            format!("/subscriptions/{event}"),
            json!(null),
        ),
        (
            Method::GET,
            format!("/deliveries/dlv_{}", uuid::Uuid::now_v7()),
            json!(null),
        ),
    ];
    for (method, path, body) in calls.iter().chain(&unknown) {
        let answer = send(with_json(api.request(method.clone(), path, &theirs), body)).await;
        answer.refused(404, "not_found");
    }
    for list in [
        "/subscriptions",
        "/deliveries",
        "/deliveries?status=failed",
        "/events",
    ] {
        assert_eq!(
            api.get(list, &theirs).await.json["data"],
            json!([]),
            "{list}"
        );
        assert_eq!(
            api.get(list, &mine).await.json["data"]
                .as_array()
                .unwrap()
                .len(),
            1,
            "{list}"
        );
    }
    let retried = api
        .post("/deliveries/retry", &theirs, json!({}))
        .await
        .expect(202);
    assert_eq!(retried["done"], 0);
    let untouched = api
        .count("select count(*) from delivery_schedule where status = 'failed'")
        .await;
    assert_eq!(untouched, 1);
    for (method, path, body) in &calls {
        let answer = send(with_json(api.request(method.clone(), path, &mine), body)).await;
        assert!(
            answer.status != 404 && !answer.status.is_server_error(),
            "{path}: {}",
            answer.text
        );
    }
}

#[tokio::test]
async fn without_an_admitted_token_every_call_is_refused() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let expired = tokens::create(&api.store, "acme", "old", Some(std::time::Duration::ZERO)).await;
    let expired = expired.unwrap().text().to_owned();
    let unknown = walhook::secret::ApiToken::generate();
    let cut = &token[..token.len() - 1];
    for bad in [
        "",
        "whk_",
        cut,
        unknown.text(),
        &expired,
        "eyJhbGciOiJub25lIn0.e30.",
    ] {
        for path in ["/subscriptions", "/deliveries", "/events", "/event-types"] {
            let answer = api.get(path, bad).await;
            answer.refused(401, "unauthorized");
            assert!(
                answer.headers["www-authenticate"]
                    .to_str()
                    .unwrap()
                    .starts_with("Bearer")
            );
            assert!(bad.len() < 10 || !answer.text.contains(bad));
        }
    }
    let url = format!("{}/api/v1/tenant/webhooks/events", api.base);
    send(api.http.get(&url)).await.refused(401, "unauthorized");
    send(api.http.get(&url).header("authorization", "Basic YTpi"))
        .await
        .refused(401, "unauthorized");
    let lower = send(
        api.http
            .get(&url)
            .header("authorization", format!("bearer {token}")),
    )
    .await;
    assert_eq!(lower.status, 200);
}

#[tokio::test]
async fn tokens_are_listed_and_revoked() {
    let api = Api::start().await;
    let token = tokens::create(&api.store, "acme", "books", None)
        .await
        .unwrap();
    tokens::create(&api.store, "globex", "other", None)
        .await
        .unwrap();
    let listed = tokens::list(&api.store, Some("acme")).await.unwrap();
    assert_eq!((listed.len(), listed[0].name.as_str()), (1, "books"));
    assert_eq!(tokens::list(&api.store, None).await.unwrap().len(), 2);
    assert!(
        tokens::revoke(&Caller::walhook(), &api.store, listed[0].id)
            .await
            .unwrap()
    );
    assert!(
        !tokens::revoke(&Caller::walhook(), &api.store, listed[0].id)
            .await
            .unwrap()
    );
    // Never used before: no process remembers it.
    api.get("/events", token.text())
        .await
        .refused(401, "unauthorized");
    assert!(tokens::create(&api.store, "", "none", None).await.is_err());
    let stored = api
        .database
        .client
        .query_one(
            "select string_agg(t::text, '') from walhook.api_tokens t",
            &[],
        )
        .await
        .unwrap();
    assert!(!stored.get::<_, String>(0).contains(token.text()));
}

#[tokio::test]
async fn a_login_role_without_any_privilege_but_its_schema_serves_the_api() {
    let database = TestDatabase::create().await;
    let (name, tenant_role) = (&database.name, database.tenant_role());
    let setup = format!(
        "create role {name} login;
         grant create on database {name} to {name};
         create role {tenant_role} nologin;
         grant {tenant_role} to {name}"
    );
    database.client.batch_execute(&setup).await.unwrap();
    let url = database.url.replace("postgres@", &format!("{name}@"));
    let store = Store::open(&StoreConfig::default(), &url.as_str().into(), Purpose::Api).unwrap();
    store.create_schema().await.unwrap();
    let source = walhook::conninfo::ConnInfo::parse(&url).unwrap();
    let api = Api::over(database, store, |state| state.source = source).await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    let path = format!("/subscriptions/{}", id(&subscription));
    let delivery = api.delivery_of_now(&subscription, "failed").await;
    for (path, status) in [
        (format!("{path}/test"), 202),
        (format!("{path}/rotate-secret"), 200),
        (format!("{path}/enable"), 200),
        (format!("/deliveries/{delivery}/retry"), 202),
        ("/deliveries/retry".to_owned(), 202),
    ] {
        api.post(&path, &token, json!({})).await.expect(status);
    }
    let replay = json!({"since": "2026-01-01T00:00:00Z"});
    api.post(&format!("{path}/replay"), &token, replay)
        .await
        .expect(202);
    for status in ["pending", "in_flight", "failed", "delivered", "parked"] {
        api.get(&format!("/deliveries?status={status}"), &token)
            .await
            .expect(200);
    }
    api.root("/readyz").await.expect(200);
    assert_eq!(api.delete(&path, &token).await.status, 204);
}
