//! What old values cost without REPLICA IDENTITY FULL: a backlog of updates taken by
//! walhook as the binary that is shipped, with its shadow against the table altered to
//! FULL, in the same run; the store in a PostgreSQL of its own. And what the source has
//! to write for it, against the same updates of a table that nobody watches.
//!
//! `cargo bench --bench shadow` · `… -- --updates 50000 --rounds 1`

#![allow(unreachable_pub)]

mod environment;
#[path = "../end_to_end/process.rs"]
#[expect(dead_code, reason = "the other bench uses all of it")]
mod process;

use std::collections::BTreeMap;
use std::time::Instant;

use clap::Parser;

use environment::{Identity, Installation, Servers};
use process::Cpu;

#[derive(Parser)]
struct Args {
    /// Updates of a backlog
    #[arg(long, default_value_t = 200_000)]
    updates: u64,
    /// Rows of the table: as many, and each is updated once and found in no cache
    #[arg(long, default_value_t = 200_000)]
    rows: u64,
    /// Backlogs of each kind; the median counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// What `cargo bench` passes, and `cargo test --all-targets` does not
    #[arg(long, hide = true)]
    bench: bool,
}

/// What the updates meet: every touched status makes an event, or none does.
const RULES: [(&str, &str); 2] = [
    ("an event of each such update", "changed(status)"),
    ("no event of any", "became(status = 'never')"),
];

/// Updates that change the watched column, in percent.
const SHARES: [u64; 2] = [10, 100];

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if !args.bench {
        eprintln!("a bench is no test: run it by `cargo bench --bench shadow`");
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        tokio::select! {
            // Dropping the servers ends them.
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
            done = run(&args) => done,
        }
    })
}

async fn run(args: &Args) -> anyhow::Result<()> {
    let servers = Servers::start()?;
    let plain = servers.plain("plain", args.rows).await?;
    println!(
        "{} updates of {} rows, 100 a commit; median of {} rounds; CPU in µs an update",
        args.updates, args.rows, args.rounds
    );
    for (number, (name, when)) in RULES.into_iter().enumerate() {
        let mut full = servers
            .install(&format!("full_{number}"), args.rows, Identity::Full, when)
            .await?;
        let mut shadow = servers
            .install(
                &format!("shadow_{number}"),
                args.rows,
                Identity::Default,
                when,
            )
            .await?;
        for share in SHARES {
            let (before, after) = plain.update(args.updates, share).await?;
            let unwatched = after - before;
            let (mut of_full, mut of_shadow) = (Vec::new(), Vec::new());
            // In turn, so that whatever else the machine does meets both.
            for round in 0..args.rounds {
                eprintln!("{name}, {share} %, round {} …", round + 1);
                of_full.push(drain(&servers, &mut full, args.updates, share).await?);
                of_shadow.push(drain(&servers, &mut shadow, args.updates, share).await?);
            }
            println!("\n{share} % of updates touch the watched column, {name}");
            print("REPLICA IDENTITY FULL", &of_full, unwatched);
            print("shadow, DEFAULT", &of_shadow, unwatched);
            let ratio = rate(&of_shadow) / rate(&of_full);
            println!("  ratio of the rates {ratio:.2} (bar: 0.60)");
        }
        let events = match number {
            0 => SHARES.iter().sum::<u64>() * args.updates / 100 * args.rounds as u64,
            _ => 0,
        };
        full.check(events).await?;
        shadow.check(events).await?;
    }
    Ok(())
}

/// One backlog, taken.
struct Drained {
    per_second: f64,
    /// What the source has written from the first update to the last being durable.
    source_wal: u64,
    store_wal_per_update: f64,
    cpu: BTreeMap<&'static str, f64>,
}

async fn drain(
    servers: &Servers,
    installation: &mut Installation,
    updates: u64,
    share: u64,
) -> anyhow::Result<Drained> {
    let (wal_before, target) = installation.table.update(updates, share).await?;
    let walhook = installation.start().await?;
    let store_before = servers.store_wal().await?;
    let (source, store) = servers.cpu(walhook.pid()).await?;
    let started = Instant::now();
    installation.reached(target).await?;
    let elapsed = started.elapsed().as_secs_f64();
    let (source_after, store_after) = servers.cpu(walhook.pid()).await?;
    let store_wal = servers.store_wal().await? - store_before;
    let source_wal = servers.source_wal().await? - wal_before;
    walhook.stop()?;

    let of = |after: &Cpu, before: &Cpu, name: &str| {
        let used = after.per_delivery(before, updates);
        used.get(name).copied().unwrap_or(0.0)
    };
    Ok(Drained {
        per_second: updates as f64 / elapsed,
        source_wal,
        store_wal_per_update: store_wal as f64 / updates as f64,
        cpu: BTreeMap::from([
            ("source", of(&source_after, &source, "postgres")),
            ("store", of(&store_after, &store, "postgres")),
            ("walhook", of(&store_after, &store, "walhook")),
        ]),
    })
}

fn print(name: &str, drained: &[Drained], unwatched: u64) {
    let of = |value: &dyn Fn(&Drained) -> f64| median(drained.iter().map(value).collect());
    let cpu = |part: &'static str| of(&|one| one.cpu.get(part).copied().unwrap_or(0.0));
    // The least: what else writes, such as a checkpoint, only adds.
    let wal = drained.iter().map(|one| one.source_wal).min().unwrap_or(0);
    println!(
        "  {name:<24} {:>8.0} updates/s   CPU: walhook {:.1}, store {:.1}, source {:.1}   WAL: source {:+} B against unwatched ({:+.2} %), store {:.0} B/update",
        rate(drained),
        cpu("walhook"),
        cpu("store"),
        cpu("source"),
        wal as i64 - unwatched as i64,
        (wal as f64 / unwatched as f64 - 1.0) * 100.0,
        of(&|one| one.store_wal_per_update),
    );
}

fn rate(drained: &[Drained]) -> f64 {
    median(drained.iter().map(|one| one.per_second).collect())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
