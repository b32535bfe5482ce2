//! The examples that rules carry, as `walhook check` runs them.

use crate::harness::TestDatabase;
use crate::harness::command::Project;

#[tokio::test]
async fn check_runs_the_rules_examples_and_names_the_line_of_one_that_fails() {
    let database = TestDatabase::create().await;
    let tables = "create domain cents as numeric(12, 2);
         create table bills (id bigint primary key, tenant_id bigint, status text, total cents);
         alter table bills replica identity full";
    database.client.batch_execute(tables).await.unwrap();
    let rules = "
[[events]]
type = 'bill.paid'
table = 'bills'
when = \"became(status = 'paid') and total > 10\"
[[events.examples]]
op = 'update'
old = { status = 'open' }
new = { status = 'paid', total = 12.5 }
expect = true
data = { total = 12.5 }
";
    let project = Project::of(&database, rules);
    project
        .walhook(&["check"])
        .await
        .exits(0)
        .says("the example that the rules carry holds");
    let broken = Project::config(
        &database,
        &database.url,
        &rules.replace("12.5 }\ne", "9 }\ne"),
    );
    project.write(&broken);
    let line = 1 + broken.lines().position(|l| l == "expect = true").unwrap();
    project
        .walhook(&["check"])
        .await
        .exits(1)
        .says(&format!(
            "walhook.toml:{line}: events[0].examples[0].expect"
        ))
        .says("total > 10")
        .says("total is 9");
    project.write(&broken.replace("op = 'update'", "op = 'upsert'"));
    project
        .walhook(&["check"])
        .await
        .exits(2)
        .says("did you mean `insert`");
}

/// A jsonb value has its keys in the server's order, and each once.
#[tokio::test]
async fn a_jsonb_value_of_an_example_is_as_the_server_would_store_it() {
    let database = TestDatabase::create().await;
    let tables =
        "create table parts (id bigint primary key, tenant_id text, attributes jsonb, raw json)";
    database.client.batch_execute(tables).await.unwrap();
    let rules = r#"
[[events]]
type = 'part.created'
table = 'parts'
on = ['insert']
when = "attributes ? 'a' and attributes->'supplier'->>'name' = 'Acme'"
data = { a = "attributes->>'a'", raw = "raw->>'a'" }
[[events.examples]]
op = 'insert'
new = { id = 1, attributes = { reorder_point = 5, supplier = { name = 'Acme' }, a = 'Foo' }, raw = '{"b": 1, "a": "x"}' }
expect = true
data = { a = 'Foo', raw = 'x' }
[[events.examples]]
op = 'insert'
new = { id = 1, attributes = '{"supplier": {"name": "Acme"}, "bb": 5, "a": "Foo", "a": "Bar"}' }
expect = true
data = { a = 'Bar' }
"#;
    let project = Project::of(&database, rules);
    project.walhook(&["check"]).await.exits(0);
}
