//! What stays known of each attempt: why it was made, by what settings, and what was answered.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Deployed, Tenant, text};
use crate::harness::receiver::{Content, Receiver, status};

/// Nothing is tried again by itself.
const ONE_ATTEMPT: &str = "[delivery]\nretry_schedule = ['1h', '1h', '1h']\n";

/// The only delivery of a subscription, once it has so many attempts.
async fn attempted(acme: &Tenant, subscription: &Value, attempts: usize) -> Value {
    let list = format!("/deliveries?subscription_id={}", text(&subscription["id"]));
    let listed = acme
        .get_until(&list, |listed| {
            !listed["data"].as_array().unwrap().is_empty()
        })
        .await;
    let path = format!("/deliveries/{}", text(&listed["data"][0]["id"]));
    acme.get_until(&path, |delivery| {
        delivery["attempt_log"].as_array().unwrap().len() >= attempts
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_keeps_its_answer_and_each_attempt_why_and_where_it_was_sent() {
    let deployed = Deployed::start(ONE_ATTEMPT).await;
    let body = "{\"error\":\n  \"n\u{f6} \\u0000 such\tid\"}";
    let receiver = Receiver::answering(move |path, _| match path {
        "/new" => status(202)
            .with_header("content-type", "text/plain; charset=utf-8")
            .with_header("x-request-id", "not-of-a-failure")
            .with_content(Content::Bytes(Bytes::from_static(b"thanks"))),
        _ => status(422)
            .with_header("content-type", "application/problem+json")
            .with_header("x-request-id", "req-7")
            .with_header("set-cookie", "session=secret")
            .with_content(Content::Bytes(Bytes::from_static(body.as_bytes()))),
    })
    .await;
    let acme = deployed.tenant("acme").await;
    let subscription = acme.subscribe(&receiver.url("/old")).await;
    let well = acme.subscribe(&receiver.url("/new")).await;
    deployed.orders("acme", 1).await;
    let sent = attempted(&acme, &well, 1).await;
    let only = &sent["attempt_log"][0];
    assert_eq!(only["trigger"], "schedule");
    assert_eq!(only["url"], receiver.url("/new"));
    assert_eq!(only["content_type"], "text/plain; charset=utf-8");
    assert_eq!(only["response_excerpt"], "thanks");
    assert_eq!(only["response_body"], Value::Null);
    let failed = attempted(&acme, &subscription, 1).await;
    let first = &failed["attempt_log"][0];
    assert_eq!(first["trigger"], "schedule");
    assert_eq!(first["actor"], Value::Null);
    assert_eq!(first["url"], receiver.url("/old"));
    assert_eq!(first["subscription_version"], 1);
    assert_eq!(first["content_type"], "application/problem+json");
    assert_eq!(first["response_body"], body);
    assert_eq!(first["response_body_encoding"], "utf8");
    assert_eq!(first["response_truncated"], false);
    assert_eq!(first["response_headers"]["x-request-id"], "req-7");
    assert_eq!(first["response_headers"]["set-cookie"], Value::Null);

    let path = format!("/subscriptions/{}", text(&subscription["id"]));
    acme.patch(&path, json!({"url": receiver.url("/new")}))
        .await;
    let retry = format!("/deliveries/{}/retry", text(&failed["id"]));
    acme.post(&retry, json!({})).await.expect(202);
    let retried = attempted(&acme, &subscription, 2).await;
    assert_eq!(retried["attempt_log"][0]["url"], receiver.url("/old"));
    let second = &retried["attempt_log"][1];
    assert_eq!(second["trigger"], "retry");
    assert_eq!(second["actor"]["kind"], "token");
    assert_eq!(second["actor"]["actor"], "test");
    assert_eq!(second["url"], receiver.url("/new"));
    assert_eq!(second["subscription_version"], 2);
    assert_eq!(second["content_type"], "text/plain; charset=utf-8");
    assert_eq!(second["response_excerpt"], "thanks");
    for kept in ["response_headers", "response_body", "response_truncated"] {
        assert_eq!(second[kept], Value::Null, "{kept}");
    }
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn tests_replays_and_retries_of_many_say_that_they_are_and_whose() {
    let deployed = Deployed::start(ONE_ATTEMPT).await;
    let receiver = Receiver::answering(|_, count| status(if count <= 2 { 500 } else { 200 })).await;
    let acme = deployed.tenant("acme").await;
    let subscription = acme.subscribe(&receiver.url("/")).await;
    deployed.orders("acme", 1).await;
    let failed = attempted(&acme, &subscription, 1).await;
    let path = format!("/deliveries/{}", text(&failed["id"]));
    for attempts in 2..=3 {
        let pending = json!({"status": "pending"});
        acme.post("/deliveries/retry", pending).await.expect(202);
        attempted(&acme, &subscription, attempts).await;
    }
    let retried = acme
        .get_until(&path, |delivery| delivery["status"] == "delivered")
        .await;
    let log = retried["attempt_log"].as_array().unwrap();
    let triggers: Vec<_> = log
        .iter()
        .map(|attempt| text(&attempt["trigger"]))
        .collect();
    assert_eq!(triggers[0], "schedule");
    assert!(
        triggers[1..].iter().all(|trigger| *trigger == "retry_many"),
        "{triggers:?}"
    );

    let of_subscription = format!("/subscriptions/{}", text(&subscription["id"]));
    let since = json!({"since": "2026-01-01T00:00:00Z"});
    acme.post(&format!("{of_subscription}/replay"), since)
        .await
        .expect(202);
    let tested = acme
        .post(&format!("{of_subscription}/test"), json!({}))
        .await;
    let tested = tested.expect(202);
    let tested = format!("/deliveries/{}", text(&tested["delivery_id"]));
    let test = acme
        .get_until(&tested, |delivery| delivery["status"] == "delivered")
        .await;
    assert_eq!(test["attempt_log"][0]["trigger"], "test");
    let newest = "/deliveries?event=order.created";
    let replayed = acme
        .get_until(newest, |listed| {
            let all = listed["data"].as_array().unwrap();
            all.len() == 2 && all.iter().all(|one| one["status"] == "delivered")
        })
        .await;
    let replayed = replayed["data"].as_array().unwrap();
    let replayed = replayed
        .iter()
        .find(|one| one["replay_id"].is_string())
        .unwrap();
    let replayed = acme
        .get(&format!("/deliveries/{}", text(&replayed["id"])))
        .await;
    assert_eq!(replayed["attempt_log"][0]["trigger"], "replay");

    // Who it was leads to the entry of the audit log.
    let entries = acme.get("/audit?action=subscription.replay").await;
    let entry = &entries["data"][0];
    let job = format!("job_{}", text(&replayed["replay_id"]));
    assert_eq!(entry["after"]["job_id"], job);
    assert_eq!(entry["principal"], replayed["attempt_log"][0]["actor"]);
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_long_or_no_text_is_cut_off_or_base64() {
    let deployed = Deployed::start(ONE_ATTEMPT).await;
    let receiver = Receiver::answering(|path, _| {
        let body = match path {
            "/long" => "\u{e9}".repeat(20_000).into_bytes(),
            _ => b"\xff\x00".to_vec(),
        };
        status(500).with_content(Content::Bytes(body.into()))
    })
    .await;
    let acme = deployed.tenant("acme").await;
    let long = acme.subscribe(&receiver.url("/long")).await;
    let odd = acme.subscribe(&receiver.url("/odd")).await;
    deployed.orders("acme", 1).await;
    let long = &attempted(&acme, &long, 1).await["attempt_log"][0];
    assert_eq!(text(&long["response_body"]), "\u{e9}".repeat(8_192));
    assert_eq!(long["response_truncated"], true);
    let odd = &attempted(&acme, &odd, 1).await["attempt_log"][0];
    assert_eq!(odd["response_body"], "/wA=");
    assert_eq!(odd["response_body_encoding"], "base64");
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_kept_where_the_operator_wants_none() {
    let deployed = Deployed::start(&format!("{ONE_ATTEMPT}keep_answer = false\n")).await;
    let receiver = Receiver::answering(|_, _| {
        status(500)
            .with_header("content-type", "text/html")
            .with_content(Content::Bytes(Bytes::from_static(b"<p>oops</p>")))
    })
    .await;
    let acme = deployed.tenant("acme").await;
    let subscription = acme.subscribe(&receiver.url("/")).await;
    deployed.orders("acme", 1).await;
    let attempt = &attempted(&acme, &subscription, 1).await["attempt_log"][0];
    assert_eq!(attempt["content_type"], "text/html");
    assert_eq!(attempt["response_excerpt"], "<p>oops</p>");
    for kept in ["response_headers", "response_body", "response_truncated"] {
        assert_eq!(attempt[kept], Value::Null, "{kept}");
    }
    deployed.stop();
}
