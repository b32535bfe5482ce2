//! The publication, the slot and the record of where it begins belong together.

use anyhow::{Context, bail};
use tokio_postgres::Client;

use super::{AcceptedGap, Done, SetupReport};
use crate::cli::catalog::Table;
use crate::cli::check::SourceState;
use crate::cli::gaps::{self, Acceptance};
use crate::cli::progress::{self, Progress};
use crate::cli::{harm, publication, standby};
use crate::config::Config;
use crate::conninfo::ConnInfo;
use crate::lsn::Lsn;
use crate::replication::slot::{self, REMEDY};
use crate::replication::{self, Gap, SlotState, SystemIdentity};

pub(super) struct SlotSetup<'a> {
    pub(super) config: &'a Config,
    pub(super) client: &'a Client,
    /// The same server, or its primary where it is a standby.
    pub(super) writable: &'a Client,
    pub(super) conninfo: &'a ConnInfo,
    pub(super) source: &'a SourceState,
    pub(super) store: &'a Client,
    pub(super) progress: Option<&'a Progress>,
    /// Why capture could not get past the progress, where only the stream shows it.
    pub(super) wedged: Option<&'a str>,
    pub(super) accept_gap: bool,
}

/// Why what is recorded does not go on in the slot as it is.
struct FoundGap {
    reason: String,
    /// The slot still serves everything behind the gap.
    slot_serves: bool,
}

