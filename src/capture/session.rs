//! One hold of the slot: takes what the stream brings, hands it over and makes it durable.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use jiff::Timestamp;

use super::Enqueuer;
use super::backfill::{Backfilling, Backfills};
use super::reader::Reader;
use super::seeding::Seeding;
use super::shadow::{Redefined, Shadow};
use super::watermark::{MESSAGE_PREFIX, Subject, Watermark};
use crate::conninfo::Client;
use crate::handoff::{Batch, Progress, Queue, Writer};
use crate::lsn::Lsn;
use crate::mapping::{Mapped, Mapper, RuleSet, TableName};
use crate::metrics::METRICS;
use crate::pgoutput::{StreamEvent, TransactionHeader};

/// One hold of the slot: from taking it to losing it. A replay after an error is a new
/// session, which begins at what is durable.
pub struct Session<'a> {
    pub(super) enqueuer: &'a mut Enqueuer,
    pub(super) reader: Reader,
    pub(super) writer: Arc<Writer>,
    pub(super) queue: Queue,
    pub(super) mapper: Mapper,
    pub(super) shadow: Shadow,
    pub(super) backfills: Backfills,
    pub(super) epoch: i64,
    /// As committed to the store.
    pub(super) durable: Progress,
    /// As the stream stands, ahead of `durable` by what `batch` and `queue` hold.
    pub(super) reached: Progress,
    pub(super) open: Option<OpenTransaction>,
    pub(super) batch: Batch,
    pub(super) persisted_at: Instant,
    /// The server asked how far we are, having sent all up to here. It seldom does, but
    /// for when it shuts down: then it waits until all that it sent is acknowledged, and
    /// never ends if that is not.
    pub(super) asked: Option<Lsn>,
    /// How many deliveries an event of the last group had, rounded up.
    pub(super) fan_out: usize,
}

/// Why a session ended that may simply be begun again.
#[derive(Debug, thiserror::Error)]
pub enum Interrupted {
    #[error("the store has closed the enqueuer's connection")]
    StoreClosed,
    #[error("the enum {0} has a label that was added or renamed since the catalog was read")]
    NewLabel(String),
    #[error(
        "the transaction {xid} is in the WAL and not visible in the source's catalog yet, which has to be \
         read as of it: does it wait for a synchronous standby?"
    )]
    NotVisible { xid: u32 },
}

impl Interrupted {
    /// Where a rule needs the order of a label that the catalog may have by now. The next
    /// session reads the catalog and maps the change again.
    pub(super) fn by_new_label<'a>(
        rules: &RuleSet,
        mapped: impl IntoIterator<Item = &'a Mapped>,
    ) -> Result<(), Interrupted> {
        for made in mapped {
            if let Mapped::Parked(parked) = made
                && let Some(label) = &parked.unknown_label
                && rules.note_unknown_label(label)
            {
                return Err(Interrupted::NewLabel(label.of.clone()));
            }
        }
        Ok(())
    }
}

/// The transaction that the stream is in.
pub(super) struct OpenTransaction {
    pub(super) header: TransactionHeader,
    /// None where all of it is durable already.
    pub(super) resume: Option<u64>,
}

/// Content of a message in the WAL that asks for progress to be persisted where it is read,
/// however little it is: so that the source can let go of the WAL before it.
pub const LET_GO: &str = "let go";

/// Events that are handed over at once: enough to make the question that stands before
/// it cheap, few enough that the first do not wait for the mapping of the last.
const MAX_EVENTS: usize = 250;

/// Deliveries that are handed over at once, where events have as many as the last ones had:
/// bounds the memory where a tenant has a thousand subscriptions.
const MAX_DELIVERIES: usize = 2_000;

/// Bytes of bodies that are handed over at once: bounds the memory.
const MAX_BYTES: usize = 1024 * 1024;

/// Rows of the shadow that are written at once.
const MAX_SHADOWED: usize = 1_000;

/// While nothing is enqueued progress is persisted at most this often …
const IDLE_PERIOD: Duration = Duration::from_secs(5);

/// … and only after this much log: the store may share the cluster, where a write is
/// log again.
const IDLE_ADVANCE: u64 = 1024 * 1024;

