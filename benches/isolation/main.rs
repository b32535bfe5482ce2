//! What bad endpoints cost the others: from the commit to the arrival at the healthy
//! ones, with 5 % of the endpoints hanging, dripping, refusing or failing, or beside many
//! whose names no server answers for, against the same without any that is bad. And what a
//! neighbour costs them that uses the API, filters or pending deliveries as much as it may,
//! with 100 endpoints and 1,024 descriptors, against the same without it. Runs are
//! interleaved; the ratio is the median of them.
//!
//! `cargo bench --bench isolation` · `… -- --endpoints 1000 --rounds 1 --seconds 5`
//! · `… -- --neighbours 1`: these alone

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

#[path = "../deployment/mod.rs"]
mod deployment;
#[expect(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "of the tests' harness, of which this needs a part"
)]
#[path = "../../tests/it/harness/name_server.rs"]
mod name_server;
mod names;
mod neighbours;

use deployment::receiver::{Manner, Receiver, is_bad};
use deployment::{Deployment, argument, connect, median};
use names::{FURTHER, Further, further_events, further_tenant, further_url, named, names};
use neighbours::Neighbour;
use uuid::Uuid;

/// Rows of one commit.
const PER_COMMIT: usize = 10;

/// By then everything must have arrived at the healthy endpoints.
const ARRIVAL: Duration = Duration::from_secs(60);

/// What is wrong, beside or among the healthy endpoints.
#[derive(Clone, Copy)]
enum Wrong {
    Endpoints(Manner),
    /// [`FURTHER`] further endpoints of two tenants, each with a name, as the healthy ones have.
    Names(Further),
    /// With [`Load::beside_neighbours`].
    Neighbour(Neighbour),
}

/// The first is what the others are compared with.
const KINDS: [(&str, Wrong); 5] = [
    ("all well", Wrong::Endpoints(Manner::Well)),
    ("5 % hang", Wrong::Endpoints(Manner::Hanging)),
    ("5 % drip", Wrong::Endpoints(Manner::Dripping)),
    ("5 % refuse", Wrong::Endpoints(Manner::Refusing)),
    ("5 % answer 500", Wrong::Endpoints(Manner::Failing)),
];

/// An event for so many endpoints at once costs the others something, whatever their names.
const NAMES: [(&str, Wrong); 2] = [
    ("1,500 names", Wrong::Names(Further::Answered)),
    ("… all silent", Wrong::Names(Further::Silent)),
];

fn main() -> anyhow::Result<()> {
    deployment::run(run())
}

struct Load {
    endpoints: usize,
    per_second: usize,
    duration: Duration,
}

impl Load {
    /// As few endpoints as have descriptors enough, whatever the neighbour does.
    fn beside_neighbours(self) -> Self {
        Load {
            endpoints: self.endpoints.min(100),
            ..self
        }
    }
}

#[derive(Clone, Copy)]
struct Measured {
    p50: f64,
    p99: f64,
    max: f64,
    rss: f64,
    /// Per cent of a core.
    walhook: f64,
    postgres: f64,
    /// Of the WAL, a second.
    syncs: f64,
}

async fn run() -> anyhow::Result<()> {
    let load = Load {
        endpoints: argument("endpoints", 10_000),
        per_second: argument("rate", 1_000),
        duration: Duration::from_secs(argument("seconds", 20) as u64),
    };
    let rounds = argument("rounds", 5);
    let mut deployment = Deployment::start().await?;
    let receiver = Receiver::start()?;
    let names = names(&receiver, load.endpoints).await?;
    deployment.name_server = Some(names.address);
    println!(
        "{} events/s, {} s a run, {rounds} rounds; commit → arrival at healthy endpoints",
        load.per_second,
        load.duration.as_secs()
    );
    if argument("neighbours", 0) == 0 {
        println!("\n{} endpoints", load.endpoints);
        compare(&deployment, &receiver, &load, rounds, &KINDS).await?;
        compare(&deployment, &receiver, &load, rounds, &NAMES).await?;
    }
    let load = load.beside_neighbours();
    deployment.descriptors = Some(neighbours::DESCRIPTORS);
    println!(
        "\n{} endpoints, {} descriptors",
        load.endpoints,
        neighbours::DESCRIPTORS
    );
    let kinds = Neighbour::ALL.map(|(name, neighbour)| (name, Wrong::Neighbour(neighbour)));
    compare(&deployment, &receiver, &load, rounds, &kinds).await
}

