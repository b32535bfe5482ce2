//! A subscription's `rate_limit`: as many a second as it asks for, and the others as ever.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Deployed, text};
use crate::harness::receiver::Receiver;

const PER_SECOND: usize = 5;
const ORDERS: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_leave_at_the_subscriptions_rate_and_the_rest_waits_in_the_store() {
    let deployed = Deployed::start("").await;
    let receiver = Receiver::start().await;
    let acme = deployed.tenant("acme").await;
    let limit = json!({"rate_limit": PER_SECOND});
    let paced = acme.subscribe_with(&receiver.url("/paced"), limit).await;
    assert_eq!(paced["rate_limit"], PER_SECOND);
    acme.subscribe(&receiver.url("/free")).await;
    let began = Instant::now();
    deployed.orders("acme", ORDERS).await;
    let half = receiver.wait_for_of("/paced", ORDERS / 2).await;
    // What cannot be sent soon is in nobody's hands.
    let held = "select count(*) from webhook_deliveries d
        left join delivery_schedule s on s.delivery_id = d.id
        where d.status = 'pending' and (d.owner is not null or s.lease_owner is not null)";
    let held = deployed.walhook.count(held).await;
    assert!(held <= 3 * PER_SECOND as i64, "{held} in memory");
    let all = receiver.wait_for(2 * ORDERS).await;
    // No more than a tenth of a second's worth comes early, which is less than one.
    for (number, request) in (0_u32..).zip(&half) {
        let earliest = Duration::from_secs(1) / PER_SECOND as u32 * number;
        let came = request.at - began;
        assert!(came >= earliest, "number {number} came after {came:?}");
    }
    assert_eq!(
        all.last().unwrap().path,
        "/paced",
        "the other did not wait for it"
    );
    deployed
        .walhook
        .wait_for("select count(*) = 80 from webhook_deliveries where status = 'delivered' and attempts = 1")
        .await;
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_that_is_lifted_holds_nothing_back() {
    let deployed = Deployed::start("").await;
    let receiver = Receiver::start().await;
    let acme = deployed.tenant("acme").await;
    let limit = json!({"rate_limit": 1});
    let paced = acme.subscribe_with(&receiver.url("/"), limit).await;
    deployed.orders("acme", 500).await;
    receiver.wait_for(1).await;
    let path = format!("/subscriptions/{}", text(&paced["id"]));
    let changed = acme.patch(&path, json!({"rate_limit": null})).await;
    assert_eq!(changed["rate_limit"], json!(null));
    // At the old rate this would take eight minutes.
    receiver.wait_for(500).await;
    deployed
        .walhook
        .wait_for("select count(*) = 500 from webhook_deliveries where status = 'delivered'")
        .await;
    deployed.stop();
}
