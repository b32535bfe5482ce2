//! Types that are made of others: what is altered of these is in no message of the stream.

use super::super::{COMPLETE, of};
use super::{moved, run};
use crate::harness::receiver::Receiver;
use crate::harness::walhook::Installation;

/// Of each the table's name is the column's.
const TABLES: &str = "create type state as enum ('new', 'settled', 'paid');
    create domain checked as state check (value is not null);
    create domain checked_twice as checked;
    create type stamp as (at date, state state);
    create type spread as range (subtype = state);
    create domain stamps as stamp[];
    create table plain (id bigint primary key, tenant_id text, value state);
    create table domains (id bigint primary key, tenant_id text, value checked_twice);
    create table arrays (id bigint primary key, tenant_id text, value state[]);
    create table composites (id bigint primary key, tenant_id text, value stamp);
    create table nested (id bigint primary key, tenant_id text, value stamps);
    create table ranges (id bigint primary key, tenant_id text, value spread);
    create table parts (id bigint primary key, tenant_id text, value state) partition by range (id);
    create table parts_1 partition of parts for values from (0) to (2);
    create table parts_2 partition of parts default";

const NAMES: [&str; 7] = [
    "plain",
    "domains",
    "arrays",
    "composites",
    "nested",
    "ranges",
    "parts",
];

/// The value that holds a label.
fn holding(table: &str, label: &str) -> String {
    match table {
        "arrays" => format!("array['{label}']::state[]"),
        "composites" => format!("row('2026-01-01', '{label}')::stamp"),
        "nested" => format!("array[row('2026-01-01', '{label}')::stamp]"),
        "ranges" => format!("spread('new', '{label}', '[]')"),
        _ => format!("'{label}'"),
    }
}

async fn installation() -> (Installation, Receiver) {
    let rules: Vec<String> = NAMES
        .iter()
        .map(|name| {
            format!(
                "[[events]]\ntype = 'x.{name}'\ntable = 'public.{name}'\non = ['update']\nwhen = \"changed(value)\"\ndata = {{ id = 'id', value = 'value' }}\n"
            )
        })
        .collect();
    let walhook = Installation::create(TABLES, &rules.join("\n"), "").await;
    for name in NAMES {
        let value = holding(name, "settled");
        run(
            &walhook,
            &format!("insert into {name} select n, 'acme', {value} from generate_series(1, 3) n"),
        )
        .await;
    }
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    (walhook, receiver)
}

/// All of them were read again and hold this.
async fn read_again(walhook: &Installation, text: &str) {
    let tables = NAMES.len();
    walhook
        .wait_for(&format!(
            "select count(*) filter (where state = 'complete' and '' = any (columns)) = {tables} from shadow_tables"
        ))
        .await;
    walhook
        .wait_for(&format!(
            "select count(*) = {tables} * 3 from row_shadow where position('{text}'::bytea in row_values) > 0"
        ))
        .await;
}

#[tokio::test]
async fn a_label_renamed_in_what_is_made_of_it_is_found_while_nothing_changes() {
    let (walhook, receiver) = installation().await;
    let running = walhook.start();
    walhook.wait_for(COMPLETE).await;
    // Both labels are known: the stream would not tell either.
    run(
        &walhook,
        "begin; alter type state rename value 'paid' to 'other'; commit",
    )
    .await;
    run(
        &walhook,
        "alter type state rename value 'settled' to 'paid'",
    )
    .await;
    read_again(&walhook, "paid").await;
    for name in NAMES {
        let new = holding(name, "new");
        run(
            &walhook,
            &format!(
                "update {name} set tenant_id = 'acme';
                 update {name} set value = {new} where id = 2"
            ),
        )
        .await;
    }
    let requests = receiver.wait_for(NAMES.len()).await;
    running.stop().await;
    for name in NAMES {
        let event_type = format!("x.{name}");
        assert_eq!(moved(&requests, &event_type), [2], "{name}");
        let previous = of(&requests, &event_type)[0]["previous"].to_string();
        assert!(previous.contains("paid"), "{name}: {previous}");
    }
    let parked = walhook.count("select count(*) from parked_changes").await;
    assert_eq!(parked, 0);
    // No change was mapped between the rename and its discovery.
    assert_eq!(walhook.count("select count(*) from gaps").await, 0);
}

#[tokio::test]
async fn an_attribute_added_to_a_composite_type_is_found() {
    let (walhook, receiver) = installation().await;
    let running = walhook.start();
    walhook.wait_for(COMPLETE).await;
    run(&walhook, "alter type stamp add attribute note text").await;
    let tables = "select count(*) filter (where state = 'complete' and '' = any (columns)) = 2 from shadow_tables";
    walhook.wait_for(tables).await;
    run(
        &walhook,
        "update composites set tenant_id = 'acme';
         update nested set tenant_id = 'acme';
         update composites set value.note = 'x' where id = 2",
    )
    .await;
    let requests = receiver.wait_for(1).await;
    run(&walhook, "update plain set value = 'new' where id = 1").await;
    let all = receiver.wait_for(2).await;
    running.stop().await;
    assert_eq!(moved(&requests, "x.composites"), [2]);
    assert_eq!(moved(&all, "x.plain"), [1]);
    let parked = walhook.count("select count(*) from parked_changes").await;
    assert_eq!(parked, 0);
}

/// While it is stopped, and with changes after it.
#[tokio::test]
async fn partitions_and_keys_that_are_rewritten_while_capture_is_stopped() {
    let (walhook, receiver) = installation().await;
    let running = walhook.start();
    walhook.wait_for(COMPLETE).await;
    running.stop().await;
    // Each row of the second has the key that another had.
    run(
        &walhook,
        "alter table parts alter column value type text using upper(value::text);
         update parts set tenant_id = 'acme';
         alter table plain drop constraint plain_pkey;
         alter table plain alter column id type bigint using id + 1;
         alter table plain add primary key (id);
         update plain set value = 'new' where id = 2;
         update plain set tenant_id = 'acme' where id = 2",
    )
    .await;
    let running = walhook.start();
    let parked = "select count(*) = 5 from parked_changes where relation in ('public.parts', 'public.plain')";
    walhook.wait_for(parked).await;
    let complete = "select bool_and(state = 'complete') and bool_or(table_name = 'parts' and '' = any (columns)) from shadow_tables";
    walhook.wait_for(complete).await;
    run(
        &walhook,
        "update parts set tenant_id = 'acme';
         update plain set tenant_id = 'acme';
         update plain set value = 'settled' where id = 2;
         update parts set value = 'void' where id = 1",
    )
    .await;
    let requests = receiver.wait_for(2).await;
    running.stop().await;
    assert_eq!(moved(&requests, "x.plain"), [2]);
    assert_eq!(moved(&requests, "x.parts"), [1]);
    assert_eq!(of(&requests, "x.plain")[0]["previous"]["value"], "new");
    assert_eq!(of(&requests, "x.parts")[0]["previous"]["value"], "SETTLED");
}
