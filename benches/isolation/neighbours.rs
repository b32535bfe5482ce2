//! What a neighbour does beside the healthy endpoints: to the API, with its filters, or with
//! what it has pending.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::MissedTickBehavior;
use uuid::Uuid;
use walhook::api::tokens;
use walhook::secret::ApiToken;

use crate::deployment::Deployment;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Neighbour {
    /// Nobody: what the others are compared with.
    None,
    /// [`CONNECTIONS`] connections to the API, each a byte a second.
    SlowCalls,
    /// [`FILTERS`] subscriptions of one tenant, with filters that take all they may, and a body
    /// of nearly 256 KiB a second.
    Filters,
    /// A subscription with [`PENDING`] deliveries is disabled and enabled again and again.
    Disabling,
    /// [`UNKNOWN`] calls a second with tokens that are none, and [`SCRAPES`] of `/metrics`.
    Calls,
}

/// Files that the process may open.
pub(crate) const DESCRIPTORS: u32 = 1024;
const CONNECTIONS: usize = 2_000;
const FILTERS: usize = 1_000;
const PENDING: usize = 300_000;
const UNKNOWN: u32 = 1_000;
const SCRAPES: u32 = 50;

/// Of all neighbours' subscriptions: nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:9/";
const TENANT: &str = "neighbour";

impl Neighbour {
    pub(crate) const ALL: [(&'static str, Neighbour); 5] = [
        ("nobody beside", Neighbour::None),
        ("2,000 slow calls", Neighbour::SlowCalls),
        ("1,000 filters", Neighbour::Filters),
        ("300,000 disabled", Neighbour::Disabling),
        ("unknown tokens", Neighbour::Calls),
    ];

    /// Makes its subscriptions, before walhook starts.
    pub(crate) async fn prepare(self, deployment: &Deployment) -> anyhow::Result<Vec<Uuid>> {
        match self {
            Neighbour::None | Neighbour::SlowCalls | Neighbour::Calls => Ok(Vec::new()),
            Neighbour::Filters => filters(deployment).await,
            Neighbour::Disabling => pending(deployment).await,
        }
    }

    /// Does it, and does not end but by an error.
    pub(crate) async fn disturb(
        self,
        deployment: &Deployment,
        subscriptions: &[Uuid],
    ) -> anyhow::Result<()> {
        match self {
            Neighbour::None => std::future::pending().await,
            Neighbour::SlowCalls => slow_calls(deployment.api).await,
            Neighbour::Filters => large_bodies(deployment).await,
            Neighbour::Disabling => {
                let subscription = subscriptions.first().context("it has a subscription")?;
                disable_and_enable(deployment, *subscription).await
            }
            Neighbour::Calls => calls(deployment.api).await,
        }
    }
}

async fn slow_calls(api: SocketAddr) -> anyhow::Result<()> {
    let mut connections = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        connections.spawn(async move {
            loop {
                // A refusal, or the end of a connection, is what it is about: come again.
                if let Ok(mut stream) = TcpStream::connect(api).await {
                    let mut request = b"GET /metrics HTTP/1.1\r\nx-slow: ".iter().copied();
                    while stream
                        .write_all(&[request.next().unwrap_or(b'x')])
                        .await
                        .is_ok()
                    {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
    }
    while let Some(ended) = connections.join_next().await {
        let () = ended?;
    }
    Ok(())
}

/// No two alike: equal ones are evaluated once.
async fn filters(deployment: &Deployment) -> anyhow::Result<Vec<Uuid>> {
    let tenants = vec![TENANT.to_owned(); FILTERS];
    let urls = vec![NOWHERE.to_owned(); FILTERS];
    let ids = deployment.subscribe_also(&tenants, &urls).await?;
    let client = deployment.store.get().await?;
    client
        .execute(
            "update webhook_subscriptions set filter =
                 'length(data.note || data.note || data.note || data.note) = ' || n
             from unnest($1::uuid[]) with ordinality as numbered (one, n) where id = one",
            &[&ids],
        )
        .await?;
    Ok(ids)
}

async fn large_bodies(deployment: &Deployment) -> anyhow::Result<()> {
    // Below all numbers of the healthy ones' rows.
    for id in i64::MIN.. {
        deployment
            .admin
            .execute(
                "insert into orders values ($1, $2, repeat('x', 250000))",
                &[&id, &TENANT],
            )
            .await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

async fn pending(deployment: &Deployment) -> anyhow::Result<Vec<Uuid>> {
    let ids = deployment
        .subscribe_also(&[TENANT.to_owned()], &[NOWHERE.to_owned()])
        .await?;
    deployment.add_pending(&ids, PENDING).await?;
    Ok(ids)
}

async fn disable_and_enable(deployment: &Deployment, subscription: Uuid) -> anyhow::Result<()> {
    let token = tokens::create(&deployment.store, TENANT, "bench", None).await?;
    let client = reqwest::Client::new();
    let url = format!(
        "http://{}/api/v1/tenant/webhooks/subscriptions/sub_{subscription}",
        deployment.api
    );
    for number in 0_u64.. {
        let active = number % 2 == 1;
        let answer = client
            .patch(&url)
            .bearer_auth(token.text())
            .header("content-type", "application/json")
            .body(format!("{{\"active\": {active}}}"))
            .send()
            .await?;
        ensure!(
            answer.status().is_success(),
            "PATCH was answered {}: {}",
            answer.status(),
            answer.text().await?
        );
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    Ok(())
}

async fn calls(api: SocketAddr) -> anyhow::Result<()> {
    let client = reqwest::Client::new();
    let unknown = format!("http://{api}/api/v1/tenant/webhooks/me");
    let metrics = format!("http://{api}/metrics");
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / UNKNOWN);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut running = tokio::task::JoinSet::new();
    for number in 0_u32.. {
        ticks.tick().await;
        let scrape = number % (UNKNOWN / SCRAPES) == 0;
        let call = if scrape {
            client.get(&metrics)
        } else {
            client
                .get(&unknown)
                .bearer_auth(ApiToken::generate().text())
        };
        // Refused or not, it has asked.
        running.spawn(async move { call.send().await.is_ok() });
        while running.try_join_next().is_some() {}
    }
    Ok(())
}
