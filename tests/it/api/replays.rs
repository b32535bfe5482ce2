//! Tests of a subscription and replays of stored events.

use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};
use walhook::event::{DeliveryId, EventId};

use super::fixtures::{Api, id};

#[tokio::test]
async fn a_test_queues_a_ping_with_the_documented_body() {
    let api = Api::start().await;
    let token = api.token("acme \"& co").await;
    let body = json!({"url": "https://example.com/hook", "event": "customer.created"});
    let subscription = api.post("/subscriptions", &token, body).await.expect(201);
    let path = format!("/subscriptions/{}/test", id(&subscription));
    let queued = api.post(&path, &token, json!({})).await.expect(202);
    let delivery = queued["delivery_id"].as_str().unwrap();
    let read = api
        .get(&format!("/deliveries/{delivery}"), &token)
        .await
        .expect(200);
    assert_eq!(
        (&read["event"], &read["status"]),
        (&json!("ping"), &json!("pending"))
    );
    let text = read["body"].as_str().unwrap();
    assert!(text.starts_with(r#"{"id":"evt_"#), "{text}");
    let body: Value = serde_json::from_str(text).unwrap();
    assert_eq!(body["id"], read["event_id"]);
    assert_eq!(
        (&body["type"], &body["tenant_id"]),
        (&json!("ping"), &json!("acme \"& co"))
    );
    assert_eq!(body["sequence"], "0000000000000000-0000000000");
    assert!(body["data"]["message"].is_string());
    assert_eq!(
        body["timestamp"].as_str().unwrap().len(),
        "2026-11-23T12:00:00.123456Z".len()
    );
    let due = "select count(*) from delivery_schedule where status = 'pending' and due_at <= now()";
    assert_eq!(api.count(due).await, 1);
}

#[tokio::test]
async fn a_replay_creates_deliveries_of_what_matches() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let body = json!({"url": "https://example.com/hook", "events": ["payment.*", "customer.created"],
        "format": "cloudevents"});
    let subscription = api.post("/subscriptions", &token, body).await.expect(201);
    let path = format!("/subscriptions/{}/replay", id(&subscription));
    let now = Timestamp::now();
    let mut events = Vec::new();
    for (tenant, event_type, hours) in [
        ("acme", "payment.received", 50),
        ("acme", "payment.failed", 3),
        ("acme", "customer.created", 2),
        ("acme", "lead.created", 2),
        ("globex", "payment.received", 2),
    ] {
        events.push(
            api.event(tenant, event_type, now - i64::from(hours).hours())
                .await,
        );
    }
    let at = |hours: i64| (now - hours.hours()).to_string();
    for (body, expected) in [
        (json!({"since": at(100)}), 3),
        (json!({"since": at(4)}), 2),
        (json!({"since": at(100), "until": at(4)}), 1),
        (json!({"since": at(100), "events": ["payment.*"]}), 2),
        (json!({"since": at(100), "events": ["payment.failed"]}), 1),
        // From its own microsecond on, and up to, but not with it.
        (json!({"since": at(3), "until": at(2)}), 1),
    ] {
        let started = api.post(&path, &token, body.clone()).await.expect(202);
        assert_eq!(started["done"], expected, "{body}");
    }
    let started = api
        .post(
            &path,
            &token,
            json!({"since": at(4), "events": ["payment.failed"]}),
        )
        .await
        .expect(202);
    let replay = started["replay_id"].as_str().unwrap().parse().unwrap();
    let subscription = id(&subscription)["sub_".len()..].parse().unwrap();
    let delivery = DeliveryId::derive(EventId(events[1].0), subscription, replay);
    let read = api
        .get(&format!("/deliveries/{delivery}"), &token)
        .await
        .expect(200);
    assert_eq!(
        (&read["replay_id"], &read["format"]),
        (&started["replay_id"], &json!("cloudevents"))
    );
    assert_eq!(read["event_id"], events[1].to_string());
    let due = api
        .count(
            "select count(*) from delivery_schedule where status = 'pending' and due_at <= now()",
        )
        .await;
    assert_eq!(due, 11);
    api.post(&path, &token, json!({"since": at(1), "until": at(2)}))
        .await
        .refused(400, "invalid_range");
    api.post(&path, &token, json!({}))
        .await
        .refused(400, "invalid_range");
    api.post(&path, &token, json!({"from_lsn": "1/5", "to_lsn": "1/4"}))
        .await
        .refused(400, "invalid_range");
    api.post(&path, &token, json!({"from_lsn": "xyz"}))
        .await
        .refused(400, "invalid_range");
    let body = json!({"from_lsn": "0/0", "events": ["payment.*"]});
    let started = api.post(&path, &token, body).await.expect(202);
    assert_eq!(started["done"], 2);
    let body = json!({"since": at(100), "from_lsn": "FFFF/0"});
    let started = api.post(&path, &token, body).await.expect(202);
    assert_eq!(started["done"], 0);
}

#[tokio::test]
async fn a_replay_asks_the_subscriptions_filter() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let body = json!({"url": "https://example.com/hook", "event": "*", "filter": "payment.failed"});
    let subscription = api.post("/subscriptions", &token, body).await.expect(201);
    let now = Timestamp::now();
    for event_type in ["payment.received", "payment.failed", "payment.failed"] {
        api.event("acme", event_type, now).await;
    }
    let path = format!("/subscriptions/{}/replay", id(&subscription));
    let since = (now - 1.hours()).to_string();
    let until = (now + 1.hours()).to_string();
    let started = api
        .post(&path, &token, json!({"since": since, "until": until}))
        .await
        .expect(202);
    assert_eq!(started["done"], 2);
}
