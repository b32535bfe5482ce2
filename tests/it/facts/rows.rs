//! What of a row is in the WAL.

use super::Log;
use crate::harness::TestDatabase;

async fn log(tables: &str, publication: &str) -> Log {
    Log::of(&TestDatabase::create().await, tables, publication).await
}

#[tokio::test]
async fn the_default_identity_brings_the_old_key_alone() {
    let tables = "create table t (id bigint primary key, tenant text, status text)";
    let log = log(tables, "for table t").await;
    log.run("insert into t values (1, 'a', 'new')").await;
    log.run("update t set status = 'paid'").await;
    log.run("update t set id = 2").await;
    log.run("delete from t").await;
    // What is not in the key stands there as if it were null.
    let expected = [
        "insert t (1, a, new)",
        "update t (1, a, paid)",
        "update t key(1, null, null) (2, a, paid)",
        "delete t key(2, null, null)",
    ];
    assert_eq!(log.changes().await, expected);
}

#[tokio::test]
async fn an_unchanged_large_value_is_absent_and_full_has_it_in_the_old_row() {
    let tables = "create table t (id bigint primary key, note text, n integer);
        alter table t alter column note set storage external";
    let log = log(tables, "for table t").await;
    log.run("insert into t values (1, repeat('x', 9000), 0)")
        .await;
    log.run("update t set n = 1").await;
    log.run("update t set id = 2").await;
    log.run("alter table t replica identity full").await;
    log.run("update t set n = 2").await;
    let expected = [
        "insert t (1, 9000 bytes, 0)",
        "update t (1, unchanged, 1)",
        "update t key(1, null, null) (2, unchanged, 1)",
        "update t whole(2, 9000 bytes, 1) (2, unchanged, 2)",
    ];
    assert_eq!(log.changes().await, expected);
}

#[tokio::test]
async fn a_row_filter_makes_inserts_and_deletes_of_updates() {
    let tables =
        "create table t (id bigint primary key, status text); alter table t replica identity full";
    let log = log(tables, "for table t").await;
    if log.major().await < 15 {
        return;
    }
    log.run("alter publication p set table t where (status = 'paid')")
        .await;
    log.run("insert into t values (1, 'new')").await;
    log.run("update t set status = 'paid'").await;
    log.run("update t set status = 'void'").await;
    assert_eq!(
        log.changes().await,
        ["insert t (1, paid)", "delete t whole(1, paid)"]
    );
}

#[tokio::test]
async fn a_truncate_of_several_tables_is_one_message() {
    let tables = "create table a (id bigint primary key); create table b (a bigint references a)";
    let log = log(tables, "for table a, b").await;
    log.run("truncate a cascade").await;
    let messages = log.peek().await.unwrap();
    let truncates = messages.iter().filter(|message| message.data[0] == b'T');
    assert_eq!(truncates.count(), 1);
    let mut changes = log.changes().await;
    changes.sort();
    assert_eq!(changes, ["truncate a", "truncate b"]);
}

#[tokio::test]
async fn changes_of_partitions_come_under_the_root_and_a_move_is_a_delete_and_an_insert() {
    let tables = "create table t (id bigint, region text, primary key (id, region)) partition by list (region);
        create table t_eu partition of t for values in ('eu');
        create table t_us partition of t for values in ('us')";
    let log = log(
        tables,
        "for table t with (publish_via_partition_root = true)",
    )
    .await;
    log.run("insert into t_eu values (1, 'eu')").await;
    log.run("update t set region = 'us'").await;
    let expected = [
        "insert t (1, eu)",
        "delete t key(1, eu)",
        "insert t (1, us)",
    ];
    assert_eq!(log.changes().await, expected);
}

#[tokio::test]
async fn a_detached_partition_is_published_no_more_but_14_goes_on_in_the_session() {
    let tables = "create table t (id bigint primary key) partition by range (id);
        create table t_1 partition of t for values from (0) to (10)";
    let log = log(
        tables,
        "for table t with (publish_via_partition_root = true)",
    )
    .await;
    log.run("insert into t values (1)").await;
    log.run("alter table t detach partition t_1").await;
    log.run("insert into t_1 values (2)").await;
    let expected: &[&str] = match log.major().await {
        14 => &["insert t (1)", "insert t (2)"],
        _ => &["insert t (1)"],
    };
    assert_eq!(log.changes().await, expected);
}

