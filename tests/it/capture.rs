//! The stream from a real server: what it brings, what it acknowledges, and how
//! it ends.

use ::walhook::conninfo::Purpose;
use std::time::Duration;

use ::walhook::conninfo::Client;
use walhook::conninfo::ConnInfo;
use walhook::duration::HumanDuration;
use walhook::lsn::Lsn;
use walhook::pgoutput::{Operation, StreamEvent, TupleValue};
use walhook::replication::slot::{self, RecordedProgress};
use walhook::replication::{Gap, ReplicationError, SourceConfig, WalStream, identify, start};

use crate::harness::{TestDatabase, connect, server, start_postgres};

/// A database with one published table `t (id, v)` and a slot.
async fn source() -> TestDatabase {
    let database = TestDatabase::create().await;
    publish(&database.client).await;
    slot::create(&database.client, &database.slot(), false)
        .await
        .unwrap();
    database
}

async fn publish(client: &Client) {
    let sql = "create table t (id bigint generated always as identity primary key, v text);
               create table unrelated (v text);
               create publication walhook for table t";
    client.batch_execute(sql).await.unwrap();
}

fn config(slot: &str) -> SourceConfig {
    SourceConfig {
        slot: slot.to_owned(),
        ..SourceConfig::default()
    }
}

async fn stream(database: &TestDatabase) -> Result<WalStream, ReplicationError> {
    let conninfo = ConnInfo::parse(&database.url).unwrap();
    start(&conninfo, &config(&database.slot())).await
}

async fn insert(client: &Client, first: u32, last: u32) {
    let sql = "insert into t (v) select n::text from generate_series($1::bigint, $2::bigint) n";
    let bounds: [&(dyn tokio_postgres::types::ToSql + Sync); 2] =
        [&i64::from(first), &i64::from(last)];
    client.execute(sql, &bounds).await.unwrap();
}

/// The values of `t.v` that the stream brings, and the end of the last commit.
#[derive(Default)]
struct Seen {
    values: Vec<String>,
    end: Lsn,
}

impl Seen {
    fn add(&mut self, events: Vec<StreamEvent>) {
        for event in events {
            match event {
                StreamEvent::Change(change) => {
                    let Operation::Insert { new } = change.operation else {
                        panic!("expected an insert");
                    };
                    let TupleValue::Text(text) = &new[1] else {
                        panic!("expected a text");
                    };
                    self.values.push(String::from_utf8(text.to_vec()).unwrap());
                }
                StreamEvent::Commit { end_lsn, .. } => self.end = end_lsn,
                StreamEvent::Undecodable { error, .. } => panic!("{error}"),
                StreamEvent::Begin(_)
                | StreamEvent::Message { .. }
                | StreamEvent::Keepalive { .. } => {}
            }
        }
    }

    /// Reads until the transaction that brings the `count`th value has committed.
    async fn read(stream: &mut WalStream, count: usize) -> Seen {
        let mut seen = Seen::default();
        while seen.values.len() < count || seen.end == Lsn::ZERO {
            seen.add(stream.next_batch().await.unwrap());
        }
        assert_eq!(seen.values.len(), count);
        seen
    }
}

/// Polls on the server until `condition`, an SQL expression, holds.
async fn until(client: &Client, condition: &str) {
    let sql = format!("select coalesce(({condition}), false) from pg_sleep(0.01)");
    let wait = async { while !client.query_one(&sql, &[]).await.unwrap().get::<_, bool>(0) {} };
    tokio::time::timeout(Duration::from_secs(20), wait)
        .await
        .unwrap_or_else(|_| panic!("never came true: {condition}"));
}

async fn confirmed(database: &TestDatabase) -> Lsn {
    let state = slot::inspect(&database.client, &database.slot()).await;
    state.unwrap().unwrap().confirmed_flush_lsn.unwrap()
}

