//! What a backlog in the store costs: the claim by the number of rows that wait, how fast
//! it drains against fresh deliveries of the same run, memory, and what idling costs.
//!
//! `cargo bench --bench backlog` · `… -- --rows 200000 --seconds 5 --rounds 1`

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use uuid::Uuid;

#[path = "../deployment/mod.rs"]
mod deployment;

use deployment::receiver::{Manner, Receiver, is_bad};
use deployment::{Deployment, Walhook, argument, connect, median};

const ENDPOINTS: usize = 100;

/// Rows of one claim, as the claimer's.
const BATCH: i32 = 500;

/// Fresh rows that may be under way: enough to keep everything busy.
const LEAD: u64 = 5_000;

/// Let walhook come to its speed before it is measured.
const WARM_UP: Duration = Duration::from_secs(3);

fn main() -> anyhow::Result<()> {
    deployment::run(run())
}

async fn run() -> anyhow::Result<()> {
    let rows = argument("rows", 1_000_000);
    let seconds = Duration::from_secs(argument("seconds", 20) as u64);
    let rounds = argument("rounds", 3);
    let deployment = Deployment::start().await?;
    let receiver = Arc::new(Receiver::start()?);
    receiver.behave(Manner::Well);
    let urls: Vec<String> = (1..)
        .filter(|number| !is_bad(*number))
        .take(ENDPOINTS)
        .map(|number| receiver.url(number, Manner::Well))
        .collect();
    let subscriptions = deployment.subscribe(&urls).await?;

    println!("claim of {BATCH} rows, median of 20, and the look for whom something waits");
    for count in [1_000, 100_000, rows] {
        for (name, lanes) in [("one endpoint", 1), ("100 endpoints", ENDPOINTS)] {
            deployment.clear().await?;
            deployment
                .add_pending(&subscriptions[..lanes], count)
                .await?;
            let (claim, look) = claim_cost(&deployment, &subscriptions[..lanes]).await?;
            println!("  {count:>9} rows, {name:<14} claim {claim:>7.2} ms   look {look:>7.2} ms");
        }
    }
    println!();
    let lanes = [("100 endpoints", ENDPOINTS), ("one endpoint", 1)];
    let mut ratios = lanes.map(|_| Vec::new());
    // The machine's speed drifts: what is compared with is measured on both sides.
    let mut before = fresh(&deployment, &receiver, seconds).await?;
    for round in 1..=rounds {
        for ((name, lanes), ratios) in lanes.into_iter().zip(&mut ratios) {
            deployment.clear().await?;
            deployment
                .add_pending(&subscriptions[..lanes], rows)
                .await?;
            let walhook = deployment.walhook("deliver").await?;
            tokio::time::sleep(WARM_UP).await;
            let rate = rate(&receiver, seconds).await;
            println!(
                "drain, {name:<14} {rate:>8.0}/s  peak RSS {:.1} MiB",
                walhook.peak_rss()?
            );
            if round == 1 && lanes > 1 {
                drain_to_the_end(&deployment, &receiver, &walhook).await?;
                idle(&deployment, &walhook, seconds).await?;
            }
            deployment.kill(walhook).await?;
            let after = fresh(&deployment, &receiver, seconds).await?;
            ratios.push(2.0 * rate / (before + after));
            before = after;
        }
    }
    println!();
    for ((name, _), ratios) in lanes.into_iter().zip(ratios) {
        let all: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
        println!(
            "drain, {name:<14} {:.2} of the fresh rate, the median of {}",
            median(ratios),
            all.join(", ")
        );
    }
    Ok(())
}

async fn fresh(
    deployment: &Deployment,
    receiver: &Arc<Receiver>,
    duration: Duration,
) -> anyhow::Result<f64> {
    deployment.clear().await?;
    receiver.measure(true);
    let rate = sustained(deployment, receiver, duration).await?;
    receiver.measure(false);
    let latencies = receiver.take_latencies().into_iter();
    let latency = median(latencies.map(|micros| f64::from(micros) / 1e3).collect());
    println!("fresh deliveries      {rate:>8.0}/s   commit → arrival, median {latency:.0} ms");
    Ok(rate)
}

