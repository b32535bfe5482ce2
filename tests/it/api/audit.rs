//! Who changed what, and with what right it can be forgotten.

use reqwest::Method;
use serde_json::{Value, json};

use super::fixtures::{Answer, Api, all_pages, id, send, with_json};

/// Entries of a tenant, the newest first.
async fn entries(api: &Api, token: &str, query: &str) -> Vec<Value> {
    let page = api.get(&format!("/audit?{query}"), token).await.expect(200);
    page["data"].as_array().unwrap().clone()
}

fn actions(entries: &[Value]) -> Vec<&str> {
    let action = |entry: &'_ Value| entry["action"].as_str().is_some();
    assert!(entries.iter().all(action));
    entries
        .iter()
        .filter_map(|entry| entry["action"].as_str())
        .collect()
}

#[tokio::test]
async fn every_call_that_changes_something_is_entered_with_who_made_it() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let body = json!({
        "url": "https://example.com/hook", "event": "*",
        "secret": "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0",
        "headers": {"authorization": "Bearer of-the-receiver-0123456789"},
    });
    let request = with_json(api.request(Method::POST, "/subscriptions", &token), &body);
    let created = send(request.header("x-request-id", "req-of-a-proxy")).await;
    assert_eq!(created.headers["x-request-id"], "req-of-a-proxy");
    let subscription = created.expect(201);
    let path = format!("/subscriptions/{}", id(&subscription));
    let changes = json!({"url": "https://example.com/moved", "rate_limit": 5,
        "headers": {"authorization": "Bearer another-secret-9876543210"}});
    api.patch(&path, &token, changes).await.expect(200);
    let rotate = format!("{path}/rotate-secret");
    let rotated = api.post(&rotate, &token, json!({})).await.expect(200);
    let delivery = api.delivery_of_now(&subscription, "failed").await;
    for call in [
        format!("{path}/test"),
        format!("/deliveries/{delivery}/retry"),
        "/deliveries/retry".to_owned(),
    ] {
        let body = match call.as_str() {
            "/deliveries/retry" => json!({"status": "pending"}),
            _ => json!({}),
        };
        api.post(&call, &token, body).await.expect(202);
    }
    let since = json!({"since": "2026-01-01T00:00:00Z"});
    api.post(&format!("{path}/replay"), &token, since)
        .await
        .expect(202);
    api.patch(&path, &token, json!({"active": false}))
        .await
        .expect(200);
    api.post(&format!("{path}/enable"), &token, json!({}))
        .await
        .expect(200);
    api.delete(&path, &token).await.expect_status(204);

    let all = entries(&api, &token, "limit=200").await;
    assert_eq!(
        actions(&all),
        [
            "subscription.delete",
            "subscription.enable",
            "subscription.update",
            "subscription.replay",
            "delivery.retry_many",
            "delivery.retry",
            "subscription.test",
            "subscription.rotate_secret",
            "subscription.update",
            "subscription.create",
            "token.create",
        ]
    );
    for entry in &all[..10] {
        assert_eq!(entry["principal"]["kind"], "token");
        assert_eq!(entry["principal"]["actor"], "test", "the token's name");
        assert_eq!(entry["remote_ip"], "127.0.0.1");
        assert!(entry["request_id"].is_string());
    }
    assert_eq!(all[10]["object"], all[0]["principal"]["name"], "the token");
    assert_eq!(all[9]["request_id"], "req-of-a-proxy");
    assert_eq!(all[9]["object"], subscription["id"]);
    assert_eq!(all[9]["before"], Value::Null);
    assert_eq!(all[9]["after"]["url"], "https://example.com/hook");
    let update = &all[8];
    let after = json!({"url": "https://example.com/moved", "rate_limit": 5, "version": 2,
        "headers": {"authorization": "…"}});
    assert_eq!(update["after"], after);
    assert_eq!(update["before"]["url"], "https://example.com/hook");
    assert_eq!(update["before"]["headers"], json!({"authorization": "…"}));
    assert_eq!(update["before"]["rate_limit"], Value::Null);
    assert_eq!(all[5]["object"], delivery.to_string());
    assert_eq!(all[2]["before"]["active"], true);
    assert_eq!(all[0]["before"]["url"], "https://example.com/moved");

    // No secret stands anywhere in it.
    let client = api.store.get().await.unwrap();
    let rows = client
        .query("select a::text from audit_log a", &[])
        .await
        .unwrap();
    let text: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let text = text.join("\n");
    for secret in [
        "of-the-receiver",
        "another-secret",
        "c2VjcmV0LXNlY3JldC1zZWNyZXQ",
        rotated["secret"].as_str().unwrap(),
        &token,
    ] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn a_call_that_is_refused_or_repeated_is_entered_once_or_not_at_all() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let body = json!({"url": "https://example.com/hook", "event": "*"});
    for _ in 0..2 {
        let request = with_json(api.request(Method::POST, "/subscriptions", &token), &body);
        send(request.header("idempotency-key", "k"))
            .await
            .expect(201);
    }
    let internal = json!({"url": "https://10.0.0.1/", "event": "*"});
    api.post("/subscriptions", &token, internal)
        .await
        .expect(400);
    let unknown = "/subscriptions/sub_00000000-0000-0000-0000-000000000000";
    api.patch(unknown, &token, json!({"active": false}))
        .await
        .expect(404);
    api.delete(unknown, &token).await.expect(404);
    api.post("/deliveries/retry", &token, json!({}))
        .await
        .expect(202);
    // What is so already is no change.
    let list = api.get("/subscriptions", &token).await.expect(200);
    let path = format!("/subscriptions/{}", id(&list["data"][0]));
    let same = json!({"url": "https://example.com/hook", "event": "*", "active": true});
    api.patch(&path, &token, same).await.expect(200);
    api.post(&format!("{path}/enable"), &token, json!({}))
        .await
        .expect(200);
    let all = entries(&api, &token, "").await;
    let made = ["delivery.retry_many", "subscription.create", "token.create"];
    assert_eq!(actions(&all), made);
}

