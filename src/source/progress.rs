//! What the store recorded of the slot, for the commands that look at it.

use anyhow::Context;

use crate::conninfo::{Client, ConnInfo};
use crate::lsn::Lsn;
use crate::replication::{self, RecordedProgress, SystemIdentity, slot};

/// A row of `replication_progress`.
#[derive(Clone, Debug)]
pub struct Progress {
    pub recorded: RecordedProgress,
    pub epoch: i64,
    pub leader: Option<uuid::Uuid>,
    pub age_seconds: f64,
}

impl Progress {
    /// Whether positions of `system` cannot be compared with the recorded ones.
    pub fn is_of_another_log(&self, system: &SystemIdentity) -> bool {
        self.recorded.system_identifier != system.system_identifier
            || self.recorded.timeline != system.timeline
            || system.flushed_lsn < self.recorded.acknowledged_lsn
    }
}

/// The progress of a slot; `None` before `walhook setup` recorded it.
pub async fn read(store: &Client, slot: &str) -> anyhow::Result<Option<Progress>> {
    let row = store
        .query_opt(
            include_str!("../../sql/queries/source/slot_progress.sql"),
            &[&slot],
        )
        .await
        .context("read the recorded progress from the store")?;
    let Some(row) = row else { return Ok(None) };
    let system: &str = row.get("system_identifier");
    Ok(Some(Progress {
        recorded: RecordedProgress {
            system_identifier: system.parse().with_context(|| {
                format!("the recorded system identifier `{system}` is no number")
            })?,
            timeline: row.get("timeline"),
            acknowledged_lsn: row.get("acknowledged_lsn"),
            commit_lsn: row.get("commit_lsn"),
        },
        epoch: row.get("epoch"),
        leader: row.get("leader"),
        age_seconds: row.get("age_seconds"),
    }))
}

/// Which system the source is. Its timelines' history is read only where it is
/// needed, because that takes a walsender.
pub async fn identify(
    client: &Client,
    conninfo: &ConnInfo,
    progress: Option<&Progress>,
) -> anyhow::Result<SystemIdentity> {
    let system = slot::identify_system(client).await?;
    match progress {
        Some(progress) if progress.recorded.timeline != system.timeline => {
            Ok(replication::identify(conninfo).await?)
        }
        _ => Ok(system),
    }
}

/// Where a stream from `start` begins, as progress records it: (commit LSN,
/// acknowledged LSN). A commit record may begin exactly at the slot's position, and a
/// recorded commit LSN says that this commit is done; hence one byte less.
pub fn beginning(start: Lsn) -> (Lsn, Lsn) {
    (Lsn(start.0.saturating_sub(1)), start)
}
