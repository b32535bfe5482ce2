//! A delivery is sent before its row is written, which comes a moment later together with its
//! result: what that may and may not change.

use std::collections::BTreeSet;
use std::time::Duration;

use ::walhook::conninfo::Client;
use ::walhook::delivery::partitions::{self, Day};

use crate::harness::connect;
use crate::harness::process::Process;
use crate::harness::receiver::{Gate, Receiver, Reply, Request, status};
use crate::harness::walhook::{Installation, ORDER_RULES, ORDERS};

const INSERT: &str = "insert into orders (tenant_id, status) values ('acme', 'new')";
/// Their old values are in the shadow.
const ORDERS_BY_KEY: &str = "create table orders (id bigint generated always as identity primary key, tenant_id text, status text not null)";
const DELIVERED: &str = "from webhook_deliveries where status = 'delivered'";

fn hanging() -> Reply {
    status(200).behind(&Gate::closed())
}

async fn insert(walhook: &Installation) {
    walhook.database.client.batch_execute(INSERT).await.unwrap();
}

/// Keeps every event from being written, until it is committed.
async fn block_events(walhook: &Installation) -> Client {
    let blocker = connect(&walhook.database.url).await;
    blocker
        .batch_execute("begin; lock table walhook.webhook_events in share mode")
        .await
        .unwrap();
    blocker
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_and_not_written_comes_again_under_the_same_id_and_bytes() {
    let walhook = Installation::of_orders().await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let process = Process::start(&walhook.config_file(), &["run"]);
    insert(&walhook).await;
    walhook
        .wait_for(&format!("select count(*) = 1 {DELIVERED}"))
        .await;

    let blocker = block_events(&walhook).await;
    insert(&walhook).await;
    let sent = receiver.wait_for(2).await.remove(1);
    process.kill();
    blocker.batch_execute("commit").await.unwrap();
    assert_eq!(
        walhook.count("select count(*) from webhook_events").await,
        1,
        "written before it was sent"
    );

    let process = Process::start(&walhook.config_file(), &["run"]);
    let again = receiver.wait_for(3).await.remove(2);
    assert_eq!((again.id(), &again.body), (sent.id(), &sent.body));
    walhook
        .wait_for(&format!("select count(*) = 2 {DELIVERED}"))
        .await;
    assert_eq!(
        walhook.count("select count(*) from webhook_events").await,
        2
    );
    assert!(process.terminate().success());
    assert_eq!(receiver.requests().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_slot_is_held_back_until_what_was_sent_is_written() {
    let walhook = Installation::of_orders().await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    insert(&walhook).await;
    walhook
        .wait_for(&format!("select count(*) = 1 {DELIVERED}"))
        .await;

    let blocker = block_events(&walhook).await;
    insert(&walhook).await;
    let row = walhook
        .database
        .client
        .query_one("select pg_current_wal_lsn()::text", &[]);
    let committed: String = row.await.unwrap().get(0);
    receiver.wait_for(2).await;
    // Many more than fit into one transaction: they are sent, up to a bound.
    walhook
        .database
        .client
        .batch_execute("insert into orders (tenant_id, status) select 'acme', 'new' from generate_series(1, 5000)")
        .await
        .unwrap();
    receiver.wait_for(1000).await;
    let behind = format!(
        "select confirmed_flush_lsn < '{committed}' from pg_replication_slots where slot_name = '{}'",
        walhook.database.slot()
    );
    let row = walhook
        .database
        .client
        .query_one(&behind, &[])
        .await
        .unwrap();
    assert!(row.get::<_, bool>(0), "acknowledged and not durable");
    assert!(
        receiver.requests().len() < 3000,
        "nothing bounds what is sent"
    );
    blocker.batch_execute("commit").await.unwrap();
    walhook
        .wait_for(&format!("select count(*) = 5002 {DELIVERED}"))
        .await;
    running.stop().await;
    assert_eq!(receiver.requests().len(), 5002);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_hangs_holds_nothing_back() {
    let walhook = Installation::of_orders().await;
    let receiver = Receiver::answering(|_, _| hanging()).await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    insert(&walhook).await;
    receiver.wait_for(1).await;
    walhook
        .wait_for(
            "select count(*) = 1 from webhook_deliveries where owner is not null and attempts = 0",
        )
        .await;
    walhook
        .wait_for("select (select complete from replication_progress) and count(*) = 1 from webhook_events")
        .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_attempt_that_fails_is_kept_with_its_row() {
    let walhook = Installation::of_orders().await;
    let receiver = Receiver::answering(|_, count| status(if count == 2 { 500 } else { 200 })).await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    insert(&walhook).await;
    walhook
        .wait_for(&format!("select count(*) = 1 {DELIVERED}"))
        .await;
    let blocker = block_events(&walhook).await;
    insert(&walhook).await;
    receiver.wait_for(2).await;
    blocker.batch_execute("commit").await.unwrap();
    walhook
        .wait_for(
            "select count(*) = 1 from webhook_attempts where number = 1 and http_status = 500",
        )
        .await;
    walhook
        .wait_for("select count(*) = 1 from delivery_schedule where status = 'pending' and lease_owner is null and due_at > now()")
        .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_deposed_sends_nothing_more() {
    let walhook = Installation::of_orders().await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    insert(&walhook).await;
    walhook
        .wait_for(&format!("select count(*) = 1 {DELIVERED}"))
        .await;
    // It may not lead again either.
    let store = walhook.store.get().await.unwrap();
    store
        .batch_execute(
            "update replication_progress set epoch = epoch + 1;
             update instances set fenced_at = now()",
        )
        .await
        .unwrap();
    insert(&walhook).await;
    let ended = tokio::time::timeout(Duration::from_secs(60), running.task).await;
    assert!(
        ended
            .expect("it goes on although it was fenced")
            .unwrap()
            .is_err()
    );
    assert_eq!(receiver.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_retention_dropped_is_made_again() {
    let walhook = Installation::of_orders().await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    insert(&walhook).await;
    let delivered = format!("select count(*) = 1 {DELIVERED}");
    walhook.wait_for(&delivered).await;
    drop_days(&walhook).await;
    insert(&walhook).await;
    receiver.wait_for(2).await;
    walhook.wait_for(&delivered).await;

    // And under a session that has not written to it yet.
    drop_days(&walhook).await;
    let client = &walhook.database.client;
    let slot = walhook.database.slot();
    let of_slot = format!("from pg_replication_slots where slot_name = '{slot}'");
    let before = client
        .query_one(&format!("select active_pid {of_slot}"), &[])
        .await
        .unwrap()
        .get::<_, i32>(0);
    let end = format!("select pg_terminate_backend({before})");
    client.batch_execute(&end).await.unwrap();
    walhook
        .wait_for(&format!("select active_pid <> {before} {of_slot}"))
        .await;
    insert(&walhook).await;
    receiver.wait_for(3).await;
    walhook.wait_for(&delivered).await;
    running.stop().await;
    assert_eq!(receiver.requests().len(), 3);
}

async fn drop_days(walhook: &Installation) {
    let client = walhook.store.get().await.unwrap();
    let today = Day::of(jiff::Timestamp::now());
    for day in [today, today.next()] {
        assert!(partitions::drop_day(&client, day).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_brought_once_more_meets_its_rows() {
    let walhook = Installation::of_orders().await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let slot = walhook.database.slot();
    let client = &walhook.database.client;
    let copy = format!("select pg_copy_logical_replication_slot('{slot}', '{slot}_old')");
    client.batch_execute(&copy).await.unwrap();
    let running = walhook.start();
    insert(&walhook).await;
    let first = receiver.wait_for(1).await.remove(0);
    running.stop().await;

    // The slot and the progress as they were before; the rows as they are.
    client
        .batch_execute(&format!(
            "select pg_drop_replication_slot('{slot}');
             select pg_copy_logical_replication_slot('{slot}_old', '{slot}');
             select pg_drop_replication_slot('{slot}_old');
             update walhook.replication_progress
             set commit_lsn = s.confirmed_flush_lsn, acknowledged_lsn = s.confirmed_flush_lsn,
                 ordinal = -1, complete = true
             from pg_replication_slots s where s.slot_name = '{slot}'"
        ))
        .await
        .unwrap();
    let running = walhook.start();
    insert(&walhook).await;
    walhook
        .wait_for(&format!("select count(*) = 2 {DELIVERED}"))
        .await;
    running.stop().await;
    assert_eq!(
        walhook.count("select count(*) from webhook_events").await,
        2
    );
    assert_eq!(
        walhook
            .count("select count(*) from webhook_deliveries")
            .await,
        2
    );
    let requests = receiver.requests();
    assert_eq!(requests.len(), 3);
    let same = requests.iter().filter(|one| one.id() == first.id());
    let bodies: Vec<_> = same.map(|one| &one.body).collect();
    assert_eq!(bodies, [&first.body, &first.body]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_fails_sends_nothing_twice() {
    let walhook = Installation::of_orders().await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    insert(&walhook).await;
    walhook
        .wait_for(&format!("select count(*) = 1 {DELIVERED}"))
        .await;

    let blocker = block_events(&walhook).await;
    for _ in 0..3 {
        insert(&walhook).await;
    }
    receiver.wait_for(4).await;
    // While it waits for the lock.
    let end = "select count(pg_terminate_backend(pid)) > 0 from pg_stat_activity
               where datname = current_database() and application_name = 'walhook enqueuer'
                   and wait_event_type = 'Lock'";
    walhook.wait_for(end).await;
    blocker.batch_execute("commit").await.unwrap();
    walhook
        .wait_for(&format!("select count(*) = 4 {DELIVERED}"))
        .await;
    insert(&walhook).await;
    walhook
        .wait_for(&format!("select count(*) = 5 {DELIVERED}"))
        .await;
    running.stop().await;
    assert_eq!(receiver.requests().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_unwritten_is_left_to_the_next_leader() {
    const ROWS: usize = 200;
    let settings = "[delivery]\nendpoint_concurrency = 4\n";
    let walhook = Installation::create(ORDERS, ORDER_RULES, settings).await;
    let gate = Gate::closed();
    let behind = gate.clone();
    let receiver = Receiver::answering(move |_, _| status(200).behind(&behind)).await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let first = Process::start(&walhook.config_file(), &["run"]);
    let client = &walhook.database.client;
    // Preparing its statements would wait for the lock.
    let nobodys = "insert into orders (tenant_id, status) values ('nobody', 'new')";
    client.batch_execute(nobodys).await.unwrap();
    walhook
        .wait_for("select count(*) = 1 from webhook_events")
        .await;
    let blocker = block_events(&walhook).await;
    client
        .batch_execute(&format!(
            "insert into orders (tenant_id, status) select 'acme', 'new' from generate_series(1, {ROWS})"
        ))
        .await
        .unwrap();
    receiver.wait_for(1).await;

    let second = Process::start(&walhook.config_file(), &["run"]);
    second.says("standing by", 1).await;
    let slot = walhook.database.slot();
    let end = format!(
        "select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = '{slot}'"
    );
    // Frozen, or it might be the first to take the slot again.
    first.freeze().await;
    client.batch_execute(&end).await.unwrap();
    second.says("holding the slot", 2).await;
    first.thaw();
    // The first waits until no enqueue is under way, which may be its own: the second's too.
    blocker.batch_execute("commit").await.unwrap();
    first.says("standing by", 2).await;
    gate.open();
    walhook
        .wait_for(&format!("select count(*) = {ROWS} {DELIVERED}"))
        .await;
    assert!(first.terminate().success());
    assert!(second.terminate().success());
    // What the first had in flight is sent again, and nothing else.
    let sent = receiver.requests().len();
    assert!((ROWS..=ROWS + 4).contains(&sent), "{sent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_fails_takes_with_it_what_is_behind_it() {
    let walhook = Installation::of_orders().await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    insert(&walhook).await;
    walhook
        .wait_for(&format!("select count(*) = 1 {DELIVERED}"))
        .await;

    // The session goes on, the transaction does not.
    let blocker = block_events(&walhook).await;
    insert(&walhook).await;
    receiver.wait_for(2).await;
    let waits = "select count(*) > 0 from pg_stat_activity
               where datname = current_database() and application_name = 'walhook enqueuer'
                   and wait_event_type = 'Lock'";
    walhook.wait_for(waits).await;
    insert(&walhook).await;
    receiver.wait_for(3).await;
    let cancel = waits.replace("count(*) > 0", "count(pg_cancel_backend(pid))");
    assert_eq!(walhook.count(&cancel).await, 1);
    blocker.batch_execute("commit").await.unwrap();
    walhook
        .wait_for(&format!("select count(*) = 3 {DELIVERED}"))
        .await;
    running.stop().await;
    assert_eq!(
        walhook.count("select count(*) from webhook_events").await,
        3
    );
    assert_eq!(receiver.requests().len(), 3);
}

/// The shadow is behind too: what the WAL brings meanwhile is compared with it all the
/// same, and a replay finds it as it was.
#[tokio::test(flavor = "multi_thread")]
async fn old_values_that_are_not_written_yet_are_known_and_meet_the_same_again() {
    let walhook = Installation::create(ORDERS_BY_KEY, ORDER_RULES, "").await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let process = Process::start(&walhook.config_file(), &["run"]);
    process
        .says("the shadow of old values is complete", 1)
        .await;
    insert(&walhook).await;
    walhook
        .wait_for(&format!("select count(*) = 1 {DELIVERED}"))
        .await;

    let blocker = block_events(&walhook).await;
    let application = &walhook.database.client;
    for status in ["paid", "paid", "open", "paid"] {
        let update = format!("update orders set status = '{status}'");
        application.batch_execute(&update).await.unwrap();
    }
    let requests = receiver.wait_for(3).await;
    let sent: BTreeSet<_> = requests.iter().map(Request::id).collect();
    assert_eq!(sent.len(), 3);
    process.kill();
    blocker.batch_execute("commit").await.unwrap();
    assert_eq!(
        walhook.count("select count(*) from webhook_events").await,
        1
    );

    let process = Process::start(&walhook.config_file(), &["run"]);
    receiver.wait_for(5).await;
    walhook
        .wait_for(&format!("select count(*) = 3 {DELIVERED}"))
        .await;
    assert!(process.terminate().success());
    let requests = receiver.requests();
    let again: BTreeSet<_> = requests.iter().map(Request::id).collect();
    assert_eq!(again, sent);
    let parked = "select count(*) from parked_changes";
    assert_eq!(walhook.count(parked).await, 0);
}
