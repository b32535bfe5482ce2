//! What ends an endpoint that keeps failing, and how its tenant is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::{Deployed, settled, text, verifies};
use crate::harness::receiver::{Receiver, status};

const IMPATIENT: &str = "[delivery]
retry_schedule = ['100ms', '100ms', '1s', '1s', '1s', '1s', '1s', '1s', '1s', '1s', '1s']
disable_after = '1s'
";

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_fails_for_too_long_is_disabled_and_its_tenant_told() {
    let deployed = Deployed::start(IMPATIENT).await;
    let broken = Arc::new(AtomicBool::new(true));
    let answer = Arc::clone(&broken);
    let receiver = Receiver::answering(move |path, _| match path {
        "/orders" if answer.load(Ordering::SeqCst) => status(500),
        _ => status(200),
    })
    .await;
    let acme = deployed.tenant("acme").await;
    let orders = acme.subscribe(&receiver.url("/orders")).await;
    let told = acme
        .subscribe_with(
            &receiver.url("/told"),
            json!({"event": "webhook.subscription.disabled"}),
        )
        .await;
    // Of another tenant, and of one that asks for the application's events.
    let globex = deployed.tenant("globex").await;
    let webhook = json!({"event": "webhook.*"});
    globex
        .subscribe_with(&receiver.url("/other"), webhook)
        .await;
    let all = json!({"event": "*"});
    acme.subscribe_with(&receiver.url("/all"), all).await;

    deployed.orders("acme", 1).await;
    let notices = receiver.wait_for_of("/told", 1).await;
    assert!(verifies(&told["secret"], &notices[0]));
    let body = notices[0].json();
    assert_eq!(body["type"], "webhook.subscription.disabled");
    assert_eq!(body["tenant_id"], "acme");
    assert_eq!(body["data"]["subscription_id"], orders["id"]);
    let path = format!("/subscriptions/{}", text(&orders["id"]));
    let disabled = acme.get(&path).await;
    assert_eq!(disabled["active"], false);
    let reason = text(&disabled["disabled_reason"]);
    assert!(
        reason.starts_with("every attempt failed since 2"),
        "{reason}"
    );
    assert_eq!(body["data"]["reason"], disabled["disabled_reason"]);
    assert_eq!(receiver.of("/other").len(), 0);
    assert_eq!(receiver.of("/all").len(), 1, "the order alone");

    // What was pending is kept; once enabled it is sent, and the endpoint begins again. An
    // attempt that had begun ends first.
    let pending = "select bool_and(status = 'pending' and owner is null)
            and not exists (select from delivery_schedule where lease_owner is not null)
        from webhook_deliveries where event_type like 'order.%' and status <> 'delivered'";
    deployed.walhook.wait_for(pending).await;
    settled(&deployed).await;
    let waiting = acme.only_delivery(&orders).await;
    assert_eq!(waiting["status"], "parked");
    broken.store(false, Ordering::SeqCst);
    acme.post(&format!("{path}/enable"), Value::Null)
        .await
        .expect(200);
    deployed
        .walhook
        .wait_for("select count(*) = 0 from delivery_schedule")
        .await;
    assert_eq!(acme.only_delivery(&orders).await["status"], "delivered");
    deployed
        .walhook
        .wait_for("select bool_and(failing_since is null) from webhook_subscriptions")
        .await;
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_ends_the_time_of_failing() {
    let deployed = Deployed::start(IMPATIENT).await;
    let receiver = Receiver::answering(|_, count| match count {
        1 => status(500),
        _ => status(200),
    })
    .await;
    let acme = deployed.tenant("acme").await;
    acme.subscribe(&receiver.url("/")).await;
    deployed.orders("acme", 1).await;
    receiver.wait_for(2).await;
    deployed
        .walhook
        .wait_for("select bool_and(failing_since is null and active) from webhook_subscriptions")
        .await;
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_told_once_and_never_of_itself() {
    let deployed = Deployed::start("[delivery]\nretry_schedule = ['100ms']\n").await;
    let receiver = Receiver::answering(|_, _| status(500)).await;
    let acme = deployed.tenant("acme").await;
    let orders = acme.subscribe(&receiver.url("/orders")).await;
    let failed = json!({"event": "webhook.delivery.failed"});
    acme.subscribe_with(&receiver.url("/told"), failed).await;
    deployed.orders("acme", 1).await;
    // The notice itself fails too, for good.
    let all_failed = "select count(*) = 2 and bool_and(status = 'failed') from webhook_deliveries";
    deployed.walhook.wait_for(all_failed).await;
    let notices = receiver.of("/told");
    let body = notices[0].json();
    let dead = acme.only_delivery(&orders).await;
    assert_eq!(body["data"]["delivery_id"], dead["id"]);
    assert_eq!(body["data"]["event_id"], dead["event_id"]);
    assert_eq!(body["data"]["event"], dead["event"]);
    assert_eq!(body["data"]["attempts"], 2);
    assert_eq!(body["data"]["last_http_status"], 500);
    let events = acme.get("/events").await;
    assert_eq!(events["data"].as_array().unwrap().len(), 2, "{events}");

    // A retry by hand really sends, and its failure is told again.
    let path = format!("/deliveries/{}/retry", text(&dead["id"]));
    acme.post(&path, Value::Null).await.expect(202);
    receiver.wait_for_of("/orders", 3).await;
    receiver.wait_for_of("/told", 3).await;
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_told_of_an_endpoint_that_is_gone() {
    let deployed = Deployed::start("").await;
    let receiver = Receiver::answering(|path, _| match path {
        "/orders" => status(410),
        _ => status(200),
    })
    .await;
    let acme = deployed.tenant("acme").await;
    let orders = acme.subscribe(&receiver.url("/orders")).await;
    let webhook = json!({"event": "webhook.*"});
    acme.subscribe_with(&receiver.url("/told"), webhook).await;
    deployed.orders("acme", 1).await;
    let notices = receiver.wait_for_of("/told", 2).await;
    let mut types: Vec<String> = notices
        .iter()
        .map(|one| text(&one.json()["type"]).to_owned())
        .collect();
    types.sort();
    assert_eq!(
        types,
        ["webhook.delivery.failed", "webhook.subscription.disabled"]
    );
    for notice in notices {
        assert_eq!(notice.json()["data"]["subscription_id"], orders["id"]);
    }
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn operational_types_are_listed_with_the_rules_own() {
    let deployed = Deployed::start("").await;
    let acme = deployed.tenant("acme").await;
    let types = acme.get("/event-types").await;
    let types: Vec<&str> = types["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| text(&one["name"]))
        .collect();
    for expected in [
        "order.created",
        "webhook.delivery.failed",
        "webhook.subscription.disabled",
    ] {
        assert!(types.contains(&expected), "{types:?}");
    }
    deployed.stop();
}
