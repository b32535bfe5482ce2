//! Old values of tables whose log does not carry them.

use std::collections::HashMap;

use crate::harness::receiver::{Receiver, Request};
use crate::harness::walhook::Installation;

mod identity;
mod lost;
mod redefined;
mod seed;
mod values;

/// REPLICA IDENTITY DEFAULT, as tables are when nobody has touched them.
pub const ORDERS: &str = "create table orders (id bigint primary key, \
     tenant_id text not null, status text not null, total numeric, note text)";

pub const RULES: &str = "
[[events]]
type = 'order.paid'
table = 'public.orders'
on = ['update']
when = \"became(status = 'paid')\"
[events.data]
id = 'id'
status = 'status'
note = 'note'

[[events]]
type = 'order.deleted'
table = 'public.orders'
on = ['delete']
";

/// The shadow is complete and stands where the WAL does.
pub const COMPLETE: &str =
    "select count(*) > 0 and bool_and(state = 'complete') from shadow_tables";

/// Installed on the orders and their rules, with what `rows` writes first.
async fn with_rows(rows: &str) -> Installation {
    let walhook = Installation::create(ORDERS, RULES, "").await;
    walhook.database.client.batch_execute(rows).await.unwrap();
    walhook
}

/// What the shadow holds, by the row's key.
pub async fn shadow(walhook: &Installation) -> HashMap<String, Vec<Option<String>>> {
    let client = walhook.store.get().await.unwrap();
    let rows = client
        .query("select row_key, row_values from row_shadow", &[])
        .await
        .unwrap();
    let values = |bytes: &[u8]| {
        let (mut rest, mut values) = (bytes, Vec::new());
        while let Some((length, behind)) = rest.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length);
            if length == u32::MAX {
                (values.push(None), rest = behind).0
            } else if length == u32::MAX - 1 {
                (values.push(Some("(unknown)".to_owned())), rest = behind).0
            } else {
                let (text, behind) = behind.split_at(length as usize);
                values.push(Some(String::from_utf8(text.to_vec()).unwrap()));
                rest = behind;
            }
        }
        values
    };
    rows.iter()
        .map(|row| {
            let key = values(row.get("row_key"));
            (key[0].clone().unwrap(), values(row.get("row_values")))
        })
        .collect()
}

