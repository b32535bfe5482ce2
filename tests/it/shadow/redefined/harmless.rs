//! What changes no value: nothing is read again, nothing waits, and the session goes on.

use super::super::COMPLETE;
use super::{TABLES, moved, run, told, with_rows};
use crate::harness::walhook::Installation;

/// Which column has which place, which session it is, and whether anything is parked or a gap.
const STATE: &str = "select format('%s; epoch %s; %s parked, %s gaps',
        (select string_agg(concat(table_name, id, columns, state), ' ' order by table_name) from shadow_tables),
        (select epoch from replication_progress),
        (select count(*) from parked_changes), (select count(*) from gaps))";

async fn state(walhook: &Installation) -> String {
    let client = walhook.store.get().await.unwrap();
    client.query_one(STATE, &[]).await.unwrap().get(0)
}

/// What the store knows of the table's definition.
async fn definition(walhook: &Installation, table: &str) -> String {
    let client = walhook.store.get().await.unwrap();
    let query = "select definition from shadow_tables where table_name = $1";
    client.query_one(query, &[&table]).await.unwrap().get(0)
}

/// Waits until the watch has come to it.
async fn noticed(walhook: &Installation, table: &str, before: &str) {
    let before = before.replace('\'', "''");
    walhook
        .wait_for(&format!(
            "select definition <> '{before}' from shadow_tables where table_name = '{table}'"
        ))
        .await;
}

const PARTS: &str = "create table parts (id bigint primary key, tenant_id text not null, status text) partition by range (id);
    create table parts_1 partition of parts for values from (1) to (100);
    insert into parts select n, 'acme', 'new' from generate_series(1, 9) n";

const PARTS_RULE: &str = "
[[events]]
type = 'part.moved'
table = 'public.parts'
on = ['update']
when = \"changed(status)\"
data = { id = 'id' }
";

#[tokio::test]
async fn tables_that_are_rewritten_as_they_are_trigger_nothing() {
    let tables = format!("{TABLES}; {PARTS}");
    let rules = format!("{}{PARTS_RULE}", super::RULES);
    let (walhook, receiver) = with_rows(&tables, &rules).await;
    let running = walhook.start();
    walhook.wait_for(COMPLETE).await;
    let before = state(&walhook).await;
    // One of each table at a time: the watch comes to all of them at once.
    let of_orders = [
        "vacuum full orders",
        "cluster orders using orders_pkey",
        "alter table orders alter column status set statistics 500",
        "alter table orders alter column status set default 'new'",
        "grant select (status) on orders to public",
    ];
    // Of the last, another column is rewritten, and with it the table.
    let of_others = [
        "alter table others alter column status set storage external",
        "alter table others alter column status type varchar",
        "alter table others add column more text default random()::text",
    ];
    let of_parts = [
        "vacuum full parts_1",
        "create table parts_2 partition of parts for values from (100) to (200)",
        "begin; create table parts_3 (like parts including all); alter table parts attach partition parts_3 for values from (200) to (300); commit",
        "alter table parts detach partition parts_2",
    ];
    for number in 0..of_orders.len() {
        let each = [
            ("orders", of_orders.get(number)),
            ("others", of_others.get(number)),
            ("parts", of_parts.get(number)),
        ];
        let mut altered = Vec::new();
        for (table, statement) in each {
            let Some(statement) = statement else { continue };
            let known = definition(&walhook, table).await;
            let client = &walhook.database.client;
            client.batch_execute(statement).await.unwrap();
            altered.push((table, known));
        }
        for (table, known) in &altered {
            noticed(&walhook, table, known).await;
        }
        assert_eq!(state(&walhook).await, before, "{each:?}");
    }
    // Nothing of these is anywhere to be seen.
    run(
        &walhook,
        "analyze orders; alter type state rename to mood; alter type mood rename to state;
         alter table orders rename constraint orders_pkey to orders_key;
         comment on column orders.status is 'x'",
    )
    .await;
    // And the stream describes all of the tables again.
    run(
        &walhook,
        "update orders set note = 'x';
         update orders set status = 'paid' where id = 1;
         update parts set tenant_id = 'acme';
         update parts set status = 'paid' where id = 2",
    )
    .await;
    let requests = told(&walhook, &receiver, 3).await;
    assert_eq!(state(&walhook).await, before);
    running.stop().await;
    assert_eq!(moved(&requests, "order.moved"), [1]);
    assert_eq!(moved(&requests, "part.moved"), [2]);
}

#[tokio::test]
async fn an_added_label_is_learned_and_nothing_is_read_again() {
    let (walhook, receiver) = with_rows(TABLES, super::RULES).await;
    let running = walhook.start();
    walhook.wait_for(COMPLETE).await;
    let places = "select id || columns::text from shadow_tables where table_name = 'orders'";
    let client = walhook.store.get().await.unwrap();
    let before: String = client.query_one(places, &[]).await.unwrap().get(0);
    // So many before one that the others are renumbered.
    for number in 0..30 {
        let add = format!("alter type state add value 'more {number}' before 'settled'");
        run(&walhook, &add).await;
    }
    run(
        &walhook,
        "update orders set note = 'x';
         update orders set status = 'more 7' where id = 1;
         update orders set status = 'paid' where id in (1, 2)",
    )
    .await;
    let requests = told(&walhook, &receiver, 4).await;
    running.stop().await;
    assert_eq!(moved(&requests, "order.moved"), [1, 1, 2]);
    let after: String = client.query_one(places, &[]).await.unwrap().get(0);
    assert_eq!(after, before);
    let nothing = "select count(*) from (select from parked_changes union all select from gaps) x";
    assert_eq!(walhook.count(nothing).await, 0);
}
