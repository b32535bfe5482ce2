//! What one look at the stream brought, matched and handed over together.

use std::sync::Arc;
use std::time::Instant;

use super::batch::{Batch, DeliveryRows};
use super::reservation::Reservation;
use super::session::Session;
use super::shadow::Changes;
use super::writer::{Beside, Failed};
use super::{Progress, matching};
use crate::delivery::Delivery;
use crate::event::DeliveryId;
use crate::mapping::RuleSet;

/// Events and their deliveries on the way into the store.
pub(super) struct Pass {
    /// By which [`crate::delivery::unwritten::Unwritten`] knows its deliveries.
    pub(super) group: u64,
    pub(super) batch: Batch,
    pub(super) rows: DeliveryRows,
    /// Of the shadow's rows.
    pub(super) shadow: Changes,
    /// Where the stream stood after it.
    pub(super) progress: Progress,
    pub(super) since: Instant,
    /// Those that made its events, which name them by index.
    pub(super) rules: Arc<RuleSet>,
}

/// How far is durable what the passes brought.
#[derive(Clone, Copy)]
pub(super) struct Written {
    pub(super) progress: Progress,
    /// The number of the shadow's [`Changes`].
    pub(super) shadow: u64,
}

impl Pass {
    /// What is durable when this is.
    pub(super) fn written(&self) -> Written {
        Written {
            progress: self.progress,
            shadow: self.shadow.number,
        }
    }

    /// What it counts for among what is written at once. A change may make both an event
    /// and a row of the shadow, and an event any number of deliveries.
    pub(super) fn len(&self) -> usize {
        let events = self.batch.events.len().max(self.rows.len());
        events.max(self.shadow.len())
    }

    pub(super) fn bytes(&self) -> usize {
        self.batch.bytes + self.shadow.bytes()
    }

    /// The deliveries that this instance has in memory.
    pub(super) fn owned(&self) -> impl Iterator<Item = DeliveryId> {
        let rows = self.rows.id.iter().zip(&self.rows.owner);
        rows.filter(|(_, owner)| owner.is_some())
            .map(|(id, _)| DeliveryId(*id))
    }
}

impl Session<'_> {
    /// Matches what the stream has brought and hands it over, to be written when its
    /// results are in. What has changed the state of the shadow is written first: a rule
    /// that became active by it must not be forgotten once it was heard. So is a chunk of
    /// a backfill, which may have been cancelled.
    pub(super) async fn pass(&mut self) -> anyhow::Result<()> {
        while !self.window.has_room() {
            self.window.due().await;
            self.advance(false)?;
        }
        self.shadow
            .note_answered(&mut self.enqueuer.answered, self.epoch);
        let batch = std::mem::take(&mut self.batch);
        let snapshot = self.reader.subscriptions(self.enqueuer, self.epoch).await?;
        let (mut rows, mut deliveries) = matching::match_deliveries(
            &batch,
            &snapshot,
            &mut self.enqueuer.filters,
            self.enqueuer.max_body,
        );
        self.fan_out = rows.len().div_ceil(batch.events.len().max(1)).max(1);
        let known = self.adopt_orphans(&mut rows, &mut deliveries);
        let reservation = Reservation::make(self.enqueuer, &mut rows, deliveries);
        let beside = self.shadow.is_state_changed() || self.backfills.is_changed();
        let through = beside || batch.chunk.is_some();
        let awaited = (!through).then(|| reservation.ids()).into_iter().flatten();
        let awaited = known.into_iter().chain(awaited);
        let pass = Pass {
            group: self.writer.unwritten.expect(awaited),
            batch,
            rows,
            shadow: self.shadow.take_changes(),
            progress: self.reached,
            since: Instant::now(),
            rules: Arc::clone(self.mapper.rules()),
        };
        if !through {
            self.window.push(pass);
            reservation.hand_off(self.enqueuer);
            return Ok(());
        }
        let passes = [pass];
        let written = match self.write_all().await {
            Err(error) => Err(error),
            Ok(()) => {
                let beside = Beside {
                    shadow: &self.shadow,
                    backfills: &mut self.backfills,
                };
                let written = self.writer.write(&passes, &self.reached, Some(beside));
                written.await.map_err(|failed| self.fail(failed))
            }
        };
        if !matches!(written, Ok(true)) {
            reservation.abandon(self.enqueuer);
            return written.map(drop);
        }
        let [pass] = &passes;
        self.durable(pass.written());
        self.shadow.state_is_durable();
        self.backfills.is_durable();
        reservation.hand_off(self.enqueuer);
        Ok(())
    }

    /// Hands over what was mapped and waits until it is durable.
    pub(super) async fn flush(&mut self) -> anyhow::Result<()> {
        self.pass().await?;
        self.write_all().await
    }

    /// Takes out what an enqueue that failed has handed over already: it is in memory, or
    /// has its result.
    fn adopt_orphans(
        &self,
        rows: &mut DeliveryRows,
        deliveries: &mut [Option<Delivery>],
    ) -> Vec<DeliveryId> {
        let mut known = Vec::new();
        for (index, delivery) in deliveries.iter_mut().enumerate() {
            let unwritten = &self.writer.unwritten;
            if let Some(orphan) = delivery.take_if(|delivery| unwritten.is_orphan(delivery.id)) {
                rows.own(index, self.enqueuer.instance.id);
                known.push(orphan.id);
            }
        }
        known
    }

    /// Waits until everything that was handed over is durable.
    pub(super) async fn write_all(&mut self) -> anyhow::Result<()> {
        self.advance(true)?;
        while !self.window.is_empty() {
            self.window.due().await;
            self.advance(true)?;
        }
        Ok(())
    }

    pub(super) fn advance(&mut self, hurry: bool) -> anyhow::Result<()> {
        match self.window.advance(hurry || self.asked.is_some()) {
            Ok(None) => Ok(()),
            Ok(Some(written)) => {
                self.durable(written);
                Ok(())
            }
            Err(failed) => Err(self.fail(failed)),
        }
    }

    fn durable(&mut self, Written { progress, shadow }: Written) {
        self.shadow.rows_are_durable(shadow);
        self.durable = progress;
        let recorded = &mut self.enqueuer.recorded;
        recorded.commits += 1;
        recorded.progress = Some(progress);
        self.persisted_at = Instant::now();
        self.asked = self.asked.filter(|lsn| progress.acknowledged_lsn < *lsn);
    }

    fn fail(&mut self, failed: Failed) -> anyhow::Error {
        self.enqueuer.unanswered.extend(failed.unanswered);
        failed.error
    }
}
