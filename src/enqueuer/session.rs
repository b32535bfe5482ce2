//! One hold of the slot: takes what the stream brings and makes it durable.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use jiff::Timestamp;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use super::backfill::{Backfilling, Backfills};
use super::batch::Batch;
use super::reservation::Reservation;
use super::seeding::Seeding;
use super::shadow::{Redefined, Shadow};
use super::statements::Statements;
use super::watermark::{MESSAGE_PREFIX, Subject, Watermark};
use super::{Enqueuer, Progress, matching};
use crate::lsn::Lsn;
use crate::mapping::{Mapped, Mapper, ParkedChange, ParkedReason, TableName};
use crate::metrics::METRICS;
use crate::pgoutput::{DecodeError, StreamEvent, TransactionHeader};

/// One hold of the slot: from taking it to losing it. A replay after an error is a new
/// session, which begins at what is durable.
pub struct Session<'a> {
    pub(super) enqueuer: &'a mut Enqueuer,
    pub(super) client: Client,
    pub(super) statements: Statements,
    pub(super) mapper: Mapper,
    pub(super) shadow: Shadow,
    pub(super) backfills: Backfills,
    pub(super) epoch: i64,
    /// As committed to the store.
    pub(super) durable: Progress,
    /// As the stream stands, ahead of `durable` by what `batch` holds.
    pub(super) reached: Progress,
    pub(super) open: Option<OpenTransaction>,
    pub(super) batch: Batch,
    pub(super) persisted_at: Instant,
    /// The server asked how far we are. It seldom does, but for when it shuts down: then
    /// it waits until all that it sent is acknowledged, and never ends if that is not.
    pub(super) asked: bool,
}

/// Why a session ended that may simply be begun again.
#[derive(Debug, thiserror::Error)]
pub enum Interrupted {
    #[error(
        "the epoch of the slot `{slot}` was raised: another instance leads, or the slot was \
         set up anew"
    )]
    Deposed { slot: String },
    #[error("the store has closed the enqueuer's connection")]
    StoreClosed,
}

/// The transaction that the stream is in.
pub(super) struct OpenTransaction {
    header: TransactionHeader,
    /// None where all of it is durable already.
    resume: Option<u64>,
}

/// Content of a message in the log that asks for progress to be persisted where it is read,
/// however little it is: so that the source can let go of the log before it.
pub const LET_GO: &str = "let go";

/// Events in one transaction of the store. Larger batches gain little (facts 44) and
/// would make the first event of a backlog wait longer.
const MAX_EVENTS: usize = 1_000;

/// Bytes of bodies in one transaction of the store: bounds the memory.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// While nothing is enqueued progress is persisted at most this often …
const IDLE_PERIOD: Duration = Duration::from_secs(5);

/// … and only after this much log: the store may share the cluster, where a write is
/// log again.
const IDLE_ADVANCE: u64 = 1024 * 1024;

