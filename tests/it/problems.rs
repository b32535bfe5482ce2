//! What is wrong with endpoints, deliveries, filters and changes: named by `walhook status`, by
//! `/readyz`, which stays 200, by the metrics and in the log, and gone when it is fixed.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::operated::Operated;
use crate::harness::proxy::Proxy;
use crate::harness::receiver::{Receiver, status};
use crate::harness::walhook::{Installation, ORDER_RULES, ORDERS};
use crate::harness::{http, pause, server};
use crate::refusals::drop_slot;

const INSERT: &str = "insert into orders (tenant_id, status) values ('acme', 'new')";

/// The tenant is a column that may be null.
const BY_NOTE: &str = "
[[events]]
type = 'order.noted'
table = 'public.orders'
on = ['insert']
tenant = 'note'
";

fn kinds(status: &Value) -> Vec<&str> {
    let problems = status["problems"].as_array().unwrap();
    let kinds = problems.iter().map(|problem| problem["kind"].as_str());
    kinds.map(Option::unwrap).collect()
}

/// Waits until `/readyz` is 200 and says each of these: the store is asked every few seconds, and
/// an open breaker waits for up to 20 s.
async fn ready(operated: &Operated, says: &[&str]) -> String {
    let began = Instant::now();
    loop {
        let (code, text) = operated.get("/readyz").await.unwrap();
        if code == 200 && says.iter().all(|part| text.contains(part)) {
            return text;
        }
        assert!(began.elapsed() < Duration::from_secs(120), "{code} {text}");
        pause(began).await;
    }
}

