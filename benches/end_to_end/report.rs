//! What was measured, as a table for people and a line of JSON for programs.

use std::collections::BTreeMap;
use std::process::Command;

use serde::Serialize;

use crate::load::{Ceiling, ROWS_PER_COMMIT};
use crate::stages::Stage;

#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) ceiling: Vec<Ceiling>,
    /// The same after the other phases.
    pub(crate) ceiling_after: Vec<Ceiling>,
    /// Beside it, before them.
    pub(crate) hyper_util: Ceiling,
    pub(crate) steady: Vec<Steady>,
    pub(crate) throughput: Throughput,
    pub(crate) peak_rss_mib: f64,
}

/// Figures of a shared machine mean little without its load.
#[derive(Serialize)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    /// Runnable tasks over the last minute, before the bench began.
    pub(crate) load_before: String,
    /// What the server's directory stands on: on `tmpfs` fsync costs nothing.
    pub(crate) file_system: String,
}

#[derive(Serialize)]
pub(crate) struct Steady {
    pub(crate) per_second: u64,
    /// Of the commits; below `per_second` the source could not keep up.
    pub(crate) achieved_per_second: f64,
    /// From the commit's timestamp, before it is flushed, to the receiver.
    pub(crate) from_commit: Latency,
    /// From when the commit was due, its own duration included.
    pub(crate) from_due: Latency,
    pub(crate) stages: BTreeMap<String, Stage>,
    pub(crate) duplicates: u64,
    pub(crate) peak_rss_mib: f64,
    pub(crate) cores_busy: f64,
    /// Of each delivery.
    pub(crate) cpu_microseconds: BTreeMap<String, f64>,
}

#[derive(Serialize)]
pub(crate) struct Throughput {
    pub(crate) seconds: f64,
    pub(crate) deliveries_per_second: f64,
    /// Under a lead that is kept full: how long the queue is, not how fast.
    pub(crate) from_commit: Latency,
    pub(crate) cpu_microseconds: BTreeMap<String, f64>,
    /// Of everything on the machine, the bench's own load and strangers included.
    pub(crate) machine_cpu_microseconds: f64,
    pub(crate) stages: BTreeMap<String, Stage>,
    pub(crate) wal_bytes: f64,
    pub(crate) duplicates: u64,
}

/// In milliseconds.
#[derive(Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Steady {
    /// Who used the machine: at a high rate the application's own commits may leave
    /// nothing of it.
    fn cpu(&self) -> String {
        let used = |name: &str| self.cpu_microseconds.get(name).copied();
        let of = |name: &str| used(name).unwrap_or_default();
        let backends = self.cpu_microseconds.iter();
        let backends = backends.filter(|(name, _)| name.starts_with("postgres: walhook"));
        let backends: f64 = backends.map(|(_, used)| used).sum();
        format!(
            "{:.2} cores busy; a delivery: the application's commits {:.0} µs, walhook {:.0}, its backends and walsender {backends:.0}, receiver {:.0}",
            self.cores_busy,
            of("postgres") - backends,
            of("walhook"),
            of("receiver")
        )
    }
}

impl Throughput {
    /// What there was no more of.
    fn held_back_by(&self, cores: usize) -> String {
        let busy = self.machine_cpu_microseconds * self.deliveries_per_second / 1e6;
        let ours = ["walhook", "postgres", "receiver"].map(|name| {
            let used = self.cpu_microseconds.get(name).copied();
            (name, used.unwrap_or_default())
        });
        let known: f64 = ours.iter().map(|(_, used)| used).sum();
        let [walhook, postgres, receiver] = ours.map(|(name, used)| {
            let share = 100.0 * used / self.machine_cpu_microseconds;
            format!("{name} {share:.0} %")
        });
        let others = 100.0 * (1.0 - known / self.machine_cpu_microseconds);
        let verdict = match busy >= 0.9 * cores as f64 {
            true => "held back by the CPU",
            false => "held back by waiting (the disk's flushes, or the lead)",
        };
        format!(
            "  {verdict}: {busy:.2} of {cores} cores busy, of that {postgres}, {walhook}, {receiver}, the load and others {others:.0} %"
        )
    }
}