impl Session<'_> {
    /// Takes what the stream has brought and makes all of it durable. Answers the LSN
    /// that may be acknowledged.
    pub async fn enqueue(&mut self, received: Vec<StreamEvent>) -> anyhow::Result<Lsn> {
        if self.client.is_closed() {
            return Err(Interrupted::StoreClosed.into());
        }
        let received_at = Timestamp::now();
        let idle_behind = matches!(received.last(), Some(StreamEvent::Keepalive { .. }));
        let mut mapped = Vec::new();
        if !self.shadow.is_empty() {
            self.shadow.look_up(&self.client, &received).await?;
        }
        for event in received {
            if let StreamEvent::Message {
                prefix, content, ..
            } = &event
                && prefix == MESSAGE_PREFIX
            {
                self.take_message(content).await?;
            }
            if let Err(error) = self.take(event, received_at, &mut mapped) {
                if error.is::<Redefined>() {
                    // What came before it, and that the shadow is made anew.
                    self.flush().await?;
                }
                return Err(error);
            }
            if self.batch.events.len() >= MAX_EVENTS || self.batch.bytes >= MAX_BYTES {
                self.flush().await?;
            }
        }
        if !self.batch.is_empty() || self.shadow.is_changed() || self.is_persisting_due() {
            self.flush().await?;
        }
        if idle_behind && self.open.is_none() {
            // The server had nothing more to send.
            METRICS.lag_seconds.set(0.0);
        }
        Ok(self.durable.acknowledged_lsn)
    }

    /// What is left to seed of the shadow, for whoever reads the tables; `None` where
    /// nothing is, or it was handed out before.
    pub fn seeding(&mut self) -> Option<Seeding> {
        self.shadow.seeding()
    }

    /// Where chunks of existing rows go; `None` where it was handed out before.
    pub fn backfilling(&mut self) -> Option<Backfilling> {
        self.backfills.backfilling()
    }

    /// The tables whose rows are being read for the shadow of their old values: rules may
    /// wait for it.
    pub fn seeding_tables(&self) -> impl Iterator<Item = &TableName> {
        self.shadow.incomplete()
    }

    /// Whether the stream stands between two transactions, all of the earlier one taken.
    pub fn is_between_transactions(&self) -> bool {
        self.open.is_none() && self.reached.complete
    }

    /// Makes all that was taken durable, and hands back the store's session and how far
    /// that is: another session may begin there.
    pub async fn close(mut self) -> anyhow::Result<(Client, Progress)> {
        self.flush().await?;
        Ok((self.client, self.durable))
    }

    /// A message of ours in the log.
    async fn take_message(&mut self, content: &[u8]) -> anyhow::Result<()> {
        self.asked |= content == LET_GO.as_bytes();
        let Some(open) = &self.open else {
            return Ok(());
        };
        let header = open.header;
        let Some(watermark) = Watermark::parse(content) else {
            return Ok(());
        };
        match watermark.subject {
            Subject::Shadow(_) => {
                let commit_lsn = header.commit_lsn;
                let active = self.shadow.message(&self.client, commit_lsn, &watermark);
                for rule in active.await? {
                    self.mapper.release(rule);
                }
                Ok(())
            }
            Subject::Backfill(id) => self.take_backfill(&header, id, &watermark).await,
        }
    }

    fn take(
        &mut self,
        event: StreamEvent,
        received_at: Timestamp,
        mapped: &mut Vec<Mapped>,
    ) -> anyhow::Result<()> {
        match event {
            StreamEvent::Begin(header) => {
                let resume = self.reached.resume(header.commit_lsn);
                if resume.is_some() {
                    observe("decode", header.committed_at, received_at);
                    self.batch.oldest_commit(header.committed_at);
                }
                self.backfills.recent.push(header.xid);
                self.open = Some(OpenTransaction { header, resume });
            }
            StreamEvent::Change(change) => {
                let Some(open) = &self.open else {
                    bail!("the stream brought a change outside of any transaction");
                };
                if open.resume.is_none_or(|resume| change.ordinal < resume) {
                    return Ok(());
                }
                self.backfills.see(&change);
                // An error leaves the change to the next session.
                let change = self.shadow.apply(&open.header, &change)?;
                self.reached.enter(open.header.commit_lsn, change.ordinal);
                if self.mapper.watches(&change.relation) {
                    self.mapper.map(&open.header, &change, mapped);
                    self.backfills.note(self.mapper.rules(), &change, mapped);
                    for made in mapped.drain(..) {
                        self.batch.add(made);
                    }
                }
            }
            StreamEvent::Commit {
                commit_lsn,
                end_lsn,
            } => {
                if let Some(open) = self.open.take()
                    && open.resume.is_some()
                {
                    self.reached.commit_lsn = commit_lsn;
                    self.reached.complete = true;
                }
                self.reached.acknowledged_lsn = self.reached.acknowledged_lsn.max(end_lsn);
            }
            // Inside a transaction the server's position may be beyond its commit.
            StreamEvent::Keepalive {
                wal_end,
                reply_requested,
            } if self.open.is_none() => {
                self.reached.acknowledged_lsn = self.reached.acknowledged_lsn.max(wal_end);
                self.asked |= reply_requested;
            }
            StreamEvent::Keepalive { .. } | StreamEvent::Message { .. } => {}
            StreamEvent::Undecodable {
                lsn,
                ordinal,
                relation,
                error,
                payload: _,
            } => {
                if error.is_fatal() {
                    bail!(
                        "the log cannot be decoded at {lsn}: {error}. Nothing after it was taken; report this with the server's version"
                    );
                }
                self.park_undecodable(lsn, ordinal, relation, &error)?;
            }
        }
        Ok(())
    }

    fn park_undecodable(
        &mut self,
        lsn: Lsn,
        ordinal: Option<u64>,
        relation: Option<String>,
        error: &DecodeError,
    ) -> Result<(), Redefined> {
        self.backfills.spoil();
        let commit_lsn = match (&self.open, ordinal) {
            (Some(open), Some(ordinal)) => {
                if open.resume.is_none_or(|resume| ordinal < resume) {
                    return Ok(());
                }
                self.reached.enter(open.header.commit_lsn, ordinal);
                open.header.commit_lsn
            }
            (Some(open), None) => open.header.commit_lsn,
            (None, _) => lsn,
        };
        let lost = match (&self.open, ordinal) {
            (Some(open), Some(_)) => {
                self.shadow
                    .invalidate(&open.header, relation.as_deref(), error)
            }
            (Some(_) | None, _) => Ok(()),
        };
        tracing::error!(%lsn, relation = relation.as_deref().unwrap_or_default(), detail = %error, "a message of the log cannot be decoded; it is parked and the stream goes on");
        self.batch.add(Mapped::Parked(ParkedChange {
            commit_lsn,
            ordinal: ordinal.unwrap_or(0),
            rule: Arc::from(""),
            relation: Arc::from(relation.unwrap_or_default()),
            row_key: None,
            row_bytes: None,
            change: None,
            reason: ParkedReason::Undecodable,
            detail: error.to_string(),
        }));
        lost
    }

    fn is_persisting_due(&self) -> bool {
        let advance = self.reached.acknowledged_lsn.0 - self.durable.acknowledged_lsn.0;
        let much = advance >= IDLE_ADVANCE && self.persisted_at.elapsed() >= IDLE_PERIOD;
        much || (self.asked && advance > 0)
    }

    /// One transaction: progress, events, deliveries. Nothing is acknowledged and
    /// nothing handed over before it has committed.
    pub(super) async fn flush(&mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        let batch = std::mem::take(&mut self.batch);
        let ids = batch.events.iter().map(|event| event.id.0);
        let partitions = Arc::clone(&self.enqueuer.partitions);
        partitions.ensure(&self.client, ids).await?;

        // 1. Progress under our epoch, the shadow as it is there, and the subscriptions'
        // generation: read after the last change of the batch was received, and so after
        // its commit.
        let advance: [&(dyn ToSql + Sync); 6] = [
            &self.enqueuer.slot,
            &self.epoch,
            &self.reached.commit_lsn,
            &self.reached.ordinal,
            &self.reached.complete,
            &self.reached.acknowledged_lsn,
        ];
        let (begun, generation) = tokio::join!(
            self.client.batch_execute(self.statements.begin),
            self.client
                .query_opt(&self.statements.advance_progress, &advance),
        );
        begun.context("begin the enqueue")?;
        let Some(generation) = generation.context("advance the progress")? else {
            let slot = self.enqueuer.slot.clone();
            return Err(Interrupted::Deposed { slot }.into());
        };
        let directory = &self.enqueuer.directory;
        let (shadowed, snapshot) = tokio::join!(
            self.shadow.write(&self.client),
            directory.at_generation(&self.client, generation.get(0)),
        );
        shadowed?;
        self.backfills.write(&self.client).await?;
        let snapshot = snapshot?;

        // 2. Who gets what.
        let (mut rows, deliveries) = matching::match_deliveries(
            &batch,
            &snapshot,
            &mut self.enqueuer.filters,
            self.enqueuer.max_body,
        );
        if !self.move_backfill(&batch, rows.len()).await? {
            return Ok(());
        }
        let mut reservation = Reservation::make(self.enqueuer, &mut rows, deliveries);

        // 3. The rows. The low water stays locked until they are committed.
        let mut low_water = match reservation.lowest() {
            None => None,
            Some(lowest) => {
                let known = self.enqueuer.instance.outstanding.low_water().await;
                (lowest < *known).then_some((known, lowest))
            }
        };
        let lower = low_water.as_ref().map(|(_, lowest)| *lowest);
        let rules = self.mapper.rules();
        let written = self
            .statements
            .write(
                &self.client,
                self.enqueuer.instance.id,
                rules,
                &batch,
                &rows,
                lower,
            )
            .await;
        if let Err(error) = written {
            self.enqueuer.unanswered = reservation.abandon(self.enqueuer);
            return Err(error);
        }
        if let Some((known, lowest)) = &mut low_water {
            **known = *lowest;
        }
        drop(low_water);

        // 4. Durable: hand over.
        self.durable = self.reached;
        self.shadow.is_durable();
        self.backfills.is_durable();
        self.asked = false;
        self.persisted_at = Instant::now();
        batch.count(started);
        rows.count_parked();
        reservation.hand_off(self.enqueuer);
        if rows.schedule_len() > 0 {
            self.announce_schedule().await;
        }
        Ok(())
    }

    /// Tells other nodes' claimers, and our own, that the schedule has new rows.
    async fn announce_schedule(&self) {
        let schema = self.enqueuer.store.schema();
        let told = self
            .client
            .execute(&self.statements.notify_schedule, &[&schema])
            .await;
        if let Err(error) = told {
            tracing::debug!(%error, "cannot announce new rows of the schedule; the claimers will find them");
        }
    }
}

fn observe(stage: &str, since: Timestamp, until: Timestamp) {
    let seconds = until.duration_since(since).as_secs_f64().max(0.0);
    METRICS.latency.with_label_values(&[stage]).observe(seconds);
}
