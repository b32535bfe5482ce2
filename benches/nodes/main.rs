//! What further instances that deliver add: the rate from the commit to the arrival with
//! one that captures and one, two, three that deliver, and who uses the processors. Where
//! the endpoints take half a second, one instance has as many requests under way as it
//! may, and others add theirs; where they answer at once the machine is the limit.
//!
//! `cargo bench --bench nodes` · `… -- --nodes 3 --seconds 10`

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::task::JoinSet;

#[path = "../deployment/mod.rs"]
mod deployment;

use deployment::receiver::{Manner, Receiver, is_bad};
use deployment::{Deployment, Walhook, argument, connect, median};

const ENDPOINTS: usize = 120;

/// Rows that may be committed and not have arrived: enough to keep every instance busy.
const LEAD: u64 = 20_000;

/// Let new endpoints earn their share before anything is measured.
const WARM_UP: Duration = Duration::from_secs(5);

fn main() -> anyhow::Result<()> {
    deployment::run(run())
}

async fn run() -> anyhow::Result<()> {
    let most = argument("nodes", 3);
    let duration = Duration::from_secs(argument("seconds", 20) as u64);
    let deployment = Deployment::start().await?;
    let receiver = Arc::new(Receiver::start()?);
    let urls: Vec<String> = (1..)
        .filter(|number| !is_bad(*number))
        .take(ENDPOINTS)
        .map(|number| receiver.url(number, Manner::Well))
        .collect();
    deployment.subscribe(&urls).await?;
    for (name, manner) in [
        ("endpoints that take 500 ms", Manner::Slow),
        ("endpoints that answer at once", Manner::Well),
    ] {
        receiver.behave(manner);
        println!("{name}; CPU in per cent of a core");
        for count in 1..=most {
            measure(&deployment, &receiver, count, duration).await?;
        }
    }
    Ok(())
}

async fn measure(
    deployment: &Deployment,
    receiver: &Arc<Receiver>,
    count: usize,
    duration: Duration,
) -> anyhow::Result<()> {
    deployment.clear().await?;
    let capture = deployment.walhook("capture").await?;
    let mut nodes = Vec::new();
    for _ in 0..count {
        nodes.push(deployment.walhook("deliver").await?);
    }
    let shared = format!(
        "select count(*) = {count} and bool_and(n = {ENDPOINTS} / {count})
         from (select count(*) as n from walhook.subscription_leases group by instance) leases"
    );
    deployment
        .until(&shared)
        .await
        .with_context(|| capture.last_words())?;
    let (start, mut writers) = (receiver.healthy(), write(deployment, receiver).await?);
    while receiver.healthy() == start {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(WARM_UP).await;

    receiver.measure(true);
    let used = |walhook: &Walhook| walhook.cpu();
    let before: Vec<Duration> = nodes.iter().map(used).collect::<anyhow::Result<_>>()?;
    let (captured, served) = (capture.cpu()?, deployment.server_cpu()?);
    let (arrived, began) = (receiver.healthy(), Instant::now());
    tokio::time::sleep(duration).await;
    let took = began.elapsed();
    let rate = (receiver.healthy() - arrived) as f64 / took.as_secs_f64();
    let share = |used: Duration| 100.0 * used.as_secs_f64() / took.as_secs_f64();
    let captured = share(capture.cpu()? - captured);
    let served = share(deployment.server_cpu()?.saturating_sub(served));
    let (mut each, mut memory) = (Vec::new(), 0_f64);
    for (node, before) in nodes.iter().zip(before) {
        each.push(format!("{:.0}", share(node.cpu()? - before)));
        memory = memory.max(node.peak_rss()?);
    }
    receiver.measure(false);
    let latencies = receiver.take_latencies().into_iter();
    let latency = median(latencies.map(|micros| f64::from(micros) / 1e3).collect());
    println!(
        "  {count} deliver: {rate:>7.0}/s   PostgreSQL {served:>3.0}  capture {captured:>3.0}  \
         deliver {:<14} {memory:.0} MiB at most   commit → arrival, median {latency:.0} ms",
        each.join(" + ")
    );
    writers.shutdown().await;
    drop(nodes);
    deployment.kill(capture).await
}

/// Two writers that keep everything busy.
async fn write(
    deployment: &Deployment,
    receiver: &Arc<Receiver>,
) -> anyhow::Result<JoinSet<anyhow::Result<()>>> {
    let (start, next) = (receiver.healthy(), Arc::new(AtomicU64::new(0)));
    let mut writers = JoinSet::new();
    for _ in 0..2 {
        let client = connect(&deployment.url).await?;
        let (next, receiver) = (Arc::clone(&next), Arc::clone(receiver));
        writers.spawn(async move {
            let insert = client
                .prepare(&format!(
                    "insert into orders select n, 't' || n % {ENDPOINTS}, repeat('x', 200)
                     from generate_series($1::bigint, $1 + 99) n"
                ))
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
    Ok(writers)
}
