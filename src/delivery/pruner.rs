//! Makes the coming days' partitions and drops those past retention, never one with
//! work that is still to be done; and forgets what is of no more use.

use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::partitions::{self, DAY_MILLISECONDS, Day};
use super::stats;
use crate::audit;
use crate::clock;
use crate::db::{Store, StoreConfig};

/// Days made ahead: a weekend in which nobody could create tables does no harm.
const DAYS_AHEAD: u64 = 4;

const PERIOD: Duration = Duration::from_secs(600);

pub async fn run(store: Store, config: StoreConfig, stop: CancellationToken) -> anyhow::Result<()> {
    loop {
        if let Err(error) = prune_now(&store, &config).await {
            tracing::warn!(
                error = format!("{error:#}"),
                "cannot prune the store; trying again in ten minutes"
            );
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

/// By the store's clock: one that is wrong on one of many machines must not drop days.
async fn prune_now(store: &Store, config: &StoreConfig) -> anyhow::Result<Vec<Day>> {
    let client = store.get().await.context("connect to the store")?;
    let clock = clock::read(&*client).await;
    drop(client);
    prune(
        store,
        config,
        clock.context("read the store's clock")?.now(),
    )
    .await
}

/// One round as of `now`. Answers the days that it dropped.
pub async fn prune(
    store: &Store,
    config: &StoreConfig,
    now: Timestamp,
) -> anyhow::Result<Vec<Day>> {
    let client = store.get().await.context("connect to the store")?;
    let today = Day::of(now);
    let ahead = (0..=DAYS_AHEAD).map(|days| Day(today.0 + days).floor());
    partitions::ensure(&client, ahead).await?;
    let retention = u64::try_from(config.retention.0.as_millis()).unwrap_or(u64::MAX);
    let oldest_kept = Day(today.0.saturating_sub(retention.div_ceil(DAY_MILLISECONDS)));
    let mut dropped = Vec::new();
    for day in partitions::existing(&client).await? {
        if day >= oldest_kept {
            break;
        }
        if partitions::drop_day(&client, day).await? {
            dropped.push(day);
        } else {
            tracing::info!(
                ?day,
                "kept a day past retention: deliveries of it still wait"
            );
        }
    }
    let before = now
        .checked_sub(config.retention.0)
        .unwrap_or(Timestamp::MIN);
    stats::fold(&*client, now).await?;
    let audited = now
        .checked_sub(config.audit_retention.0)
        .unwrap_or(Timestamp::MIN);
    let pruned = audit::prune(&*client, audited).await;
    pruned.context("forget old entries of the audit log")?;
    for (query, what, before) in [
        // They hold rows' values, as events do.
        (
            include_str!("../../sql/queries/delivery/prune_parked_changes.sql"),
            "parked changes",
            before,
        ),
        (
            include_str!("../../sql/queries/delivery/forget_jobs.sql"),
            "ended bulk retries and replays",
            before,
        ),
        (
            include_str!("../../sql/queries/delivery/forget_deleted_subscriptions.sql"),
            "deleted subscriptions",
            now,
        ),
        (
            include_str!("../../sql/queries/delivery/forget_idempotency_keys.sql"),
            "idempotency keys",
            now,
        ),
        (
            include_str!("../../sql/queries/delivery/forget_portal.sql"),
            "links and sessions of the portal",
            now,
        ),
        (
            include_str!("../../sql/queries/delivery/forget_pipeline_samples.sql"),
            "samples of the pipeline",
            now,
        ),
        (
            include_str!("../../sql/queries/delivery/forget_rule_stats.sql"),
            "what rules have made",
            now,
        ),
    ] {
        let forgotten = client.execute(query, &[&before]).await;
        forgotten.with_context(|| format!("forget {what}"))?;
    }
    Ok(dropped)
}
