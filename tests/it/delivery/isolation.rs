//! Many bad endpoints at once cost the healthy ones nothing, nor do many requests of a tenant.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::Deployed;
use crate::api::fixtures::with_json;
use crate::harness::receiver::{Content, Gate, Receiver, status};
use crate::harness::{connect, http};

const HEALTHY: usize = 10;
/// Of each kind. Were they to share what the healthy have, they would use it up.
const BAD: usize = 4;
const ORDERS: usize = 30;

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_that_hang_drip_refuse_or_fail_cost_the_others_nothing() {
    let settings = "[delivery]\nconcurrency = 8\nendpoint_concurrency = 4\nslow_concurrency = 32\n\
        timeout = '80s'\nretry_schedule = ['1s', '1h']\n";
    let deployed = Deployed::start(settings).await;
    let gate = Gate::closed();
    let held = gate.clone();
    let receiver = Receiver::answering(move |path, _| match path {
        "/hangs" => status(200).behind(&held),
        "/drips" => status(500).with_content(Content::Drip),
        "/fails" => status(500),
        _ => status(200),
    })
    .await;
    let closed = Receiver::start().await;
    let refusing = closed.url("/");
    closed.close().await;
    let hanging = (receiver.url("/hangs"), receiver.url("/drips"));
    for url in [&hanging.0, &hanging.1, &receiver.url("/fails"), &refusing] {
        let bad = deployed.tenant("bad").await;
        for _ in 0..BAD {
            bad.subscribe(url).await;
        }
    }
    for number in 0..HEALTHY {
        let well = deployed.tenant(&format!("well-{number}")).await;
        well.subscribe(&receiver.url(&format!("/well/{number}")))
            .await;
    }
    deployed.orders("bad", ORDERS).await;
    receiver.wait_for_of("/hangs", BAD).await;
    receiver.wait_for_of("/drips", BAD).await;
    // More of the bad ones' comes with each of the healthy ones'.
    for _ in 0..ORDERS {
        deployed
            .execute(&format!(
                "insert into orders (tenant_id, status)
                 select 'well-' || n, 'new' from generate_series(0, {HEALTHY} - 1) n
                 union all select 'bad', 'new' from generate_series(1, 3)"
            ))
            .await;
    }
    receiver
        .wait_until(|requests| {
            let well = requests.iter().filter(|r| r.path.starts_with("/well"));
            well.count() >= HEALTHY * ORDERS
        })
        .await;
    // All of that came while not one of those that hang had ended.
    let ended = "select coalesce(sum(d.attempts), 0) from webhook_deliveries d
        join webhook_subscriptions s on s.id = d.subscription_id
        where s.url like '%/hangs' or s.url like '%/drips'";
    assert_eq!(deployed.walhook.count(ended).await, 0);
    for path in ["/hangs", "/drips"] {
        assert_eq!(receiver.of(path).len(), BAD, "one at a time");
    }
    let well = "select count(*) = 300 from webhook_deliveries
        where tenant_id like 'well%' and status = 'delivered' and attempts = 1";
    deployed.walhook.wait_for(well).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn busy_endpoints_that_begin_to_hang_cost_the_others_nothing() {
    let settings = "[delivery]\nconcurrency = 8\nendpoint_concurrency = 4\nslow_concurrency = 64\ntimeout = '80s'\n";
    let deployed = Deployed::start(settings).await;
    let receiver = Receiver::start().await;
    for number in 0..6 {
        let tenant = deployed.tenant(&format!("tenant-{number}")).await;
        let path = match number {
            0..4 => format!("/hangs/{number}"),
            _ => format!("/well/{number}"),
        };
        tenant.subscribe(&receiver.url(&path)).await;
    }
    let orders = async |count: usize| {
        deployed
            .execute(&format!(
                "insert into orders (tenant_id, status) select 'tenant-' || n % 6, 'new'
                 from generate_series(1, {}) n",
                6 * count
            ))
            .await;
    };
    // All of them have earned as many at a time as there may be.
    orders(20).await;
    receiver.wait_for(6 * 20).await;
    let gate = Gate::closed();
    let held = gate.clone();
    receiver.answer(move |path, _| match path.starts_with("/hangs") {
        true => status(200).behind(&held),
        false => status(200),
    });
    orders(50).await;
    for path in ["/well/4", "/well/5"] {
        receiver.wait_for_of(path, 70).await;
    }
    let of = |number| receiver.of(&format!("/hangs/{number}")).len() - 20;
    let hanging: Vec<usize> = (0..4).map(of).collect();
    assert!(hanging.iter().all(|count| *count <= 4), "{hanging:?}");
    gate.open();
    receiver.wait_for(6 * 70).await;
    deployed
        .walhook
        .wait_for("select count(*) = 420 from webhook_deliveries where status = 'delivered' and attempts = 1")
        .await;
    deployed.stop();
}

/// Connections of each pool, the API's among them.
const CONNECTIONS: usize = 3;
/// Requests at once.
const REQUESTS: usize = 12;
/// Shorter than any statement may take on these connections: none of them comes free.
const HELD: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_hold_the_apis_connections_delay_no_heartbeat_and_no_delivery() {
    let settings = format!(
        "[store]\nconnections = {CONNECTIONS}\n[delivery]\nretry_schedule = ['1s', '1h']\n"
    );
    let deployed = Deployed::start(&settings).await;
    let receiver = Receiver::answering(|_, count| match count {
        1 | 3 => status(500),
        _ => status(200),
    })
    .await;
    let acme = deployed.tenant("acme").await;
    acme.subscribe(&receiver.url("/")).await;
    // So that the connection of the claims is there.
    deployed.orders("acme", 1).await;
    receiver.wait_for(2).await;

    // No task but the API reads or writes this table while the test runs.
    let blocker = connect(&deployed.walhook.database.url).await;
    let lock = "begin; lock table walhook.idempotency_keys in access exclusive mode";
    blocker.batch_execute(lock).await.unwrap();
    // One tenant has half of the connections at most, here one.
    let mut busy = Vec::new();
    for number in 0..CONNECTIONS {
        busy.push(deployed.tenant(&format!("busy{number}")).await);
    }
    let began = Instant::now();
    let mut requests = JoinSet::new();
    for number in 0..REQUESTS {
        let request = busy[number % CONNECTIONS]
            .request(reqwest::Method::POST, "/subscriptions")
            .header("idempotency-key", Uuid::now_v7().to_string());
        let body = json!({"url": receiver.url("/busy"), "event": "*"});
        requests.spawn(with_json(request, &body).send());
    }
    let waiting = format!(
        "select count(*) = {CONNECTIONS} from pg_locks
            where relation = 'idempotency_keys'::regclass and not granted"
    );
    deployed.walhook.wait_for(&waiting).await;

    deployed.orders("acme", 1).await;
    receiver.wait_for(4).await;
    let delivered = "select count(*) = 2 from webhook_deliveries where status = 'delivered'";
    deployed.walhook.wait_for(delivered).await;
    let took = began.elapsed();
    assert!(took < HELD, "delivered after {took:?}");
    // The heartbeats and the watch of the slot have gone on.
    tokio::time::sleep_until((began + HELD).into()).await;
    let unheard =
        "select count(*) from instances where heartbeat_at < clock_timestamp() - interval '8 s'";
    assert_eq!(deployed.walhook.count(unheard).await, 0, "no heartbeat");
    let age = deployed.metric("walhook_watch_age_seconds").await.unwrap();
    assert!(age < 8.0, "the watch last looked {age} s ago");
    let ready = http().get(format!("{}/readyz", deployed.api.base));
    let ready = ready.send().await.unwrap();
    assert_eq!(ready.status(), 200, "{}", ready.text().await.unwrap());

    blocker.batch_execute("rollback").await.unwrap();
    requests.abort_all();
    deployed.stop();
}
