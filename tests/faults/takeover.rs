//! The slot changes hands, from one instance to another: one that was killed, that froze, or
//! that ends in order.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::harness::connect;
use crate::harness::process::Process;
use crate::harness::receiver::{Receiver, Request};
use crate::harness::walhook::Installation;

async fn order(client: &::walhook::conninfo::Client, note: &str) {
    let insert = "insert into orders (tenant_id, status, note) values ('acme', 'new', $1)";
    client.execute(insert, &[&note]).await.unwrap();
}

fn notes(requests: &[Request]) -> BTreeSet<String> {
    let note = |request: &Request| request.json()["data"]["note"].as_str().unwrap().to_owned();
    requests.iter().map(note).collect()
}

fn ids(requests: &[Request]) -> BTreeSet<&str> {
    requests.iter().map(Request::id).collect()
}

/// A leader that is frozen in the middle of an enqueue: the worst moment, as it still
/// believes that it leads when it wakes up.
struct Frozen {
    walhook: Installation,
    receiver: Receiver,
    first: Process,
    second: Process,
}

impl Frozen {
    async fn until_taken_over() -> Self {
        const SENDER_TIMEOUT: Duration = Duration::from_secs(5);
        let mut walhook = Installation::of_orders().await;
        let url = walhook.database.url.clone();
        let short = format!("'{url}&options=-c%20wal_sender_timeout%3D5s'");
        walhook.edit(&format!("'{url}'"), &short);
        let receiver = Receiver::start().await;
        walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
        let first = Process::start(&walhook.config_file(), &["run"]);
        order(&walhook.database.client, "before").await;
        receiver.wait_for(1).await;
        let second = Process::start(&walhook.config_file(), &["run"]);
        walhook.wait_for("select count(*) = 2 from instances").await;

        // The first stands in its enqueue, waiting for this lock, when it freezes.
        let mut blocker = connect(&url).await;
        let lock = blocker.transaction().await.unwrap();
        lock.batch_execute("select from walhook.replication_progress for update")
            .await
            .unwrap();
        order(&walhook.database.client, "frozen").await;
        walhook
            .wait_for(
                "select count(*) > 0 from pg_stat_activity where datname = current_database()
                    and wait_event_type = 'Lock' and query like '%update replication_progress%'",
            )
            .await;
        first.freeze().await;
        lock.rollback().await.unwrap();
        // The first may have sent it; only the second can write it.
        let written = walhook.wait_for("select count(*) = 2 from webhook_events");
        let limit = SENDER_TIMEOUT + Duration::from_secs(5);
        let taken_over = tokio::time::timeout(limit, written).await;
        taken_over.expect("no take-over within wal_sender_timeout and 5 s");
        Frozen {
            walhook,
            receiver,
            first,
            second,
        }
    }

    /// Nothing was lost, nothing enqueued twice.
    async fn goes_on_well(self) {
        order(&self.walhook.database.client, "after").await;
        self.receiver
            .wait_until(|requests| notes(requests).contains("after"))
            .await;
        self.walhook
            .wait_for("select count(*) = 3 from webhook_deliveries where status = 'delivered'")
            .await;
        for table in ["webhook_events", "webhook_deliveries"] {
            let count = format!("select count(*) from {table}");
            assert_eq!(self.walhook.count(&count).await, 3, "{table}");
        }
        assert_eq!(ids(&self.receiver.requests()).len(), 3);
        assert!(self.second.terminate().success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_wakes_up_from_a_freeze_writes_nothing_and_stands_by() {
    let frozen = Frozen::until_taken_over().await;
    frozen.first.thaw();
    tokio::select! {
        () = frozen.first.says("standing by", 2) => {}
        // Slow machines: fenced before it woke up.
        () = frozen.first.says("another instance has fenced this one", 1) => {}
    }
    frozen.goes_on_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_fenced_writes_nothing_and_says_why_it_ends() {
    let mut frozen = Frozen::until_taken_over().await;
    frozen
        .walhook
        .wait_for("select count(*) = 1 from instances")
        .await;
    frozen.first.thaw();
    frozen.first.ends().await;
    let log = frozen.first.log();
    let said = "walhook: another instance has fenced this one";
    assert!(log.contains(said), "{log}");
    frozen.goes_on_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_instance_waits_and_takes_over_within_ten_seconds() {
    let walhook = Installation::of_orders().await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let insert = "insert into orders (tenant_id, status) values ('acme', 'new')";
    let first = Process::start(&walhook.config_file(), &["run"]);
    walhook.database.client.batch_execute(insert).await.unwrap();
    receiver.wait_for(1).await;
    let mut second = Process::start(&walhook.config_file(), &["run"]);
    walhook.wait_for("select count(*) = 2 from instances").await;
    walhook.database.client.batch_execute(insert).await.unwrap();
    receiver.wait_for(2).await;
    assert!(!second.has_ended());
    first.kill();
    walhook.database.client.batch_execute(insert).await.unwrap();
    // What the first had sent and not yet written comes again, before or after the third.
    let third = receiver.wait_until(|requests| {
        let ids: BTreeSet<_> = requests.iter().map(|request| request.id()).collect();
        ids.len() == 3
    });
    let taken_over = tokio::time::timeout(Duration::from_secs(10), third).await;
    taken_over.expect("no take-over within 10 s");
    walhook.wait_for("select count(*) = 1 from instances").await;
    assert!(second.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_process_finishes_what_is_in_flight_and_leaves_nothing() {
    let walhook = Installation::of_orders().await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let insert =
        "insert into orders (tenant_id, status) select 'acme', 'new' from generate_series(1, 500)";
    for round in 1..=4 {
        let process = Process::start(&walhook.config_file(), &["run"]);
        walhook.database.client.batch_execute(insert).await.unwrap();
        receiver.wait_for(round * 300).await;
        assert!(process.terminate().success());
        assert_eq!(walhook.count("select count(*) from instances").await, 0);
        let owned = "select count(*) from webhook_deliveries where owner is not null";
        assert_eq!(walhook.count(owned).await, 0);
    }
    let process = Process::start(&walhook.config_file(), &["run"]);
    walhook
        .wait_for("select count(*) = 2000 from webhook_deliveries where status = 'delivered'")
        .await;
    assert!(process.terminate().success());
    assert_eq!(receiver.requests().len(), 2000);
}
