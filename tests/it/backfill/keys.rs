//! Rows are read once each, whatever their key is.

use super::{backfill, told};
use crate::harness::receiver::Receiver;
use crate::harness::walhook::Installation;

/// Backfills the table `things` in chunks of 7, and compares what was sent with what the
/// query answers of it.
async fn every_row_once(tables: &str, arguments: &[&str], expected: &str) {
    let rules = "
[[events]]
type = 'thing.created'
table = 'public.things'
on = ['insert']
tenant = { value = 'acme' }
[events.data]
id = 'name'
";
    let walhook = Installation::create(tables, rules, "").await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    let all = [&["--table", "things", "--chunk", "7"], arguments].concat();
    backfill(&walhook, &all).await.exits(0);
    let rows = walhook.database.client.query(expected, &[]).await.unwrap();
    let expected: std::collections::HashMap<String, usize> = rows
        .iter()
        .map(|row| (serde_json::json!(row.get::<_, &str>(0)).to_string(), 1))
        .collect();
    let requests = receiver.wait_for(expected.len()).await;
    running.stop().await;
    assert_eq!(told(&requests, "thing.created"), expected);
}

const ALL: &str = "select name from things";

#[tokio::test]
async fn composite_keys_of_several_types() {
    let tables = "create table things (name text not null, region char(4), at timestamptz, flag boolean, n numeric,
            primary key (flag, region, at, n));
        insert into things select 'n' || n, case n % 3 when 0 then 'a''b' else 'x' end,
            '2026-01-01'::timestamptz + n % 5 * interval '1 hour', n % 2 = 0, n / 10.0 from generate_series(1, 100) n";
    every_row_once(tables, &[], ALL).await;
    every_row_once(
        tables,
        &["--where", "n < 5 and things.flag"],
        "select name from things where n < 5 and flag",
    )
    .await;
}

#[tokio::test]
async fn text_keys_in_the_order_of_their_collation() {
    let tables = "create table things (name text collate \"C\" primary key);
        insert into things select unnest(array['', ' ', 'a', 'A', 'b', 'B', 'ä', 'Ä', 'z', 'a''b', 'a\\b', 'a-b', 'ab',
            '_', 'é', '日本', 'zz', '%', '\"', e'tab\\there'])";
    every_row_once(tables, &[], ALL).await;
    every_row_once(
        &tables.replace("collate \"C\"", ""),
        &["--where", "name <> 'b'"],
        "select name from things where name <> 'b'",
    )
    .await;
    let collations = tables.replace("collate \"C\"", "collate \"und-x-icu\"");
    every_row_once(&collations, &[], ALL).await;
}

#[tokio::test]
async fn uuid_keys_and_enums_and_domains() {
    let tables = "create type mood as enum ('sad', 'ok', 'happy'); create domain code as varchar(10);
        create table things (id uuid default gen_random_uuid(), mood mood, code code, name text not null,
            primary key (mood, id, code));
        insert into things (mood, code, name) select (enum_range(null::mood))[1 + n % 3], 'c' || n, 'n' || n from generate_series(1, 60) n";
    every_row_once(tables, &[], ALL).await;
    every_row_once(
        tables,
        &["--where", "mood > 'sad'"],
        "select name from things where mood > 'sad'",
    )
    .await;
}

#[tokio::test]
async fn partitions_quoted_names_and_identities_by_index() {
    let partitioned = "create table things (id bigint, region text, name text not null, primary key (id, region))
            partition by list (region);
        create table things_a partition of things for values in ('a');
        create table things_b (name text not null, region text not null, id bigint not null);
        alter table things attach partition things_b default;
        insert into things select n, case n % 2 when 0 then 'a' else 'b' end, 'n' || n from generate_series(1, 50) n";
    every_row_once(partitioned, &[], ALL).await;
    every_row_once(
        partitioned,
        &["--where", "region = 'b'"],
        "select name from things where region = 'b'",
    )
    .await;
    let by_index = "create table things (\"Id \"\" x\" int not null, name text not null, other int primary key);
        create unique index on things (\"Id \"\" x\");
        insert into things select 100 - n, 'n' || n, n from generate_series(1, 50) n;
        alter table things replica identity using index \"things_Id \"\" x_idx\"";
    every_row_once(by_index, &[], ALL).await;
    // Rows of tables that inherit from it are not its own.
    let inherited = "create table things (id int primary key, name text not null);
        create table more_things () inherits (things);
        insert into things select n, 'n' || n from generate_series(1, 20) n;
        insert into more_things values (7, 'another')";
    every_row_once(inherited, &[], "select name from only things").await;
}

/// Sorted without regard to case by their operator class, and compared with it by `>` where
/// that is looked up by name and not found.
#[tokio::test]
async fn keys_whose_operators_are_an_extension_s() {
    let letters = "select case n % 2 when 0 then upper(chr(97 + n)) else chr(97 + n) end as name from generate_series(0, 25) n";
    let one = format!(
        "create extension citext; create table things (name citext primary key);
         insert into things {letters}"
    );
    every_row_once(&one, &[], "select name::text from things").await;
    every_row_once(
        &one,
        &["--where", "name > 'm'", "--search-path", "public"],
        "select name::text from things where name > 'm'",
    )
    .await;
    // As text: capitals come first.
    every_row_once(
        &one,
        &["--where", "name > 'm'"],
        "select name::text from things where name::text > 'm'",
    )
    .await;
    // Operators of two schemas, and a domain.
    let several = format!(
        "create schema extensions; create extension citext schema extensions;
         create domain code as extensions.citext;
         create table things (region int, code code, name text not null, key_0 extensions.citext,
            primary key (region, code, key_0));
         insert into things select ascii(upper(name)) % 3, case ascii(name) % 2 when 0 then 'x' else 'X' end, name, name
            from ({letters}) as letters"
    );
    every_row_once(&several, &[], ALL).await;
    let some = ["--where", "key_0 operator(extensions.>) 'm'"];
    every_row_once(
        &several,
        &some,
        "select name from things where key_0 operator(extensions.>) 'm'",
    )
    .await;
}