/// Milliseconds of a claim, one after the other as the claimer does, and of a look.
async fn claim_cost(deployment: &Deployment, lanes: &[Uuid]) -> anyhow::Result<(f64, f64)> {
    let client = deployment.store.get().await?;
    let first = client
        .prepare(include_str!("../../sql/queries/delivery/claim_due.sql"))
        .await?;
    let further = client
        .prepare(include_str!(
            "../../sql/queries/delivery/claim_unordered.sql"
        ))
        .await?;
    let mut claim = &first;
    let look = client
        .prepare(include_str!("../../sql/queries/delivery/list_due.sql"))
        .await?;
    let counts = vec![BATCH / i32::try_from(lanes.len())?; lanes.len()];
    let (instance, lease, bytes) = (Uuid::now_v7(), 60_f64, i64::MAX);
    let mut after_due: Vec<Option<jiff::Timestamp>> = vec![None; lanes.len()];
    let mut after_id: Vec<Option<Uuid>> = vec![None; lanes.len()];
    let (mut claims, mut looks) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let began = Instant::now();
        client
            .query(&look, &[&vec![Uuid::nil()], &vec![Uuid::max()]])
            .await?;
        looks.push(began.elapsed().as_secs_f64() * 1e3);
        let began = Instant::now();
        let rows = client
            .query(
                claim,
                &[
                    &instance, &lease, &lanes, &counts, &after_due, &after_id, &bytes, &bytes,
                ],
            )
            .await?;
        if rows.is_empty() {
            break;
        }
        claim = &further;
        claims.push(began.elapsed().as_secs_f64() * 1e3);
        for row in &rows {
            let lane: Uuid = row.get("subscription_id");
            let at = lanes.iter().position(|one| *one == lane);
            let at = at.context("claimed what was not asked for")?;
            let last = (Some(row.get("due_at")), Some(row.get("id")));
            if (after_due[at], after_id[at]) < last {
                (after_due[at], after_id[at]) = last;
            }
        }
    }
    Ok((median(claims), median(looks)))
}

/// Arrivals a second, over so long.
async fn rate(receiver: &Receiver, duration: Duration) -> f64 {
    let (before, began) = (receiver.healthy(), Instant::now());
    tokio::time::sleep(duration).await;
    (receiver.healthy() - before) as f64 / began.elapsed().as_secs_f64()
}

/// What walhook sustains from the commit on, with two writers that keep it busy.
async fn sustained(
    deployment: &Deployment,
    receiver: &Arc<Receiver>,
    duration: Duration,
) -> anyhow::Result<f64> {
    let walhook = deployment.walhook("capture,deliver").await?;
    // What the other phases wrote is decoded before.
    let marker = "insert into orders values (-1, 't0', 'x')";
    connect(&deployment.url).await?.execute(marker, &[]).await?;
    let arrived = "select exists (select from walhook.webhook_events where row_key like '%:-1')";
    deployment.until(arrived).await?;
    let start = receiver.healthy();
    let next = Arc::new(AtomicU64::new(0));
    let mut writers: tokio::task::JoinSet<anyhow::Result<()>> = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let client = connect(&deployment.url).await?;
        let (next, receiver) = (Arc::clone(&next), Arc::clone(receiver));
        writers.spawn(async move {
            let insert = client
                .prepare("insert into orders select n, 't' || n % 100, repeat('x', 200) from generate_series($1::bigint, $1 + 99) n")
                .await?;
            loop {
                if next.load(Ordering::Relaxed) >= receiver.healthy() - start + LEAD {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    continue;
                }
                let first = next.fetch_add(100, Ordering::Relaxed) as i64;
                client.execute(&insert, &[&first]).await?;
            }
        });
    }
    tokio::time::sleep(WARM_UP).await;
    let rate = rate(receiver, duration).await;
    writers.shutdown().await;
    deployment.kill(walhook).await?;
    Ok(rate)
}

async fn drain_to_the_end(
    deployment: &Deployment,
    receiver: &Receiver,
    walhook: &Walhook,
) -> anyhow::Result<()> {
    let (before, began) = (receiver.healthy(), Instant::now());
    deployment
        .until("select not exists (select from walhook.delivery_schedule)")
        .await
        .with_context(|| walhook.last_words())?;
    println!(
        "  … to its end         {:>8.0}/s  peak RSS {:.1} MiB",
        (receiver.healthy() - before) as f64 / began.elapsed().as_secs_f64(),
        walhook.peak_rss()?
    );
    Ok(())
}

async fn idle(
    deployment: &Deployment,
    walhook: &Walhook,
    duration: Duration,
) -> anyhow::Result<()> {
    tokio::time::sleep(WARM_UP).await;
    let before = (walhook.cpu()?, deployment.server_cpu()?);
    tokio::time::sleep(duration).await;
    let share = |used: Duration| 100.0 * used.as_secs_f64() / duration.as_secs_f64();
    println!(
        "idle                  walhook {:.2} %, PostgreSQL {:.2} % of a core",
        share(walhook.cpu()? - before.0),
        share(deployment.server_cpu()?.saturating_sub(before.1))
    );
    Ok(())
}
