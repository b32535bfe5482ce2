//! Makes deliveries of the stream's events, hands them to the dispatcher, writes events,
//! deliveries and progress in one transaction of the store a moment later, and then says
//! what may be acknowledged to the slot.
//!
//! Progress is what makes a replay harmless: whatever the WAL brings again at or below
//! it is skipped, and it commits together with the rows that it speaks of.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::conninfo::{Client, Purpose};
use crate::db::Store;
use crate::delivery::dispatcher::Dispatcher;
use crate::delivery::instance::Instance;
use crate::delivery::partitions::Partitions;
use crate::lsn::Lsn;
use crate::mapping::Mapper;
use crate::subscription::directory::Directory;

pub mod backfill;
mod batch;
mod copies;
mod filter_failures;
mod matching;
mod parked;
mod parked_log;
mod pass;
mod reader;
mod reservation;
mod rows;
mod session;
mod shadow;
mod statements;
mod unknown_tenants;
pub mod watermark;
mod window;
mod writer;

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
pub use unknown_tenants::UnknownTenants;

use backfill::Backfills;
use batch::Batch;
use reader::Reader;
use shadow::Shadow;
use window::Window;
use writer::Writer;

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
    /// Deliveries of a transaction whose commit was not answered: in the store or not.
    pub unanswered: Vec<Uuid>,
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

/// How far the WAL is durable in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub commit_lsn: Lsn,
    /// The last ordinal of that transaction that is durable; -1 before the first.
    pub ordinal: i64,
    /// The transaction is durable to its end.
    pub complete: bool,
    pub acknowledged_lsn: Lsn,
}

impl Progress {
    fn from_row(row: &Row) -> Self {
        Progress {
            commit_lsn: row.get("commit_lsn"),
            ordinal: row.get("ordinal"),
            complete: row.get("complete"),
            acknowledged_lsn: row.get("acknowledged_lsn"),
        }
    }

    /// The ordinal from which a transaction is still to be taken; none where all of it
    /// is durable.
    fn resume(&self, commit_lsn: Lsn) -> Option<u64> {
        if commit_lsn < self.commit_lsn || (commit_lsn == self.commit_lsn && self.complete) {
            None
        } else if commit_lsn == self.commit_lsn {
            Some(u64::try_from(self.ordinal + 1).unwrap_or(0))
        } else {
            Some(0)
        }
    }
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
        let touch = include_str!("../sql/queries/enqueuer/touch_instance.sql");
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
                include_str!("../sql/queries/enqueuer/take_leadership.sql"),
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
        let query = include_str!("../sql/queries/enqueuer/follow_timeline.sql");
        let values: [&(dyn ToSql + Sync); 4] = [&self.slot, &leadership.epoch, &timeline, &branch];
        let followed = client.execute(query, &values).await;
        if followed.context("record the source's timeline")? == 0 {
            let slot = self.slot.clone();
            return Err(Interrupted::Deposed { slot }.into());
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
    pub async fn settle_unanswered(&mut self) -> anyhow::Result<()> {
        if self.unanswered.is_empty() {
            return Ok(());
        }
        let moved = self.instance.give_up(&self.unanswered).await?;
        self.unanswered.clear();
        if moved > 0 {
            tracing::info!(
                deliveries = moved,
                "an enqueue whose commit was not answered had committed"
            );
        }
        Ok(())
    }

    /// Another leads: what was handed over and is not written is its to send.
    pub fn disown(&self) {
        if let Some(dispatcher) = &self.dispatcher {
            dispatcher.unwritten.disown();
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
        let writer = Arc::new(Writer::prepare(self, client, leadership.epoch).await?);
        Ok(Session {
            reader,
            enqueuer: self,
            window: Window::new(Arc::clone(&writer)),
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

impl Progress {
    /// The stream has come to this change.
    fn enter(&mut self, commit_lsn: Lsn, ordinal: u64) {
        self.commit_lsn = commit_lsn;
        self.ordinal = i64::try_from(ordinal).unwrap_or(i64::MAX);
        self.complete = false;
    }
}

/// Ends the session of the slot's leader; of `instance` alone where that is given.
pub async fn end_leader(store: &Client, slot: &str, instance: Option<Uuid>) -> anyhow::Result<()> {
    let query = include_str!("../sql/queries/enqueuer/end_leader.sql");
    let ended = store.execute(query, &[&slot, &instance]).await;
    ended.map(drop).context("end the session of the leader")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(commit_lsn: u64, ordinal: i64, complete: bool) -> Progress {
        Progress {
            commit_lsn: Lsn(commit_lsn),
            ordinal,
            complete,
            acknowledged_lsn: Lsn(0),
        }
    }

    #[test]
    fn a_replay_resumes_behind_what_is_durable() {
        for (stored, transaction, expected) in [
            (progress(50, 7, true), 49, None),
            (progress(50, 7, true), 50, None),
            (progress(50, 7, true), 51, Some(0)),
            (progress(50, 7, false), 49, None),
            (progress(50, 7, false), 50, Some(8)),
            (progress(50, -1, false), 50, Some(0)),
        ] {
            assert_eq!(
                stored.resume(Lsn(transaction)),
                expected,
                "{stored:?} {transaction}"
            );
        }
    }
}
