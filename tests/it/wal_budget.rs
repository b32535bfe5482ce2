//! How much log walhook makes the source keep and write: nearly none when all is well, no
//! more than it may when it is not, and what happens near the limit.

use std::time::{Duration, Instant};

use ::walhook::conninfo::Client;
use ::walhook::demo::postgres::Postgres;

use crate::harness::operated::Operated;
use crate::harness::receiver::{Receiver, Request};
use crate::harness::walhook::{Installation, ORDER_RULES, ORDERS};
use crate::harness::{PATIENCE, TestDatabase, connect, pause, start_postgres, stop_at_exit};

/// A server whose log nobody else writes.
fn server() -> Postgres {
    let server = start_postgres(&[]).unwrap();
    stop_at_exit(&server);
    server
}

async fn orders(source: &Postgres, source_settings: &str, settings: &str) -> Installation {
    let database = TestDatabase::create_on(source).await;
    let mut installation = Installation::create_in(database, ORDERS, ORDER_RULES, settings).await;
    installation.edit("slot = '", &format!("{source_settings}\nslot = '"));
    installation
}

const UNRELATED: &str = "create table if not exists unrelated (filler text)";

/// Writes this much log that no rule and no publication speaks of.
async fn write_unrelated(client: &Client, megabytes: u64) {
    client.batch_execute(UNRELATED).await.unwrap();
    let insert = "insert into unrelated select repeat('x', 1000) from generate_series(1, 1000)";
    for _ in 0..megabytes {
        client.batch_execute(insert).await.unwrap();
    }
}

async fn retained(walhook: &Installation) -> i64 {
    let of = format!(
        "select (pg_current_wal_insert_lsn() - restart_lsn)::int8 from pg_replication_slots
         where slot_name = '{}'",
        walhook.database.slot()
    );
    let row = walhook.database.client.query_one(&of, &[]).await.unwrap();
    row.get(0)
}

async fn order(walhook: &Installation, note: &str) {
    let insert = "insert into orders (tenant_id, status, note) values ('acme', 'new', $1)";
    let client = &walhook.database.client;
    client.execute(insert, &[&note]).await.unwrap();
}

fn notes(requests: &[Request]) -> Vec<String> {
    let note = |request: &Request| request.json()["data"]["note"].as_str().unwrap().to_owned();
    requests.iter().map(note).collect()
}

