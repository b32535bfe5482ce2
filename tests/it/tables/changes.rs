//! Tables that change while walhook runs, and while it does not.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::receiver::Receiver;
use crate::harness::walhook::Installation;

const ITEMS: &str = "create table items (id bigint primary key, tenant_id text not null, \
     status text, amount integer, note text); \
     create table others (id bigint primary key, tenant_id text not null)";

/// One rule takes every row as it is, one names a column, and one another table.
const RULES: &str = "
[[events]]
type = 'item.any'
table = 'public.items'

[[events]]
type = 'item.open'
table = 'public.items'
when = \"status = 'open'\"
data = ['id', 'status']

[[events]]
type = 'other.any'
table = 'public.others'
";

async fn items() -> (Installation, Receiver) {
    let walhook = Installation::create(ITEMS, RULES, "").await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    (walhook, receiver)
}

async fn sql(walhook: &Installation, sql: &str) {
    walhook.database.client.batch_execute(sql).await.unwrap();
}

/// The `data` of stored events of a type, in the order of the commits.
async fn data(walhook: &Installation, event_type: &str) -> Vec<Value> {
    let client = walhook.store.get().await.unwrap();
    let query = "select convert_from(body, 'UTF8') from webhook_events
                 where event_type = $1 order by commit_lsn, ordinal";
    let rows = client.query(query, &[&event_type]).await.unwrap();
    let data = |body: &str| serde_json::from_str::<Value>(body).unwrap()["data"].take();
    rows.iter().map(|row| data(row.get(0))).collect()
}

async fn wait_for_events(walhook: &Installation, count: usize) {
    walhook
        .wait_for(&format!("select count(*) = {count} from webhook_events"))
        .await;
}

/// Rule, reason and detail of what is parked, in the order of the commits.
async fn parked(walhook: &Installation) -> Vec<(String, String, String)> {
    let client = walhook.store.get().await.unwrap();
    let query =
        "select rule, reason, detail from parked_changes order by commit_lsn, ordinal, rule";
    let rows = client.query(query, &[]).await.unwrap();
    rows.iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect()
}

#[tokio::test]
async fn each_row_is_told_by_the_definition_that_it_was_written_under() {
    let steps = [
        "insert into items values (1, 'acme', 'new', 1, 'a')",
        "alter table items add column extra jsonb default '{\"a\": 1}'",
        "insert into items values (2, 'acme', 'new', 2, 'b', '[2]')",
        "update items set amount = 3 where id = 1",
        "alter table items drop column note",
        "insert into items values (4, 'acme', 'new', 4, '4')",
        "alter table items rename column amount to total",
        "insert into items values (5, 'acme', 'new', 5, '5')",
        "alter table items alter column total type numeric(10, 2)",
        "insert into items values (6, 'acme', 'new', 6.5, '6')",
        "begin; insert into items values (7, 'acme', 'new', 7, '7'); \
         alter table items drop column extra; alter table items alter column id type text; \
         insert into items values ('8', 'acme', 'new', 8); commit",
    ];
    let expected = [
        json!({"id": 1, "tenant_id": "acme", "status": "new", "amount": 1, "note": "a"}),
        json!({"id": 2, "tenant_id": "acme", "status": "new", "amount": 2, "note": "b", "extra": [2]}),
        json!({"id": 1, "tenant_id": "acme", "status": "new", "amount": 3, "note": "a", "extra": {"a": 1}}),
        json!({"id": 4, "tenant_id": "acme", "status": "new", "amount": 4, "extra": 4}),
        json!({"id": 5, "tenant_id": "acme", "status": "new", "total": 5, "extra": 5}),
        json!({"id": 6, "tenant_id": "acme", "status": "new", "total": 6.5, "extra": 6}),
        json!({"id": 7, "tenant_id": "acme", "status": "new", "total": 7.0, "extra": 7}),
        json!({"id": "8", "tenant_id": "acme", "status": "new", "total": 8.0}),
    ];
    // While it runs, and then all at once from the WAL.
    for runs in [true, false] {
        let (walhook, _receiver) = items().await;
        let mut running = runs.then(|| walhook.start());
        for (done, step) in steps.iter().enumerate() {
            sql(&walhook, step).await;
            if running.is_some() && done == 2 {
                wait_for_events(&walhook, 2).await;
            }
        }
        let running = running.take().unwrap_or_else(|| walhook.start());
        wait_for_events(&walhook, expected.len()).await;
        running.stop().await;
        assert_eq!(data(&walhook, "item.any").await, expected);
        assert_eq!(parked(&walhook).await, []);
    }
}

