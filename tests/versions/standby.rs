//! Capture from a standby (16 and later): the WAL is read there, and what must be written
//! goes to its primary.

use crate::harness::command::{Project, answer, walhook};
use crate::harness::process::Process;
use crate::harness::receiver::{Receiver, Request};
use crate::harness::walhook::Installation;
use crate::harness::{TestDatabase, connect, http};
use crate::pair::Pair;

/// Without REPLICA IDENTITY FULL: the old values take a seed, and so watermarks.
const ORDERS: &str = "create table orders (id bigint generated always as identity primary key, \
     tenant_id text not null, status text not null)";

const RULES: &str = "
[[events]]
type = 'order.created'
table = 'public.orders'
on = ['insert']

[[events]]
type = 'order.paid'
table = 'public.orders'
on = ['update']
when = \"became(status = 'paid')\"
";

/// The pair, and walhook on its standby. `heartbeat`: as in the configuration.
async fn on_standby(heartbeat: &str) -> Option<(Pair, Installation)> {
    let pair = Pair::start(16, &[], &[]).await?;
    let mut database = TestDatabase::create_on(&pair.primary).await;
    database.client.batch_execute(ORDERS).await.unwrap();
    let rows =
        "insert into orders (tenant_id, status) select 'acme', 'new' from generate_series(1, 10)";
    database.client.batch_execute(rows).await.unwrap();
    pair.wait_for_replay().await;
    let either = pair.url(&database.name);
    database.url = format!(
        "{}'\nprimary_url = '{either}'\nheartbeat = '{heartbeat}",
        pair.standby.url(&database.name)
    );
    let installation = Installation::create_in(database, "select", RULES, "").await;
    Some((pair, installation))
}

fn types(requests: &[Request]) -> Vec<String> {
    let kind = |request: &Request| request.json()["type"].as_str().unwrap().to_owned();
    requests.iter().map(kind).collect()
}

const INSERT: &str = "insert into orders (tenant_id, status) values ('acme', 'new')";

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_captured_from_and_goes_on_when_it_is_promoted() {
    let Some((pair, walhook)) = on_standby("30s").await else {
        return;
    };
    let slot = "select count(*) from pg_replication_slots where slot_type = 'logical'";
    let on = async |server: String| {
        let client = connect(&server).await;
        let row = client.query_one(slot, &[]).await.unwrap();
        row.get::<_, i64>(0)
    };
    assert_eq!(on(pair.standby.url("postgres")).await, 1);
    assert_eq!(on(pair.primary.url("postgres")).await, 0);

    // A slot on a standby waits for a snapshot in the WAL: it is asked for.
    run(&walhook, &["explain", "--for", "1s"]).await.exits(0);

    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let process = Process::start(&walhook.config_file(), &["run"]);
    walhook
        .wait_for("select count(*) = 1 and bool_and(state = 'complete') from shadow_tables")
        .await;
    let application = &walhook.database.client;
    application.batch_execute(INSERT).await.unwrap();
    let pay = "update orders set status = 'paid' where id = 1";
    application.batch_execute(pay).await.unwrap();
    let requests = receiver.wait_for(2).await;
    assert_eq!(types(&requests), ["order.created", "order.paid"]);
    walhook
        .wait_for("select count(*) = 2 from webhook_deliveries where status = 'delivered'")
        .await;
    pair.wait_for_replay().await;

    pair.fail_over().await;
    let promoted = connect(&pair.standby.url(&walhook.database.name)).await;
    promoted.batch_execute(INSERT).await.unwrap();
    receiver.wait_for(3).await;
    // The session may have gone on across the promotion; the next one begins after it.
    assert!(process.terminate().success());
    promoted.batch_execute(INSERT).await.unwrap();
    let process = Process::start(&walhook.config_file(), &["run"]);
    receiver.wait_for(4).await;
    assert!(process.terminate().success());
    let requests = receiver.requests();
    let ids: std::collections::BTreeSet<_> = requests.iter().map(Request::id).collect();
    assert_eq!((ids.len(), requests.len()), (4, 4));
    let row = promoted
        .query_one(
            "select timeline, (select count(*) from walhook.webhook_events) from walhook.replication_progress",
            &[],
        )
        .await
        .unwrap();
    assert_eq!((row.get::<_, i32>(0), row.get::<_, i64>(1)), (2, 4));
}

