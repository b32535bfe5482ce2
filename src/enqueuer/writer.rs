//! Writes passes: progress, shadow, events and deliveries in one transaction of the
//! store. Nothing is acknowledged before it has committed.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::backfill::Backfills;
use super::parked_log::ParkedLog;
use super::pass::Pass;
use super::rows::Rows;
use super::session::Interrupted;
use super::shadow::{RowStatements, Shadow};
use super::statements::Statements;
use super::{Enqueuer, Progress, UnknownTenants};
use crate::conninfo::Client;
use crate::delivery::dispatcher::Dispatcher;
use crate::delivery::instance::Instance;
use crate::delivery::partitions::Partitions;
use crate::delivery::unwritten::Unwritten;
use crate::event::DeliveryId;
use crate::subscription::directory::Directory;

pub(super) struct Writer {
    pub(super) client: Client,
    statements: Statements,
    shadow_rows: RowStatements,
    slot: String,
    epoch: i64,
    schema: String,
    instance: Arc<Instance>,
    partitions: Arc<Partitions>,
    dispatcher: Option<Arc<Dispatcher>>,
    pub(super) unwritten: Arc<Unwritten>,
    parked_log: ParkedLog,
    directory: Directory,
    unknown_tenants: Arc<UnknownTenants>,
}

/// What is written in the same transaction, of a session that waits for it.
pub(super) struct Beside<'a> {
    pub(super) shadow: &'a Shadow,
    pub(super) backfills: &'a mut Backfills,
}

/// A write that failed, or whose commit was not answered.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) error: anyhow::Error,
    /// Deliveries that may be in the store under this instance's name.
    pub(super) unanswered: Vec<Uuid>,
}

impl Writer {
    pub(super) async fn prepare(
        enqueuer: &Enqueuer,
        client: Client,
        epoch: i64,
    ) -> anyhow::Result<Self> {
        let unwritten = enqueuer.dispatcher.as_ref().map_or_else(
            || Arc::new(Unwritten::default()),
            |dispatcher| Arc::clone(&dispatcher.unwritten),
        );
        Ok(Writer {
            statements: Statements::prepare(&client).await?,
            shadow_rows: RowStatements::prepare(&client).await?,
            client,
            slot: enqueuer.slot.clone(),
            epoch,
            schema: enqueuer.store.schema().to_owned(),
            instance: Arc::clone(&enqueuer.instance),
            partitions: Arc::clone(&enqueuer.partitions),
            dispatcher: enqueuer.dispatcher.clone(),
            unwritten,
            parked_log: ParkedLog::default(),
            directory: enqueuer.directory.clone(),
            unknown_tenants: Arc::clone(&enqueuer.unknown_tenants),
        })
    }

    /// One transaction. Under an epoch that is no longer ours it writes nothing. False
    /// where nothing was written, as the passes are a backfill's that was stopped.
    pub(super) async fn write(
        &self,
        passes: &[Pass],
        progress: &Progress,
        beside: Option<Beside<'_>>,
    ) -> Result<bool, Failed> {
        let started = Instant::now();
        // What has succeeded already is written with its result. The rest is this
        // instance's, which has it in memory.
        let all = passes.iter().flat_map(|pass| &pass.rows.id);
        let results = self.unwritten.take_delivered(all.map(|id| DeliveryId(*id)));
        let rows = Rows {
            passes,
            results: &results,
        };
        let owned: Vec<Uuid> = rows.owned().collect();
        self.instance.outstanding.insert(owned.iter().copied());
        let lowest = owned.iter().min().copied();
        let written = self.write_somehow(&rows, progress, beside, lowest).await;
        if !matches!(written, Ok(true)) {
            let mut results = results.into_iter().flatten();
            for pass in passes {
                let unwritten = &self.unwritten;
                unwritten.orphan(pass.group, pass.owned(), results.by_ref());
            }
        }
        match written {
            Ok(true) => {}
            Ok(false) => {
                self.instance.outstanding.remove(owned.into_iter());
                return Ok(false);
            }
            Err(error) => {
                let unanswered = owned;
                return Err(Failed { error, unanswered });
            }
        }

        for pass in passes {
            pass.batch.count(started, &self.instance.clocks);
            self.parked_log.write(&pass.batch.parked);
            pass.rows.count_parked();
            // A backfill brings what there is of all tenants.
            if pass.batch.chunk.is_none() {
                let snapshot = self.directory.snapshot();
                self.unknown_tenants.note(&pass.batch.events, &snapshot);
            }
        }
        if passes.iter().any(|pass| pass.rows.schedule_len() > 0) {
            self.announce_schedule().await;
        }
        self.pass_on(passes).await;
        Ok(true)
    }

