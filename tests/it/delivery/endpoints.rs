//! What a subscription may ask for: format, headers, filter.

use serde_json::{Value, json};

use super::{Deployed, text, verifies};
use crate::harness::receiver::Receiver;
use crate::harness::walhook::{Installation, ORDERS};

#[tokio::test(flavor = "multi_thread")]
async fn cloudevents_arrive_signed_and_are_shown_as_they_were_sent() {
    let deployed = Deployed::start("").await;
    let receiver = Receiver::start().await;
    let acme = deployed.tenant("acme").await;
    let cloudy = json!({"format": "cloudevents"});
    let cloudy = acme.subscribe_with(&receiver.url("/ce"), cloudy).await;
    let plain = acme.subscribe(&receiver.url("/plain")).await;
    deployed.orders("acme", 1).await;
    receiver.wait_for(2).await;
    deployed
        .walhook
        .wait_for("select count(*) = 2 from webhook_deliveries where status = 'delivered'")
        .await;
    let (sent, standard) = (&receiver.of("/ce")[0], &receiver.of("/plain")[0]);
    assert_eq!(sent.header("content-type"), "application/cloudevents+json");
    assert_eq!(standard.header("content-type"), "application/json");
    assert!(verifies(&cloudy["secret"], sent));
    assert!(verifies(&plain["secret"], standard));
    let (event, body) = (sent.json(), standard.json());
    for (attribute, expected) in [
        ("specversion", &json!("1.0")),
        ("id", &json!(sent.id())),
        ("type", &json!("order.created")),
        ("time", &body["timestamp"]),
        ("tenantid", &json!("acme")),
        ("sequence", &body["sequence"]),
        ("data", &body["data"]),
    ] {
        assert_eq!(&event[attribute], expected, "{attribute}");
    }
    assert_eq!(sent.id(), standard.id(), "one event");
    for (subscription, request) in [(&cloudy, sent), (&plain, standard)] {
        let shown = acme.only_delivery(subscription).await;
        assert_eq!(text(&shown["body"]).as_bytes(), request.body);
    }
    // A later change of the format changes no bytes of what there is.
    let path = format!("/subscriptions/{}", text(&cloudy["id"]));
    acme.patch(&path, json!({"format": "standard"})).await;
    let delivery = acme.only_delivery(&cloudy).await;
    let retry = format!("/deliveries/{}/retry", text(&delivery["id"]));
    acme.post(&retry, json!({})).await.expect(202);
    let again = &receiver.wait_for_of("/ce", 2).await[1];
    assert_eq!(again.body, sent.body);
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_headers_arrive_change_and_never_lie_in_the_store() {
    let deployed = Deployed::start("").await;
    let receiver = Receiver::start().await;
    let acme = deployed.tenant("acme").await;
    let headers = json!({"headers": {"Authorization": "Bearer of-the-receiver", "X-Region": "eu"}});
    let subscription = acme.subscribe_with(&receiver.url("/"), headers).await;
    deployed.orders("acme", 1).await;
    let first = receiver.wait_for(1).await.remove(0);
    assert_eq!(first.header("authorization"), "Bearer of-the-receiver");
    assert_eq!(first.header("x-region"), "eu");
    assert!(verifies(&subscription["secret"], &first));

    let path = format!("/subscriptions/{}", text(&subscription["id"]));
    let headers = json!({"headers": {"X-Api-Key": "another-credential"}});
    acme.patch(&path, headers).await;
    deployed.orders("acme", 1).await;
    let second = receiver.wait_for(2).await.remove(1);
    assert_eq!(second.header("x-api-key"), "another-credential");
    assert!(!second.headers.contains_key("authorization"));
    let clear = "select count(*) from webhook_subscriptions s
        where s::text || encode(headers, 'escape') ~* 'api-key|another|receiver'";
    assert_eq!(deployed.walhook.count(clear).await, 0);
    let sealed = "select count(*) from webhook_subscriptions where headers is not null";
    assert_eq!(deployed.walhook.count(sealed).await, 1);

    acme.patch(&path, json!({"headers": {}})).await;
    deployed.orders("acme", 1).await;
    let third = receiver.wait_for(3).await.remove(2);
    assert!(!third.headers.contains_key("x-api-key"));
    assert_eq!(deployed.walhook.count(sealed).await, 0);
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_admits_only_what_it_is_true_for() {
    let deployed = Deployed::start("").await;
    let receiver = Receiver::start().await;
    let acme = deployed.tenant("acme").await;
    let filter = json!({"filter": "data.note = 'wanted' and data.id > 1"});
    acme.subscribe_with(&receiver.url("/filtered"), filter)
        .await;
    acme.subscribe(&receiver.url("/all")).await;
    deployed
        .execute(
            "insert into orders (tenant_id, status, note)
             values ('acme', 'new', 'wanted'), ('acme', 'new', 'wanted'), ('acme', 'new', null)",
        )
        .await;
    receiver.wait_for(4).await;
    deployed
        .walhook
        .wait_for("select count(*) = 4 from webhook_deliveries where status = 'delivered'")
        .await;
    let of = |path| {
        let mut ids: Vec<Value> = receiver
            .of(path)
            .iter()
            .map(|request| request.json()["data"]["id"].clone())
            .collect();
        ids.sort_by_key(Value::as_i64);
        ids
    };
    assert_eq!(of("/filtered"), [2]);
    assert_eq!(of("/all"), [1, 2, 3]);
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_fails_is_shown_to_its_tenant_until_it_is_changed() {
    let deployed = Deployed::start("").await;
    let receiver = Receiver::start().await;
    let acme = deployed.tenant("acme").await;
    let failing = json!({"filter": "type like 'order.%' and data.id = 'one'"});
    let failing = acme
        .subscribe_with(&receiver.url("/failing"), failing)
        .await;
    acme.subscribe(&receiver.url("/all")).await;
    let path = format!("/subscriptions/{}", text(&failing["id"]));
    let shown = || async { acme.get(&path).await["filter_error"].clone() };
    assert_eq!(shown().await, Value::Null);

    deployed.orders("acme", 3).await;
    receiver.wait_for(3).await;
    deployed
        .walhook
        .wait_for("select filter_failures = 3 from webhook_subscriptions where filter is not null")
        .await;
    let error = shown().await;
    assert_eq!(error["failures"], 3);
    let reason = error["reason"].as_str().unwrap();
    assert!(
        reason.contains("a text is expected, and the event has a number"),
        "{reason}"
    );
    assert!(error["failed_at"].is_string(), "{error}");
    let lines = deployed.log();
    let lines = lines.matches("a subscription's filter failed").count();
    assert_eq!(lines, 1, "one line for three events of a second or a few");

    // What else is changed leaves the record; another filter has not failed.
    acme.patch(&path, json!({"description": "renamed"})).await;
    assert_eq!(shown().await["failures"], 3);
    acme.patch(&path, json!({"filter": "data.id > 1"})).await;
    assert_eq!(shown().await, Value::Null);
    deployed.orders("acme", 1).await;
    receiver.wait_for(5).await;
    assert_eq!(receiver.of("/failing").len(), 1);
    assert_eq!(shown().await, Value::Null);
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_on_a_member_that_no_event_has_is_refused() {
    let rules = "
[[events]]
type = 'order.created'
table = 'public.orders'
on = ['insert']
[events.data]
id = 'id'
orderNote = 'note'

[[events]]
name = 'all of it'
type = 'order.updated'
table = 'public.orders'
on = ['update']
";
    let walhook = Installation::create(ORDERS, rules, "").await;
    let deployed = Deployed::of(walhook, &[&["run"]]).await;
    let acme = deployed.tenant("acme").await;
    let subscribe = |events: Value, filter: &str| {
        let body = json!({"url": "http://127.0.0.1:9000/", "events": events, "filter": filter});
        acme.post("/subscriptions", body)
    };
    for filter in [
        "data.note = 'x'",
        "data.idd > 1",
        "data.\"ordernote\" = 'x'",
    ] {
        let refused = subscribe(json!(["order.created"]), filter).await;
        let detail = refused.json["detail"].as_str().unwrap().to_owned();
        refused.refused(400, "invalid_filter");
        assert!(detail.contains("id, orderNote"), "{detail}");
    }
    subscribe(json!(["order.created"]), "data.ordernote = 'x'")
        .await
        .expect(201);
    // Of the whole row nobody knows here what it has.
    let both = subscribe(json!(["order.*"]), "data.note = 'x'")
        .await
        .expect(201);
    let path = format!("/subscriptions/{}", text(&both["id"]));
    let narrowed = acme
        .patch_refused(&path, json!({"events": ["order.created"]}))
        .await;
    narrowed.refused(400, "invalid_filter");
    deployed.stop();
}
