//! Health and metrics.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use walhook::db::HOUSEKEEPING_CONNECTIONS;
use walhook::health::{CaptureState, Health, RulesState};

use super::fixtures::{Api, send, with_json};
use crate::harness::pause;

#[tokio::test]
async fn ready_is_what_the_tasks_say() {
    let api =
        Api::start_with(|state| state.health = std::sync::Arc::new(Health::new(false, Vec::new())))
            .await;
    assert_eq!(api.root("/healthz").await.expect(200)["status"], "ok");
    let ready = api.root("/readyz").await.expect(200);
    assert_eq!(
        (&ready["slot"], &ready["store"]),
        (&"not run here".into(), &"ok".into())
    );

    let health = std::sync::Arc::new(Health::new(true, Vec::new()));
    let api = Api::start_with(|state| state.health = health.clone()).await;
    let seeding = || RulesState::Seeding(vec!["public.orders".to_owned()]);
    for (capture, rules, ready) in [
        (CaptureState::Starting, RulesState::Active, false),
        (
            CaptureState::Failing("the slot `walhook` is lost".into()),
            RulesState::Active,
            false,
        ),
        (CaptureState::Leading, RulesState::NotRead, false),
        (CaptureState::Leading, seeding(), true),
        (CaptureState::Leading, RulesState::Active, true),
        (CaptureState::Standby, seeding(), true),
        // Interrupted a moment ago.
        (
            CaptureState::Failing("no answer".into()),
            RulesState::Active,
            true,
        ),
    ] {
        health.set_capture(capture.clone());
        health.set_rules(rules);
        let answer = api.root("/readyz").await;
        match ready {
            true => assert_eq!(answer.status, 200, "{capture:?}"),
            false => answer.refused(503, "not_ready"),
        }
        if let CaptureState::Failing(reason) = capture {
            assert!(answer.text.contains(&reason));
        }
    }

    // A seed never takes a node out of service, but can be waited for.
    health.set_capture(CaptureState::Leading);
    health.set_rules(seeding());
    let ready = api.root("/readyz").await.expect(200);
    assert_eq!(ready["rules"], "seeding");
    assert_eq!(ready["problems"][0]["kind"], "seeding");
    let waiting = api.root("/readyz?wait=rules").await;
    waiting.refused(503, "not_ready");
    assert!(waiting.text.contains("public.orders"));
    // All APIs of this process share its metrics: another test may have asked just now.
    let began = Instant::now();
    loop {
        let metrics = api.root("/metrics").await.text;
        if metrics.contains("walhook_problems{kind=\"seeding\"} 1") {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{metrics}");
        pause(began).await;
    }
    health.set_rules(RulesState::Active);
    api.root("/readyz?wait=rules").await.expect(200);
    for unknown in ["/readyz?wait=everything", "/readyz?await=rules"] {
        assert_eq!(api.root(unknown).await.status, 400, "{unknown}");
    }
}

#[tokio::test]
async fn metrics_show_the_queue_of_the_store() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    for status in ["failed", "failed", "pending"] {
        api.delivery_of_now(&subscription, status).await;
    }
    api.execute("update delivery_schedule set due_at = now() - interval '90 seconds' where status = 'pending'")
        .await;
    let metrics = api.root("/metrics").await;
    assert_eq!(metrics.status, 200);
    assert!(
        metrics.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/plain; version=0.0.4")
    );
    for line in [
        "walhook_queue_depth{state=\"failed\"} ",
        "walhook_queue_depth{state=\"pending\"} ",
        "walhook_queue_depth{state=\"parked\"} ",
        "walhook_pending_retries ",
        "walhook_oldest_due_seconds ",
        "walhook_queue_counted_timestamp_seconds 1",
    ] {
        assert!(metrics.text.contains(line), "{line}");
    }
}

#[tokio::test]
async fn a_panic_costs_one_answer_and_says_nothing_of_its_cause() {
    let api = Api::start_with(|state| state.check_filter = |_, _| panic!("the cause")).await;
    let token = api.token("acme").await;
    let body = json!({"url": "https://example.com/hook", "event": "*", "filter": "x"});
    for key in ["", "k"] {
        let mut request = api.request(Method::POST, "/subscriptions", &token);
        if !key.is_empty() {
            request = request.header("idempotency-key", key);
        }
        let answer = send(with_json(request, &body)).await;
        answer.refused(500, "internal");
        assert!(!answer.text.contains("the cause"));
    }
    api.get("/subscriptions", &token).await.expect(200);
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_answered() {
    let api = Api::start_with(|state| state.request_timeout = Duration::ZERO).await;
    let token = api.token("acme").await;
    api.get("/events", &token).await.refused(503, "timeout");
}

#[tokio::test]
async fn without_the_store_calls_and_readiness_say_so() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    api.get("/events", &token).await.expect(200);
    // Nobody may connect any more, and who is connected is not for long.
    let admin = crate::harness::connect(&crate::harness::server().url("postgres")).await;
    let name = &api.database.name;
    admin
        .batch_execute(&format!("alter database {name} allow_connections false"))
        .await
        .unwrap();
    admin
        .batch_execute(&format!(
            "select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = '{name}'"
        ))
        .await
        .unwrap();
    let answer = api.get("/events", &token).await;
    answer.refused(503, "store_unavailable");
    assert_eq!(answer.headers["retry-after"], "5");
    api.root("/readyz").await.refused(503, "not_ready");
    api.root("/healthz").await.expect(200);
    let metrics = api.root("/metrics").await;
    assert!(metrics.status == 200 && metrics.text.contains("process_cpu_seconds_total"));
    admin
        .batch_execute(&format!("alter database {name} allow_connections true"))
        .await
        .unwrap();
    api.get("/events", &token).await.expect(200);
}

#[tokio::test]
async fn told_to_stop_it_closes_what_is_idle_and_ends() {
    let api = Api::start().await;
    api.root("/healthz").await.expect(200);
    let address = api.base.trim_start_matches("http://").to_owned();
    let served = api.stop().await;
    served.unwrap();
    assert!(TcpStream::connect(&address).await.is_err());
    assert!(TcpListener::bind(&address).await.is_ok());
}

#[tokio::test]
async fn ready_stays_while_requests_hold_every_connection_of_the_api() {
    let api = Api::start().await;
    let mut held = Vec::new();
    // The store's pool is one of this purpose here.
    for _ in 0..HOUSEKEEPING_CONNECTIONS {
        held.push(api.store.get().await.unwrap());
    }
    api.root("/readyz").await.expect(200);
}
