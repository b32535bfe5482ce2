//! What can be asked for, and what comes of it.

use super::{RULES, backfill, command, once_each, told, with_rows};
use crate::harness::receiver::Receiver;
use crate::harness::walhook::Installation;

#[tokio::test]
async fn existing_rows_reach_those_who_subscribed_after_they_were_written() {
    let walhook = with_rows(
        "insert into orders select n, 'acme', case when n <= 3 then 'paid' else 'new' end, 0, 'n'
         from generate_series(1, 2500) n; insert into orders values (2501, null, 'new')",
    )
    .await;
    let receiver = Receiver::start().await;
    let subscription = walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    let done = backfill(&walhook, &["--table", "orders", "--rate", "100000"]).await;
    let done = done
        .exits(0)
        .says("2,503 events to 2,503 deliveries")
        .says("2,501 rows read");
    assert!(done.out.contains("1 parked"), "{}", done.out);
    let requests = receiver.wait_for(2503).await;
    running.stop().await;
    assert_eq!(told(&requests, "order.created"), once_each(2500));
    assert_eq!(told(&requests, "order.paid"), once_each(3));

    let id = done.out.split_whitespace().next().unwrap().to_owned();
    let mut sequences = std::collections::HashSet::new();
    for request in &requests {
        subscription.verify(request);
        let event = request.json();
        assert_eq!(event["backfill"], id.as_str());
        assert!(event.get("previous").is_none());
        let sequence = event["sequence"].as_str().unwrap().to_owned();
        sequences.insert((sequence, event["type"].to_string()));
    }
    assert_eq!(sequences.len(), 2503, "each has a place of its own");
    let listed = backfill(&walhook, &["--list"]).await.exits(0);
    listed.says(&id).says("done  public.orders");
    assert_eq!(
        walhook.count("select count(*) from webhook_events where rule not in ('order.created@public.orders', 'order.paid@public.orders')").await,
        0
    );
}

#[tokio::test]
async fn conditions_choose_the_rows_and_events_the_rules() {
    let walhook = with_rows(
        "insert into orders select n, 'acme', 'paid', n, 'n', '2026-01-01'::timestamptz + n * interval '1 hour'
         from generate_series(1, 2000) n",
    )
    .await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    let since = "2026-01-01T12:00:00Z";
    backfill(
        &walhook,
        &[
            "--event",
            "order.paid",
            "--since",
            since,
            "--where",
            "version <= 20 or note = 'x' -- of those",
        ],
    )
    .await
    .exits(0)
    .says("9 events to 9 deliveries; 9 rows read");
    let requests = receiver.wait_for(9).await;
    let expected = (12..=20).map(|id: i32| (id.to_string(), 1)).collect();
    assert_eq!(told(&requests, "order.paid"), expected);

    // Many rows between those that are wanted, and more of these than a chunk holds.
    backfill(
        &walhook,
        &[
            "--event",
            "order.created",
            "--where",
            "id % 10 = 0",
            "--chunk",
            "7",
        ],
    )
    .await
    .exits(0)
    .says("200 events to 200 deliveries; 200 rows read");
    running.stop().await;
}

#[tokio::test]
async fn a_dry_run_says_what_would_come_of_it_and_sends_nothing() {
    let walhook = with_rows(
        "insert into orders select n, case when n % 4 > 0 then 'acme' end, case when n % 2 = 0 then 'paid' else 'new' end, 0, 'n'
         from generate_series(1, 1200) n",
    )
    .await;
    walhook
        .subscribe("acme", "http://127.0.0.1:9/", &["order.paid"])
        .await;
    let filtered = walhook
        .subscribe("acme", "http://127.0.0.1:9/", &["*"])
        .await;
    walhook
        .store
        .get()
        .await
        .unwrap()
        .execute(
            "update webhook_subscriptions set filter = 'data.id < 100 and backfill is not null' where id = $1",
            &[&filtered.id],
        )
        .await
        .unwrap();
    let told = backfill(&walhook, &["--table", "public.orders", "--dry-run"])
        .await
        .exits(0);
    let told = told
        .says("1,200 rows of public.orders; nothing is sent")
        .says("order.created: 900 events to 75 deliveries")
        .says("order.paid: 300 events to 325 deliveries");
    assert!(
        told.out
            .contains("300 unroutable: the tenant, `tenant_id`, is null"),
        "{}",
        told.out
    );
    assert_eq!(walhook.count("select count(*) from backfills").await, 0);
    assert_eq!(
        walhook.count("select count(*) from webhook_events").await,
        0
    );
}

#[tokio::test]
async fn a_subscription_named_is_the_only_one_that_receives() {
    let walhook =
        with_rows("insert into orders select n, 'acme', 'new' from generate_series(1, 5) n").await;
    let receiver = Receiver::start().await;
    walhook
        .subscribe("acme", &receiver.url("/other"), &["*"])
        .await;
    let only = walhook
        .subscribe("acme", &receiver.url("/only"), &["order.created"])
        .await;
    let id = format!("sub_{}", only.id);
    let running = walhook.start();
    backfill(&walhook, &["--table", "orders", "--subscription", &id])
        .await
        .exits(0)
        .says("5 events to 5 deliveries");
    receiver.wait_for_of("/only", 5).await;
    let refused = backfill(&walhook, &["--event", "order.paid", "--subscription", &id]).await;
    refused
        .exits(2)
        .says("asks for order.created, and not for order.paid");
    running.stop().await;
    assert_eq!(receiver.of("/other").len(), 0);
}

