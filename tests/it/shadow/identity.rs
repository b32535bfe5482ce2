//! The replica identity changes under rules that need old values: what the WAL does not
//! tell any more is never taken for something else.

use super::{COMPLETE, WATCHED, caught_up, live, of, shadow, with_rows};
use crate::harness::receiver::Receiver;
use crate::harness::walhook::Installation;

const PARKED: &str = "select count(*) from parked_changes";

/// 3, which became paid, and 5, which was deleted, while nobody knew what they had been.
const UNKNOWN: &str = "select count(*) = 2 from parked_changes where relation = 'public.orders' and detail like '%no old value%'";

/// What the WAL lacked was read meanwhile.
const LATER: &str = "update orders set note = 'x' where id = 3;
     update orders set status = 'paid' where id = 4";

async fn check(walhook: &Installation, paid: &[serde_json::Value]) {
    let ids: Vec<_> = paid.iter().map(|event| &event["data"]["id"]).collect();
    assert_eq!(ids, [1, 2, 4]);
    assert_eq!(paid[2]["previous"]["status"], "new");
    assert_eq!(walhook.count(PARKED).await, 2);
}

/// Five new orders on a table with REPLICA IDENTITY FULL.
async fn with_full_identity() -> Installation {
    with_rows(
        "insert into orders select n, 'acme', 'new', n, 'n' from generate_series(1, 5) n;
         alter table orders replica identity full",
    )
    .await
}

#[tokio::test]
async fn full_is_taken_away_while_walhook_runs() {
    let walhook = with_full_identity().await;
    let receiver = Receiver::start().await;
    let types = ["order.paid"];
    walhook.subscribe("acme", &receiver.url("/"), &types).await;
    let running = walhook.start();
    let paid = "update orders set status = 'paid' where id <= 2";
    walhook.database.client.batch_execute(paid).await.unwrap();
    receiver.wait_for(2).await;
    assert_eq!(walhook.count("select count(*) from row_shadow").await, 0);
    // From here on the WAL lacks the old values: changes that need them are parked, and
    // none is taken for one of which nothing was to be told.
    let application = &walhook.database.client;
    application
        .batch_execute(
            "alter table orders replica identity default;
             update orders set status = 'paid' where id = 3;
             delete from orders where id = 5",
        )
        .await
        .unwrap();
    walhook.wait_for(UNKNOWN).await;
    walhook.wait_for(COMPLETE).await;
    application.batch_execute(LATER).await.unwrap();
    let requests = receiver.wait_for(3).await;
    caught_up(&walhook).await;
    let shadow = shadow(&walhook).await;
    running.stop().await;
    check(&walhook, &of(&requests, "order.paid")).await;
    assert_eq!(shadow, live(&walhook, WATCHED).await);
}

#[tokio::test]
async fn full_is_taken_away_while_walhook_is_down() {
    let walhook = with_full_identity().await;
    let receiver = Receiver::start().await;
    let types = ["order.paid"];
    walhook.subscribe("acme", &receiver.url("/"), &types).await;
    let running = walhook.start();
    let application = &walhook.database.client;
    let paid = "update orders set status = 'paid' where id = 1";
    application.batch_execute(paid).await.unwrap();
    receiver.wait_for(1).await;
    running.stop().await;
    // The WAL has the old values of this one still.
    let paid = "update orders set status = 'paid' where id = 2";
    application.batch_execute(paid).await.unwrap();
    application
        .batch_execute(
            "create unique index orders_total on orders (total);
             alter table orders alter total set not null, replica identity using index orders_total;
             update orders set status = 'paid' where id = 3;
             delete from orders where id = 5",
        )
        .await
        .unwrap();
    let running = walhook.start();
    walhook.wait_for(UNKNOWN).await;
    walhook.wait_for(COMPLETE).await;
    application.batch_execute(LATER).await.unwrap();
    let requests = receiver.wait_for(3).await;
    running.stop().await;
    check(&walhook, &of(&requests, "order.paid")).await;
}

