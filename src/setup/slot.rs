//! The publication, the slot and the record of where it begins belong together.

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::readable::Reader;
use super::{AcceptedGap, Done, SetupReport};
use crate::audit::{Caller, Entry};
use crate::config::Config;
use crate::conninfo::{Client, ConnInfo};
use crate::db::Store;
use crate::lsn::Lsn;
use crate::mapping::TableName;
use crate::preflight::SourceState;
use crate::replication::slot::{self, REMEDY};
use crate::replication::{self, Gap, GapKind, SlotState, SystemIdentity};
use crate::source::gaps::{self, Acceptance};
use crate::source::progress::{self, Progress};
use crate::source::published::{self, Says};
use crate::source::standby;

pub(super) struct SlotSetup<'a> {
    pub(super) config: &'a Config,
    pub(super) client: &'a Client,
    /// The same server, or its primary where it is a standby.
    pub(super) writable: &'a Client,
    pub(super) conninfo: &'a ConnInfo,
    pub(super) source: &'a SourceState,
    pub(super) watched: &'a [TableName],
    pub(super) pool: &'a Store,
    pub(super) store: &'a Client,
    pub(super) progress: Option<&'a Progress>,
    /// Why capture could not get past the progress, where only the stream shows it.
    pub(super) wedged: Option<&'a str>,
    pub(super) accept_gap: bool,
    /// Takes out of the publication what no rule watches.
    pub(super) remove_tables: bool,
}

/// Why what is recorded does not go on in the slot as it is.
struct FoundGap {
    kind: GapKind,
    reason: String,
    way: Way,
}

/// How to go on after a gap.
enum Way {
    /// The slot stands after the gap and serves everything from there on.
    Slot,
    /// The slot is intact: past what the server cannot decode it can be read again.
    PastUnreadable,
    /// The slot is of no more use.
    NewSlot,
}

