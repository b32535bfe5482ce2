//! Labels of an enum that the catalog did not have when capture began.

use crate::backfill::command;
use crate::harness::walhook::Installation;

const TABLES: &str = "create type mood as enum ('draft', 'paid');
    create table bills (id int primary key, tenant_id text, state mood)";

const RULES: &str = "
[[events]]
type = 'bill.early'
table = 'public.bills'
on = ['insert', 'update']
when = \"state < 'paid'\"
data = { id = 'id', most = \"greatest(state, 'paid')\" }
[[events]]
type = 'bill.late'
table = 'public.bills'
on = ['insert', 'update']
when = \"became(state > 'paid')\"
data = { id = 'id' }
";

async fn run(walhook: &Installation, statements: &[&str]) {
    for statement in statements {
        let done = walhook.database.client.batch_execute(statement).await;
        done.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
}

/// Waits for these events, `type id` each, in the order of the WAL.
async fn wait_for(walhook: &Installation, events: &str) {
    walhook
        .wait_for(&format!(
            "select string_agg(substr(event_type, 6) || ' ' || (convert_from(body, 'UTF8')::jsonb #>> '{{data,id}}'), ', '
                               order by commit_lsn, ordinal, rule_index) = '{events}' from webhook_events"
        ))
        .await;
}

#[tokio::test]
async fn labels_added_or_renamed_while_walhook_runs_have_their_order() {
    let walhook = Installation::create(TABLES, RULES, "").await;
    let running = walhook.start();
    // Until then the rule that needs old values makes nothing.
    walhook
        .wait_for("select count(*) = 1 and bool_and(state = 'complete') from shadow_tables")
        .await;
    run(&walhook, &["insert into bills values (1, 'acme', 'draft')"]).await;
    wait_for(&walhook, "early 1").await;
    let statements = [
        "alter type mood add value 'sent' before 'paid'",
        "insert into bills values (2, 'acme', 'draft'), (3, 'acme', 'sent'), (4, 'acme', 'draft')",
        "alter type mood add value 'done'",
        "update bills set state = 'done' where id = 3",
    ];
    run(&walhook, &statements).await;
    let events = "early 1, early 2, early 3, early 4, late 3";
    wait_for(&walhook, events).await;
    let statements = [
        "alter type mood rename value 'draft' to 'new'",
        "insert into bills values (5, 'acme', 'new')",
    ];
    run(&walhook, &statements).await;
    wait_for(&walhook, &format!("{events}, early 5")).await;
    running.stop().await;
    let parked = walhook.count("select count(*) from parked_changes").await;
    assert_eq!(parked, 0);
}

/// The WAL has the name that the label had.
#[tokio::test]
async fn a_label_that_was_renamed_before_its_row_was_read_is_parked_and_capture_goes_on() {
    let walhook = Installation::create(TABLES, RULES, "").await;
    walhook.start().stop().await;
    let statements = [
        "insert into bills values (1, 'acme', 'draft'), (2, 'acme', 'paid')",
        "alter type mood rename value 'draft' to 'new'",
        "insert into bills values (3, 'acme', 'new')",
    ];
    run(&walhook, &statements).await;
    let running = walhook.start();
    wait_for(&walhook, "early 3").await;
    running.stop().await;
    // The other rule may have waited for the old values of the table.
    let parked = "select detail from parked_changes where rule like 'bill.early%'";
    let client = walhook.store.get().await.unwrap();
    let parked: String = client.query_one(parked, &[]).await.unwrap().get(0);
    assert!(
        parked.contains("the enum mood has no such label"),
        "{parked}"
    );
}

/// A rule on inserts alone: the stream has no row of the new label that it would map.
#[tokio::test]
async fn a_label_that_a_backfill_is_the_first_to_read_has_its_order() {
    let rules = "
[[events]]
type = 'bill.early'
table = 'public.bills'
on = ['insert']
when = \"state < 'paid'\"
data = { id = 'id', state = 'state' }
";
    let walhook = Installation::create(TABLES, rules, "").await;
    let running = walhook.start();
    run(&walhook, &["insert into bills values (1, 'acme', 'draft')"]).await;
    wait_for(&walhook, "early 1").await;
    let statements = [
        "alter type mood add value 'sent' before 'paid'",
        "alter type mood add value 'done'",
        "update bills set state = 'sent'",
        "insert into bills values (2, 'acme', 'paid')",
        "update bills set state = 'done' where id = 2",
    ];
    run(&walhook, &statements).await;
    let done = command(&walhook, "backfill", &["--event", "bill.early"]).await;
    done.exits(0);
    wait_for(&walhook, "early 1, early 1").await;
    running.stop().await;
    let parked = walhook.count("select count(*) from parked_changes").await;
    assert_eq!(parked, 0);
    let sent =
        "select count(*) from webhook_events where convert_from(body, 'UTF8') like '%\"sent\"%'";
    assert_eq!(walhook.count(sent).await, 1);
}