/// Waits until neither `/readyz` nor `walhook status` names a problem.
async fn all_is_well(operated: &Operated) {
    ready(operated, &["\"problems\":[]"]).await;
    operated
        .walhook(&["status"])
        .await
        .exits(0)
        .says("All is well");
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_that_fail_and_dead_letters_are_named_until_they_are_mended() {
    let settings = "[delivery]\nretry_schedule = ['100ms']\n";
    let walhook = Installation::create(ORDERS, ORDER_RULES, settings).await;
    let receiver = Receiver::answering(|_, _| status(500)).await;
    let url = receiver.url("/hook-of-acme?token=hidden");
    let subscribed = walhook.subscribe("acme", &url, &["*"]).await;
    let operated = Operated::start(walhook);
    operated.wait_logged("holding the slot").await;
    all_is_well(&operated).await;

    // The first fails twice and for good, before the breaker opens.
    for (line, orders) in [
        ("an endpoint began to fail", 1),
        ("a delivery failed for good", 0),
        ("circuit breaker opened", 5),
    ] {
        for _ in 0..orders {
            operated.sql(INSERT).await;
        }
        operated.wait_logged(line).await;
        let log = operated.log();
        let lines: Vec<&str> = log.lines().filter(|text| text.contains(line)).collect();
        assert_eq!(lines.len(), 1, "{log}");
        for part in [
            "tenant=\"acme\"",
            "host=\"127.0.0.1\"",
            "http_status: the endpoint answered 500",
        ] {
            assert!(lines[0].contains(part), "{part}: {}", lines[0]);
        }
    }
    // It is named at once, and no problem before it has failed for a minute.
    let status_now = operated.walhook(&["status", "--json"]).await.exits(1);
    let status_now = status_now.json();
    assert_eq!(kinds(&status_now), ["dead_letters"]);
    let failing = &status_now["failing_endpoints"];
    assert_eq!(
        (&failing["total"], &failing["for_a_minute"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(failing["longest"][0]["tenant"], "acme");
    operated
        .sql("update walhook.webhook_subscriptions set failing_since = failing_since - interval '2 minutes'")
        .await;
    let listed = ready(&operated, &["failing_endpoints", "dead_letters"]).await;
    operated
        .wait_metric("walhook_problems{kind=\"failing_endpoints\"}", |n| n == 1.0)
        .await;
    let text = operated.walhook(&["status"]).await.exits(1);
    let text = text
        .says(&format!(
            "sub_{} of tenant acme at 127.0.0.1",
            subscribed.id
        ))
        .says("http_status: the endpoint answered 500")
        .says("most of tenant acme");
    let said = operated.walhook(&["status", "--json"]).await.exits(1);
    let shown = said.json();
    assert_eq!(kinds(&shown), ["failing_endpoints", "dead_letters"]);
    let endpoint = &shown["failing_endpoints"]["longest"][0];
    assert_eq!(endpoint["tenant"], "acme");
    assert_eq!(endpoint["breaker"], "open");
    assert_eq!(shown["dead_letters"]["tenant"], "acme");
    for place in [&listed, &text.out, &said.out, &operated.log()] {
        for hidden in ["hook-of-acme", "hidden"] {
            assert!(!place.contains(hidden), "{place}");
        }
    }
    assert!(!listed.contains("acme"), "{listed}");

    receiver.answer(|_, _| status(200));
    let token = operated
        .walhook(&["token", "create", "--tenant", "acme"])
        .await
        .exits(0);
    let retried = http()
        .post(operated.url("/api/v1/tenant/webhooks/deliveries/retry"))
        .bearer_auth(token.out.trim())
        .header("content-type", "application/json")
        .body(json!({"status": "failed"}).to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(retried.status(), 202);
    all_is_well(&operated).await;
    assert!(operated.process.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_named_from_its_first_failure_and_a_problem_after_a_minute() {
    let settings = "[delivery]\nretry_schedule = ['1h']\n";
    let walhook = Installation::create(ORDERS, ORDER_RULES, settings).await;
    let receiver = Receiver::answering(|_, _| status(500)).await;
    let subscribed = walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let operated = Operated::start(walhook);
    operated.wait_logged("holding the slot").await;
    operated.sql(INSERT).await;
    operated.wait_logged("an endpoint began to fail").await;
    let named = format!("sub_{} of tenant acme at 127.0.0.1 for ", subscribed.id);
    let text = operated.walhook(&["status"]).await.exits(0);
    text.says(&named)
        .says("http_status: the endpoint answered 500")
        .says("No problem so far: the endpoints above began to fail less than a minute ago.");
    ready(&operated, &["\"problems\":[]"]).await;
    operated
        .sql("update walhook.webhook_subscriptions set failing_since = failing_since - interval '2 minutes'")
        .await;
    let text = operated.walhook(&["status"]).await.exits(1);
    let text = text.says(&named).says("for a minute or more. What is due");
    assert!(!text.out.contains("`walhook status`"), "{}", text.out);
    ready(&operated, &["failing_endpoints", "`walhook status` names"]).await;
    assert!(operated.process.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_fails_is_named_until_it_is_changed() {
    let walhook = Installation::of_orders().await;
    let receiver = Receiver::start().await;
    let subscribed = walhook
        .subscribe("acme", &receiver.url("/"), &["order.*"])
        .await;
    let filter = |filter: &str| {
        format!(
            "update walhook.webhook_subscriptions set filter = $${filter}$$, filter_error = null, filter_failed_at = null, filter_failures = 0"
        )
    };
    let operated = Operated::start(walhook);
    operated.wait_logged("holding the slot").await;
    let failing = filter("type like 'order.%' and data.id = 'one'");
    operated.sql(&failing).await;
    operated.sql(INSERT).await;
    operated.wait_logged("a subscription's filter failed").await;
    ready(&operated, &["failing_filters"]).await;
    operated
        .walhook(&["status"])
        .await
        .exits(1)
        .says(&format!("sub_{} of tenant acme failed", subscribed.id))
        .says("PATCH /subscriptions/{id}");
    let said = operated.walhook(&["status", "--json"]).await.exits(1);
    assert_eq!(kinds(&said.json()), ["failing_filters"]);
    operated.sql(&filter("data.id > 0")).await;
    all_is_well(&operated).await;
    assert!(operated.process.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_subscription_and_what_is_overdue_are_named_by_readyz_too() {
    let walhook = Installation::of_orders().await;
    let receiver = Receiver::start().await;
    let subscribed = walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let operated = Operated::start(walhook);
    operated.wait_logged("holding the slot").await;
    all_is_well(&operated).await;
    let secret = "(select secret from walhook.webhook_subscriptions)";
    let id = subscribed.id;
    operated
        .sql(&format!("create table kept as select {secret} as secret"))
        .await;
    operated
        .sql(&format!(
            "update walhook.webhook_subscriptions set secret = '\\x00' where id = '{id}'"
        ))
        .await;
    // It waits, as one does that has been due for long.
    operated.sql(INSERT).await;
    operated
        .installation
        .wait_for("exists (select from delivery_schedule)")
        .await;
    operated
        .sql("update walhook.delivery_schedule set due_at = now() - interval '10 minutes'")
        .await;
    let said = ready(&operated, &["unreadable_subscriptions", "overdue"]).await;
    assert!(!said.contains("acme"), "{said}");
    let status = operated
        .walhook(&["status", "--json"])
        .await
        .exits(1)
        .json();
    let kinds = kinds(&status);
    assert!(
        kinds.contains(&"unreadable_subscriptions") && kinds.contains(&"overdue"),
        "{kinds:?}"
    );

    operated
        .sql("update walhook.webhook_subscriptions set secret = (select secret from kept)")
        .await;
    receiver.wait_for(1).await;
    all_is_well(&operated).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_seed_is_a_problem_that_leaves_the_node_in_service() {
    // Without its replica identity `full`, so that the old values are read.
    let (table, _) = ORDERS.split_once(';').unwrap();
    let mut walhook = Installation::create(table, ORDER_RULES, "").await;
    let proxy = Proxy::to(server()).await;
    let direct = walhook.database.url.clone();
    let url = proxy.url(&walhook.database.name);
    walhook.edit(&format!("'{direct}'"), &format!("'{url}'"));
    proxy.fall_silent_for("walhook seed");
    let operated = Operated::start(walhook);
    operated.wait_logged("holding the slot").await;
    let text = ready(&operated, &["table_read_silent", "walhook seed"]).await;
    assert!(!text.contains("connection_silent"), "{text}");
    let silent = |kind: &str| format!("walhook_problems{{kind=\"{kind}\"}}");
    operated
        .wait_metric(&silent("table_read_silent"), |count| count == 1.0)
        .await;
    let other = operated.metric(&silent("connection_silent")).await;
    assert_eq!(other.unwrap_or(0.0), 0.0);
    proxy.recover();
    all_is_well(&operated).await;
    assert!(operated.process.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_changes_are_listed_retried_and_discarded() {
    let walhook = Installation::create(ORDERS, BY_NOTE, "").await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let mut operated = Operated::start(walhook);
    operated.wait_logged("holding the slot").await;
    operated
        .walhook(&["parked", "list"])
        .await
        .exits(0)
        .says("No parked change matches");
    for _ in 0..3 {
        operated.sql(INSERT).await;
    }
    operated.wait_logged("a change was parked").await;
    let log = operated.log();
    let lines = log.lines().filter(|line| line.contains("was parked"));
    let lines: Vec<&str> = lines.collect();
    assert_eq!(lines.len(), 1, "{log}");
    for part in ["unroutable", "public.orders", "order.noted", "lsn="] {
        assert!(lines[0].contains(part), "{part}: {}", lines[0]);
    }
    ready(&operated, &["parked_changes"]).await;
    operated
        .installation
        .wait_for("select count(*) = 3 from parked_changes")
        .await;
    operated
        .walhook(&["status"])
        .await
        .exits(1)
        .says("walhook parked retry");
    let chosen = ["--rule", "order.noted", "--relation", "public.orders"];
    let list = ["parked", "list", "--json", "--limit", "2", "--since", "1h"];
    let listed = operated
        .walhook(&[&list[..], &chosen[..]].concat())
        .await
        .exits(0)
        .json();
    assert_eq!(listed["total"], 3);
    assert_eq!(listed["changes"].as_array().unwrap().len(), 2);
    assert_eq!(listed["changes"][0]["reason"], "unroutable");
    for none in [["--reason", "oversized"], ["--rule", "order.paid"]] {
        for command in ["list", "retry", "discard"] {
            let arguments = ["parked", command, none[0], none[1]];
            let answer = operated.walhook(&arguments).await.exits(0);
            answer.says("No parked change matches");
        }
    }

    // The rule is the same: they stay, and it is said why.
    operated
        .walhook(&["parked", "retry", "--reason", "unroutable"])
        .await
        .exits(1)
        .says("0 of 3 parked change(s)")
        .says("3 stay: unroutable of public.orders, rule `order.noted@public.orders`");
    operated
        .sql("create table kept as select * from walhook.parked_changes")
        .await;

    // The changed rule maps them by itself; later the operator asks for it.
    operated
        .installation
        .edit("tenant = 'note'", "tenant = 'tenant_id'");
    operated.process.signal("HUP");
    let sent = receiver.wait_for(3).await;
    all_is_well(&operated).await;
    operated
        .sql(
            "delete from walhook.webhook_deliveries; delete from walhook.webhook_events;
              insert into walhook.parked_changes select * from kept",
        )
        .await;
    operated
        .walhook(&["parked", "retry"])
        .await
        .exits(0)
        .says("3 of 3 parked change(s) are parked no longer");
    let again = receiver.wait_for(6).await;
    let ids = |requests: &[crate::harness::receiver::Request]| {
        let mut ids: Vec<String> = requests.iter().map(|one| one.id().to_owned()).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(&sent), ids(&again[3..]));

    operated
        .sql("insert into walhook.parked_changes select * from kept")
        .await;
    operated
        .walhook(&["parked", "discard", "--reason", "unroutable"])
        .await
        .exits(1)
        .says("3 parked change(s) match")
        .says("--confirm");
    let parked = "select count(*) from parked_changes";
    assert_eq!(operated.installation.count(parked).await, 3);
    operated
        .walhook(&["parked", "discard", "--reason", "unroutable", "--confirm"])
        .await
        .exits(0)
        .says("3 parked change(s) were deleted");
    all_is_well(&operated).await;

    // Nothing was kept of what cannot be decoded.
    operated
        .sql("insert into walhook.parked_changes (commit_lsn, ordinal, rule, relation, reason, detail)
              values ('0/1', 0, '', 'public.orders', 'undecodable', 'broken')")
        .await;
    operated
        .walhook(&["parked", "retry"])
        .await
        .exits(1)
        .says("1 stay: undecodable");
    assert!(operated.process.terminate().success());
    // No instance does it.
    retry_without_an_instance(&operated.installation).await;
}

async fn retry_without_an_instance(installation: &Installation) {
    let mut command = crate::harness::command::walhook();
    command
        .arg("--config")
        .arg(installation.config_file())
        .args(["parked", "retry", "--timeout", "3s"]);
    let answer = crate::harness::command::answer(command.output().await.unwrap()).exits(1);
    answer
        .says("no instance holds the slot")
        .says("1 of 1 are not mapped yet");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_finds_the_node_unready_is_no_error_in_the_log() {
    let walhook = Installation::of_orders().await;
    drop_slot(&walhook).await;
    let operated = Operated::start(walhook);
    operated.wait_ready(503, &["not_ready"]).await;
    for _ in 0..3 {
        operated.get("/readyz").await.unwrap();
    }
    let log = operated.log();
    for line in ["response failed", "a call of the API failed"] {
        assert!(!log.contains(line), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latency_from_the_commit_is_of_first_deliveries_alone() {
    const TOTAL: &str = "walhook_latency_seconds_count{stage=\"total\"}";
    let settings = "[delivery]\nretry_schedule = ['100ms', '100ms']\n";
    let walhook = Installation::create(ORDERS, ORDER_RULES, settings).await;
    let receiver = Receiver::answering(|_, count| match count {
        2 => status(299 + 201),
        3 => status(999),
        _ => status(200),
    })
    .await;
    let subscribed = walhook
        .subscribe("acme", &receiver.url("/"), &["order.*"])
        .await;
    let operated = Operated::start(walhook);
    operated.wait_logged("holding the slot").await;
    operated.sql(INSERT).await;
    receiver.wait_for(1).await;
    operated.wait_metric(TOTAL, |count| count == 1.0).await;
    // Two retries, a replay and a backfill.
    operated.sql(INSERT).await;
    receiver.wait_for(4).await;
    let id = format!("sub_{}", subscribed.id);
    operated
        .walhook(&["replay", "--subscription", &id, "--since", "1h"])
        .await
        .exits(0);
    receiver.wait_for(6).await;
    operated
        .walhook(&["backfill", "--table", "public.orders"])
        .await
        .exits(0);
    receiver.wait_for(8).await;
    let delivered = "webhook_deliveries_total{event=\"order.created\",status=\"delivered\"}";
    operated.wait_metric(delivered, |count| count == 6.0).await;
    assert_eq!(operated.metric(TOTAL).await, Some(1.0));
    let began = Instant::now();
    for (name, code, count) in [
        ("webhook_delivery_http_status", "200", 6.0),
        ("webhook_delivery_http_status_total", "500", 1.0),
        ("webhook_delivery_http_status_total", "other", 1.0),
    ] {
        let line = format!("{name}{{code=\"{code}\"}}");
        while operated.metric(&line).await != Some(count) {
            assert!(began.elapsed() < Duration::from_secs(20), "{line}");
            pause(began).await;
        }
    }
    assert!(operated.process.terminate().success());
}
