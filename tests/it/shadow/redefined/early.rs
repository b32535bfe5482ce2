//! Transactions that are open, or not visible yet, while values become others.

use super::super::COMPLETE;
use super::{RULES, TABLES, moved, parked, read_again, run, told, with_rows};
use crate::harness::receiver::Receiver;
use crate::harness::walhook::Installation;
use crate::harness::{TestDatabase, connect, hold_commits, pause, start_postgres, stop_at_exit};

/// What the WAL brings of it is of before. A rename waits for no transaction that has changed
/// rows of the type.
#[tokio::test]
async fn what_a_transaction_from_before_a_rename_brings_is_not_compared() {
    for is_known_before in [true, false] {
        let (walhook, receiver) = with_rows(TABLES, RULES).await;
        let mut running = None;
        if is_known_before {
            running = Some(walhook.start());
            walhook.wait_for(COMPLETE).await;
        }
        let early = connect(&walhook.database.url).await;
        early
            .batch_execute("begin; update orders set note = 'x' where id in (1, 2)")
            .await
            .unwrap();
        run(
            &walhook,
            "alter type state rename value 'paid' to 'other';
             alter type state rename value 'settled' to 'paid'",
        )
        .await;
        let running = running.unwrap_or_else(|| walhook.start());
        let read =
            "select count(*) = 9 from row_shadow where position('paid'::bytea in row_values) > 0";
        walhook.wait_for(read).await;
        read_again(&walhook, usize::from(is_known_before)).await;
        early.batch_execute("commit").await.unwrap();
        parked(&walhook, 2).await;
        run(
            &walhook,
            "update orders set note = 'y' where id in (2, 3);
             update orders set status = 'new' where id in (2, 4)",
        )
        .await;
        let requests = told(&walhook, &receiver, 3).await;
        running.stop().await;
        // Of 2 it was not known what the first of these met.
        parked(&walhook, 3).await;
        assert_eq!(moved(&requests, "order.moved"), [2, 4]);
    }
}

/// It waits for a synchronous standby, and walhook has it already.
#[tokio::test]
async fn what_is_altered_by_a_transaction_that_is_not_visible_yet_is_waited_for() {
    let server = start_postgres(&[]).unwrap();
    stop_at_exit(&server);
    let tables = TABLES.replace("status state not null", "status text not null");
    let store = TestDatabase::create().await;
    let settings = format!("[store]\nurl = '{}'\n", store.url);
    let source = TestDatabase::create_on(&server).await;
    let walhook = Installation::create_in(source, &tables, RULES, &settings).await;
    run(
        &walhook,
        "insert into orders (id, tenant_id, status) values (1, 'acme', 'NEW');
         insert into others values (9, 'acme', 'new')",
    )
    .await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    walhook.wait_for(COMPLETE).await;
    let application = &walhook.database.client;
    let writer = connect(&walhook.database.url).await;
    hold_commits(application, &walhook.database.url).await;
    let altering = tokio::spawn(async move {
        let alter = "begin; alter table orders alter column status type text using lower(status);
             update orders set note = 'x' where id = 1; commit";
        writer.batch_execute(alter).await
    });
    // Until it looks at the catalog, or has mapped the change.
    let looks =
        "select exists (select from pg_stat_activity where application_name = 'walhook reload')";
    let mapped =
        "select exists (select from webhook_events) or exists (select from parked_changes)";
    let (kept, began) = (
        walhook.store.get().await.unwrap(),
        std::time::Instant::now(),
    );
    loop {
        let looking: bool = application.query_one(looks, &[]).await.unwrap().get(0);
        let has_mapped: bool = kept.query_one(mapped, &[]).await.unwrap().get(0);
        if looking || has_mapped {
            break;
        }
        pause(began).await;
    }
    assert!(!altering.is_finished());
    let release = "alter system reset synchronous_standby_names";
    application.batch_execute(release).await.unwrap();
    let reload = "select pg_reload_conf()";
    application.batch_execute(reload).await.unwrap();
    altering.await.unwrap().unwrap();
    parked(&walhook, 1).await;
    read_again(&walhook, 1).await;
    let requests = told(&walhook, &receiver, 1).await;
    running.stop().await;
    assert!(moved(&requests, "order.moved").is_empty());
}
