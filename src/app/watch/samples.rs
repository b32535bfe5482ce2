//! What the watch sees, kept every ten seconds, so that one sees how it came about.

use std::time::{Duration, Instant};

use anyhow::Context;

use crate::conninfo::Client;
use crate::metrics::METRICS;
use crate::replication::slot::Budget;

const PERIOD: Duration = Duration::from_secs(10);

/// When the last sample was kept.
#[derive(Default)]
pub(super) struct Samples(Option<Instant>);

impl Samples {
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let recent = |at: Instant| now.saturating_duration_since(at) < PERIOD;
        !self.0.is_some_and(recent)
    }

    /// Keeps one in the store.
    pub(super) async fn keep(
        &mut self,
        store: &Client,
        slot: &str,
        budget: &Budget,
    ) -> anyhow::Result<()> {
        let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let kept = store
            .execute(
                include_str!("../../../sql/queries/app/keep_sample.sql"),
                &[
                    &slot,
                    &bytes(budget.lag),
                    &bytes(budget.retained),
                    &METRICS.lag_seconds.get(),
                    &METRICS.requests_under_way.get(),
                    &METRICS.breakers_open.get(),
                ],
            )
            .await;
        kept.context("keep a sample of the pipeline")?;
        self.0 = Some(Instant::now());
        Ok(())
    }
}
