//! Changes in, events out: takes what the stream brings, applies the rules with the old values of
//! the shadow, matches subscriptions and their filters, and gives all of it to the hand-off. Returns
//! what may be acknowledged to the slot.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::conninfo::{Client, Purpose};
use crate::db::Store;
use crate::delivery::dispatcher::Dispatcher;
use crate::delivery::instance::Instance;
use crate::delivery::partitions::Partitions;
use crate::handoff::{self, Batch, Means, Progress, Queue, Tallies, UnknownTenants, Writer};
use crate::lsn::Lsn;
use crate::mapping::Mapper;
use crate::subscription::directory::Directory;

pub mod backfill;
mod filter_failures;
mod matching;
mod offer;
mod parked;
mod reader;
mod session;
mod shadow;
pub mod watermark;

pub use filter_failures::FilterFailures;
pub use matching::Filters;
pub use parked::Again;
pub use session::{Interrupted, LET_GO, Session};
pub use shadow::definition::read::SourceCatalog;
pub use shadow::definition::{Doubt, TableDefinition};
pub use shadow::layout::stored::{ActiveRule, StoredTable};
pub use shadow::layout::{LoggedTable, OldValueTables, ShadowedTable};
pub use shadow::reader::ShadowReader;
pub use shadow::seeding;
pub use shadow::{Answered, Redefined};

use backfill::Backfills;
use reader::Reader;
use shadow::Shadow;

/// What the enqueuer works with, for as long as the process lives.
pub struct Enqueuer {
    pub store: Store,
    pub slot: String,
    pub instance: Arc<Instance>,
    pub directory: Directory,
    pub partitions: Arc<Partitions>,
    /// None on a node that does not deliver: then everything goes to the schedule.
    pub dispatcher: Option<Arc<Dispatcher>>,
    /// Bytes of a body above which its deliveries are parked.
    pub max_body: usize,
    pub filters: Filters,
    pub unknown_tenants: Arc<UnknownTenants>,
    pub tallies: Arc<Tallies>,
    /// Deliveries of a transaction whose commit was not answered: in the store or not.
    pub unconfirmed: Vec<Uuid>,
    /// The session for the next hold of the slot, which has written before.
    pub ready: Option<Client>,
    pub recorded: Recorded,
    /// Where the tables that rules need old values of are defined.
    pub catalog: SourceCatalog,
    pub answered: Answered,
}

/// What this process has made durable of the WAL.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recorded {
    /// Transactions of the store that moved the progress.
    pub commits: u64,
    /// Where the store stands, as last known; `None` before the slot was first held.
    pub progress: Option<Progress>,
}

/// The store's answer to taking the slot.
#[derive(Clone, Debug)]
pub struct Leadership {
    pub epoch: i64,
    pub system_identifier: u64,
    pub timeline: i32,
    pub progress: Progress,
}

impl Enqueuer {
    /// Writes to the store over the session that is to lead. Before the slot is taken: an
    /// instance that cannot write must not keep it from one that can.
    pub async fn write_first(&mut self) -> anyhow::Result<()> {
        let client = match self.ready.take().filter(|client| !client.is_closed()) {
            Some(client) => client,
            None => self.store.connect(Purpose::Enqueuer).await?,
        };
        let touch = include_str!("../sql/queries/capture/touch_instance.sql");
        let touched = client.execute(touch, &[&self.instance.id]).await;
        if touched.context("write to the store before taking the slot")? == 0 {
            bail!("another instance has fenced this one: start it again");
        }
        self.ready = Some(client);
        Ok(())
    }

    /// Takes the leadership of the slot: ends the old leader's session and raises the
    /// epoch, so that whoever wakes up late can write nothing. The caller holds the slot.
    pub async fn lead(&mut self) -> anyhow::Result<(Client, Leadership)> {
        let client = match self.ready.take() {
            Some(client) => client,
            None => self.store.connect(Purpose::Enqueuer).await?,
        };
        end_leader(&client, &self.slot, None).await?;
        let row = client
            .query_opt(
                include_str!("../sql/queries/capture/take_leadership.sql"),
                &[&self.slot, &self.instance.id],
            )
            .await
            .context("take the leadership")?;
        let Some(row) = row else {
            bail!(
                "the store {} knows nothing of the slot `{}`, or another instance has fenced \
                 this one: run `walhook setup`, or start it again",
                self.store.describe(),
                self.slot
            );
        };
        let system: &str = row.get("system_identifier");
        let leadership = Leadership {
            epoch: row.get("epoch"),
            system_identifier: system
                .parse()
                .context("read the stored system identifier")?,
            timeline: row.get("timeline"),
            progress: Progress::from_row(&row),
        };
        self.recorded.progress = Some(leadership.progress);
        Ok((client, leadership))
    }

