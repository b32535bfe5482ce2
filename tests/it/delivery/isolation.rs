//! Many bad endpoints at once cost the healthy ones nothing.

use super::Deployed;
use crate::harness::receiver::{Content, Gate, Receiver, status};

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
