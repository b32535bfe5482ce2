//! A backfill beside the stream: every row is told of once, and never as it was before.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{ORDERS, RULES, backfill, told};
use crate::harness::connect;
use crate::harness::receiver::Receiver;
use crate::harness::walhook::Installation;

const CHANGED: &str = "
[[events]]
type = 'order.changed'
table = 'public.orders'
old_values = 'shadow'
[events.data]
id = 'id'
version = 'version'
note = 'note'
";

/// Updates, moves, deletes and inserts rows until it is told to stop.
async fn write(url: String, writer: i64, stop: CancellationToken) -> i64 {
    let client = connect(&url).await;
    let mut round = 0;
    while !stop.is_cancelled() {
        round += 1;
        let id = (round * 7 + writer * 131) % 300 + 1;
        let new = 1000 * (writer + 1) + round;
        client
            .batch_execute(&format!(
                "begin; update orders set version = version + 1 where id in ({id}, {id} + 1, 3);
                 update orders set version = version + 1, note = repeat('x', 3000) || version where id = {id} + 2; commit;
                 delete from orders where id = {id} + 4 and id % 11 = 0;
                 insert into orders values ({new}, 'acme', 'new', 1);
                 update orders set version = 2, status = 'paid' where id = {new}"
            ))
            .await
            // Two writers may meet in another order.
            .ok();
        // An application's pace: what a test's build of walhook can follow.
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    round
}

#[tokio::test]
async fn rows_that_change_meanwhile_are_told_of_once_and_never_as_they_were() {
    // The notes are stored out of line: an update that leaves them alone does not log them.
    let tables = format!(
        "{ORDERS}; alter table orders alter note set storage external;
         insert into orders select n, 'acme', case when n % 2 = 0 then 'paid' else 'new' end, 1, repeat('n', 3000) || n
         from generate_series(1, 300) n"
    );
    let walhook = Installation::create(&tables, &format!("{RULES}{CHANGED}"), "").await;
    let running = walhook.start();
    walhook.wait_for(crate::shadow::COMPLETE).await;
    // Slow to read, so that much changes between the watermarks.
    let asked = backfill(
        &walhook,
        &[
            "--table",
            "orders",
            "--where",
            "id <= 300 and pg_sleep(0.001)::text = ''",
            "--chunk",
            "60",
            "--detach",
        ],
    );
    asked.await.exits(0);
    walhook.wait_for("select begun from backfills").await;
    let stop = CancellationToken::new();
    let writers: Vec<_> = (0..2)
        .map(|writer| tokio::spawn(write(walhook.database.url.clone(), writer, stop.clone())))
        .collect();
    walhook
        .wait_for("select status = 'done' from backfills")
        .await;
    stop.cancel();
    for writer in writers {
        assert!(writer.await.unwrap() > 5, "the writers wrote nothing");
    }
    walhook
        .database
        .client
        .batch_execute("insert into orders values (0, 'acme', 'last')")
        .await
        .unwrap();
    walhook
        .wait_for("select exists (select from webhook_events where row_key like '%:0')")
        .await;
    running.stop().await;

    let application = &walhook.database.client;
    let faults = application
        .query(
            "with told as (
                select event_type, (convert_from(body, 'UTF8')::json -> 'data' ->> 'id')::int8 as id,
                    (convert_from(body, 'UTF8')::json -> 'data' ->> 'version')::int8 as version,
                    convert_from(body, 'UTF8')::json -> 'data' ->> 'note' as note,
                    rank() over (partition by event_type, row_key order by commit_lsn, ordinal) as place,
                    rank() over (partition by event_type, row_key order by commit_lsn desc, ordinal desc) as from_last
                from walhook.webhook_events
            )
            select 'created ' || count(told.id), orders.id from orders
                left join told on told.id = orders.id and event_type = 'order.created'
                group by orders.id having count(told.id) <> 1
            union all
            select 'paid ' || count(told.id), orders.id from orders
                left join told on told.id = orders.id and event_type = 'order.paid'
                where orders.status = 'paid' group by orders.id having count(told.id) <> 1
            union all
            select 'stale ' || coalesce(told.version::text, 'none') || ' for ' || orders.version, orders.id from orders
                left join told on told.id = orders.id and event_type = 'order.changed' and from_last = 1
                where told.version is distinct from orders.version or told.note is distinct from orders.note
            union all
            select 'went back', later.id from told as earlier
                join told as later using (event_type, id)
                where event_type = 'order.changed' and later.place = earlier.place + 1 and later.version <= earlier.version",
            &[],
        )
        .await
        .unwrap();
    let faults: Vec<(String, i64)> = faults.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(faults, []);
    assert_eq!(
        walhook.count("select count(*) from parked_changes").await,
        0
    );
    let streamed = walhook.count("select streamed from backfills").await;
    assert!(streamed > 0, "the writers met no row ahead of the backfill");
    assert_eq!(
        walhook
            .count("select count(*) from backfill_streamed")
            .await,
        0
    );
}

