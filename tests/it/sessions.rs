//! Sessions in the database: when they end, and with which settings they begin.

use std::time::{Duration, Instant};

use ::walhook::conninfo::{Client, ConnInfo, Purpose};
use ::walhook::db::{Store, StoreConfig};

use crate::harness::proxy::Proxy;
use crate::harness::{PATIENCE, TestDatabase, pause, server};

/// Longer than any deadline that is waited for here.
const SLEEP: &str = "select pg_catalog.pg_sleep(600)";

/// A pool of the store's for `purpose`. The database need not hold a store.
fn pool(url: &str, purpose: Purpose) -> Store {
    Store::open(&StoreConfig::default(), &url.into(), purpose).unwrap()
}

async fn pid(client: &Client) -> i32 {
    let row = client.query_one("select pg_catalog.pg_backend_pid()", &[]);
    row.await.unwrap().get(0)
}

/// Waits until a query of the application's returns true.
async fn wait_for(database: &TestDatabase, condition: &str) {
    let began = Instant::now();
    loop {
        let query = format!("select {condition}");
        let row = database.client.query_one(&query, &[]).await;
        if row.unwrap().get(0) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "never: {condition}");
        pause(began).await;
    }
}

fn is_there(pid: i32, state: &str) -> String {
    format!("exists (select from pg_stat_activity where pid = {pid} {state})")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_caller_has_gone_is_cancelled_and_not_handed_out_again() {
    let database = TestDatabase::create().await;
    // Its own limit, of 20 s, would come later.
    let store = pool(&database.url, Purpose::Api);
    let session = store.get().await.unwrap();
    let abandoned = pid(&session).await;
    let sleeping = is_there(abandoned, "and state = 'active'");
    tokio::select! {
        _ = session.query_one(SLEEP, &[]) => panic!("it sleeps"),
        () = wait_for(&database, &sleeping) => {}
    }
    let left = Instant::now();
    drop(session);
    let next = store.get().await.unwrap();
    assert_ne!(pid(&next).await, abandoned);
    wait_for(&database, &format!("not {}", is_there(abandoned, ""))).await;
    let took = left.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_whose_caller_has_gone_is_rolled_back_and_its_session_ended() {
    let database = TestDatabase::create().await;
    database
        .client
        .batch_execute("create table public.kept (n int)")
        .await
        .unwrap();
    let store = pool(&database.url, Purpose::Api);
    let mut session = store.get().await.unwrap();
    let abandoned = pid(&session).await;
    {
        let transaction = session.transaction().await.unwrap();
        let insert = "insert into public.kept values (1)";
        transaction.execute(insert, &[]).await.unwrap();
        let sleeping = is_there(abandoned, "and query like '%pg_sleep%'");
        tokio::select! {
            _ = transaction.query_one(SLEEP, &[]) => panic!("it sleeps"),
            () = wait_for(&database, &sleeping) => {}
        }
    }
    drop(session);
    let next = store.get().await.unwrap();
    assert_ne!(pid(&next).await, abandoned);
    wait_for(&database, &format!("not {}", is_there(abandoned, ""))).await;
    wait_for(&database, "not exists (select from public.kept)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_is_not_answered_in_time_is_cancelled_and_ends_its_session() {
    let database = TestDatabase::create().await;
    let store = pool(&database.url, Purpose::Membership);
    let session = store.get().await.unwrap();
    let late = pid(&session).await;
    // As where the server does not end it itself.
    let unlimited = "set statement_timeout = 0";
    session.batch_execute(unlimited).await.unwrap();
    let error = session.query_one(SLEEP, &[]).await.unwrap_err();
    assert!(error.code().is_none(), "{error}");
    assert!(session.is_closed());
    drop(session);
    let next = store.get().await.unwrap();
    assert_ne!(pid(&next).await, late);
    wait_for(&database, &format!("not {}", is_there(late, ""))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_falls_silent_while_idle_fails_once_and_is_replaced() {
    const NAME: &str = "walhook membership";
    let database = TestDatabase::create().await;
    let proxy = Proxy::to(server()).await;
    let store = pool(&proxy.url(&database.name), Purpose::Membership);
    let first = pid(&store.get().await.unwrap()).await;
    proxy.swallow(NAME);
    let session = store.get().await.unwrap();
    let asked = Instant::now();
    assert!(session.batch_execute("").await.is_err());
    let took = asked.elapsed();
    let deadline = Purpose::Membership.deadline();
    assert!(took < deadline + Duration::from_secs(5), "{took:?}");
    drop(session);
    let next = store.get().await.unwrap();
    assert_ne!(pid(&next).await, first);
    proxy.carries([NAME]).await;
}

/// One that was idle for more than a second is asked whether it answers. One that does not
/// speaks for the others of its age, each of which would take as long.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_fell_silent_while_idle_for_long_is_not_handed_out() {
    const NAME: &str = "walhook api";
    let database = TestDatabase::create().await;
    let proxy = Proxy::to(server()).await;
    let store = pool(&proxy.url(&database.name), Purpose::Api);
    let mut silent = Vec::new();
    for _ in 0..5 {
        let session = store.get().await.unwrap();
        silent.push((pid(&session).await, session));
    }
    let pids: Vec<i32> = silent.into_iter().map(|(pid, _)| pid).collect();
    proxy.swallow(NAME);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let asked = Instant::now();
    let session = store.get().await.unwrap();
    assert!(!pids.contains(&pid(&session).await));
    // 3 s for the one that is asked.
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
}

/// The purposes in a row. A new one finds no place in it until it is tested too.
fn after(purpose: Purpose) -> Option<Purpose> {
    Some(match purpose {
        Purpose::Enqueuer => Purpose::Reader,
        Purpose::Reader => Purpose::Recorder,
        Purpose::Recorder => Purpose::Claims,
        Purpose::Claims => Purpose::Membership,
        Purpose::Membership => Purpose::Listen,
        Purpose::Listen => Purpose::Api,
        Purpose::Api => Purpose::Housekeeping,
        Purpose::Housekeeping => Purpose::Capture,
        Purpose::Capture => Purpose::Watch,
        Purpose::Watch => Purpose::HarmWatch,
        Purpose::HarmWatch => Purpose::Seed,
        Purpose::Seed => Purpose::Backfill,
        Purpose::Backfill => Purpose::Heartbeat,
        Purpose::Heartbeat => Purpose::Reload,
        Purpose::Reload => Purpose::Inspection("status"),
        Purpose::Inspection(_) => Purpose::Command("setup"),
        // The application's sessions are as the server makes them.
        Purpose::Command(_) | Purpose::Application => return None,
    })
}

/// What a role may be given that changes what our statements mean, or ends them.
const HOSTILE: [(&str, &str); 23] = [
    ("statement_timeout", "1"),
    ("lock_timeout", "1"),
    ("idle_in_transaction_session_timeout", "1"),
    ("idle_session_timeout", "1"),
    ("search_path", "public, pg_catalog"),
    ("row_security", "off"),
    ("datestyle", "German, DMY"),
    ("intervalstyle", "sql_standard"),
    ("timezone", "Asia/Kathmandu"),
    ("extra_float_digits", "-15"),
    ("bytea_output", "escape"),
    ("standard_conforming_strings", "off"),
    ("quote_all_identifiers", "on"),
    ("transform_null_equals", "on"),
    ("default_transaction_isolation", "serializable"),
    ("default_transaction_deferrable", "on"),
    ("default_transaction_read_only", "on"),
    ("client_encoding", "LATIN1"),
    ("synchronous_commit", "off"),
    ("enable_seqscan", "on"),
    ("enable_hashjoin", "on"),
    ("enable_mergejoin", "on"),
    ("jit", "on"),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_session_begins_with_its_own_settings_whatever_its_role_is_given() {
    let database = TestDatabase::create().await;
    let role = format!("hostile_{}", database.name);
    let mut sql = format!("create role {role} login superuser;");
    for (name, value) in HOSTILE {
        // A list of names is not one name in quotes.
        let value = match name {
            "search_path" => value.to_owned(),
            _ => format!("'{value}'"),
        };
        sql.push_str(&format!("alter role {role} set {name} = {value};"));
    }
    database.client.batch_execute(&sql).await.unwrap();
    let url = database.url.replacen("postgres@", &format!("{role}@"), 1);
    let conninfo = ConnInfo::parse(&url).unwrap();
    let mut purpose = Some(Purpose::Enqueuer);
    while let Some(of) = purpose {
        for store in [None, Some("walhook")] {
            begins_as_declared(&conninfo, of, store, &database.client).await;
        }
        purpose = after(of);
    }
}

async fn begins_as_declared(
    conninfo: &ConnInfo,
    purpose: Purpose,
    store: Option<&str>,
    other: &Client,
) {
    let session = conninfo.connect(purpose, store).await.unwrap();
    let value = "select current_setting($1), source from pg_catalog.pg_settings where name = $1";
    for (name, declared) in purpose.settings(store) {
        // As the server writes it.
        let written = "select set_config($1, $2, true)";
        let written = other.query_one(written, &[&name, &declared]).await.unwrap();
        let found = session.query_one(value, &[&canonical(name)]).await.unwrap();
        let (found, source): (&str, &str) = (found.get(0), found.get(1));
        let only_looks = matches!(
            purpose,
            Purpose::Watch | Purpose::HarmWatch | Purpose::Inspection(_)
        );
        let (expected, from) = match name {
            "default_transaction_read_only" if only_looks => ("on", "session"),
            _ => (written.get(0), "client"),
        };
        assert_eq!(
            (found, source),
            (expected, from),
            "{purpose:?} {store:?}: {name}"
        );
    }
    let of_role =
        "select name from pg_catalog.pg_settings where source in ('user', 'database user')";
    let left: Vec<String> = session
        .query(of_role, &[])
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    // What only the store's sessions depend on.
    let harmless: &[&str] = match store {
        Some(_) => &[],
        None => &[
            "synchronous_commit",
            "enable_seqscan",
            "enable_hashjoin",
            "enable_mergejoin",
        ],
    };
    let matters = |name: &&String| !harmless.contains(&name.as_str());
    let matter: Vec<_> = left.iter().filter(matters).collect();
    assert!(matter.is_empty(), "{purpose:?} {store:?}: {matter:?}");
}

/// As `pg_settings` spells it.
fn canonical(name: &str) -> &str {
    match name {
        "datestyle" => "DateStyle",
        "timezone" => "TimeZone",
        "intervalstyle" => "IntervalStyle",
        other => other,
    }
}