/// A table that was written while it was none of them: 14 remembers for the session that its
/// rows are not published.
#[tokio::test]
async fn rows_of_a_table_that_was_filled_and_then_attached_come_but_from_14() {
    let tables = "create table t (id bigint primary key) partition by range (id)";
    let publication = "for table t with (publish_via_partition_root = true)";
    let log = log(tables, publication).await;
    log.run("create table filled (like t including all); insert into filled values (1)")
        .await;
    log.run("alter table t attach partition filled for values from (0) to (10)")
        .await;
    log.run("insert into t values (2)").await;
    log.run("create table empty (like t including all)").await;
    log.run("alter table t attach partition empty for values from (10) to (20)")
        .await;
    log.run("insert into t values (12)").await;
    let expected: &[&str] = match log.major().await {
        14 => &["insert t (12)"],
        _ => &["insert t (2)", "insert t (12)"],
    };
    assert_eq!(log.changes().await, expected);
}

#[tokio::test]
async fn generated_columns_are_sent_from_18_on_where_the_publication_says_so() {
    let tables =
        "create table t (id bigint primary key, twice bigint generated always as (id * 2) stored)";
    let log = log(tables, "for table t").await;
    log.run("insert into t values (1)").await;
    assert_eq!(log.changes().await, ["insert t (1)"]);
    if log.major().await >= 18 {
        log.run("alter publication p set (publish_generated_columns = stored)")
            .await;
        log.run("insert into t values (2)").await;
        assert_eq!(log.changes().await, ["insert t (2, 4)"]);
    }
}

#[tokio::test]
async fn under_full_every_column_is_marked_as_key() {
    let tables =
        "create table t (id bigint primary key, v text); alter table t replica identity full";
    let log = log(tables, "for table t").await;
    log.run("insert into t values (1, 'x')").await;
    let messages = log.get().await;
    let relation = super::decode(&messages)
        .into_iter()
        .find_map(|event| match event {
            walhook::pgoutput::StreamEvent::Change(change) => Some(change.relation),
            _ => None,
        })
        .unwrap();
    assert!(relation.columns.iter().all(|column| column.identity));
}

#[tokio::test]
async fn full_costs_the_application_log() {
    let tables = "create table t (id bigint primary key, status text, note text);
        insert into t values (1, 'new', repeat('x', 300))";
    let log = log(tables, "for table t").await;
    let standard = least_wal_of_an_update(&log).await;
    log.run("alter table t replica identity full").await;
    let full = least_wal_of_an_update(&log).await;
    assert!(full > standard + 300, "{full} and {standard} bytes");
}

/// The least of several: images of whole pages, after a checkpoint, are not of interest.
async fn least_wal_of_an_update(log: &Log) -> i64 {
    let mut least = i64::MAX;
    for _ in 0..5 {
        let explain = "explain (analyze, wal, format json) update t set status = 'seen'";
        let row = log.client.query_one(explain, &[]).await.unwrap();
        let plan: serde_json::Value = row.get(0);
        least = least.min(plan[0]["Plan"]["WAL Bytes"].as_i64().unwrap());
    }
    least
}

/// A label that is renamed: each change has the name of its place in the WAL, of its old row as
/// of its new one. A transaction that was open has both, and the rename waited for neither.
#[tokio::test]
async fn a_label_has_the_name_that_it_had_and_both_rows_of_an_update_have_the_same() {
    let tables = "create type state as enum ('new', 'settled');
        create table t (id bigint primary key, status state, n integer);
        alter table t replica identity full;
        insert into t values (1, 'settled', 0), (2, 'settled', 0)";
    let database = TestDatabase::create().await;
    let log = Log::of(&database, tables, "for table t").await;
    log.run("begin; update t set n = 1 where id = 1").await;
    let other = &database.client;
    other
        .batch_execute(
            "update t set n = 1 where id = 2; alter type state rename value 'settled' to 'paid'",
        )
        .await
        .unwrap();
    log.run("update t set n = 2 where id = 1; commit").await;
    log.run("update t set n = 3 where id = 1").await;
    let expected = [
        "update t whole(2, settled, 0) (2, settled, 1)",
        "update t whole(1, settled, 0) (1, settled, 1)",
        "update t whole(1, paid, 1) (1, paid, 2)",
        "update t whole(1, paid, 2) (1, paid, 3)",
    ];
    assert_eq!(log.changes().await, expected);
}