/// Measures each kind in each round, and reports them.
async fn compare(
    deployment: &Deployment,
    receiver: &Receiver,
    load: &Load,
    rounds: usize,
    kinds: &[(&str, Wrong)],
) -> anyhow::Result<()> {
    let mut all: Vec<Vec<Measured>> = vec![Vec::new(); kinds.len()];
    for round in 1..=rounds {
        for ((name, wrong), results) in kinds.iter().zip(&mut all) {
            let measured = measure(deployment, receiver, load, *wrong).await;
            let measured = measured.with_context(|| format!("round {round}, {name}"))?;
            println!(
                "round {round}  {name:<16} p50 {:>8.1}  p99 {:>8.1}  max {:>8.1} ms  \
                 walhook {:>3.0} % of a core, {:>5.1} MiB, PostgreSQL {:>3.0} %, {:>4.0} syncs/s",
                measured.p50,
                measured.p99,
                measured.max,
                measured.walhook,
                measured.rss,
                measured.postgres,
                measured.syncs
            );
            results.push(measured);
        }
    }
    report(kinds, &all)
}

fn report(kinds: &[(&str, Wrong)], all: &[Vec<Measured>]) -> anyhow::Result<()> {
    let well = all.first().context("nothing was measured")?;
    let of =
        |runs: &[Measured], value: fn(&Measured) -> f64| median(runs.iter().map(value).collect());
    println!(
        "\n{:<16} {:>9} {:>9} {:>9} {:>12}",
        "median", "p50 ms", "p99 ms", "max ms", "p99 ratio"
    );
    let mut ratios = serde_json::Map::new();
    for ((name, _), runs) in kinds.iter().zip(all) {
        let pairs = runs.iter().zip(well);
        let ratio = median(
            pairs
                .map(|(with, without)| with.p99 / without.p99)
                .collect(),
        );
        println!(
            "{name:<16} {:>9.1} {:>9.1} {:>9.1} {ratio:>12.2}",
            of(runs, |run| run.p50),
            of(runs, |run| run.p99),
            of(runs, |run| run.max)
        );
        ratios.insert((*name).to_owned(), ratio.into());
    }
    println!("{}", serde_json::Value::Object(ratios));
    Ok(())
}

/// One run of a walhook that knows nothing of its endpoints yet.
async fn measure(
    deployment: &Deployment,
    receiver: &Receiver,
    load: &Load,
    wrong: Wrong,
) -> anyhow::Result<Measured> {
    deployment.clear().await?;
    let urls: Vec<String> = (0..load.endpoints)
        .map(|number| match wrong {
            Wrong::Endpoints(manner) => receiver.url(number, manner),
            Wrong::Neighbour(_) => receiver.url(number, Manner::Well),
            Wrong::Names(_) => named(number, &receiver.url(number, Manner::Well)),
        })
        .collect();
    deployment.subscribe(&urls).await?;
    let mut theirs = Vec::new();
    match wrong {
        Wrong::Endpoints(manner) => receiver.behave(manner),
        Wrong::Neighbour(neighbour) => {
            receiver.behave(Manner::Well);
            theirs = neighbour.prepare(deployment).await?;
        }
        Wrong::Names(further) => {
            receiver.behave(Manner::Well);
            let tenants: Vec<String> = (0..FURTHER).map(further_tenant).collect();
            let urls: Vec<String> = (0..FURTHER)
                .map(|number| further_url(receiver, number, further))
                .collect();
            deployment.subscribe_also(&tenants, &urls).await?;
        }
    }
    let roles = match wrong {
        Wrong::Neighbour(_) => "capture,deliver,api",
        Wrong::Endpoints(_) | Wrong::Names(_) => "capture,deliver",
    };
    let walhook = deployment.walhook(roles).await?;
    let before = receiver.healthy();
    // Everybody has had something, so that the bad ones are known and connections open.
    for first in (0..load.endpoints).step_by(100) {
        commit(&deployment.admin, first, 100, load.endpoints).await?;
    }
    arrived(receiver, before, 0..load.endpoints, load.endpoints).await?;
    quiet(receiver).await;

    receiver.take_latencies();
    receiver.measure(true);
    let before = receiver.healthy();
    let (cpu, began) = ((walhook.cpu()?, deployment.server_cpu()?), Instant::now());
    let synced = syncs(deployment).await?;
    let rows = tokio::select! {
        rows = steady(deployment, load) => rows?,
        failed = disturb(deployment, wrong, &theirs) => {
            failed?;
            bail!("what disturbs has ended");
        }
    };
    arrived(receiver, before, rows, load.endpoints).await?;
    let share = |used: Duration| 100.0 * used.as_secs_f64() / began.elapsed().as_secs_f64();
    let walhook_share = share(walhook.cpu()? - cpu.0);
    // A backend may have ended meanwhile.
    let postgres_share = share(deployment.server_cpu()?.saturating_sub(cpu.1));
    let synced = syncs(deployment).await? - synced;
    receiver.measure(false);
    let mut latencies = receiver.take_latencies();
    latencies.sort_unstable();
    let quantile = |share: f64| {
        let rank = (latencies.len() as f64 * share).ceil() as usize;
        f64::from(latencies.get(rank.saturating_sub(1)).copied().unwrap_or(0)) / 1e3
    };
    let measured = Measured {
        p50: quantile(0.5),
        p99: quantile(0.99),
        max: quantile(1.0),
        rss: walhook.peak_rss()?,
        walhook: walhook_share,
        postgres: postgres_share,
        syncs: synced as f64 / load.duration.as_secs_f64(),
    };
    if let Wrong::Neighbour(_) = wrong {
        report_failures(deployment).await?;
    }
    deployment.kill(walhook).await?;
    Ok(measured)
}

