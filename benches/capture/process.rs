//! walhook as a child, and what processes cost, from /proc.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;

/// `walhook run --roles capture`; killed when it is dropped.
pub(crate) struct Walhook {
    child: Child,
    log: PathBuf,
}

impl Walhook {
    pub(crate) fn start(config: &Path) -> anyhow::Result<Self> {
        let log = config.with_extension("log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_walhook"));
        command
            .arg("--config")
            .arg(config)
            .args(["run", "--roles", "capture"])
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("WALHOOK_") {
                command.env_remove(name);
            }
        }
        let child = command.spawn()?;
        Ok(Walhook { child, log })
    }

    pub(crate) fn has_ended(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// The end of its log, to say why something failed.
    pub(crate) fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        cpu(&self.child.id().to_string(), Whose::Own)
    }

    /// The most memory that it has held so far, in KiB.
    pub(crate) fn peak_kib(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse().ok())
            .context("/proc/PID/status has no VmHWM")
    }
}

impl Drop for Walhook {
    fn drop(&mut self) {
        // An error means that it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// CPU time of this process, its children apart.
pub(crate) fn own_cpu() -> anyhow::Result<Duration> {
    cpu("self", Whose::Own)
}

/// CPU time of the children that have ended and were waited for.
pub(crate) fn cpu_of_ended_children() -> anyhow::Result<Duration> {
    cpu("self", Whose::EndedChildren)
}

enum Whose {
    Own,
    EndedChildren,
}

/// See proc(5): ticks of a hundredth of a second. The name stands in brackets and may
/// hold spaces and brackets itself.
fn cpu(process: &str, whose: Whose) -> anyhow::Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, rest) = text.rsplit_once(") ").context("read /proc/PID/stat")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    // Field 3, the state, is the first of `fields`.
    let first = match whose {
        Whose::Own => 14 - 3,
        Whose::EndedChildren => 16 - 3,
    };
    let ticks = fields
        .get(first..first + 2)
        .context("read /proc/PID/stat")?;
    let ticks: u64 = ticks.iter().map(|ticks| ticks.parse().unwrap_or(0)).sum();
    Ok(Duration::from_millis(ticks * 10))
}