impl Session<'_> {
    /// Takes what the stream has brought and hands it over; it becomes durable a little
    /// later. Answers the LSN that may be acknowledged. To be called, with nothing, when
    /// [`due`](Self::due) says so.
    pub async fn enqueue(&mut self, received: Vec<StreamEvent>) -> anyhow::Result<Lsn> {
        if self.writer.client.is_closed() {
            return Err(Interrupted::StoreClosed.into());
        }
        self.advance(false)?;
        // By the source's clock, as the commits.
        let received_at = self.enqueuer.instance.clocks.source().now();
        let idle_behind = matches!(received.last(), Some(StreamEvent::Keepalive { .. }));
        let mut mapped = Vec::new();
        if !self.shadow.is_empty() && !received.is_empty() {
            let open = self.open.as_ref().map(|open| open.header.xid);
            let (client, catalog) = (&self.reader.client, &self.enqueuer.catalog);
            self.shadow
                .look_up(client, catalog, open, &received)
                .await?;
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
                    // What came before it, and that the shadow is made again.
                    self.offer().await?;
                }
                return Err(error);
            }
            let deliveries = self.batch.events.len() * self.fan_out;
            if self.batch.events.len() >= MAX_EVENTS
                || deliveries >= MAX_DELIVERIES
                || self.batch.bytes >= MAX_BYTES
                || self.shadow.changed_rows() >= MAX_SHADOWED
            {
                self.offer().await?;
            }
        }
        if !self.batch.is_empty() || self.is_shadow_changed() || self.is_persisting_due() {
            self.offer().await?;
        }
        self.advance(false)?;
        if idle_behind && self.open.is_none() && self.queue.is_empty() {
            // The server had nothing more to send.
            METRICS.lag_seconds.set(0.0);
        }
        Ok(self.durable.acknowledged_lsn)
    }

    /// Waits until what was handed over is to be written, or has been. Cancel-safe.
    pub async fn due(&mut self) {
        self.queue.due().await;
    }

    /// The end of the hold, whatever ended it: what was handed over is written, with or
    /// without its result, so that it need not be sent again. Answers the LSN that may
    /// be acknowledged.
    pub async fn end(mut self) -> anyhow::Result<Lsn> {
        self.write_all().await?;
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
        let Session {
            queue,
            writer,
            durable,
            ..
        } = self;
        drop(queue);
        let writer = Arc::into_inner(writer).context("take back the store's session")?;
        Ok((writer.client, durable))
    }

    /// A message of ours in the WAL.
    async fn take_message(&mut self, content: &[u8]) -> anyhow::Result<()> {
        let Some(open) = &self.open else {
            return Ok(());
        };
        let header = open.header;
        if content == LET_GO.as_bytes() {
            // Behind its own commit.
            self.asked = Some(Lsn(header.commit_lsn.0 + 1));
        }
        let Some(watermark) = Watermark::parse(content) else {
            return Ok(());
        };
        // It reads what was written.
        self.write_all().await?;
        match watermark.subject {
            Subject::Shadow(_) => {
                let (client, commit_lsn) = (&self.reader.client, header.commit_lsn);
                let active = self.shadow.message(client, commit_lsn, &watermark);
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
                    let seconds = received_at
                        .duration_since(header.committed_at)
                        .as_secs_f64();
                    METRICS.stages.decode.observe(seconds.max(0.0));
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
                let (rules, header) = (self.mapper.rules(), &open.header);
                let change = self.shadow.apply(rules, header, &change)?;
                self.reached.enter(open.header.commit_lsn, change.ordinal);
                if self.mapper.watches(&change.relation) {
                    self.mapper.map(&open.header, &change, mapped);
                    Interrupted::by_new_label(self.mapper.rules(), &*mapped)?;
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
                if reply_requested {
                    self.asked = Some(self.reached.acknowledged_lsn);
                }
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
                        "the WAL cannot be decoded at {lsn}: {error}. Nothing after it was taken; report this with the server's version"
                    );
                }
                self.park_undecodable(lsn, ordinal, relation, &error)?;
            }
        }
        Ok(())
    }

    pub(super) fn is_shadow_changed(&self) -> bool {
        self.shadow.changed_rows() > 0 || self.shadow.is_state_changed()
    }

    fn is_persisting_due(&self) -> bool {
        let advance = self.reached.acknowledged_lsn.0 - self.durable.acknowledged_lsn.0;
        let much = advance >= IDLE_ADVANCE && self.persisted_at.elapsed() >= IDLE_PERIOD;
        self.queue.is_empty() && (much || (self.asked.is_some() && advance > 0))
    }
}