/// What goes on beside the load; does not end but by an error.
async fn disturb(deployment: &Deployment, wrong: Wrong, theirs: &[Uuid]) -> anyhow::Result<()> {
    match wrong {
        Wrong::Endpoints(_) => std::future::pending().await,
        Wrong::Names(_) => further_events(deployment).await,
        Wrong::Neighbour(neighbour) => neighbour.disturb(deployment, theirs).await,
    }
}

/// Attempts at healthy endpoints do not fail, whatever a neighbour does.
async fn report_failures(deployment: &Deployment) -> anyhow::Result<()> {
    let query = "select coalesce(error, error_class), count(*) from walhook.webhook_attempts
        where error_class is not null and tenant_id like 't%' group by 1 order by 2 desc limit 3";
    for row in deployment.admin.query(query, &[]).await? {
        let (error, count): (String, i64) = (row.get(0), row.get(1));
        println!("         {count} attempts failed: {error}");
    }
    Ok(())
}

/// Waits until nothing arrives any more. What the run before had not confirmed comes
/// again, and was counted for what this one has sent.
async fn quiet(receiver: &Receiver) {
    let mut arrived = None;
    while arrived != Some(receiver.healthy()) {
        arrived = Some(receiver.healthy());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// How often the WAL was synced, by what the backends have reported.
async fn syncs(deployment: &Deployment) -> anyhow::Result<i64> {
    let row = deployment
        .admin
        .query_one("select wal_sync from pg_stat_wal", &[])
        .await?;
    Ok(row.get(0))
}

/// Commits by the clock, each row to the next endpoint; answers which rows.
async fn steady(deployment: &Deployment, load: &Load) -> anyhow::Result<std::ops::Range<usize>> {
    let commits = load.per_second * load.duration.as_secs() as usize / PER_COMMIT;
    let period = Duration::from_secs(1) * PER_COMMIT as u32 / load.per_second as u32;
    let first = load.endpoints;
    let start = tokio::time::Instant::now();
    let endpoints = load.endpoints;
    let mut writers = Vec::new();
    for writer in 0..8 {
        let client = connect(&deployment.url).await?;
        writers.push(tokio::spawn(async move {
            for number in (writer..commits).step_by(8) {
                tokio::time::sleep_until(start + period * number as u32).await;
                commit(&client, first + number * PER_COMMIT, PER_COMMIT, endpoints).await?;
            }
            anyhow::Ok(())
        }));
    }
    for writer in writers {
        writer.await??;
    }
    Ok(first..first + commits * PER_COMMIT)
}

async fn commit(
    client: &tokio_postgres::Client,
    first: usize,
    count: usize,
    endpoints: usize,
) -> anyhow::Result<()> {
    let numbers = [first as i64, (first + count - 1) as i64, endpoints as i64];
    client
        .execute(
            "insert into orders select n, 't' || n % $3, repeat('x', 200) from generate_series($1::bigint, $2) n",
            &[&numbers[0], &numbers[1], &numbers[2]],
        )
        .await?;
    Ok(())
}

/// Waits until those of the rows that go to healthy endpoints have arrived.
async fn arrived(
    receiver: &Receiver,
    before: u64,
    mut rows: std::ops::Range<usize>,
    endpoints: usize,
) -> anyhow::Result<()> {
    let total = rows.len();
    let bad = rows.by_ref().filter(|row| is_bad(row % endpoints)).count();
    let expected = (total - bad) as u64;
    let began = Instant::now();
    while receiver.healthy() - before < expected {
        ensure!(
            began.elapsed() < ARRIVAL,
            "{} of {expected} deliveries to healthy endpoints had not arrived after {} s",
            expected - (receiver.healthy() - before),
            ARRIVAL.as_secs()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