fn print_stages(stages: &BTreeMap<String, Stage>) {
    let of_stage = |(name, stage): (&String, &Stage)| {
        let Stage {
            p50_up_to,
            p99_up_to,
            ..
        } = stage;
        format!("{name} {p50_up_to}/{p99_up_to}")
    };
    let stages: Vec<String> = stages.iter().map(of_stage).collect();
    println!("  stages, p50/p99 up to … ms: {}", stages.join(" · "));
}

impl Latency {
    /// Of latencies in microseconds.
    pub(crate) fn of(latencies: impl Iterator<Item = i64>) -> Self {
        let mut sorted: Vec<i64> = latencies.collect();
        sorted.sort_unstable();
        let quantile = |share: f64| {
            let rank = (sorted.len() as f64 * share).ceil() as usize;
            let latency = sorted.get(rank.saturating_sub(1));
            latency.copied().unwrap_or_default() as f64 / 1e3
        };
        Latency {
            p50: quantile(0.5),
            p95: quantile(0.95),
            p99: quantile(0.99),
            max: quantile(1.0),
        }
    }

    fn text(&self) -> String {
        format!(
            "p50 {:.1} · p95 {:.1} · p99 {:.1} · max {:.1} ms",
            self.p50, self.p95, self.p99, self.max
        )
    }
}

pub(crate) fn machine() -> Machine {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let file_system = Command::new("stat")
        .args(["--file-system", "--format=%T"])
        .arg(std::env::temp_dir())
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    Machine {
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        load_before: load.split(' ').next().unwrap_or_default().to_owned(),
        file_system: file_system.unwrap_or_default(),
    }
}

fn best(ceilings: &[Ceiling]) -> f64 {
    let rates = ceilings.iter().map(|one| one.requests_per_second);
    rates.fold(0.0, f64::max)
}

impl Report {
    pub(crate) fn print(&self) -> anyhow::Result<()> {
        let Machine {
            cores,
            load_before,
            file_system,
        } = &self.machine;
        println!("{cores} cores, load {load_before} before, {file_system}, fsync on");

        println!("\nceiling: bare POST loop by reqwest, same headers, body and receiver");
        for (before, after) in self.ceiling.iter().zip(&self.ceiling_after) {
            println!(
                "  {:>4} in flight    {:>9.0} requests/s, {:.0} after the other phases",
                before.in_flight, before.requests_per_second, after.requests_per_second
            );
        }
        println!(
            "  {:>4} in flight    {:>9.0} requests/s by hyper-util instead of reqwest",
            self.hyper_util.in_flight, self.hyper_util.requests_per_second
        );
        for steady in &self.steady {
            println!(
                "\nlatency at {} single-row commits/s ({:.0} achieved)",
                steady.per_second, steady.achieved_per_second
            );
            println!("  commit → received  {}", steady.from_commit.text());
            println!("  due → received     {}", steady.from_due.text());
            print_stages(&steady.stages);
            println!("  duplicates         {}", steady.duplicates);
            println!("  walhook's peak RSS {:.1} MiB", steady.peak_rss_mib);
            println!("  {}", steady.cpu());
        }

        let throughput = &self.throughput;
        println!(
            "\nthroughput over {:.0} s, {ROWS_PER_COMMIT} rows a commit",
            throughput.seconds
        );
        let rate = throughput.deliveries_per_second;
        println!(
            "  deliveries         {rate:.0}/s, {:.2} of the ceiling before, {:.2} of that after",
            rate / best(&self.ceiling),
            rate / best(&self.ceiling_after)
        );
        println!("  commit → received  {}", throughput.from_commit.text());
        print_stages(&throughput.stages);
        println!("  duplicates         {}", throughput.duplicates);
        println!("  WAL a delivery     {:.0} bytes", throughput.wal_bytes);
        println!("  CPU a delivery");
        for (name, microseconds) in &throughput.cpu_microseconds {
            // Backends that did nothing are noise.
            if *microseconds >= 0.05 {
                println!("    {name:<34} {microseconds:>6.1} µs");
            }
        }
        println!("  walhook's peak RSS {:.1} MiB", self.peak_rss_mib);
        println!("{}\n", throughput.held_back_by(*cores));
        println!("{}", serde_json::to_string(self)?);
        Ok(())
    }
}
