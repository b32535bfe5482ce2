//! Draining a backlog: what walhook's capture reaches of what `pg_recvlogical`, which
//! writes the same log to /dev/null, reaches on the same contents of a slot.
//!
//! `cargo bench --bench capture` · `… -- --rows 200000 --rounds 1`
//!
//! Rounds alternate: every drainer once on a slot of its own, all of them made at one
//! point before the backlog was written. walhook is the binary that is shipped, with
//! `run --roles capture`, from its start to the event of the backlog's last row; its store
//! is another server, so that the WAL holds the backlog and nothing else. Measured are:
//!
//! - `walhook, no event`: receive, decode, evaluate the rule on every row; none matches;
//! - `walhook, mapped`: every row becomes an event's body, which is dropped (the library's
//!   stream and mapper in this process);
//! - `walhook, stored`: every row becomes an event and is stored, without subscriber.

mod backlog;
mod drain;
mod process;

use std::time::Duration;

use anyhow::ensure;
use clap::Parser;
use walhook::demo::postgres::Postgres;

use backlog::Backlog;
use drain::{Drain, Drainer};

#[derive(Parser)]
struct Args {
    /// Rows of each backlog: of ten columns, and about 368 bytes in the WAL
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
    /// How often each drainer drains the backlog; the median counts
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// What `cargo bench` passes, and `cargo test --all-targets` does not
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if !args.bench {
        eprintln!("a bench is no test: run it by `cargo bench --bench capture`");
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        tokio::select! {
            // Dropping the run ends walhook and both servers.
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
            done = run(&args) => done,
        }
    })
}

async fn run(args: &Args) -> anyhow::Result<()> {
    ensure!(
        args.rounds > 0 && args.rows >= 1_000,
        "too little to measure"
    );
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let settings = [
        ("max_replication_slots", "100"),
        ("max_wal_size", "8GB"),
        ("shared_buffers", "256MB"),
    ];
    let (source, store) = (Postgres::start(&settings)?, Postgres::start(&settings)?);
    let backlog = Backlog::new(&source, &store).await?;

    eprintln!("writing {} rows in transactions of 100 …", args.rows);
    let mut rounds = Vec::new();
    for _ in 0..args.rounds {
        rounds.push(backlog.slots().await?);
    }
    let end = backlog.write(args.rows, 100).await?;
    println!(
        "{} rows, 100 a transaction; load {} before, {} rounds, medians\n",
        args.rows,
        load.split(' ').next().unwrap_or_default(),
        args.rounds
    );
    let mut drains: Vec<(Drainer, Vec<Drain>)> = Drainer::ALL.map(|one| (one, Vec::new())).into();
    for slots in &rounds {
        for (drainer, of_drainer) in &mut drains {
            of_drainer.push(drainer.drain(&backlog, slots, args.rows, end).await?);
        }
    }
    report(drains, args.rows);

    eprintln!("writing {} rows in one transaction …", args.rows);
    let slots = backlog.slots().await?;
    let end = backlog.write(args.rows, args.rows).await?;
    println!("\n{} rows in one transaction, once\n", args.rows);
    let mut drains = Vec::new();
    for drainer in Drainer::ALL {
        let drain = drainer.drain(&backlog, &slots, args.rows, end).await?;
        drains.push((drainer, vec![drain]));
    }
    report(drains, args.rows);
    Ok(())
}

fn report(drains: Vec<(Drainer, Vec<Drain>)>, rows: u64) {
    println!(
        "{:<20} {:>9} {:>9} {:>7} {:>16} {:>9}",
        "", "rows/s", "best", "ratio", "client CPU µs/row", "RSS MiB"
    );
    let mut yardstick = None;
    for (drainer, mut drains) in drains {
        let rate = |elapsed: Duration| rows as f64 / elapsed.as_secs_f64();
        drains.sort_by_key(|drain| drain.elapsed);
        let best = rate(drains[0].elapsed);
        let median = rate(drains[drains.len() / 2].elapsed);
        drains.sort_by_key(|drain| drain.cpu);
        let cpu = drains[drains.len() / 2].cpu.as_secs_f64() * 1e6 / rows as f64;
        let memory = drains.iter().filter_map(|drain| drain.peak_kib).max();
        println!(
            "{:<20} {median:>9.0} {best:>9.0} {:>7.2} {cpu:>16.2} {:>9}",
            drainer.name(),
            median / *yardstick.get_or_insert(median),
            memory.map_or("-".to_owned(), |kib| format!("{:.1}", kib as f64 / 1024.0)),
        );
    }
}
