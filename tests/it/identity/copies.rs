//! A copy of a store sends nothing until it is adopted.

use std::process::{Command, Stdio};

use ::walhook::app::Roles;
use ::walhook::demo::postgres::Postgres;

use super::{Subscriptions, is_refused, order, project, set, wait_for_heartbeats};
use crate::harness::command::Project;
use crate::harness::process::Process;
use crate::harness::receiver::{Receiver, status};
use crate::harness::walhook::Installation;
use crate::harness::{PATIENCE, TestDatabase, connect, start_postgres, stop_at_exit};

/// A store with a delivery that was not sent yet.
async fn with_pending(receiver: &Receiver) -> Installation {
    let installation = Installation::of_orders().await;
    installation
        .subscribe("acme", &receiver.url("/"), &["*"])
        .await;
    order(&installation).await;
    let capture = installation.start_with("capture".parse::<Roles>().unwrap());
    installation
        .wait_for("exists (select from delivery_schedule where status = 'pending')")
        .await;
    capture.stop().await;
    installation
}

/// The store's schema as `pg_dump` writes it.
fn dump(installation: &Installation) -> Vec<u8> {
    let dump = Command::new("pg_dump")
        .args([
            "--schema",
            "walhook",
            "--no-acl",
            &installation.database.url,
        ])
        .output()
        .unwrap();
    assert!(
        dump.status.success(),
        "{}",
        String::from_utf8_lossy(&dump.stderr)
    );
    dump.stdout
}

fn restore(url: &str, dump: &[u8]) {
    use std::io::Write as _;
    let mut psql = Command::new("psql")
        .args([
            "--no-psqlrc",
            "-q",
            "-1",
            "-v",
            "ON_ERROR_STOP=1",
            "-o",
            "/dev/null",
            url,
        ])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    psql.stdin.take().unwrap().write_all(dump).unwrap();
    assert!(psql.wait().unwrap().success());
}

/// The roles that a dump names and does not hold.
async fn make_tenant_roles(of: &Installation, server: &Postgres) {
    let store = of.store.get().await.unwrap();
    let roles = store.query("select tenant_role from store", &[]).await;
    let target = connect(&server.url("postgres")).await;
    for row in roles.unwrap() {
        let role = format!("create role \"{}\" nologin", row.get::<_, String>(0));
        target.batch_execute(&role).await.unwrap();
    }
}

