//! Looks, beside capture, at what the stream does not say: how much log the slot makes the
//! source keep, whether the publication still holds the watched tables, and which gaps
//! nobody has accepted yet.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::doubtful::Doubtful;
use super::generation::Generation;
use super::shed::ShedRequest;
use crate::capture::{SourceCatalog, end_leader};
use crate::clock::{self, Clocks};
use crate::conninfo::{Client, ConnInfo, Purpose};
use crate::db::Store;
use crate::episode::Episode;
use crate::health::{CaptureState, Health, OpenGap};
use crate::lsn::Lsn;
use crate::mapping::TableName;
use crate::metrics::METRICS;
use crate::replication::slot::{Budget, CatchingUp};
use crate::replication::{GapKind, SlotState, SourceConfig, slot};
use crate::source::published::{self, Says};
use crate::source::{gaps, progress};

mod alarm;
pub(super) mod definitions;
mod let_go;
mod standby_copy;

use alarm::Alarm;
use definitions::{DefinitionWatch, Persist};
use let_go::LetGo;
use standby_copy::StandbyCopy;

/// A change of the publication, and a gap that was accepted, are seen within this.
const PERIOD: Duration = Duration::from_secs(2);

/// What fails, for the log.
const LOOK: &str = "cannot look at the slot and what is published";

/// Since when things were well is recorded after this much log at the earliest, as a
/// store in the same cluster writes log itself.
const SEEN_ADVANCE: u64 = 1024 * 1024;

/// How long the enqueuer may take to let go, before its session in the store is ended.
const PATIENCE_OF_ENQUEUER: Duration = Duration::from_secs(5);

pub(super) struct Watch {
    pub(super) source: ConnInfo,
    pub(super) config: SourceConfig,
    /// Their tables are watched.
    pub(super) rules: tokio::sync::watch::Receiver<Arc<Generation>>,
    pub(super) store: Store,
    pub(super) instance: Uuid,
    pub(super) health: Arc<Health>,
    pub(super) shed_request: Arc<ShedRequest>,
    pub(super) catalog: SourceCatalog,
    pub(super) doubtful: Arc<Doubtful>,
    pub(super) clocks: Arc<Clocks>,
}

/// What one look leaves for the next.
struct Looked {
    alarm: Alarm,
    /// Up to where it is recorded that the tables were published.
    seen: Lsn,
    asked_at: Option<Instant>,
    catching_up: CatchingUp,
    let_go: LetGo,
    standby_copy: StandbyCopy,
    definitions: DefinitionWatch,
}

impl Watch {
    /// Until `stop`. A source or a store that is away is no fault of this task: capture
    /// reports it.
    pub(super) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        // A counter that begins with its first gap would hide that one from an alert.
        for kind in GapKind::ALL {
            METRICS.gaps.with_label_values(&[kind.as_str()]);
        }
        let mut client: Option<Client> = None;
        let mut looked = Looked {
            alarm: Alarm::None,
            seen: Lsn::ZERO,
            asked_at: None,
            catching_up: CatchingUp::default(),
            let_go: LetGo::default(),
            standby_copy: StandbyCopy::new(self.config.heartbeat.0),
            definitions: DefinitionWatch::default(),
        };
        let mut episode = Episode::default();
        loop {
            let looking = Box::pin(self.look(&mut client, &mut looked));
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                seen = looking => match seen {
                    Ok(()) => {
                        episode.succeeded(LOOK);
                        self.health.saw();
                    }
                    // What is committed meanwhile is found by the next look: it compares
                    // what is published with what was.
                    Err(error) => episode.failed(LOOK, &error),
                }
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
    }

    /// Every part by itself: a store that is away must not hide the source, and the reverse.
    async fn look(&self, client: &mut Option<Client>, looked: &mut Looked) -> anyhow::Result<()> {
        let at_source = async {
            let source = match client {
                Some(source) if !source.is_closed() => source,
                _ => client.insert(self.source.connect(Purpose::Watch, None).await?),
            };
            let slot_seen = self.look_at_slot(source, looked).await;
            let tables_seen = self.look_at_tables(source, looked).await;
            let definitions_seen = self.look_at_definitions(source, looked).await;
            slot_seen
                .context("look at the slot")
                .and(tables_seen.context("look at what is published"))
                .and(definitions_seen.context("look at how tables are defined"))
        };
        let source_seen = at_source.await;
        let gaps_seen = self.look_at_gaps().await.context("look at the gaps");
        source_seen.and(gaps_seen)
    }

