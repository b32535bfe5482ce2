//! Where a session begins, and in which format it brings values.

use tokio::process::Command;

use super::Log;
use crate::harness::TestDatabase;
use crate::harness::receiver::Receiver;
use crate::harness::walhook::Installation;

#[tokio::test]
async fn a_stream_that_is_asked_for_from_behind_the_slot_begins_at_the_slot_in_silence() {
    let database = TestDatabase::create().await;
    let tables = "create table t (id bigint primary key, v text)";
    let log = Log::of(&database, tables, "for table t").await;
    log.run("insert into t values (1, 'confirmed')").await;
    log.get().await;
    log.run("insert into t values (2, 'waiting')").await;
    let end = "select pg_current_wal_insert_lsn()::text";
    let end: String = log.client.query_one(end, &[]).await.unwrap().get(0);
    let streamed = Command::new("pg_recvlogical")
        .args(["--start", "--no-loop", "--file=-", "--startpos=0/1"])
        .args(["--option=proto_version=1", "--option=publication_names=p"])
        .arg(format!("--endpos={end}"))
        .arg(format!("--slot={}", log.slot))
        .arg(format!("--dbname={}", database.url))
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&streamed.stderr);
    assert!(streamed.status.success(), "{said}");
    let brought = String::from_utf8_lossy(&streamed.stdout);
    assert!(brought.contains("waiting") && !brought.contains("confirmed"));
}

/// Every setting by which a database, or a role, could change how values are written.
const HOSTILE: [&str; 7] = [
    "datestyle = 'German'",
    "intervalstyle = 'sql_standard'",
    "extra_float_digits = -5",
    "timezone = 'Asia/Kolkata'",
    "bytea_output = 'escape'",
    "client_encoding = 'LATIN1'",
    "standard_conforming_strings = off",
];

#[tokio::test(flavor = "multi_thread")]
async fn values_do_not_depend_on_how_the_database_shows_them() {
    let database = TestDatabase::create().await;
    let url = database.url.clone();
    for setting in HOSTILE {
        let alter = format!("alter database {} set {setting}", database.name);
        database.client.batch_execute(&alter).await.unwrap();
    }
    let tables = "create table t (id bigint primary key, tenant_id text, at timestamptz, day date,
        span interval, exact double precision, bytes bytea, name text)";
    let rule = "[[events]]\ntype = 't.made'\ntable = 'public.t'\non = ['insert']\n";
    let installation = Installation::create_in(database, tables, rule, "").await;
    let receiver = Receiver::start().await;
    installation
        .subscribe("acme", &receiver.url("/"), &["t.made"])
        .await;
    let running = installation.start();
    let insert = "insert into t values (1, 'acme', '2026-11-23 12:00:00.5+00', '2026-11-23',
        '1 year 2 mons -3 days', 0.1::double precision + 0.2, decode('00ff', 'hex'), 'Straße €')";
    let hostile = crate::harness::connect(&url).await;
    hostile.batch_execute(insert).await.unwrap();
    let requests = receiver.wait_for(1).await;
    running.stop().await;
    let data = &requests[0].json()["data"];
    let expected = serde_json::json!({
        "id": 1, "tenant_id": "acme", "at": "2026-11-23T12:00:00.5Z", "day": "2026-11-23",
        "span": "1 year 2 mons -3 days", "exact": 0.30000000000000004, "bytes": "AP8=",
        "name": "Straße €",
    });
    assert_eq!(*data, expected);
}