/// After traffic, ours and others', at most a segment stays behind within ten seconds, and
/// what walhook itself goes on writing is no more than 10 KiB a second.
async fn leaves_little_behind(source: &Postgres, settings: &str) {
    let walhook = orders(source, "", settings).await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    order(&walhook, "first").await;
    receiver.wait_for(1).await;
    write_unrelated(&walhook.database.client, 100).await;
    let ended = Instant::now();
    while retained(&walhook).await > 16 << 20 {
        let late = ended.elapsed() > Duration::from_secs(10);
        assert!(!late, "{} bytes are kept", retained(&walhook).await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let end = "select (pg_current_wal_insert_lsn() - '0/0')::int8";
    let client = &walhook.database.client;
    // What the traffic left to do, such as its last results, is done.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before: i64 = client.query_one(end, &[]).await.unwrap().get(0);
    const SECONDS: i64 = 8;
    tokio::time::sleep(Duration::from_secs(SECONDS as u64)).await;
    let after: i64 = client.query_one(end, &[]).await.unwrap().get(0);
    let written = after - before;
    assert!(
        written <= SECONDS * 10 * 1024,
        "{written} bytes of log while idle"
    );
    order(&walhook, "last").await;
    receiver.wait_for(2).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_and_unrelated_traffic_with_the_store_in_the_same_cluster() {
    leaves_little_behind(&server(), "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_and_unrelated_traffic_with_the_store_in_another_cluster() {
    let (source, store) = (server(), server());
    let database = TestDatabase::create_on(&store).await;
    leaves_little_behind(&source, &format!("[store]\nurl = '{}'\n", database.url)).await;
}

/// The enqueuer waits for a lock in the store: the slot is paused while the
/// application goes on writing.
async fn stuck(walhook: &Operated) -> Client {
    let client = connect(&walhook.installation.database.url).await;
    let lock = "begin; lock table walhook.webhook_events in access exclusive mode";
    client.batch_execute(lock).await.unwrap();
    order(&walhook.installation, "stuck").await;
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn hold_keeps_every_change_and_raises_the_alarm_at_50_80_and_90_percent() {
    let source = server();
    let walhook = Operated::start(orders(&source, "wal_limit = '64MB'", "").await);
    let receiver = Receiver::start().await;
    walhook
        .installation
        .subscribe("acme", &receiver.url("/"), &["*"])
        .await;
    walhook.wait_ready(200, &["ready"]).await;
    let lock = stuck(&walhook).await;
    let application = &walhook.installation.database.client;
    write_unrelated(application, 34).await;
    walhook.wait_logged("over half of the WAL").await;
    assert!(!walhook.log().contains("over 80 %"));
    write_unrelated(application, 18).await;
    walhook.wait_logged("over 80 % of the WAL").await;
    write_unrelated(application, 20).await;
    walhook.wait_logged("and walhook holds it").await;
    walhook
        .wait_metric("walhook_wal_limit_bytes ", |limit| {
            limit == f64::from(64 << 20)
        })
        .await;
    let status = walhook.walhook(&["status"]).await.exits(1);
    status.says("keeps over 80 % of the WAL that it may");
    lock.batch_execute("rollback").await.unwrap();
    receiver.wait_for(1).await;
    order(&walhook.installation, "after").await;
    let requests = receiver.wait_for(2).await;
    assert_eq!(notes(&requests), ["stuck", "after"]);
    let gaps = "select count(*) from gaps";
    assert_eq!(walhook.installation.count(gaps).await, 0);
    walhook
        .wait_logged("less than half of the WAL that it may again")
        .await;
    assert!(walhook.process.terminate().success());
}

const SHED: &str = "wal_limit = '64MB'\nwal_policy = 'shed'";

#[tokio::test(flavor = "multi_thread")]
async fn shed_skips_to_the_present_with_a_recorded_gap_and_goes_on() {
    let source = server();
    let walhook = Operated::start(orders(&source, SHED, "").await);
    let receiver = Receiver::start().await;
    walhook
        .installation
        .subscribe("acme", &receiver.url("/"), &["*"])
        .await;
    walhook.wait_ready(200, &["ready"]).await;
    order(&walhook.installation, "before").await;
    receiver.wait_for(1).await;
    let lock = stuck(&walhook).await;
    write_unrelated(&walhook.installation.database.client, 64).await;
    walhook
        .installation
        .wait_for("exists (select from gaps where kind = 'shed' and to_lsn > from_lsn and accepted_at is null)")
        .await;
    lock.batch_execute("rollback").await.unwrap();
    order(&walhook.installation, "after").await;
    // What could not be written had been sent: its first attempt does not wait for the store.
    let requests = receiver.wait_for(3).await;
    assert_eq!(notes(&requests), ["before", "stuck", "after"]);
    let said = walhook
        .wait_ready(503, &["gap `shed`", "after which capture went on"])
        .await;
    assert!(said.contains("--accept-gap"), "{said}");
    // What was given up is no longer kept, and nothing more is given up.
    let deadline = Instant::now() + Duration::from_secs(60);
    while retained(&walhook.installation).await > 32 << 20 {
        assert!(
            Instant::now() < deadline,
            "the WAL is still kept\n{}",
            walhook.log()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let between = "select count(*) from gaps g, webhook_events e
         where e.commit_lsn >= g.from_lsn and e.commit_lsn < g.to_lsn";
    assert_eq!(walhook.installation.count(between).await, 0);
    assert_eq!(
        walhook
            .installation
            .count("select count(*) from gaps")
            .await,
        1
    );
    let status = walhook.walhook(&["status"]).await.exits(1);
    status.says("was shed").says("capture went on after a gap");
    let accepted = walhook.walhook(&["setup", "--accept-gap"]).await.exits(0);
    accepted
        .says("was shed")
        .says("NOT delivered")
        .says("order.created");
    walhook.wait_ready(200, &["ready"]).await;
    assert!(walhook.process.terminate().success());
}

/// Without the store the gap cannot be recorded, and so nothing is given up.
#[tokio::test(flavor = "multi_thread")]
async fn shed_holds_while_the_store_is_away() {
    let (source, store) = (server(), server());
    let database = TestDatabase::create_on(&store).await;
    let settings = format!("[store]\nurl = '{}'\n", database.url);
    let walhook = Operated::start(orders(&source, SHED, &settings).await);
    let receiver = Receiver::start().await;
    walhook
        .installation
        .subscribe("acme", &receiver.url("/"), &["*"])
        .await;
    walhook.wait_ready(200, &["ready"]).await;
    let application = &walhook.installation.database.client;
    let confirmed = format!(
        "select confirmed_flush_lsn::text from pg_replication_slots where slot_name = '{}'",
        walhook.installation.database.slot()
    );
    let at_first: String = application.query_one(&confirmed, &[]).await.unwrap().get(0);
    order(&walhook.installation, "before").await;
    receiver.wait_for(1).await;
    // It was sent before it was written: the slot moves when it is. Where it was written before
    // its commit arrived, the slot moves only with more WAL.
    let began = Instant::now();
    let mut wrote_more = false;
    let moved = async || {
        let row = application.query_one(&confirmed, &[]).await.unwrap();
        row.get::<_, String>(0) != at_first
    };
    while !moved().await {
        assert!(began.elapsed() < PATIENCE, "the slot does not move");
        if !wrote_more && began.elapsed() > Duration::from_secs(5) {
            wrote_more = true;
            write_unrelated(application, 2).await;
        }
        pause(began).await;
    }
    store.stop().unwrap();
    // It would be sent before it is written, as long as walhook knows of nothing.
    walhook.wait_logged("no answer from the store").await;
    order(&walhook.installation, "given up").await;
    let stood: String = application.query_one(&confirmed, &[]).await.unwrap().get(0);
    write_unrelated(application, 64).await;
    walhook
        .wait_logged("log cannot be shed: holding the slot")
        .await;
    let stands: String = application.query_one(&confirmed, &[]).await.unwrap().get(0);
    assert_eq!(stands, stood);
    store.boot().unwrap();
    stop_at_exit(&store);
    walhook.wait_ready(503, &["gap `shed`"]).await;
    // Between its refusal and the next time that it is asked for, the stream may go on where
    // the store is back by then. What it took is sent, and is in no gap; the rest is not.
    let store = connect(&database.url).await;
    let inside = "select count(distinct g.id), count(e.id) from walhook.gaps g
                  left join walhook.webhook_events e
                      on e.commit_lsn >= g.from_lsn and e.commit_lsn < g.to_lsn
                  where g.to_lsn is not null";
    let inside = store.query_one(inside, &[]).await.unwrap();
    assert_eq!((inside.get::<_, i64>(0), inside.get::<_, i64>(1)), (1, 0));
    let taken = "select exists (select from walhook.webhook_events
                 where convert_from(body, 'UTF8') like '%given up%')";
    let is_taken: bool = store.query_one(taken, &[]).await.unwrap().get(0);
    order(&walhook.installation, "after").await;
    let expected = match is_taken {
        true => vec!["before", "given up", "after"],
        false => vec!["before", "after"],
    };
    let requests = receiver.wait_for(expected.len()).await;
    assert_eq!(notes(&requests), expected);
    assert!(walhook.process.terminate().success());
}
