//! What one look at the stream brought, matched and handed over together.

use std::sync::Arc;
use std::time::Instant;

use super::matching;
use super::session::Session;
use crate::conninfo::Client;
use crate::delivery::Delivery;
use crate::event::{DeliveryId, IdSet};
use crate::handoff::{DeliveryRows, Failed, Group, Reservation, Written};

impl Session<'_> {
    /// Matches what the stream has brought and hands it over, to be written when its
    /// results are in. What has changed the state of the shadow is written first: a rule
    /// that became active by it must not be forgotten once it has been applied. So is a chunk of
    /// a backfill, which may have been cancelled.
    pub(super) async fn offer(&mut self) -> anyhow::Result<()> {
        while !self.queue.has_room() {
            self.queue.due().await;
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
        let since = Instant::now();
        let known = self.adopt_left_over(&mut rows, &mut deliveries, since);
        let reservation = Reservation::make(&self.writer, &mut rows, deliveries);
        let beside = self.shadow.is_state_changed() || self.backfills.is_changed();
        let through = beside || batch.chunk.is_some();
        let awaited = (!through).then(|| reservation.ids()).into_iter().flatten();
        let awaited = known.into_iter().chain(awaited);
        let group = Group {
            number: self.writer.offered.offer(awaited, since),
            batch,
            rows,
            shadow: self.shadow.take_changes(),
            progress: self.reached,
            since,
            rules: Arc::clone(self.mapper.rules()),
        };
        if !through {
            self.queue.push(group);
            reservation.hand_off(&self.writer);
            return Ok(());
        }
        let written = match self.write_all().await {
            Err(error) => {
                // It is not in the queue, which gives up what is in it.
                let (offered, owned) = (&self.writer.offered, group.owned());
                offered.orphan(group.number, owned, Instant::now());
                Err(error)
            }
            Ok(()) => self.write_through(&group).await,
        };
        if !matches!(written, Ok(true)) {
            reservation.abandon(&self.writer);
            return written.map(drop);
        }
        self.durable(group.written());
        self.shadow.state_is_durable();
        self.backfills.is_durable();
        reservation.hand_off(&self.writer);
        Ok(())
    }

    /// One transaction, with the shadow's state and the backfills'. False where nothing was written,
    /// as the group is a backfill's that was stopped.
    async fn write_through(&mut self, group: &Group) -> anyhow::Result<bool> {
        let writer = Arc::clone(&self.writer);
        let groups = std::slice::from_ref(group);
        let begun = writer.begin(groups, &self.reached).await;
        let open = begun.map_err(|failed| self.fail(failed))?;
        let ended = match self.write_state(&writer.client, group).await {
            Ok(true) => writer.commit(open).await.map(|()| true),
            Ok(false) => writer.roll_back(open).await.map(|()| false),
            Err(error) => Err(writer.fail(&open, error)),
        };
        ended.map_err(|failed| self.fail(failed))
    }

    /// In the transaction that is open on the client. False where the backfill was stopped.
    async fn write_state(&mut self, client: &Client, group: &Group) -> anyhow::Result<bool> {
        self.shadow.write_state(client).await?;
        self.backfills.write(client).await?;
        let Group { batch, rows, .. } = group;
        match &batch.chunk {
            None => Ok(true),
            Some(chunk) => {
                self.backfills
                    .advance(client, chunk, batch, rows.len())
                    .await
            }
        }
    }

    /// Hands over what was mapped and waits until it is durable.
    pub(super) async fn flush(&mut self) -> anyhow::Result<()> {
        self.offer().await?;
        self.write_all().await
    }

    /// Takes out what a session that has ended offered already: it is in memory, or has its
    /// result.
    fn adopt_left_over(
        &self,
        rows: &mut DeliveryRows,
        deliveries: &mut [Option<Delivery>],
        now: Instant,
    ) -> IdSet<DeliveryId> {
        let ids = deliveries.iter().flatten().map(|delivery| delivery.id);
        let known = self.writer.offered.left_over(ids, now);
        if known.is_empty() {
            return known;
        }
        for (index, delivery) in deliveries.iter_mut().enumerate() {
            if delivery
                .take_if(|delivery| known.contains(&delivery.id))
                .is_some()
            {
                rows.own(index, self.enqueuer.instance.id);
            }
        }
        known
    }

    /// Waits until everything that was handed over is durable.
    pub(super) async fn write_all(&mut self) -> anyhow::Result<()> {
        self.advance(true)?;
        while !self.queue.is_empty() {
            self.queue.due().await;
            self.advance(true)?;
        }
        Ok(())
    }

    pub(super) fn advance(&mut self, hurry: bool) -> anyhow::Result<()> {
        match self.queue.advance(hurry || self.asked.is_some()) {
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
        self.enqueuer.unconfirmed.extend(failed.unconfirmed);
        failed.error
    }
}
