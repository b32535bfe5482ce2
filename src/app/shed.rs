//! Sheds WAL (`source.wal_policy = "shed"`): before the server drops what the slot keeps,
//! and the slot with it, capture skips to the present by its own decision.
//!
//! The gap is recorded first, together with where progress goes on, and only then is the
//! slot moved. A crash between the two is harmless: the stream brings what lies before
//! the recorded progress, and it is skipped. Where the store cannot be written there is
//! no record, and so nothing is shed: walhook holds.

use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::watch;

use super::capture::Capture;
use crate::conninfo::{Client, Purpose};
use crate::lsn::Lsn;
use crate::metrics::METRICS;
use crate::replication::{GapKind, SlotState, slot};
use crate::source::gaps::Acceptance;
use crate::source::progress;

/// The slot's watch asks here for what only capture, which holds the slot, can do.
pub(super) struct ShedRequest {
    asked: watch::Sender<bool>,
}

impl ShedRequest {
    pub(super) fn new() -> Self {
        ShedRequest {
            asked: watch::Sender::new(false),
        }
    }

    pub(super) fn ask(&self) {
        self.asked.send_replace(true);
    }

    pub(super) fn is_asked(&self) -> bool {
        *self.asked.borrow()
    }

    /// It was done, or there is no need any more.
    pub(super) fn settle(&self) {
        self.asked.send_replace(false);
    }

    /// Waits until it is asked. Cancel-safe.
    pub(super) async fn asked(&self) {
        // The sender is ours: it does not go away.
        let _ = self.asked.subscribe().wait_for(|asked| *asked).await;
    }
}

/// The slot is advanced in steps: after each the server may drop the WAL before it.
const STEP: u64 = 64 << 20;

/// How long a walsender of ours may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the server may wait for open transactions.
const LOGGING: Duration = Duration::from_secs(2);

/// How long it may take to read what the slot skips.
const SKIPPING: Duration = Duration::from_secs(600);

impl Capture {
    /// Holds where log cannot be shed, and says so.
    pub(super) async fn try_to_shed(&self) {
        if let Err(error) = Box::pin(self.shed()).await {
            tracing::error!(
                error = format!("{error:#}"),
                "log cannot be shed: holding the slot"
            );
        }
    }

    /// Skips to the present. The slot is free.
    async fn shed(&self) -> anyhow::Result<()> {
        let name = &self.config.slot;
        let source = self.source.connect(Purpose::Watch, None).await?;
        let store = self.enqueuer.store.get().await.context("reach the store")?;
        let Some(recorded) = progress::read(&store, name).await? else {
            return Ok(());
        };
        let state = free(&source, name).await?;
        // So that the slot can let go of what it skips. It waits for open transactions, and
        // is cut off then: the record is written first.
        source.limit_statements(LOGGING).await?;
        let logged = slot::log_running_transactions(&source).await;
        source.limit_statements(SKIPPING).await?;
        if let Err(error) = logged {
            let error = format!("{:#}", anyhow::Error::from(error));
            tracing::debug!(error, "cannot have the running transactions logged");
        }
        let system = progress::identify(&source, &self.source, Some(&recorded)).await?;
        // A gap already, which capture will name; another instance's by now.
        let verified = slot::verify(Some(&recorded.recorded), &system, name, state.as_ref());
        let Some(state) = state.filter(|state| verified.is_ok() && state.active_pid.is_none())
        else {
            return Ok(());
        };
        let to = system.flushed_lsn;
        let from = recorded.recorded.acknowledged_lsn;
        let reason = format!(
            "the slot `{name}` kept nearly all of the WAL that it may, and what was not read of it was shed (source.wal_policy)"
        );
        let gap = Acceptance {
            slot: name,
            system: &system,
            from,
            to,
            kind: GapKind::Shed,
            reason: &reason,
            accepted: false,
        };
        gap.record(&*store).await?;
        let kind = GapKind::Shed.as_str();
        METRICS.gaps.with_label_values(&[kind]).inc();
        tracing::error!(slot = name, %from, %to, "log was shed: what committed in it is NOT delivered. `walhook setup --accept-gap` says what to backfill");
        advance(&source, name, state.confirmed_flush_lsn.unwrap_or(from), to).await
    }
}

/// The slot, as soon as nobody reads it: a walsender may outlive its client for a moment.
async fn free(source: &Client, name: &str) -> anyhow::Result<Option<SlotState>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let state = slot::inspect(source, name).await?;
        let active = state
            .as_ref()
            .is_some_and(|state| state.active_pid.is_some());
        if !active || Instant::now() > deadline {
            return Ok(state);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn advance(source: &Client, name: &str, from: Lsn, to: Lsn) -> anyhow::Result<()> {
    let mut at = from;
    while at < to {
        at = Lsn(at.0.saturating_add(STEP)).min(to);
        let advanced = slot::advance(source, name, Some(at)).await;
        advanced.with_context(|| format!("advance the slot `{name}` to {at}"))?;
    }
    // Once more: only now does the server know that it need not begin before the last step.
    let advanced = slot::advance(source, name, Some(to)).await;
    advanced
        .map(drop)
        .with_context(|| format!("advance the slot `{name}` to {to}"))
}
