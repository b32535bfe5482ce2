//! `ordering: "row"`: a row's events arrive in the order of their commits, whatever
//! fails, and no row waits for another.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::{Deployed, Tenant, text};
use crate::harness::receiver::{Gate, Receiver, Request, status};
use crate::harness::walhook::{Installation, ORDERS};

mod changes;
mod faults;

/// An event for each change of an order, and of a customer.
const RULES: &str = "
[[events]]
type = 'order.changed'
table = 'public.orders'

[[events]]
type = 'order.customer'
table = 'public.customers'
";

const TABLES: &str = "create table customers (id bigint primary key, tenant_id text, note text)";

const FAST_RETRIES: &str = "[delivery]\nretry_schedule = ['100ms', '100ms', '100ms', '100ms', '100ms', '100ms', '100ms', '100ms', '100ms', '100ms', '100ms', '100ms', '100ms', '100ms', '100ms', '100ms']\n";

async fn installed(settings: &str) -> Installation {
    Installation::create(&format!("{ORDERS}; {TABLES}"), RULES, settings).await
}

async fn deployed(settings: &str) -> Deployed {
    Deployed::of(installed(settings).await, &[&["run"]]).await
}

async fn ordered(tenant: &Tenant, url: &str) -> Value {
    let wish = json!({"ordering": "row"});
    let subscription = tenant.subscribe_with(url, wish).await;
    assert_eq!(subscription["ordering"], "row");
    subscription
}

/// Orders 1 to `rows`, then each given its notes, 1 to `notes`, in transactions of their own.
async fn write(deployed: &Deployed, rows: usize, notes: usize) {
    deployed.orders("acme", rows).await;
    for note in 1..=notes {
        let sql = format!("update orders set note = '{note}'");
        deployed.execute(&sql).await;
    }
}

/// The order that a request speaks of, and the note that it has then.
fn order(request: &Request) -> (i64, usize) {
    let data = &request.json()["data"];
    let note = data["note"]
        .as_str()
        .map_or(0, |note| note.parse().unwrap());
    (data["id"].as_i64().unwrap(), note)
}

