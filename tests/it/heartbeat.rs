//! Messages of walhook's own in the WAL: whether the stream moves where nothing that is
//! published commits.

use std::process::Command;
use std::time::Duration;

use crate::harness::process::Process;
use crate::harness::walhook::{Installation, ORDER_RULES, ORDERS};
use crate::harness::{TestDatabase, connect, start_postgres, stop_at_exit};

/// 2 MiB of log that no publication has.
const UNRELATED: &str = "create table if not exists unrelated (text text);
    insert into unrelated select repeat('x', 1000) from generate_series(1, 2000)";

/// A source of the test's own, whose log nobody else writes: the store is elsewhere.
async fn quiet() -> (
    ::walhook::demo::postgres::Postgres,
    Installation,
    TestDatabase,
) {
    let server = start_postgres(&[("max_replication_slots", "5"), ("shared_buffers", "32MB")]);
    let server = server.unwrap();
    stop_at_exit(&server);
    let mut database = TestDatabase::create_on(&server).await;
    let store = TestDatabase::create().await;
    database.url = format!("{}'\nheartbeat = '1s", database.url);
    let settings = format!("[store]\nurl = '{}'\n", store.url);
    let walhook = Installation::create_in(database, ORDERS, ORDER_RULES, &settings).await;
    (server, walhook, store)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_is_written_where_unrelated_log_is_and_none_where_nothing_is() {
    let (server, walhook, _store) = quiet().await;
    let observer = &walhook.database.client;
    observer
        .batch_execute("select pg_create_logical_replication_slot('observer', 'pgoutput')")
        .await
        .unwrap();
    let beats = "select count(*) from pg_logical_slot_peek_binary_changes('observer', null, null,
            'proto_version', '1', 'publication_names', 'walhook', 'messages', 'true')
        where position('heartbeat'::bytea in data) > 0";
    let beats = async || {
        observer
            .query_one(beats, &[])
            .await
            .unwrap()
            .get::<_, i64>(0)
    };
    let process = Process::start(&walhook.config_file(), &["run"]);
    process.says("holding the slot", 1).await;
    // Once, for what was written before; then the source is at rest.
    let mut last = beats().await;
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let now = beats().await;
        if now == last {
            break;
        }
        last = now;
    }
    assert!(last <= 1, "{last} heartbeats of a source at rest");
    // Another database of the cluster: nothing of it is decoded.
    let other = connect(&server.url("postgres")).await;
    other.batch_execute(UNRELATED).await.unwrap();
    while beats().await == last {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(process.terminate().success());
}

/// The server says that it lives, and does not move.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_has_stopped_is_seen_to_lag_although_nothing_is_published() {
    let (_server, walhook, _store) = quiet().await;
    let process = Process::start(&walhook.config_file(), &["run"]);
    process.says("holding the slot", 1).await;
    let application = &walhook.database.client;
    let walsender = "select active_pid from pg_replication_slots where active_pid is not null";
    let walsender = application.query_one(walsender, &[]).await.unwrap();
    let walsender = walsender.get::<_, i32>(0).to_string();
    let signal = |name: &str| {
        let sent = Command::new("kill").args([name, &walsender]).status();
        assert!(sent.unwrap().success());
    };
    signal("-STOP");
    application.batch_execute(UNRELATED).await.unwrap();
    let lag = async || process.gauge("walhook_replication_lag_seconds").await;
    while lag().await < 2.0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    signal("-CONT");
    while lag().await > 0.0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(process.terminate().success());
}
