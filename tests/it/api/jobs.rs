//! Bulk retries and replays as jobs: counted before, carried out in batches, by any instance.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use walhook::delivery::jobs;

use super::fixtures::{Api, id};
use crate::harness::pause;

fn matches(source: &str, body: &[u8]) -> Result<bool, String> {
    Ok(String::from_utf8_lossy(body).contains(source))
}

/// Carries out jobs as an instance does, until it is dropped.
struct Instance {
    stop: CancellationToken,
}

impl Instance {
    fn start(api: &Api) -> Self {
        let stop = CancellationToken::new();
        let changed = Arc::new(Notify::new());
        tokio::spawn(jobs::run(api.store.clone(), matches, changed, stop.clone()));
        Instance { stop }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Reads the job until it is in this state.
async fn until(api: &Api, token: &str, job: &str, state: &str) -> Value {
    let began = Instant::now();
    loop {
        let job = api.get(&format!("/jobs/{job}"), token).await.expect(200);
        if job["state"] == state {
            return job;
        }
        pause(began).await;
    }
}

/// Failed deliveries of acme's to one subscription.
async fn failed(api: &Api, subscription: &Value, count: usize) {
    for _ in 0..count {
        api.delivery_of_now(subscription, "failed").await;
    }
}

async fn due(api: &Api) -> i64 {
    let due = "select count(*) from delivery_schedule where status = 'pending' and due_at <= now()";
    api.count(due).await
}

#[tokio::test]
async fn a_dry_run_counts_and_changes_nothing() {
    let api = Api::start().await;
    let acme = api.token("acme").await;
    let (first, second) = (api.subscribe(&acme).await, api.subscribe(&acme).await);
    failed(&api, &first, 7).await;
    failed(&api, &second, 3).await;
    let path = format!("/subscriptions/{}", id(&second));
    api.patch(&path, &acme, json!({"active": false}))
        .await
        .expect(200);
    let dry = json!({"dry_run": true, "max_per_second": 2});
    let found = api
        .post("/deliveries/retry", &acme, dry.clone())
        .await
        .expect(200);
    assert_eq!(
        (
            &found["matching"],
            &found["disabled"],
            &found["estimated_seconds"]
        ),
        (&json!(7), &json!(3), &json!(4))
    );
    let sample = found["sample"].as_array().unwrap();
    assert_eq!(sample.len(), 5);
    assert!(sample[0].as_str().unwrap().starts_with("dlv_"));
    let oldest: Timestamp = found["oldest"].as_str().unwrap().parse().unwrap();
    assert!(Timestamp::now().duration_since(oldest).as_secs() < 60);
    assert_eq!(due(&api).await, 0);

    let other = api.token("globex").await;
    let found = api.post("/deliveries/retry", &other, dry).await.expect(200);
    assert_eq!(
        (&found["matching"], &found["oldest"]),
        (&json!(0), &Value::Null)
    );

    // Also of what a disabled subscription missed: what enabling it would be followed by.
    let replay = format!("{path}/replay");
    let wanted = json!({"since": "2020-01-01T00:00:00Z", "dry_run": true});
    let found = api.post(&replay, &acme, wanted).await.expect(200);
    assert_eq!(found["matching"], 10);
    assert!(found["sample"][0].as_str().unwrap().starts_with("evt_"));
    assert_eq!(api.count("select count(*) from jobs").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_on_at_its_rate_whichever_instance_carries_it_out() {
    let api = Api::start().await;
    let acme = api.token("acme").await;
    let subscription = api.subscribe(&acme).await;
    failed(&api, &subscription, 40).await;
    let began = Instant::now();
    let job = api
        .post("/deliveries/retry", &acme, json!({"max_per_second": 15}))
        .await
        .expect(202);
    assert_eq!(
        (&job["state"], &job["total"]),
        (&json!("running"), &json!(40))
    );
    // One after the other, and two at once: none is lost or done twice.
    for _ in 0..3 {
        let instance = Instance::start(&api);
        let before = due(&api).await;
        while due(&api).await == before && before < 40 {
            pause(began).await;
        }
        drop(instance);
    }
    let _instances = [Instance::start(&api), Instance::start(&api)];
    let job = until(&api, &acme, id(&job), "done").await;
    assert_eq!((&job["done"], &job["total"]), (&json!(40), &json!(40)));
    assert!(job["finished_at"].is_string());
    assert_eq!(due(&api).await, 40);
    assert!(
        began.elapsed() > Duration::from_secs(1),
        "40 at 15 a second take longer"
    );
    let cancel = format!("/jobs/{}/cancel", id(&job));
    api.post(&cancel, &acme, json!({}))
        .await
        .refused(409, "job_state");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_paused_resumed_and_cancelled() {
    let api = Api::start().await;
    let acme = api.token("acme").await;
    let subscription = api.subscribe(&acme).await;
    failed(&api, &subscription, 10).await;
    let body = json!({"max_per_second": 1});
    let job = api.post("/deliveries/retry", &acme, body).await.expect(202);
    let act = |action: &str| format!("/jobs/{}/{action}", id(&job));
    let paused = api.post(&act("pause"), &acme, json!({})).await.expect(200);
    assert_eq!(paused["state"], "paused");
    // Once more says so too.
    api.post(&act("pause"), &acme, json!({})).await.expect(200);
    let advanced = jobs::advance(&api.store, "acme", id(&job).parse().unwrap(), matches);
    assert!(!advanced.await.unwrap().running);
    let resumed = api.post(&act("resume"), &acme, json!({})).await.expect(200);
    assert_eq!(resumed["state"], "running");
    let other = api.token("globex").await;
    for action in ["pause", "resume", "cancel"] {
        api.post(&act(action), &other, json!({}))
            .await
            .refused(404, "not_found");
    }
    let list = api.get("/jobs", &other).await.expect(200);
    assert_eq!(list["data"], json!([]));
    let cancelled = api.post(&act("cancel"), &acme, json!({})).await.expect(200);
    assert_eq!(cancelled["state"], "cancelled");
    let list = api.get("/jobs", &acme).await.expect(200);
    assert_eq!(list["data"], json!([cancelled]));
    assert!(due(&api).await < 10);
    for refused in [
        json!({"max_per_second": 0}),
        json!({"max_per_second": 10001}),
    ] {
        let answer = api.post("/deliveries/retry", &acme, refused).await;
        answer.refused(400, "invalid_rate");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_waits_for_a_disabled_subscription_and_fails_with_a_deleted_one() {
    let api = Api::start().await;
    let acme = api.token("acme").await;
    let subscription = api.subscribe(&acme).await;
    for minutes in 1..=6 {
        let at = Timestamp::now() - i64::from(minutes).minutes();
        api.event("acme", "payment.received", at).await;
    }
    let path = format!("/subscriptions/{}", id(&subscription));
    let replay = format!("{path}/replay");
    let slowly = json!({"since": "2020-01-01T00:00:00Z", "max_per_second": 2});
    let job = api.post(&replay, &acme, slowly.clone()).await.expect(202);
    assert_eq!(
        (&job["total"], &job["state"]),
        (&json!(6), &json!("running"))
    );
    api.patch(&path, &acme, json!({"active": false}))
        .await
        .expect(200);
    let _instance = Instance::start(&api);
    let paused = until(&api, &acme, id(&job), "paused").await;
    let reason = paused["reason"].as_str().unwrap();
    assert!(reason.contains("disabled: enable it"), "{reason}");
    api.post(&format!("{path}/enable"), &acme, json!({}))
        .await
        .expect(200);
    let resume = format!("/jobs/{}/resume", id(&job));
    let resumed = api.post(&resume, &acme, json!({})).await.expect(200);
    assert_eq!(resumed["reason"], Value::Null);
    let done = until(&api, &acme, id(&job), "done").await;
    assert_eq!(done["done"], 6);
    let sent = format!(
        "select count(distinct event_id) from webhook_deliveries where replay_id = '{}'",
        done["replay_id"].as_str().unwrap()
    );
    assert_eq!(api.count(&sent).await, 6);

    let job = api.post(&replay, &acme, slowly).await.expect(202);
    assert_eq!(api.delete(&path, &acme).await.status, 204);
    let failed = until(&api, &acme, id(&job), "failed").await;
    assert_eq!(failed["reason"], "its subscription was deleted");
}

/// Has writes to the schedule of one tenant fail with this SQLSTATE.
pub(super) async fn break_schedule(api: &Api, tenant: &str, sqlstate: &str) {
    api.execute(&format!(
        "create or replace function refuse_schedule() returns trigger language plpgsql as $$
         begin raise exception 'not now' using errcode = '{sqlstate}'; end $$;
         create or replace trigger refuse_schedule before insert or update on delivery_schedule
         for each row when (new.tenant_id = '{tenant}') execute function refuse_schedule()"
    ))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_batches_fail_stops_no_other_and_goes_on_later_or_says_why_it_failed() {
    let api = Api::start().await;
    let (acme, globex) = (api.token("acme").await, api.token("globex").await);
    let of_acme = api.subscribe(&acme).await;
    failed(&api, &of_acme, 3).await;
    let of_globex = api.subscribe(&globex).await;
    let event = api
        .event("globex", "payment.received", Timestamp::now())
        .await;
    api.delivery("globex", event, id(&of_globex), "failed")
        .await;
    let retry = "/deliveries/retry";
    // Somebody holds what it needs: begun all the same, and tried again later.
    break_schedule(&api, "acme", "55P03").await;
    let job = api.post(retry, &acme, json!({})).await.expect(202);
    assert_eq!(
        (&job["state"], &job["total"], &job["done"]),
        (&json!("running"), &json!(3), &json!(0))
    );
    let _instance = Instance::start(&api);
    let failures = async || {
        let sql = "select coalesce(sum(failures), 0)::int8 from jobs
                   where batch_at > now() and tenant_id = 'acme'";
        api.count(sql).await
    };
    let began = Instant::now();
    while failures().await == 0 {
        pause(began).await;
    }
    let other = api.post(retry, &globex, json!({})).await.expect(202);
    until(&api, &globex, id(&other), "done").await;
    api.execute("drop trigger refuse_schedule on delivery_schedule")
        .await;
    let done = until(&api, &acme, id(&job), "done").await;
    assert_eq!(done["done"], 3);

    // An error that lasts.
    api.execute(
        "update webhook_deliveries set status = 'failed', next_attempt_at = null
         where tenant_id = 'acme';
         update delivery_schedule set status = 'failed' where tenant_id = 'acme'",
    )
    .await;
    break_schedule(&api, "acme", "22012").await;
    let job = api.post(retry, &acme, json!({})).await.expect(202);
    let failed = until(&api, &acme, id(&job), "failed").await;
    let reason = failed["reason"].as_str().unwrap();
    assert!(reason.contains("SQLSTATE 22012"), "{reason}");
    assert!(!reason.contains("not now"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jobs_rate_is_the_one_that_was_asked_for() {
    let api = Api::start().await;
    let acme = api.token("acme").await;
    let subscription = api.subscribe(&acme).await;
    failed(&api, &subscription, 60).await;
    let _instance = Instance::start(&api);
    let body = json!({"max_per_second": 7});
    let job = api.post("/deliveries/retry", &acme, body).await.expect(202);
    let path = format!("/jobs/{}", id(&job));
    // After the first second's worth, until forty more are due.
    let began = Instant::now();
    let reached = async |least: i64| loop {
        let done = api.get(&path, &acme).await.expect(200)["done"]
            .as_i64()
            .unwrap();
        if done >= least {
            return (done, Instant::now());
        }
        pause(began).await;
    };
    let (first, since) = reached(8).await;
    let (last, until) = reached(first + 40).await;
    #[expect(clippy::cast_precision_loss, reason = "sixty at most")]
    let rate = (last - first) as f64 / until.duration_since(since).as_secs_f64();
    assert!((6.5..7.6).contains(&rate), "{rate} a second");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_too_long_to_count_is_not_counted() {
    let api = Api::start().await;
    let acme = api.token("acme").await;
    let subscription = api.subscribe(&acme).await;
    failed(&api, &subscription, 2).await;
    let role = api.database.tenant_role();
    // Each row takes a second and a half to look at.
    api.execute(&format!(
        "create function slowly() returns boolean language plpgsql as $$
         begin perform pg_sleep(1.5); return true; end $$;
         grant execute on function slowly() to {role};
         create policy slow_schedule on delivery_schedule as restrictive for select to {role}
             using (slowly());
         create policy slow_events on webhook_events as restrictive for select to {role}
             using (slowly())"
    ))
    .await;
    let nothing = json!({
        "complete": false, "matching": null, "disabled": null, "filter_failures": null,
        "oldest": null, "sample": [], "estimated_seconds": null,
    });
    let replay = format!("/subscriptions/{}/replay", id(&subscription));
    for (call, body) in [
        (
            "/deliveries/retry",
            json!({"dry_run": true, "max_per_second": 1}),
        ),
        (
            &*replay,
            json!({"dry_run": true, "since": "2020-01-01T00:00:00Z"}),
        ),
    ] {
        let began = Instant::now();
        let found = api.post(call, &acme, body).await.expect(200);
        assert_eq!(found, nothing, "{call}");
        assert!(began.elapsed() < Duration::from_secs(5));
    }
    let job = api
        .post("/deliveries/retry", &acme, json!({}))
        .await
        .expect(202);
    assert_eq!(job["total"], Value::Null);
}
