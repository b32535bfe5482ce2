//! Filling the shadow while the application goes on, and again when the rules or the
//! tables change.

use super::{COMPLETE, ORDERS, RULES, WATCHED, caught_up, live, of, shadow, with_rows};
use crate::harness::receiver::Receiver;
use crate::harness::walhook::Installation;
use crate::harness::{connect, http};

#[tokio::test]
async fn a_seed_under_writes_ends_where_the_table_stands() {
    let walhook = with_rows(
        "insert into orders select n, 'acme', 'new', n, 'n' || n from generate_series(1, 9000) n",
    )
    .await;
    let stop = tokio_util::sync::CancellationToken::new();
    let mut writers = Vec::new();
    for writer in 0..3_i64 {
        let (client, stop) = (connect(&walhook.database.url).await, stop.clone());
        writers.push(tokio::spawn(async move {
            let mut round = writer;
            while !stop.is_cancelled() {
                round += 3;
                let id = round * 7919 % 9000;
                client
                    .batch_execute(&format!(
                        "begin; update orders set status = 's{round}' where id between {id} and {id} + 5;
                         update orders set id = id + 100000 where id = {id} + 7; commit;
                         delete from orders where id = {id} + 9;
                         insert into orders values ({id} + 9, 'acme', 'again') on conflict do nothing;
                         update orders set id = id - 100000 where id > 100000 and id % 2 = {writer} % 2
                            and id - 100000 not in (select id from orders)"
                    ))
                    .await
                    // Two writers may meet on a key.
                    .ok();
            }
            round
        }));
    }
    let running = walhook.start();
    walhook.wait_for(COMPLETE).await;
    stop.cancel();
    for writer in writers {
        assert!(writer.await.unwrap() > 5, "the writers wrote nothing");
    }
    caught_up(&walhook).await;
    let shadow = shadow(&walhook).await;
    running.stop().await;
    let live = live(&walhook, WATCHED).await;
    let differs = live.iter().filter(|(id, row)| shadow.get(*id) != Some(row));
    assert_eq!(differs.collect::<Vec<_>>(), []);
    assert_eq!(shadow.len(), live.len());
    assert_eq!(
        walhook
            .count("select count(*) from shadow_rules where active_from_lsn > '0/0'")
            .await,
        2
    );
}