impl SlotSetup<'_> {
    pub(super) async fn make(&self, report: &mut SetupReport) -> anyhow::Result<()> {
        match self.find_gap().await? {
            Some(gap) if !self.accept_gap => bail!("{}. {REMEDY}", gap.reason),
            Some(gap) => self.go_on_behind(&gap, report).await,
            None => self.make_missing(report).await,
        }
    }

    /// What is there is kept, and what is not is made.
    async fn make_missing(&self, report: &mut SetupReport) -> anyhow::Result<()> {
        let published = self.make_publication(report).await?;
        let (start, made) = match (&self.source.slot, published) {
            (None, _) => (self.create_slot().await?, Done::Made),
            // The slot stands before the publication's creation, where it would jam.
            // Nothing was ever taken from it, so nothing is lost.
            (Some(_), Done::Made) => (self.advance_slot().await?, Done::Changed),
            (Some(slot), Done::Kept | Done::Changed) => (confirmed(slot), Done::Kept),
        };
        report.add(made, format!("the slot `{}`", self.config.source.slot));
        if self.progress.is_some() {
            report.add(Done::Kept, "the recorded progress");
            return Ok(());
        }
        self.record_beginning(start).await?;
        report.add(
            Done::Made,
            format!("the record of progress, from {start} on"),
        );
        Ok(())
    }

    async fn find_gap(&self) -> anyhow::Result<Option<FoundGap>> {
        if self.progress.is_none() && self.source.slot.is_none() {
            return Ok(None);
        }
        let system = progress::identify(self.client, self.conninfo, self.progress).await?;
        let recorded = self.progress.map(|progress| &progress.recorded);
        let name = &self.config.source.slot;
        let dropped = self.source.publication.is_none() && self.progress.is_some();
        match slot::verify(recorded, &system, name, self.source.slot.as_ref()) {
            // Not ours to drop, and nothing that could be accepted.
            Err(gap) if gap.is_setup_fault() => Err(gap.into()),
            Err(gap) => Ok(Some(FoundGap {
                slot_serves: matches!(gap, Gap::SlotAhead { .. })
                    && !dropped
                    && self.wedged.is_none(),
                reason: gap.state(),
            })),
            Ok(()) if dropped => Ok(Some(FoundGap {
                reason: format!(
                    "the publication `{}` does not exist any more: the slot `{name}` needs it at every change since it \
                     was dropped, and creating it now does not help for those",
                    self.config.source.publication
                ),
                slot_serves: false,
            })),
            Ok(()) => Ok(self.wedged.map(|reason| FoundGap {
                reason: reason.to_owned(),
                slot_serves: false,
            })),
        }
    }

    async fn go_on_behind(&self, gap: &FoundGap, report: &mut SetupReport) -> anyhow::Result<()> {
        let name = &self.config.source.slot;
        let old = self.source.slot.as_ref();
        if let Some(pid) = old.and_then(|slot| slot.active_pid) {
            bail!(
                "the slot `{name}` is in use by the walsender with pid {pid}: stop `walhook run` first"
            );
        }
        // Before the slot, which would jam at changes from before it.
        self.make_publication(report).await?;
        let (to, made) = match old {
            Some(slot) if gap.slot_serves => (confirmed(slot), Done::Kept),
            Some(_) => {
                slot::drop(self.client, name).await?;
                (self.create_slot().await?, Done::Changed)
            }
            None => (self.create_slot().await?, Done::Made),
        };
        report.add(made, format!("the slot `{name}`"));
        let from = match (self.progress, old) {
            (Some(progress), _) => progress.recorded.acknowledged_lsn,
            (None, Some(slot)) => confirmed(slot),
            (None, None) => to,
        };
        let newest_event = gaps::newest_event(self.store).await?;
        let system = self.system().await?;
        let acceptance = Acceptance {
            slot: name,
            system: &system,
            from,
            to,
            reason: &gap.reason,
        };
        acceptance.record(self.store).await?;
        tracing::warn!(slot = name, %from, %to, "a gap was accepted: what committed in it is not delivered");
        report.add(Done::Changed, format!("the recorded progress, now {to}"));
        report.gap = Some(AcceptedGap {
            from,
            to,
            reason: gap.reason.clone(),
            newest_event,
            other_log: self
                .progress
                .is_some_and(|progress| progress.is_of_another_log(&system)),
            rules: self.config.events.clone(),
        });
        Ok(())
    }

    async fn make_publication(&self, report: &mut SetupReport) -> anyhow::Result<Done> {
        let name = &self.config.source.publication;
        let tables = &self.source.tables;
        let version = self.source.server.version_number;
        let statements = match &self.source.publication {
            None => {
                let generated = harm::needs_generated_columns(tables, version);
                let names = tables.iter().map(Table::name);
                vec![publication::create_statement(name, names, generated)]
            }
            Some(publication) => {
                let differences = publication.differences(tables, version);
                let statements = publication::alter_statements(name, tables, &differences);
                if statements.is_empty() && !differences.is_empty() {
                    bail!(
                        "the publication `{name}` is FOR ALL TABLES, which cannot become a list of tables: set \
                         source.publication to another name, then run `walhook setup --accept-gap`"
                    );
                }
                statements
            }
        };
        let done = match (&self.source.publication, statements.is_empty()) {
            (None, _) => Done::Made,
            (Some(_), true) => Done::Kept,
            (Some(_), false) => Done::Changed,
        };
        if !statements.is_empty() {
            // One transaction, so that no change meets a publication half altered.
            let statements = statements.join("\n");
            self.writable.batch_execute(&statements).await.with_context(|| {
                format!(
                    "make the publication `{name}` (have the owner of the tables run this, and run setup \
                     again): {statements}"
                )
            })?;
            // The slot must not begin before its publication.
            self.await_replay().await?;
        }
        let count = tables.len();
        report.add(
            done,
            format!("the publication `{name}` of {count} table(s)"),
        );
        Ok(done)
    }

    async fn create_slot(&self) -> anyhow::Result<Lsn> {
        // From 17 on a slot can follow a fail-over; the server ignores it until
        // standbys are told to synchronise slots.
        let server = &self.source.server;
        if server.in_recovery {
            let creating = slot::create(self.client, &self.config.source.slot, false);
            return Ok(standby::logging_snapshots(self.writable, creating).await?);
        }
        let failover = server.version_number >= 170_000;
        let creating = slot::create(self.client, &self.config.source.slot, failover);
        let mut creating = std::pin::pin!(creating);
        match tokio::time::timeout(SLOT_PATIENCE, &mut creating).await {
            Ok(created) => Ok(created?),
            Err(_) => {
                tracing::warn!(
                    "the slot waits for every transaction that was open when its creation began; \
                     see pg_stat_activity for old ones"
                );
                Ok(creating.await?)
            }
        }
    }

    async fn await_replay(&self) -> anyhow::Result<()> {
        match self.source.server.in_recovery {
            true => standby::await_replay(self.client, self.writable).await,
            false => Ok(()),
        }
    }

    /// A standby's catalog learns of another timeline later than its walsenders.
    async fn system(&self) -> anyhow::Result<SystemIdentity> {
        Ok(match self.source.server.in_recovery {
            true => replication::identify(self.conninfo).await?,
            false => slot::identify_system(self.client).await?,
        })
    }

    async fn advance_slot(&self) -> anyhow::Result<Lsn> {
        let query = include_str!("../../../sql/queries/advance_slot.sql");
        let name = &self.config.source.slot;
        let row = self.client.query_one(query, &[name]).await;
        let row = row.with_context(|| format!("advance the slot `{name}` to the publication"))?;
        Ok(row.get(0))
    }

    /// Records where the slot begins.
    async fn record_beginning(&self, start: Lsn) -> anyhow::Result<()> {
        let system = self.system().await?;
        let (commit, acknowledged) = progress::beginning(start);
        let identifier = system.system_identifier.to_string();
        self.store
            .execute(
                include_str!("../../../sql/queries/insert_progress.sql"),
                &[
                    &self.config.source.slot,
                    &identifier,
                    &system.timeline,
                    &commit,
                    &acknowledged,
                ],
            )
            .await
            .context("record where the slot begins")?;
        Ok(())
    }
}

fn confirmed(slot: &SlotState) -> Lsn {
    slot.confirmed_flush_lsn.unwrap_or(Lsn::ZERO)
}

/// How long a slot's creation may take before we say what it waits for.
const SLOT_PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