#[tokio::test]
async fn brings_committed_rows_in_order_and_acknowledges_promptly() {
    let database = source().await;
    let mut stream = stream(&database).await.unwrap();
    insert(&database.client, 1, 3).await;
    database
        .client
        .batch_execute("begin; insert into t (v) values ('never'); rollback")
        .await
        .unwrap();
    insert(&database.client, 4, 4).await;
    let seen = Seen::read(&mut stream, 4).await;
    assert_eq!(seen.values, ["1", "2", "3", "4"]);
    let before = confirmed(&database).await;
    stream.acknowledge(seen.end);
    let since = std::time::Instant::now();
    until(
        &database.client,
        &format!(
            "select confirmed_flush_lsn = '{}' from pg_replication_slots where slot_name = '{}'",
            seen.end,
            database.slot()
        ),
    )
    .await;
    assert!(before < seen.end);
    // 100 ms by contract; the rest is for a busy machine.
    assert!(
        since.elapsed() < Duration::from_secs(1),
        "{:?}",
        since.elapsed()
    );
    stream.shutdown().await;
}

#[tokio::test]
async fn never_acknowledges_more_than_was_received() {
    let database = source().await;
    let mut stream = stream(&database).await.unwrap();
    insert(&database.client, 1, 1).await;
    let seen = Seen::read(&mut stream, 1).await;
    stream.acknowledge(Lsn(u64::MAX));
    let received = stream.received();
    assert!(received >= seen.end);
    stream.shutdown().await;
    let insert_lsn = slot::current_wal_insert_lsn(&database.client).await;
    assert!(confirmed(&database).await <= insert_lsn.unwrap());
}

#[tokio::test]
async fn shutdown_reports_the_last_position_and_frees_the_slot() {
    let database = source().await;
    let mut first = stream(&database).await.unwrap();
    insert(&database.client, 1, 2).await;
    let seen = Seen::read(&mut first, 2).await;
    first.acknowledge(seen.end);
    first.shutdown().await;
    assert_eq!(confirmed(&database).await, seen.end);
    insert(&database.client, 3, 3).await;
    let mut second = stream(&database).await.unwrap();
    assert_eq!(Seen::read(&mut second, 1).await.values, ["3"]);
    second.shutdown().await;
}

#[tokio::test]
async fn a_blocked_pipeline_keeps_its_session_and_loses_nothing() {
    let database = source().await;
    let url = format!("{}&options=-c%20wal_sender_timeout%3D1s", database.url);
    let conninfo = ConnInfo::parse(&url).unwrap();
    let mut config = config(&database.slot());
    config.buffer_bytes = 64 * 1024;
    let mut stream = start(&conninfo, &config).await.unwrap();
    database
        .client
        .execute(
            "insert into t (v) select repeat('x', 1000) from generate_series(1, 20000)",
            &[],
        )
        .await
        .unwrap();
    // Nobody reads for three times the timeout, yet the server hears from us.
    let since = "select clock_timestamp() + interval '3 s'";
    let until_then: std::time::SystemTime =
        database.client.query_one(since, &[]).await.unwrap().get(0);
    let then: String = {
        let sql = "select ($1::timestamptz)::text";
        let row = database.client.query_one(sql, &[&until_then]).await;
        row.unwrap().get(0)
    };
    until(
        &database.client,
        &format!(
            "select max(reply_time) > '{then}' from pg_stat_replication
              where pid = (select active_pid from pg_replication_slots where slot_name = '{}')",
            database.slot()
        ),
    )
    .await;
    let seen = Seen::read(&mut stream, 20_000).await;
    assert!(seen.values.iter().all(|value| value.len() == 1000));
    stream.shutdown().await;
}

