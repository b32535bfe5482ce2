//! Subscriptions that cannot be read, on record for their owner and for the operator.

use std::time::Duration;

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::db::Store;
use crate::episode::Episode;
use crate::metrics::METRICS;
use crate::subscription::directory::{Directory, Snapshot};

/// How soon it is on record that a subscription cannot be read, or can again.
const PERIOD: Duration = Duration::from_secs(1);

/// What fails, for the log.
const RECORD: &str = "cannot record which subscriptions cannot be read";

/// Keeps the record until `stop`.
pub async fn run(
    store: Store,
    directory: Directory,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut recorded = None;
    let mut episode = Episode::default();
    loop {
        let snapshot = directory.snapshot();
        if recorded != Some(snapshot.generation) {
            match record(&store, &snapshot).await {
                Ok(()) => {
                    episode.succeeded(RECORD);
                    recorded = Some(snapshot.generation);
                }
                Err(error) => episode.failed(RECORD, &error),
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

async fn record(store: &Store, snapshot: &Snapshot) -> anyhow::Result<()> {
    let unreadable = snapshot
        .all()
        .filter_map(|one| one.unreadable.as_deref().map(|reason| (one.id.0, reason)));
    let (ids, reasons): (Vec<Uuid>, Vec<&str>) = unreadable.unzip();
    let count = i64::try_from(ids.len()).unwrap_or(i64::MAX);
    METRICS.subscriptions_unreadable.set(count);
    let client = store.get().await.context("connect to the store")?;
    client
        .execute(
            include_str!("../../sql/queries/delivery/note_unreadable.sql"),
            &[&ids, &reasons],
        )
        .await
        .context("record which subscriptions cannot be read")?;
    Ok(())
}
