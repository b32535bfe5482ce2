//! Order through everything at once: endpoints that fail and hang, processes that are
//! killed, two that deliver.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use super::*;
use crate::harness::connect;
use crate::harness::process::Process;

const ROWS: i64 = 40;
const NOTES: usize = 12;

/// What becomes of a request: the same for every time that it is asked.
fn fate(request: &Request) -> u64 {
    let mut hasher = DefaultHasher::new();
    (request.id(), request.number).hash(&mut hasher);
    hasher.finish() % 100
}

fn succeeds(request: &Request) -> bool {
    fate(request) >= 15
}

async fn failing_and_hanging() -> Receiver {
    Receiver::judging(|request| match fate(request) {
        0..3 => status(200).taking(Duration::from_secs(3)),
        3..15 => status(500),
        _ => status(200),
    })
    .await
}

/// Gives each order its notes in turn, two in a transaction, half of them by another writer.
async fn write_all(url: String) {
    let writer = |part: i64| {
        let url = url.clone();
        async move {
            let application = connect(&url).await;
            for note in 1..=NOTES {
                for first in (part..=ROWS).step_by(4) {
                    let sql = format!(
                        "update orders set note = '{note}' where id in ({first}, {})",
                        first + 2
                    );
                    application.batch_execute(&sql).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(rand::random_range(0..60))).await;
                }
            }
        }
    };
    tokio::join!(writer(1), writer(2));
}

async fn kept_in_order(deployed: &Deployed, receiver: &Receiver) {
    let complete: Vec<usize> = (0..=NOTES).collect();
    let orders = usize::try_from(ROWS).unwrap();
    all_delivered(deployed, orders * complete.len()).await;
    let rows = first_successes(&receiver.of("/"), succeeds);
    assert_eq!(rows.len(), orders);
    for (row, notes) in rows {
        assert_eq!(notes, complete, "of order {row}");
    }
}

/// Hanging ones are given up soon: meanwhile the endpoint gets one request at a time.
const SETTINGS: &str = "[delivery]\ntimeout = '1200ms'\nretry_schedule = ['200ms', '200ms', '200ms', '200ms', '200ms', '200ms', '200ms', '200ms', '200ms', '200ms', '200ms', '200ms', '200ms', '200ms', '200ms', '200ms', '200ms', '200ms', '200ms', '200ms', '200ms', '200ms', '200ms', '200ms', '200ms', '200ms', '200ms', '200ms', '200ms', '200ms']\n";

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_that_are_killed_again_and_again_keep_the_order() {
    let walhook = installed(SETTINGS).await;
    let deliver: &[&str] = &["run", "--roles", "deliver"];
    let mut deployed = Deployed::of(walhook, &[&["run", "--roles", "capture,api"]]).await;
    let receiver = failing_and_hanging().await;
    let acme = deployed.tenant("acme").await;
    ordered(&acme, &receiver.url("/")).await;
    let file = deployed.walhook.config_file();
    let mut nodes = vec![
        Process::start(&file, deliver),
        Process::start(&file, deliver),
    ];
    deployed
        .orders("acme", usize::try_from(ROWS).unwrap())
        .await;
    let writing = tokio::spawn(write_all(deployed.walhook.database.url.clone()));
    for _ in 0..6 {
        // Faults are to fall on every stage of the way.
        tokio::time::sleep(Duration::from_millis(rand::random_range(200..1500))).await;
        nodes.remove(0).kill();
        nodes.push(Process::start(&file, deliver));
    }
    writing.await.unwrap();
    kept_in_order(&deployed, &receiver).await;
    deployed.processes.extend(nodes);
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_that_is_killed_again_and_again_keeps_the_order() {
    let walhook = installed(SETTINGS).await;
    let mut deployed = Deployed::of(walhook, &[&["run"]]).await;
    let receiver = failing_and_hanging().await;
    let acme = deployed.tenant("acme").await;
    ordered(&acme, &receiver.url("/")).await;
    deployed
        .orders("acme", usize::try_from(ROWS).unwrap())
        .await;
    let writing = tokio::spawn(write_all(deployed.walhook.database.url.clone()));
    let file = deployed.walhook.config_file();
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(rand::random_range(100..1500))).await;
        deployed.processes.remove(0).kill();
        deployed.processes.push(Process::start(&file, &["run"]));
    }
    writing.await.unwrap();
    kept_in_order(&deployed, &receiver).await;
    deployed.stop();
}
