//! Writes groups: progress, shadow, events and deliveries in one transaction of the
//! store. Nothing is acknowledged before it has committed.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::group::Group;
use super::parked_log::ParkedLog;
use super::rows::Rows;
use super::shadow_rows::RowStatements;
use super::statements::Statements;
use super::{Interrupted, Progress, Tallies, UnknownTenants};
use crate::conninfo::Client;
use crate::delivery::dispatcher::Dispatcher;
use crate::delivery::instance::Instance;
use crate::delivery::offered::Offered;
use crate::delivery::partitions::Partitions;
use crate::delivery::recorder::Record;
use crate::event::DeliveryId;
use crate::subscription::directory::Directory;

/// What writing needs of the process, whatever session it is in.
pub(crate) struct Means {
    pub(crate) slot: String,
    pub(crate) schema: String,
    pub(crate) instance: Arc<Instance>,
    pub(crate) partitions: Arc<Partitions>,
    /// None on a node that does not deliver.
    pub(crate) dispatcher: Option<Arc<Dispatcher>>,
    pub(crate) directory: Directory,
    pub(crate) unknown_tenants: Arc<UnknownTenants>,
    pub(crate) tallies: Arc<Tallies>,
}

pub(crate) struct Writer {
    pub(crate) client: Client,
    pub(crate) means: Means,
    pub(crate) offered: Arc<Offered>,
    statements: Statements,
    shadow_rows: RowStatements,
    epoch: i64,
    parked_log: ParkedLog,
}

/// Groups that are being written, with the results that are written in their rows.
pub(crate) struct Taken<'a> {
    groups: &'a [Group],
    /// In the order of the deliveries.
    results: Vec<Option<Arc<Record>>>,
    /// Deliveries that the store will say this instance has in memory.
    owned: Vec<Uuid>,
    since: Instant,
}

impl<'a> Taken<'a> {
    fn rows(&'a self) -> Rows<'a> {
        Rows {
            groups: self.groups,
            results: &self.results,
        }
    }
}

/// A write that failed, or whose commit was not answered.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) error: anyhow::Error,
    /// Deliveries that may be in the store under this instance's name.
    pub(crate) unconfirmed: Vec<Uuid>,
}

impl Writer {
    pub(crate) async fn prepare(means: Means, client: Client, epoch: i64) -> anyhow::Result<Self> {
        let offered = means.dispatcher.as_ref().map_or_else(
            || Arc::new(Offered::default()),
            |dispatcher| Arc::clone(&dispatcher.offered),
        );
        offered.begin_session();
        Ok(Writer {
            statements: Statements::prepare(&client).await?,
            shadow_rows: RowStatements::prepare(&client).await?,
            client,
            means,
            offered,
            epoch,
            parked_log: ParkedLog::default(),
        })
    }

    /// One transaction. Under an epoch that is no longer ours it writes nothing.
    pub(crate) async fn write(&self, groups: &[Group], progress: &Progress) -> Result<(), Failed> {
        let taken = self.take(groups);
        let written = self.write_at_last(&taken, progress).await;
        self.end(&taken, written).await
    }

