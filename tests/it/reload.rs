//! SIGHUP: rules that are read again take over between two transactions, and those that
//! are wrong do not.

use crate::harness::connect;
use crate::harness::process::Process;
use crate::harness::receiver::{Receiver, Request};
use crate::harness::walhook::{Installation, ORDER_RULES, ORDERS};

/// A second table, which the rules do not watch at first.
const PARCELS: &str = "create table parcels (id bigint generated always as identity primary key, \
     tenant_id text, status text not null)";

const PARCEL_RULE: &str = "
[[events]]
type = 'parcel.sent'
table = 'public.parcels'
on = ['insert', 'update']
when = \"became(status = 'sent')\"
";

/// The real binary on an installation whose rules are edited.
struct Daemon {
    walhook: Installation,
    receiver: Receiver,
    process: Process,
}

impl Daemon {
    async fn start(walhook: Installation) -> Self {
        let receiver = Receiver::start().await;
        walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
        let process = Process::start(&walhook.config_file(), &["run"]);
        let daemon = Daemon {
            walhook,
            receiver,
            process,
        };
        daemon.process.says("holding the slot", 1).await;
        daemon
    }

    /// Appends rules, and has them read.
    fn add_rules(&mut self, rules: &str) {
        let with = format!("{ORDER_RULES}{rules}");
        self.walhook.edit(ORDER_RULES, &with);
        self.process.signal("HUP");
    }

    async fn sql(&self, sql: &str) {
        self.walhook
            .database
            .client
            .batch_execute(sql)
            .await
            .unwrap();
    }
}

const INSERT: &str = "insert into orders (tenant_id, status) values ('acme', 'new')";

fn types(requests: &[Request]) -> Vec<String> {
    let kind = |request: &Request| request.json()["type"].as_str().unwrap().to_owned();
    requests.iter().map(kind).collect()
}

const SEEDED: &str = "select count(*) = 1 and bool_and(state = 'complete') from shadow_tables";

const TAKEN_OVER: &str = "the new rules make the events of all later commits";

#[tokio::test(flavor = "multi_thread")]
async fn rules_of_a_new_table_are_published_seeded_and_take_over() {
    let tables = format!("{ORDERS}; {PARCELS}");
    let walhook = Installation::create(&tables, ORDER_RULES, "").await;
    let mut daemon = Daemon::start(walhook).await;
    let sent_before =
        "insert into parcels (tenant_id, status) values ('acme', 'sent'), ('acme', 'new')";
    daemon.sql(sent_before).await;
    daemon.sql(INSERT).await;
    daemon.receiver.wait_for(1).await;
    let before = daemon
        .process
        .gauge("walhook_rules_last_reload_success_timestamp_seconds")
        .await;

    daemon.add_rules(PARCEL_RULE);
    daemon.process.says(TAKEN_OVER, 1).await;
    // The old values of the parcels are read before their rule is active.
    daemon.walhook.wait_for(SEEDED).await;
    daemon.sql("update parcels set status = 'sent'").await;
    daemon.sql(INSERT).await;
    daemon.receiver.wait_for(3).await;
    let mut kinds = types(&daemon.receiver.requests());
    kinds.sort();
    assert_eq!(kinds, ["order.created", "order.created", "parcel.sent"]);
    assert_eq!(
        daemon
            .walhook
            .count("select count(*) from parked_changes")
            .await,
        0
    );
    assert!(!daemon.process.has_ended());
    assert_eq!(
        daemon
            .process
            .gauge("walhook_rules_last_reload_successful")
            .await,
        1.0
    );
    let after = daemon
        .process
        .gauge("walhook_rules_last_reload_success_timestamp_seconds")
        .await;
    assert!(after >= before && before > 0.0);
    assert!(daemon.process.terminate().success());
}

