//! Subscriptions and deliveries under their tenant's hands: disable, enable, delete, retry.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use serde_json::json;
use tokio::sync::mpsc;
use uuid::Uuid;
use walhook::delivery::cause::Cause;
use walhook::delivery::instance::Instance;
use walhook::delivery::recorder::{Record, Recorder};
use walhook::delivery::state::Transition;
use walhook::delivery::{Delivery, Hold, ParkedReason, partitions};
use walhook::event::{DeliveryId, EventId, SubscriptionId};
use walhook::subscription::Format;

use super::{Deployed, settled, text};
use crate::harness::receiver::{Gate, Receiver, status};
use crate::harness::walhook::Installation;

#[tokio::test(flavor = "multi_thread")]
async fn disabling_parks_what_waits_and_enabling_sends_it() {
    let deployed = Deployed::start("[delivery]\nretry_schedule = ['1h']\n").await;
    let receiver = Receiver::answering(|_, _| status(500)).await;
    let acme = deployed.tenant("acme").await;
    let subscription = acme.subscribe(&receiver.url("/")).await;
    let path = format!("/subscriptions/{}", text(&subscription["id"]));
    deployed.orders("acme", 2).await;
    deployed
        .walhook
        .wait_for("select count(*) = 2 from delivery_schedule where status = 'pending' and lease_owner is null and due_at > now()")
        .await;
    acme.patch(&path, json!({"active": false})).await;
    settled(&deployed).await;
    let listed = acme.get("/deliveries?status=parked").await;
    let listed = listed["data"].as_array().unwrap();
    assert_eq!(listed.len(), 2);
    for delivery in listed {
        assert_eq!(delivery["status"], "parked");
        assert_eq!(delivery["parked_reason"], "disabled");
        assert_eq!(delivery["next_attempt_at"], json!(null));
    }

    receiver.answer(|_, _| status(200));
    acme.patch(&path, json!({"active": true})).await;
    receiver.wait_for(4).await;
    deployed
        .walhook
        .wait_for("select count(*) = 2 from webhook_deliveries where status = 'delivered' and attempts = 2")
        .await;
    deployed
        .walhook
        .wait_for("select not exists (select from delivery_schedule)")
        .await;
    assert_eq!(receiver.requests().len(), 4);
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_cancels_what_waits_and_it_is_never_sent() {
    let deployed = Deployed::start("[delivery]\nretry_schedule = ['1h']\n").await;
    let receiver = Receiver::answering(|path, _| match path {
        "/deleted" => status(500),
        _ => status(200),
    })
    .await;
    let acme = deployed.tenant("acme").await;
    let deleted = acme.subscribe(&receiver.url("/deleted")).await;
    acme.subscribe(&receiver.url("/stays")).await;
    deployed.orders("acme", 3).await;
    deployed
        .walhook
        .wait_for("(select count(*) = 3 and bool_and(status = 'pending' and lease_owner is null and due_at > now()) from delivery_schedule)")
        .await;
    acme.delete(&format!("/subscriptions/{}", text(&deleted["id"])))
        .await;
    let path = format!("/deliveries?subscription_id={}", text(&deleted["id"]));
    let listed = acme.get(&path).await;
    let listed = listed["data"].as_array().unwrap();
    assert_eq!(listed.len(), 3);
    for delivery in listed {
        assert_eq!(delivery["status"], "cancelled");
        assert_eq!(delivery["attempts"], 1, "its attempts stay readable");
    }
    let schedule = "select count(*) from delivery_schedule";
    assert_eq!(deployed.walhook.count(schedule).await, 0);
    // Whoever remains still gets everything, and the deleted one nothing more.
    deployed.orders("acme", 1).await;
    receiver.wait_for_of("/stays", 4).await;
    let all = "select count(*) = 7 from webhook_deliveries";
    deployed.walhook.wait_for(all).await;
    assert_eq!(receiver.of("/deleted").len(), 3);
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_delivery_is_sent_when_it_is_retried_by_hand() {
    let deployed = Deployed::start("[delivery]\nretry_schedule = []\n").await;
    let receiver = Receiver::answering(|_, _| status(500)).await;
    let acme = deployed.tenant("acme").await;
    let subscription = acme.subscribe(&receiver.url("/")).await;
    deployed.orders("acme", 1).await;
    deployed
        .walhook
        .wait_for("select count(*) = 1 from delivery_schedule where status = 'failed'")
        .await;
    let failed = acme.only_delivery(&subscription).await;
    assert_eq!(
        (&failed["status"], &failed["last_http_status"]),
        (&json!("failed"), &json!(500))
    );
    let path = format!("/deliveries/{}", text(&failed["id"]));
    let retry = format!("{path}/retry");

    // Given up again …
    acme.post(&retry, json!({})).await.expect(202);
    receiver.wait_for(2).await;
    acme.get_until(&path, |shown| {
        shown["status"] == "failed" && shown["attempts"] == 2
    })
    .await;
    // … and at last delivered, by the retry of all.
    receiver.answer(|_, _| status(204));
    let all = acme.post("/deliveries/retry", json!({})).await.expect(202);
    assert_eq!(all["done"], 1);
    let requests = receiver.wait_for(3).await;
    let delivered = acme
        .get_until(&path, |shown| shown["status"] == "delivered")
        .await;
    assert_eq!(delivered["attempts"], 3);
    assert_eq!(delivered["attempt_log"].as_array().unwrap().len(), 3);
    for request in &requests {
        assert_eq!(
            (request.id(), &request.body),
            (requests[0].id(), &requests[0].body)
        );
    }
    let schedule = "select count(*) from delivery_schedule";
    assert_eq!(deployed.walhook.count(schedule).await, 0);
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_memory_is_parked_when_its_subscription_is_disabled() {
    let deployed = Deployed::start("[delivery]\nendpoint_concurrency = 1\n").await;
    let gate = Gate::closed();
    let held = gate.clone();
    let receiver = Receiver::answering(move |_, _| status(200).behind(&held)).await;
    let acme = deployed.tenant("acme").await;
    let subscription = acme.subscribe(&receiver.url("/")).await;
    let path = format!("/subscriptions/{}", text(&subscription["id"]));
    deployed.orders("acme", 10).await;
    receiver.wait_for(1).await;
    acme.patch(&path, json!({"active": false})).await;
    // The enqueue of one more says that the process has heard of it.
    deployed.orders("acme", 1).await;
    deployed
        .walhook
        .wait_for("select count(*) = 11 from webhook_events")
        .await;
    gate.open();
    deployed
        .walhook
        .wait_for("select count(*) = 9 from delivery_schedule where parked_reason = 'disabled'")
        .await;
    assert_eq!(receiver.requests().len(), 1, "only what was on its way");
    acme.post(&format!("{path}/enable"), json!({}))
        .await
        .expect(200);
    deployed
        .walhook
        .wait_for("select count(*) = 10 from webhook_deliveries where status = 'delivered'")
        .await;
    assert_eq!(receiver.requests().len(), 10);
    deployed.stop();
}

/// The dispatcher finds the subscription disabled, and before the recorder has written
/// that down it is enabled again.
#[tokio::test]
async fn a_delivery_is_not_parked_behind_the_back_of_an_enabling() {
    let walhook = Installation::of_orders().await;
    let instance = Instance::register(&walhook.store, &[]).await.unwrap();
    let subscribed = walhook
        .subscribe("acme", "https://example.com/", &["*"])
        .await;
    let client = walhook.store.get().await.unwrap();
    let mut ids = Vec::new();
    let (sender, entries) = mpsc::channel(10);
    for (active, expected) in [(false, "parked"), (true, "pending")] {
        let event = EventId(Uuid::now_v7());
        let id = DeliveryId::derive(event, subscribed.id, Uuid::nil());
        partitions::ensure(&client, std::iter::once(event.0))
            .await
            .unwrap();
        client
            .execute(
                "insert into webhook_deliveries (id, event_id, subscription_id, tenant_id, event_type,
                     format, owner)
                 values ($1, $2, $3, 'acme', 'order.created', 'standard', $4)",
                &[&id.0, &event.0, &subscribed.id, &instance.id],
            )
            .await
            .unwrap();
        let delivery = Delivery {
            id,
            event_id: event,
            subscription_id: SubscriptionId(subscribed.id),
            event_type: "order.created".into(),
            format: Format::Standard,
            body: Bytes::new(),
            attempts: 0,
            occurred_at: jiff::Timestamp::now(),
            queued_at: std::time::Instant::now(),
            hold: Hold::Owned,
            of_stream: true,
            cause: Cause::default(),
            batch: None,
        };
        ids.push((id, active, expected, delivery));
    }
    let recorder = Recorder {
        store: walhook.store.clone(),
        instance: instance.id,
        outstanding: Arc::clone(&instance.outstanding),
        directory: walhook.directory_of_subscriptions(),
        health: Arc::default(),
        released: Arc::default(),
        stats: Arc::default(),
        disable_after: None,
        schedule_changed: Arc::default(),
    };
    let recording = tokio::spawn(recorder.run(entries, Weak::new()));
    for (id, active, expected, delivery) in ids {
        client
            .execute(
                "update webhook_subscriptions set active = $1,
                     disabled_at = case when not $1 then now() end,
                     disabled_reason = case when not $1 then 'by request' end",
                &[&active],
            )
            .await
            .unwrap();
        let parked = Transition::Parked(ParkedReason::Disabled);
        let record = Record::unattempted(delivery, parked);
        assert!(sender.send(record.into()).await.is_ok());
        walhook
            .wait_for(&format!(
                "select status = '{expected}' from delivery_schedule where delivery_id = '{}'",
                id.0
            ))
            .await;
    }
    drop(sender);
    recording.await.unwrap().unwrap();
}