    /// Records that the source is on another timeline now, which left the recorded one at
    /// `branch`: further positions are of a log that is no more.
    pub async fn follow_timeline(
        &self,
        client: &Client,
        leadership: &mut Leadership,
        timeline: i32,
        branch: Lsn,
    ) -> anyhow::Result<()> {
        let query = include_str!("../sql/queries/capture/follow_timeline.sql");
        let values: [&(dyn ToSql + Sync); 4] = [&self.slot, &leadership.epoch, &timeline, &branch];
        let followed = client.execute(query, &values).await;
        if followed.context("record the source's timeline")? == 0 {
            let slot = self.slot.clone();
            return Err(handoff::Interrupted::Deposed { slot }.into());
        }
        tracing::info!(
            slot = self.slot,
            from = leadership.timeline,
            to = timeline,
            %branch,
            "the source was failed over; going on from where it left the timeline"
        );
        leadership.timeline = timeline;
        let progress = &mut leadership.progress;
        progress.acknowledged_lsn = progress.acknowledged_lsn.min(branch);
        Ok(())
    }

    /// Finds out what became of an enqueue whose commit was not answered. Before anything
    /// else, and whoever holds the slot by now: its deliveries are this instance's, which
    /// does not have them in memory.
    pub async fn settle_unconfirmed(&mut self) -> anyhow::Result<()> {
        if self.unconfirmed.is_empty() {
            return Ok(());
        }
        let moved = self.instance.give_up(&self.unconfirmed).await?;
        self.unconfirmed.clear();
        if moved > 0 {
            tracing::info!(
                deliveries = moved,
                "an enqueue whose commit was not answered had committed"
            );
        }
        Ok(())
    }

    fn means(&self) -> Means {
        Means {
            slot: self.slot.clone(),
            schema: self.store.schema().to_owned(),
            instance: Arc::clone(&self.instance),
            partitions: Arc::clone(&self.partitions),
            dispatcher: self.dispatcher.clone(),
            directory: self.directory.clone(),
            unknown_tenants: Arc::clone(&self.unknown_tenants),
            tallies: Arc::clone(&self.tallies),
        }
    }

    /// Writes what the groups of a session that has ended were counted as: the process stops, and
    /// the task that writes it every few seconds has stopped before.
    pub async fn record_tallies(&self) {
        if let Err(error) = self.tallies.write(&self.store, &self.slot).await {
            tracing::warn!(
                error = format!("{error:#}"),
                "cannot record what rules have made since the last time"
            );
        }
    }

    /// Another leads: what was handed over and is not written is its to send.
    pub fn disown(&self) {
        if let Some(dispatcher) = &self.dispatcher {
            dispatcher.offered.disown();
        }
    }

    /// Begins to enqueue where the store left off. `old_values` says where the tables'
    /// come from.
    pub async fn begin(
        &mut self,
        client: Client,
        leadership: &Leadership,
        mut mapper: Mapper,
        old_values: OldValueTables,
    ) -> anyhow::Result<Session<'_>> {
        let reader = Reader::open(&self.store).await?;
        let (slot, epoch) = (&self.slot, leadership.epoch);
        let answered = &mut self.answered;
        let shadow = Shadow::begin(&client, &reader.client, slot, epoch, old_values, answered);
        let shadow = shadow.await?;
        shadow.held().for_each(|rule| mapper.hold(rule));
        let system = leadership.system_identifier;
        let backfills = Backfills::begin(&client, &self.slot, system).await?;
        let writer = Arc::new(Writer::prepare(self.means(), client, leadership.epoch).await?);
        Ok(Session {
            reader,
            enqueuer: self,
            queue: Queue::new(Arc::clone(&writer)),
            writer,
            mapper,
            shadow,
            backfills,
            epoch: leadership.epoch,
            durable: leadership.progress,
            reached: leadership.progress,
            open: None,
            batch: Batch::default(),
            persisted_at: Instant::now(),
            asked: None,
            fan_out: 1,
        })
    }
}

/// Ends the session of the slot's leader; of `instance` alone where that is given.
pub async fn end_leader(store: &Client, slot: &str, instance: Option<Uuid>) -> anyhow::Result<()> {
    let query = include_str!("../sql/queries/capture/end_leader.sql");
    let ended = store.execute(query, &[&slot, &instance]).await;
    ended.map(drop).context("end the session of the leader")
}
