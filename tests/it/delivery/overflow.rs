//! More deliveries than memory holds.

use std::collections::HashSet;

use super::Deployed;
use crate::harness::receiver::{Gate, Receiver, status};

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_into_memory_waits_in_the_store_and_arrives_once() {
    let deployed = Deployed::start("[delivery]\ntimeout = '60s'\n").await;
    let gate = Gate::closed();
    let held = gate.clone();
    // It has proved itself, and then hangs.
    let receiver = Receiver::answering(move |path, count| match path {
        "/slow" if count > 100 => status(200).behind(&held),
        _ => status(200),
    })
    .await;
    let acme = deployed.tenant("acme").await;
    let globex = deployed.tenant("globex").await;
    acme.subscribe(&receiver.url("/slow")).await;
    globex.subscribe(&receiver.url("/well")).await;
    deployed.orders("acme", 100).await;
    receiver.wait_for_of("/slow", 100).await;
    // One endpoint's share of the memory is 1,024.
    for _ in 0..6 {
        deployed.orders("acme", 500).await;
    }
    deployed
        .walhook
        .wait_for("select count(*) > 1000 from delivery_schedule where status = 'pending'")
        .await;
    deployed.orders("globex", 100).await;
    receiver.wait_for_of("/well", 100).await;
    let hanging = receiver.of("/slow").len() - 100;
    assert!((1..=32).contains(&hanging), "{hanging}: its limit is 32");
    gate.open();
    receiver.wait_for_of("/slow", 3100).await;
    deployed
        .walhook
        .wait_for("select count(*) = 3200 from webhook_deliveries where status = 'delivered'")
        .await;
    deployed
        .walhook
        .wait_for("select not exists (select from delivery_schedule)")
        .await;
    let requests = receiver.of("/slow");
    let ids: HashSet<&str> = requests.iter().map(|request| request.id()).collect();
    assert_eq!((requests.len(), ids.len()), (3100, 3100));
    deployed.stop();
}
