//! What becomes of a batch that fails: retries, dead letters, disabling, changes.

use serde_json::json;

use super::{all_rows, deliveries, rows};
use crate::delivery::{Deployed, settled, text, verifies};
use crate::harness::receiver::{Gate, Receiver, status};

const PAIRS: &str = "60s";

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_batch_is_tried_again_whole_under_its_id() {
    let deployed = Deployed::start("[delivery]\nretry_schedule = ['300ms', '300ms']\n").await;
    let receiver = Receiver::answering(|_, count| match count {
        1 | 2 => status(500),
        _ => status(200),
    })
    .await;
    let acme = deployed.tenant("acme").await;
    let batch = json!({"batch": {"max_events": 2, "max_wait": "1s"}});
    let subscription = acme.subscribe_with(&receiver.url("/"), batch).await;
    deployed.orders("acme", 2).await;
    receiver.wait_for(1).await;
    // It would have been full with this one, and never gets it.
    deployed.orders("acme", 1).await;
    receiver
        .wait_until(|requests| all_rows(requests).len() == 7)
        .await;
    deployed
        .walhook
        .wait_for("select count(*) = 3 from webhook_deliveries where status = 'delivered'")
        .await;
    let mut requests = receiver.requests();
    requests.retain(|request| rows(request) == [1, 2]);
    assert_eq!(requests.len(), 3);
    for request in &requests {
        assert_eq!(request.id(), requests[0].id());
        assert_eq!(request.body, requests[0].body);
        assert!(verifies(&subscription["secret"], request));
    }
    let deliveries = deliveries(&acme, &subscription).await;
    for row in [1, 2] {
        let delivery = &deliveries[&row];
        assert_eq!(delivery["attempts"], 3);
        let statuses = delivery["attempt_log"].as_array().unwrap().iter();
        let statuses: Vec<_> = statuses.map(|one| one["http_status"].clone()).collect();
        assert_eq!(statuses, [json!(500), json!(500), json!(200)]);
        assert_eq!(delivery["batch_id"], requests[0].id());
    }
    assert_eq!(deliveries[&3]["attempts"], 1);
    deployed
        .walhook
        .wait_for("select not exists (select from delivery_schedule)")
        .await;
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_given_up_is_as_many_dead_letters_each_retried_alone() {
    let deployed = Deployed::start("[delivery]\nretry_schedule = []\n").await;
    let receiver = Receiver::answering(|path, _| match path {
        "/" => status(500),
        _ => status(200),
    })
    .await;
    let acme = deployed.tenant("acme").await;
    let batch = json!({"batch": {"max_events": 3, "max_wait": PAIRS}});
    let subscription = acme.subscribe_with(&receiver.url("/"), batch).await;
    // The notices of one batch are a batch for whoever wants them so.
    let notices =
        json!({"event": "webhook.delivery.failed", "batch": {"max_events": 3, "max_wait": PAIRS}});
    acme.subscribe_with(&receiver.url("/told"), notices).await;
    deployed.orders("acme", 3).await;
    let told = receiver.wait_for_of("/told", 1).await;
    let told = told[0].json();
    let failed = deliveries(&acme, &subscription).await;
    assert_eq!(failed.len(), 3);
    for notice in told["data"].as_array().unwrap() {
        assert_eq!(notice["type"], "webhook.delivery.failed");
        let id = &notice["data"]["delivery_id"];
        assert!(failed.values().any(|delivery| delivery["id"] == *id));
        assert_eq!(notice["data"]["event"], "order.created");
    }
    let listed = acme.get("/deliveries?status=failed").await;
    assert_eq!(listed["data"].as_array().unwrap().len(), 3);
    for delivery in failed.values() {
        assert_eq!(delivery["status"], "failed");
        assert_eq!(delivery["attempts"], 1);
        assert_eq!(delivery["last_http_status"], 500);
    }

    receiver.answer(|_, _| status(200));
    let retry = format!("/deliveries/{}/retry", text(&failed[&2]["id"]));
    acme.post(&retry, json!({})).await.expect(202);
    let requests = receiver
        .wait_until(|requests| requests.iter().filter(|one| one.path == "/").count() == 2)
        .await;
    let alone = requests.iter().rfind(|one| one.path == "/").unwrap();
    assert_eq!(alone.id(), text(&failed[&2]["event_id"]));
    assert_eq!(alone.body, text(&failed[&2]["body"]));
    assert!(verifies(&subscription["secret"], alone));
    let all = acme.post("/deliveries/retry", json!({})).await.expect(202);
    assert_eq!(all["done"], 2);
    receiver.wait_for_of("/", 4).await;
    deployed
        .walhook
        .wait_for("select count(*) = 3 from webhook_deliveries where event_type = 'order.created' and status = 'delivered' and attempts = 2")
        .await;
    let mut sent: Vec<_> = receiver.of("/")[1..].to_vec();
    sent.sort_by_key(|request| request.id().to_owned());
    sent.dedup_by_key(|request| request.id().to_owned());
    assert_eq!(sent.len(), 3);
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_by_hand_of_what_is_in_a_batch_sends_the_whole_batch() {
    let deployed = Deployed::start("[delivery]\nretry_schedule = ['1h', '1h']\n").await;
    let receiver = Receiver::answering(|_, _| status(500)).await;
    let acme = deployed.tenant("acme").await;
    let batch = json!({"batch": {"max_events": 2, "max_wait": PAIRS}});
    let subscription = acme.subscribe_with(&receiver.url("/"), batch).await;
    deployed.orders("acme", 2).await;
    deployed
        .walhook
        .wait_for("select count(*) = 2 from webhook_deliveries where attempts = 1")
        .await;
    let waiting = deliveries(&acme, &subscription).await;
    for delivery in waiting.values() {
        assert_eq!(delivery["status"], "pending");
        let due: jiff::Timestamp = text(&delivery["next_attempt_at"]).parse().unwrap();
        assert!(due > jiff::Timestamp::now());
    }
    let retry = format!("/deliveries/{}/retry", text(&waiting[&1]["id"]));
    acme.post(&retry, json!({})).await.expect(202);
    receiver.wait_for(2).await;
    deployed
        .walhook
        .wait_for("select count(*) = 2 from webhook_deliveries where attempts = 2")
        .await;
    receiver.answer(|_, _| status(200));
    let pending = json!({"status": "pending"});
    let all = acme.post("/deliveries/retry", pending).await.expect(202);
    assert_eq!(all["done"], 2);
    let requests = receiver.wait_for(3).await;
    for request in &requests {
        assert_eq!(rows(request), [1, 2]);
        assert_eq!(request.body, requests[0].body);
    }
    deployed
        .walhook
        .wait_for("select count(*) = 2 from webhook_deliveries where status = 'delivered' and attempts = 3")
        .await;
    deployed
        .walhook
        .wait_for("select not exists (select from delivery_schedule)")
        .await;
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_parked_with_its_batch_and_sent_when_enabled() {
    let deployed = Deployed::start("[delivery]\nretry_schedule = ['1h']\n").await;
    let receiver = Receiver::answering(|_, _| status(500)).await;
    let acme = deployed.tenant("acme").await;
    let batch = json!({"batch": {"max_events": 2, "max_wait": PAIRS}});
    let subscription = acme.subscribe_with(&receiver.url("/"), batch).await;
    let path = format!("/subscriptions/{}", text(&subscription["id"]));
    deployed.orders("acme", 3).await;
    deployed
        .walhook
        .wait_for("select count(*) = 2 from webhook_deliveries where attempts = 1")
        .await;
    acme.patch(&path, json!({"active": false})).await;
    settled(&deployed).await;
    let pending = acme.get("/deliveries?status=pending").await;
    assert_eq!(pending["data"], json!([]));
    let listed = acme.get("/deliveries?status=parked").await;
    let listed = listed["data"].as_array().unwrap();
    assert_eq!(listed.len(), 3);
    for delivery in listed {
        assert_eq!(delivery["status"], "parked");
        assert_eq!(delivery["parked_reason"], "disabled");
        assert_eq!(delivery["next_attempt_at"], json!(null));
    }
    receiver.answer(|_, _| status(200));
    acme.post(&format!("{path}/enable"), json!({}))
        .await
        .expect(200);
    receiver.wait_for(2).await;
    deployed.orders("acme", 1).await;
    let requests = receiver.wait_for(3).await;
    assert_eq!(requests[1].id(), requests[0].id());
    assert_eq!(requests[1].body, requests[0].body);
    // What was open is open again, and meets the next.
    assert_eq!(rows(&requests[2]), [3, 4]);

    // Gone: the dead letters of one batch, and what is open is parked.
    receiver.answer(|_, _| status(410));
    deployed.orders("acme", 3).await;
    acme.get_until(&path, |shown| shown["active"] == false)
        .await;
    settled(&deployed).await;
    let failed = acme.get("/deliveries?status=failed").await;
    assert_eq!(failed["data"].as_array().unwrap().len(), 2);
    let parked = acme.get("/deliveries?status=parked").await;
    assert_eq!(parked["data"][0]["parked_reason"], "disabled");

    acme.delete(&path).await;
    let left = "select count(*) from delivery_schedule where status <> 'failed'";
    assert_eq!(deployed.walhook.count(left).await, 0);
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_setting_leaves_closed_batches_as_they_are() {
    let deployed = Deployed::start("[delivery]\nretry_schedule = ['1h', '1h']\n").await;
    let receiver = Receiver::answering(|_, count| match count {
        1 => status(500),
        _ => status(200),
    })
    .await;
    let acme = deployed.tenant("acme").await;
    let batch = json!({"batch": {"max_events": 2, "max_wait": PAIRS}});
    let subscription = acme.subscribe_with(&receiver.url("/"), batch).await;
    let path = format!("/subscriptions/{}", text(&subscription["id"]));
    deployed.orders("acme", 3).await;
    deployed
        .walhook
        .wait_for("select count(*) = 2 from webhook_deliveries where attempts = 1")
        .await;
    let changed = acme.patch(&path, json!({"batch": null})).await;
    assert_eq!(changed["batch"], json!(null));
    // The third goes by itself, now that nobody is to be waited for.
    let requests = receiver.wait_for(2).await;
    assert_eq!(requests[1].json()["data"]["id"], 3);
    let waiting = deliveries(&acme, &subscription).await;
    let retry = format!("/deliveries/{}/retry", text(&waiting[&2]["id"]));
    acme.post(&retry, json!({})).await.expect(202);
    let requests = receiver.wait_for(3).await;
    assert_eq!(requests[2].id(), requests[0].id());
    assert_eq!(requests[2].body, requests[0].body);
    deployed
        .walhook
        .wait_for("select not exists (select from delivery_schedule)")
        .await;
    // From here on each by itself, until it is changed again.
    deployed.orders("acme", 1).await;
    let requests = receiver.wait_for(4).await;
    assert_eq!(requests[3].json()["type"], "order.created");
    acme.patch(
        &path,
        json!({"batch": {"max_events": 2, "max_wait": PAIRS}}),
    )
    .await;
    deployed.orders("acme", 2).await;
    let requests = receiver.wait_for(5).await;
    assert_eq!(rows(&requests[4]), [5, 6]);

    // A replay is batched again, under other ids.
    let replay = json!({"since": "2020-01-01T00:00:00Z"});
    let replayed = acme
        .post(&format!("{path}/replay"), replay)
        .await
        .expect(202);
    assert_eq!(replayed["done"], 6);
    let mut requests = receiver.wait_for(8).await;
    requests[5..].sort_by_key(|request| request.id().to_owned());
    let sent: Vec<_> = requests[5..].iter().map(rows).collect();
    assert_eq!(sent, [[1, 2], [3, 4], [5, 6]]);
    assert_ne!(requests[5].id(), requests[0].id());
    assert_eq!(
        requests[5].json()["data"],
        requests[0].json()["data"],
        "the same events"
    );
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_in_memory_is_parked_whole_when_its_subscription_is_disabled() {
    let deployed = Deployed::start("[delivery]\nendpoint_concurrency = 1\n").await;
    let gate = Gate::closed();
    let held = gate.clone();
    let receiver = Receiver::answering(move |_, count| match count {
        1 => status(200),
        _ => status(200).behind(&held),
    })
    .await;
    let acme = deployed.tenant("acme").await;
    let batch = json!({"batch": {"max_events": 2, "max_wait": PAIRS}});
    let subscription = acme.subscribe_with(&receiver.url("/"), batch).await;
    let path = format!("/subscriptions/{}", text(&subscription["id"]));
    // An endpoint that has proved itself has several batches in memory.
    deployed.orders("acme", 2).await;
    receiver.wait_for(1).await;
    deployed.orders("acme", 8).await;
    receiver.wait_for(2).await;
    deployed
        .walhook
        .wait_for("select count(*) = 4 from delivery_schedule where batch_id = delivery_id and lease_owner is not null")
        .await;
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
        .wait_for("select count(*) = 3 from delivery_schedule where parked_reason = 'disabled'")
        .await;
    assert_eq!(receiver.requests().len(), 2, "only what was on its way");
    acme.patch(&path, json!({"active": true})).await;
    receiver
        .wait_until(|requests| all_rows(requests).len() == 10)
        .await;
    deployed
        .walhook
        .wait_for("select count(*) = 10 from webhook_deliveries where status = 'delivered' and attempts = 1")
        .await;
    assert_eq!(receiver.requests().len(), 5);
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_ordered_waits_for_its_closed_batches() {
    let deployed = Deployed::start("[delivery]\nretry_schedule = ['1h', '1h']\n").await;
    let receiver = Receiver::answering(|_, count| match count {
        1 => status(500),
        _ => status(200),
    })
    .await;
    let acme = deployed.tenant("acme").await;
    let batch = json!({"batch": {"max_events": 2, "max_wait": PAIRS}});
    let subscription = acme.subscribe_with(&receiver.url("/"), batch).await;
    let path = format!("/subscriptions/{}", text(&subscription["id"]));
    deployed.orders("acme", 2).await;
    deployed
        .walhook
        .wait_for("select count(*) = 2 from webhook_deliveries where attempts = 1")
        .await;
    let ordered = json!({"ordering": "row", "batch": null});
    acme.patch(&path, ordered).await;
    deployed
        .execute("update orders set status = 'paid' where id = 1")
        .await;
    // Without the batch it would be settled by now.
    deployed
        .walhook
        .wait_for(
            "select ordering_changed_at < now() - interval '10 seconds' from webhook_subscriptions",
        )
        .await;
    assert_eq!(receiver.requests().len(), 1);
    let all = json!({"status": "pending", "event": "order.created"});
    let all = acme.post("/deliveries/retry", all).await.expect(202);
    assert_eq!(all["done"], 2);
    let requests = receiver.wait_for(3).await;
    assert_eq!(requests[1].body, requests[0].body);
    assert_eq!(requests[2].json()["type"], "order.paid");
    deployed.stop();
}
