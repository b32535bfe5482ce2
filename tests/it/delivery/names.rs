//! Endpoints whose names no server answers for.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};

use super::Deployed;
use crate::harness::name_server::{Answer, NameServer};
use crate::harness::pause;
use crate::harness::receiver::{Receiver, status};

/// Of each of two tenants; together more than are looked up at once where the last look-up
/// of a name was in vain, several times over.
const SILENT: usize = 100;
/// What a look-up of a name that no server answers for takes.
const LOOK_UP: Duration = Duration::from_secs(3);
/// Few: each of them has to come while such a look-up is under way.
const ORDERS: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn names_that_nobody_answers_for_cost_the_others_nothing() {
    let local: IpAddr = "127.0.0.1".parse().unwrap();
    let names = NameServer::start(move |name, _| match name.ends_with(".silent.example") {
        true => Answer::Silence,
        false => Answer::Addresses(vec![local]),
    })
    .await;
    let settings = format!(
        "[delivery]\nname_servers = ['{}']\nretry_schedule = ['5s', '1h']\n",
        names.address
    );
    let deployed = Deployed::start(&settings).await;
    let receiver = Receiver::answering(|_, _| status(200)).await;
    let by_name = |name: &str| {
        let url = receiver.url(&format!("/{name}"));
        url.replace("127.0.0.1", &format!("{name}.example"))
    };
    for tenant in ["silent-0", "silent-1"] {
        let bad = deployed.tenant(tenant).await;
        stream::iter(0..SILENT)
            .for_each_concurrent(8, |number| {
                let bad = &bad;
                async move {
                    let url = format!("http://n{number}.{tenant}.silent.example/");
                    bad.subscribe(&url).await;
                }
            })
            .await;
    }
    for name in ["first", "second"] {
        let well = deployed.tenant(name).await;
        well.subscribe(&by_name(name)).await;
    }
    let asked = || {
        let of = |tenant, number| format!("n{number}.silent-{tenant}.silent.example");
        let names_of = |tenant| (0..SILENT).map(move |number| of(tenant, number));
        let all = names_of(0).chain(names_of(1));
        all.filter(|name| names.asked(name, 1) > 0).count()
    };
    let prompt = async |tenant: &str| {
        let began = Instant::now();
        deployed.orders(tenant, ORDERS).await;
        receiver.wait_for_of(&format!("/{tenant}"), ORDERS).await;
        let waited = began.elapsed();
        assert!(waited < LOOK_UP, "{tenant} waited for {waited:?}");
    };

    // Nothing is known of any of the names …
    for tenant in ["silent-0", "silent-1"] {
        deployed.orders(tenant, 1).await;
    }
    let began = Instant::now();
    while asked() < SILENT {
        pause(began).await;
    }
    prompt("first").await;
    let ended = "select count(*) = 200 from webhook_deliveries
        where last_error like '%cannot be resolved%'";
    deployed.walhook.wait_for(ended).await;

    // … and then that no server answers for most.
    names.forget();
    let began = Instant::now();
    while asked() == 0 {
        pause(began).await;
    }
    prompt("second").await;
    let well = "select count(*) = 10 from webhook_deliveries
        where tenant_id in ('first', 'second') and status = 'delivered' and attempts = 1";
    deployed.walhook.wait_for(well).await;
    deployed.stop();
}
