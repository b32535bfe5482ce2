//! Parks the pending deliveries of subscriptions that were disabled, and makes them due again
//! when the subscriptions are enabled. Each batch is a transaction of its own: hundreds of
//! thousands of deliveries delay neither the API's call nor the recorder.

use std::time::{Duration, Instant};

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::manual::notify;
use crate::conninfo::Client;
use crate::db::Store;
use crate::episode::Episode;
use crate::event::SubscriptionId;

/// How soon it begins after a subscription was disabled or enabled.
const PERIOD: Duration = Duration::from_secs(1);
/// Rows of one transaction, of each status: a few milliseconds, which is what an enqueue or a result
/// may have to wait for on a busy store.
const BATCH: i64 = 100;
/// How long to wait after a batch, in times of what it took: most of the store's CPU is for
/// what is enqueued and recorded meanwhile.
const PAUSE: u32 = 3;

/// What fails, for the log.
const SETTLE: &str = "cannot park or unpark deliveries of a subscription";

/// Runs until `stop`.
pub async fn run(store: Store, stop: CancellationToken) -> anyhow::Result<()> {
    let mut episode = Episode::default();
    loop {
        match stop.run_until_cancelled(settle(&store)).await {
            None => return Ok(()),
            Some(Ok(_)) => episode.succeeded(SETTLE),
            Some(Err(error)) => episode.failed(SETTLE, &error),
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

/// One round over all subscriptions that were disabled or enabled, each by itself. Returns how
/// many deliveries became due; an error is the first subscription's that failed.
pub async fn settle(store: &Store) -> anyhow::Result<u64> {
    let client = store.get().await.context("connect to the store")?;
    let rows = client
        .query(
            include_str!("../../sql/queries/delivery/list_unsettled_deliveries.sql"),
            &[],
        )
        .await
        .context("list the subscriptions that were disabled or enabled")?;
    drop(client);
    let mut made_due = 0;
    let mut failed = Ok(());
    for row in rows {
        match settle_one(store, row.get("id"), row.get("active")).await {
            Ok(due) => made_due += due,
            Err(error) => failed = failed.and(Err(error)),
        }
    }
    failed.map(|()| made_due)
}

/// Returns how many deliveries became due.
async fn settle_one(store: &Store, id: Uuid, active: bool) -> anyhow::Result<u64> {
    let client = store.get().await.context("connect to the store")?;
    let changed = settle_deliveries(&client, id, active).await;
    let changed = changed
        .with_context(|| format!("park or unpark the deliveries of {}", SubscriptionId(id)))?;
    if !active {
        return Ok(0);
    }
    // Also where nothing was parked: until now nothing of an ordered subscription was claimed.
    notify(&*client, store.schema())
        .await
        .context("notify the claimers of what became due")?;
    Ok(changed)
}

async fn settle_deliveries(
    client: &Client,
    id: Uuid,
    active: bool,
) -> Result<u64, tokio_postgres::Error> {
    let batch = match active {
        true => include_str!("../../sql/queries/delivery/unpark_batch.sql"),
        false => include_str!("../../sql/queries/delivery/park_batch.sql"),
    };
    let mut changed = 0;
    loop {
        let began = Instant::now();
        let rows = client.execute(batch, &[&id, &BATCH]).await?;
        changed += rows;
        if rows == 0 {
            break;
        }
        tokio::time::sleep(began.elapsed() * PAUSE).await;
    }
    client
        .execute(
            include_str!("../../sql/queries/delivery/settle_deliveries.sql"),
            &[&id, &active],
        )
        .await?;
    Ok(changed)
}
