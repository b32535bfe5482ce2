//! Events of tenants that have neither a subscription nor an API token are counted and shown;
//! one that is only spelt otherwise than in a subscription is a problem.

use serde_json::Value;

use crate::harness::operated::Operated;
use crate::harness::receiver::Receiver;
use crate::harness::walhook::{Installation, ORDER_RULES, ORDERS};

const COUNT: &str = "walhook_unknown_tenant_events_total";

async fn insert(operated: &Operated, tenant: &str) {
    operated
        .sql(&format!(
            "insert into orders (tenant_id, status) values ('{tenant}', 'new')"
        ))
        .await;
}

/// The tenants that `walhook status` names, each with the one that it resembles.
fn named(status: &Value) -> Vec<(&str, Option<&str>)> {
    let named = status["unknown_tenants"]["named"].as_array().unwrap();
    let mut named: Vec<_> = named
        .iter()
        .map(|entry| {
            (
                entry["tenant"].as_str().unwrap(),
                entry["resembles"].as_str(),
            )
        })
        .collect();
    named.sort_unstable();
    named
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_spelt_otherwise_is_a_problem_and_one_of_nobody_is_shown() {
    let walhook = Installation::create(ORDERS, ORDER_RULES, "").await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let operated = Operated::start(walhook);
    operated.wait_logged("holding the slot").await;
    operated
        .walhook(&["token", "create", "--tenant", "with a token"])
        .await
        .exits(0);
    for tenant in ["nobody", "with a token", "later", "nobody", "ACME", "acme"] {
        insert(&operated, tenant).await;
    }
    receiver.wait_for(1).await;
    operated.wait_metric(COUNT, |events| events == 4.0).await;
    operated
        .wait_logged("differs in its spelling from one with a subscription")
        .await;
    let log = operated.log();
    for part in ["tenant=\"ACME\"", "subscribed_tenant=\"acme\""] {
        assert!(log.contains(part), "{log}");
    }
    assert!(!log.contains("nobody"), "{log}");

    let listed = operated.wait_ready(200, &["tenant_mismatch"]).await;
    assert!(!listed.to_lowercase().contains("acme"), "{listed}");
    operated
        .wait_metric("walhook_problems{kind=\"tenant_mismatch\"}", |n| n == 1.0)
        .await;
    let text = operated.walhook(&["status"]).await.exits(1);
    text.says("4 event(s) of tenants without subscription and API token")
        .says("`ACME`, spelt `acme` in its subscriptions: 1 event(s), the last ")
        .says("`nobody`: 2 event(s), the last ")
        .says("order.created");
    let status = operated.walhook(&["status", "--json"]).await.exits(1);
    let status = status.json();
    assert_eq!(status["problems"].as_array().unwrap().len(), 1, "{status}");
    assert_eq!(status["problems"][0]["kind"], "tenant_mismatch");
    assert_eq!(status["problems"][0]["affects_readiness"], false);
    assert_eq!(
        named(&status),
        [("ACME", Some("acme")), ("later", None), ("nobody", None)]
    );
    let near = "    `acme` has subscriptions, and its spelling alone differs: correct the rule's `tenant`, or subscribe for `ACME`";
    let explained = operated.walhook(&["explain", "--since", "1h"]).await;
    let explained = explained.exits(0).says(near);
    let unheard = explained.out.matches("    for nobody").count();
    assert_eq!((unheard, explained.out.matches(near).count()), (5, 1));

    // Who has a subscription, or a token, is known at once.
    let url = receiver.url("/");
    operated.installation.subscribe("later", &url, &["*"]).await;
    operated
        .walhook(&["token", "create", "--tenant", "ACME"])
        .await
        .exits(0);
    let status = operated.walhook(&["status", "--json"]).await.exits(0);
    assert_eq!(named(&status.json()), [("nobody", None)]);
    operated.wait_ready(200, &["\"problems\":[]"]).await;
    for tenant in ["later", "ACME", "nobody"] {
        insert(&operated, tenant).await;
    }
    receiver.wait_for(2).await;
    operated.wait_metric(COUNT, |events| events == 5.0).await;
    assert!(operated.process.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_unknown_tenants_few_are_remembered_and_all_events_are_counted() {
    const TENANTS: i64 = 2_500;
    let walhook = Installation::create(ORDERS, ORDER_RULES, "").await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let operated = Operated::start(walhook);
    operated.wait_logged("holding the slot").await;
    operated
        .sql(&format!(
            "insert into orders (tenant_id, status)
             select 'tenant ' || number, 'new' from generate_series(1, {TENANTS}) number"
        ))
        .await;
    operated
        .wait_metric(COUNT, |events| events == 2_500.0)
        .await;
    // What resembles another is named however many others there are.
    insert(&operated, " Acme").await;
    operated
        .wait_metric(COUNT, |events| events == 2_501.0)
        .await;
    let rows = "select count(*) from unknown_tenants";
    assert_eq!(operated.installation.count(rows).await, 102);
    let events = "select sum(events)::bigint from unknown_tenants";
    assert_eq!(operated.installation.count(events).await, TENANTS + 1);
    let text = operated.walhook(&["status"]).await.exits(1);
    let text = text
        .says("2501 event(s) of tenants")
        .says("2400 of them of tenants that are not told apart")
        .says("` Acme`, spelt `acme` in its subscriptions")
        .says("and 91 more");
    assert_eq!(text.out.matches("`tenant ").count(), 9, "{}", text.out);
    assert!(operated.process.terminate().success());
}
