//! A subscription's `batch`: several events in one signed request, tried again as one.

mod endings;
mod faults;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Deployed, Tenant, text, verifies};
use crate::harness::receiver::{Receiver, Request, status};

/// The deliveries of a subscription by the row that they tell of.
async fn deliveries(tenant: &Tenant, subscription: &Value) -> BTreeMap<i64, Value> {
    let path = format!(
        "/deliveries?limit=200&subscription_id={}",
        text(&subscription["id"])
    );
    let mut by_row = BTreeMap::new();
    for listed in tenant.get(&path).await["data"].as_array().unwrap() {
        let path = format!("/deliveries/{}", text(&listed["id"]));
        let delivery = tenant.get(&path).await;
        let body: Value = serde_json::from_str(text(&delivery["body"])).unwrap();
        by_row.insert(body["data"]["id"].as_i64().unwrap(), delivery);
    }
    by_row
}

/// The rows that a batch tells of, in its order.
fn rows(request: &Request) -> Vec<i64> {
    let body = request.json();
    assert_eq!(body["type"], "webhook.batch");
    let events = body["data"].as_array().unwrap();
    let row = |event: &Value| event["data"]["id"].as_i64().unwrap();
    events.iter().map(row).collect()
}

/// Every row that these tell of, batches or not.
fn all_rows(requests: &[Request]) -> Vec<i64> {
    let mut all: Vec<i64> = requests
        .iter()
        .flat_map(|request| match request.json()["type"] == "webhook.batch" {
            true => rows(request),
            false => vec![request.json()["data"]["id"].as_i64().unwrap()],
        })
        .collect();
    all.sort_unstable();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_come_together_are_one_signed_request_of_their_exact_bytes() {
    let deployed = Deployed::start("").await;
    let receiver = Receiver::start().await;
    let acme = deployed.tenant("acme").await;
    let batch = json!({"batch": {"max_events": 3, "max_wait": "60s"}});
    let subscription = acme.subscribe_with(&receiver.url("/"), batch).await;
    assert_eq!(
        subscription["batch"],
        json!({"max_events": 3, "max_bytes": 262_144, "max_wait": "1m"})
    );
    deployed.orders("acme", 7).await;
    let requests = receiver.wait_for(2).await;
    deployed
        .walhook
        .wait_for("select count(*) = 6 from webhook_deliveries where status = 'delivered' and attempts = 1")
        .await;
    let deliveries = deliveries(&acme, &subscription).await;
    for request in &requests {
        assert!(verifies(&subscription["secret"], request));
        let body = request.json();
        assert_eq!(body["id"], request.id());
        assert!(request.id().starts_with("bat_"));
        assert_eq!(body["tenant_id"], "acme");
        assert_eq!(request.header("content-type"), "application/json");
        let members: Vec<&Value> = rows(request).iter().map(|row| &deliveries[row]).collect();
        let bodies: Vec<&str> = members.iter().map(|one| text(&one["body"])).collect();
        let sent = std::str::from_utf8(&request.body).unwrap();
        let data = format!("\"data\":[{}]}}", bodies.join(","));
        assert!(sent.ends_with(&data), "{sent}");
        for member in members {
            assert_eq!(member["batch_id"], request.id());
            assert_eq!(member["attempt_log"].as_array().unwrap().len(), 1);
            assert_eq!(member["attempt_log"][0]["http_status"], 200);
        }
    }
    // In the order of the WAL, and the last waits for others.
    let sent: Vec<_> = requests.iter().map(rows).collect();
    assert_eq!(sent, [[1, 2, 3], [4, 5, 6]]);
    assert_eq!(deliveries[&7]["status"], "pending");
    assert_eq!(deliveries[&7].get("batch_id"), None);
    let pending = acme.get("/deliveries?status=pending").await;
    assert_eq!(pending["data"].as_array().unwrap().len(), 1);

    // A change of the setting holds for what is open.
    let path = format!("/subscriptions/{}", text(&subscription["id"]));
    let changed = json!({"batch": {"max_wait": "0s"}});
    let changed = acme.patch(&path, changed).await;
    assert_eq!(
        changed["batch"],
        json!({"max_events": 100, "max_bytes": 262_144, "max_wait": "0s"})
    );
    let requests = receiver.wait_for(3).await;
    assert_eq!(rows(&requests[2]), [7]);
    deployed
        .walhook
        .wait_for("select not exists (select from delivery_schedule)")
        .await;
    for (series, expected) in [
        (
            "webhook_deliveries_total{event=\"order.created\",status=\"delivered\"}",
            7.0,
        ),
        ("webhook_delivery_http_status{code=\"200\"}", 3.0),
        ("webhook_delivery_duration_seconds_count", 3.0),
    ] {
        assert_eq!(deployed.metric(series).await, Some(expected), "{series}");
    }
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_closes_when_it_has_its_bytes_and_a_larger_event_goes_alone() {
    let deployed = Deployed::start("").await;
    let receiver = Receiver::start().await;
    let acme = deployed.tenant("acme").await;
    let batch = json!({"batch": {"max_bytes": 2048, "max_wait": "2s"}});
    acme.subscribe_with(&receiver.url("/"), batch).await;
    // The third is larger than a batch may be.
    deployed
        .execute(
            "insert into orders (tenant_id, status, note)
             select 'acme', 'new', repeat('x', case n when 3 then 4000 else 300 end)
             from generate_series(1, 12) n",
        )
        .await;
    receiver
        .wait_until(|requests| all_rows(requests).len() == 12)
        .await;
    let mut requests = receiver.requests();
    // Requests may overtake each other; ids are made in the order of the WAL.
    requests.sort_by_key(|request| request.id().to_owned());
    let sent: Vec<_> = requests.iter().map(rows).collect();
    assert_eq!(sent.concat(), (1..=12).collect::<Vec<i64>>());
    for request in &requests {
        let alone = rows(request) == [3];
        assert!(alone || request.body.len() <= 2048, "{:?}", rows(request));
    }
    assert_eq!(sent[..2], [vec![1, 2], vec![3]]);
    assert!(sent.len() <= 7, "they are as full as can be: {sent:?}");
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_closes_when_its_oldest_event_has_waited() {
    let deployed = Deployed::start("").await;
    let receiver = Receiver::start().await;
    let acme = deployed.tenant("acme").await;
    let batch = json!({"batch": {"max_events": 1000, "max_wait": "1500ms"}});
    let subscription = acme.subscribe_with(&receiver.url("/"), batch).await;
    assert_eq!(subscription["batch"]["max_wait"], "1500ms");
    let began = std::time::Instant::now();
    deployed.orders("acme", 2).await;
    deployed
        .walhook
        .wait_for("select count(*) = 2 from delivery_schedule")
        .await;
    deployed.orders("acme", 1).await;
    let requests = receiver.wait_for(1).await;
    assert!(requests[0].at - began >= std::time::Duration::from_millis(1500));
    assert_eq!(rows(&requests[0]), [1, 2, 3]);
    // A test is a batch too: it shows what the receiver is going to get, at once.
    let patch = json!({"batch": {"max_wait": "1m"}});
    let path = format!("/subscriptions/{}", text(&subscription["id"]));
    acme.patch(&path, patch).await;
    deployed.orders("acme", 1).await;
    deployed
        .walhook
        .wait_for("select count(*) = 1 from delivery_schedule where status = 'open'")
        .await;
    let asked = std::time::Instant::now();
    let path = format!("/subscriptions/{}/test", text(&subscription["id"]));
    acme.post(&path, json!({})).await.expect(202);
    let requests = receiver.wait_for(2).await;
    let body = requests[1].json();
    assert!(requests[1].at - asked < std::time::Duration::from_secs(55));
    assert_eq!(body["data"][0]["type"], "ping");
    assert_eq!(body["data"][1]["type"], "order.created");
    assert!(verifies(&subscription["secret"], &requests[1]));
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn cloud_events_go_in_their_own_batch_format() {
    let deployed = Deployed::start("").await;
    let receiver = Receiver::start().await;
    let acme = deployed.tenant("acme").await;
    let settings = json!({"format": "cloudevents", "batch": {"max_events": 2, "max_wait": "60s"}});
    let subscription = acme.subscribe_with(&receiver.url("/"), settings).await;
    deployed.orders("acme", 2).await;
    let requests = receiver.wait_for(1).await;
    let request = &requests[0];
    assert!(verifies(&subscription["secret"], request));
    assert_eq!(
        request.header("content-type"),
        "application/cloudevents-batch+json"
    );
    let deliveries = deliveries_of_cloud_events(&acme, &subscription).await;
    assert_eq!(
        std::str::from_utf8(&request.body).unwrap(),
        format!("[{}]", deliveries.join(","))
    );
    deployed.stop();
}

/// Their bodies, by row.
async fn deliveries_of_cloud_events(tenant: &Tenant, subscription: &Value) -> Vec<String> {
    let bodies = deliveries(tenant, subscription).await;
    bodies
        .values()
        .map(|one| text(&one["body"]).to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_of_one_subscription_and_hold_nobody_else_back() {
    let deployed = Deployed::start("").await;
    let receiver = Receiver::answering(|path, _| match path {
        "/broken" => status(500),
        _ => status(200),
    })
    .await;
    let acme = deployed.tenant("acme").await;
    let globex = deployed.tenant("globex").await;
    let batch = || json!({"batch": {"max_events": 10, "max_wait": "1s"}});
    let of_acme = acme.subscribe_with(&receiver.url("/acme"), batch()).await;
    let of_globex = globex
        .subscribe_with(&receiver.url("/globex"), batch())
        .await;
    acme.subscribe_with(&receiver.url("/broken"), batch()).await;
    acme.subscribe(&receiver.url("/each")).await;
    deployed
        .execute(
            "insert into orders (tenant_id, status)
             select case n % 2 when 0 then 'acme' else 'globex' end, 'new'
             from generate_series(1, 60) n",
        )
        .await;
    receiver
        .wait_until(|requests| {
            let of = |path: &str| requests.iter().filter(|one| one.path == path).count();
            of("/acme") == 3 && of("/globex") == 3 && of("/each") == 30
        })
        .await;
    for (path, secret, tenant, remainder) in [
        ("/acme", &of_acme["secret"], "acme", 0),
        ("/globex", &of_globex["secret"], "globex", 1),
    ] {
        let requests = receiver.of(path);
        for request in &requests {
            assert!(verifies(secret, request));
            assert_eq!(request.json()["tenant_id"], tenant);
        }
        assert!(all_rows(&requests).iter().all(|row| row % 2 == remainder));
        assert_eq!(all_rows(&requests).len(), 30);
    }
    // The same events, by themselves and in a batch, are the same bytes.
    let alone = receiver.of("/each");
    let batched = receiver.of("/acme");
    for request in &alone {
        let body = std::str::from_utf8(&request.body).unwrap();
        let sent = |one: &Request| std::str::from_utf8(&one.body).unwrap().contains(body);
        assert!(batched.iter().any(sent), "{body}");
    }
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_events_arrive_once_each() {
    let deployed = Deployed::start("").await;
    let receiver = Receiver::start().await;
    let acme = deployed.tenant("acme").await;
    let batch = json!({"batch": {"max_events": 100, "max_wait": "500ms"}});
    acme.subscribe_with(&receiver.url("/"), batch).await;
    for _ in 0..100 {
        deployed.orders("acme", 100).await;
    }
    let requests = receiver
        .wait_until(|requests| all_rows(requests).len() >= 10_000)
        .await;
    assert_eq!(all_rows(&requests), (1..=10_000).collect::<Vec<i64>>());
    deployed
        .walhook
        .wait_for("select count(*) = 10000 from webhook_deliveries where status = 'delivered' and attempts = 1")
        .await;
    deployed
        .walhook
        .wait_for("select not exists (select from delivery_schedule)")
        .await;
    assert_eq!(all_rows(&receiver.requests()).len(), 10_000);
    for request in &requests {
        assert!(rows(request).len() <= 100 && rows(request).is_sorted());
    }
    deployed.stop();
}
