//! Values that become others without a change in the WAL: an update that changes nothing makes
//! no event, and what is not known any more is parked.

use super::{COMPLETE, of};
use crate::harness::operated::Operated;
use crate::harness::receiver::{Receiver, Request};
use crate::harness::walhook::Installation;

mod early;
mod harmless;
mod rows;
mod suspect;
mod types;

/// Two tables: what one is altered by does not concern the other.
pub const TABLES: &str = "create type state as enum ('new', 'settled', 'paid');
    create table orders (id bigint primary key, tenant_id text not null, note text, status state not null);
    create table others (id bigint primary key, tenant_id text not null, status text not null)";

pub const RULES: &str = "
[[events]]
type = 'order.moved'
table = 'public.orders'
on = ['update']
when = \"changed(status)\"
[events.data]
id = 'id'
status = 'status'

[[events]]
type = 'other.moved'
table = 'public.others'
on = ['update']
when = \"changed(status)\"
[events.data]
id = 'id'
status = 'status'
";

/// Rows 1 to 9 of both tables: settled.
pub async fn with_rows(tables: &str, rules: &str) -> (Installation, Receiver) {
    let walhook = Installation::create(tables, rules, "").await;
    run(
        &walhook,
        "insert into orders (id, tenant_id, status) select n, 'acme', 'settled' from generate_series(1, 9) n",
    )
    .await;
    if tables.contains("others") {
        let rows = "insert into others select n, 'acme', 'settled' from generate_series(1, 9) n";
        run(&walhook, rows).await;
    }
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    (walhook, receiver)
}

/// Each statement in a transaction of its own.
pub async fn run(walhook: &Installation, statements: &str) {
    for statement in statements.split(';').filter(|text| !text.trim().is_empty()) {
        let done = walhook.database.client.batch_execute(statement).await;
        done.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
}

/// Waits until so many changes of orders are parked for want of an old value.
pub async fn parked(walhook: &Installation, count: i64) {
    walhook
        .wait_for(&format!(
            "select count(*) = {count} from parked_changes where relation = 'public.orders' and detail like '%no old value%'"
        ))
        .await;
}

/// The values of `orders.status` were read again, and everything is known.
pub async fn read_again(walhook: &Installation, times: usize) {
    walhook
        .wait_for(&format!(
            "select count(*) > 0 and bool_and(state = 'complete') and bool_and(
                 table_name <> 'orders' or cardinality(array_positions(columns, '')) >= {times}
             ) from shadow_tables"
        ))
        .await;
}

/// The rows that events tell of.
pub fn moved(requests: &[Request], event_type: &str) -> Vec<i64> {
    let id = |event: &serde_json::Value| event["data"]["id"].as_i64().unwrap();
    let mut ids: Vec<i64> = of(requests, event_type).iter().map(id).collect();
    ids.sort_unstable();
    ids
}

const GAPS: &str = "select count(*) from gaps";

/// A change of another table that is told: everything before it has been taken.
pub async fn told(walhook: &Installation, receiver: &Receiver, events: usize) -> Vec<Request> {
    run(
        walhook,
        "update others set status = status || '!' where id = 9",
    )
    .await;
    receiver.wait_for(events).await
}

#[tokio::test]
async fn a_column_rewritten_by_an_expression_while_walhook_runs() {
    let tables = TABLES.replace("status state not null", "status text not null");
    let (walhook, receiver) = with_rows(&tables, RULES).await;
    run(&walhook, "update orders set status = 'SETTLED'").await;
    let running = walhook.start();
    walhook.wait_for(COMPLETE).await;
    // Its length aside, the column is what it was.
    run(
        &walhook,
        "alter table orders alter column status type text using lower(status);
         update orders set note = 'x' where id = 1",
    )
    .await;
    parked(&walhook, 1).await;
    read_again(&walhook, 1).await;
    run(
        &walhook,
        "update orders set note = 'y' where id in (1, 2);
         update orders set status = 'void' where id in (1, 3)",
    )
    .await;
    let requests = told(&walhook, &receiver, 3).await;
    running.stop().await;
    assert_eq!(moved(&requests, "order.moved"), [1, 3]);
    for event in of(&requests, "order.moved") {
        assert_eq!(event["previous"]["status"], "settled");
    }
    parked(&walhook, 1).await;
    // It was noticed before anything was mapped.
    assert_eq!(walhook.count(GAPS).await, 0);
}

