//! What waits in the store costs little: neither a backlog of one endpoint the others,
//! nor a walhook that has nothing to do the database.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;
use walhook::delivery::partitions;
use walhook::event::SubscriptionId;

use super::{Deployed, text};
use crate::harness::receiver::{Gate, Receiver, status};

/// Deliveries of a subscription that have been due for an hour.
async fn seed(deployed: &Deployed, tenant: &str, subscription: &Value, count: i32) {
    let client = deployed.walhook.store.get().await.unwrap();
    let first = Uuid::now_v7();
    partitions::ensure(&client, [first].into_iter())
        .await
        .unwrap();
    let id: SubscriptionId = text(&subscription["id"]).parse().unwrap();
    client
        .execute(
            "with made as (
                 select (left($1::text, 18) || '-8000-' || lpad(to_hex(n), 12, '0'))::uuid as id, n
                 from generate_series(1, $4) n
             ), events as (
                 insert into webhook_events (id, tenant_id, event_type, rule, commit_lsn, ordinal,
                     rule_index, row_key, occurred_at, body)
                 select id, $3, 'order.created', 'r', '0/1', n, 0, '', now(), '{}' from made
             ), deliveries as (
                 insert into webhook_deliveries (id, event_id, subscription_id, tenant_id,
                     event_type, format)
                 select id, id, $2, $3, 'order.created', 'standard' from made
             )
             insert into delivery_schedule (delivery_id, subscription_id, tenant_id, event_type,
                 status, due_at)
             select id, $2, $3, 'order.created', 'pending', now() - interval '1 hour' from made",
            &[&first.to_string(), &id.0, &tenant, &count],
        )
        .await
        .unwrap();
}

/// Rows that the store has read of the schedule, by whatever index.
async fn rows_read(deployed: &Deployed) -> i64 {
    let read = "select coalesce(sum(idx_tup_read), 0)::bigint from pg_stat_user_indexes
        where relname = 'delivery_schedule'";
    deployed.walhook.count(read).await
}

/// Lets the database's clock go on: what is counted meanwhile needs no watching.
async fn pass(deployed: &Deployed, time: Duration) {
    let until = "select to_char(clock_timestamp() + make_interval(secs => $1), 'YYYY-MM-DD HH24:MI:SS.USTZHTZM')";
    let client = deployed.walhook.store.get().await.unwrap();
    let row = client.query_one(until, &[&time.as_secs_f64()]).await;
    let until: String = row.unwrap().get(0);
    deployed
        .walhook
        .wait_for(&format!("select clock_timestamp() >= '{until}'"))
        .await;
}

