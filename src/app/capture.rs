//! Takes the slot, streams, enqueues and acknowledges; begins again after every
//! fault that time may mend, and stands by while another instance holds the slot.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use tokio_util::sync::CancellationToken;

use super::{rules, seed};
use crate::api::{CaptureState, Health};
use crate::backoff::Backoff;
use crate::cli::{catalog, gaps, progress};
use crate::config::Config;
use crate::conninfo::ConnInfo;
use crate::db;
use crate::enqueuer::{Enqueuer, Interrupted, Redefined, ShadowedTable};
use crate::mapping::{Mapper, RuleSet, file::RuleError};
use crate::metrics::METRICS;
use crate::replication::{
    self, Gap, RecordedProgress, ReplicationError, WalStream, slot, slot::REMEDY,
};

pub(super) struct Capture {
    pub(super) source: ConnInfo,
    pub(super) config: Config,
    pub(super) rules: Arc<RuleSet>,
    pub(super) health: Arc<Health>,
    pub(super) enqueuer: Enqueuer,
    /// What is wrong with rules that fitted until their table changed.
    pub(super) outgrown: Vec<RuleError>,
}

/// How often a stand-by asks for the slot: well below the 10 s of a take-over.
const STAND_BY: Duration = Duration::from_secs(1);

/// Why a session ended that cannot simply be begun again.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Replication(#[from] ReplicationError),
    #[error(transparent)]
    Gap(#[from] Gap),
    /// Of the configuration, or of what was found in the log.
    #[error(transparent)]
    Final(anyhow::Error),
    /// Of the store: it may come back.
    #[error(transparent)]
    Store(#[from] anyhow::Error),
}

impl Capture {
    pub(super) async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut backoff = Backoff::reconnect();
        let mut standing_by = false;
        loop {
            let mut streamed = false;
            let ended = self.session(&stop, &mut streamed).await;
            METRICS.leader.set(0);
            if streamed {
                backoff.reset();
                standing_by = false;
            }
            let delay = match ended {
                Ok(()) => return Ok(()),
                Err(Fault::Replication(ReplicationError::SlotActive { slot, pid })) => {
                    if !standing_by {
                        tracing::info!(slot, pid, "another instance holds the slot; standing by");
                    }
                    standing_by = true;
                    // Whoever leads knows how far it is behind.
                    METRICS.lag_seconds.set(0.0);
                    self.health.set_capture(CaptureState::Standby);
                    STAND_BY
                }
                Err(fault) if fault.is_transient() => {
                    let error = format!("{:#}", anyhow::Error::from(fault));
                    tracing::warn!(error, "capture was interrupted; beginning again");
                    self.health.set_capture(CaptureState::Failing(error));
                    METRICS.reconnects.inc();
                    backoff.next_delay()
                }
                Err(fault) => {
                    self.record_gap(&fault).await;
                    return Err(fault.explain());
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(delay) => {}
            }
        }
    }

    /// From taking the slot to losing it. `Ok` means that `stop` was asked for.
    async fn session(
        &mut self,
        stop: &CancellationToken,
        streamed: &mut bool,
    ) -> Result<(), Fault> {
        self.enqueuer.settle_unanswered().await?;
        let shadowed = self.check_rules().await?;
        let stream = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            started = replication::start(&self.source, &self.config.source) => started,
        };
        let mut stream = match stream {
            Ok(stream) => stream,
            Err(error) => return Err(self.judge(error).await),
        };
        let ended = self.stream(&mut stream, shadowed, stop, streamed).await;
        stream.shutdown().await;
        ended
    }

    /// The rules against the tables as they are now: a typo is an error at start.
    /// Answers the tables whose old values the log does not carry.
    async fn check_rules(&mut self) -> Result<Vec<ShadowedTable>, Fault> {
        let client = self
            .source
            .connect("walhook check")
            .await
            .map_err(ReplicationError::from)?;
        let names: Vec<_> = self.rules.tables().cloned().collect();
        let tables = catalog::describe(&client, &names).await?;
        let described: Vec<_> = tables.iter().map(catalog::Table::description).collect();
        let existing = catalog::list(&client).await?;
        let errors = self.rules.check(&described, &existing);
        let judged = rules::judge(&self.enqueuer.store, &self.config, errors).await?;
        self.outgrown = judged.outgrown;
        if judged.new.is_empty() {
            let shadowed = tables
                .iter()
                .zip(&described)
                .filter_map(|(table, described)| {
                    Some(ShadowedTable {
                        oid: table.oid,
                        partitioned: table.storage.kind == catalog::TableKind::Partitioned,
                        watch: self.rules.watch(described)?,
                    })
                });
            return Ok(shadowed.collect());
        }
        Err(Fault::Final(self.config.locate(judged.new).into()))
    }

    /// What a refused start means, given what is recorded: a slot that was never made
    /// is another matter than one that was dropped.
    async fn judge(&self, error: ReplicationError) -> Fault {
        let by_slot = matches!(
            error,
            ReplicationError::SlotMissing { .. }
                | ReplicationError::SlotLost { .. }
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
    async fn compare_with_progress(&self) -> anyhow::Result<Option<Fault>> {
        let slot = &self.config.source.slot;
        let store = self.enqueuer.store.get().await?;
        let Some(progress) = progress::read(&store, slot).await? else {
            let error = anyhow!(
                "the store {} knows nothing of the slot `{slot}`: run `walhook setup`",
                self.enqueuer.store.describe()
            );
            return Ok(Some(Fault::Final(error)));
        };
        let source = self.source.connect("walhook check").await?;
        let system = progress::identify(&source, &self.source, Some(&progress)).await?;
        let state = slot::inspect(&source, slot).await?;
        let verified = slot::verify(Some(&progress.recorded), &system, slot, state.as_ref());
        Ok(verified.err().map(Fault::Gap))
    }

    /// Keeps on record that capture cannot go on, for `status` and `setup`. Where the
    /// store is away too, what follows says it all the same.
    async fn record_gap(&self, fault: &Fault) {
        let Some((reason, wedged)) = fault.gap() else {
            return;
        };
        let slot = &self.config.source.slot;
        let recorded = async {
            let store = self.enqueuer.store.get().await?;
            gaps::record(&store, slot, &reason, wedged).await
        };
        if let Err(error) = recorded.await {
            tracing::warn!(error = format!("{error:#}"), "cannot record the gap");
        }
    }

    async fn stream(
        &mut self,
        stream: &mut WalStream,
        shadowed: Vec<ShadowedTable>,
        stop: &CancellationToken,
        streamed: &mut bool,
    ) -> Result<(), Fault> {
        let (client, leadership) = self.enqueuer.lead().await?;
        let progress = leadership.progress;
        let recorded = RecordedProgress {
            system_identifier: leadership.system_identifier,
            timeline: leadership.timeline,
            acknowledged_lsn: progress.acknowledged_lsn,
            commit_lsn: progress.commit_lsn,
        };
        let slot = &self.config.source.slot;
        let source = self
            .source
            .connect("walhook check")
            .await
            .map_err(ReplicationError::from)?;
        let state = slot::inspect(&source, slot).await?;
        drop(source);
        slot::verify(Some(&recorded), stream.system(), slot, state.as_ref())?;
        gaps::forget_mended(&client, slot).await?;
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
        let mapper = Mapper::new(Arc::clone(&self.rules), system);
        let store = self.enqueuer.store.clone();
        let mut session = self
            .enqueuer
            .begin(client, &leadership, mapper, shadowed)
            .await?;
        let changed = rules::changed(&store, &self.config, &self.rules).await?;
        if !changed.is_empty() {
            let names: Vec<String> = changed.iter().map(|(name, _)| name.clone()).collect();
            session.map_parked_again(&names).await?;
            rules::accept(&store, slot, &changed).await?;
        }
        self.health.set_rules_active(session.rules_active());
        // Ends with this session, which takes what it reads.
        let (source, seeding) = (self.source.clone(), session.seeding());
        let mut seeding = Box::pin(async {
            if let Some(seeding) = seeding {
                seed::run(source, seeding).await;
            }
            std::future::pending::<()>().await;
        });
        let ended = loop {
            let batch = tokio::select! {
                () = stop.cancelled() => break Ok(()),
                batch = stream.next_batch() => match batch {
                    Ok(batch) => batch,
                    Err(error) => break Err(error.into()),
                },
                () = session.due() => Vec::new(),
                () = &mut seeding => continue,
            };
            let durable = match session.enqueue(batch).await {
                Ok(durable) => durable,
                Err(error) => break Err(error.into()),
            };
            stream.acknowledge(durable);
            self.health.set_rules_active(session.rules_active());
        };
        // What has been handed over needs not be sent again.
        match session.end().await {
            Ok(durable) => stream.acknowledge(durable),
            Err(error) if ended.is_ok() => return Err(error.into()),
            Err(error) => tracing::warn!(
                error = format!("{error:#}"),
                "cannot write what was handed over; the log brings it again"
            ),
        }
        ended
    }
}

impl Fault {
    /// The error to end with. A configuration's keeps its type, which decides the exit
    /// code; one that the stream cannot get past is told the way on.
    fn explain(self) -> anyhow::Error {
        match self {
            Fault::Final(error) | Fault::Store(error) => error,
            Fault::Replication(error @ ReplicationError::Server { position: Some(_), .. }) => {
                anyhow::Error::from(error).context(format!(
                    "capture cannot get past this, and the slot keeps the log from there on. If nothing else mends it: {REMEDY}"
                ))
            }
            Fault::Replication(error) => error.into(),
            Fault::Gap(gap) => gap.into(),
        }
    }

    /// What to keep on record of a gap, and whether only the stream shows it.
    fn gap(&self) -> Option<(String, bool)> {
        match self {
            Fault::Gap(gap) => (!gap.is_setup_fault()).then(|| (gap.state(), false)),
            Fault::Replication(error) => match error {
                ReplicationError::PublicationMissing { position, .. } => {
                    Some((error.state(), position.is_some()))
                }
                ReplicationError::Server {
                    position: Some(_), ..
                } => Some((error.state(), true)),
                _ => None,
            },
            Fault::Final(_) | Fault::Store(_) => None,
        }
    }

    fn is_transient(&self) -> bool {
        match self {
            Fault::Replication(error) => error.is_transient(),
            Fault::Gap(_) | Fault::Final(_) => false,
            Fault::Store(error) => error.is::<Redefined>() || is_transient(error),
        }
    }
}

/// Whether the store may answer otherwise later, or ended our session.
fn is_transient(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<Interrupted>()) || db::is_transient(error)
}
