//! Values that a shadow does not keep, or that are not what the database says.

use super::{COMPLETE, ORDERS, RULES, of, shadow, with_rows};
use crate::harness::TestDatabase;
use crate::harness::receiver::Receiver;
use crate::harness::walhook::Installation;

#[tokio::test]
async fn a_value_that_is_too_long_is_not_kept_and_said_to_be() {
    // As it is and compressed, and the longest that is kept.
    let walhook = with_rows(
        "insert into orders values (1, 'acme', 'new', 1, repeat('x', 300000)), (3, 'acme', 'new', 3, repeat('x', 262144));
         alter table orders alter note set storage external;
         insert into orders values (2, 'acme', 'new', 2, repeat('x', 300000))",
    )
    .await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    walhook.wait_for(COMPLETE).await;
    let seeded = shadow(&walhook).await;
    let note = |id: &str| seeded[id][3].clone().unwrap();
    assert_eq!(
        (note("1").as_str(), note("2").as_str()),
        ("(unknown)", "(unknown)")
    );
    assert_eq!(note("3").len(), 262_144);

    // By the WAL too. What does not need the value goes on; what does says why not.
    walhook
        .database
        .client
        .batch_execute(
            "update orders set status = 'paid', note = 'short' where id = 1;
             update orders set note = repeat('y', 300000) where id = 1;
             update orders set status = 'paid' where id = 2",
        )
        .await
        .unwrap();
    let requests = receiver.wait_for(1).await;
    walhook
        .wait_for("select count(*) = 1 from parked_changes where detail like '%above 256 KiB%'")
        .await;
    let now = shadow(&walhook).await;
    running.stop().await;
    let paid = of(&requests, "order.paid");
    assert_eq!(
        (&paid[0]["data"]["note"], &paid[0]["previous"]),
        (&"short".into(), &serde_json::json!({"status": "new"}))
    );
    assert_eq!(now["1"][3].as_deref(), Some("(unknown)"));
}

#[tokio::test]
async fn values_that_are_not_utf_8_are_compared_as_the_bytes_that_they_are() {
    let database = TestDatabase::create_encoded("SQL_ASCII").await;
    let rules = format!(
        "{RULES}\n[[events]]\ntype = 'order.noted'\ntable = 'public.orders'\non = ['update']\nwhen = \"changed(note)\"\n[events.data]\nid = 'id'\n"
    );
    let rows = format!(
        "{ORDERS}; insert into orders values (1, 'acme', 'new', 1, E'\\377'), (2, 'acme', 'new', 1, E'\\377')"
    );
    let store = TestDatabase::create().await;
    let settings = format!("[store]\nurl = '{}'\n", store.url);
    let walhook = Installation::create_in(database, &rows, &rules, &settings).await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    walhook.wait_for(COMPLETE).await;
    walhook
        .database
        .client
        .batch_execute(
            "update orders set note = E'\\377', total = 2;
             update orders set note = E'\\376' where id = 1;
             update orders set note = 'text', status = 'paid' where id = 2",
        )
        .await
        .unwrap();
    let requests = receiver.wait_for(3).await;
    running.stop().await;
    let noted = of(&requests, "order.noted");
    let mut ids: Vec<_> = noted.iter().map(|event| &event["data"]["id"]).collect();
    ids.sort_by_key(|id| id.as_i64());
    assert_eq!(ids, [1, 2]);
    // What was there before cannot be told in JSON.
    let paid = of(&requests, "order.paid");
    assert_eq!(paid[0]["previous"], serde_json::json!({"status": "new"}));
    let parked = "select count(*) from parked_changes";
    assert_eq!(walhook.count(parked).await, 0);
}