const BACKLOG: i32 = 3_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_behind_an_open_breaker_is_left_alone_and_then_drained() {
    let settings = "[delivery]\nretry_schedule = ['100ms', '100ms', '100ms', '100ms', '100ms', '100ms', '100ms', '100ms']\n";
    let deployed = Deployed::start(settings).await;
    let gate = Gate::closed();
    let held = gate.clone();
    // The one fails; the other takes five attempts for each.
    let receiver = Receiver::answering(move |path, count| match path {
        "/fails" if count <= 5 => status(500),
        "/fails" if count == 6 => status(200).behind(&held),
        "/flaps" if count % 5 != 0 => status(500),
        _ => status(200),
    })
    .await;
    let acme = deployed.tenant("acme").await;
    let fails = acme.subscribe(&receiver.url("/fails")).await;
    let path = format!("/subscriptions/{}", text(&fails["id"]));
    deployed.orders("acme", 1).await;
    acme.get_until(&path, |shown| shown["breaker"] == "open")
        .await;
    seed(&deployed, "acme", &fails, BACKLOG).await;

    // Others' retries are claimed meanwhile.
    let globex = deployed.tenant("globex").await;
    globex.subscribe(&receiver.url("/flaps")).await;
    let before = rows_read(&deployed).await;
    deployed.orders("globex", 3).await;
    deployed
        .walhook
        .wait_for("select count(*) = 3 from webhook_deliveries where tenant_id = 'globex' and status = 'delivered'")
        .await;
    receiver.wait_for_of("/fails", 6).await;
    pass(&deployed, Duration::from_secs(2)).await;
    let read = rows_read(&deployed).await - before;
    assert!(read < i64::from(BACKLOG), "{read} rows were read");
    // Neither attempted nor aged: but for one, the probe, it is as it was.
    assert_eq!(receiver.of("/fails").len(), 6);
    let untouched = "select count(*) from delivery_schedule s join webhook_deliveries d on d.id = s.delivery_id
        where s.lease_owner is null and s.due_at < now() - interval '50 minutes' and d.attempts = 0";
    let untouched = deployed.walhook.count(untouched).await;
    assert!(untouched >= i64::from(BACKLOG) - 1, "{untouched}");

    gate.open();
    deployed
        .walhook
        .wait_for("select not exists (select from delivery_schedule)")
        .await;
    let requests = receiver.of("/fails");
    let ids: HashSet<&str> = requests.iter().map(|request| request.id()).collect();
    assert_eq!(ids.len(), BACKLOG as usize + 1);
    // The five that failed and no other were sent again.
    assert_eq!(requests.len(), BACKLOG as usize + 1 + 5);
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_that_drains_starves_nobody() {
    let deployed = Deployed::start("[delivery]\nendpoint_concurrency = 2\n").await;
    let receiver = Receiver::answering(|path, _| match path {
        "/large" => status(200).taking(Duration::from_millis(20)),
        _ => status(200),
    })
    .await;
    let acme = deployed.tenant("acme").await;
    let globex = deployed.tenant("globex").await;
    let large = acme.subscribe(&receiver.url("/large")).await;
    let small = globex.subscribe(&receiver.url("/small")).await;
    seed(&deployed, "acme", &large, BACKLOG).await;
    receiver.wait_for_of("/large", 100).await;
    seed(&deployed, "globex", &small, 300).await;
    deployed.orders("globex", 300).await;
    receiver.wait_for_of("/small", 600).await;
    let left = receiver.of("/large").len();
    assert!(left < BACKLOG as usize, "the large one was first");
    assert_eq!(receiver.peak("/large"), 2);
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_nothing_to_do_the_schedule_is_hardly_looked_at() {
    let deployed = Deployed::start("").await;
    let receiver = Receiver::start().await;
    let acme = deployed.tenant("acme").await;
    acme.subscribe(&receiver.url("/")).await;
    deployed.orders("acme", 10).await;
    deployed
        .walhook
        .wait_for("select count(*) = 10 from webhook_deliveries where status = 'delivered'")
        .await;
    // An idle session publishes what it has counted within ten seconds.
    pass(&deployed, Duration::from_secs(11)).await;
    let scans = "select coalesce(sum(idx_scan + seq_scan), 0)::bigint from pg_stat_user_tables
        where relname = 'delivery_schedule'";
    let before = deployed.walhook.count(scans).await;
    pass(&deployed, Duration::from_secs(12)).await;
    let scanned = deployed.walhook.count(scans).await - before;
    // Every five seconds, in case a wake-up was missed.
    assert!(scanned <= 4, "{scanned} scans");
    deployed.stop();
}

/// As after an ANALYZE that saw a day's partitions while their first rows were not
/// committed: the planner takes them for empty, however many rows there are by now.
async fn take_for_empty(deployed: &Deployed) {
    let client = deployed.walhook.store.get().await.unwrap();
    client
        .batch_execute(
            "do $$
             declare name regclass;
             begin
                 for name in select c.oid from pg_class c
                     where c.relname ~ '^webhook_(events|deliveries)_[0-9]{8}$' and relkind = 'r'
                         and relnamespace = current_schema()::regnamespace
                 loop
                     execute format('alter table %s set (autovacuum_enabled = false)', name);
                     update pg_class set relpages = 100, reltuples = 0
                     where oid = name or oid in (select indexrelid from pg_index where indrelid = name);
                 end loop;
             end $$",
        )
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_of_a_day_that_is_taken_for_empty_is_read_once() {
    const ROWS: i32 = 10_000;
    let deployed = Deployed::start("").await;
    let receiver = Receiver::start().await;
    let acme = deployed.tenant("acme").await;
    let subscription = acme.subscribe(&receiver.url("/")).await;
    take_for_empty(&deployed).await;
    seed(&deployed, "acme", &subscription, ROWS).await;
    deployed
        .walhook
        .wait_for("select not exists (select from delivery_schedule)")
        .await;
    let read = "select coalesce(sum(idx_tup_read), 0)::bigint from pg_stat_user_indexes
        where relname ~ '^webhook_(events|deliveries)_'";
    // Once for the claim, of both, and once for the record; sessions say so when they like.
    let all = format!("select ({read}) >= {}", 3 * ROWS);
    deployed.walhook.wait_for(&all).await;
    let read = deployed.walhook.count(read).await;
    assert!(read <= 5 * i64::from(ROWS), "{read} rows were read");
    deployed.stop();
}
