//! What becomes of attempts, in numbers.

use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use super::{Deployed, text};
use crate::harness::receiver::{Receiver, status};
use crate::harness::walhook::Installation;
use walhook::delivery::stats;

#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_counted_and_an_endpoint_has_its_state_in_one_word() {
    let deployed = Deployed::start("[delivery]\nretry_schedule = ['50ms']\n").await;
    let receiver = Receiver::answering(|path, _| match path {
        "/well" => status(200),
        _ => status(503),
    })
    .await;
    let acme = deployed.tenant("acme").await;
    let well = acme.subscribe(&receiver.url("/well")).await;
    let bad = acme.subscribe(&receiver.url("/bad")).await;
    let of = |subscription: &Value| format!("/subscriptions/{}", text(&subscription["id"]));
    let before = acme.get(&of(&well)).await;
    assert_eq!(before["state"], "new");
    assert_eq!(before["last_success_at"], Value::Null);
    deployed.orders("acme", 2).await;

    let counted = |one: &Value| one["stats_24h"]["delivered"] == 2;
    let shown = acme.get_until(&of(&well), counted).await;
    assert_eq!(shown["state"], "ok");
    assert!(shown["last_success_at"].is_string());
    assert_eq!(shown["last_failure"], Value::Null);
    assert_eq!(shown["pending"], json!({"count": 0, "more": false}));
    let day = &shown["stats_24h"];
    assert_eq!((&day["first_try"], &day["failed"]), (&json!(2), &json!(0)));
    assert!(day["p50_ms"].as_f64().unwrap() <= day["p95_ms"].as_f64().unwrap());
    assert_eq!(day["spark"].as_array().unwrap().len(), 24);
    assert_eq!(day["spark"][23], json!({"delivered": 2, "failed": 0}));

    // Each of two was tried twice.
    let failed = |one: &Value| one["stats_24h"]["dead"] == 2;
    let shown = acme.get_until(&of(&bad), failed).await;
    assert_eq!(shown["state"], "failing");
    assert_eq!(shown["stats_24h"]["failed"], 4);
    assert_eq!(
        shown["stats_24h"]["failed_by_class"],
        json!({"http_status": 4})
    );
    assert_eq!(shown["last_failure"]["class"], "http_status");
    assert_eq!(shown["last_failure"]["http_status"], 503);
    let since: Timestamp = text(&shown["failing_since"]).parse().unwrap();
    let disables: Timestamp = text(&shown["disables_at"]).parse().unwrap();
    assert_eq!(disables.as_second() - since.as_second(), 5 * 24 * 3_600);

    let all = acme.get("/stats").await;
    assert_eq!(all["total"]["delivered"], 2);
    assert_eq!(all["total"]["failed"], 4);
    let by_minute = format!("{}/stats?step=minute", of(&bad));
    let from = Timestamp::now() - 1.hour();
    let by_minute = acme.get(&format!("{by_minute}&from={from}")).await;
    let minutes = by_minute["data"].as_array().unwrap();
    let sum: i64 = minutes
        .iter()
        .map(|one| one["failed"].as_i64().unwrap())
        .sum();
    assert_eq!(sum, 4);

    acme.patch(&of(&bad), json!({"active": false})).await;
    let listed = acme.get("/subscriptions").await;
    let states: Vec<&str> = listed["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| text(&one["state"]))
        .collect();
    assert_eq!(states, ["paused", "ok"], "the newest first");
    let globex = deployed.tenant("globex").await;
    assert_eq!(globex.get("/stats").await["total"]["delivered"], 0);
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_counted_is_written_when_the_process_ends() {
    let deployed = Deployed::start("").await;
    let receiver = Receiver::start().await;
    let acme = deployed.tenant("acme").await;
    acme.subscribe(&receiver.url("/")).await;
    deployed.orders("acme", 2).await;
    receiver.wait_for(2).await;
    let walhook = &deployed.walhook;
    walhook
        .wait_for("select count(*) = 2 from webhook_deliveries where status = 'delivered'")
        .await;
    for process in deployed.processes {
        assert!(process.terminate().success());
    }
    let delivered = "select coalesce(sum(delivered), 0)::int8 from delivery_stats";
    assert_eq!(deployed.walhook.count(delivered).await, 2);
}

/// As where a tenant is erased while counts of its attempts are in memory.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_counted_of_an_erased_subscription_is_not_written_any_more() {
    let deployed = Deployed::start("").await;
    let receiver = Receiver::start().await;
    for tenant in ["acme", "globex"] {
        let tenant_of = deployed.tenant(tenant).await;
        tenant_of.subscribe(&receiver.url("/")).await;
        deployed.orders(tenant, 1).await;
    }
    receiver.wait_for(2).await;
    let walhook = &deployed.walhook;
    walhook
        .wait_for("select count(*) = 2 from webhook_deliveries where status = 'delivered'")
        .await;
    let client = walhook.store.get().await.unwrap();
    client
        .batch_execute(
            "delete from webhook_subscriptions where tenant_id = 'acme';
             delete from deleted_subscriptions;
             delete from delivery_stats;
             delete from subscription_results",
        )
        .await
        .unwrap();
    drop(client);
    for process in deployed.processes {
        assert!(process.terminate().success());
    }
    for table in ["delivery_stats", "subscription_results"] {
        let of_acme = format!("select count(*) from {table} where tenant_id = 'acme'");
        assert_eq!(deployed.walhook.count(&of_acme).await, 0, "{table}");
    }
}

