//! What processes cost, from /proc: CPU time and memory.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::Context;
use tokio_postgres::Client;

/// CPU microseconds used so far, by who used them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cpu(BTreeMap<String, u64>);

impl Cpu {
    /// Everybody's time at this moment. `admin` says which backend serves whom.
    pub(crate) async fn measure(
        walhook: u32,
        postmaster: u32,
        admin: &Client,
    ) -> anyhow::Result<Self> {
        let tick = 1_000_000 / ticks_per_second();
        let mut cpu = Cpu::default();
        let own = stat(&format!("/proc/{walhook}/stat")).context("walhook is not running")?;
        cpu.add("walhook", own.own * tick);
        cpu.add("receiver", receiver_threads()? * tick);

        let rows = admin
            .query(
                "select pid, coalesce(nullif(application_name, ''), backend_type) || \
                 case backend_type when 'walsender' then ' (walsender)' else '' end \
                 from pg_stat_activity",
                &[],
            )
            .await?;
        let names: BTreeMap<u32, String> = rows
            .iter()
            .map(|row| (row.get::<_, i32>(0) as u32, row.get(1)))
            .collect();
        let server = stat(&format!("/proc/{postmaster}/stat")).context("PostgreSQL is gone")?;
        cpu.add("postgres", (server.own + server.ended_children) * tick);
        for (pid, child) in children(postmaster)? {
            cpu.add("postgres", child.own * tick);
            if let Some(name) = names.get(&pid) {
                cpu.add(&format!("postgres: {name}"), child.own * tick);
            }
        }
        Ok(cpu)
    }

    /// What was used since `earlier`, for each of `deliveries`, in microseconds.
    /// A backend that has ended since counts for `postgres` only.
    pub(crate) fn per_delivery(&self, earlier: &Cpu, deliveries: u64) -> BTreeMap<String, f64> {
        let used = |(name, now): (&String, &u64)| {
            let before = earlier.0.get(name).copied().unwrap_or(0);
            let used = now.saturating_sub(before) as f64 / deliveries.max(1) as f64;
            (name.clone(), used)
        };
        self.0.iter().map(used).collect()
    }

    fn add(&mut self, name: &str, microseconds: u64) {
        *self.0.entry(name.to_owned()).or_default() += microseconds;
    }
}

/// CPU microseconds that all processes of the machine have used so far.
pub(crate) fn machine_busy() -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    let total = text.lines().next().context("/proc/stat is empty")?;
    // See proc(5): user, nice, system, idle, iowait, irq, softirq …
    let ticks = total.split_whitespace().skip(1);
    let ticks: Vec<u64> = ticks.filter_map(|ticks| ticks.parse().ok()).collect();
    let busy = [0, 1, 2, 5, 6].iter().filter_map(|index| ticks.get(*index));
    Ok(busy.sum::<u64>() * (1_000_000 / ticks_per_second()))
}

/// The most memory that a process has held so far, in KiB.
pub(crate) fn peak_rss_kib(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .context("/proc/PID/status has no VmHWM")
}

struct Stat {
    name: String,
    parent: u32,
    /// Ticks of this process or thread.
    own: u64,
    /// Ticks of its children that have ended and were waited for.
    ended_children: u64,
}

/// See proc(5). The name stands in brackets and may hold spaces and brackets itself.
fn stat(path: &str) -> Option<Stat> {
    let text = fs::read_to_string(path).ok()?;
    let (head, rest) = text.rsplit_once(") ")?;
    let name = head.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = rest.split(' ').collect();
    // Field 3, the state, is the first of `fields`.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Stat {
        name,
        parent: u32::try_from(field(4)?).ok()?,
        own: field(14)? + field(15)?,
        ended_children: field(16)? + field(17)?,
    })
}

fn children(parent: u32) -> anyhow::Result<Vec<(u32, Stat)>> {
    let processes = fs::read_dir("/proc")?.flatten().filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = stat(&format!("/proc/{pid}/stat"))?;
        (stat.parent == parent).then_some((pid, stat))
    });
    Ok(processes.collect())
}

/// Ticks of our own threads named `receiver`.
fn receiver_threads() -> anyhow::Result<u64> {
    let threads = fs::read_dir("/proc/self/task")?.flatten();
    let ticks = threads
        .filter_map(|entry| stat(&format!("{}/stat", entry.path().display())))
        .filter(|thread| thread.name == "receiver")
        .map(|thread| thread.own);
    Ok(ticks.sum())
}

fn ticks_per_second() -> u64 {
    let output = Command::new("getconf").arg("CLK_TCK").output();
    output
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok()?.trim().parse().ok())
        // What Linux has on every common architecture.
        .unwrap_or(100)
}
