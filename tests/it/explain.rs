//! `walhook explain`, the real binary: what it says of changes and of stored events,
//! and that it leaves no trace.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout};

use crate::harness::command::{Project, answer, walhook};
use crate::harness::receiver::Receiver;
use crate::harness::walhook::Installation;

mod shadow;

/// A running `walhook explain` that has its slot.
struct Explaining {
    child: Child,
    out: Lines<BufReader<ChildStdout>>,
    err: BufReader<ChildStderr>,
    said: String,
}

impl Explaining {
    async fn start(installation: &Installation, arguments: &[&str]) -> Self {
        let mut child = walhook()
            .current_dir(installation.directory.path())
            .arg("explain")
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut err = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("reading the WAL of") {
            let read = err.read_line(&mut said).await.unwrap();
            assert!(read > 0, "it ended: {said}");
        }
        Explaining {
            child,
            out,
            err,
            said,
        }
    }

    async fn line(&mut self) -> String {
        self.out.next_line().await.unwrap().expect("it ended")
    }

    async fn json(&mut self) -> Value {
        serde_json::from_str(&self.line().await).unwrap()
    }

    fn interrupt(&self) {
        self.signal("INT");
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        let sent = std::process::Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end; answers the exit code and all that it said on standard error.
    async fn end(mut self) -> (i32, String) {
        let code = self.child.wait().await.unwrap().code().unwrap();
        self.err.read_to_string(&mut self.said).await.unwrap();
        (code, self.said)
    }
}

/// What the slot and the store hold, to see that it stays.
async fn traces(installation: &Installation) -> String {
    let query = format!(
        "select concat_ws(' ', (select confirmed_flush_lsn from pg_replication_slots where slot_name = '{}'),
            (select count(*) from webhook_events), (select count(*) from webhook_deliveries),
            (select count(*) from parked_changes), (select count(*) from instances),
            (select acknowledged_lsn from replication_progress))",
        installation.database.slot()
    );
    let client = installation.store.get().await.unwrap();
    client.query_one(&query, &[]).await.unwrap().get(0)
}

async fn alter_subscription(installation: &Installation, id: uuid::Uuid, set: &str) {
    let client = installation.store.get().await.unwrap();
    let query = format!("update webhook_subscriptions set {set} where id = $1");
    assert_eq!(client.execute(&query, &[&id]).await.unwrap(), 1);
}

/// The answer of a subscription to the event of a rule's report.
fn answer_of(rule: &Value, id: uuid::Uuid) -> Value {
    let subscriptions = rule["subscriptions"].as_array().unwrap();
    let found = subscriptions
        .iter()
        .find(|one| one["id"] == format!("sub_{id}"));
    found.expect("the subscription is not listed").clone()
}

