//! Makes the coming days' partitions and drops those past retention, never one with
//! work that is still to be done; and forgets what is of no more use. Each step of a round fails
//! by itself: what one table refuses keeps nothing else.

use std::fmt;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use tokio_postgres::types::ToSql;
use tokio_util::sync::CancellationToken;

use super::partitions::{self, DAY_MILLISECONDS, Day};
use super::stats;
use crate::audit;
use crate::clock;
use crate::db::{Store, StoreConfig};

/// Days made ahead: a weekend in which nobody could create tables does no harm.
const DAYS_AHEAD: u64 = 4;

const PERIOD: Duration = Duration::from_secs(600);

/// Rows that one statement deletes or folds: it ends well within its time, however much there is
/// to do, and holds no lock for long.
const PIECE: i64 = 5_000;

/// Statements of one step in a round; the next round goes on.
const PIECES: usize = 1_000;

pub async fn run(store: Store, config: StoreConfig, stop: CancellationToken) -> anyhow::Result<()> {
    loop {
        match stop.run_until_cancelled(prune_now(&store, &config)).await {
            None => return Ok(()),
            Some(Ok(_)) => {}
            Some(Err(error)) => tracing::warn!(
                error = format!("{error:#}"),
                "cannot prune the store; trying again in ten minutes"
            ),
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

/// Steps of a round that failed. The others were carried out.
#[derive(Debug)]
struct Failures(Vec<anyhow::Error>);

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, error) in self.0.iter().enumerate() {
            let separator = if place > 0 { "; " } else { "" };
            write!(f, "{separator}{error:#}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failures {}

/// One round as of `now`. Returns the days that it dropped.
pub async fn prune(
    store: &Store,
    config: &StoreConfig,
    now: Timestamp,
) -> anyhow::Result<Vec<Day>> {
    let mut failures = Vec::new();
    let today = Day::of(now);
    let ahead = (0..=DAYS_AHEAD).map(|days| Day(today.0 + days).floor());
    let made = async {
        let client = store.get().await.context("connect to the store")?;
        partitions::ensure(&client, ahead).await
    };
    failures.extend(made.await.err());
    let mut dropped = Vec::new();
    let oldest = drop_days(store, config, today, &mut dropped, &mut failures).await;
    // Where that is unknown no attempt counts as too old.
    let oldest = oldest.unwrap_or_else(|error| {
        failures.push(error);
        Some(Day::of(Timestamp::UNIX_EPOCH))
    });
    let before = |age| now.checked_sub(age).unwrap_or(Timestamp::UNIX_EPOCH);
    let retained = before(config.retention.0);
    // Of days that are kept for what waits in them the attempts are listed, too.
    let attempts = oldest.map_or(retained, |day| retained.min(day.start()));
    for (query, what, before) in [
        // They hold rows' values, as events do.
        (
            include_str!("../../sql/queries/delivery/prune_parked_changes.sql"),
            "parked changes",
            retained,
        ),
        (
            audit::PRUNE,
            "old entries of the audit log",
            before(config.audit_retention.0),
        ),
        (
            include_str!("../../sql/queries/delivery/forget_jobs.sql"),
            "ended bulk retries and replays",
            retained,
        ),
        (
            include_str!("../../sql/queries/delivery/forget_deleted_subscriptions.sql"),
            "deleted subscriptions",
            now,
        ),
        (
            include_str!("../../sql/queries/delivery/forget_versions.sql"),
            "old versions of subscriptions",
            attempts,
        ),
        (
            include_str!("../../sql/queries/delivery/forget_idempotency_keys.sql"),
            "idempotency keys",
            now,
        ),
        (
            include_str!("../../sql/queries/delivery/forget_portal_links.sql"),
            "links of the portal",
            now,
        ),
        (
            include_str!("../../sql/queries/delivery/forget_portal_sessions.sql"),
            "sessions of the portal",
            now,
        ),
        (
            include_str!("../../sql/queries/delivery/forget_tokens.sql"),
            "tokens that ended",
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
        let forgotten = in_pieces(store, query, &[&before]).await;
        let forgotten = forgotten.with_context(|| format!("forget {what}"));
        failures.extend(forgotten.err());
    }
    // At last, as it has the most to do.
    failures.extend(stats::fold(store, now).await.err());
    match failures.is_empty() {
        true => Ok(dropped),
        false => Err(Failures(failures).into()),
    }
}

/// Drops days past retention, and returns the oldest that is left.
async fn drop_days(
    store: &Store,
    config: &StoreConfig,
    today: Day,
    dropped: &mut Vec<Day>,
    failures: &mut Vec<anyhow::Error>,
) -> anyhow::Result<Option<Day>> {
    let client = store.get().await.context("connect to the store")?;
    let retention = u64::try_from(config.retention.0.as_millis()).unwrap_or(u64::MAX);
    let oldest_kept = Day(today.0.saturating_sub(retention.div_ceil(DAY_MILLISECONDS)));
    let mut oldest = None;
    for day in partitions::existing(&client).await? {
        if day >= oldest_kept {
            return Ok(oldest.or(Some(day)));
        }
        match partitions::drop_day(&client, day).await {
            Ok(true) => {
                dropped.push(day);
                continue;
            }
            Ok(false) => tracing::info!(
                ?day,
                "kept a day past retention: deliveries of it still wait"
            ),
            // One day's error is no other's.
            Err(error) => failures.push(error),
        }
        oldest = oldest.or(Some(day));
    }
    Ok(oldest)
}

/// Executes a statement, whose last parameter is how many rows it takes at most, until it finds
/// fewer: as many as it says to have affected.
pub(super) async fn in_pieces(
    store: &Store,
    statement: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> anyhow::Result<()> {
    let client = store.get().await.context("connect to the store")?;
    let mut all = parameters.to_vec();
    all.push(&PIECE);
    for _ in 0..PIECES {
        let taken = client.execute(statement, &all).await?;
        if taken < PIECE.unsigned_abs() {
            break;
        }
    }
    Ok(())
}
