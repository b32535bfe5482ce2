//! Which process an instance is. One that was killed need not be waited for where its
//! machine says that it is gone: the next one begins at once.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;

/// A process of this machine, told from every other of all machines and times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    /// The boot, the space in which the pid counts, and the user, whose processes alone
    /// may be visible.
    space: String,
    pid: u32,
    /// Ticks from the boot to its start: a pid comes again.
    started: u64,
}

impl Process {
    /// None where the system does not say; then nobody will know that it is gone.
    pub(super) fn own() -> Option<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let pids = fs::metadata("/proc/self/ns/pid").ok()?;
        let user = fs::metadata("/proc/self").ok()?.uid();
        let pid = std::process::id();
        Some(Process {
            space: format!("{}/{}/{user}", boot.trim(), pids.ino()),
            pid,
            started: started(pid)?,
        })
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.rsplitn(3, '/');
        let started = parts.next()?.parse().ok()?;
        let pid = parts.next()?.parse().ok()?;
        let space = parts.next()?.to_owned();
        Some(Process {
            space,
            pid,
            started,
        })
    }

    /// Whether it is certain that `other` runs no more.
    pub(super) fn outlives(&self, other: &Process) -> bool {
        self.space == other.space && started(other.pid) != Some(other.started)
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.space, self.pid, self.started)
    }
}

/// When a process that runs, or is stopped, was started; see proc(5). One that has ended
/// and was not waited for yet has no start.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, behind) = stat.rsplit_once(") ")?;
    let mut fields = behind.split(' ');
    let state = fields.next()?;
    let started = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_gone_where_its_pid_is_or_is_anothers() {
        let own = Process::own().unwrap();
        assert_eq!(Process::parse(&own.to_string()), Some(own.clone()));
        assert!(!own.outlives(&own));
        let mut other = own.clone();
        other.started -= 1;
        assert!(own.outlives(&other), "of the same pid, before it");
        other.space.push('0');
        assert!(!own.outlives(&other), "of another machine: who knows");

        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        other = Process {
            pid: child.id(),
            started: started(child.id()).unwrap(),
            ..own.clone()
        };
        assert!(!own.outlives(&other));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(own.outlives(&other));
    }
}
