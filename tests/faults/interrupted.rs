//! What ends a session with the source or the store, and passes: capture begins again, and
//! nothing of it is a gap or the end of the process.

use std::collections::BTreeSet;
use std::time::Duration;

use ::walhook::conninfo::Client;
use jiff::Timestamp;

use crate::harness::command::{answer, walhook};
use crate::harness::process::Process;
use crate::harness::proxy::Proxy;
use crate::harness::receiver::Receiver;
use crate::harness::walhook::Installation;
use crate::harness::{connect, server};

const INSERT: &str = "insert into orders (tenant_id, status) values ('acme', 'new')";
const INTERRUPTED: &str = "capture was interrupted";

async fn capturing() -> (Installation, Receiver, Process) {
    let installation = Installation::of_orders().await;
    capturing_for(installation).await
}

async fn capturing_for(installation: Installation) -> (Installation, Receiver, Process) {
    let receiver = Receiver::start().await;
    installation
        .subscribe("acme", &receiver.url("/"), &["order.created"])
        .await;
    let process = Process::start(&installation.config_file(), &["run"]);
    process.says("holding the slot: capturing", 1).await;
    (installation, receiver, process)
}

async fn sql(installation: &Installation, sql: &str) {
    let application = &installation.database.client;
    application.batch_execute(sql).await.unwrap();
}

/// Every order came, and capture never took what happened for a gap.
async fn nothing_is_lost(installation: &Installation, receiver: &Receiver, orders: usize) {
    let delivered = "from webhook_deliveries where status = 'delivered'";
    installation
        .wait_for(&format!("select count(*) = {orders} {delivered}"))
        .await;
    let ids: BTreeSet<String> = receiver
        .requests()
        .iter()
        .map(|sent| sent.id().to_owned())
        .collect();
    assert_eq!(ids.len(), orders);
    assert_eq!(installation.count("select count(*) from gaps").await, 0);
}

/// Scripts that look for queries which run too long find the walsender.
#[tokio::test(flavor = "multi_thread")]
async fn a_walsender_that_is_cancelled_or_ended_again_and_again_is_no_gap() {
    let (installation, receiver, process) = capturing().await;
    let slot = installation.database.slot();
    let active =
        format!("exists (select from pg_replication_slots where slot_name = '{slot}' and active)");
    let mut orders = 0;
    for end in ["cancel", "terminate", "cancel", "cancel", "terminate"] {
        installation.wait_for(&active).await;
        let interrupted = process.log().matches(INTERRUPTED).count();
        let end = format!(
            "select pg_{end}_backend(active_pid) from pg_replication_slots
             where slot_name = '{slot}' and active"
        );
        sql(&installation, &format!("{INSERT}; {end}; {INSERT}")).await;
        process.says(INTERRUPTED, interrupted + 1).await;
        orders += 2;
    }
    nothing_is_lost(&installation, &receiver, orders).await;
    assert!(process.terminate().success());
}

/// Errors as of WAL that cannot be decoded, of which the next try meets none: a third at the
/// same position would be a gap.
#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_stream_that_pass_are_no_gap() {
    let mut installation = Installation::of_orders().await;
    let proxy = Proxy::to(server()).await;
    let direct = installation.database.url.clone();
    installation.edit(&direct, &proxy.url(&installation.database.name));
    let (installation, receiver, process) = capturing_for(installation).await;
    for (failed, sqlstate) in (1..).zip(["XX000", "22P05"]) {
        proxy.fail("walhook capture", sqlstate);
        process.says("trying to decode the WAL again", failed).await;
        process
            .says("holding the slot: capturing", failed + 1)
            .await;
    }
    sql(&installation, INSERT).await;
    nothing_is_lost(&installation, &receiver, 1).await;
    assert!(process.terminate().success());
}

/// Of the database, as others set them for a role.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_time_that_a_session_begins_with_does_not_end_the_stream() {
    let installation = Installation::of_orders().await;
    let name = &installation.database.name;
    let limits = [
        "statement_timeout",
        "lock_timeout",
        "idle_session_timeout",
        "idle_in_transaction_session_timeout",
        "transaction_timeout",
    ];
    for limit in limits {
        let known = format!("select count(*) from pg_settings where name = '{limit}'");
        if installation.count(&known).await == 1 {
            let set = format!("alter database {name} set {limit} = '100ms'");
            sql(&installation, &set).await;
        }
    }
    let receiver = Receiver::start().await;
    installation
        .subscribe("acme", &receiver.url("/"), &["order.created"])
        .await;
    let process = Process::start(&installation.config_file(), &["run"]);
    process.says("holding the slot: capturing", 1).await;
    let large = "insert into orders (tenant_id, status)
        select case when n <= 100 then 'acme' else 'other' end, 'new' from generate_series(1, 50000) n";
    sql(&installation, large).await;
    nothing_is_lost(&installation, &receiver, 100).await;
    assert!(!process.log().contains(INTERRUPTED), "{}", process.log());
    assert!(process.terminate().success());
}

