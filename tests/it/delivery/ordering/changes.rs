//! Subscriptions that become ordered, cease to be, pause, end and are sent things again.

use super::*;
use crate::harness::connect;

#[tokio::test(flavor = "multi_thread")]
async fn one_that_becomes_ordered_lets_no_event_overtake_what_is_on_its_way() {
    let deployed = deployed(FAST_RETRIES).await;
    let gate = Gate::closed();
    let closed = gate.clone();
    // The first attempts are in flight until the gate opens, and then fail.
    let receiver = Receiver::judging(move |request| match order(request) {
        (_, 0) if request.number <= 3 => status(500).behind(&closed),
        _ => status(200),
    })
    .await;
    let acme = deployed.tenant("acme").await;
    let subscription = acme.subscribe(&receiver.url("/")).await;
    let path = format!("/subscriptions/{}", text(&subscription["id"]));
    deployed.orders("acme", 3).await;
    receiver.wait_for(1).await;
    let changed = acme.patch(&path, json!({"ordering": "row"})).await;
    assert_eq!(changed["ordering"], "row");
    for note in 1..=3 {
        let sql = format!("update orders set note = '{note}'");
        deployed.execute(&sql).await;
    }
    deployed
        .walhook
        .wait_for("select count(*) = 12 from webhook_deliveries")
        .await;
    gate.open();
    all_delivered(&deployed, 12).await;
    let failed = |request: &Request| order(request).1 == 0 && request.number <= 3;
    let rows = first_successes(&receiver.of("/"), |request| !failed(request));
    assert!((1..=3).all(|row| rows[&row] == [0, 1, 2, 3]), "{rows:?}");

    // And back: nothing waits any more, and nothing is left behind.
    receiver.judge(|request| match order(request) {
        (1, 4) => status(500),
        _ => status(200),
    });
    deployed.execute("update orders set note = '4'").await;
    deployed.execute("update orders set note = '5'").await;
    let held = "(select count(*) = 1 from delivery_schedule where status = 'held')";
    deployed.walhook.wait_for(held).await;
    let changed = acme.patch(&path, json!({"ordering": "none"})).await;
    assert_eq!(changed["ordering"], "none");
    deployed.execute("update orders set note = '6'").await;
    receiver
        .wait_until(|requests| requests.iter().any(|request| order(request) == (1, 6)))
        .await;
    receiver.judge(|_| status(200));
    all_delivered(&deployed, 21).await;
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_keeps_what_waits_in_its_order() {
    let deployed = deployed(FAST_RETRIES).await;
    let receiver = Receiver::judging(|request| match order(request) {
        (_, 0) => status(503).with_header("retry-after", "3600"),
        _ => status(200),
    })
    .await;
    let acme = deployed.tenant("acme").await;
    let subscription = ordered(&acme, &receiver.url("/")).await;
    let path = format!("/subscriptions/{}", text(&subscription["id"]));
    write(&deployed, 1, 4).await;
    let held = "(select count(*) = 4 from delivery_schedule where status = 'held')
        and exists (select from webhook_deliveries where attempts = 1)";
    deployed.walhook.wait_for(held).await;
    acme.patch(&path, json!({"active": false})).await;
    let parked = "(select count(*) = 5 from delivery_schedule where status = 'parked')";
    deployed.walhook.wait_for(parked).await;
    receiver.judge(|_| status(200));
    acme.patch(&path, json!({"active": true})).await;
    all_delivered(&deployed, 5).await;
    let told: Vec<_> = receiver.requests().iter().map(|one| order(one).1).collect();
    assert_eq!(told, [0, 0, 1, 2, 3, 4]);

    // Deleted, nothing of it is left.
    receiver.judge(|_| status(503).with_header("retry-after", "3600"));
    deployed.orders("acme", 1).await;
    deployed
        .execute("update orders set note = '9' where id = 2")
        .await;
    let held = "(select count(*) = 1 from delivery_schedule where status = 'held')
        and exists (select from webhook_deliveries where attempts = 1 and status = 'pending')";
    deployed.walhook.wait_for(held).await;
    acme.delete(&path).await;
    deployed
        .walhook
        .wait_for("select not exists (select from delivery_schedule)")
        .await;
    deployed
        .walhook
        .wait_for("select not exists (select from webhook_deliveries where status = 'pending')")
        .await;
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_goes_in_the_order_of_the_commits_and_before_what_came_later() {
    let deployed = deployed(FAST_RETRIES).await;
    let receiver = Receiver::start().await;
    let acme = deployed.tenant("acme").await;
    let since = jiff::Timestamp::now();
    let subscription = ordered(&acme, &receiver.url("/")).await;
    write(&deployed, 2, 4).await;
    all_delivered(&deployed, 10).await;
    // An event that cannot be sent yet, and a replay of all that was before it.
    receiver.judge(|request| match order(request) {
        (_, 5) => status(503).with_header("retry-after", "1"),
        _ => status(200),
    });
    let before = receiver.requests().len();
    deployed.execute("update orders set note = '5'").await;
    receiver.wait_for(before + 2).await;
    let path = format!("/subscriptions/{}/replay", text(&subscription["id"]));
    let wanted = json!({"since": since, "until": jiff::Timestamp::now()});
    let replayed = acme.post(&path, wanted).await.expect(202);
    assert_eq!(replayed["done"], 12);
    // Behind the tenth event of the replay come both of the newest change, twice.
    receiver
        .wait_until(|requests| {
            let again = requests.iter().skip(before + 2).map(order);
            again.filter(|(_, note)| *note < 5).count() == 10
        })
        .await;
    receiver.judge(|_| status(200));
    all_delivered(&deployed, 24).await;
    let again: Vec<Request> = receiver.requests().split_off(before + 2);
    let rows = first_successes(&again, |request| order(request).1 < 5);
    assert!((1..=2).all(|row| rows[&row] == [0, 1, 2, 3, 4]), "{rows:?}");
    deployed.stop();
}

/// While what was parked is made due again nothing of an ordered subscription is claimed: of a
/// row's deliveries a later one may be due and an earlier one still parked.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_while_an_ordered_subscription_is_enabled_is_claimed_afterwards() {
    let deployed = deployed("[delivery]\nretry_schedule = ['2s', '1h']\n").await;
    let receiver = Receiver::judging(|_| status(503)).await;
    let acme = deployed.tenant("acme").await;
    ordered(&acme, &receiver.url("/")).await;
    write(&deployed, 1, 0).await;
    deployed
        .walhook
        .wait_for("select exists (select from webhook_deliveries where attempts = 1)")
        .await;
    receiver.judge(|_| status(200));
    let store = connect(&deployed.walhook.database.url).await;
    // Unsettled until the lock is released, long after the delivery is due.
    let unsettle = "set search_path = walhook; begin;
        update webhook_subscriptions set deliveries_settled = false; commit;
        begin; select from webhook_subscriptions for update";
    store.batch_execute(unsettle).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    assert_eq!(receiver.requests().len(), 1, "it was claimed meanwhile");
    store.batch_execute("commit").await.unwrap();
    let unsettled = std::time::Instant::now();
    all_delivered(&deployed, 1).await;
    let took = unsettled.elapsed();
    assert!(took < std::time::Duration::from_secs(15), "{took:?}");
    deployed.stop();
}
