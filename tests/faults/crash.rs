//! Kill anything at any moment: nothing committed is lost, nothing aborted is sent, and
//! an event never changes its id or its bytes.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::walhook::conninfo::Client;
use tokio::task::JoinHandle;

use crate::harness::process::Process;
use crate::harness::receiver::Receiver;
use crate::harness::walhook::{Installation, ORDER_RULES, ORDERS};
use crate::harness::{TestDatabase, connect, start_postgres, stop_at_exit, try_connect};

/// Writes orders until told to stop, in transactions of one to twenty rows of which
/// every fifth is rolled back. Survives the end of its connection, when a commit that
/// was not answered may or may not have happened.
struct Load {
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Load {
    fn start(url: String) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut number: u64 = 0;
            let mut client: Option<Client> = None;
            while !stopped.load(Ordering::Relaxed) {
                number += 1;
                let writer = match &client {
                    Some(client) if !client.is_closed() => client,
                    _ => match try_connect(&url).await {
                        Ok(fresh) => client.insert(fresh),
                        // The server is down: connecting is all that there is to do.
                        Err(_) => {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                            continue;
                        }
                    },
                };
                let aborted = number.is_multiple_of(5);
                let note = if aborted { "aborted" } else { "kept" };
                let end = if aborted { "rollback" } else { "commit" };
                let rows = number % 20 + 1;
                // An error means that the connection is gone: the next round sees it.
                let _ = writer
                    .batch_execute(&format!(
                        "begin; insert into orders (tenant_id, status, note)
                         select 'tenant ' || n % 3, 'new', '{note}' from generate_series(1, {rows}) n; {end}"
                    ))
                    .await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        Load { stop, task }
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
    }
}

/// A random time: faults are to fall on every stage of the way.
async fn a_moment(milliseconds: std::ops::Range<u64>) {
    tokio::time::sleep(Duration::from_millis(rand::random_range(milliseconds))).await;
}

async fn subscribe_all(walhook: &Installation, receiver: &Receiver) {
    for tenant in 0..3 {
        let url = receiver.url(&format!("/{tenant}"));
        walhook
            .subscribe(&format!("tenant {tenant}"), &url, &["order.created"])
            .await;
    }
}

/// The promises, once all has come to rest.
async fn assert_kept(walhook: &Installation, receiver: &Receiver, application: &Client) {
    let rows = application
        .query("select id, note from orders order by id", &[])
        .await
        .unwrap();
    let committed: BTreeSet<i64> = rows.iter().map(|row| row.get(0)).collect();
    assert!(rows.iter().all(|row| row.get::<_, &str>(1) == "kept"));
    assert!(
        committed.len() > 100,
        "the load wrote only {} rows",
        committed.len()
    );
    walhook
        .wait_for(&format!(
            "select count(*) = {} from webhook_deliveries where status = 'delivered'",
            committed.len()
        ))
        .await;

    let counts = [
        ("select count(*) from webhook_events", committed.len()),
        (
            "select count(distinct (commit_lsn, ordinal)) from webhook_events",
            committed.len(),
        ),
        ("select count(*) from webhook_deliveries", committed.len()),
        ("select count(*) from delivery_schedule", 0),
        ("select count(*) from parked_changes", 0),
    ];
    for (query, expected) in counts {
        assert_eq!(
            walhook.count(query).await,
            i64::try_from(expected).unwrap(),
            "{query}"
        );
    }
    let mut bytes_of: HashMap<String, bytes::Bytes> = HashMap::new();
    let mut received = BTreeSet::new();
    for request in receiver.requests() {
        let known = bytes_of
            .entry(request.id().to_owned())
            .or_insert_with(|| request.body.clone());
        assert_eq!(
            *known,
            request.body,
            "the bytes of {} changed",
            request.id()
        );
        let body = request.json();
        assert_eq!(body["id"], request.id());
        assert_eq!(body["tenant_id"], format!("tenant {}", &request.path[1..]));
        received.insert(body["data"]["id"].as_i64().unwrap());
    }
    assert_eq!(received, committed);
    assert_eq!(
        bytes_of.len(),
        committed.len(),
        "a row was sent under two ids"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_kills_of_walhook_lose_and_double_nothing() {
    let walhook = Installation::of_orders().await;
    let receiver = Receiver::start().await;
    subscribe_all(&walhook, &receiver).await;
    let load = Load::start(walhook.database.url.clone());
    for _ in 0..50 {
        let process = Process::start(&walhook.config_file(), &["run"]);
        a_moment(30..900).await;
        process.kill();
    }
    load.stop().await;
    let process = Process::start(&walhook.config_file(), &["run"]);
    assert_kept(&walhook, &receiver, &walhook.database.client).await;
    assert!(process.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_of_a_large_transaction_resumes_inside_it() {
    const ROWS: i64 = 30_000;
    let walhook = Installation::of_orders().await;
    let receiver = Receiver::start().await;
    subscribe_all(&walhook, &receiver).await;
    walhook
        .database
        .client
        .batch_execute(&format!(
            "insert into orders (tenant_id, status, note)
             select 'tenant ' || n % 3, 'new', 'kept' from generate_series(1, {ROWS}) n"
        ))
        .await
        .unwrap();
    let mut inside = 0;
    for part in 1..=4 {
        let process = Process::start(&walhook.config_file(), &["run"]);
        let reached = format!("select count(*) >= {} from webhook_events", part * ROWS / 6);
        walhook.wait_for(&reached).await;
        process.kill();
        inside += walhook
            .count("select count(*) from replication_progress where not complete and ordinal > 0")
            .await;
    }
    assert!(inside > 0, "no kill fell inside the transaction");
    let process = Process::start(&walhook.config_file(), &["run"]);
    assert_kept(&walhook, &receiver, &walhook.database.client).await;
    assert!(process.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn ended_walsenders_lose_and_double_nothing() {
    let walhook = Installation::of_orders().await;
    let receiver = Receiver::start().await;
    subscribe_all(&walhook, &receiver).await;
    let load = Load::start(walhook.database.url.clone());
    let running = walhook.start();
    let end =
        "select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = $1";
    for _ in 0..20 {
        a_moment(10..500).await;
        walhook
            .database
            .client
            .execute(end, &[&walhook.database.slot()])
            .await
            .unwrap();
    }
    load.stop().await;
    assert_kept(&walhook, &receiver, &walhook.database.client).await;
    running.stop().await;
    // Nothing was sent a second time: only the stream was cut, never walhook.
    let requests = receiver.requests();
    let ids: BTreeSet<_> = requests.iter().map(|request| request.id()).collect();
    assert_eq!(ids.len(), requests.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_of_postgresql_lose_and_double_nothing() {
    let server =
        start_postgres(&[("max_replication_slots", "5"), ("shared_buffers", "32MB")]).unwrap();
    stop_at_exit(&server);
    let database = TestDatabase::create_on(&server).await;
    let walhook = Installation::create_in(database, ORDERS, ORDER_RULES, "").await;
    let receiver = Receiver::start().await;
    subscribe_all(&walhook, &receiver).await;
    let load = Load::start(walhook.database.url.clone());
    let running = walhook.start();
    for _ in 0..5 {
        a_moment(200..1500).await;
        server.crash().unwrap();
        a_moment(0..300).await;
        tokio::task::block_in_place(|| server.boot()).unwrap();
    }
    load.stop().await;
    let application = connect(&walhook.database.url).await;
    assert_kept(&walhook, &receiver, &application).await;
    running.stop().await;
}