#[tokio::test]
async fn next_batch_may_be_dropped_at_any_time() {
    let database = source().await;
    let mut stream = stream(&database).await.unwrap();
    let url = database.url.clone();
    let writer = tokio::spawn(async move {
        let client = connect(&url).await;
        for n in 1..=300 {
            insert(&client, n, n).await;
        }
    });
    let mut seen = Seen::default();
    let mut dropped = 0;
    while seen.values.len() < 300 {
        tokio::select! {
            biased;
            () = tokio::task::yield_now() => dropped += 1,
            batch = stream.next_batch() => seen.add(batch.unwrap()),
        }
        if let Ok(batch) =
            tokio::time::timeout(Duration::from_micros(50), stream.next_batch()).await
        {
            seen.add(batch.unwrap());
        }
    }
    writer.await.unwrap();
    let expected: Vec<_> = (1..=300).map(|n: u32| n.to_string()).collect();
    assert_eq!(seen.values, expected);
    assert!(dropped > 0);
    stream.shutdown().await;
}

#[tokio::test]
async fn a_killed_walsender_ends_the_session_and_the_next_resumes() {
    let database = source().await;
    let mut first = stream(&database).await.unwrap();
    insert(&database.client, 1, 2).await;
    let seen = Seen::read(&mut first, 2).await;
    first.acknowledge(seen.end);
    let slot = database.slot();
    let at_end = format!(
        "select confirmed_flush_lsn = '{}' from pg_replication_slots where slot_name = '{slot}'",
        seen.end
    );
    until(&database.client, &at_end).await;
    insert(&database.client, 3, 3).await;
    assert_eq!(Seen::read(&mut first, 1).await.values, ["3"]);
    let kill = "select pg_terminate_backend(active_pid) from pg_replication_slots
                 where slot_name = $1";
    database.client.execute(kill, &[&slot]).await.unwrap();
    let error = loop {
        if let Err(error) = first.next_batch().await {
            break error;
        }
    };
    assert!(error.is_transient(), "{error}");
    first.shutdown().await;
    let mut second = loop {
        match stream(&database).await {
            Ok(stream) => break stream,
            Err(ReplicationError::SlotActive { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(
        Seen::read(&mut second, 1).await.values,
        ["3"],
        "not acknowledged: again"
    );
    second.shutdown().await;
}

#[tokio::test]
async fn idle_keepalives_move_the_slot_past_unrelated_writes() {
    let database = source().await;
    let mut stream = stream(&database).await.unwrap();
    let fill = "insert into unrelated select repeat('x', 1000) from generate_series(1, 1000)";
    database.client.execute(fill, &[]).await.unwrap();
    let target = slot::current_wal_insert_lsn(&database.client)
        .await
        .unwrap();
    let mut acknowledged = Lsn::ZERO;
    while acknowledged < target {
        for event in stream.next_batch().await.unwrap() {
            // Nothing of ours is in flight: as the enqueuer does.
            if let StreamEvent::Keepalive { wal_end, .. } = event {
                acknowledged = wal_end;
                stream.acknowledge(wal_end);
            }
        }
    }
    stream.shutdown().await;
    assert!(confirmed(&database).await >= target);
}

#[tokio::test]
async fn a_second_instance_is_told_who_holds_the_slot() {
    let database = source().await;
    let first = stream(&database).await.unwrap();
    let error = stream(&database).await.err().unwrap();
    let holder = slot::inspect(&database.client, &database.slot()).await;
    let holder = holder.unwrap().unwrap().active_pid;
    assert!(holder.is_some());
    assert!(
        matches!(error, ReplicationError::SlotActive { pid, .. } if pid == holder),
        "{error}"
    );
    assert!(error.is_transient());
    first.shutdown().await;
    stream(&database).await.unwrap().shutdown().await;
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let database = TestDatabase::create().await;
    let slot = database.slot();
    slot::create(&database.client, &slot, false).await.unwrap();
    // The slot is older than the publication: the stream fails at the first change
    // between them, which no catalog shows.
    let error = stream(&database).await.err().unwrap();
    assert!(
        matches!(&error, ReplicationError::PublicationMissing { publication, .. } if publication == "walhook"),
        "{error}"
    );
    database
        .client
        .batch_execute("create table t (id int primary key, v text); insert into t values (1, 'x')")
        .await
        .unwrap();
    publish_later(&database.client).await;
    let mut stream_of_old_slot = stream(&database).await.unwrap();
    let error = loop {
        match stream_of_old_slot.next_batch().await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(
        matches!(
            error,
            ReplicationError::PublicationMissing {
                position: Some(_),
                ..
            }
        ),
        "{error}"
    );
    assert!(!error.is_transient());
    stream_of_old_slot.shutdown().await;
    // A walsender frees its slot a moment after it has told its error.
    let free = format!("select not active from pg_replication_slots where slot_name = '{slot}'");
    until(&database.client, &free).await;
    slot::drop(&database.client, &slot).await.unwrap();
    assert_eq!(slot::inspect(&database.client, &slot).await.unwrap(), None);
    let error = stream(&database).await.err().unwrap();
    assert!(
        matches!(error, ReplicationError::SlotMissing { .. }),
        "{error}"
    );
    assert!(!error.is_transient());
}

async fn publish_later(client: &Client) {
    let sql = "create publication walhook for table t";
    client.batch_execute(sql).await.unwrap();
}

#[tokio::test]
async fn a_slot_of_another_kind_is_named() {
    let elsewhere = source().await;
    let here = TestDatabase::create().await;
    publish(&here.client).await;
    let conninfo = ConnInfo::parse(&here.url).unwrap();
    let error = start(&conninfo, &config(&elsewhere.slot())).await;
    let error = error.err().unwrap();
    assert!(
        matches!(&error, ReplicationError::SlotUnusable { fault, .. } if fault.contains(&elsewhere.name)),
        "{error}"
    );
    let physical = "select pg_create_physical_replication_slot($1)";
    here.client
        .execute(physical, &[&here.slot()])
        .await
        .unwrap();
    let error = stream(&here).await.err().unwrap();
    assert!(error.to_string().contains("physical"), "{error}");
}

#[tokio::test]
async fn a_lost_slot_is_named_and_not_retried() {
    let server = start_postgres(&[
        ("max_slot_wal_keep_size", "1MB"),
        ("min_wal_size", "32MB"),
        ("max_wal_size", "32MB"),
    ]);
    let server = server.unwrap();
    // initdb makes segments of 16 MB: a few switches and checkpoints lose the slot.
    let database = TestDatabase::create_on(&server).await;
    publish(&database.client).await;
    let slot = database.slot();
    slot::create(&database.client, &slot, false).await.unwrap();
    for _ in 0..4 {
        let sql = "insert into t (v) values ('x'); select pg_switch_wal(); checkpoint";
        database.client.batch_execute(sql).await.unwrap();
    }
    let error = stream(&database).await.err().unwrap();
    assert!(
        matches!(error, ReplicationError::SlotLost { .. }),
        "{error}"
    );
    assert!(!error.is_transient());
    let state = slot::inspect(&database.client, &slot).await.unwrap();
    let system = identify(&ConnInfo::parse(&database.url).unwrap())
        .await
        .unwrap();
    let gap = slot::verify(None, &system, &slot, state.as_ref()).unwrap_err();
    assert!(matches!(gap, Gap::SlotLost { .. }), "{gap}");
}

#[tokio::test]
async fn the_end_of_the_server_ends_the_session_and_its_return_resumes() {
    let server = start_postgres(&[]).unwrap();
    let database = TestDatabase::create_on(&server).await;
    publish(&database.client).await;
    slot::create(&database.client, &database.slot(), false)
        .await
        .unwrap();
    let mut first = stream(&database).await.unwrap();
    insert(&database.client, 1, 1).await;
    Seen::read(&mut first, 1).await;
    server.crash().unwrap();
    let error = loop {
        if let Err(error) = first.next_batch().await {
            break error;
        }
    };
    assert!(error.is_transient(), "{error}");
    first.shutdown().await;
    let error = stream(&database).await.err().unwrap();
    assert!(error.is_transient(), "{error}");
    server.boot().unwrap();
    let mut second = stream(&database).await.unwrap();
    assert_eq!(Seen::read(&mut second, 1).await.values, ["1"]);
    second.shutdown().await;
}

#[tokio::test]
async fn sql_and_protocol_agree_on_the_system_and_its_slot_verifies() {
    let database = source().await;
    let conninfo = ConnInfo::parse(&database.url).unwrap();
    let over_protocol = identify(&conninfo).await.unwrap();
    let over_sql = slot::identify_system(&database.client).await.unwrap();
    assert_eq!(over_protocol.system_identifier, over_sql.system_identifier);
    assert_eq!(over_protocol.timeline, over_sql.timeline);
    assert_eq!(over_protocol.dbname, database.name);
    assert_eq!(over_protocol.major_version, over_sql.major_version);

    let held = stream(&database).await.unwrap();
    let state = slot::inspect(&database.client, &database.slot()).await;
    let state = state.unwrap().unwrap();
    let progress = |acknowledged_lsn| RecordedProgress {
        system_identifier: over_sql.system_identifier,
        timeline: over_sql.timeline,
        acknowledged_lsn,
        commit_lsn: Lsn::ZERO,
    };
    let confirmed = state.confirmed_flush_lsn.unwrap();
    let judge = |lsn| slot::verify(Some(&progress(lsn)), held.system(), "s", Some(&state));
    assert_eq!(judge(confirmed), Ok(()));
    assert!(matches!(
        judge(Lsn(confirmed.0 - 1)),
        Err(Gap::SlotAhead { .. })
    ));
    held.shutdown().await;
}

#[tokio::test]
async fn a_unix_socket_serves_both_kinds_of_connection() {
    let database = source().await;
    let url = format!(
        "host={} port={} user=postgres dbname={} sslmode=require",
        server().socket_directory().display(),
        server().port(),
        database.name
    );
    let conninfo = ConnInfo::parse(&url).unwrap();
    let client = conninfo
        .connect(Purpose::Command("test"), None)
        .await
        .unwrap();
    let sql = "select inet_server_addr() is null and current_setting('application_name') = 'walhook test'";
    assert!(client.query_one(sql, &[]).await.unwrap().get::<_, bool>(0));
    let mut stream = start(&conninfo, &config(&database.slot())).await.unwrap();
    insert(&database.client, 1, 1).await;
    assert_eq!(Seen::read(&mut stream, 1).await.values, ["1"]);
    stream.shutdown().await;
}

#[tokio::test]
async fn a_frozen_server_is_given_up() {
    let database = source().await;
    let conninfo = ConnInfo::parse(&database.url).unwrap();
    let mut config = config(&database.slot());
    config.receive_timeout = HumanDuration::from_secs(1);
    let mut stream = start(&conninfo, &config).await.unwrap();
    let state = slot::inspect(&database.client, &database.slot()).await;
    let pid = state.unwrap().unwrap().active_pid.unwrap().to_string();
    let signal = |signal: &str| {
        let status = std::process::Command::new("kill")
            .args([signal, &pid])
            .status();
        assert!(status.unwrap().success());
    };
    // While the server lives, silence is asked about and answered.
    let alive = tokio::time::timeout(Duration::from_secs(3), async {
        loop {
            stream.next_batch().await.unwrap();
        }
    });
    assert!(alive.await.is_err());
    signal("-STOP");
    let error = loop {
        if let Err(error) = stream.next_batch().await {
            break error;
        }
    };
    signal("-CONT");
    assert!(matches!(error, ReplicationError::Timeout { .. }), "{error}");
    assert!(error.is_transient());
    stream.shutdown().await;
}

#[tokio::test]
async fn the_first_server_that_answers_is_taken() {
    let database = source().await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = nobody.local_addr().unwrap().port();
    drop(nobody);
    let port = server().port();
    let conninfo = ConnInfo::parse(&format!(
        "postgres://postgres@127.0.0.1:{closed},127.0.0.1:{port}/{}?target_session_attrs=read-write",
        database.name
    ));
    let conninfo = conninfo.unwrap();
    conninfo.connect(Purpose::Application, None).await.unwrap();
    let stream = start(&conninfo, &config(&database.slot())).await.unwrap();
    stream.shutdown().await;
}
