//! Processes with one role each on one store, and what a lagging log means for a
//! subscription that is disabled meanwhile.

use serde_json::json;

use super::{Deployed, text, verifies};
use crate::harness::process::Process;
use crate::harness::receiver::{Receiver, status};
use crate::harness::walhook::{Installation, ORDER_RULES, ORDERS};

#[tokio::test(flavor = "multi_thread")]
async fn one_role_a_process_makes_a_whole() {
    let settings = "[delivery]\nretry_schedule = ['100ms']\n";
    let walhook = Installation::create(ORDERS, ORDER_RULES, settings).await;
    let commands = ["capture", "deliver", "api"].map(|role| ["run", "--roles", role]);
    let commands: Vec<&[&str]> = commands.iter().map(|command| &command[..]).collect();
    let deployed = Deployed::of(walhook, &commands).await;
    deployed
        .walhook
        .wait_for("select count(*) = 3 from instances")
        .await;
    let receiver = Receiver::answering(|path, count| match (path, count) {
        ("/", 1) => status(500),
        _ => status(200),
    })
    .await;
    let acme = deployed.tenant("acme").await;
    let subscription = acme.subscribe(&receiver.url("/")).await;
    deployed.orders("acme", 1).await;
    let requests = receiver.wait_for(2).await;
    assert!(
        requests
            .iter()
            .all(|request| verifies(&subscription["secret"], request))
    );
    deployed
        .walhook
        .wait_for("select bool_and(status = 'delivered') from webhook_deliveries")
        .await;
    let delivery = acme.only_delivery(&subscription).await;
    assert_eq!(delivery["attempts"], 2);
    assert_eq!(delivery["attempt_log"][0]["http_status"], 500);

    // What the API queues, the process that delivers sends; what it changes, it follows.
    let retry = format!("/deliveries/{}/retry", text(&delivery["id"]));
    acme.post(&retry, json!({})).await.expect(202);
    receiver.wait_for(3).await;
    let path = format!("/subscriptions/{}", text(&subscription["id"]));
    acme.patch(&path, json!({"url": receiver.url("/moved")}))
        .await;
    deployed.orders("acme", 100).await;
    receiver.wait_for_of("/moved", 100).await;
    deployed
        .walhook
        .wait_for("select count(*) = 101 from webhook_deliveries where status = 'delivered'")
        .await;
    assert_eq!(receiver.requests().len(), 103);
    let schedule = "select count(*) from delivery_schedule";
    assert_eq!(deployed.walhook.count(schedule).await, 0);
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_before_a_disable_and_came_after_it_is_offered() {
    let walhook = Installation::of_orders().await;
    let mut deployed = Deployed::of(walhook, &[&["run", "--roles", "deliver,api"]]).await;
    let capture = |deployed: &Deployed| {
        let file = deployed.walhook.config_file();
        Process::start(&file, &["run", "--roles", "capture"])
    };
    let receiver = Receiver::start().await;
    let acme = deployed.tenant("acme").await;
    let subscription = acme.subscribe(&receiver.url("/")).await;
    let path = format!("/subscriptions/{}", text(&subscription["id"]));
    let first = capture(&deployed);
    deployed.orders("acme", 1).await;
    receiver.wait_for(1).await;
    deployed
        .walhook
        .wait_for("select count(*) = 1 from webhook_deliveries where status = 'delivered'")
        .await;
    assert!(first.terminate().success());

    // Committed while it is active, enqueued while it is not.
    deployed.orders("acme", 2).await;
    let disabled = acme.patch(&path, json!({"active": false})).await;
    let second = capture(&deployed);
    deployed
        .walhook
        .wait_for("select count(*) = 3 from webhook_events")
        .await;
    deployed.orders("acme", 1).await;
    deployed
        .walhook
        .wait_for("select count(*) = 4 from webhook_events")
        .await;
    deployed.processes.push(second);
    let deliveries = "select count(*) from webhook_deliveries";
    assert_eq!(deployed.walhook.count(deliveries).await, 1);

    let enable = format!("{path}/enable");
    let enabled = acme.post(&enable, json!({})).await.expect(200);
    let offer = &enabled["replay"];
    let time = |value: &serde_json::Value| text(value).parse::<jiff::Timestamp>().unwrap();
    assert!(time(&offer["since"]) < time(&disabled["disabled_at"]));
    let wanted = json!({"since": offer["since"], "until": offer["until"]});
    let replay = format!("{path}/replay");
    let replayed = acme.post(&replay, wanted).await.expect(202);
    assert_eq!(replayed["done"], 3, "not the one that was delivered");
    let requests = receiver.wait_for(4).await;
    let mut rows: Vec<i64> = requests
        .iter()
        .filter_map(|request| request.json()["data"]["id"].as_i64())
        .collect();
    rows.sort_unstable();
    assert_eq!(rows, [1, 2, 3, 4]);
    deployed.stop();
}