#[tokio::test]
async fn who_subscribes_after_it_was_asked_for_receives_nothing_of_it() {
    let walhook =
        with_rows("insert into orders select n, 'acme', 'new' from generate_series(1, 5) n").await;
    let receiver = Receiver::start().await;
    walhook
        .subscribe("acme", &receiver.url("/before"), &["*"])
        .await;
    let detached = backfill(&walhook, &["--table", "orders", "--detach"]).await;
    let detached = detached
        .exits(0)
        .says("no instance holds the slot: it begins once `walhook run` does");
    // A row of the WAL between the two, so that their positions differ.
    walhook
        .database
        .client
        .batch_execute("insert into orders values (6, 'globex', 'new')")
        .await
        .unwrap();
    walhook
        .subscribe("acme", &receiver.url("/after"), &["*"])
        .await;
    let running = walhook.start();
    receiver.wait_for_of("/before", 5).await;
    let id = detached.out.trim();
    backfill(&walhook, &["--resume", id])
        .await
        .exits(1)
        .says("is done: begin a new one");
    running.stop().await;
    assert_eq!(receiver.of("/after").len(), 0);
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_with_what_would_do() {
    let tables = "create table keyless (id bigint, tenant_id text not null);
        alter table keyless replica identity full;
        create table orders (id bigint primary key, tenant_id text, status text, at timestamptz)";
    let rules = RULES.replace("version = 'version'\n", "")
        + "
[[events]]
type = 'keyless.seen'
table = 'public.keyless'
key = ['id']
[[events]]
type = 'order.gone'
table = 'public.orders'
on = ['delete']
[events.data]
id = 'id'
";
    let walhook = Installation::create(tables, &rules, "").await;
    for (arguments, reason) in [
        (vec![], "say what to backfill"),
        (
            vec!["--table", "order"],
            "no rule watches the table public.order; did you mean `public.orders`?",
        ),
        (
            vec!["--event", "order.payed"],
            "no rule makes `order.payed`; did you mean `order.paid`?",
        ),
        (
            vec!["--event", "order.paid", "--table", "keyless"],
            "is not made of keyless but of public.orders",
        ),
        (
            vec!["--event", "order.gone"],
            "no row that exists makes its event",
        ),
        (
            vec!["--event", "order.paid", "--event", "keyless.seen"],
            "say which by --table",
        ),
        (
            vec!["--table", "keyless"],
            "public.keyless has no primary key",
        ),
        (
            vec!["--table", "orders", "--where", "statsu = 'x'"],
            "column \"statsu\" does not exist",
        ),
        (
            vec!["--table", "orders", "--where", "1 / (id - id) = 1 or"],
            "syntax error",
        ),
        (
            vec![
                "--table",
                "orders",
                "--where",
                "true); delete from orders where (true",
            ],
            "cannot insert multiple commands",
        ),
        (
            vec!["--table", "orders", "--where", "id"],
            "must be type boolean",
        ),
        (
            vec!["--table", "orders", "--since", "2h"],
            "the column `created_at` does not exist; --since-column could be at",
        ),
        (
            vec!["--table", "orders", "--since", "2h", "--since-column", "id"],
            "is of type bigint, not a time",
        ),
        (
            vec![
                "--table",
                "orders",
                "--subscription",
                "sub_00000000-0000-0000-0000-000000000000",
            ],
            "there is no subscription",
        ),
        (
            vec!["--resume", "bkf_00000000-0000-0000-0000-000000000000"],
            "there is no backfill bkf_",
        ),
        (vec!["--cancel", "bkf_1"], "expected `bkf_` and a UUID"),
    ] {
        backfill(&walhook, &arguments).await.exits(2).says(reason);
    }
    assert_eq!(walhook.count("select count(*) from backfills").await, 0);
    let help = command(&walhook, "help", &["backfill"]).await;
    help.exits(0).says("--since-column");
}

#[tokio::test]
async fn a_login_that_may_not_read_the_table_is_told_the_grant() {
    let mut walhook = with_rows("insert into orders values (1, 'acme', 'new')").await;
    let role = format!("reader_{}", walhook.database.name);
    let application = &walhook.database.client;
    application
        .batch_execute(&format!(
            "create role {role} login replication; grant create on database {0} to {role};
             grant usage on schema walhook to {role}; grant all on all tables in schema walhook to {role};
             alter table orders owner to postgres",
            walhook.database.name
        ))
        .await
        .unwrap();
    let own = walhook.database.url.clone();
    let url = own.replace("postgres://postgres@", &format!("postgres://{role}@"));
    walhook.edit(
        &format!("[source]\nurl = '{own}'"),
        &format!("[store]\nurl = '{own}'\n[source]\nurl = '{url}'"),
    );
    let refused = backfill(&walhook, &["--table", "orders"]).await.exits(2);
    refused
        .says("permission denied for table orders")
        .says(&format!(
            "grant select on \"public\".\"orders\" to \"{role}\""
        ));
    let application = &walhook.database.client;
    let grant = format!("grant select on orders to {role}");
    application.batch_execute(&grant).await.unwrap();
    let counted = backfill(&walhook, &["--table", "orders", "--dry-run"]).await;
    counted.exits(0).says("1 rows of public.orders");
}