/// What a rule that names the column makes of it is parked with the reason, nothing else
/// waits for it, and once the rule is changed what was parked is told, under its place.
#[tokio::test]
async fn a_renamed_column_parks_its_rule_until_the_rule_is_changed() {
    for runs in [true, false] {
        let (mut walhook, receiver) = items().await;
        let mut running = Some(walhook.start());
        sql(
            &walhook,
            "insert into items values (1, 'acme', 'open', 1, 'a')",
        )
        .await;
        wait_for_events(&walhook, 2).await;
        if !runs {
            running.take().unwrap().stop().await;
        }
        sql(
            &walhook,
            "insert into items values (2, 'acme', 'open', 1, 'a');
             alter table items rename column status to state;
             insert into items values (3, 'acme', 'open', 1, 'a'), (4, 'acme', 'shut', 1, 'a');
             insert into others values (1, 'acme')",
        )
        .await;
        let running = running.unwrap_or_else(|| walhook.start());
        receiver.wait_for(2 + 2 + 2 + 1).await;
        running.stop().await;
        let details = parked(&walhook).await;
        assert_eq!(details.len(), 2, "{details:?}");
        for (rule, reason, detail) in &details {
            assert_eq!(
                (rule.as_str(), reason.as_str()),
                ("item.open@public.items", "unmappable")
            );
            assert!(detail.contains("no column `status`"), "{detail}");
        }

        let ids = |requests: &[crate::harness::receiver::Request]| {
            let mut ids: Vec<_> = requests.iter().map(|one| one.id().to_owned()).collect();
            ids.sort();
            ids
        };
        let before = ids(&receiver.requests());
        walhook.edit("status = 'open'", "state = 'open'");
        walhook.edit("data = ['id', 'status']", "data = ['id', 'state']");
        let running = walhook.start();
        receiver.wait_for(8).await;
        walhook
            .wait_for("select count(*) = 0 from parked_changes")
            .await;
        running.stop().await;
        assert_eq!(
            data(&walhook, "item.open").await,
            [
                json!({"id": 1, "status": "open"}),
                json!({"id": 2, "status": "open"}),
                json!({"id": 3, "state": "open"}),
            ]
        );
        // Its place is that of the change, between those that were told meanwhile.
        let place = "select (select (commit_lsn, ordinal) from webhook_events where event_type = 'item.open' and row_key like '%:3')
                          = (select (commit_lsn, ordinal) from webhook_events where event_type = 'item.any' and row_key like '%:3')";
        walhook.wait_for(place).await;
        // Once more: nothing is told twice.
        let running = walhook.start();
        sql(&walhook, "insert into others values (2, 'acme')").await;
        let requests = receiver.wait_for(9).await;
        running.stop().await;
        let mut after = ids(&requests);
        after.dedup();
        assert_eq!(after.len(), 9);
        assert!(before.iter().all(|id| after.contains(id)));
    }
}

/// `status = 'open'` would never hold on a number, and nobody would know.
#[tokio::test]
async fn a_column_that_can_no_longer_be_what_it_is_compared_with_parks_its_rule() {
    let (walhook, receiver) = items().await;
    let running = walhook.start();
    sql(
        &walhook,
        "insert into items values (1, 'acme', 'shut', 1, 'a')",
    )
    .await;
    receiver.wait_for(1).await;
    sql(
        &walhook,
        "alter table items alter column status type integer using 1;
         insert into items values (2, 'acme', 2, 1, 'a')",
    )
    .await;
    receiver.wait_for(2).await;
    walhook
        .wait_for("select count(*) = 1 from parked_changes")
        .await;
    running.stop().await;
    let details = parked(&walhook).await;
    assert!(details[0].2.contains("'open' is no integer"), "{details:?}");
    assert_eq!(data(&walhook, "item.any").await.len(), 2);
}

#[tokio::test]
async fn dropped_columns_and_tables_stop_nobody_else() {
    let (walhook, receiver) = items().await;
    let running = walhook.start();
    sql(
        &walhook,
        "insert into items values (1, 'acme', 'open', 1, 'a')",
    )
    .await;
    receiver.wait_for(2).await;
    sql(
        &walhook,
        "alter table items drop column status;
         insert into items values (2, 'acme', 1, 'a')",
    )
    .await;
    receiver.wait_for(3).await;
    running.stop().await;
    sql(
        &walhook,
        "drop table items; insert into others values (1, 'acme')",
    )
    .await;
    let mut running = walhook.start();
    receiver.wait_for(4).await;
    let ended = tokio::time::timeout(Duration::ZERO, &mut running.task).await;
    assert!(ended.is_err(), "{ended:?}");
    running.stop().await;
    assert_eq!(parked(&walhook).await.len(), 1);

    // A rule that was never right is refused as ever.
    let mut walhook = walhook;
    walhook.edit(
        "table = 'public.others'",
        "table = 'public.others'\nwhen = \"stat = 'x'\"",
    );
    let refused = walhook.start().task.await.unwrap().unwrap_err();
    let refused = format!("{refused:#}");
    assert!(
        refused.contains("no column `stat`") && !refused.contains("item.open"),
        "{refused}"
    );
}