#[tokio::test]
async fn a_transaction_larger_than_what_is_kept_between_watermarks_is_waited_out() {
    // 16 MiB are kept: these notes, in line so that each update writes them, are 18.
    let tables = format!(
        "{ORDERS}; alter table orders alter note set storage plain;
         insert into orders select n, 'acme', 'new', 1, repeat('n', 3000) from generate_series(1, 6300) n"
    );
    let walhook = Installation::create(&tables, RULES, "").await;
    let running = walhook.start();
    let asked = backfill(
        &walhook,
        &[
            "--table",
            "orders",
            "--where",
            "id <= 30 and pg_sleep(0.3)::text = ''",
            "--detach",
        ],
    );
    asked.await.exits(0);
    // Until the rows are being looked for, and then while they are read.
    let application = connect(&walhook.database.url).await;
    let reads = "select exists (select from pg_stat_activity where datname = current_database()
        and query like 'fetch%' and application_name = 'walhook backfill')";
    walhook.wait_for(reads).await;
    application
        .batch_execute("update orders set version = 2")
        .await
        .unwrap();
    walhook
        .wait_for("select status = 'done' from backfills")
        .await;
    running.stop().await;
    let versions = "select count(*) from webhook_events where event_type = 'order.created'
        and (convert_from(body, 'UTF8')::json -> 'data' ->> 'version') = '2'";
    assert_eq!(walhook.count(versions).await, 30);
    assert_eq!(
        walhook.count("select count(*) from webhook_events").await,
        30
    );
}

#[tokio::test]
async fn a_table_that_is_altered_or_emptied_meanwhile_is_read_on() {
    let tables = format!(
        "{ORDERS}; insert into orders select n, 'acme', 'new', 1 from generate_series(1, 300) n"
    );
    let walhook = Installation::create(&tables, RULES, "").await;
    let receiver = Receiver::start().await;
    walhook
        .subscribe("acme", &receiver.url("/"), &["order.created"])
        .await;
    let running = walhook.start();
    let slowly = [
        "--table", "orders", "--rate", "150", "--chunk", "50", "--detach",
    ];
    backfill(&walhook, &slowly).await.exits(0);
    walhook
        .wait_for("select rows_read >= 50 from backfills")
        .await;
    let application = &walhook.database.client;
    application
        .batch_execute(
            "alter table orders drop note, add more text; alter table orders rename created_at to made_at;
             update orders set more = 'x' where id > 200",
        )
        .await
        .unwrap();
    walhook
        .wait_for("select status = 'done' from backfills")
        .await;
    let requests = receiver.wait_for(300).await;
    assert_eq!(told(&requests, "order.created"), super::once_each(300));

    backfill(&walhook, &slowly).await.exits(0);
    walhook
        .wait_for("select rows_read >= 50 from backfills where status <> 'done'")
        .await;
    application.batch_execute("truncate orders").await.unwrap();
    walhook
        .wait_for("select bool_and(status = 'done') from backfills")
        .await;
    running.stop().await;
    let events = walhook.count("select count(*) from webhook_events").await;
    assert!((350..600).contains(&events), "{events}");
}
