//! A batch is the same after a crash: its id, what is in it, its bytes.

use serde_json::json;

use super::{all_rows, rows};
use crate::delivery::{Deployed, text, verifies};
use crate::harness::process::Process;
use crate::harness::receiver::{Gate, Receiver, status};
use crate::harness::walhook::{Installation, ORDER_RULES, ORDERS};

/// One process that captures and serves the API, and one that sends, to be killed.
async fn two_processes(settings: &str) -> (Deployed, Process) {
    let walhook = Installation::create(ORDERS, ORDER_RULES, settings).await;
    let deployed = Deployed::of(walhook, &[&["run", "--roles", "capture,api"]]).await;
    let sender = sender(&deployed);
    (deployed, sender)
}

fn sender(deployed: &Deployed) -> Process {
    let file = deployed.walhook.config_file();
    Process::start(&file, &["run", "--roles", "deliver"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_sender_is_killed_is_sent_again_as_it_was() {
    let (mut deployed, victim) = two_processes("").await;
    let gate = Gate::closed();
    let held = gate.clone();
    let receiver = Receiver::answering(move |_, count| match count {
        1 => status(200).behind(&held),
        _ => status(200),
    })
    .await;
    let acme = deployed.tenant("acme").await;
    let batch = json!({"batch": {"max_events": 3, "max_wait": "1s"}});
    let subscription = acme.subscribe_with(&receiver.url("/"), batch).await;
    deployed.orders("acme", 3).await;
    receiver.wait_for(1).await;
    let in_flight = acme.get("/deliveries?status=in_flight").await;
    let in_flight = in_flight["data"].as_array().unwrap();
    assert_eq!(in_flight.len(), 3);
    let retry = format!("/deliveries/{}/retry", text(&in_flight[0]["id"]));
    acme.post(&retry, json!({})).await.refused(409, "in_flight");
    victim.kill();
    // More come while nobody sends: they are another batch's.
    deployed.orders("acme", 2).await;
    deployed
        .walhook
        .wait_for("select count(*) = 2 from delivery_schedule where status = 'open'")
        .await;
    deployed.processes.push(sender(&deployed));
    receiver
        .wait_until(|requests| all_rows(requests).len() == 8)
        .await;
    gate.open();
    let requests = receiver.requests();
    let same: Vec<_> = requests
        .iter()
        .filter(|one| rows(one) == [1, 2, 3])
        .collect();
    assert_eq!(same.len(), 2);
    assert_eq!(same[0].id(), same[1].id());
    assert_eq!(same[0].body, same[1].body);
    assert!(verifies(&subscription["secret"], same[1]));
    assert!(requests.iter().any(|request| rows(request) == [4, 5]));
    deployed
        .walhook
        .wait_for("select count(*) = 5 from webhook_deliveries where status = 'delivered' and attempts = 1")
        .await;
    deployed
        .walhook
        .wait_for("select not exists (select from delivery_schedule)")
        .await;
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_any_moment_neither_lose_an_event_nor_change_a_batch() {
    let settings =
        "[delivery]\nretry_schedule = ['100ms', '100ms', '100ms', '100ms', '100ms', '100ms']\n";
    let (mut deployed, mut victim) = two_processes(settings).await;
    // Every fourth request fails.
    let receiver = Receiver::answering(|_, count| match count % 4 {
        0 => status(500),
        _ => status(200),
    })
    .await;
    let acme = deployed.tenant("acme").await;
    let batch = json!({"batch": {"max_events": 7, "max_wait": "100ms"}});
    acme.subscribe_with(&receiver.url("/"), batch).await;
    for _ in 0..8 {
        for _ in 0..5 {
            deployed.orders("acme", 10).await;
        }
        // A random time: faults are to fall on every stage of the way.
        let moment = rand::random_range(50..600);
        tokio::time::sleep(std::time::Duration::from_millis(moment)).await;
        victim.kill();
        victim = sender(&deployed);
    }
    deployed.processes.push(victim);
    deployed
        .walhook
        .wait_for("select count(*) = 400 from webhook_deliveries where status = 'delivered'")
        .await;
    deployed
        .walhook
        .wait_for("select not exists (select from delivery_schedule)")
        .await;
    let requests = receiver.requests();
    let mut arrived = all_rows(&requests);
    arrived.dedup();
    assert_eq!(arrived, (1..=400).collect::<Vec<i64>>());
    let mut batch_of = std::collections::HashMap::new();
    for request in &requests {
        for row in rows(request) {
            let id = batch_of.entry(row).or_insert_with(|| request.id());
            assert_eq!(*id, request.id(), "{row} changed its batch");
        }
        let first = requests
            .iter()
            .find(|one| one.id() == request.id())
            .unwrap();
        assert_eq!(first.body, request.body);
    }
    deployed.stop();
}
