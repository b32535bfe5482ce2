//! Rows that become others without a change in the WAL: a partition that was away, and a table
//! that was not published.

use super::super::COMPLETE;
use super::{RULES, TABLES, moved, parked, read_again, run, told, with_rows};

const PARTS: &str = "create table orders (id bigint primary key, tenant_id text not null, note text, status text not null)
        partition by range (id);
    create table orders_1 partition of orders for values from (0) to (5);
    create table orders_2 partition of orders for values from (5) to (50);
    create table others (id bigint primary key, tenant_id text not null, status text not null)";

/// Detached, changed and attached again; and replaced by a copy, in one transaction.
#[tokio::test]
async fn a_partition_that_comes_back_with_other_rows() {
    let away = "alter table orders detach partition orders_1;
        update orders_1 set status = 'paid';
        alter table orders attach partition orders_1 for values from (0) to (5)";
    let replaced = "create table orders_3 (like orders including all);
        insert into orders_3 select id, tenant_id, note, 'paid' from orders_1;
        alter table orders detach partition orders_1;
        alter table orders attach partition orders_3 for values from (0) to (5)";
    for (change, at_once) in [(away, false), (replaced, true)] {
        let (walhook, receiver) = with_rows(PARTS, RULES).await;
        if walhook
            .count("select current_setting('server_version_num')::bigint / 10000")
            .await
            == 14
        {
            // There a session takes neither note of the detaching nor of the table that was
            // written before it was attached (facts::rows): no change comes that could be held.
            return;
        }
        let running = walhook.start();
        walhook.wait_for(COMPLETE).await;
        match at_once {
            false => run(&walhook, change).await,
            true => {
                let client = &walhook.database.client;
                client.batch_execute(change).await.unwrap();
            }
        }
        // It is paid already: for this the table has to be looked at before the change is.
        run(&walhook, "update orders set note = 'x' where id = 1").await;
        parked(&walhook, 1).await;
        read_again(&walhook, 1).await;
        run(
            &walhook,
            "update orders set note = 'y';
             update orders set status = 'void' where id in (2, 6)",
        )
        .await;
        let requests = told(&walhook, &receiver, 3).await;
        running.stop().await;
        assert_eq!(moved(&requests, "order.moved"), [2, 6]);
        parked(&walhook, 1).await;
    }
}

#[tokio::test]
async fn a_table_that_was_not_published_for_a_while() {
    let tables = TABLES.replace("status state not null", "status text not null");
    let without = "alter publication walhook drop table orders;
        update orders set status = 'paid';
        alter publication walhook add table only orders";
    let inserts = "alter publication walhook set (publish = 'insert');
        update orders set status = 'paid';
        alter publication walhook set (publish = 'insert, update, delete, truncate')";
    for change in [without, inserts] {
        let (walhook, receiver) = with_rows(&tables, RULES).await;
        let running = walhook.start();
        walhook.wait_for(COMPLETE).await;
        run(&walhook, change).await;
        run(&walhook, "update orders set note = 'x' where id = 1").await;
        parked(&walhook, 1).await;
        read_again(&walhook, 1).await;
        run(
            &walhook,
            "update orders set note = 'y';
             update orders set status = 'void' where id = 2",
        )
        .await;
        let requests = told(&walhook, &receiver, 2).await;
        running.stop().await;
        assert_eq!(moved(&requests, "order.moved"), [2]);
        parked(&walhook, 1).await;
    }
}