#[tokio::test]
async fn a_tenant_sees_its_own_entries_page_by_page() {
    let api = Api::start().await;
    let (acme, globex) = (api.token("acme").await, api.token("globex").await);
    for _ in 0..5 {
        api.subscribe(&acme).await;
    }
    let theirs = api.subscribe(&globex).await;
    let pages = all_pages(&api, "/audit?limit=2", &acme).await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 2]);
    assert_eq!(entries(&api, &globex, "").await.len(), 2);
    let created = entries(&api, &acme, "action=subscription.create").await;
    assert_eq!(created.len(), 5);
    let query = format!("object={}", id(&theirs));
    assert_eq!(entries(&api, &acme, &query).await.len(), 0);
    assert_eq!(entries(&api, &globex, &query).await.len(), 1);
}

#[tokio::test]
async fn every_answer_names_its_request() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let large = json!({"url": "x".repeat(3 << 20), "event": "*"});
    let unknown = "/subscriptions/sub_00000000-0000-0000-0000-000000000000";
    for (method, path, token, status) in [
        (Method::GET, "/subscriptions", "whk_unknown", 401),
        (Method::GET, "/no-such-call", &*token, 404),
        (Method::GET, unknown, &*token, 404),
        (Method::PUT, "/subscriptions", &*token, 405),
        (Method::POST, "/subscriptions", &*token, 413),
    ] {
        let request = with_json(api.request(method, path, token), &large);
        let answer = send(request.header("x-request-id", "req-1")).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text);
        assert_eq!(answer.headers["x-request-id"], "req-1", "{path}");
    }
    for path in ["/healthz", "/no-such-page"] {
        let answer = api.root(path).await;
        assert_eq!(answer.headers["x-request-id"].len(), 36, "{path}");
    }
}

#[tokio::test]
async fn of_headers_the_names_are_entered_of_those_that_changed() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    let path = format!("/subscriptions/{}", id(&subscription));
    for headers in [
        json!({"x-kept": "one", "x-gone": "one", "x-other": "0123456789abcdef-a"}),
        // The same number of characters, and the same last ones.
        json!({"x-kept": "one", "x-new": "one", "x-other": "f123456789abcdef-a"}),
    ] {
        let change = json!({"headers": headers});
        api.patch(&path, &token, change).await.expect(200);
    }
    let all = entries(&api, &token, "action=subscription.update&limit=1").await;
    let (gone, new) = (
        json!({"x-gone": "…", "x-other": "…"}),
        json!({"x-new": "…", "x-other": "…"}),
    );
    assert_eq!(
        (&all[0]["before"]["headers"], &all[0]["after"]["headers"]),
        (&gone, &new)
    );
}

#[tokio::test]
async fn a_tenant_is_not_shown_who_ran_the_operators_commands() {
    let api = Api::start().await;
    let caller = walhook::audit::Caller::of_command();
    let new = walhook::api::tokens::NewToken::default();
    let token = walhook::api::tokens::create_by(&caller, &api.store, "acme", &new)
        .await
        .unwrap();
    let all = entries(&api, token.text(), "").await;
    let principal = json!({"kind": "command", "name": null, "actor": null});
    assert_eq!(all[0]["principal"], principal);
    let named = "select count(*) from audit_log where principal like '%@%'";
    assert_eq!(api.count(named).await, 1, "the operator sees it");
}

#[tokio::test]
async fn entries_are_only_ever_added() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    api.subscribe(&token).await;
    let client = api.store.get().await.unwrap();
    let update = "update audit_log set actor = 'somebody else'";
    let refused = client.batch_execute(update).await.unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "42501", "also the owner's");
    let role = api.database.tenant_role();
    for change in [update, "delete from audit_log", "truncate audit_log"] {
        let as_tenant = format!("begin; set local role {role}; {change}");
        let refused = client.batch_execute(&as_tenant).await.unwrap_err();
        assert_eq!(refused.code().unwrap().code(), "42501", "{change}");
        client.batch_execute("rollback").await.unwrap();
    }
    let forged = format!(
        "begin; set local role {role}; set local walhook.tenant = 'acme';
         insert into audit_log (id, principal_kind, principal, tenant_id, action)
         values (gen_random_uuid(), 'token', 'x', 'globex', 'subscription.create')"
    );
    let refused = client.batch_execute(&forged).await.unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "42501");
    client.batch_execute("rollback").await.unwrap();
}

impl Answer {
    fn expect_status(self, status: u16) {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
    }
}