#[tokio::test]
async fn old_minutes_become_hours_and_old_hours_days() {
    let walhook = Installation::of_orders().await;
    let client = walhook.store.get().await.unwrap();
    let zeros = "0, ".repeat(22);
    let insert = &format!(
        "insert into delivery_stats
         select '00000000-0000-0000-0000-000000000001', $1::timestamptz + make_interval(mins => m), 1,
             'acme', 10, 9, 0, 1, {zeros} 1
         from generate_series(0, 119) m"
    );
    let now: Timestamp = "2026-11-30T12:30:00Z".parse().unwrap();
    // Two hours of today, and two of three weeks ago.
    for begins in ["2026-11-30T10:00:00Z", "2026-11-09T23:00:00Z"] {
        let begins: Timestamp = begins.parse().unwrap();
        client.execute(insert.as_str(), &[&begins]).await.unwrap();
    }
    for _ in 0..2 {
        stats::fold(&walhook.store, now).await.unwrap();
    }
    let rows = client
        .query(
            "select at, minutes, delivered, failed_http_status, took_longer
             from delivery_stats order by at",
            &[],
        )
        .await
        .unwrap();
    let rows: Vec<(Timestamp, i32, i64, i64, i64)> = rows
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4)))
        .collect();
    let at = |text: &str| -> Timestamp { text.parse().unwrap() };
    let expected = [
        (at("2026-11-09T00:00:00Z"), 1440, 600, 60, 60),
        (at("2026-11-10T00:00:00Z"), 1440, 600, 60, 60),
        (at("2026-11-30T10:00:00Z"), 60, 600, 60, 60),
    ];
    assert_eq!(rows[..3], expected);
    // Hours that were not over an hour ago stay as they are.
    assert_eq!(rows.len(), 3 + 60);
    assert_eq!(rows[3], (at("2026-11-30T11:00:00Z"), 1, 10, 1, 1));
    stats::fold(&walhook.store, now + (401 * 24).hours())
        .await
        .unwrap();
    let left = "select count(*) from delivery_stats where at < '2026-11-30'";
    assert_eq!(walhook.count(left).await, 0);
}

#[tokio::test]
async fn minutes_of_many_subscriptions_are_folded_in_pieces_and_counted_once() {
    let walhook = Installation::of_orders().await;
    let client = walhook.store.get().await.unwrap();
    let zeros = "0, ".repeat(22);
    // More than two pieces of five thousand.
    let insert = format!(
        "insert into delivery_stats
         select ('00000000-0000-0000-0000-' || lpad(s::text, 12, '0'))::uuid,
             timestamptz '2026-11-30T10:00:00Z' + make_interval(mins => m), 1,
             'acme', 10, 9, 0, 1, {zeros} 1
         from generate_series(1, 100) s, generate_series(0, 119) m"
    );
    client.batch_execute(&insert).await.unwrap();
    drop(client);
    let now: Timestamp = "2026-11-30T14:30:00Z".parse().unwrap();
    stats::fold(&walhook.store, now).await.unwrap();
    let rows = "select count(*) from delivery_stats where minutes = 60 and delivered = 600";
    assert_eq!(walhook.count(rows).await, 200);
    assert_eq!(
        walhook.count("select count(*) from delivery_stats").await,
        200
    );
}
