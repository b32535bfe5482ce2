//! Commit to receiver, everything real: a durable PostgreSQL, walhook as the binary
//! that is shipped, 100 endpoints. Says what it sustains, how late events are at a
//! steady rate, what each delivery costs, and how that compares to a bare POST loop.
//!
//! `cargo bench --bench end_to_end` · `… -- --seconds 5 --quick` · `… -- --rates 1000,5000`
//!
//! It ends with an error when an event is missing or came under two ids.

#![allow(unreachable_pub)]

mod environment;
mod load;
mod process;
mod receiver;
mod report;
mod stages;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use tokio_util::sync::CancellationToken;

use environment::{Environment, TENANTS, connect};
use load::Rows;
use process::{Cpu, peak_rss_kib};
use receiver::{Log, Row};
use report::{Latency, Report, Steady, Throughput};
use stages::Histograms;

#[derive(Parser)]
struct Args {
    /// Length of the throughput phase and of each latency phase
    #[arg(long, env = "BENCH_SECONDS", default_value_t = 60)]
    seconds: u64,
    /// Events a second of the latency phases
    #[arg(long, value_delimiter = ',', default_value = "1000,5000")]
    rates: Vec<u64>,
    /// Committed and not yet received rows, at most, in the throughput phase
    #[arg(long, default_value_t = 5_000)]
    lead: u64,
    /// Short warm-up and ceiling, to see that it works
    #[arg(long)]
    quick: bool,
    /// What `cargo bench` passes, and `cargo test --all-targets` does not
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if !args.bench {
        eprintln!("a bench is no test: run it by `cargo bench --bench end_to_end`");
        return Ok(());
    }
    // The receiver has a thread of its own, whose CPU time is told apart by its name.
    let receivers = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("receiver")
        .enable_all()
        .build()?;
    let load = tokio::runtime::Builder::new_multi_thread()
        .thread_name("load")
        .enable_all()
        .build()?;
    let log = Arc::new(Log::default());
    let endpoints = receivers.block_on(receiver::start(TENANTS, &log))?;
    load.block_on(async {
        tokio::select! {
            // Dropping the phases ends walhook and PostgreSQL.
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
            report = run(&args, &endpoints, &log) => report?.print(),
        }
    })
}

async fn run(
    args: &Args,
    endpoints: &[std::net::SocketAddr],
    log: &Arc<Log>,
) -> anyhow::Result<Report> {
    let machine = report::machine();
    let short = Duration::from_secs(if args.quick { 1 } else { 3 });
    // A sustained rate is held against a sustained one: the best of short moments is not.
    let moment = Duration::from_secs(if args.quick { 1 } else { 10 });
    eprintln!("ceiling: a bare POST loop …");
    let ceiling = load::ceiling(endpoints, log, moment).await?;
    let hyper_util = load::ceiling_of_hyper_util(endpoints, log, moment).await?;

    eprintln!("starting PostgreSQL and walhook …");
    let environment = Environment::start(endpoints).await?;
    let phases = measure(args, &environment, log, short).await;
    let (steady, throughput) = phases.with_context(|| {
        let last_words = environment.walhook.last_words();
        format!("measure; walhook's log ends:\n{last_words}")
    })?;
    // A shared machine is not as fast all the time.
    eprintln!("ceiling: again …");
    let ceiling_after = load::ceiling(endpoints, log, moment).await?;
    Ok(Report {
        machine,
        ceiling,
        ceiling_after,
        hyper_util,
        steady,
        throughput,
        peak_rss_mib: peak_rss_kib(environment.walhook.pid())? as f64 / 1024.0,
    })
}

async fn measure(
    args: &Args,
    environment: &Environment,
    log: &Arc<Log>,
    warm_up: Duration,
) -> anyhow::Result<(Vec<Steady>, Throughput)> {
    let url = environment.url();
    let rows = Arc::new(Rows::default());
    let mut steady = Vec::new();
    for per_second in &args.rates {
        eprintln!("latency: {per_second} single-row commits a second …");
        let duration = Duration::from_secs(args.seconds);
        steady.push(steadily(environment, &url, &rows, log, *per_second, duration).await?);
    }
    eprintln!("throughput: {} s …", args.seconds);
    let throughput = sustained(args, environment, &url, &rows, log, warm_up).await?;
    Ok((steady, throughput))
}