/// Nothing of the copy is sent until it is adopted; then all of it.
async fn sends_when_adopted(
    installation: &Installation,
    receiver: &Receiver,
    url: &str,
    why: &str,
) {
    let copy = project(installation, &format!("[store]\nurl = '{url}'"));
    is_refused(&copy, &["the store is a copy", why, "walhook adopt-store"]).await;
    copy.walhook(&["check"])
        .await
        .exits(1)
        .says("walhook adopt-store");
    copy.walhook(&["status"])
        .await
        .exits(1)
        .says("walhook adopt-store");
    copy.walhook(&["setup"])
        .await
        .exits(1)
        .says("nothing was changed");
    let shown = copy.walhook(&["adopt-store"]).await.exits(1);
    shown
        .says("1 pending deliveries would be sent")
        .says("Nothing was changed");
    assert_eq!(receiver.requests().len(), 0);

    copy.walhook(&["adopt-store", "--confirm"])
        .await
        .exits(0)
        .says("is adopted");
    copy.walhook(&["adopt-store"]).await.exits(0);
    let deliver = Process::start(&copy.file(), &["run", "--roles", "deliver"]);
    receiver.wait_for(1).await;
    assert!(deliver.terminate().success());
    // And the original is as it was.
    assert_eq!(
        installation
            .count("select count(*) from delivery_schedule where status = 'pending'")
            .await,
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_restored_into_another_database_sends_nothing_until_it_is_adopted() {
    let receiver = Receiver::start().await;
    let installation = with_pending(&receiver).await;
    let copy = TestDatabase::create().await;
    restore(&copy.url, &dump(&installation));
    sends_when_adopted(&installation, &receiver, &copy.url, &copy.name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_restored_into_another_cluster_sends_nothing_until_it_is_adopted() {
    let receiver = Receiver::start().await;
    let installation = with_pending(&receiver).await;
    let server = start_postgres(&[("fsync", "off")]).unwrap();
    stop_at_exit(&server);
    make_tenant_roles(&installation, &server).await;
    restore(&server.url("postgres"), &dump(&installation));
    let url = server.url("postgres");
    sends_when_adopted(&installation, &receiver, &url, "PostgreSQL system").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_restored_below_a_running_process_ends_it() {
    let receiver = Receiver::start().await;
    let installation = Installation::of_orders().await;
    let mut process = Process::start(&installation.config_file(), &["run"]);
    process.says("walhook is running", 1).await;
    wait_for_heartbeats(&installation, 1).await;
    let dump = dump(&installation);
    let replace = [b"drop schema walhook cascade;\n".as_slice(), &dump].concat();
    restore(&installation.database.url, &replace);
    assert!(!process.ends().await.success());
    let copy = project(&installation, "");
    is_refused(
        &copy,
        &["its tables are not those that `walhook setup` made"],
    )
    .await;
    assert_eq!(receiver.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_lost_commits_ends_the_instance_that_made_them_and_waits_to_be_adopted() {
    let installation = Installation::of_orders().await;
    let running = installation.start_with(Roles::all());
    wait_for_heartbeats(&installation, 2).await;
    // As a server that was promoted without the last commits of the one before it has it.
    let client = installation.store.get().await.unwrap();
    client
        .batch_execute("update instances set heartbeats = 0")
        .await
        .unwrap();
    let ended = tokio::time::timeout(PATIENCE, running.task).await;
    let error = ended.expect("it goes on").unwrap().unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains("lacks what was committed"), "{error}");
    let project = project(&installation, "");
    is_refused(
        &project,
        &["lacks what was committed", "walhook adopt-store"],
    )
    .await;
    project
        .walhook(&["adopt-store", "--confirm"])
        .await
        .exits(0);
    let again = installation.start();
    wait_for_heartbeats(&installation, 1).await;
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_timeline_is_a_fail_over_and_an_older_one_is_not() {
    let installation = Installation::of_orders().await;
    let client = installation.store.get().await.unwrap();
    client
        .batch_execute("update store set timeline = 7")
        .await
        .unwrap();
    is_refused(
        &project(&installation, ""),
        &["was on timeline 7 and is on 1", "walhook adopt-store"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_a_closed_batch_is_counted_among_what_would_be_sent() {
    let receiver = Receiver::judging(|_| status(500)).await;
    let installation = Installation::of_orders().await;
    let subscribed = installation
        .subscribe("acme", &receiver.url("/"), &["*"])
        .await;
    let batches = "batch_max_events = 2, batch_max_bytes = 65536, batch_max_wait_ms = 60000";
    set(&installation, subscribed.id, batches).await;
    order(&installation).await;
    order(&installation).await;
    let running = installation.start();
    // The batch has failed, and is tried again later.
    installation
        .wait_for(
            "(select count(*) from delivery_schedule where status = 'batched') = 2
                and exists (select from webhook_attempts)",
        )
        .await;
    running.stop().await;
    let client = installation.store.get().await.unwrap();
    client
        .batch_execute("update store set timeline = 7")
        .await
        .unwrap();
    project(&installation, "")
        .walhook(&["adopt-store"])
        .await
        .exits(1)
        .says("2 pending deliveries would be sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_another_source_makes_no_subscription() {
    let installation = Installation::of_orders().await;
    let other = TestDatabase::create().await;
    let own = format!("url = '{}'", installation.database.url);
    let config = std::fs::read_to_string(installation.config_file()).unwrap();
    // The store stays where it is.
    let moved = config.replacen(&own, &format!("url = '{}'", other.url), 1);
    let node = Project::new(&format!("{moved}\n[store]\n{own}\n"));
    let api = Process::start(&node.file(), &["run", "--roles", "api"]);
    let subscriptions = Subscriptions::at(&node, &api).await;
    let subscription = serde_json::json!({"url": "https://example.com/", "event": "*"});
    assert_eq!(subscriptions.create(&subscription).await, 503);
    api.says("that `walhook setup` found", 1).await;
    assert!(api.terminate().success());
}
