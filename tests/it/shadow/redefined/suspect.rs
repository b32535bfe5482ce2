//! A rename that the stream does not tell of is found by the watch: what was mapped meanwhile
//! is on record.

use super::super::COMPLETE;
use super::{RULES, TABLES, read_again, run, with_rows};
use crate::harness::connect;
use crate::harness::operated::Operated;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_mapped_before_a_rename_was_found_is_on_record() {
    let (installation, receiver) = with_rows(TABLES, RULES).await;
    let walhook = Operated::start(installation);
    let installation = &walhook.installation;
    installation.wait_for(COMPLETE).await;
    walhook.wait_ready(200, &["ready"]).await;
    // The watch waits, and capture does not: only the watch reads it.
    let lock = connect(&installation.database.url).await;
    lock.batch_execute("begin; lock table walhook.gaps in access exclusive mode")
        .await
        .unwrap();
    installation
        .wait_for("select exists (select from pg_locks where relation = 'gaps'::regclass and not granted)")
        .await;
    run(
        installation,
        "update orders set status = 'new' where id = 5",
    )
    .await;
    receiver.wait_for(1).await;
    // Both labels are known to it.
    run(
        installation,
        "alter type state rename value 'paid' to 'other';
         alter type state rename value 'settled' to 'paid';
         update orders set note = 'x' where id = 1",
    )
    .await;
    // That is the fault: nobody changed its status.
    receiver.wait_for(2).await;
    lock.batch_execute("rollback").await.unwrap();
    let found = "select count(*) = 1 and bool_and(kind = 'old_values_stale' and table_name = 'public.orders'
            and reason like '%renamed%' and from_lsn < event.commit_lsn and to_lsn >= event.commit_lsn
            and to_lsn < pg_current_wal_insert_lsn())
        from gaps, webhook_events event where event.row_key like '%orders:1'";
    installation.wait_for(found).await;
    read_again(installation, 1).await;

    let kind = "walhook_gaps_total{reason=\"old_values_stale\"}";
    walhook.wait_metric(kind, |found| found >= 1.0).await;
    walhook
        .wait_metric("walhook_gaps_open ", |open| open == 1.0)
        .await;
    // What is captured now is right: no node is taken out of service.
    walhook.wait_ready(200, &["ready"]).await;
    walhook
        .wait_logged("were mapped with stale old values")
        .await;
    let said = "changes of public.orders were mapped with stale old values";
    let status = walhook.walhook(&["status"]).await.exits(1);
    status.says("PROBLEM").says(said).says("--accept-gap");
    let accepted = walhook.walhook(&["setup", "--accept-gap"]).await.exits(0);
    accepted
        .says(said)
        .says("may be events of it that are false");
    walhook
        .wait_metric("walhook_gaps_open ", |open| open == 0.0)
        .await;
    assert!(walhook.process.terminate().success());
}

/// Nothing was mapped after the last look: there is nothing to record.
#[tokio::test]
async fn a_rename_while_capture_is_stopped_makes_nothing_suspect() {
    let (walhook, receiver) = with_rows(TABLES, RULES).await;
    let running = walhook.start();
    walhook.wait_for(COMPLETE).await;
    run(&walhook, "update orders set status = 'new' where id = 1").await;
    receiver.wait_for(1).await;
    running.stop().await;
    run(
        &walhook,
        "alter type state rename value 'paid' to 'other';
         alter type state rename value 'settled' to 'paid'",
    )
    .await;
    let running = walhook.start();
    read_again(&walhook, 1).await;
    running.stop().await;
    assert_eq!(walhook.count("select count(*) from gaps").await, 0);
}
