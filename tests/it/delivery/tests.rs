//! Tests of an endpoint: an event of any type, marked as what it is.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Deployed, text, verifies};
use crate::harness::receiver::{Receiver, status};
use crate::harness::walhook::{Installation, ORDERS};

const RULES: &str = "
[[events]]
type = 'order.created'
table = 'public.orders'
on = ['insert']
description = 'An order was placed.'

[[events.examples]]
op = 'insert'
new = { id = 7, status = 'new', note = 'fragile' }
expect = true

[[events]]
type = 'order.paid'
table = 'public.orders'
on = ['update']
data = { order = 'id' }
";

#[tokio::test(flavor = "multi_thread")]
async fn a_test_of_a_type_is_marked_and_answers_with_its_attempt() {
    let walhook = Installation::create(ORDERS, RULES, "").await;
    let deployed = Deployed::of(walhook, &[&["run"]]).await;
    let receiver = Receiver::answering(|path, _| match path {
        "/broken" => status(500),
        "/slow" => status(204).taking(Duration::from_secs(2)),
        _ => status(204),
    })
    .await;
    let acme = deployed.tenant("acme").await;
    let filtered = json!({"event": "order.paid", "filter": "data.order > 1000"});
    let well = acme.subscribe_with(&receiver.url("/well"), filtered).await;
    let broken = acme.subscribe(&receiver.url("/broken")).await;
    let slow = acme.subscribe(&receiver.url("/slow")).await;
    let cloudy = json!({"format": "cloudevents"});
    let cloudy = acme.subscribe_with(&receiver.url("/cloudy"), cloudy).await;
    let test = async |subscription: &Value, body: Value| {
        let path = format!("/subscriptions/{}/test", text(&subscription["id"]));
        acme.post(&path, body).await
    };

    // The rule's example, to an endpoint that asks for another type.
    let sent = test(&well, json!({"type": "order.created", "wait": "20s"})).await;
    let sent = sent.expect(202);
    assert_eq!(sent["attempt"]["http_status"], 204, "{sent}");
    assert_eq!(sent["attempt"]["trigger"], "test");
    let request = &receiver.of("/well")[0];
    assert!(verifies(&well["secret"], request));
    let body = request.json();
    assert_eq!(body["test"], true);
    assert_eq!(body["type"], "order.created");
    assert_eq!(
        body["data"],
        json!({"id": 7, "status": "new", "note": "fragile"})
    );
    // Nobody has said what one of these looks like, and then there is one.
    let kind = json!({"type": "order.paid"});
    test(&well, kind.clone()).await.refused(400, "no_example");
    deployed.orders("acme", 1).await;
    deployed.execute("update orders set status = 'paid'").await;
    deployed
        .walhook
        .wait_for("select count(*) > 0 from webhook_events where event_type = 'order.paid'")
        .await;
    test(&well, kind).await.expect(202);
    let body = receiver.wait_for_of("/well", 2).await[1].json();
    assert_eq!(
        (&body["data"], &body["test"]),
        (&json!({"order": 1}), &json!(true))
    );
    // What is given, and in the other format.
    let given = json!({"type": "order.paid", "data": {"order": 4711}, "wait": "20s"});
    let sent = test(&cloudy, given).await.expect(202);
    assert_eq!(sent["attempt"]["http_status"], 204, "{sent}");
    let event = receiver.of("/cloudy").pop().unwrap().json();
    assert_eq!(
        (&event["test"], &event["specversion"]),
        (&json!(true), &json!("1.0"))
    );

    let failed = test(&broken, json!({"wait": "20s"})).await.expect(202);
    assert_eq!(failed["attempt"]["error_class"], "http_status", "{failed}");
    let unknown = test(&slow, json!({"wait": "200ms"})).await.expect(202);
    assert_eq!(unknown["attempt"], Value::Null);
    for (body, code) in [
        (json!({"type": "order.*"}), "invalid_events"),
        (json!({"type": "order.gone"}), "invalid_events"),
        (json!({"type": "order.paid", "data": [1]}), "invalid_data"),
        (json!({"wait": "1h"}), "invalid_wait"),
    ] {
        test(&well, body).await.refused(400, code);
    }

    // It is listed as a test, and neither replayed nor taken for an event by a filter's test.
    let listed = acme.get("/events?type=order.paid").await;
    let tests = listed["data"].as_array().unwrap().iter();
    let tests = tests.filter(|event| event["test"] == true).count();
    assert_eq!((listed["data"].as_array().unwrap().len(), tests), (3, 2));
    let replay = format!("/subscriptions/{}/replay", text(&broken["id"]));
    let all = json!({"since": "2026-01-01T00:00:00Z", "dry_run": true});
    let counted = acme.post(&replay, all).await.expect(200);
    assert_eq!(counted["matching"], 2, "{counted}");
    let filter = json!({"filter": "data.order > 0", "events": ["order.paid"]});
    let tested = acme.post("/filters/test", filter).await.expect(200);
    assert_eq!(tested["tested"], 1, "{tested}");

    let types = acme.get("/event-types").await;
    let named = |name: &str| {
        let all = types["data"].as_array().unwrap();
        all.iter().find(|one| one["name"] == name).unwrap().clone()
    };
    let created = named("order.created");
    assert_eq!(created["description"], "An order was placed.");
    assert_eq!(created["example"]["note"], "fragile");
    assert_eq!(created["members"], Value::Null);
    assert_eq!(named("order.paid")["members"], json!(["order"]));
    assert_eq!(named("webhook.delivery.failed")["system"], true);
    deployed.stop();
}
