//! What the slot watch sees, kept in the store every ten seconds, so that one sees how it came
//! about. A task of its own: a store that is away must not keep the watch from the source.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::db::Store;
use crate::episode::Episode;
use crate::health::{CaptureState, Health};
use crate::metrics::METRICS;

const PERIOD: Duration = Duration::from_secs(10);

/// What fails, for the log.
const KEEP: &str = "cannot keep a sample of the pipeline";

/// Runs until `stop`. Only the instance that holds the slot keeps samples.
pub(super) async fn run(
    store: Store,
    slot: String,
    health: Arc<Health>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut episode = Episode::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(PERIOD) => {}
        }
        if health.capture() != CaptureState::Leading {
            continue;
        }
        match stop.run_until_cancelled(keep(&store, &slot)).await {
            None => return Ok(()),
            Some(Ok(())) => episode.succeeded(KEEP),
            Some(Err(error)) => episode.failed(KEEP, &error),
        }
    }
}

async fn keep(store: &Store, slot: &str) -> anyhow::Result<()> {
    let client = store.get().await.context("connect to the store")?;
    client
        .execute(
            include_str!("../../sql/queries/app/keep_sample.sql"),
            &[
                &slot,
                &METRICS.lag_bytes.get(),
                &METRICS.slot_retained_bytes.get(),
                &METRICS.lag_seconds.get(),
                &METRICS.requests_under_way.get(),
                &METRICS.breakers_open.get(),
            ],
        )
        .await
        .context("write to the store")?;
    Ok(())
}