/// Through the API: what it reads of the WAL must be the primary's.
#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_begins_where_the_primary_stands() {
    let Some((pair, walhook)) = on_standby("0s").await else {
        return;
    };
    let process = Process::start(&walhook.config_file(), &["run"]);
    walhook.wait_for("select count(*) = 1 from instances").await;
    // The standby is behind: what it has received is no measure.
    let standby = connect(&pair.standby.url("postgres")).await;
    standby
        .batch_execute("select pg_wal_replay_pause()")
        .await
        .unwrap();
    let application = &walhook.database.client;
    application.batch_execute(INSERT).await.unwrap();
    let url = process.api().await;
    let token = run(&walhook, &["token", "create", "--tenant", "acme"])
        .await
        .exits(0)
        .out;
    let receiver = Receiver::start().await;
    let created = http()
        .post(format!("{url}/api/v1/tenant/webhooks/subscriptions"))
        .bearer_auth(token.trim())
        .header("content-type", "application/json")
        .body(serde_json::json!({"url": receiver.url("/"), "events": ["*"]}).to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(created.status(), 201);
    application.batch_execute(INSERT).await.unwrap();
    standby
        .batch_execute("select pg_wal_replay_resume()")
        .await
        .unwrap();
    let requests = receiver.wait_for(1).await;
    assert_eq!(
        requests[0].json()["data"]["id"],
        12,
        "one from before the answer"
    );
    walhook
        .wait_for("select count(*) = 2 from webhook_events")
        .await;
    assert!(process.terminate().success());
    assert_eq!(receiver.requests().len(), 1);
}

async fn run(walhook_: &Installation, arguments: &[&str]) -> crate::harness::command::Answer {
    let mut command = walhook();
    command
        .arg("--config")
        .arg(walhook_.config_file())
        .args(arguments);
    answer(command.output().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn check_and_setup_say_what_a_standby_needs() {
    let Some(pair) = Pair::start(16, &[], &[("hot_standby_feedback", "off")]).await else {
        return;
    };
    let database = TestDatabase::create_on(&pair.primary).await;
    database.client.batch_execute(ORDERS).await.unwrap();
    pair.wait_for_replay().await;
    let standby = pair.standby.url(&database.name);
    let project = Project::new(&Project::config(&database, &standby, RULES));
    let init = ["init", &standby, "--table", "orders", "--output", "-"];
    project
        .walhook(&init)
        .await
        .exits(2)
        .says("is a standby: give the URL of its primary");
    let check = project.walhook(&["check"]).await.exits(1);
    check
        .says("the source is a standby")
        .says("set source.primary_url");
    let with_primary = |primary: &str| {
        let source = format!("{standby}'\nprimary_url = '{primary}");
        Project::config(&database, &source, RULES)
    };
    project.write(&with_primary(&standby));
    let check = project.walhook(&["check"]).await.exits(1);
    check.says("source.primary_url leads to a standby too");
    project.write(&with_primary(&TestDatabase::create().await.url));
    let check = project.walhook(&["check"]).await.exits(1);
    check.says("another PostgreSQL system");
    project.write(&with_primary(&database.url));
    let setup = project.walhook(&["setup"]).await.exits(1);
    setup
        .says("hot_standby_feedback is off")
        .says("nothing was changed");
    let client = connect(&pair.standby.url("postgres")).await;
    client
        .batch_execute("alter system set hot_standby_feedback = on")
        .await
        .unwrap();
    client
        .batch_execute("select pg_reload_conf()")
        .await
        .unwrap();
    pair.wait_on_standby("postgres", "current_setting('hot_standby_feedback') = 'on'")
        .await;
    let printed = project.walhook(&["setup", "--print-sql"]).await.exits(0);
    printed.says("grant execute on function pg_log_standby_snapshot() to");
    project.walhook(&["setup"]).await.exits(0);
    project
        .walhook(&["check"])
        .await
        .exits(0)
        .says("leads to the standby's primary");
    project
        .walhook(&["teardown", "--store", "--yes"])
        .await
        .exits(0);
    let primary = connect(&database.url).await;
    let left = "select (select count(*) from pg_publication) + (select count(*) from pg_namespace where nspname = 'walhook')";
    assert_eq!(
        primary.query_one(left, &[]).await.unwrap().get::<_, i64>(0),
        0
    );
}
