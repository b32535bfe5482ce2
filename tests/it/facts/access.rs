//! What publications and the right to replicate do to others.

use super::Log;
use crate::harness::{TestDatabase, connect};

#[tokio::test]
async fn replication_without_select_reads_every_row_and_drops_the_slots_of_others() {
    let database = TestDatabase::create().await;
    let log = Log::of(
        &database,
        "create table t (id bigint primary key, secret text)",
        "for table t",
    )
    .await;
    log.run("insert into t values (1, 'hidden')").await;
    let role = format!("replicator_{}", database.name);
    log.run(&format!("create role {role} login replication"))
        .await;
    let url = database
        .url
        .replace("postgres://postgres@", &format!("postgres://{role}@"));
    let other = Log {
        client: connect(&url).await,
        slot: database.slot(),
    };
    assert!(other.client.batch_execute("select from t").await.is_err());
    assert_eq!(other.changes().await, ["insert t (1, hidden)"]);
    let drop = "select pg_drop_replication_slot($1)";
    other.client.query_one(drop, &[&other.slot]).await.unwrap();
}

#[tokio::test]
async fn all_tables_filters_and_column_lists_make_the_applications_writes_fail() {
    let database = TestDatabase::create().await;
    let tables = "create table t (id bigint primary key, v text); insert into t values (1, 'x');
        create table keyless (v text); insert into keyless values ('x')";
    let log = Log::of(&database, tables, "for all tables").await;
    let refused = |table: &str| {
        let update = format!("update {table} set v = 'y'");
        let client = &log.client;
        async move { client.batch_execute(&update).await.is_err() }
    };
    assert!(refused("keyless").await, "for all tables");
    assert!(!refused("t").await);
    log.run("drop publication p").await;
    if log.major().await < 15 {
        return;
    }
    for of_15 in ["t where (v = 'x')", "t (v)"] {
        log.run(&format!("create publication p for table {of_15}"))
            .await;
        assert!(refused("t").await, "{of_15}");
        log.run("drop publication p").await;
    }
}