#[tokio::test]
async fn full_comes_while_walhook_is_down_and_the_shadow_answers_what_is_from_before() {
    let walhook =
        with_rows("insert into orders values (1, 'acme', 'new'), (2, 'acme', 'new')").await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    walhook.wait_for(COMPLETE).await;
    running.stop().await;
    walhook
        .database
        .client
        .batch_execute("update orders set status = 'paid' where id = 1")
        .await
        .unwrap();
    walhook
        .database
        .client
        .batch_execute(
            "alter table orders replica identity full;
             update orders set status = 'paid' where id = 2",
        )
        .await
        .unwrap();
    let running = walhook.start();
    let requests = receiver.wait_for(2).await;
    walhook
        .wait_for(
            "select not exists (select from shadow_tables) and not exists (select from row_shadow)",
        )
        .await;
    // And away again: the shadow begins again, and nothing is passed over.
    is_parked_and_seeded(&walhook).await;
    running.stop().await;
    let paid = of(&requests, "order.paid");
    for event in &paid {
        assert_eq!(event["previous"]["status"], "new");
    }
    assert_eq!(paid.len(), 2);
}

async fn is_parked_and_seeded(walhook: &Installation) {
    assert_eq!(walhook.count(PARKED).await, 0);
    walhook
        .database
        .client
        .batch_execute(
            "alter table orders replica identity default;
             update orders set status = 'paid' where id = 1",
        )
        .await
        .unwrap();
    walhook
        .wait_for("select count(*) = 1 from parked_changes")
        .await;
    walhook.wait_for(COMPLETE).await;
}

/// The WAL describes partitions as their root, whatever each of them logs.
#[tokio::test]
async fn a_partition_that_logs_less_than_its_root_says_is_answered_by_the_shadow() {
    let tables = "create table orders (id bigint, region text, tenant_id text, status text, total numeric, note text,
            primary key (region, id)) partition by list (region);
        create table orders_full partition of orders for values in ('full');
        create table orders_key partition of orders for values in ('key');
        alter table orders replica identity full;
        alter table orders_full replica identity full;
        insert into orders select n, r, 'acme', 'new' from generate_series(1, 3) n, unnest('{full,key}'::text[]) r";
    let walhook = Installation::create(tables, super::RULES, "").await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    walhook.wait_for(COMPLETE).await;
    // The key changes, and so the WAL has an old row, of which most is null.
    walhook
        .database
        .client
        .batch_execute(
            "update orders set status = 'paid', id = 10 where id = 1;
             delete from orders where id = 2;
             update orders set status = 'paid' where id = 3;
             update orders set note = 'x', id = 30 where id = 3",
        )
        .await
        .unwrap();
    let requests = receiver.wait_for(6).await;
    running.stop().await;
    let paid = of(&requests, "order.paid");
    assert_eq!(paid.len(), 4);
    assert!(
        paid.iter()
            .all(|event| event["previous"]["status"] == "new")
    );
    assert_eq!(of(&requests, "order.deleted").len(), 2);
    assert_eq!(walhook.count(PARKED).await, 0);
}

/// A new partition has the identity DEFAULT, whatever the others have.
#[tokio::test]
async fn a_new_partition_takes_full_away() {
    let tables = "create table orders (id bigint primary key, tenant_id text, status text, total numeric, note text)
            partition by range (id);
        create table orders_1 partition of orders for values from (1) to (100);
        alter table orders replica identity full;
        alter table orders_1 replica identity full;
        insert into orders values (1, 'acme', 'new')";
    let walhook = Installation::create(tables, super::RULES, "").await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    let application = &walhook.database.client;
    application
        .batch_execute("update orders set status = 'paid'")
        .await
        .unwrap();
    receiver.wait_for(1).await;
    application
        .batch_execute(
            "create table orders_2 partition of orders for values from (100) to (200);
             insert into orders values (100, 'acme', 'new'), (101, 'acme', 'new')",
        )
        .await
        .unwrap();
    application
        .batch_execute("update orders set status = 'paid' where id = 100")
        .await
        .unwrap();
    walhook
        .wait_for("select count(*) = 1 from parked_changes where detail like '%no old value%'")
        .await;
    walhook.wait_for(COMPLETE).await;
    application
        .batch_execute("update orders set status = 'paid' where id = 101")
        .await
        .unwrap();
    let requests = receiver.wait_for(2).await;
    running.stop().await;
    assert_eq!(of(&requests, "order.paid")[1]["previous"]["status"], "new");
}
