//! One bad endpoint hurts only itself: lanes and limits.

use std::time::Duration;

use super::Deployed;
use crate::harness::receiver::{Content, Gate, Receiver, status};

/// So that requests overlap and one too many would be seen.
const LATENCY: Duration = Duration::from_millis(20);

const COUNT_ATTEMPTS: &str = "select sum(attempts) from webhook_deliveries";

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_that_hang_or_drip_do_not_delay_another_tenants() {
    // Together they could use up every request that may be in flight.
    let settings = "[delivery]\nconcurrency = 8\nendpoint_concurrency = 4\ntimeout = '60s'\n";
    let deployed = Deployed::start(settings).await;
    let gate = Gate::closed();
    let held = gate.clone();
    let receiver = Receiver::answering(move |path, _| match path {
        "/hangs" => status(200).behind(&held),
        "/drips" => status(200).with_content(Content::Drip),
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
    receiver.wait_for_of("/hangs", 4).await;
    receiver.wait_for_of("/drips", 4).await;

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
    assert_eq!(receiver.of("/hangs").len(), 4);
    assert_eq!(receiver.of("/drips").len(), 4);

    gate.open();
    receiver.wait_for_of("/hangs", 50).await;
    deployed
        .walhook
        .wait_for("select count(*) = 250 from webhook_deliveries where status = 'delivered'")
        .await;
    assert_eq!(receiver.peak("/hangs"), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_never_has_more_requests_in_hand_than_its_limit() {
    let deployed = Deployed::start("[delivery]\nendpoint_concurrency = 3\n").await;
    let gate = Gate::closed();
    let held = gate.clone();
    let receiver = Receiver::answering(move |_, _| status(200).behind(&held).taking(LATENCY)).await;
    let acme = deployed.tenant("acme").await;
    acme.subscribe(&receiver.url("/one")).await;
    acme.subscribe(&receiver.url("/two")).await;
    deployed.orders("acme", 40).await;
    // Full to the limit, each by itself.
    receiver.wait_for_of("/one", 3).await;
    receiver.wait_for_of("/two", 3).await;
    gate.open();
    receiver.wait_for(80).await;
    deployed
        .walhook
        .wait_for("select count(*) = 80 from webhook_deliveries where status = 'delivered'")
        .await;
    assert_eq!((receiver.peak("/one"), receiver.peak("/two")), (3, 3));
    assert_eq!(deployed.walhook.count(COUNT_ATTEMPTS).await, 80);
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn all_endpoints_together_never_have_more_than_the_total() {
    // Without a budget for slow ones the total holds however long they take.
    let settings = "[delivery]\nconcurrency = 5\nendpoint_concurrency = 3\nslow_concurrency = 0\n";
    let deployed = Deployed::start(settings).await;
    let gate = Gate::closed();
    let held = gate.clone();
    let receiver = Receiver::answering(move |_, _| status(200).behind(&held).taking(LATENCY)).await;
    let acme = deployed.tenant("acme").await;
    for path in ["/one", "/two", "/three"] {
        acme.subscribe(&receiver.url(path)).await;
    }
    deployed.orders("acme", 20).await;
    receiver.wait_for(5).await;
    gate.open();
    receiver.wait_for(60).await;
    deployed
        .walhook
        .wait_for("select count(*) = 60 from webhook_deliveries where status = 'delivered'")
        .await;
    assert_eq!(receiver.peak(""), 5);
    deployed.stop();
}
