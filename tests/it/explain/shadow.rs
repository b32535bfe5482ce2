//! Old values that the WAL does not carry: the verdict is what `walhook run` makes of
//! the change, whether it comes to it before or after.

use serde_json::Value;

use super::Explaining;
use crate::harness::walhook::Installation;
use crate::shadow::{COMPLETE, ORDERS, RULES};

async fn installation() -> Installation {
    let walhook = Installation::create(ORDERS, RULES, "").await;
    let insert = "insert into orders select n, 'acme', case n when 1 then 'paid' else 'new' end from generate_series(1, 3) n";
    walhook.database.client.batch_execute(insert).await.unwrap();
    walhook
}

/// The verdict of a rule on the next change.
async fn verdict(explaining: &mut Explaining, rule: &str) -> Value {
    let report = explaining.json().await;
    let rules = report["rules"].as_array().unwrap();
    let found = rules.iter().find(|one| one["type"] == rule);
    found.expect("the rule is not there").clone()
}

#[tokio::test]
async fn a_change_that_run_has_not_come_to_is_answered_by_the_shadow() {
    let walhook = installation().await;
    let running = walhook.start();
    walhook.wait_for(COMPLETE).await;
    running.stop().await;
    let mut explaining = Explaining::start(&walhook, &["--json", "--limit", "5"]).await;
    walhook
        .database
        .client
        .batch_execute(
            "update orders set note = 'x' where id = 1;
             update orders set status = 'paid' where id = 2;
             update orders set status = 'void', id = 20 where id = 2;
             update orders set status = 'paid' where id = 20;
             delete from orders where id = 3",
        )
        .await
        .unwrap();
    let unchanged = verdict(&mut explaining, "order.paid").await;
    assert_eq!(unchanged["verdict"], "condition_false");
    assert!(unchanged["condition"].to_string().contains("\"paid\""));
    let paid = verdict(&mut explaining, "order.paid").await;
    assert_eq!(paid["verdict"], "event");
    assert_eq!(paid["body"]["previous"]["status"], "new");
    let void = verdict(&mut explaining, "order.paid").await;
    assert_eq!(void["verdict"], "condition_false");
    let again = verdict(&mut explaining, "order.paid").await;
    assert_eq!(again["body"]["previous"]["status"], "void");
    let deleted = verdict(&mut explaining, "order.deleted").await;
    assert_eq!(
        (&deleted["verdict"], &deleted["tenant_id"]),
        (&"event".into(), &"acme".into())
    );
    assert_eq!(explaining.end().await.0, 0);

    // And so it comes.
    let running = walhook.start();
    walhook
        .wait_for("select count(*) = 3 from webhook_events")
        .await;
    running.stop().await;
    let stored = format!(
        "select count(*) from webhook_events where id = '{}'",
        paid["event_id"]
            .as_str()
            .unwrap()
            .trim_start_matches("evt_")
    );
    assert_eq!(walhook.count(&stored).await, 1);
}

#[tokio::test]
async fn of_a_change_that_run_took_before_it_says_what_came_of_it() {
    let walhook = installation().await;
    let running = walhook.start();
    walhook.wait_for(COMPLETE).await;
    let client = walhook.store.get().await.unwrap();
    let forget = "delete from row_shadow where position('3'::bytea in row_key) > 0";
    assert_eq!(client.execute(forget, &[]).await.unwrap(), 1);
    let mut explaining = Explaining::start(&walhook, &["--json", "--limit", "4"]).await;
    explaining.signal("STOP");
    walhook
        .database
        .client
        .batch_execute(
            "update orders set note = 'x' where id = 1;
             update orders set status = 'paid' where id > 1",
        )
        .await
        .unwrap();
    walhook
        .wait_for(
            "select exists (select from webhook_events) and exists (select from parked_changes)",
        )
        .await;
    explaining.signal("CONT");
    let unchanged = verdict(&mut explaining, "order.paid").await;
    assert_eq!(unchanged["verdict"], "did_not_hold");
    let paid = verdict(&mut explaining, "order.paid").await;
    assert_eq!(paid["verdict"], "event");
    assert_eq!(paid["body"]["previous"]["status"], "new");
    let parked = verdict(&mut explaining, "order.paid").await;
    assert_eq!(parked["verdict"], "parked");
    assert!(parked["detail"].as_str().unwrap().contains("no old value"));
    // From here on the row is known, whoever comes first.
    let void = "update orders set status = 'void' where id = 2";
    walhook.database.client.batch_execute(void).await.unwrap();
    let void = verdict(&mut explaining, "order.paid").await;
    assert_eq!(void["verdict"], "condition_false");
    assert!(void["condition"].to_string().contains("\"paid\""));
    assert_eq!(explaining.end().await.0, 0);
    running.stop().await;
}

#[tokio::test]
async fn a_rule_that_waits_for_its_seed_is_said_to() {
    let walhook = installation().await;
    let mut explaining = Explaining::start(&walhook, &["--limit", "1"]).await;
    let change = "update orders set status = 'paid' where id = 2";
    walhook.database.client.batch_execute(change).await.unwrap();
    let expected = "it waits until `walhook run` has read the old values of public.orders";
    while !explaining.line().await.contains(expected) {}
    assert_eq!(explaining.end().await.0, 0);
}

/// Nothing in the WAL says that it is another: the catalog does.
#[tokio::test]
async fn a_column_that_has_other_values_than_were_read_is_not_answered() {
    let walhook = installation().await;
    let running = walhook.start();
    walhook.wait_for(COMPLETE).await;
    running.stop().await;
    let application = &walhook.database.client;
    application
        .batch_execute(
            "alter table orders drop column status;
             alter table orders add column status text not null default 'paid'",
        )
        .await
        .unwrap();
    let mut explaining = Explaining::start(&walhook, &["--json", "--limit", "1"]).await;
    application
        .batch_execute("update orders set note = 'x' where id = 2")
        .await
        .unwrap();
    let unknown = verdict(&mut explaining, "order.paid").await;
    assert_eq!(unknown["verdict"], "parked", "{unknown}");
    assert_eq!(explaining.end().await.0, 0);
}
