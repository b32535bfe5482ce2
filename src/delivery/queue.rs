//! How much waits in the schedule: what `walhook status` and the metrics show.

use std::time::Duration;

use anyhow::Context;

use crate::conninfo::Queries;
use crate::duration::HumanDuration;
use crate::health::{Problem, ProblemKind};

/// Deliveries by state, but those in an instance's memory.
#[derive(Clone, Copy, Debug)]
pub struct Queue {
    pub pending: i64,
    /// Of the pending ones, those that were tried before.
    pub retries: i64,
    /// Leased.
    pub in_flight: i64,
    pub parked: i64,
    pub failed: i64,
    /// None where nothing is due.
    pub oldest_due: Option<Duration>,
}

/// A retry is claimed within a second of being due; minutes mean that no instance claims, or
/// that the instances cannot keep up.
const OVERDUE: Duration = Duration::from_secs(300);

impl Queue {
    pub async fn count(store: &impl Queries) -> anyhow::Result<Self> {
        let query = include_str!("../../sql/queries/delivery/count_queue.sql");
        let row = store.query_one(query, &[]).await;
        let row = row.context("count what waits")?;
        let oldest_due: Option<f64> = row.get("oldest_due_seconds");
        Ok(Queue {
            pending: row.get("pending"),
            retries: row.get("retries"),
            in_flight: row.get("in_flight"),
            parked: row.get("parked"),
            failed: row.get("failed"),
            oldest_due: oldest_due.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        })
    }

    /// Deliveries in the memory of instances.
    pub async fn count_owned(store: &impl Queries) -> anyhow::Result<i64> {
        let query = include_str!("../../sql/queries/delivery/count_owned.sql");
        let row = store.query_one(query, &[]).await;
        Ok(row.context("count what instances have in memory")?.get(0))
    }

    /// Where the oldest delivery that is due has been due for long.
    pub fn overdue(&self) -> Option<Problem> {
        let oldest = self.oldest_due.filter(|oldest| *oldest > OVERDUE)?;
        let since = HumanDuration(Duration::from_secs(oldest.as_secs() / 60 * 60));
        Some(ProblemKind::Overdue.because(format!(
            "a delivery has been due for {since}: the instances that deliver are down or cannot keep up"
        )))
    }
}
