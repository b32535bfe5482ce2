//! Which PostgreSQL system this is, and which history of the WAL it stands on.

use crate::lsn::Lsn;

use super::connection::{Connection, Row, unexpected};
use super::error::ReplicationError;

/// What IDENTIFY_SYSTEM says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemIdentity {
    /// Given at initdb; survives failover, backup and restore.
    pub system_identifier: u64,
    /// Counts the histories of the WAL: promotion and recovery begin a new one.
    pub timeline: i32,
    /// How far the WAL is flushed.
    pub flushed_lsn: Lsn,
    pub dbname: String,
    /// 15 for PostgreSQL 15.18.
    pub major_version: u32,
    /// The timelines before this one and where each was left. Empty on timeline 1,
    /// and where it was not read.
    pub history: Vec<TimelineSwitch>,
}

impl SystemIdentity {
    /// Where the present left this timeline; `None` where it does not descend from it.
    pub fn left(&self, timeline: i32) -> Option<Lsn> {
        let switch = self.history.iter().find(|s| s.timeline == timeline);
        switch.map(|switch| switch.left_at)
    }
}

/// A line of a timeline's history file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimelineSwitch {
    pub timeline: i32,
    /// The WAL of `timeline` belongs to the present up to here.
    pub left_at: Lsn,
}

/// Asks over the replication protocol.
pub(super) fn identify(connection: &mut Connection) -> Result<SystemIdentity, ReplicationError> {
    let rows = connection.query("IDENTIFY_SYSTEM")?;
    let row = rows.first().ok_or_else(|| unexpected("IDENTIFY_SYSTEM"))?;
    let mut system = read(row).ok_or_else(|| unexpected("IDENTIFY_SYSTEM"))?;
    system.major_version = connection.major_version();
    if system.timeline > 1 {
        match connection.query(&format!("TIMELINE_HISTORY {}", system.timeline)) {
            Ok(rows) => system.history = rows.first().map(history).unwrap_or_default(),
            // The file is gone: what it said is unknown, and verify says so.
            Err(ReplicationError::Server { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(system)
}

fn read(row: &Row) -> Option<SystemIdentity> {
    let text = |index: usize| std::str::from_utf8(row.get(index)?.as_ref()?).ok();
    Some(SystemIdentity {
        system_identifier: text(0)?.parse().ok()?,
        timeline: text(1)?.parse().ok()?,
        flushed_lsn: text(2)?.parse().ok()?,
        dbname: text(3)?.to_owned(),
        major_version: 0,
        history: Vec::new(),
    })
}

fn history(row: &Row) -> Vec<TimelineSwitch> {
    let content = row.get(1).and_then(Option::as_deref).unwrap_or_default();
    parse_history(&String::from_utf8_lossy(content))
}

/// Lines of `timeline <tab> LSN <tab> reason`, with comments and blank lines.
fn parse_history(text: &str) -> Vec<TimelineSwitch> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some(TimelineSwitch {
                timeline: words.next()?.parse().ok()?,
                left_at: words.next()?.parse().ok()?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_history_file() {
        let file = "# comment\n1\t0/5000000\tno recovery target specified\n\n2\t16/B374D848\tbefore 2026-11-23\n";
        let switch = |timeline, left_at| TimelineSwitch { timeline, left_at };
        let expected = [switch(1, Lsn(0x500_0000)), switch(2, Lsn(0x16_B374_D848))];
        assert_eq!(parse_history(file), expected);
    }
}