    async fn look_at_slot(&self, source: &Client, looked: &mut Looked) -> anyhow::Result<()> {
        self.clocks.observe_source(clock::read(source).await?);
        let name = &self.config.slot;
        let state = slot::inspect(source, name).await?.unwrap_or_default();
        let now = slot::current_wal_insert_lsn(source).await?;
        let budget = Budget::of(&state, now, self.config.wal_limit);
        let gauge = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        METRICS.slot_retained_bytes.set(gauge(budget.retained));
        METRICS.lag_bytes.set(gauge(budget.lag));
        METRICS
            .slot_safe_wal_bytes
            .set(state.safe_wal_size.unwrap_or(-1));
        METRICS.wal_limit_bytes.set(budget.limit.map_or(-1, gauge));
        let policy = self.config.wal_policy;
        let is_to_be_shed = looked.catching_up.is_to_be_shed(&budget, policy);
        looked.alarm = looked.alarm.after(name, &budget, policy);
        if is_to_be_shed && self.is_ours(&state) {
            self.ask_to_shed(looked).await?;
        } else {
            looked.asked_at = None;
        }
        if self.health.capture() == CaptureState::Leading {
            looked.let_go.help(source, &state, &budget).await;
            looked.standby_copy.help(source, &state).await;
        }
        Ok(())
    }

    /// Whether this instance holds the slot, or nobody does.
    fn is_ours(&self, state: &SlotState) -> bool {
        let leading = self.health.capture() == CaptureState::Leading;
        state.lost().is_none() && (leading || state.active_pid.is_none())
    }

    async fn ask_to_shed(&self, looked: &mut Looked) -> anyhow::Result<()> {
        self.shed_request.ask();
        let asked_at = *looked.asked_at.get_or_insert_with(Instant::now);
        if asked_at.elapsed() < PATIENCE_OF_ENQUEUER
            || self.health.capture() != CaptureState::Leading
        {
            return Ok(());
        }
        // The enqueuer is stuck in the store, as behind a lock. What it has begun there
        // is rolled back, or has been committed and is found by the progress.
        tracing::warn!("the enqueuer does not let go of the slot; ending its session in the store");
        let store = self.store.get().await?;
        end_leader(&store, &self.config.slot, Some(self.instance)).await?;
        looked.asked_at = None;
        Ok(())
    }

    /// Records what became of the published tables. Not on another system, where nothing
    /// is as it was: that is capture's to say.
    async fn look_at_tables(&self, source: &Client, looked: &mut Looked) -> anyhow::Result<()> {
        let slot = &self.config.slot;
        let mut store = self.store.get().await?;
        let Some(progress) = progress::read(&store, slot).await? else {
            return Ok(());
        };
        let system = slot::identify_system(source).await?;
        if system.system_identifier != progress.recorded.system_identifier {
            return Ok(());
        }
        let rules = Arc::clone(&self.rules.borrow().rules);
        let tables: Vec<TableName> = rules.tables().cloned().collect();
        let catalog = published::read(source, &self.config.publication, &tables).await?;
        for kind in published::record(&mut store, slot, &catalog).await? {
            METRICS.gaps.with_label_values(&[kind.as_str()]).inc();
        }
        if self.health.capture() == CaptureState::Leading {
            published::forget_others(&store, slot, &tables, Says::Leader).await?;
        }
        if catalog.from.0 >= looked.seen.0.saturating_add(SEEN_ADVANCE) {
            published::seen(&store, slot, catalog.from).await?;
            looked.seen = catalog.from;
        }
        Ok(())
    }

    /// Whether the old values that this process keeps are what the tables have.
    async fn look_at_definitions(
        &self,
        source: &mut Client,
        looked: &mut Looked,
    ) -> anyhow::Result<()> {
        if self.health.capture() != CaptureState::Leading || !looked.definitions.is_due() {
            return Ok(());
        }
        let (catalog, store) = (&self.catalog, &self.store);
        let definitions = &mut looked.definitions;
        let persist = Persist::After(SEEN_ADVANCE);
        let doubt = definitions.look(catalog, source, store, persist).await?;
        if let Some(reason) = doubt {
            self.doubtful.raise(reason);
        }
        Ok(())
    }

    async fn look_at_gaps(&self) -> anyhow::Result<()> {
        let store = self.store.get().await?;
        let open = gaps::open(&store, &self.config.slot).await?;
        METRICS
            .gaps_open
            .set(i64::try_from(open.len()).unwrap_or(i64::MAX));
        let gap = |gap: gaps::Open| OpenGap {
            kind: gap.kind,
            table: gap.table,
            from_lsn: gap.from,
            to_lsn: gap.to,
            reason: gap.reason,
        };
        self.health.set_gaps(open.into_iter().map(gap).collect());
        Ok(())
    }
}
