//! Positions in the WAL, and what transactions look like in it.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::SinkExt as _;
use walhook::lsn::Lsn;
use walhook::pgoutput::StreamEvent;

use super::{Log, commits, decode};
use crate::harness::{TestDatabase, connect};

const T: &str = "create table t (id bigint primary key, v text); create table other (v text)";

#[tokio::test]
async fn rows_of_one_copy_share_an_lsn_and_their_ordinals_tell_them_apart() {
    let log = Log::of(&TestDatabase::create().await, T, "for table t").await;
    let copy = log.client.copy_in("copy t from stdin").await.unwrap();
    let mut copy = Box::pin(copy);
    copy.send(Bytes::from_static(b"1\ta\n2\tb\n3\tc\n4\td\n"))
        .await
        .unwrap();
    copy.close().await.unwrap();
    let messages = log.get().await;
    let rows = messages.iter().filter(|message| message.data[0] == b'I');
    let places: BTreeSet<Lsn> = rows.map(|message| message.lsn).collect();
    assert_eq!(places.len(), 1);
    let ordinals: Vec<u64> = decode(&messages)
        .iter()
        .filter_map(|event| match event {
            StreamEvent::Change(change) => Some(change.ordinal),
            _ => None,
        })
        .collect();
    assert_eq!(ordinals, [0, 1, 2, 3]);
}

#[tokio::test]
async fn change_lsns_go_backwards_where_transactions_interleave_and_commits_do_not() {
    let database = TestDatabase::create().await;
    let log = Log::of(&database, T, "for table t").await;
    let (one, two) = (connect(&database.url).await, connect(&database.url).await);
    for (client, sql) in [
        (&one, "begin; insert into t values (1)"),
        (&two, "begin; insert into t values (2)"),
        (&one, "insert into t values (3)"),
        (&two, "commit"),
        (&one, "commit"),
    ] {
        client.batch_execute(sql).await.unwrap();
    }
    let messages = log.get().await;
    let rows = messages.iter().filter(|message| message.data[0] == b'I');
    let places: Vec<Lsn> = rows.map(|message| message.lsn).collect();
    assert!(places[0] > places[1], "{places:?}");
    let commits = commits(&messages);
    assert!(commits.is_sorted(), "{commits:?}");
}

#[tokio::test]
async fn acknowledging_less_than_the_end_of_a_commit_replays_all_of_it() {
    let log = Log::of(&TestDatabase::create().await, T, "for table t").await;
    log.run("insert into t select n, 'x' from generate_series(1, 3) n")
        .await;
    let (commit, end) = commits(&log.peek().await.unwrap())[0];
    log.advance(commit).await;
    assert_eq!(
        log.peek().await.unwrap().len(),
        6,
        "begin, relation, rows, commit"
    );
    log.advance(end).await;
    assert!(log.peek().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_transaction_without_a_published_change_is_sent_empty_by_14_alone() {
    let log = Log::of(&TestDatabase::create().await, T, "for table t").await;
    log.run("insert into other values ('x')").await;
    let expected = if log.major().await == 14 { "BC" } else { "" };
    assert_eq!(log.tags().await, expected);
}

#[tokio::test]
async fn a_relation_is_described_once_a_session_and_again_behind_ddl() {
    let log = Log::of(&TestDatabase::create().await, T, "for table t").await;
    log.run("insert into t values (1)").await;
    log.run("insert into t values (2)").await;
    log.run("alter table t rename v to w").await;
    log.run("insert into t values (3)").await;
    let first: String = log
        .peek()
        .await
        .unwrap()
        .iter()
        .map(|message| char::from(message.data[0]))
        .collect();
    // From 15 on the transaction that altered is empty and not sent.
    assert_eq!(first.replace("BCB", "B"), "BRICBICBRIC");
    assert_eq!(log.tags().await, first, "a new session is told again");
}

#[tokio::test]
async fn a_publication_that_did_not_exist_jams_the_slot_and_18_skips_the_rows() {
    let log = Log::of(&TestDatabase::create().await, T, "for table t").await;
    log.run("drop publication p").await;
    log.run("insert into t values (1)").await;
    log.run("create publication p for table t").await;
    log.run("insert into t values (2)").await;
    let seen = log.peek().await;
    if log.major().await < 18 {
        let error = seen.err().unwrap();
        assert_eq!(error.code().unwrap().code(), "42704", "{error:?}");
    } else {
        let events = decode(&seen.unwrap());
        let rows: Vec<String> = events.iter().filter_map(super::line).collect();
        assert_eq!(rows, ["insert t (2, null)"], "in silence");
    }
}

#[tokio::test]
async fn a_table_taken_out_and_put_back_loses_its_rows_in_silence() {
    let log = Log::of(&TestDatabase::create().await, T, "for table t, other").await;
    log.run("alter publication p drop table t").await;
    log.run("insert into t values (1)").await;
    log.run("alter publication p add table t").await;
    log.run("insert into t values (2)").await;
    assert_eq!(log.changes().await, ["insert t (2, null)"]);
}
