//! Bad input: each refusal is a problem that says what was wrong.

use reqwest::Method;
use serde_json::json;

use super::fixtures::{Api, id, send, with_json};

#[tokio::test]
async fn fields_that_cannot_be_are_refused_with_their_reason() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    let path = format!("/subscriptions/{}", id(&subscription));
    for (field, value, status, code) in [
        ("url", json!("http://example.com"), 400, "invalid_url"),
        ("url", json!("https://127.0.0.1/"), 400, "invalid_url"),
        ("url", json!("https://0x7f.1/"), 400, "invalid_url"),
        ("url", json!("ftp://example.com"), 400, "invalid_url"),
        ("url", json!("no url"), 400, "invalid_url"),
        ("event", json!("payment.recieved"), 400, "invalid_events"),
        ("event", json!("pay*"), 400, "invalid_events"),
        ("events", json!([]), 400, "invalid_events"),
        ("filter", json!("a !!"), 400, "invalid_filter"),
        ("filter", json!("1+".repeat(600)), 400, "invalid_filter"),
        ("filter", json!("a\u{0}b"), 400, "invalid_text"),
        (
            "headers",
            json!({"Webhook-Id": "x"}),
            400,
            "invalid_headers",
        ),
        ("headers", json!({"a": "b\r\nc: d"}), 400, "invalid_headers"),
        ("headers", json!({"a": 1}), 422, "invalid_body"),
        (
            "description",
            json!("x".repeat(1025)),
            400,
            "invalid_description",
        ),
        ("description", json!("a\u{0}b"), 400, "invalid_text"),
        ("format", json!("xml"), 400, "invalid_format"),
        ("ordering", json!("any"), 400, "invalid_ordering"),
        ("batch", json!({"size": 10}), 400, "invalid_batch"),
        ("batch", json!({"max_events": 1001}), 400, "invalid_batch"),
        ("batch", json!({"max_wait": "61s"}), 400, "invalid_batch"),
        ("batch", json!(true), 400, "invalid_batch"),
        ("rate_limit", json!(0), 400, "invalid_rate_limit"),
        ("rate_limit", json!(10_001), 400, "invalid_rate_limit"),
        ("rate_limit", json!(2.5), 400, "invalid_rate_limit"),
        ("rate_limit", json!("10"), 400, "invalid_rate_limit"),
        (
            "signing_key",
            json!("whsk_AAAA"),
            400,
            "invalid_signing_key",
        ),
        ("signing_key", json!("Generate"), 400, "invalid_signing_key"),
        ("signing_key", json!(""), 400, "invalid_signing_key"),
        ("signing_key", json!(true), 422, "invalid_body"),
        ("colour", json!("red"), 422, "invalid_body"),
    ] {
        let mut body = json!({"url": "https://example.com/hook"});
        if !field.starts_with("event") {
            body["event"] = json!("*");
        }
        body[field] = value.clone();
        let created = api.post("/subscriptions", &token, body).await;
        created.refused(status, code);
        if status == 422 {
            let detail = created.json["detail"].as_str().unwrap();
            assert!(detail.contains("line 1 column"), "{detail}");
            assert!(field != "colour" || detail.contains("`colour`"), "{detail}");
        }
        api.patch(&path, &token, json!({field: value}))
            .await
            .refused(status, code);
    }
    let both = json!({"url": "https://example.com/", "event": "*", "events": ["*"]});
    api.post("/subscriptions", &token, both)
        .await
        .refused(400, "invalid_events");
    api.post(
        "/subscriptions",
        &token,
        json!({"url": "https://example.com/"}),
    )
    .await
    .refused(400, "invalid_events");
    api.patch(&path, &token, json!({"secret": "sixteen letters…"}))
        .await
        .refused(422, "invalid_body");
    assert_eq!(api.get(&path, &token).await.json["events"], json!(["*"]));
    assert_eq!(
        api.count("select count(*) from webhook_subscriptions")
            .await,
        1
    );
}