impl SlotSetup<'_> {
    pub(super) async fn make(&self, report: &mut SetupReport) -> anyhow::Result<()> {
        match self.find_gap().await? {
            Some(gap) if !self.accept_gap => bail!("{}. {REMEDY}", gap.reason),
            Some(gap) => self.go_on_behind(&gap, report).await?,
            None => {
                if self.progress.is_some() {
                    gaps::forget_mended(self.store, &self.config.source.slot).await?;
                    // What was published until now, before it is altered.
                    self.look().await?;
                }
                self.make_missing(report).await?;
            }
        }
        self.look().await?;
        self.settle_open(report).await
    }

    /// Records what is published, and what of it was not for a while.
    async fn look(&self) -> anyhow::Result<()> {
        let source = &self.config.source;
        let catalog = published::read(self.client, &source.publication, self.watched).await?;
        let mut store = self.pool.get().await.context("reach the store")?;
        published::record(&mut store, &source.slot, &catalog).await?;
        published::forget_others(&store, &source.slot, self.watched, Says::Setup).await
    }

    /// The gaps that capture has gone on after already.
    async fn settle_open(&self, report: &mut SetupReport) -> anyhow::Result<()> {
        let slot = &self.config.source.slot;
        report.rules.clone_from(&self.config.events);
        report.tables.clone_from(&self.source.tables);
        if !self.accept_gap {
            report.open = gaps::open(self.store, slot).await?;
            return Ok(());
        }
        let mut store = self.pool.get().await.context("reach the store")?;
        let transaction = store.transaction().await?;
        let accepted = gaps::accept_open(&transaction, slot).await?;
        if !accepted.is_empty() {
            let entry = self.accepting(json!({"open": true}));
            Caller::of_command().commit(transaction, &entry).await?;
        }
        for gap in accepted {
            let since = gaps::newest_event_before(self.store, gap.from).await?;
            report.accepted.push((gap, since));
        }
        Ok(())
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
                kind: gap.kind(),
                way: match gap {
                    Gap::SlotAhead { .. } if !dropped && self.wedged.is_none() => Way::Slot,
                    _ => Way::NewSlot,
                },
                reason: gap.state(),
            })),
            Ok(()) if dropped => Ok(Some(FoundGap {
                kind: GapKind::PublicationDropped,
                reason: format!(
                    "the publication `{}` does not exist any more: the slot `{name}` needs it at every change since it \
                     was dropped, and creating it now does not help for those",
                    self.config.source.publication
                ),
                way: Way::PastUnreadable,
            })),
            Ok(()) => Ok(self.wedged.map(|reason| FoundGap {
                kind: GapKind::Unreadable,
                reason: reason.to_owned(),
                way: Way::PastUnreadable,
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
        let recorded = self
            .progress
            .map(|progress| progress.recorded.acknowledged_lsn);
        let (to, made) = match (old, &gap.way) {
            (Some(slot), Way::Slot) => (confirmed(slot), Done::Kept),
            (Some(slot), Way::PastUnreadable) => {
                let from = confirmed(slot).max(recorded.unwrap_or(Lsn::ZERO));
                match self.pass_unreadable(from).await? {
                    Some(to) => (to, Done::Changed),
                    None if self.is_unreadable().await? => {
                        gaps::close_readable(self.store, name).await?;
                        report.add(Done::Kept, format!("the slot `{name}`"));
                        let closed = "the gap, which is none: the WAL is decoded again, and nothing was skipped";
                        report.add(Done::Changed, closed);
                        return Ok(());
                    }
                    None => self.replace_slot().await?,
                }
            }
            (Some(_), Way::NewSlot) => self.replace_slot().await?,
            (None, _) => (self.create_slot().await?, Done::Made),
        };
        report.add(made, format!("the slot `{name}`"));
        let from = match (recorded, old) {
            (Some(acknowledged), _) => acknowledged,
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
            kind: gap.kind,
            reason: &gap.reason,
            accepted: true,
        };
        let entry = self.accepting(json!({
            "from": from.to_string(), "to": to.to_string(), "kind": gap.kind.as_str(),
        }));
        let mut store = self.pool.get().await.context("reach the store")?;
        let transaction = store.transaction().await?;
        acceptance.record(&transaction).await?;
        Caller::of_command().commit(transaction, &entry).await?;
        drop(store);
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
        });
        Ok(())
    }

    /// For the audit log.
    fn accepting(&self, what: Value) -> Entry<'static> {
        Entry {
            action: "gap.accept",
            object: Some(self.config.source.slot.clone()),
            after: Some(what),
            ..Entry::default()
        }
    }

    async fn replace_slot(&self) -> anyhow::Result<(Lsn, Done)> {
        slot::drop(self.client, &self.config.source.slot).await?;
        Ok((self.create_slot().await?, Done::Changed))
    }

    /// Whether the gap is that the server failed at a transaction, and no other.
    async fn is_unreadable(&self) -> anyhow::Result<bool> {
        let kind = GapKind::Unreadable.as_str();
        let open = gaps::open(self.store, &self.config.source.slot).await?;
        let mut standing = open
            .iter()
            .filter(|gap| gap.table.is_none() && gap.to.is_none());
        Ok(standing.next().is_some_and(|gap| gap.kind == kind) && standing.next().is_none())
    }

    /// Advances the slot just past what the server cannot decode; `None` where it can
    /// decode what follows, so that only a slot of the present is sure to go on.
    async fn pass_unreadable(&self, from: Lsn) -> anyhow::Result<Option<Lsn>> {
        let reader = Reader {
            client: self.client,
            slot: &self.config.source.slot,
            publication: &self.config.source.publication,
        };
        let until = slot::identify_system(self.client).await?.flushed_lsn;
        self.client.limit_statements(DECODING).await?;
        let found = reader.first_readable(from, until).await?;
        if let Some(to) = found {
            let advanced = slot::advance(self.client, reader.slot, Some(to)).await;
            advanced.with_context(|| format!("advance the slot to {to}"))?;
        }
        Ok(found)
    }

    async fn create_slot(&self) -> anyhow::Result<Lsn> {
        // From 17 on a slot can follow a fail-over; the server ignores it until
        // standbys are told to synchronise slots.
        let server = &self.source.server;
        self.client.limit_statements(CREATING).await?;
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

    pub(super) async fn await_replay(&self) -> anyhow::Result<()> {
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
        let name = &self.config.source.slot;
        let advanced = slot::advance(self.client, name, None).await;
        advanced.with_context(|| format!("advance the slot `{name}` to the publication"))
    }

    /// Records where the slot begins.
    async fn record_beginning(&self, start: Lsn) -> anyhow::Result<()> {
        let system = self.system().await?;
        let (commit, acknowledged) = progress::beginning(start);
        let identifier = system.system_identifier.to_string();
        self.store
            .execute(
                include_str!("../../sql/queries/setup/insert_progress.sql"),
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

/// How long a slot's creation may wait for open transactions. The operator is told, and can
/// end the command.
const CREATING: std::time::Duration = std::time::Duration::from_secs(86_400);

/// How long one try to decode may take: a transaction may be large.
const DECODING: std::time::Duration = std::time::Duration::from_secs(86_400);

/// How long a slot's creation may take before we say what it waits for.
const SLOT_PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
