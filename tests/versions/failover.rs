//! The source changes hands, from a server to its standby.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::harness::command::Project;
use crate::harness::process::Process;
use crate::harness::receiver::{Receiver, Request};
use crate::harness::walhook::{Installation, ORDER_RULES, ORDERS};
use crate::harness::{TestDatabase, connect};
use crate::pair::Pair;

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

async fn database_of(pair: &Pair) -> TestDatabase {
    TestDatabase::create_on(&pair.primary).await
}

/// Source, and store where it has none of its own, under the URL that finds the primary.
async fn installation(pair: &Pair, settings: &str) -> Installation {
    let mut database = database_of(pair).await;
    database.url = pair.url(&database.name);
    Installation::create_in(database, ORDERS, ORDER_RULES, settings).await
}

fn slot_is_kept(installation: &Installation) -> String {
    format!(
        "exists (select from pg_replication_slots where slot_name = '{}' and synced and not temporary
            and invalidation_reason is null)",
        installation.database.slot()
    )
}

/// The standby keeps a copy of the slot only once the slot has moved beyond what the
/// standby may have cleaned up: that takes a change, and a snapshot in the WAL.
async fn synchronize(pair: &Pair, walhook: &Installation) {
    let administrator = connect(&pair.standby.url("postgres")).await;
    let kept = format!("select {}", slot_is_kept(walhook));
    loop {
        let row = administrator.query_one(&kept, &[]).await.unwrap();
        if row.get(0) {
            return;
        }
        let nudge = "select pg_log_standby_snapshot();
            insert into orders (tenant_id, status, note) values ('nobody', 'new', '')";
        walhook.database.client.batch_execute(nudge).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

const SYNCHRONIZED: &[(&str, &str)] = &[("sync_replication_slots", "on")];

#[tokio::test(flavor = "multi_thread")]
async fn a_synchronized_slot_goes_on_at_the_promoted_standby_and_nothing_is_lost_or_doubled() {
    let settings = [("synchronized_standby_slots", "standby")];
    // Promoted it has no standby to wait for.
    let standby = [SYNCHRONIZED, &[("synchronized_standby_slots", "")]].concat();
    let Some(pair) = Pair::start(17, &settings, &standby).await else {
        return;
    };
    let walhook = installation(&pair, "").await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    order(&walhook.database.client, "before").await;
    receiver.wait_for(1).await;
    synchronize(&pair, &walhook).await;
    // More than the copy of the slot has confirmed: it comes again from the promoted server.
    for number in 0..20 {
        order(&walhook.database.client, &format!("{number}")).await;
    }
    receiver.wait_for(21).await;
    walhook
        .wait_for("select count(*) = 21 from webhook_deliveries where status = 'delivered'")
        .await;
    pair.wait_for_replay().await;
    let before: BTreeSet<String> = ids(&receiver.requests())
        .iter()
        .map(ToString::to_string)
        .collect();
    pair.fail_over().await;

    let application = connect(&pair.standby.url(&walhook.database.name)).await;
    order(&application, "promoted").await;
    receiver
        .wait_until(|requests| notes(requests).contains("promoted"))
        .await;
    // The next session finds the timeline that is recorded by now.
    running.stop().await;
    order(&application, "while stopped").await;
    let running = walhook.start();
    receiver
        .wait_until(|requests| notes(requests).contains("while stopped"))
        .await;
    running.stop().await;

    let requests = receiver.requests();
    assert_eq!(requests.len(), 23, "something was sent twice");
    assert_eq!(ids(&requests).len(), 23);
    let after: BTreeSet<String> = ids(&requests).iter().map(ToString::to_string).collect();
    assert!(before.is_subset(&after));
    let events = application
        .query_one(
            "select count(*) from walhook.webhook_events where tenant_id = 'acme'",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(events.get::<_, i64>(0), 23);
    let progress = application
        .query_one("select timeline from walhook.replication_progress", &[])
        .await
        .unwrap();
    assert_eq!(progress.get::<_, i32>(0), 2);
}

/// A store of its own on the tests' server: it keeps what the failed-over source lost.
async fn with_separate_store(pair: &Pair) -> (Installation, TestDatabase) {
    let store = TestDatabase::create().await;
    let settings = format!("[store]\nurl = '{}'\n", store.url);
    let mut installation = installation(pair, &settings).await;
    // A gap is to be an end that says why.
    installation.edit("[source]\n", "[source]\non_gap = 'stop'\n");
    (installation, store)
}

/// Delivers what the standby never gets, and fails over.
async fn lose_a_commit(pair: &Pair, walhook: &Installation, standby_has_it: bool) -> String {
    let receiver = Receiver::start().await;
    let application = &walhook.database.client;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    order(application, "before").await;
    receiver.wait_for(1).await;
    if !standby_has_it {
        synchronize(pair, walhook).await;
        pair.wait_for_replay().await;
        pair.standby.stop().unwrap();
    }
    order(application, "last").await;
    receiver.wait_for(2).await;
    walhook
        .wait_for("select count(*) = 2 from webhook_deliveries where status = 'delivered'")
        .await;
    if standby_has_it {
        pair.wait_for_replay().await;
    }
    pair.primary.crash().unwrap();
    if !standby_has_it {
        tokio::task::block_in_place(|| pair.standby.boot()).unwrap();
    }
    let standby = connect(&pair.standby.url("postgres")).await;
    standby
        .batch_execute("select pg_promote(true, 60)")
        .await
        .unwrap();
    let promoted = connect(&pair.standby.url(&walhook.database.name)).await;
    order(&promoted, "on the new timeline").await;
    // Capture cannot go on, and so the process ends.
    let ended = tokio::time::timeout(Duration::from_secs(60), running.task).await;
    let error = ended.expect("walhook goes on").unwrap().unwrap_err();
    format!("{error:#}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeline_that_left_before_progress_is_a_named_gap() {
    let Some(pair) = Pair::start(17, &[], SYNCHRONIZED).await else {
        return;
    };
    let (walhook, _store) = with_separate_store(&pair).await;
    let said = lose_a_commit(&pair, &walhook, false).await;
    assert!(
        said.contains("the source is on timeline 2, which left timeline 1 at"),
        "{said}"
    );
    assert!(said.contains("--accept-gap"), "{said}");
    let recorded =
        "select count(*) from gaps where reason like '%left timeline 1%' and accepted_at is null";
    assert_eq!(walhook.count(recorded).await, 1);
    let kept = "select count(*) from webhook_events where tenant_id = 'acme'";
    assert_eq!(walhook.count(kept).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_keeps_no_slots_on_standbys_leaves_a_named_gap() {
    let Some(pair) = Pair::start(16, &[], &[]).await else {
        return;
    };
    let (walhook, _store) = with_separate_store(&pair).await;
    let said = lose_a_commit(&pair, &walhook, true).await;
    assert!(
        said.contains("the server was failed over to one that does not have it"),
        "{said}"
    );
    assert!(said.contains("--accept-gap"), "{said}");
    let recorded =
        "select count(*) from gaps where reason like '%failed over%' and accepted_at is null";
    assert_eq!(walhook.count(recorded).await, 1);
}

/// The address is the standby's before it is promoted, as a virtual one is for a while.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_keeps_a_copy_of_the_slot_is_waited_for() {
    let Some(pair) = Pair::start(17, &[], SYNCHRONIZED).await else {
        return;
    };
    let (mut walhook, _store) = with_separate_store(&pair).await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    synchronize(&pair, &walhook).await;
    running.stop().await;
    let standby = pair.standby.url(&walhook.database.name);
    walhook.edit(&walhook.database.url.clone(), &standby);
    let process = Process::start(&walhook.config_file(), &["run"]);
    process.says("before its promotion", 1).await;
    order(&walhook.database.client, "before").await;
    pair.wait_for_replay().await;
    pair.fail_over().await;
    receiver.wait_for(1).await;
    assert!(process.terminate().success());
}

/// Nobody writes anything, and a standby makes its copy of a slot permanent only when the slot
/// has moved.
#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_sources_slot_moves_until_the_standby_keeps_a_copy() {
    let Some(pair) = Pair::start(17, &[], SYNCHRONIZED).await else {
        return;
    };
    // A store elsewhere writes nothing into the source's WAL.
    let settings = "[source]\nheartbeat = '1s'\n";
    let (mut walhook, _store) = with_separate_store(&pair).await;
    walhook.edit("[source]\n", settings);
    let project = Project {
        directory: tempfile::tempdir().unwrap(),
    };
    std::fs::copy(walhook.config_file(), project.file()).unwrap();
    let missing = project.walhook(&["check"]).await;
    missing.says("could not go on with the slot");
    let status = project.walhook(&["status"]).await.exits(1);
    status.says("a promotion now would be a gap");

    let running = walhook.start();
    pair.wait_on_standby("postgres", &slot_is_kept(&walhook))
        .await;
    let kept = project.walhook(&["check"]).await;
    kept.says("keeps a copy of the slot");
    let status = project.walhook(&["status"]).await;
    assert!(!status.out.contains("would be a gap"), "{}", status.out);
    running.stop().await;
}