#[tokio::test]
async fn every_change_says_what_it_makes_for_whom_and_why_not() {
    let walhook = Installation::of_orders().await;
    let subscribe = |events: &'static [&'static str]| {
        walhook.subscribe("acme", "https://acme.test/hook?token=t0ps3cret", events)
    };
    let receives = subscribe(&["order.*"]).await.id;
    let other = subscribe(&["lead.*"]).await.id;
    let filtered = subscribe(&["*"]).await.id;
    alter_subscription(&walhook, filtered, "filter = 'data.note = ''vip'''").await;
    let inactive = subscribe(&["*"]).await.id;
    let disabled = "active = false, disabled_at = now(), disabled_reason = 'test'";
    alter_subscription(&walhook, inactive, disabled).await;
    let later = subscribe(&["*"]).await.id;
    alter_subscription(&walhook, later, "from_lsn = 'FFFF/0'").await;
    let application = &walhook.database.client;
    application
        .batch_execute(
            "create table unwatched (id bigint primary key);
             alter publication walhook add table unwatched",
        )
        .await
        .unwrap();
    let before = traces(&walhook).await;

    let mut explaining = Explaining::start(&walhook, &["--json", "--limit", "6"]).await;
    application
        .batch_execute(
            "insert into orders (tenant_id, status, note) values ('acme', 'new', 'h1dden');
             update orders set note = 'other h1dden';
             insert into orders (tenant_id, status) values (null, 'new');
             insert into orders (tenant_id, status) values ('nobody', 'new');
             insert into unwatched values (1)",
        )
        .await
        .unwrap();

    let insert = explaining.json().await;
    assert_eq!(
        (&insert["operation"], &insert["table"], &insert["key"]["id"]),
        (&"insert".into(), &"public.orders".into(), &1.into())
    );
    let [created, paid] = insert["rules"].as_array().unwrap().as_slice() else {
        panic!("{insert}");
    };
    assert_eq!(
        (&created["verdict"], &created["type"], &created["tenant_id"]),
        (&"event".into(), &"order.created".into(), &"acme".into())
    );
    assert_eq!(created["body"]["data"]["note"], "h1dden");
    assert_eq!(answer_of(created, receives)["answer"], "receives");
    assert_eq!(
        answer_of(created, receives)["url"],
        "https://acme.test/hook"
    );
    assert_eq!(answer_of(created, other)["answer"], "other_types");
    let filtered = answer_of(created, filtered);
    assert_eq!(filtered["answer"], "filter_false");
    assert_eq!(filtered["filter"]["expression"], "data.note = 'vip'");
    assert_eq!(filtered["filter"]["parts"][0]["value"], "h1dden");
    assert_eq!(answer_of(created, inactive)["answer"], "inactive");
    assert_eq!(answer_of(created, later)["answer"], "begins_later");
    assert_eq!(answer_of(created, later)["from_lsn"], "FFFF/0");
    assert_eq!(
        (&paid["verdict"], &paid["on"][0]),
        (&"other_operation".into(), &"update".into())
    );

    let update = explaining.json().await;
    let paid = &update["rules"][1];
    assert_eq!(paid["verdict"], "condition_false");
    assert_eq!(paid["condition"]["expression"], "became(status = 'paid')");
    let parts: Vec<_> = paid["condition"]["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| format!("{}={}", part["expression"], part["value"]))
        .collect();
    assert_eq!(parts, ["\"old.status\"=\"new\"", "\"new.status\"=\"new\""]);

    let unroutable = explaining.json().await;
    assert_eq!(unroutable["rules"][0]["verdict"], "parked");
    assert_eq!(unroutable["rules"][0]["reason"], "unroutable");

    let unknown = explaining.json().await;
    assert_eq!(unknown["rules"][0]["tenant_unknown"], true);
    assert_eq!(unknown["rules"][0]["subscriptions"], serde_json::json!([]));

    let unwatched = explaining.json().await;
    assert_eq!(unwatched["note"], "no rule watches public.unwatched");

    // Who subscribes while it runs is there from then on.
    let new = walhook.subscribe("nobody", "https://n.test/", &["*"]).await;
    application
        .batch_execute("insert into orders (tenant_id, status) values ('nobody', 'new')")
        .await
        .unwrap();
    let known = explaining.json().await;
    assert_eq!(answer_of(&known["rules"][0], new.id)["answer"], "receives");

    let (code, said) = explaining.end().await;
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("6 shown: 3 events, 1 of them for nobody; 1 parked"),
        "{said}"
    );
    assert!(!said.contains("h1dden") && !said.contains("t0ps3cret"));
    // Nothing sent, nothing written, our slot where it was, and its own gone.
    assert_eq!(traces(&walhook).await, before);
    walhook
        .wait_for("select not exists (select from pg_replication_slots where slot_name like 'walhook_explain_%' and database = current_database())")
        .await;
}

