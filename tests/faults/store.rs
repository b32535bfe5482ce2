//! Faults of the store, of the source and of timing, one at a time: each test names
//! what must survive it.

use std::sync::Arc;
use std::time::Duration;

use ::walhook::delivery::partitions;
use ::walhook::demo::postgres::Postgres;
use uuid::Uuid;

use crate::harness::receiver::{Gate, Receiver, Reply, status};
use crate::harness::walhook::{Installation, ORDER_RULES, ORDERS};
use crate::harness::{TestDatabase, start_postgres, stop_at_exit};

const INSERT: &str = "insert into orders (tenant_id, status) values ('acme', 'new')";

fn hanging() -> Reply {
    status(200).behind(&Gate::closed())
}

/// A server of the test's own, to be stopped.
fn own_server(settings: &[(&str, &str)]) -> Postgres {
    let common = [("max_replication_slots", "5"), ("shared_buffers", "32MB")];
    let server = start_postgres(&[&common, settings].concat()).unwrap();
    stop_at_exit(&server);
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_drains_still_says_that_it_lives() {
    let walhook = Installation::of_orders().await;
    let receiver = Receiver::answering(|_, _| hanging()).await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    walhook.database.client.batch_execute(INSERT).await.unwrap();
    receiver.wait_for(1).await;
    let asked: String = {
        let now = "select now()::text";
        let row = walhook.database.client.query_one(now, &[]).await.unwrap();
        row.get(0)
    };
    let draining = tokio::spawn(running.stop());
    // Longer than a peer needs to take a silent one for dead.
    walhook
        .wait_for(&format!(
            "select max(heartbeat_at) > '{asked}'::timestamptz + interval '6 s' from instances"
        ))
        .await;
    draining.await.unwrap();
    assert_eq!(walhook.count("select count(*) from instances").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_a_crash_of_the_store_swallows_is_not_the_end_of_its_delivery() {
    // What commits asynchronously stays in the server's memory for long.
    let server = own_server(&[("wal_writer_delay", "10000")]);
    let database = TestDatabase::create_on(&server).await;
    let settings = "[delivery]\nretry_schedule = ['1s', '1s', '1s']\n";
    let walhook = Installation::create_in(database, ORDERS, ORDER_RULES, settings).await;
    let receiver = Receiver::answering(|_, count| status(if count == 1 { 500 } else { 200 })).await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    // The last days made: nobody else commits, and so flushes, all the time.
    walhook
        .wait_for(
            "select count(*) = 5 from pg_inherits where inhparent = 'webhook_attempts'::regclass",
        )
        .await;
    walhook.database.client.batch_execute(INSERT).await.unwrap();
    walhook
        .wait_for("select attempts = 1 from webhook_deliveries")
        .await;
    server.crash().unwrap();
    tokio::task::block_in_place(|| server.boot()).unwrap();
    receiver.wait_for(2).await;
    walhook
        .wait_for("select status = 'delivered' from webhook_deliveries")
        .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_walhook_does_not_hold_up_the_shutdown_of_postgresql() {
    let server = Arc::new(own_server(&[]));
    let database = TestDatabase::create_on(&server).await;
    let walhook = Installation::create_in(database, ORDERS, ORDER_RULES, "").await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    walhook.database.client.batch_execute(INSERT).await.unwrap();
    receiver.wait_for(1).await;
    // A little log that is not published: too little to be persisted while idle.
    walhook
        .database
        .client
        .batch_execute(
            "create table other (n int); insert into other select generate_series(1, 1000)",
        )
        .await
        .unwrap();
    let stopping = {
        let server = Arc::clone(&server);
        tokio::task::spawn_blocking(move || server.stop())
    };
    let stopped = tokio::time::timeout(Duration::from_secs(20), stopping).await;
    running.stop.cancel();
    let stopped = stopped.expect("PostgreSQL waits for walhook");
    stopped.unwrap().unwrap();
    // The store is gone: that it could not hand back is said, and no more.
    running.task.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_does_not_keep_walhook_from_ending() {
    let server = own_server(&[]);
    let database = TestDatabase::create_on(&server).await;
    let walhook = Installation::create_in(database, ORDERS, ORDER_RULES, "").await;
    let receiver = Receiver::answering(|_, _| hanging()).await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    walhook.database.client.batch_execute(INSERT).await.unwrap();
    receiver.wait_for(1).await;
    server.crash().unwrap();
    running.stop.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(12), running.task).await;
    ended.expect("it waits for the store").unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_epoch_was_raised_leads_again() {
    let walhook = Installation::of_orders().await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    walhook.database.client.batch_execute(INSERT).await.unwrap();
    receiver.wait_for(1).await;
    let store = walhook.store.get().await.unwrap();
    store
        .batch_execute("update replication_progress set epoch = epoch + 1")
        .await
        .unwrap();
    walhook.database.client.batch_execute(INSERT).await.unwrap();
    receiver.wait_for(2).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_takes_no_more_bodies_than_memory_holds() {
    let walhook = Installation::of_orders().await;
    // It proves itself, and then hangs.
    let receiver = Receiver::answering(|_, count| match count {
        ..=64 => status(200),
        _ => hanging(),
    })
    .await;
    let subscribed = walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let first = Uuid::now_v7();
    let client = walhook.store.get().await.unwrap();
    partitions::ensure(&client, [first].into_iter())
        .await
        .unwrap();
    // 200 bodies of 250 KiB that are due: three times what may wait in memory.
    client
        .execute(
            "with ids as (
                 select n, ('ffffffff-ffff-7fff-8fff-' || lpad(to_hex(n), 12, '0')) as tail
                 from generate_series(1, 200) n
             ), made as (
                 select (left($1::text, 18) || right(tail, 18))::uuid as id, n from ids
             ), events as (
                 insert into webhook_events (id, tenant_id, event_type, rule, commit_lsn, ordinal,
                     rule_index, row_key, occurred_at, body)
                 select id, 'acme', 'order.created', 'r', '0/1', n, 0, '', now(),
                     convert_to(repeat('x', 256000), 'UTF8')
                 from made
             ), deliveries as (
                 insert into webhook_deliveries (id, event_id, subscription_id, tenant_id,
                     event_type, format)
                 select id, id, $2, 'acme', 'order.created', 'standard'
                 from made
             )
             insert into delivery_schedule (delivery_id, subscription_id, tenant_id, event_type,
                 status, due_at)
             select id, $2, 'acme', 'order.created', 'pending', now() from made",
            &[&first.to_string(), &subscribed.id],
        )
        .await
        .unwrap();
    let running = walhook.start_with("deliver".parse().unwrap());
    receiver.wait_for(65).await;
    let leased = "select count(*) from delivery_schedule where lease_owner is not null";
    let leased = walhook.count(leased).await;
    // 32 in flight, and 8 MiB and one that wait.
    assert!(leased <= 32 + 2 * 34, "{leased} are leased");
    running.stop().await;
}