/// What the shadow should hold, of these columns.
pub async fn live(walhook: &Installation, columns: &str) -> HashMap<String, Vec<Option<String>>> {
    let query = format!("select id::text, array[{columns}]::text[] from orders");
    let rows = walhook.database.client.query(&query, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// The columns that the rules above watch, in the table's order.
pub const WATCHED: &str = "tenant_id, status, total::text, note";

/// Waits until the stream has taken everything that was committed so far.
pub async fn caught_up(walhook: &Installation) {
    let client = &walhook.database.client;
    // A change that makes an event is durable with everything before it.
    let id: i64 = client
        .query_one(
            "insert into orders (id, tenant_id, status) select coalesce(max(id), 0) + 1, 'acme', 'mark' from orders returning id",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    client
        .execute("delete from orders where id = $1", &[&id])
        .await
        .unwrap();
    walhook
        .wait_for(&format!(
            "select exists (select from webhook_events where event_type = 'order.deleted' and row_key = 'public.orders:{id}')"
        ))
        .await;
}

pub fn of(requests: &[Request], event_type: &str) -> Vec<serde_json::Value> {
    requests
        .iter()
        .map(|request| request.json())
        .filter(|event| event["type"] == event_type)
        .collect()
}

#[tokio::test]
async fn old_values_come_from_the_shadow_and_the_table_is_not_altered() {
    let walhook = with_rows(
        "insert into orders select n, 'acme', case when n = 2 then 'paid' else 'new' end, 1.50, 'n' from generate_series(1, 3) n",
    )
    .await;
    let receiver = Receiver::start().await;
    let acme = walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    walhook.wait_for(COMPLETE).await;
    walhook
        .database
        .client
        .batch_execute(
            "update orders set status = 'paid', note = 'm' where id = 1;
             update orders set status = 'paid', note = 'again' where id = 2;
             delete from orders where id = 3",
        )
        .await
        .unwrap();
    let requests = receiver.wait_for(2).await;
    running.stop().await;

    requests.iter().for_each(|request| acme.verify(request));
    let paid = of(&requests, "order.paid");
    assert_eq!(paid.len(), 1, "2 was paid before");
    assert_eq!(paid[0]["data"]["id"], 1);
    assert_eq!(
        paid[0]["previous"],
        serde_json::json!({"status": "new", "note": "n"})
    );
    let deleted = of(&requests, "order.deleted");
    assert_eq!(
        (deleted.len(), &deleted[0]["tenant_id"]),
        (1, &"acme".into())
    );
    assert_eq!(deleted[0]["data"]["total"], 1.5);
    assert_eq!(
        walhook.count("select count(*) from parked_changes").await,
        0
    );
    let identity: i8 = walhook
        .database
        .client
        .query_one(
            "select relreplident from pg_class where relname = 'orders'",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    assert_eq!(identity as u8, b'd');
}

#[tokio::test]
async fn changes_of_one_row_in_one_transaction_see_each_other() {
    let walhook =
        with_rows("insert into orders values (1, 'acme', 'new'), (2, 'acme', 'new')").await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    walhook.wait_for(COMPLETE).await;
    // One simple query is one transaction: paid, void, paid under another key; deleted
    // and inserted again; inserted, paid.
    walhook
        .database
        .client
        .batch_execute(
            "update orders set status = 'paid' where id = 1;
             update orders set status = 'void' where id = 1;
             update orders set id = 10 where id = 1;
             update orders set status = 'paid' where id = 10;
             update orders set note = 'x' where id = 10;
             delete from orders where id = 2;
             insert into orders values (2, 'acme', 'paid');
             update orders set note = 'x' where id = 2;
             insert into orders values (1, 'acme', 'draft');
             update orders set status = 'paid' where id = 1",
        )
        .await
        .unwrap();
    let requests = receiver.wait_for(4).await;
    caught_up(&walhook).await;
    let shadow = shadow(&walhook).await;
    running.stop().await;
    let mut paid: Vec<String> = of(&requests, "order.paid")
        .iter()
        .map(|event| format!("{} {}", event["data"]["id"], event["previous"]["status"]))
        .collect();
    paid.sort();
    assert_eq!(paid, ["1 \"draft\"", "1 \"new\"", "10 \"void\""]);
    assert_eq!(shadow, live(&walhook, WATCHED).await);
    assert_eq!(
        walhook.count("select count(*) from parked_changes").await,
        0
    );
}

#[tokio::test]
async fn a_truncate_clears_the_shadow() {
    let walhook =
        with_rows("insert into orders values (1, 'acme', 'paid'), (2, 'acme', 'new')").await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    walhook.wait_for(COMPLETE).await;
    walhook
        .database
        .client
        .batch_execute(
            "begin; update orders set note = 'x'; truncate orders; insert into orders values (1, 'acme', 'new'); commit;
             update orders set status = 'paid'",
        )
        .await
        .unwrap();
    let requests = receiver.wait_for(1).await;
    caught_up(&walhook).await;
    let shadow = shadow(&walhook).await;
    running.stop().await;
    assert_eq!(of(&requests, "order.paid")[0]["previous"]["status"], "new");
    assert_eq!(shadow, live(&walhook, WATCHED).await);
    assert_eq!(shadow.len(), 1);
}

#[tokio::test]
async fn an_unchanged_toast_value_is_answered() {
    // Random, so that it is stored out of line and not compressed.
    let walhook = with_rows(
        "alter table orders alter note set storage external;
         insert into orders values (1, 'acme', 'new', 1, repeat('0123456789', 1000))",
    )
    .await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    walhook.wait_for(COMPLETE).await;
    let change = "update orders set status = 'void'; update orders set status = 'paid', id = 2; delete from orders";
    walhook.database.client.batch_execute(change).await.unwrap();
    let requests = receiver.wait_for(2).await;
    running.stop().await;
    let note = serde_json::Value::from("0123456789".repeat(1000));
    let paid = &of(&requests, "order.paid")[0];
    assert_eq!(paid["data"]["note"], note);
    assert_eq!(
        paid["previous"],
        serde_json::json!({"id": 1, "status": "void"})
    );
    assert_eq!(of(&requests, "order.deleted")[0]["data"]["note"], note);
}

#[tokio::test]
async fn a_missing_old_value_is_parked_and_mends_itself() {
    let walhook =
        with_rows("insert into orders values (1, 'acme', 'new'), (2, 'acme', 'new')").await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    walhook.wait_for(COMPLETE).await;
    let client = walhook.store.get().await.unwrap();
    client.execute("delete from row_shadow", &[]).await.unwrap();
    walhook
        .database
        .client
        .batch_execute(
            "update orders set status = 'paid' where id = 1; delete from orders where id = 2",
        )
        .await
        .unwrap();
    walhook
        .wait_for("select count(*) = 2 from parked_changes where reason in ('unmappable', 'unroutable') and detail like '%old value%'")
        .await;
    walhook
        .database
        .client
        .batch_execute("update orders set status = 'void'; update orders set status = 'paid'")
        .await
        .unwrap();
    let requests = receiver.wait_for(1).await;
    running.stop().await;
    assert_eq!(of(&requests, "order.paid")[0]["previous"]["status"], "void");
}

#[tokio::test]
async fn replays_after_crashes_meet_the_values_that_they_met_before() {
    let walhook =
        with_rows("insert into orders select n, 'acme', 'new' from generate_series(1, 40) n").await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    walhook.wait_for(COMPLETE).await;
    let mut running = Some(running);
    for round in 1..=6 {
        // Every round each row becomes paid once, from another status.
        let change = format!(
            "update orders set status = 'r{round}';
             update orders set status = 'paid', id = id + 1000;
             update orders set note = 'x'"
        );
        let client = &walhook.database.client;
        for statement in change.split(';') {
            client.batch_execute(statement).await.unwrap();
        }
        // Somewhere in the middle of it.
        let crashed = running.take().unwrap();
        crashed.task.abort();
        let _ = crashed.task.await;
        running = Some(walhook.start());
    }
    walhook
        .wait_for("select count(*) = 240 from webhook_events where event_type = 'order.paid'")
        .await;
    caught_up(&walhook).await;
    let shadow = shadow(&walhook).await;
    running.unwrap().stop().await;
    assert_eq!(shadow, live(&walhook, WATCHED).await);
    assert_eq!(
        walhook.count("select count(*) from parked_changes").await,
        0
    );
    let wrong = "select count(*) from (
        select convert_from(body, 'UTF8')::json -> 'previous' ->> 'status' as was, count(*) as n
        from webhook_events where event_type = 'order.paid' group by 1
    ) as rounds where was !~ '^r[1-6]$' or n <> 40";
    assert_eq!(walhook.count(wrong).await, 0);
}
