//! What needs a server of its own.

use super::{Log, Message, commits};
use crate::harness::{TestDatabase, connect, hold_commits, start_postgres, stop_at_exit};

const T: &str = "create table t (id bigint primary key)";

#[tokio::test]
async fn a_prepared_transaction_comes_as_any_other_when_it_is_committed() {
    let server = start_postgres(&[("max_prepared_transactions", "4")]).unwrap();
    stop_at_exit(&server);
    let log = Log::of(&TestDatabase::create_on(&server).await, T, "for table t").await;
    log.run("begin; insert into t values (1); prepare transaction 'later'")
        .await;
    assert_eq!(log.tags().await, "");
    log.run("commit prepared 'later'").await;
    assert_eq!(log.tags().await, "BRIC");
}

#[tokio::test]
async fn a_commit_may_end_where_the_next_transaction_begins() {
    let server = start_postgres(&[]).unwrap();
    stop_at_exit(&server);
    let log = Log::of(&TestDatabase::create_on(&server).await, T, "for table t").await;
    // Something of the server's own may come between two of them, but not each time.
    let inserts: Vec<String> = (1..=20)
        .map(|n| format!("insert into t values ({n})"))
        .collect();
    for insert in &inserts {
        log.run(insert).await;
    }
    let messages = log.get().await;
    let begins = messages.iter().filter(|message| message.data[0] == b'B');
    let begins: Vec<_> = begins.map(|message| message.lsn).collect();
    let ends = commits(&messages).into_iter().map(|(_, end)| end);
    let touching = ends.zip(&begins[1..]).filter(|(end, begin)| end == *begin);
    assert!(touching.count() > 0);
}

#[tokio::test]
async fn with_a_synchronous_standby_pending_a_change_is_in_the_log_before_it_is_visible() {
    let server = start_postgres(&[]).unwrap();
    stop_at_exit(&server);
    let database = TestDatabase::create_on(&server).await;
    let log = Log::of(&database, T, "for table t").await;
    let writer = connect(&database.url).await;
    hold_commits(&database.client, &database.url).await;
    let commit =
        tokio::spawn(async move { writer.batch_execute("insert into t values (1)").await });
    let is_insert = |message: &Message| message.data[0] == b'I';
    while !log.peek().await.unwrap().iter().any(is_insert) {}
    assert_eq!(count(&log).await, 0, "not visible yet");
    assert!(!commit.is_finished());
    log.run("alter system reset synchronous_standby_names")
        .await;
    log.run("select pg_reload_conf()").await;
    commit.await.unwrap().unwrap();
    assert_eq!(count(&log).await, 1);
}

async fn count(log: &Log) -> i64 {
    let count = "select count(*) from t";
    log.client.query_one(count, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn transaction_ids_are_used_again_after_a_crash() {
    let server = start_postgres(&[]).unwrap();
    stop_at_exit(&server);
    let xid = async || -> i64 {
        let client = connect(&server.url("postgres")).await;
        let row = client.query_one("select pg_current_xact_id()::text::bigint", &[]);
        row.await.unwrap().get(0)
    };
    // One whose end, or a snapshot after it, reached the disk in time is not used again.
    for _ in 0..10 {
        let before = xid().await;
        server.crash().unwrap();
        server.boot().unwrap();
        if xid().await <= before {
            return;
        }
    }
    panic!("no transaction id was used again");
}