    /// Begins the transaction, for who writes more in it before [`commit`](Self::commit).
    pub(crate) async fn begin<'a>(
        &self,
        groups: &'a [Group],
        progress: &Progress,
    ) -> Result<Taken<'a>, Failed> {
        let taken = self.take(groups);
        let begun = async {
            self.prepare_days(&taken).await?;
            self.begin_transaction(progress).await
        };
        match begun.await {
            Ok(()) => Ok(taken),
            Err(error) => Err(self.fail(&taken, error)),
        }
    }

    pub(crate) async fn commit(&self, taken: Taken<'_>) -> Result<(), Failed> {
        // It is not tried again: rows that are there already are looked for first.
        let written = self.write_rows(&taken, true).await;
        self.end(&taken, written).await
    }

    /// Nothing is written, and the session may go on.
    pub(crate) async fn roll_back(&self, taken: Taken<'_>) -> Result<(), Failed> {
        let left = self.client.batch_execute("rollback").await;
        if let Err(error) = left.context("leave the chunk out") {
            return Err(self.fail(&taken, error));
        }
        self.orphan(&taken);
        self.means
            .instance
            .outstanding
            .remove(taken.owned.into_iter());
        Ok(())
    }

    /// The write has failed, or it is not known whether it has. The session is not to be used any
    /// more.
    pub(crate) fn fail(&self, taken: &Taken<'_>, error: anyhow::Error) -> Failed {
        self.orphan(taken);
        Failed {
            error: self.judge(error),
            unconfirmed: taken.owned.clone(),
        }
    }

    /// What has succeeded already is written with its result. The rest is this instance's, which
    /// has it in memory.
    fn take<'a>(&self, groups: &'a [Group]) -> Taken<'a> {
        let all = groups.iter().flat_map(|group| &group.rows.id);
        let mut taken = Taken {
            groups,
            results: self.offered.take_delivered(all.map(|id| DeliveryId(*id))),
            owned: Vec::new(),
            since: Instant::now(),
        };
        taken.owned = taken.rows().owned().collect();
        let owned = taken.owned.iter().copied();
        self.means.instance.outstanding.insert(owned);
        taken
    }

    fn orphan(&self, taken: &Taken<'_>) {
        let now = Instant::now();
        for group in taken.groups {
            self.offered.orphan(group.number, group.owned(), now);
        }
    }

    async fn end(&self, taken: &Taken<'_>, written: anyhow::Result<()>) -> Result<(), Failed> {
        if let Err(error) = written {
            return Err(self.fail(taken, error));
        }
        let now = self.means.instance.clocks.store().now();
        self.means.tallies.note(taken.groups, now);
        let groups = taken.groups;
        for group in groups {
            group.batch.count(taken.since, &self.means.instance.clocks);
            self.parked_log.write(&group.batch.parked);
            group.rows.count_parked();
            // A backfill brings what there is of all tenants.
            if group.batch.chunk.is_none() {
                let snapshot = self.means.directory.snapshot();
                let unknown_tenants = &self.means.unknown_tenants;
                unknown_tenants.note(&group.batch.events, &snapshot);
            }
        }
        if groups.iter().any(|group| group.rows.schedule_len() > 0) {
            self.announce_schedule().await;
        }
        self.pass_on(groups).await;
        Ok(())
    }

    /// The transaction, again where rows were there already.
    async fn write_at_last(&self, taken: &Taken<'_>, progress: &Progress) -> anyhow::Result<()> {
        self.prepare_days(taken).await?;
        let mut again = false;
        loop {
            let written = async {
                self.begin_transaction(progress).await?;
                self.write_rows(taken, again).await
            };
            let Err(error) = written.await else {
                return Ok(());
            };
            if again || code(&error) != Some(&SqlState::UNIQUE_VIOLATION) {
                return Err(error);
            }
            again = true;
            let left = self.client.batch_execute("rollback").await;
            left.context("roll the enqueue back")?;
        }
    }

    async fn prepare_days(&self, taken: &Taken<'_>) -> anyhow::Result<()> {
        let rows = taken.rows();
        let ids = rows.events().map(|(event, _)| event.id.0);
        self.means.partitions.ensure(&self.client, ids).await?;
        self.statements.copies.prepare(&self.client, &rows).await
    }

    /// Where a day's partition is gone the next session makes it.
    fn judge(&self, error: anyhow::Error) -> anyhow::Error {
        if code(&error) != Some(&SqlState::UNDEFINED_TABLE) {
            return error;
        }
        self.means.partitions.forget();
        Interrupted::DayDropped.into()
    }

    /// Begins, and moves the progress under our epoch, whose row stays locked until
    /// the end.
    async fn begin_transaction(&self, progress: &Progress) -> anyhow::Result<()> {
        let advance: [&(dyn ToSql + Sync); 6] = [
            &self.means.slot,
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
            let slot = self.means.slot.clone();
            return Err(Interrupted::Deposed { slot }.into());
        }
        Ok(())
    }

    /// The rows and the commit. The low water stays locked until they are committed. `again`: some
    /// may be there already.
    async fn write_rows(&self, taken: &Taken<'_>, again: bool) -> anyhow::Result<()> {
        let shadow = taken.groups.iter().map(|group| &group.shadow);
        self.shadow_rows.write(&self.client, shadow).await?;
        let instance = &self.means.instance;
        let mut low_water = match taken.owned.iter().min() {
            None => None,
            Some(lowest) => {
                let known = instance.outstanding.low_water().await;
                (*lowest < *known).then_some((known, *lowest))
            }
        };
        let lower = low_water.as_ref().map(|(_, lowest)| *lowest);
        self.statements
            .write(&self.client, instance, &taken.rows(), lower, again)
            .await?;
        if let Some((known, lowest)) = &mut low_water {
            **known = *lowest;
        }
        Ok(())
    }

    /// The deliveries have their rows: results that came meanwhile are the recorder's,
    /// and so is what comes from now on.
    async fn pass_on(&self, groups: &[Group]) {
        for group in groups {
            let results = self.offered.written(group.number, group.owned());
            if let Some(dispatcher) = &self.means.dispatcher {
                for record in results {
                    dispatcher.record_written(record).await;
                }
            }
        }
    }

    /// Tells other nodes' claimers, and our own, that the schedule has new rows.
    async fn announce_schedule(&self) {
        let told = self
            .client
            .execute(&self.statements.notify_schedule, &[&self.means.schema])
            .await;
        if let Err(error) = told {
            tracing::debug!(%error, "cannot announce new rows of the schedule; the claimers will find them");
        }
    }
}

fn code(error: &anyhow::Error) -> Option<&SqlState> {
    error.downcast_ref::<tokio_postgres::Error>()?.code()
}