    /// The transaction, again where rows were there already. After any other error the
    /// session is not to be used any more.
    async fn write_somehow(
        &self,
        rows: &Rows<'_>,
        progress: &Progress,
        mut beside: Option<Beside<'_>>,
        lowest: Option<Uuid>,
    ) -> anyhow::Result<bool> {
        let ids = rows.events().map(|(event, _)| event.id.0);
        self.partitions.ensure(&self.client, ids).await?;
        let prepared = self.statements.copies.prepare(&self.client, rows).await;
        prepared.map_err(|error| self.judge(error))?;
        let mut again = false;
        loop {
            let written = self.transaction(rows, progress, beside.as_mut(), lowest, again);
            let error = match written.await {
                Ok(written) => return Ok(written),
                Err(error) => error,
            };
            if again || code(&error) != Some(&SqlState::UNIQUE_VIOLATION) {
                return Err(self.judge(error));
            }
            again = true;
            let left = self.client.batch_execute("rollback").await;
            left.context("roll the enqueue back")?;
        }
    }

    /// Where a day's partition is gone the next session makes it.
    fn judge(&self, error: anyhow::Error) -> anyhow::Error {
        if code(&error) != Some(&SqlState::UNDEFINED_TABLE) {
            return error;
        }
        self.partitions.forget();
        Interrupted::DayDropped.into()
    }

    async fn transaction(
        &self,
        rows: &Rows<'_>,
        progress: &Progress,
        beside: Option<&mut Beside<'_>>,
        lowest: Option<Uuid>,
        again: bool,
    ) -> anyhow::Result<bool> {
        self.begin(progress).await?;
        if let Some(Beside { shadow, backfills }) = beside {
            shadow.write_state(&self.client).await?;
            backfills.write(&self.client).await?;
            for Pass { batch, rows, .. } in rows.passes {
                let Some(chunk) = &batch.chunk else { continue };
                let moved = backfills.advance(&self.client, chunk, batch, rows.len());
                if !moved.await? {
                    let left = self.client.batch_execute("rollback").await;
                    left.context("leave the chunk out")?;
                    return Ok(false);
                }
            }
        }
        let shadow = rows.passes.iter().map(|pass| &pass.shadow);
        self.shadow_rows.write(&self.client, shadow).await?;
        self.write_rows(rows, lowest, again).await?;
        Ok(true)
    }

    /// Begins, and moves the progress under our epoch, whose row stays locked until
    /// the end.
    async fn begin(&self, progress: &Progress) -> anyhow::Result<()> {
        let advance: [&(dyn ToSql + Sync); 6] = [
            &self.slot,
            &self.epoch,
            &progress.commit_lsn,
            &progress.ordinal,
            &progress.complete,
            &progress.acknowledged_lsn,
        ];
        let (begun, advanced) = tokio::join!(
            self.client.batch_execute("begin"),
            self.client
                .execute(&self.statements.advance_progress, &advance),
        );
        begun.context("begin the enqueue")?;
        if advanced.context("advance the progress")? == 0 {
            let slot = self.slot.clone();
            return Err(Interrupted::Deposed { slot }.into());
        }
        Ok(())
    }

    /// The rows and the commit. The low water stays locked until they are committed.
    async fn write_rows(
        &self,
        rows: &Rows<'_>,
        lowest: Option<Uuid>,
        again: bool,
    ) -> anyhow::Result<()> {
        let mut low_water = match lowest {
            None => None,
            Some(lowest) => {
                let known = self.instance.outstanding.low_water().await;
                (lowest < *known).then_some((known, lowest))
            }
        };
        let lower = low_water.as_ref().map(|(_, lowest)| *lowest);
        self.statements
            .write(&self.client, &self.instance, rows, lower, again)
            .await?;
        if let Some((known, lowest)) = &mut low_water {
            **known = *lowest;
        }
        Ok(())
    }

    /// The deliveries have their rows: results that came meanwhile are the recorder's,
    /// and so is what comes from now on.
    async fn pass_on(&self, passes: &[Pass]) {
        for pass in passes {
            let results = self.unwritten.release(pass.group, pass.owned());
            if let Some(dispatcher) = &self.dispatcher {
                for record in results {
                    dispatcher.record_written(*record).await;
                }
            }
        }
    }

    /// Tells other nodes' claimers, and our own, that the schedule has new rows.
    async fn announce_schedule(&self) {
        let told = self
            .client
            .execute(&self.statements.notify_schedule, &[&self.schema])
            .await;
        if let Err(error) = told {
            tracing::debug!(%error, "cannot announce new rows of the schedule; the claimers will find them");
        }
    }
}

fn code(error: &anyhow::Error) -> Option<&SqlState> {
    error.downcast_ref::<tokio_postgres::Error>()?.code()
}
