//! Takes the slot, streams, enqueues and acknowledges; begins again after every
//! fault that time may fix, and stands by while another instance holds the slot.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::doubtful::Doubtful;
use super::fault::Fault;
use super::follow::{Follow, Followed};
use super::generation::Generation;
use super::heartbeat::Heartbeat;
use super::shed::ShedRequest;
use super::unreadable::{Failures, Position, TRIES, TRY_AGAIN};
use super::{reload, rules};
use crate::app::old_values;
use crate::backoff::Backoff;
use crate::capture::{Again, Enqueuer, Leadership, OldValueTables, Session};
use crate::conninfo::{ConnInfo, Purpose};
use crate::episode::Episode;
use crate::health::{CaptureState, Health};
use crate::mapping::{Mapper, file::RuleError};
use crate::metrics::METRICS;
use crate::replication::{self, RecordedProgress, ReplicationError, SourceConfig, WalStream, slot};
use crate::source::{catalog, gaps, progress};

pub(super) struct Capture {
    pub(super) source: ConnInfo,
    pub(super) config: SourceConfig,
    /// The rules that run.
    pub(super) generation: Arc<Generation>,
    /// Those that are to run from the next transaction on.
    pub(super) next: watch::Receiver<Arc<Generation>>,
    pub(super) health: Arc<Health>,
    /// The slot's watch asks for log to be shed.
    pub(super) shed_request: Arc<ShedRequest>,
    /// … and says when tables have other definitions.
    pub(super) doubtful: Arc<Doubtful>,
    pub(super) enqueuer: Enqueuer,
    /// What is wrong with rules that fitted until their table changed.
    pub(super) outgrown: Vec<RuleError>,
    /// The slot was held before: what the source refuses now it did not refuse then.
    pub(super) has_led: bool,
}

/// How often a stand-by asks for the slot: well below the 10 s of a take-over.
const STAND_BY: Duration = Duration::from_secs(1);

/// A session that held the slot for so long is no part of a quick succession of failures,
/// although nothing was to be written.
const STEADY: Duration = Duration::from_secs(60);

/// How long what was handed over may take to be written when the process is to stop.
const LAST_WRITE: Duration = Duration::from_secs(2);