/// The notes of each order, each where it succeeded first.
fn first_successes(
    requests: &[Request],
    succeeds: impl Fn(&Request) -> bool,
) -> HashMap<i64, Vec<usize>> {
    let mut rows: HashMap<i64, Vec<usize>> = HashMap::new();
    for request in requests.iter().filter(|request| succeeds(request)) {
        let (row, note) = order(request);
        let notes = rows.entry(row).or_default();
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    rows
}

async fn all_delivered(deployed: &Deployed, count: usize) {
    let delivered = format!(
        "(select count(*) = {count} and bool_and(status = 'delivered') from webhook_deliveries)
            and not exists (select from delivery_schedule)"
    );
    deployed.walhook.wait_for(&delivered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_event_holds_back_its_row_and_no_other() {
    let deployed = deployed(FAST_RETRIES).await;
    let gate = Gate::closed();
    let closed = gate.clone();
    let receiver = Receiver::judging(move |request| match order(request) {
        (1, 0) if request.number > 40 => status(200).behind(&closed),
        (1, 0) => status(500),
        _ => status(200),
    })
    .await;
    let acme = deployed.tenant("acme").await;
    let subscription = ordered(&acme, &receiver.url("/")).await;
    write(&deployed, 10, 5).await;
    let of_others = |requests: &[Request]| {
        let others = requests.iter().map(order).filter(|(row, _)| *row != 1);
        others.count()
    };
    let requests = receiver
        .wait_until(|requests| of_others(requests) >= 9 * 6)
        .await;
    let waiting = requests.iter().map(order).filter(|(row, _)| *row == 1);
    assert!(waiting.into_iter().all(|(_, note)| note == 0));
    // Its later events are pending, of no time, and in nobody's hands.
    let held = "(select count(*) = 5 from delivery_schedule where status = 'held')";
    deployed.walhook.wait_for(held).await;
    let path = format!(
        "/deliveries?status=pending&subscription_id={}",
        text(&subscription["id"])
    );
    let listed = acme.get(&path).await;
    let listed = listed["data"].as_array().unwrap();
    let untimed = listed.iter().filter(|one| one["next_attempt_at"].is_null());
    assert_eq!(untimed.count(), 5);
    assert!(listed.iter().all(|one| one["status"] == "pending"));

    gate.open();
    receiver.judge(|_| status(200));
    all_delivered(&deployed, 60).await;
    let rows = first_successes(&receiver.of("/"), |request| order(request) != (1, 0));
    assert_eq!(rows[&1], [1, 2, 3, 4, 5]);
    assert!(
        (2..=10).all(|row| rows[&row] == [0, 1, 2, 3, 4, 5]),
        "{rows:?}"
    );
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_holds_nothing_back_and_a_retry_of_it_is_sent() {
    let deployed = deployed("[delivery]\nretry_schedule = ['100ms']\n").await;
    let receiver = Receiver::judging(|request| match order(request) {
        (1, 0) => status(500),
        _ => status(200),
    })
    .await;
    let acme = deployed.tenant("acme").await;
    ordered(&acme, &receiver.url("/")).await;
    write(&deployed, 1, 3).await;
    let requests = receiver.wait_for(5).await;
    let told: Vec<_> = requests.iter().map(|request| order(request).1).collect();
    assert_eq!(told, [0, 0, 1, 2, 3]);
    let failed = acme
        .get_until("/deliveries?status=failed", |listed| {
            listed["data"].as_array().unwrap().len() == 1
        })
        .await;
    receiver.judge(|_| status(200));
    let retry = format!("/deliveries/{}/retry", text(&failed["data"][0]["id"]));
    acme.post(&retry, json!({})).await.expect(202);
    let requests = receiver.wait_for(6).await;
    assert_eq!(order(&requests[5]), (1, 0));
    // So is one that was delivered.
    all_delivered(&deployed, 4).await;
    let delivered = acme.get("/deliveries?status=delivered&limit=1").await;
    let retry = format!("/deliveries/{}/retry", text(&delivered["data"][0]["id"]));
    acme.post(&retry, json!({})).await.expect(202);
    receiver.wait_for(7).await;
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_two_tables_with_one_key_do_not_wait_for_each_other() {
    let deployed = deployed(FAST_RETRIES).await;
    let receiver = Receiver::judging(|request| match request.json()["type"].as_str() {
        Some("order.changed") => status(500),
        _ => status(200),
    })
    .await;
    let acme = deployed.tenant("acme").await;
    ordered(&acme, &receiver.url("/")).await;
    deployed.orders("acme", 1).await;
    deployed
        .execute("insert into customers values (1, 'acme', null)")
        .await;
    receiver
        .wait_until(|requests| {
            requests
                .iter()
                .any(|request| request.json()["type"] == "order.customer")
        })
        .await;
    receiver.judge(|_| status(200));
    all_delivered(&deployed, 2).await;
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_queue_of_one_row_costs_the_others_nothing_and_leaves_in_order() {
    let deployed = deployed(FAST_RETRIES).await;
    let receiver = Receiver::judging(|request| match order(request) {
        (1, 0) => status(503).with_header("retry-after", "3600"),
        _ => status(200),
    })
    .await;
    let acme = deployed.tenant("acme").await;
    ordered(&acme, &receiver.url("/")).await;
    deployed.orders("acme", 2).await;
    receiver.wait_for(2).await;
    // One transaction, and one second of the source.
    deployed
        .execute(
            "do $$ begin for n in 1..300 loop
                 update orders set note = n::text where id = 1;
             end loop; end $$;
             update orders set note = '1' where id = 2",
        )
        .await;
    let requests = receiver.wait_for(3).await;
    assert_eq!(order(&requests[2]), (2, 1));
    let held = "(select count(*) = 300 from delivery_schedule where status = 'held')";
    deployed.walhook.wait_for(held).await;
    // All of them come by claims of their own: nothing is due, and nobody asks.
    receiver.judge(|_| status(200));
    let waiting = acme.get("/deliveries?status=pending&limit=200").await;
    let waiting = waiting["data"].as_array().unwrap();
    let timed = waiting.iter().find(|one| !one["next_attempt_at"].is_null());
    assert!(timed.is_none() || timed.unwrap()["attempts"] == 1);
    acme.post("/deliveries/retry", json!({"status": "pending"}))
        .await
        .expect(202);
    all_delivered(&deployed, 303).await;
    let rows = first_successes(&receiver.of("/"), |request| {
        order(request) != (1, 0) || request.number > 2
    });
    assert!(rows[&1].is_sorted(), "{:?}", rows[&1]);
    deployed.stop();
}
