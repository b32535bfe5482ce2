//! TRUNCATE: one event a table for the rules that ask for it, none for the others, and the
//! stream goes on.

use std::collections::BTreeSet;

use crate::harness::command::Project;
use crate::harness::receiver::{Receiver, Request};
use crate::harness::walhook::Installation;
use crate::harness::{TestDatabase, connect};

const TABLES: &str = "
    create table accounts (id bigint primary key, tenant_id text);
    create table bills (id bigint primary key, tenant_id text, account bigint references accounts);
    create table readings (day date not null, tenant_id text) partition by range (day);
    create table readings_1 partition of readings for values from ('2026-01-01') to ('2026-02-01');
    create table readings_2 partition of readings for values from ('2026-02-01') to ('2026-03-01');
    alter table readings_1 replica identity full;
    alter table readings_2 replica identity full";

/// `readings` has no key: of a truncate nothing asks for one.
const RULES: &str = "
[[events]]
type = 'account.created'
table = 'public.accounts'
on = ['insert']

[[events]]
type = 'accounts.emptied'
table = 'public.accounts'
on = ['truncate']
tenant = { value = 'acme' }
[events.data]
op = 'tg_op'
table = \"'accounts'\"

[[events]]
type = 'bills.emptied'
table = 'public.bills'
on = ['truncate']
tenant = { value = 'acme' }

[[events]]
type = 'readings.emptied'
table = 'public.readings'
on = ['truncate']
tenant = { value = 'acme' }
";

fn types(requests: &[Request]) -> Vec<String> {
    let of = |request: &Request| request.json()["type"].as_str().unwrap().to_owned();
    let mut types: Vec<String> = requests.iter().map(of).collect();
    types.sort();
    types
}

#[tokio::test]
async fn makes_one_event_for_each_table_and_the_stream_goes_on() {
    let walhook = Installation::create(TABLES, RULES, "").await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    let sql = |text: &'static str| walhook.database.client.batch_execute(text);
    sql("truncate accounts cascade").await.unwrap();
    let emptied = receiver.wait_for(2).await;
    assert_eq!(types(&emptied), ["accounts.emptied", "bills.emptied"]);
    let ids: BTreeSet<&str> = emptied.iter().map(Request::id).collect();
    assert_eq!(ids.len(), 2, "one statement, one event a table");
    let of = |name: &str| {
        let mut all = emptied.iter().map(Request::json);
        all.find(|body| body["type"] == name).unwrap()
    };
    let expected = serde_json::json!({"op": "TRUNCATE", "table": "accounts"});
    assert_eq!(of("accounts.emptied")["data"], expected);
    assert_eq!(of("bills.emptied")["data"], serde_json::json!({}));
    let positions = "select count(distinct (commit_lsn, ordinal)) = 2 from webhook_events";
    walhook.wait_for(positions).await;
    assert_eq!(
        walhook
            .count("select count(distinct commit_lsn) from webhook_events where row_key = ''")
            .await,
        1
    );

    // A partitioned table is one table; of a partition's own nothing is sent.
    sql("truncate readings").await.unwrap();
    receiver.wait_for(3).await;
    sql("truncate readings_1").await.unwrap();
    sql("insert into accounts values (1, 'acme')")
        .await
        .unwrap();
    let all = receiver.wait_for(4).await;
    running.stop().await;
    let expected = [
        "account.created",
        "accounts.emptied",
        "bills.emptied",
        "readings.emptied",
    ];
    assert_eq!(types(&all), expected);
    assert_eq!(
        walhook.count("select count(*) from parked_changes").await,
        0
    );
}

/// Two of one table in one transaction are two events, also across a restart.
#[tokio::test]
async fn is_counted_by_its_place_in_the_transaction() {
    let walhook = Installation::create(TABLES, RULES, "").await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let application = connect(&walhook.database.url).await;
    let truncate = "begin; truncate bills, readings; truncate bills; commit";
    application.batch_execute(truncate).await.unwrap();
    let running = walhook.start();
    let first = receiver.wait_for(3).await;
    running.stop().await;
    let running = walhook.start();
    let insert = "insert into accounts values (1, 'acme')";
    application.batch_execute(insert).await.unwrap();
    let all = receiver.wait_for(4).await;
    running.stop().await;
    let expected = ["bills.emptied", "bills.emptied", "readings.emptied"];
    assert_eq!(types(&first), expected);
    let ids: BTreeSet<&str> = all.iter().map(Request::id).collect();
    assert_eq!(ids.len(), 4);
}

#[tokio::test]
async fn refuses_a_rule_that_reads_a_row() {
    let database = TestDatabase::create().await;
    database.client.batch_execute(TABLES).await.unwrap();
    let rule = "[[events]]\ntype = 'a.b'\ntable = 'public.accounts'\non = ['truncate']\n";
    let project = Project::of(&database, rule);
    let answer = project.walhook(&["check"]).await.exits(2);
    answer
        .says("tenant")
        .says("a truncate has no row")
        .says("tenant = { value = \"acme\" }");
}
