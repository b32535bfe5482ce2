//! One bad endpoint hurts only itself: lanes and limits.

use std::time::Duration;

use super::Deployed;
use crate::harness::receiver::{Content, Gate, Receiver, status};

/// So that requests overlap and one too many would be seen.
const LATENCY: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_that_hang_or_drip_do_not_delay_another_tenants() {
    // Together they could use up every request that may be in flight.
    let settings = "[delivery]\nconcurrency = 8\nendpoint_concurrency = 4\ntimeout = '60s'\n";
    let deployed = Deployed::start(settings).await;
    let gate = Gate::closed();
    let held = gate.clone();
    let receiver = Receiver::answering(move |path, _| match path {
        "/hangs" => status(200).behind(&held),
        "/drips" => status(500).with_content(Content::Drip),
        _ => status(200),
    })
    .await;
    for (tenant, path) in [("slow", "/hangs"), ("slower", "/drips"), ("well", "/well")] {
        deployed
            .tenant(tenant)
            .await
            .subscribe(&receiver.url(path))
            .await;
    }
    deployed.orders("slow", 50).await;
    deployed.orders("slower", 50).await;
    receiver.wait_for_of("/hangs", 1).await;
    receiver.wait_for_of("/drips", 1).await;

    deployed.orders("well", 200).await;
    receiver.wait_for_of("/well", 200).await;
    deployed
        .walhook
        .wait_for("select count(*) = 200 from webhook_deliveries where status = 'delivered'")
        .await;
    // All of that came while the others had not ended a single attempt.
    let ended =
        "select coalesce(sum(attempts), 0) from webhook_deliveries where tenant_id <> 'well'";
    assert_eq!(deployed.walhook.count(ended).await, 0);
    // Nothing good is known of them: one at a time.
    assert_eq!(receiver.of("/hangs").len(), 1);
    assert_eq!(receiver.of("/drips").len(), 1);

    gate.open();
    receiver.wait_for_of("/hangs", 50).await;
    deployed
        .walhook
        .wait_for("select count(*) = 250 from webhook_deliveries where status = 'delivered'")
        .await;
    assert!(receiver.peak("/hangs") <= 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_never_has_more_requests_in_hand_than_its_limit() {
    let deployed = Deployed::start("[delivery]\nendpoint_concurrency = 3\n").await;
    let receiver = Receiver::start().await;
    let acme = deployed.tenant("acme").await;
    acme.subscribe(&receiver.url("/one")).await;
    acme.subscribe(&receiver.url("/two")).await;
    let gate = prove(&deployed, &receiver, 2).await;
    deployed.orders("acme", 40).await;
    // Full to the limit, each by itself.
    receiver.wait_for_of("/one", PROVED + 3).await;
    receiver.wait_for_of("/two", PROVED + 3).await;
    gate.open();
    receiver.wait_for(2 * (PROVED + 40)).await;
    deployed
        .walhook
        .wait_for(&delivered(2 * (PROVED + 40)))
        .await;
    assert_eq!((receiver.peak("/one"), receiver.peak("/two")), (3, 3));
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn all_endpoints_together_never_have_more_than_the_total() {
    let settings = "[delivery]\nconcurrency = 5\nendpoint_concurrency = 3\nslow_concurrency = 1\n";
    let deployed = Deployed::start(settings).await;
    let receiver = Receiver::start().await;
    let acme = deployed.tenant("acme").await;
    for path in ["/one", "/two", "/three"] {
        acme.subscribe(&receiver.url(path)).await;
    }
    let gate = prove(&deployed, &receiver, 3).await;
    deployed.orders("acme", 20).await;
    receiver.wait_for(3 * PROVED + 5).await;
    gate.open();
    receiver.wait_for(3 * (PROVED + 20)).await;
    deployed
        .walhook
        .wait_for(&delivered(3 * (PROVED + 20)))
        .await;
    let peak = receiver.peak("");
    assert!((5..=5 + 1).contains(&peak), "{peak} at once");
    deployed.stop();
}

/// Deliveries after which an endpoint has earned more at a time than any limit here.
const PROVED: usize = 16;

/// Lets endpoints that nothing is known of answer well; then the receiver takes its time
/// and answers when the gate is opened.
async fn prove(deployed: &Deployed, receiver: &Receiver, endpoints: usize) -> Gate {
    deployed.orders("acme", PROVED).await;
    deployed
        .walhook
        .wait_for(&delivered(endpoints * PROVED))
        .await;
    let gate = Gate::closed();
    let held = gate.clone();
    receiver.answer(move |_, _| status(200).behind(&held).taking(LATENCY));
    gate
}

fn delivered(count: usize) -> String {
    format!("select count(*) = {count} from webhook_deliveries where status = 'delivered'")
}
