//! Health and metrics.

use walhook::api::{CaptureState, Health};

use super::fixtures::{Api, id};

#[tokio::test]
async fn ready_is_what_the_tasks_say() {
    let api = Api::start_with(|state| state.health = std::sync::Arc::new(Health::new(false))).await;
    assert_eq!(api.root("/healthz").await.expect(200)["status"], "ok");
    let ready = api.root("/readyz").await.expect(200);
    assert_eq!(
        (&ready["slot"], &ready["store"]),
        (&"not run here".into(), &"ok".into())
    );

    let api = Api::start().await;
    let health = &api.health;
    for (capture, rules, ready) in [
        (CaptureState::Starting, true, false),
        (CaptureState::Leading, false, false),
        (CaptureState::Leading, true, true),
        (CaptureState::Standby, false, true),
        (
            CaptureState::Failing("the slot `walhook` is lost".into()),
            true,
            false,
        ),
    ] {
        health.set_capture(capture.clone());
        health.set_rules_active(rules);
        let answer = api.root("/readyz").await;
        match ready {
            true => assert_eq!(answer.status, 200, "{capture:?}"),
            false => answer.refused(503, "not_ready"),
        }
        if let CaptureState::Failing(reason) = capture {
            assert!(answer.text.contains(&reason));
        }
    }
}

#[tokio::test]
async fn metrics_show_the_queue_of_the_store() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    for status in ["failed", "failed", "pending"] {
        let event = api
            .event("acme", "payment.received", jiff::Timestamp::now())
            .await;
        api.delivery("acme", event, id(&subscription), status).await;
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
        "walhook_queue_depth{state=\"retrying\"} ",
        "walhook_oldest_due_seconds ",
    ] {
        assert!(metrics.text.contains(line), "{line}");
    }
}
