//! A backfill that is interrupted goes on where it was.

use std::collections::HashSet;
use std::process::Stdio;

use super::{ORDERS, RULES, backfill, once_each, told, with_rows};
use crate::harness::command::{answer, walhook};
use crate::harness::process::Process;
use crate::harness::receiver::Receiver;
use crate::harness::walhook::Installation;
use walhook::app::Roles;

const ROWS: &str = "insert into orders select n, 'acme', 'new' from generate_series(1, 3000) n";

#[tokio::test]
async fn a_crash_in_the_middle_loses_and_repeats_nothing() {
    let walhook = with_rows(ROWS).await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let arguments = [
        "--table", "orders", "--rate", "1500", "--chunk", "100", "--detach",
    ];
    backfill(&walhook, &arguments).await.exits(0);
    for rows in [300, 1000, 2000] {
        let process = Process::start(&walhook.config_file(), &["run"]);
        walhook
            .wait_for(&format!("select rows_read >= {rows} from backfills"))
            .await;
        process.kill();
    }
    let rows = walhook.count("select rows_read from backfills").await;
    assert!(rows < 3000, "it was done before the last crash");
    // While nobody runs, and streamed once somebody does.
    walhook
        .database
        .client
        .batch_execute("insert into orders values (3001, 'acme', 'new'); insert into orders values (0, 'globex', 'new')")
        .await
        .unwrap();
    let running = walhook.start();
    walhook
        .wait_for("select status = 'done' from backfills")
        .await;
    walhook
        .wait_for(
            "select count(*) = 3001 and bool_and(status = 'delivered') from webhook_deliveries",
        )
        .await;
    running.stop().await;
    let events = "select count(*) from webhook_events";
    assert_eq!(walhook.count(events).await, 3002);
    // What was under way at a crash may have been sent twice, under one id.
    let mut seen = HashSet::new();
    let mut requests = receiver.requests();
    requests.retain(|request| seen.insert(request.id().to_owned()));
    assert_eq!(told(&requests, "order.created"), once_each(3001));
}

#[tokio::test]
async fn an_interrupt_pauses_it_and_it_can_be_resumed() {
    let walhook_ = with_rows(ROWS).await;
    let receiver = Receiver::start().await;
    walhook_.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook_.start();
    let following = walhook()
        .arg("--config")
        .arg(walhook_.config_file())
        .args([
            "backfill", "--table", "orders", "--rate", "500", "--chunk", "100",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    walhook_
        .wait_for("select rows_read > 0 from backfills")
        .await;
    let pid = following.id().unwrap().to_string();
    let sent = std::process::Command::new("kill")
        .args(["-INT", &pid])
        .status();
    assert!(sent.unwrap().success());
    let ended = answer(following.wait_with_output().await.unwrap()).exits(1);
    let ended = ended.says("is paused").says("rows, 0 events");
    let said = ended.err.lines().last().unwrap().to_owned();
    let (_, id) = said.split_once("walhook backfill --resume ").unwrap();

    let rows = walhook_.count("select rows_read from backfills").await;
    // The stream goes on, and a row that it tells of is not told of again.
    walhook_
        .database
        .client
        .batch_execute("insert into orders values (3001, 'acme', 'new')")
        .await
        .unwrap();
    let streamed = receiver
        .wait_until(|requests| told(requests, "order.created").contains_key("3001"))
        .await;
    assert!(streamed.len() < 3000);
    assert_eq!(
        walhook_.count("select rows_read from backfills").await,
        rows
    );

    backfill(&walhook_, &["--resume", id])
        .await
        .exits(0)
        .says("3,000 events to 3,000 deliveries; 3,000 rows read");
    let requests = receiver.wait_for(3001).await;
    running.stop().await;
    assert_eq!(told(&requests, "order.created"), once_each(3001));
}

#[tokio::test]
async fn a_cancelled_one_ends_at_once_and_for_good() {
    let walhook = with_rows(ROWS).await;
    let running = walhook.start();
    let arguments = ["--table", "orders", "--rate", "200", "--detach"];
    let id = backfill(&walhook, &arguments)
        .await
        .exits(0)
        .out
        .trim()
        .to_owned();
    walhook
        .wait_for("select rows_read > 0 from backfills")
        .await;
    backfill(&walhook, &["--cancel", &id])
        .await
        .exits(0)
        .says("is cancelled");
    let events = "select count(*) from webhook_events";
    let sent = walhook.count(events).await;
    backfill(&walhook, &["--cancel", &id])
        .await
        .exits(1)
        .says("is cancelled already");
    backfill(&walhook, &["--resume", &id])
        .await
        .exits(1)
        .says("begin a new one");
    // The next one is not held up by it.
    backfill(&walhook, &["--table", "orders", "--where", "id = 1"])
        .await
        .exits(0)
        .says("1 events");
    running.stop().await;
    assert_eq!(walhook.count(events).await, sent + 1);
    assert_eq!(
        walhook
            .count("select count(*) from backfill_streamed")
            .await,
        0
    );
}

#[tokio::test]
async fn a_fault_that_time_does_not_mend_is_kept_and_mended_by_hand() {
    let mut walhook = with_rows(ROWS).await;
    let running = walhook.start();
    // It is the running instance whose rules count.
    let more = format!("{RULES}\n[[events]]\ntype = 'order.seen'\ntable = 'public.orders'\n");
    walhook.edit(RULES, &more);
    let arguments = ["--event", "order.seen", "--where", "id = 7"];
    let failed = backfill(&walhook, &arguments).await.exits(1);
    let failed = failed.says("has no rule `order.seen@public.orders`: restart it");
    running.stop().await;
    let (_, id) = failed.err.trim().split_once("--resume ").unwrap();
    let running = walhook.start();
    backfill(&walhook, &["--resume", id])
        .await
        .exits(0)
        .says("1 events");

    // A condition that is well for the first row alone.
    let arguments = ["--table", "orders", "--where", "10 / (id - 2000) < 1"];
    let failed = backfill(&walhook, &arguments).await.exits(1);
    failed.says("division by zero");
    running.stop().await;
    let listed = backfill(&walhook, &["--list"]).await.exits(0);
    listed
        .says("failed  public.orders")
        .says("division by zero");
}

#[tokio::test]
async fn deliveries_that_are_due_come_first() {
    let tables = format!(
        "{ORDERS}; insert into orders select n, 'acme', 'new' from generate_series(1, 14000) n"
    );
    let walhook = Installation::create(&tables, RULES, "").await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    // Nobody delivers: everything waits in the store.
    let capturing = walhook.start_with("capture".parse::<Roles>().unwrap());
    let arguments = ["--table", "orders", "--rate", "1000000", "--detach"];
    backfill(&walhook, &arguments).await.exits(0);
    walhook
        .wait_for("select waiting is not null from backfills")
        .await;
    let rows = walhook.count("select rows_read from backfills").await;
    assert!((10_000..14_000).contains(&rows), "{rows}");
    let listed = backfill(&walhook, &["--list"]).await.exits(0);
    listed.says("waits: more than 10000 deliveries are due");
    let delivering = walhook.start_with("deliver".parse::<Roles>().unwrap());
    walhook
        .wait_for("select status = 'done' from backfills")
        .await;
    assert_eq!(
        walhook
            .count("select count(*) from webhook_deliveries")
            .await,
        14_000
    );
    delivering.stop().await;
    capturing.stop().await;
}
