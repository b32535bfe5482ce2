//! What walhook costs the application: the latency of its transactions at a fixed rate, with and
//! without walhook attached, the store in the same cluster and in another one.
//!
//! `cargo bench --bench application` · `… -- --rate 300 --seconds 20 --rounds 5`
//!
//! A transaction updates a row that no rule watches and inserts one that makes an event. Phases
//! with and without walhook alternate; the ratio of each round is to the mean of the phases before
//! and after it. Where there are two cores or more the application's server has the last one for
//! itself (Linux, `taskset`).

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::task::JoinSet;

#[path = "../deployment/mod.rs"]
#[expect(
    dead_code,
    reason = "what several benches share, of which this one needs a part"
)]
mod deployment;

use deployment::receiver::{Manner, Receiver, is_bad};
use deployment::{Deployment, argument, connect, median};

const TENANTS: usize = 10;

/// Connections of the application.
const CONNECTIONS: usize = 4;

/// Rows that the updates choose among.
const ACCOUNTS: i64 = 10_000;

/// Of each phase, before it is measured.
const WARM_UP: Duration = Duration::from_secs(3);

/// Milliseconds from the begin to the answered commit.
#[derive(Clone, Copy)]
struct Latency {
    p50: f64,
    p99: f64,
}

fn main() -> anyhow::Result<()> {
    deployment::run(run())
}

async fn run() -> anyhow::Result<()> {
    let load = Load {
        rate: argument("rate", 300),
        duration: Duration::from_secs(argument("seconds", 20) as u64),
    };
    let rounds = argument("rounds", 5);
    println!(
        "{} transactions/s for {} s, {rounds} rounds; ms from begin to commit",
        load.rate,
        load.duration.as_secs()
    );
    for (place, apart) in [("in the same cluster", false), ("in another cluster", true)] {
        let deployment = match apart {
            true => Deployment::start_apart().await?,
            false => Deployment::start().await?,
        };
        let pinned = pin(deployment.server_pid()?);
        let core = if pinned {
            ", its server on a core of its own"
        } else {
            ""
        };
        println!("\nthe store {place}{core}");
        compare(&deployment, load, rounds).await?;
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Load {
    /// Transactions a second.
    rate: usize,
    duration: Duration,
}

async fn compare(deployment: &Deployment, load: Load, rounds: usize) -> anyhow::Result<()> {
    let receiver = Arc::new(Receiver::start()?);
    receiver.behave(Manner::Well);
    let urls: Vec<String> = (1..)
        .filter(|number| !is_bad(*number))
        .take(TENANTS)
        .map(|number| receiver.url(number, Manner::Well))
        .collect();
    deployment.subscribe(&urls).await?;
    deployment
        .admin
        .batch_execute(&format!(
            "create table accounts (id bigint primary key, balance bigint not null);
             insert into accounts select n, 0 from generate_series(0, {ACCOUNTS} - 1) n"
        ))
        .await?;
    // By itself: in a batch it would be in a transaction.
    let vacuum = "vacuum analyze accounts";
    deployment.admin.batch_execute(vacuum).await?;
    let next = Arc::new(AtomicI64::new(0));
    let mut ratios = (Vec::new(), Vec::new());
    let mut before = load.run(deployment, &next).await?;
    show("without", before);
    for _ in 0..rounds {
        let walhook = deployment.walhook("capture,deliver").await?;
        // What was committed without it is not part of the measurement.
        let last = next.load(Ordering::Relaxed) - 1;
        deployment.until_enqueued(last).await?;
        let with = load.run(deployment, &next).await?;
        show("with", with);
        let last = next.load(Ordering::Relaxed) - 1;
        deployment.until_enqueued(last).await?;
        deployment.kill(walhook).await?;
        let after = load.run(deployment, &next).await?;
        show("without", after);
        ratios.0.push(2.0 * with.p50 / (before.p50 + after.p50));
        ratios.1.push(2.0 * with.p99 / (before.p99 + after.p99));
        before = after;
    }
    for (name, ratios) in [("p50", ratios.0), ("p99", ratios.1)] {
        let all: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
        println!(
            "  {name} × {:.2}, the median of {}",
            median(ratios),
            all.join(", ")
        );
    }
    Ok(())
}

fn show(name: &str, Latency { p50, p99 }: Latency) {
    println!("  {name:<8} p50 {p50:.2}   p99 {p99:.2}");
}

impl Load {
    async fn run(self, deployment: &Deployment, next: &Arc<AtomicI64>) -> anyhow::Result<Latency> {
        let mut connections: JoinSet<anyhow::Result<Vec<f64>>> = JoinSet::new();
        let began = Instant::now();
        let (from, until) = (began + WARM_UP, began + WARM_UP + self.duration);
        let step = Duration::from_secs(1) * u32::try_from(CONNECTIONS)? / u32::try_from(self.rate)?;
        for number in 0..CONNECTIONS {
            let client = connect(&deployment.url).await?;
            let next = Arc::clone(next);
            let first = began + step * u32::try_from(number)? / u32::try_from(CONNECTIONS)?;
            connections.spawn(async move {
                let update = client
                    .prepare("update accounts set balance = balance + 1 where id = $1")
                    .await?;
                let insert = client
                    .prepare(&format!(
                        "insert into orders values ($1, 't' || $1::int8 % {TENANTS}, repeat('x', 200))"
                    ))
                    .await?;
                let (mut due, mut measured) = (first, Vec::new());
                while due < until {
                    tokio::time::sleep_until(due.into()).await;
                    let id = next.fetch_add(1, Ordering::Relaxed);
                    let started = Instant::now();
                    client.batch_execute("begin").await?;
                    client.execute(&update, &[&(id * 7919 % ACCOUNTS)]).await?;
                    client.execute(&insert, &[&id]).await?;
                    client.batch_execute("commit").await?;
                    if started >= from {
                        measured.push(started.elapsed().as_secs_f64() * 1e3);
                    }
                    due += step;
                }
                Ok(measured)
            });
        }
        let mut measured = Vec::new();
        while let Some(ended) = connections.join_next().await {
            measured.extend(ended??);
        }
        measured.sort_by(f64::total_cmp);
        let at = |share: usize| measured.get(measured.len() * share / 100).copied();
        Ok(Latency {
            p50: at(50).context("nothing was measured")?,
            p99: at(99).context("nothing was measured")?,
        })
    }
}

/// Gives the server and its backends the last core, and everything else the others.
fn pin(server: u32) -> bool {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores < 2 {
        return false;
    }
    let taskset = |cores: String, pid: u32| {
        let set = Command::new("taskset")
            .args(["-a", "-c", "-p", &cores, &pid.to_string()])
            .output();
        set.is_ok_and(|output| output.status.success())
    };
    let others = format!("0-{}", cores - 2);
    // What is started later inherits it.
    taskset((cores - 1).to_string(), server) && taskset(others, std::process::id())
}