/// Lets every event's write fail with this SQLSTATE.
async fn fail_with(installation: &Installation, sqlstate: &str) {
    let fail = format!(
        "create or replace function walhook.fail() returns trigger language plpgsql as
            $$ begin raise exception 'the disk fails' using errcode = '{sqlstate}'; end $$;
         create or replace trigger fail before insert on walhook.webhook_events
            for each row execute function walhook.fail()"
    );
    sql(installation, &fail).await;
}

async fn fail_no_more(installation: &Installation) {
    sql(installation, "drop trigger fail on walhook.webhook_events").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_in_itself_does_not_end_the_process() {
    let (installation, receiver, process) = capturing().await;
    for (orders, sqlstate) in (1..).zip(["58030", "58P01", "XX000", "53200", "57014"]) {
        let interrupted = process.log().matches(INTERRUPTED).count();
        fail_with(&installation, sqlstate).await;
        sql(&installation, INSERT).await;
        process.says(INTERRUPTED, interrupted + 1).await;
        fail_no_more(&installation).await;
        nothing_is_lost(&installation, &receiver, orders).await;
    }
    assert!(process.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_room_is_tried_less_and_less_often() {
    let (installation, receiver, process) = capturing().await;
    fail_with(&installation, "53100").await;
    sql(&installation, INSERT).await;
    process.says(INTERRUPTED, 1).await;
    process.says(INTERRUPTED, 7).await;
    // 0.1, 0.2, 0.4, 0.8, 1.6 and 3.2 s at least, each after what a session takes. By the
    // log's own times: on a slow machine the sessions alone take longer than all of these.
    let log = process.log();
    let times: Vec<Timestamp> = log
        .lines()
        .filter(|line| line.contains(INTERRUPTED))
        .map(|line| line.split(' ').next().unwrap().parse().unwrap())
        .collect();
    let last = times[6].duration_since(times[5]);
    assert!(last.as_secs_f64() > 3.1, "{last:?}");
    fail_no_more(&installation).await;
    nothing_is_lost(&installation, &receiver, 1).await;
    assert!(process.terminate().success());
}

#[tokio::test]
async fn a_store_that_was_never_reached_and_refuses_is_named_with_the_remedy() {
    let mut installation = Installation::of_orders().await;
    let name = installation.database.name.clone();
    let elsewhere = installation.database.url.replace(&name, "no_such_database");
    installation.edit("[api]", &format!("[store]\nurl = '{elsewhere}'\n[api]"));
    let mut run = walhook();
    run.arg("--config")
        .arg(installation.config_file())
        .arg("run");
    let ended = tokio::time::timeout(Duration::from_secs(30), run.output()).await;
    let ended = answer(ended.expect("it goes on").unwrap()).exits(1);
    ended.says("store.url").says("no_such_database");
}

const WAITING: &str = "from pg_locks l join pg_database d on d.oid = l.database
    where l.locktype = 'advisory' and not l.granted and d.datname = current_database()";

/// A process that has registered itself and waits for its first leases.
async fn starting() -> (Installation, Client, Process) {
    let installation = Installation::of_orders().await;
    installation
        .subscribe("acme", "http://127.0.0.1:9/", &["*"])
        .await;
    let blocker = connect(&installation.database.url).await;
    blocker
        .batch_execute(
            "select pg_advisory_lock(1);
             create function walhook.hesitate() returns trigger language plpgsql as
                $$ begin perform pg_advisory_xact_lock(1); return new; end $$;
             create trigger hesitate before insert on walhook.subscription_leases
                for each row execute function walhook.hesitate()",
        )
        .await
        .unwrap();
    let process = Process::start(&installation.config_file(), &["run"]);
    installation
        .wait_for(&format!("exists (select {WAITING})"))
        .await;
    assert_eq!(registered(&installation).await, 1);
    (installation, blocker, process)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_is_interrupted_leaves_no_instance_registered() {
    let (installation, blocker, mut process) = starting().await;
    process.signal("TERM");
    let status = process.ends().await;
    assert!(status.success(), "{status}\n{}", process.log());
    assert_eq!(registered(&installation).await, 0);
    drop(blocker);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_leaves_no_instance_registered() {
    let (installation, blocker, mut process) = starting().await;
    let cancel = format!("select pg_cancel_backend(l.pid) {WAITING}");
    blocker.batch_execute(&cancel).await.unwrap();
    let status = process.ends().await;
    assert_eq!(status.code(), Some(1), "{}", process.log());
    assert_eq!(registered(&installation).await, 0);
}

async fn registered(installation: &Installation) -> i64 {
    installation.count("select count(*) from instances").await
}