async fn steadily(
    environment: &Environment,
    url: &str,
    rows: &Arc<Rows>,
    log: &Arc<Log>,
    per_second: u64,
    duration: Duration,
) -> anyhow::Result<Steady> {
    let first = rows.next();
    let admin = connect(url, "bench").await?;
    let (walhook, postmaster) = (environment.walhook.pid(), environment.server.pid()?);
    let stages = Histograms::parse(&environment.metrics().await?);
    let machine_before = process::machine_busy()?;
    let cpu_before = Cpu::measure(walhook, postmaster, &admin).await?;
    let start = Instant::now();
    let written = load::write_steadily(url, rows, per_second, duration).await?;
    load::drained(rows, log).await?;
    let cpu_after = Cpu::measure(walhook, postmaster, &admin).await?;
    let machine_busy = process::machine_busy()?.saturating_sub(machine_before);
    let cores_busy = machine_busy as f64 / start.elapsed().as_micros() as f64;
    let received = check(log, first, rows.next())?;
    let from_commit = received
        .iter()
        .map(|row| row.received_at - row.committed_at);
    let from_due = received
        .iter()
        .zip(&written.due)
        .map(|(row, due)| row.received_at - due);
    Ok(Steady {
        per_second,
        achieved_per_second: written.per_second,
        stages: Histograms::parse(&environment.metrics().await?).since(&stages),
        from_commit: Latency::of(from_commit),
        from_due: Latency::of(from_due),
        duplicates: duplicates(&received),
        peak_rss_mib: peak_rss_kib(walhook)? as f64 / 1024.0,
        cores_busy,
        cpu_microseconds: cpu_after.per_delivery(&cpu_before, received.len() as u64),
    })
}

async fn sustained(
    args: &Args,
    environment: &Environment,
    url: &str,
    rows: &Arc<Rows>,
    log: &Arc<Log>,
    warm_up: Duration,
) -> anyhow::Result<Throughput> {
    let admin = connect(url, "bench").await?;
    let walhook = environment.walhook.pid();
    let postmaster = environment.server.pid()?;
    let wal = async || -> anyhow::Result<i64> {
        let row = admin.query_one("select (pg_current_wal_lsn() - '0/0')::bigint", &[]);
        Ok(row.await?.get(0))
    };

    let first = rows.next();
    let stop = CancellationToken::new();
    let mut writers = load::write_ahead(url, rows, log, args.lead, &stop).await?;
    tokio::time::sleep(warm_up).await;
    let stages = Histograms::parse(&environment.metrics().await?);
    let machine_before = process::machine_busy()?;
    let cpu_before = Cpu::measure(walhook, postmaster, &admin).await?;
    let (wal_before, before, start) = (wal().await?, log.distinct(), Instant::now());
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs(args.seconds)) => {}
        // Before they are told to, writers end only when they fail.
        Some(failed) = writers.join_next() => failed??,
    }
    let (elapsed, after) = (start.elapsed(), log.distinct());
    let wal_after = wal().await?;
    let cpu_after = Cpu::measure(walhook, postmaster, &admin).await?;
    let machine_busy = process::machine_busy()?.saturating_sub(machine_before);
    let stages = Histograms::parse(&environment.metrics().await?).since(&stages);
    stop.cancel();
    while let Some(ended) = writers.join_next().await {
        ended??;
    }
    load::drained(rows, log).await?;
    let received = check(log, first, rows.next())?;

    let deliveries = after - before;
    let latencies = received
        .iter()
        .map(|row| row.received_at - row.committed_at);
    Ok(Throughput {
        seconds: elapsed.as_secs_f64(),
        deliveries_per_second: deliveries as f64 / elapsed.as_secs_f64(),
        from_commit: Latency::of(latencies),
        cpu_microseconds: cpu_after.per_delivery(&cpu_before, deliveries),
        machine_cpu_microseconds: machine_busy as f64 / deliveries.max(1) as f64,
        stages,
        wal_bytes: (wal_after - wal_before) as f64 / deliveries.max(1) as f64,
        duplicates: duplicates(&received),
    })
}

/// The rows numbered `from` up to `to`, each of which must have come, under one id.
fn check(log: &Log, from: u64, to: u64) -> anyhow::Result<Vec<Row>> {
    let rows = log.rows(from, to);
    let missing = rows.iter().filter(|row| row.times == 0).count();
    ensure!(
        missing == 0,
        "{missing} of {} events are missing",
        to - from
    );
    let differ = rows.iter().filter(|row| row.ids_differ).count();
    ensure!(differ == 0, "{differ} events came under more than one id");
    Ok(rows)
}

fn duplicates(rows: &[Row]) -> u64 {
    rows.iter().map(|row| u64::from(row.times - 1)).sum()
}
