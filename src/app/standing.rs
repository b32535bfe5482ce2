//! Capture at a gap: it is paused, on record, until somebody accepts the gap or the
//! slot turns out to continue the progress after all. Nothing is asked of the slot
//! meanwhile: it cannot answer.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::capture::Capture;
use super::fault::Fault;
use crate::health::CaptureState;
use crate::metrics::METRICS;
use crate::replication::{GapKind, OnGap, ReplicationError};
use crate::source::gaps::{self, Found};

/// How often the store is asked whether the gap was accepted.
const PERIOD: Duration = Duration::from_secs(2);

impl Capture {
    /// `Err` where the process is to end instead.
    pub(super) async fn stand_still(
        &self,
        fault: Fault,
        gap: Found,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let mut recorded = self.record_gap(&gap).await;
        if self.config.on_gap == OnGap::Stop {
            return Err(fault.explain());
        }
        let message = format!("{:#}", fault.explain());
        if self.health.capture() != CaptureState::Failing(message.clone()) {
            tracing::error!(
                error = message,
                "capture is paused at a gap; deliveries and the API go on"
            );
        }
        self.health.set_capture(CaptureState::Failing(message));
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(PERIOD) => {}
            }
            if !recorded {
                recorded = self.record_gap(&gap).await;
            } else if self.is_over(&gap).await.unwrap_or(false) {
                return Ok(());
            }
        }
    }

    async fn is_over(&self, gap: &Found) -> anyhow::Result<bool> {
        let slot = &self.config.slot;
        if gap.wedged {
            let store = self.enqueuer.store.get().await?;
            return Ok(gaps::wedged(&store, slot).await?.is_none());
        }
        Ok(self.compare_with_progress().await?.is_none())
    }

    /// Keeps on record that capture cannot go on, for `status` and `setup`. False where
    /// the store is away too.
    async fn record_gap(&self, gap: &Found) -> bool {
        let slot = &self.config.slot;
        let recorded = async {
            let store = self.enqueuer.store.get().await?;
            gaps::record(&store, slot, gap).await
        };
        match recorded.await {
            Ok(true) => METRICS.gaps.with_label_values(&[gap.kind.as_str()]).inc(),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "cannot record the gap");
                return false;
            }
        }
        true
    }
}

impl Fault {
    /// What to keep on record, where the fault is a gap in the WAL.
    pub(super) fn gap(&self) -> Option<Found> {
        let found = |kind, reason, wedged| {
            Some(Found {
                kind,
                reason,
                wedged,
            })
        };
        match self {
            Fault::Gap(gap) => found(gap.kind(), gap.state(), false),
            Fault::Replication(error) => match error {
                ReplicationError::PublicationMissing { position, .. } => found(
                    GapKind::PublicationDropped,
                    error.state(),
                    position.is_some(),
                ),
                error if error.is_of_decoding() => found(GapKind::Unreadable, error.state(), true),
                _ => None,
            },
            Fault::Final(_) | Fault::Store(_) | Fault::Shed | Fault::Silent => None,
        }
    }
}
