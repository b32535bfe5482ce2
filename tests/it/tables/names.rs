//! Names that need quoting, and keys of several columns.

use serde_json::json;

use crate::harness::receiver::Receiver;
use crate::harness::walhook::Installation;

/// 63 bytes: the most that PostgreSQL keeps of a name.
const LONGEST: &str = "a_name_of_sixty_three_bytes_which_is_the_longest_that_there_is_";

#[tokio::test]
async fn any_name_of_a_schema_table_or_column_is_matched_exactly() {
    assert_eq!(LONGEST.len(), 63);
    let tables = format!(
        r#"create schema "Ünï.code ""q""";
           create table "Ünï.code ""q"""."日本 ""t""" (
               "Id" int, id int, "tenant id" text, "Stätus""x" text, "new" text, "{LONGEST}" text,
               primary key ("Id"));
           create table "Twin" (id int primary key, tenant_id text, who text default 'upper');
           create table twin (id int primary key, tenant_id text, who text default 'lower');
           create table "{LONGEST}" (id int primary key, tenant_id text);
           create table "select" (id int primary key, tenant_id text, "from" text)"#
    );
    let rules = format!(
        r#"
[[events]]
type = 'odd'
table = '"Ünï.code ""q"""."日本 ""t"""'
tenant = '"tenant id"'
when = '''became("Stätus""x" = 'go') and new."Id" = 1'''
[[events]]
type = 'odd.columns'
table = '"Ünï.code ""q"""."日本 ""t"""'
tenant = '"tenant id"'
on = ['delete']
data = ['Id', 'Stätus"x', '{LONGEST}']
[[events]]
type = 'twin.upper'
table = 'public.Twin'
[[events]]
type = 'twin.lower'
table = 'public.twin'
[[events]]
type = 'long'
table = '{LONGEST}'
[[events]]
type = 'reserved'
table = 'select'
"#
    );
    let walhook = Installation::create(&tables, &rules, "").await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    walhook
        .wait_for("select count(*) = 2 from shadow_rules")
        .await;
    walhook
        .database
        .client
        .batch_execute(&format!(
            r#"insert into "Ünï.code ""q"""."日本 ""t""" values (1, 10, 'acme', 'stop', 'n', 'l'), (2, 20, 'acme', 'stop', 'n', 'l');
               update "Ünï.code ""q"""."日本 ""t""" set "Stätus""x" = 'go';
               delete from "Ünï.code ""q"""."日本 ""t""" where "Id" = 2;
               insert into "Twin" values (1, 'acme');
               insert into twin values (1, 'acme');
               insert into "{LONGEST}" values (1, 'acme');
               insert into "select" values (1, 'acme', 'x')"#
        ))
        .await
        .unwrap();
    let requests = receiver.wait_for(6).await;
    running.stop().await;
    assert_eq!(
        walhook.count("select count(*) from parked_changes").await,
        0
    );
    let mut told: Vec<_> = requests
        .iter()
        .map(|request| request.json())
        .map(|event| {
            let sequence = event["sequence"].as_str().unwrap().to_owned();
            (sequence, event["type"].clone(), event["data"].clone())
        })
        .collect();
    told.sort_by(|a, b| a.0.cmp(&b.0));
    let told: Vec<_> = told
        .into_iter()
        .map(|(_, name, data)| (name, data))
        .collect();
    let expected = [
        (
            "odd",
            json!({"Id": 1, "id": 10, "tenant id": "acme", "Stätus\"x": "go", "new": "n", LONGEST: "l"}),
        ),
        (
            "odd.columns",
            json!({"Id": 2, "Stätus\"x": "go", LONGEST: "l"}),
        ),
        (
            "twin.upper",
            json!({"id": 1, "tenant_id": "acme", "who": "upper"}),
        ),
        (
            "twin.lower",
            json!({"id": 1, "tenant_id": "acme", "who": "lower"}),
        ),
        ("long", json!({"id": 1, "tenant_id": "acme"})),
        (
            "reserved",
            json!({"id": 1, "tenant_id": "acme", "from": "x"}),
        ),
    ];
    assert_eq!(told, expected.map(|(name, data)| (json!(name), data)));
}

#[tokio::test]
async fn a_composite_key_is_told_whole_and_without_ambiguity() {
    let tables = "create table lines (\"order\" int, note text, line text, tenant_id text, status text, \
                  primary key (line, \"order\"))";
    let rules = "
[[events]]
type = 'line.any'
table = 'public.lines'
on = ['insert', 'update', 'delete']
data = ['order', 'line', 'status']
";
    let walhook = Installation::create(tables, rules, "").await;
    let running = walhook.start();
    walhook
        .wait_for("select count(*) = 1 from shadow_rules")
        .await;
    walhook
        .database
        .client
        .batch_execute(
            r#"insert into lines values (1, null, 'a","b', 'acme', 'new'), (2, null, 'a', 'acme', 'new');
               update lines set status = 'paid' where "order" = 1;
               update lines set "order" = 3 where "order" = 2;
               delete from lines where "order" = 3"#,
        )
        .await
        .unwrap();
    walhook
        .wait_for("select count(*) = 5 from webhook_events")
        .await;
    running.stop().await;
    let client = walhook.store.get().await.unwrap();
    let rows = client
        .query(
            "select split_part(row_key, ':', 2), convert_from(body, 'UTF8') from webhook_events order by commit_lsn, ordinal",
            &[],
        )
        .await
        .unwrap();
    let told: Vec<_> = rows
        .iter()
        .map(|row| {
            let body: serde_json::Value = serde_json::from_str(row.get(1)).unwrap();
            (row.get::<_, String>(0), body["previous"].clone())
        })
        .collect();
    let first = r#"["a\",\"b","1"]"#.to_owned();
    assert_eq!(
        told,
        [
            (first.clone(), json!(null)),
            (r#"["a","2"]"#.to_owned(), json!(null)),
            (first, json!({"status": "new"})),
            (r#"["a","3"]"#.to_owned(), json!({"order": 2})),
            (r#"["a","3"]"#.to_owned(), json!(null)),
        ]
    );
}