#[tokio::test]
async fn people_read_it_and_end_it_with_ctrl_c() {
    let walhook = Installation::of_orders().await;
    let mut explaining = Explaining::start(&walhook, &["--bodies"]).await;
    walhook
        .database
        .client
        .batch_execute(
            "insert into orders (tenant_id, status) values (E'a\\x1b[2Jcme', 'new');
             update orders set status = 'paid'; update orders set note = 'x'",
        )
        .await
        .unwrap();
    let mut text = Vec::new();
    while !text.iter().any(|line: &String| line.contains("new.status")) {
        text.push(explaining.line().await);
    }
    explaining.interrupt();
    let (code, said) = explaining.end().await;
    assert_eq!(code, 0, "{said}");
    let text = text.join("\n");
    for expected in [
        "insert public.orders id=1",
        "  event order.created evt_",
        "by the rule order.created@public.orders",
        "    for nobody: the tenant is unknown here",
        "  no event: other operations only: order.paid@public.orders (update)",
        "    {\"id\":\"evt_",
        "  no event: the rule order.paid@public.orders: its `when` does not hold\n    became(status = 'paid'): false\n      old.status: \"paid\"\n      new.status: \"paid\"",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    assert!(!text.contains('\x1b'), "a row steers the terminal");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_received_by_nobody() {
    use crate::harness::walhook::{ORDER_RULES, ORDERS};
    let settings = "[delivery]\nmax_body = 300\n";
    let walhook = Installation::create(ORDERS, ORDER_RULES, settings).await;
    walhook.subscribe("acme", "https://a.test/", &["*"]).await;
    let mut explaining = Explaining::start(&walhook, &["--limit", "1"]).await;
    let insert =
        "insert into orders (tenant_id, status, note) values ('acme', 'new', repeat('x', 300))";
    walhook.database.client.batch_execute(insert).await.unwrap();
    while !explaining.line().await.contains("delivery.max_body is 300") {}
    let (code, said) = explaining.end().await;
    assert_eq!(code, 0);
    assert!(said.contains("1 of them for nobody"), "{said}");
}

#[tokio::test]
async fn it_ends_by_itself_after_its_time() {
    let walhook = Installation::of_orders().await;
    let explaining = Explaining::start(&walhook, &["--for", "100ms"]).await;
    let (code, said) = explaining.end().await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("0 shown"), "{said}");
}

#[tokio::test]
async fn stored_events_are_explained_with_their_deliveries() {
    let walhook = Installation::of_orders().await;
    let receiver = Receiver::start().await;
    let delivered = walhook
        .subscribe("acme", &receiver.url("/"), &["order.*"])
        .await;
    let other = walhook
        .subscribe("acme", &receiver.url("/"), &["lead.*"])
        .await;
    let running = walhook.start();
    walhook
        .database
        .client
        .batch_execute(
            "insert into orders (tenant_id, status) values ('acme', 'new'), (null, 'new')",
        )
        .await
        .unwrap();
    receiver.wait_for(1).await;
    walhook
        .wait_for("select count(*) = 1 from webhook_deliveries where status = 'delivered'")
        .await;
    running.stop().await;
    let changed = walhook
        .subscribe("acme", &receiver.url("/"), &["order.*"])
        .await;
    alter_subscription(&walhook, changed.id, "from_lsn = '0/0'").await;

    let explain = async |arguments: &[&str]| {
        let mut command = crate::harness::command::walhook();
        let command = command
            .current_dir(walhook.directory.path())
            .arg("explain")
            .args(arguments);
        answer(command.output().await.unwrap())
    };
    let window = explain(&["--since", "1h", "--json"]).await.exits(0);
    let reports: Vec<Value> = window
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let [event, parked] = reports.as_slice() else {
        panic!("{}", window.out);
    };
    let rule = &event["rules"][0];
    assert_eq!(rule["rule"], "order.created@public.orders");
    let answer = answer_of(rule, delivered.id);
    assert_eq!(
        (&answer["answer"], &answer["status"], &answer["attempts"]),
        (&"delivery".into(), &"delivered".into(), &1.into())
    );
    assert_eq!(answer_of(rule, other.id)["answer"], "other_types");
    assert_eq!(answer_of(rule, changed.id)["answer"], "changed_since");
    assert_eq!(parked["rules"][0]["reason"], "unroutable");

    let id = receiver.requests()[0].id().to_owned();
    let one = explain(&["--event-id", &id]).await.exits(0);
    assert_eq!(one.out.matches("event order.created").count(), 1);
    one.says("delivered, 1 attempts, last answered 200");
    let absent = "evt_01990000-0000-7000-8000-000000000000";
    explain(&["--event-id", absent])
        .await
        .exits(1)
        .says("there is no such event");
    explain(&["--until", "1h", "--since", "1m"]).await.exits(2);
    let none = explain(&["--until", "1h", "--since", "2h"]).await.exits(0);
    assert_eq!(none.out, "");
}

#[tokio::test]
async fn what_stands_in_the_way_is_said() {
    let database = crate::harness::TestDatabase::create().await;
    let tables = crate::harness::walhook::ORDERS;
    database.client.batch_execute(tables).await.unwrap();
    let rules = crate::harness::walhook::ORDER_RULES;
    let project = Project::of(&database, rules);
    project
        .walhook(&["explain", "--for", "1ms"])
        .await
        .exits(1)
        .says("the publication `walhook` does not exist")
        .says("walhook setup");
    let project = Project::of(&database, &rules.replace("became(status", "became(statsu"));
    project
        .walhook(&["explain", "--for", "1ms"])
        .await
        .exits(2)
        .says("did you mean `status`?");
}