#[tokio::test]
async fn readyz_says_what_is_seeded_until_it_is() {
    let mut walhook = with_rows("insert into orders values (1, 'acme', 'new')").await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    walhook.edit("listen = '127.0.0.1:0'", &format!("listen = '{address}'"));
    // The seed waits for it, as it would for a migration of the application.
    let migration = connect(&walhook.database.url).await;
    migration
        .batch_execute("begin; lock table orders in access exclusive mode")
        .await
        .unwrap();
    let running = walhook.start();
    let http = http();
    let ready = async |status: u16, text: &str| {
        let url = format!("http://{address}/readyz?wait=rules");
        let asked = async {
            loop {
                if let Ok(answer) = http.get(&url).send().await
                    && answer.status().as_u16() == status
                    && answer.text().await.unwrap().contains(text)
                {
                    return;
                }
                // It announces its state to nobody: it is asked.
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        let asked = tokio::time::timeout(std::time::Duration::from_secs(60), asked);
        asked
            .await
            .unwrap_or_else(|_| panic!("never {status} {text}"));
    };
    ready(503, "seeding the old values of public.orders").await;
    migration.batch_execute("commit").await.unwrap();
    ready(200, "active").await;
    running.stop().await;
}

#[tokio::test]
async fn a_seed_goes_on_where_a_crash_left_it() {
    let walhook = with_rows(
        "insert into orders select n, 'acme', 'new', n, 'n' from generate_series(1, 12000) n",
    )
    .await;
    let running = walhook.start();
    walhook
        .wait_for("select seeded_key is not null from shadow_tables")
        .await;
    running.task.abort();
    let _ = running.task.await;
    let cursor = "select seeded_rows from shadow_tables";
    let before = walhook.count(cursor).await;
    let running = walhook.start();
    walhook.wait_for(COMPLETE).await;
    assert!(
        before >= 2000 && walhook.count(cursor).await == 12000,
        "{before}"
    );
    caught_up(&walhook).await;
    let shadow = shadow(&walhook).await;
    running.stop().await;
    assert_eq!(shadow, live(&walhook, WATCHED).await);
}

#[tokio::test]
async fn a_rule_that_watches_more_waits_for_its_own_seed_and_the_others_go_on() {
    let rules = "
[[events]]
type = 'order.paid'
table = 'public.orders'
on = ['update']
when = \"became(status = 'paid')\"
[events.data]
id = 'id'
";
    let mut walhook = Installation::create(ORDERS, rules, "").await;
    let client = connect(&walhook.database.url).await;
    let insert = "insert into orders select n, 'acme', 'new', 5 from generate_series(1, 5000) n";
    client.batch_execute(insert).await.unwrap();
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    walhook.wait_for(COMPLETE).await;
    running.stop().await;

    // Committed before the new rule exists, met after it does: its seed cannot be over.
    client
        .batch_execute("update orders set status = 'paid', total = 6 where id = 1")
        .await
        .unwrap();
    let more = format!(
        "{rules}\n[[events]]\ntype = 'order.repriced'\ntable = 'public.orders'\non = ['update']\nwhen = \"changed(total)\"\n"
    );
    walhook.edit(rules, &more);
    let running = walhook.start();
    let requests = receiver.wait_for(1).await;
    assert_eq!(of(&requests, "order.paid").len(), 1);
    walhook
        .wait_for(
            "select count(*) = 2 and bool_and(state = 'complete') from shadow_rules, shadow_tables",
        )
        .await;
    client
        .batch_execute("update orders set total = 7 where id = 2")
        .await
        .unwrap();
    let requests = receiver.wait_for(2).await;
    running.stop().await;
    let repriced = of(&requests, "order.repriced");
    assert_eq!(repriced.len(), 1);
    assert_eq!(repriced[0]["previous"]["total"], 5);
    assert_eq!(
        walhook.count("select count(*) from parked_changes").await,
        0
    );
}

#[tokio::test]
async fn a_table_made_anew_or_with_another_identity_is_seeded_anew() {
    let walhook = with_rows("insert into orders values (1, 'acme', 'new', 1)").await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    walhook.wait_for(COMPLETE).await;
    let application = &walhook.database.client;
    application
        .batch_execute(
            "create unique index orders_total on orders (total);
             alter table orders alter total set not null, replica identity using index orders_total;
             update orders set note = 'x'",
        )
        .await
        .unwrap();
    walhook
        .wait_for("select key_columns = '{total}' and state = 'complete' from shadow_tables")
        .await;
    application
        .batch_execute("update orders set status = 'paid'")
        .await
        .unwrap();
    let requests = receiver.wait_for(1).await;
    assert_eq!(of(&requests, "order.paid")[0]["previous"]["status"], "new");
    // Another type has another text: 1 becomes 1.00, which is no change.
    application
        .batch_execute(
            "alter table orders alter note type varchar(20); update orders set note = 'y'",
        )
        .await
        .unwrap();
    walhook
        .wait_for("select definition::jsonb #>> '{columns,note,type_oid}' = '1043' and state = 'complete' from shadow_tables")
        .await;
    application
        .batch_execute(
            "update orders set status = 'void'; update orders set status = 'paid', note = 'z'",
        )
        .await
        .unwrap();
    let requests = receiver.wait_for(2).await;
    running.stop().await;
    let paid = of(&requests, "order.paid");
    assert_eq!(
        paid[1]["previous"],
        serde_json::json!({"status": "void", "note": "y"})
    );
    assert!(RULES.contains("note"));
}

#[tokio::test]
async fn partitions_and_composite_keys_of_any_type_are_shadowed() {
    let tables = "create table orders (id bigint, region char(4), at timestamptz, flag boolean, tenant_id text,
            status text, ratio float8, primary key (region, at, flag, id)) partition by list (region);
        create table orders_a partition of orders for values in ('a''b ');
        create table orders_b partition of orders default;
        insert into orders select n, case n % 2 when 0 then 'a''b ' else 'x' end, '2026-01-01 12:00:00.123456+02'::timestamptz + n * interval '1 hour',
            n % 3 = 0, 'acme', 'new', 1 / 3.0 from generate_series(1, 5000) n";
    let rules = RULES.replace("note = 'note'", "ratio = 'ratio'");
    let walhook = Installation::create(tables, &rules, "").await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    walhook.wait_for(COMPLETE).await;
    assert_eq!(walhook.count("select count(*) from row_shadow").await, 5000);
    walhook
        .database
        .client
        .batch_execute(
            "update orders set status = 'paid', ratio = 2 where id in (1, 2, 3, 4, 5, 6);
             delete from orders where id in (7, 8)",
        )
        .await
        .unwrap();
    let requests = receiver.wait_for(8).await;
    running.stop().await;
    let paid = of(&requests, "order.paid");
    assert_eq!(paid.len(), 6);
    for event in paid {
        assert_eq!(event["previous"]["status"], "new");
        assert_eq!(event["previous"]["ratio"], 1.0 / 3.0);
    }
    assert_eq!(
        walhook.count("select count(*) from parked_changes").await,
        0
    );
}

#[tokio::test]
async fn a_key_whose_operators_are_an_extension_s_is_read_whole() {
    let tables = "create extension citext;
        create table things (name citext primary key, tenant_id text, status text);
        insert into things select case n % 2 when 0 then 'a' else 'B' end || n, 'acme', 'new' from generate_series(1, 4500) n";
    let rules = "
[[events]]
type = 'thing.done'
table = 'public.things'
when = \"became(status = 'done')\"
";
    let walhook = Installation::create(tables, rules, "").await;
    let running = walhook.start();
    walhook.wait_for(COMPLETE).await;
    running.stop().await;
    let seeded = walhook.count("select seeded_rows from shadow_tables").await;
    assert_eq!(seeded, 4500);
}
