//! What a slot on a standby needs of the primary.

use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::{Instant, sleep, timeout};

use crate::conninfo::sqlstate::{self, Nature};
use crate::conninfo::{Client, column};
use crate::lsn::Lsn;
use crate::replication::slot;

/// How long a standby may take to replay what has just been written on the primary.
const REPLAY: Duration = Duration::from_secs(60);

/// Between two looks at the standby, and two snapshots in the WAL.
const PERIOD: Duration = Duration::from_millis(250);

/// Waits until the standby has what its primary has written so far.
pub async fn await_replay(standby: &Client, primary: &Client) -> anyhow::Result<()> {
    let written: Lsn = slot::current_wal_insert_lsn(primary).await?;
    let query = include_str!("../../sql/queries/source/has_replayed.sql");
    let deadline = Instant::now() + REPLAY;
    loop {
        let row = standby.query_one(query, &[&written]).await;
        if column(&row.context("ask how far the standby is")?, 0)? {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!(
                "the standby has not replayed the WAL up to {written} within {} s: run setup again when it follows \
                 its primary",
                REPLAY.as_secs()
            );
        }
        sleep(PERIOD).await;
    }
}

/// On a standby a slot begins at a snapshot in the WAL, which only the primary writes:
/// it is asked to, until the slot is there.
pub async fn logging_snapshots<T>(primary: &Client, creating: impl Future<Output = T>) -> T {
    let query = include_str!("../../sql/queries/source/log_standby_snapshot.sql");
    let mut creating = std::pin::pin!(creating);
    loop {
        if let Ok(created) = timeout(PERIOD, &mut creating).await {
            return created;
        }
        if let Err(error) = primary.execute(query, &[]).await {
            if sqlstate::nature_of(&error) == Nature::Passing && !primary.is_closed() {
                continue;
            }
            tracing::warn!(
                error = format!("{:#}", anyhow::Error::from(error)),
                "the primary does not log a snapshot for us; the slot waits for the next that it logs by itself"
            );
            return creating.await;
        }
    }
}
