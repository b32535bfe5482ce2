//! An endpoint that keeps failing is left alone, probed once, and then served again.

use std::time::Duration;

use serde_json::json;

use super::{Deployed, text};
use crate::harness::process::Process;
use crate::harness::receiver::{Gate, Receiver, Request, status};
use crate::harness::walhook::{self, Installation, ORDER_RULES};

const ORDERS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_opens_probes_once_and_closes() {
    let settings = "[delivery]\nendpoint_concurrency = 4\n\
        retry_schedule = ['200ms', '200ms', '200ms', '200ms', '200ms', '200ms']\n";
    let deployed = Deployed::start(settings).await;
    let receiver = Receiver::answering(|_, _| status(500)).await;
    let acme = deployed.tenant("acme").await;
    let subscription = acme.subscribe(&receiver.url("/")).await;
    let path = format!("/subscriptions/{}", text(&subscription["id"]));
    deployed.orders("acme", ORDERS).await;
    acme.get_until(&path, |shown| shown["breaker"] == "open")
        .await;
    deployed
        .walhook
        .wait_for("select not exists (select from webhook_deliveries where owner is not null)")
        .await;
    // Five in a row open it; up to three more were in flight then.
    let failed = receiver.requests();
    assert!((5..=8).contains(&failed.len()), "{} requests", failed.len());
    assert_eq!(deployed.metric("walhook_breakers_open").await, Some(1.0));
    assert!(deployed.log().contains("circuit breaker opened"));

    // Whatever comes meanwhile waits with the rest.
    let gate = Gate::closed();
    let held = gate.clone();
    receiver.answer(move |_, _| status(200).behind(&held));
    deployed.orders("acme", 1).await;
    let requests = receiver.wait_for(failed.len() + 1).await;
    let probe = requests.last().unwrap();
    let open = probe.at - failed[4].at;
    assert!(open >= Duration::from_secs(10), "open for {open:?} only");
    acme.get_until(&path, |shown| shown["breaker"] == "half_open")
        .await;
    assert_eq!(receiver.requests().len(), failed.len() + 1, "one probe");
    let attempts = "select sum(attempts) from webhook_deliveries";
    assert_eq!(
        deployed.walhook.count(attempts).await,
        failed.len() as i64,
        "time spent open consumes no attempts"
    );

    gate.open();
    let all = format!(
        "select count(*) = {} from webhook_deliveries where status = 'delivered'",
        ORDERS + 1
    );
    deployed.walhook.wait_for(&all).await;
    acme.get_until(&path, |shown| shown["breaker"] == "closed")
        .await;
    assert_eq!(deployed.metric("walhook_breakers_open").await, Some(0.0));
    assert!(deployed.log().contains("circuit breaker closed"));
    assert_eq!(receiver.requests().len(), failed.len() + ORDERS + 1);
    let listed = acme.get("/deliveries?status=failed").await;
    assert_eq!(listed["data"], json!([]));
    deployed.stop();
}

/// The breaker is another process's than the API, and open for 10 s at least.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_by_hand_is_the_probe_of_an_open_breaker() {
    let settings = "[delivery]\nretry_schedule = ['1h', '1h', '1h', '1h', '1h']\n";
    let walhook = Installation::create(walhook::ORDERS, ORDER_RULES, settings).await;
    let commands: [&[&str]; 2] = [
        &["run", "--roles", "capture,api"],
        &["run", "--roles", "deliver"],
    ];
    let deployed = Deployed::of(walhook, &commands).await;
    let receiver = Receiver::answering(|path, _| match path {
        "/" => status(500),
        _ => status(200),
    })
    .await;
    let acme = deployed.tenant("acme").await;
    let subscription = acme.subscribe(&receiver.url("/")).await;
    let path = format!("/subscriptions/{}", text(&subscription["id"]));
    deployed.orders("acme", 5).await;
    acme.get_until(&path, |shown| shown["breaker"] == "open")
        .await;
    let failed = receiver.requests();
    assert_eq!(failed.len(), 5);
    // These are due, and wait.
    deployed.orders("acme", 3).await;
    let scheduled = "select count(*) = 8 from delivery_schedule where lease_owner is null";
    deployed.walhook.wait_for(scheduled).await;

    // Each by hand is one request, and fails: the breaker stays open.
    let attempted = async |count: usize| {
        let requests = receiver.wait_for(count).await;
        let recorded = format!("select sum(attempts) = {count} from webhook_deliveries");
        deployed.walhook.wait_for(&recorded).await;
        assert_eq!(receiver.requests().len(), count);
        let [.., before, last] = &requests[..] else {
            panic!("too few requests");
        };
        let waited = last.at - before.at;
        assert!(waited < Duration::from_secs(10), "the breaker's own probe");
        last.clone()
    };
    let id = |request: &Request| request.id().to_owned();
    let listed = acme.get("/deliveries").await;
    let mut listed = listed["data"].as_array().unwrap().iter();
    let first = listed
        .find(|one| one["event_id"] == failed[0].id())
        .unwrap();
    let retry = format!("/deliveries/{}/retry", text(&first["id"]));
    acme.post(&retry, json!({})).await.expect(202);
    assert_eq!(id(&attempted(6).await), failed[0].id());

    let test = format!("{path}/test");
    acme.post(&test, json!({})).await.expect(202);
    assert_eq!(attempted(7).await.json()["type"], "ping");

    let pending = json!({"status": "pending"});
    let retry_all = "/deliveries/retry";
    let all = acme.post(retry_all, pending.clone()).await.expect(202);
    assert_eq!(all["done"], 9);
    attempted(8).await;
    let shown = acme.get(&path).await;
    assert_eq!(shown["breaker"], "open", "one of them is the probe");

    // An endpoint that was changed is tried at once too. The last probe is due in an hour.
    acme.patch(&path, json!({"url": receiver.url("/moved")}))
        .await;
    let well = receiver.wait_for_of("/moved", 8).await;
    let waited = well[0].at - receiver.of("/")[7].at;
    assert!(waited < Duration::from_secs(10), "the breaker's own probe");
    acme.get_until(&path, |shown| shown["breaker"] == "closed")
        .await;
    acme.post(retry_all, pending).await.expect(202);
    let left = "select not exists (select from delivery_schedule) and not exists (select from probe_requests)";
    deployed.walhook.wait_for(left).await;
    assert_eq!(receiver.requests().len(), 17);
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_breaker_is_forgotten_with_the_process_that_opened_it() {
    let settings = "[delivery]\nretry_schedule = ['1h']\n";
    let mut deployed = Deployed::start(settings).await;
    let receiver = Receiver::answering(|_, _| status(500)).await;
    let acme = deployed.tenant("acme").await;
    acme.subscribe(&receiver.url("/")).await;
    let breaker = |state| format!("select breaker = '{state}' from webhook_subscriptions");
    deployed.orders("acme", 10).await;
    deployed.walhook.wait_for(&breaker("open")).await;
    assert!(deployed.processes.remove(0).terminate().success());
    deployed.walhook.wait_for(&breaker("closed")).await;

    // Killed, it is the next one that finds out.
    let killed = Process::start(&deployed.walhook.config_file(), &["run"]);
    deployed.orders("acme", 10).await;
    deployed.walhook.wait_for(&breaker("open")).await;
    killed.kill();
    let next = Process::start(&deployed.walhook.config_file(), &["run"]);
    deployed.processes.push(next);
    deployed.walhook.wait_for(&breaker("closed")).await;
    deployed.stop();
}