impl Capture {
    pub(super) async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut backoff = Backoff::reconnect();
        let mut standing_by = false;
        let mut failures = Failures::default();
        // That it is over is said by what holds the slot again.
        let mut interruption = Episode::default();
        loop {
            if self.shed_request.is_asked() {
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = self.try_to_shed() => self.shed_request.settle(),
                }
            }
            let mut streamed = false;
            let (began, commits) = (Instant::now(), self.enqueuer.recorded.commits);
            let ended = Box::pin(self.session(&stop, &mut streamed)).await;
            METRICS.leader.set(0);
            if streamed {
                self.has_led = true;
                standing_by = false;
            }
            // To take the slot is not enough: a store whose disk is full lets us.
            let steady = streamed && began.elapsed() >= STEADY;
            if steady || self.enqueuer.recorded.commits > commits {
                backoff.reset();
                interruption = Episode::default();
            }
            if ended.as_ref().is_err_and(Fault::is_of_another_leader) {
                self.enqueuer.disown();
            }
            let delay = match ended {
                Ok(()) => return Ok(()),
                Err(Fault::Shed) => Duration::ZERO,
                Err(fault) if fault.is_of_new_label() => {
                    tracing::info!("reading the catalog again: {fault}");
                    Duration::ZERO
                }
                Err(Fault::Replication(ReplicationError::SlotActive { slot, pid })) => {
                    if !standing_by {
                        tracing::info!(slot, pid, "another instance holds the slot; standing by");
                    }
                    standing_by = true;
                    // No transaction of ours is under way.
                    self.generation = Arc::clone(&self.next.borrow_and_update());
                    // Whoever leads knows how far it is behind.
                    METRICS.lag_seconds.set(0.0);
                    self.health.set_capture(CaptureState::Standby);
                    STAND_BY
                }
                Err(fault) if fault.is_transient() || (self.has_led && fault.is_refused()) => {
                    let error = anyhow::Error::from(fault);
                    interruption.failed("capture was interrupted", &error);
                    let error = format!("{error:#}");
                    self.health.set_capture(CaptureState::Failing(error));
                    METRICS.reconnects.inc();
                    backoff.next_delay()
                }
                Err(fault) if fault.is_of_decoding() && failures.count(self.position()) < TRIES => {
                    let error = format!("{:#}", anyhow::Error::from(fault));
                    tracing::warn!(error, "the stream failed; trying to decode the WAL again");
                    self.health.set_capture(CaptureState::Failing(error));
                    METRICS.reconnects.inc();
                    TRY_AGAIN
                }
                Err(fault) => match fault.gap() {
                    None => return Err(fault.explain()),
                    Some(gap) => {
                        self.stand_still(fault, gap, &stop).await?;
                        failures = Failures::default();
                        Duration::ZERO
                    }
                },
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(delay) => {}
                () = self.shed_request.asked() => {}
            }
        }
    }

    /// Up to where the WAL is durable.
    fn position(&self) -> Option<Position> {
        let progress = self.enqueuer.recorded.progress;
        progress.map(|progress| (progress.commit_lsn, progress.ordinal))
    }

    /// From taking the slot to losing it. `Ok` means that `stop` was asked for.
    async fn session(
        &mut self,
        stop: &CancellationToken,
        streamed: &mut bool,
    ) -> Result<(), Fault> {
        self.enqueuer.settle_unconfirmed().await?;
        let old_values = self.check_rules(&Arc::clone(&self.generation)).await?;
        if self.enqueuer.instance.is_silent() {
            return Err(Fault::Silent);
        }
        self.enqueuer.write_first().await?;
        let stream = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            started = replication::start(&self.source, &self.config) => started,
        };
        let mut stream = match stream {
            Ok(stream) => stream,
            Err(error) => return Err(self.judge(error).await),
        };
        let ended = Box::pin(self.stream(&mut stream, old_values, stop, streamed)).await;
        stream.shutdown().await;
        ended
    }

    /// The rules against the tables as they are now: a typo is an error at start.
    /// Answers where the old values of the tables come from.
    async fn check_rules(&mut self, generation: &Generation) -> Result<OldValueTables, Fault> {
        let config = &generation.config;
        let client = self
            .source
            .connect(Purpose::Reload, None)
            .await
            .map_err(ReplicationError::from)?;
        // Before the catalog: what commits in between is then known to come later.
        let as_of = slot::current_wal_insert_lsn(&client).await?;
        let names: Vec<_> = generation.rules.tables().cloned().collect();
        let tables = catalog::describe(&client, &names).await?;
        let described: Vec<_> = tables.iter().map(catalog::Table::description).collect();
        let existing = catalog::list(&client).await?;
        let errors = generation.rules.check(&described, &existing);
        let judged = rules::judge(&self.enqueuer.store, config, errors).await?;
        if judged.new.is_empty() {
            self.outgrown = judged.outgrown;
            return Ok(old_values::sources(&generation.rules, &tables, as_of));
        }
        Err(Fault::Final(config.locate(judged.new).into()))
    }

    /// What a refused start means, given what is recorded: a slot that was never made
    /// is another matter than one that was dropped.
    async fn judge(&self, error: ReplicationError) -> Fault {
        let by_slot = matches!(
            error,
            ReplicationError::SlotMissing { .. }
                | ReplicationError::SlotLost { .. }
                | ReplicationError::SlotUnusable { .. }
                | ReplicationError::PublicationMissing { position: None, .. }
        );
        if !by_slot {
            return error.into();
        }
        match self.compare_with_progress().await {
            Ok(None) => error.into(),
            Ok(Some(fault)) => fault,
            Err(cause) => {
                tracing::warn!(
                    error = format!("{cause:#}"),
                    "cannot compare the slot with the recorded progress"
                );
                error.into()
            }
        }
    }

    /// `None`: the slot continues what is recorded.
    pub(super) async fn compare_with_progress(&self) -> anyhow::Result<Option<Fault>> {
        let slot = &self.config.slot;
        let store = self.enqueuer.store.get().await?;
        let Some(progress) = progress::read(&store, slot).await? else {
            let error = anyhow!(
                "the store {} knows nothing of the slot `{slot}`: run `walhook setup`",
                self.enqueuer.store.describe()
            );
            return Ok(Some(Fault::Final(error)));
        };
        let source = self.source.connect(Purpose::Reload, None).await?;
        let system = progress::identify(&source, &self.source, Some(&progress)).await?;
        let state = slot::inspect(&source, slot).await?;
        let verified = slot::verify(Some(&progress.recorded), &system, slot, state.as_ref());
        Ok(verified.err().map(Fault::Gap))
    }

    async fn stream(
        &mut self,
        stream: &mut WalStream,
        old_values: OldValueTables,
        stop: &CancellationToken,
        streamed: &mut bool,
    ) -> Result<(), Fault> {
        let (client, mut leadership) = self.enqueuer.lead().await?;
        let progress = leadership.progress;
        let recorded = RecordedProgress {
            system_identifier: leadership.system_identifier,
            timeline: leadership.timeline,
            acknowledged_lsn: progress.acknowledged_lsn,
            commit_lsn: progress.commit_lsn,
        };
        let slot = &self.config.slot;
        let source = self
            .source
            .connect(Purpose::Reload, None)
            .await
            .map_err(ReplicationError::from)?;
        let state = slot::inspect(&source, slot).await?;
        drop(source);
        slot::verify(Some(&recorded), stream.system(), slot, state.as_ref())?;
        gaps::forget_mended(&client, slot).await?;
        if let Some(left_at) = stream.system().left(leadership.timeline) {
            let confirmed = state.and_then(|state| state.confirmed_flush_lsn);
            let branch = confirmed.map_or(left_at, |confirmed| confirmed.max(left_at));
            let timeline = stream.system().timeline;
            self.enqueuer
                .follow_timeline(&client, &mut leadership, timeline, branch)
                .await?;
        }
        let system = stream.system().system_identifier;
        tracing::info!(
            slot,
            epoch = leadership.epoch,
            from = %progress.acknowledged_lsn,
            "holding the slot: capturing"
        );
        rules::report(&self.outgrown);
        METRICS.leader.set(1);
        self.health.set_capture(CaptureState::Leading);
        *streamed = true;
        let heartbeat = Heartbeat::new(self.config.heartbeat.0);
        let store = self.enqueuer.store.clone();
        let instance = Arc::clone(&self.enqueuer.instance);
        let (mut client, mut old_values, mut rest) = (client, old_values, Vec::new());
        loop {
            let mapper = Mapper::new(Arc::clone(&self.generation.rules), system);
            let defined = self.define(old_values.clone()).await?;
            let mut session = self
                .enqueuer
                .begin(client, &leadership, mapper, defined)
                .await?;
            self.doubtful.settle();
            let Generation { config, rules, .. } = &*self.generation;
            let changed = rules::changed(&store, config, rules).await?;
            if !changed.is_empty() {
                let names: Vec<String> = changed.iter().map(|(name, _)| name.clone()).collect();
                session.map_parked_again(Again::OfRules(&names)).await?;
                rules::accept(&store, &self.config.slot, &changed).await?;
            }
            let follow = Follow {
                stream,
                source: &self.source,
                store: &store,
                slot: &self.config.slot,
                next: &mut self.next,
                health: &self.health,
                heartbeat: heartbeat.as_ref(),
                shed_request: &self.shed_request,
                doubtful: &self.doubtful,
                stop,
                instance: &instance,
            };
            rest = match follow.run(&mut session, rest).await {
                Ok(Followed::ToNextRules(behind)) => behind,
                Ok(Followed::Stopped) => {
                    let leaving = leave(session, stream);
                    if tokio::time::timeout(LAST_WRITE, leaving).await.is_err() {
                        tracing::debug!("the store did not take what was handed over");
                    }
                    let tallying = self.enqueuer.record_tallies();
                    if tokio::time::timeout(LAST_WRITE, tallying).await.is_err() {
                        tracing::debug!("the store did not take the last counts of rules");
                    }
                    self.look_at_last().await;
                    return Ok(());
                }
                Err(fault) => {
                    leave(session, stream).await;
                    return Err(fault);
                }
            };
            (client, leadership.progress) = session.close().await?;
            old_values = self.take_next_rules(&leadership, old_values).await?;
        }
    }

    /// Between two transactions. Rules that do not fit the tables any more are refused.
    async fn take_next_rules(
        &mut self,
        leadership: &Leadership,
        old_values: OldValueTables,
    ) -> Result<OldValueTables, Fault> {
        let next = Arc::clone(&self.next.borrow_and_update());
        match self.check_rules(&next).await {
            Ok(old_values) => {
                tracing::info!(
                    rules = %next.hash,
                    behind = %leadership.progress.commit_lsn,
                    "the new rules make the events of all later commits"
                );
                rules::report(&self.outgrown);
                self.generation = next;
                Ok(old_values)
            }
            Err(Fault::Final(error)) => {
                next.refused.store(true, Ordering::Relaxed);
                reload::failed(&error);
                Ok(old_values)
            }
            Err(fault) => {
                // The next session takes them.
                self.next.mark_changed();
                Err(fault)
            }
        }
    }
}

/// What has been handed over needs not be sent again, whatever ended the hold.
async fn leave(session: Session<'_>, stream: &mut WalStream) {
    match session.end().await {
        Ok(durable) => stream.acknowledge(durable),
        Err(error) => tracing::warn!(
            error = format!("{error:#}"),
            "cannot write what was handed over; the WAL brings it again"
        ),
    }
}