/// Every batch of a large transaction is made under the rules that it began with, although
/// the others are read while it is under way.
#[tokio::test(flavor = "multi_thread")]
async fn no_transaction_is_under_two_sets_of_rules() {
    const ROWS: i64 = 30_000;
    let mut daemon = Daemon::start(Installation::of_orders().await).await;
    // Its session stands, and holds no lock of its own.
    daemon.sql(INSERT).await;
    daemon.receiver.wait_for(1).await;
    let mut blocker = connect(&daemon.walhook.database.url).await;
    let lock = blocker.transaction().await.unwrap();
    lock.batch_execute("select from walhook.replication_progress for update")
        .await
        .unwrap();
    daemon
        .sql(&format!(
            "insert into orders (tenant_id, status) select 'nobody', 'new' from generate_series(1, {ROWS})"
        ))
        .await;
    daemon
        .walhook
        .wait_for(
            "select count(*) > 0 from pg_stat_activity where datname = current_database()
                and wait_event_type = 'Lock' and query like '%update replication_progress%'",
        )
        .await;
    daemon
        .walhook
        .edit("type = 'order.created'", "type = 'order.placed'");
    daemon.process.signal("HUP");
    daemon.process.says("the rules were read again", 1).await;
    lock.rollback().await.unwrap();
    daemon.sql(INSERT).await;
    let requests = daemon.receiver.wait_for(2).await;
    assert_eq!(types(&requests), ["order.created", "order.placed"]);
    let all = format!("select count(*) = {ROWS} + 2 from webhook_events");
    daemon.walhook.wait_for(&all).await;
    let of_types =
        "select count(*) from webhook_events group by commit_lsn, event_type order by 1 desc";
    let client = daemon.walhook.store.get().await.unwrap();
    let counts = client.query(of_types, &[]).await.unwrap();
    let counts: Vec<i64> = counts.iter().map(|row| row.get(0)).collect();
    assert_eq!(counts, [ROWS, 1, 1]);
    assert!(daemon.process.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_leaves_the_old_rules_running_and_is_named_with_its_place() {
    let mut daemon = Daemon::start(Installation::of_orders().await).await;
    let refused = "the rules of before stay";
    let lines = |daemon: &Daemon| {
        let file = daemon.walhook.config_file();
        std::fs::read_to_string(file).unwrap().lines().count()
    };
    let wrong = [
        ("[[events]\n", "is not valid TOML"),
        (
            "[[events]]\ntype = 'a.b'\ntable = 'public.orders'\nwen = 'true'\n",
            "events[2].wen: is unknown",
        ),
        (
            "[[events]]\ntype = 'a.b'\ntable = 'public.orders'\nwhen = 'stauts = 1'\n",
            "did you mean `status`",
        ),
        (
            "[[events]]\ntype = 'a.b'\ntable = 'public.nowhere'\n",
            "public.nowhere",
        ),
    ];
    for (times, (rules, said)) in wrong.iter().enumerate() {
        daemon.add_rules(rules);
        daemon.process.says(refused, times + 1).await;
        let log = daemon.process.log();
        let (_, last) = log.rsplit_once(refused).unwrap();
        assert!(last.contains(said), "{last}");
        let line = |number: usize| format!("walhook.toml:{number}");
        let added = rules.lines().count();
        let in_rule =
            (lines(&daemon) + 1 - added..=lines(&daemon)).any(|at| last.contains(&line(at)));
        assert!(in_rule, "{last}");
        assert_eq!(
            daemon
                .process
                .gauge("walhook_rules_last_reload_successful")
                .await,
            0.0
        );
        daemon.sql(INSERT).await;
        daemon.receiver.wait_for(times + 1).await;
        daemon
            .walhook
            .edit(&format!("{ORDER_RULES}{rules}"), ORDER_RULES);
    }
    // As it was: nothing to take over, and all is well again. What is no rule needs a restart.
    daemon
        .walhook
        .edit("[security]", "[delivery]\ntimeout = '9s'\n[security]");
    daemon.process.signal("HUP");
    daemon
        .process
        .says("the rules are the same as before", 1)
        .await;
    daemon.process.says("need a restart", 1).await;
    assert!(
        daemon
            .process
            .log()
            .contains("settings=\"delivery.timeout\""),
        "{}",
        daemon.process.log()
    );
    assert_eq!(
        daemon
            .process
            .gauge("walhook_rules_last_reload_successful")
            .await,
        1.0
    );
    assert!(daemon.process.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_publish_is_told_the_sql_that_its_dba_runs() {
    let tables = format!("{ORDERS}; {PARCELS}");
    let mut walhook = Installation::create(&tables, ORDER_RULES, "").await;
    let role = format!("capture_{}", walhook.database.name);
    let database = &walhook.database;
    let login = format!("create role {role} login replication; grant select on parcels to {role}");
    database.client.batch_execute(&login).await.unwrap();
    let url = database.url.clone();
    let own = url.replace("postgres://postgres@", &format!("postgres://{role}@"));
    walhook.edit(&format!("url = '{url}'"), &format!("url = '{own}'"));
    walhook.edit("[security]", &format!("[store]\nurl = '{url}'\n[security]"));
    let mut daemon = Daemon::start(walhook).await;
    daemon.add_rules(PARCEL_RULE);
    let grow = "alter publication \"walhook\" add table only \"public\".\"parcels\";";
    daemon.process.says(grow, 1).await;
    assert!(
        daemon
            .process
            .log()
            .contains("only the owner of the tables"),
        "{}",
        daemon.process.log()
    );
    daemon.sql(grow).await;
    daemon.process.signal("HUP");
    daemon.process.says(TAKEN_OVER, 1).await;
    daemon.walhook.wait_for(SEEDED).await;
    daemon
        .sql("insert into parcels (tenant_id, status) values ('acme', 'sent')")
        .await;
    let requests = daemon.receiver.wait_for(1).await;
    assert_eq!(types(&requests), ["parcel.sent"]);
    assert!(daemon.process.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_whose_updates_would_fail_is_not_published() {
    let tables = format!("{ORDERS}; create table notes (tenant_id text, note text)");
    let walhook = Installation::create(&tables, ORDER_RULES, "").await;
    let mut daemon = Daemon::start(walhook).await;
    daemon
        .add_rules("[[events]]\ntype = 'note.written'\ntable = 'public.notes'\non = ['insert']\n");
    daemon.process.says("the rules of before stay", 1).await;
    assert!(
        daemon
            .process
            .log()
            .contains("public.notes must not be published as it is"),
        "{}",
        daemon.process.log()
    );
    daemon
        .sql("insert into notes values ('acme', 'x'); update notes set note = 'y'")
        .await;
    assert!(daemon.process.terminate().success());
}

/// Whoever stands by takes the new rules with it when it takes over.
#[tokio::test(flavor = "multi_thread")]
async fn a_stand_by_leads_under_the_rules_that_it_has_read() {
    let mut daemon = Daemon::start(Installation::of_orders().await).await;
    let other = Process::start(&daemon.walhook.config_file(), &["run"]);
    daemon.process.says("standing by", 1).await;
    daemon
        .walhook
        .edit("type = 'order.created'", "type = 'order.placed'");
    other.signal("HUP");
    daemon.process.says("the rules were read again", 1).await;
    let status = crate::harness::command::walhook()
        .arg("--config")
        .arg(daemon.walhook.config_file())
        .arg("status")
        .output()
        .await
        .unwrap();
    let status = crate::harness::command::answer(status).exits(1);
    status.says("have different rules");
    daemon.process.kill();
    daemon
        .walhook
        .database
        .client
        .batch_execute(INSERT)
        .await
        .unwrap();
    let requests = daemon.receiver.wait_for(1).await;
    assert_eq!(types(&requests), ["order.placed"]);
    assert!(other.terminate().success());
}
