//! Keeps a slot moving that standbys copy (PostgreSQL 17 and later). A standby takes its copy
//! for temporary, and a promotion drops it, until the slot has passed what the standby may have
//! cleaned up when it began to copy. A source that writes nothing never brings it there.

use std::time::{Duration, Instant};

use anyhow::Context;

use super::let_go::mark;
use crate::conninfo::{Client, column};
use crate::lsn::Lsn;
use crate::replication::SlotState;

/// A standby looks at the slot at least this often: the longest pause of its worker that
/// copies slots (`MAX_SLOTSYNC_WORKER_NAPTIME_MS`).
const PERIOD: Duration = Duration::from_secs(30);

pub(super) struct StandbyCopy {
    restart: Option<Lsn>,
    /// When the slot was seen to move, or was moved.
    moved: Option<Instant>,
    period: Duration,
}

impl StandbyCopy {
    /// `heartbeat`: zero where no messages are to be written into the WAL.
    pub(super) fn new(heartbeat: Duration) -> Self {
        StandbyCopy {
            restart: None,
            moved: None,
            period: if heartbeat.is_zero() {
                Duration::MAX
            } else {
                heartbeat.min(PERIOD)
            },
        }
    }

    /// Moves the slot where it has not moved for a while and a standby may copy it.
    pub(super) async fn help(&mut self, source: &Client, state: &SlotState) {
        if !state.failover {
            return;
        }
        if self.restart != state.restart_lsn {
            self.restart = state.restart_lsn;
            self.moved = Some(Instant::now());
        }
        if self.moved.is_some_and(|at| at.elapsed() < self.period) {
            return;
        }
        self.moved = Some(Instant::now());
        if let Err(error) = move_slot(source).await {
            let error = format!("{error:#}");
            tracing::debug!(error, "cannot move the slot for its copies on standbys");
        }
    }
}

async fn move_slot(source: &Client) -> anyhow::Result<()> {
    let followed = include_str!("../../../sql/queries/app/has_standby.sql");
    let row = source.query_one(followed, &[]).await;
    if column::<bool, _>(&row.context("look for standbys")?, 0)? {
        mark(source).await?;
    }
    Ok(())
}