#[tokio::test]
async fn what_is_no_json_says_line_and_column() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let post = |body: &'static str, kind: &'static str| {
        send(
            api.request(Method::POST, "/subscriptions", &token)
                .header("content-type", kind)
                .body(body),
        )
    };
    let broken = post("{\n  \"url\": x\n}", "application/json").await;
    broken.refused(400, "malformed_json");
    assert!(
        broken.json["detail"]
            .as_str()
            .unwrap()
            .contains("line 2 column 10"),
        "{}",
        broken.text
    );
    post("", "application/json; charset=utf-8")
        .await
        .refused(400, "malformed_json");
    post("{}", "text/plain").await.refused(415, "not_json");
    post("[]", "application/json")
        .await
        .refused(422, "invalid_body");
    let large = json!({"url": "x".repeat(70_000), "event": "*"});
    let large = send(with_json(
        api.request(Method::POST, "/subscriptions", &token),
        &large,
    ))
    .await;
    large.refused(413, "body_too_large");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems_too() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    api.root("/nowhere").await.refused(404, "no_such_call");
    api.get("/nowhere", &token)
        .await
        .refused(404, "no_such_call");
    let answer = send(api.request(Method::PUT, "/subscriptions", &token)).await;
    answer.refused(405, "method_not_allowed");
    let allowed = answer.headers["allow"].to_str().unwrap();
    assert!(
        allowed.contains("GET") && allowed.contains("POST"),
        "{allowed}"
    );
    for name in [
        "x-content-type-options",
        "content-security-policy",
        "cache-control",
        "x-frame-options",
    ] {
        assert!(answer.headers.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn queries_are_checked() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    for list in ["/subscriptions", "/deliveries", "/events"] {
        for (query, code) in [
            ("cursor=x", "invalid_cursor"),
            ("cursor=", "invalid_cursor"),
            ("cursor=%27%3B+drop", "invalid_cursor"),
            ("limit=0", "invalid_limit"),
            ("limit=201", "invalid_limit"),
            ("limit=x", "invalid_query"),
            ("limit=-1", "invalid_query"),
            ("colour=red", "invalid_query"),
        ] {
            api.get(&format!("{list}?{query}"), &token)
                .await
                .refused(400, code);
        }
    }
    for (query, code) in [
        ("status=lost", "invalid_status"),
        ("subscription_id=evt_1", "invalid_id"),
        ("since=yesterday", "invalid_query"),
    ] {
        api.get(&format!("/deliveries?{query}"), &token)
            .await
            .refused(400, code);
    }
}

#[tokio::test]
async fn order_and_batches_exclude_each_other() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let both =
        json!({"url": "https://example.com/hook", "event": "*", "ordering": "row", "batch": {}});
    let refused = "ordering_with_batch";
    api.post("/subscriptions", &token, both)
        .await
        .refused(400, refused);
    for (first, second) in [
        (json!({"ordering": "row"}), json!({"batch": {}})),
        (json!({"batch": {}}), json!({"ordering": "row"})),
    ] {
        let subscription = api.subscribe(&token).await;
        let path = format!("/subscriptions/{}", id(&subscription));
        api.patch(&path, &token, first).await.expect(200);
        api.patch(&path, &token, second.clone())
            .await
            .refused(400, refused);
        // Unless the one goes as the other comes.
        let mut exchanged = json!({"ordering": "none", "batch": null});
        let (name, value) = second.as_object().unwrap().iter().next().unwrap();
        exchanged[name] = value.clone();
        api.patch(&path, &token, exchanged).await.expect(200);
    }
}

#[tokio::test]
async fn a_time_that_the_store_has_not_is_refused() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    let long_ago = "-009000-01-01T00:00:00Z";
    let replay = format!("/subscriptions/{}/replay", id(&subscription));
    api.post(&replay, &token, json!({"since": long_ago}))
        .await
        .refused(400, "invalid_time");
    for list in ["/stats?from=", "/deliveries?since=", "/events?since="] {
        let answer = api.get(&format!("{list}{long_ago}"), &token).await;
        assert!(answer.status.as_u16() < 500, "{list}: {}", answer.text);
    }
}