/// The last column again, of the same type: the stream describes the table as before.
#[tokio::test]
async fn a_column_dropped_and_added_again_while_capture_is_stopped() {
    let tables = TABLES.replace("status state not null", "status text not null");
    // Kept in the catalog, and written into each row.
    for default in ["'paid'", "case when random() < 2 then 'paid' end"] {
        let (walhook, receiver) = with_rows(&tables, RULES).await;
        let running = walhook.start();
        walhook.wait_for(COMPLETE).await;
        running.stop().await;
        run(
            &walhook,
            &format!(
                "alter table orders drop column status;
                 alter table orders add column status text not null default {default};
                 update orders set note = 'x' where id = 1;
                 update others set status = 'void' where id = 1"
            ),
        )
        .await;
        let running = walhook.start();
        parked(&walhook, 1).await;
        read_again(&walhook, 1).await;
        run(
            &walhook,
            "update orders set note = 'y' where id in (1, 2);
             update orders set status = 'void' where id = 2",
        )
        .await;
        let requests = told(&walhook, &receiver, 3).await;
        running.stop().await;
        assert_eq!(moved(&requests, "order.moved"), [2]);
        assert_eq!(moved(&requests, "other.moved"), [1, 9]);
        assert_eq!(
            of(&requests, "order.moved")[0]["previous"]["status"],
            "paid"
        );
        parked(&walhook, 1).await;
        assert_eq!(walhook.count(GAPS).await, 0);
    }
}

/// Known before: what carries the new name is not compared with the old one.
#[tokio::test]
async fn a_label_renamed_while_walhook_runs() {
    let (walhook, receiver) = with_rows(TABLES, RULES).await;
    let running = walhook.start();
    walhook.wait_for(COMPLETE).await;
    run(
        &walhook,
        "alter type state rename value 'settled' to 'closed';
         update orders set note = 'x' where id = 1",
    )
    .await;
    parked(&walhook, 1).await;
    read_again(&walhook, 1).await;
    run(
        &walhook,
        "update orders set note = 'y' where id in (1, 2);
         update orders set status = 'new' where id = 2",
    )
    .await;
    let requests = told(&walhook, &receiver, 2).await;
    running.stop().await;
    assert_eq!(moved(&requests, "order.moved"), [2]);
    assert_eq!(
        of(&requests, "order.moved")[0]["previous"]["status"],
        "closed"
    );
    parked(&walhook, 1).await;
    let closed =
        "select count(*) from row_shadow where position('closed'::bytea in row_values) > 0";
    assert_eq!(walhook.count(closed).await, 8);
    assert_eq!(walhook.count(GAPS).await, 0);
}

/// Changes of before and of after it are in the WAL when capture comes to it.
#[tokio::test(flavor = "multi_thread")]
async fn a_label_renamed_while_capture_lags() {
    let (installation, receiver) = with_rows(TABLES, RULES).await;
    let walhook = Operated::start(installation);
    let installation = &walhook.installation;
    installation.wait_for(COMPLETE).await;
    walhook.process.freeze().await;
    run(
        installation,
        "update orders set status = 'new' where id = 1;
         alter type state rename value 'settled' to 'closed';
         update orders set note = 'x' where id = 2;
         update orders set status = 'new' where id = 3;
         update others set status = 'void' where id = 1",
    )
    .await;
    walhook.process.thaw();
    receiver.wait_for(1).await;
    read_again(installation, 1).await;
    run(
        installation,
        "update orders set note = 'y' where id in (1, 2, 3, 4);
         update orders set status = 'paid' where id in (2, 4)",
    )
    .await;
    run(
        installation,
        "update others set status = 'last' where id = 9",
    )
    .await;
    let last = "select exists (select from webhook_events where event_type = 'other.moved' and row_key like '%:9')";
    installation.wait_for(last).await;
    // The first came before the name did: it is told, or parked where that was seen first.
    let told = "select array_agg(split_part(row_key, ':', 2) order by commit_lsn, ordinal) filter (where row_key not like '%:1')
                    = '{2,4}' from webhook_events where event_type = 'order.moved'";
    installation.wait_for(told).await;
    let all = "select (select count(*) from webhook_events where event_type = 'order.moved') + (select count(*) from parked_changes) = 5";
    installation.wait_for(all).await;
    let previous = "select count(*) from webhook_events where event_type = 'order.moved'
        and convert_from(body, 'UTF8')::json #>> '{previous,status}' <> case when row_key like '%:1' then 'settled' else 'closed' end";
    assert_eq!(installation.count(previous).await, 0);
    assert!(walhook.process.terminate().success());
}
