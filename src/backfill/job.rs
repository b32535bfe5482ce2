//! Backfills as the store records them.

use std::fmt;

use anyhow::{Context, bail};
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::reader::Wanted;
use crate::conninfo::{Client, Queries};
use crate::event::{BackfillId, SubscriptionId};
use crate::lsn::Lsn;
use crate::mapping::TableName;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Order {
    pub table: TableName,
    pub key: Vec<String>,
    /// Names of rules.
    pub rules: Vec<String>,
    pub wanted: Wanted,
    pub subscription: Option<SubscriptionId>,
    /// Subscriptions that had begun by then receive the events.
    pub from_lsn: Lsn,
    pub rows_per_second: i32,
    pub chunk_rows: i32,
    pub estimate: i64,
}

/// A backfill and how far it is.
#[derive(Clone, Debug)]
pub struct Job {
    pub id: BackfillId,
    pub order: Order,
    pub status: Status,
    pub cursor: Option<Vec<String>>,
    pub rows_read: i64,
    pub events: i64,
    pub deliveries: i64,
    pub parked: i64,
    /// Events that the stream had made already.
    pub streamed: i64,
    /// What a running one waits for.
    pub waiting: Option<String>,
    pub error: Option<String>,
    pub created_at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Under way, or next in turn.
    Running,
    Paused,
    Done,
    Cancelled,
    /// It cannot go on as it is; it can be resumed once that is fixed.
    Failed,
}

const UNFINISHED: [Status; 3] = [Status::Running, Status::Paused, Status::Failed];

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Done => "done",
            Status::Cancelled => "cancelled",
            Status::Failed => "failed",
        }
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        Ok(match text {
            "running" => Status::Running,
            "paused" => Status::Paused,
            "done" => Status::Done,
            "cancelled" => Status::Cancelled,
            "failed" => Status::Failed,
            other => bail!("the store has a backfill in the unknown status `{other}`"),
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The backfills of one slot, over a session or a transaction in it.
pub struct Jobs<'a, C = Client> {
    pub client: &'a C,
    pub slot: &'a str,
}

impl<C: Queries> Jobs<'_, C> {
    pub async fn create(&self, order: &Order) -> anyhow::Result<BackfillId> {
        let id = BackfillId(Uuid::now_v7());
        let (since_column, since) = order.wanted.since.clone().unzip();
        self.client
            .execute(
                include_str!("../../sql/queries/backfill/create.sql"),
                &[
                    &id.0,
                    &self.slot,
                    &order.table.schema,
                    &order.table.name,
                    &order.key,
                    &order.rules,
                    &order.wanted.condition,
                    &order.wanted.search_path,
                    &since,
                    &since_column,
                    &order.wanted.until,
                    &order.subscription.map(|subscription| subscription.0),
                    &order.from_lsn,
                    &order.rows_per_second,
                    &order.chunk_rows,
                    &order.estimate,
                ],
            )
            .await
            .context("record the backfill")?;
        Ok(id)
    }

    pub async fn get(&self, id: BackfillId) -> anyhow::Result<Option<Job>> {
        Ok(self.read(Some(id)).await?.pop())
    }

    /// Those that are not over, and the newest of the others, oldest first.
    pub async fn list(&self) -> anyhow::Result<Vec<Job>> {
        self.read(None).await
    }

    /// The one whose turn it is: one at a time, in the order in which they were asked for.
    pub async fn next(&self) -> anyhow::Result<Option<Job>> {
        let mut jobs = self.list().await?.into_iter();
        Ok(jobs.find(|job| job.status == Status::Running))
    }

    async fn read(&self, id: Option<BackfillId>) -> anyhow::Result<Vec<Job>> {
        let list = include_str!("../../sql/queries/backfill/list.sql");
        let id = id.map(|id| id.0);
        let rows = self.client.query(list, &[&self.slot, &id]).await;
        let rows = rows.context("read the backfills")?;
        rows.iter().map(Job::from_row).collect()
    }

    /// False where it is not running.
    pub async fn pause(&self, id: BackfillId) -> anyhow::Result<bool> {
        let set = self.set(id, Status::Paused, &[Status::Running], None).await;
        set.context("pause the backfill")
    }

    /// False where it is over, or never was.
    pub async fn resume(&self, id: BackfillId) -> anyhow::Result<bool> {
        let set = self.set(id, Status::Running, &UNFINISHED, None).await;
        set.context("resume the backfill")
    }

    /// False where it is over, or never was.
    pub async fn cancel(&self, id: BackfillId) -> anyhow::Result<bool> {
        let set = self.set(id, Status::Cancelled, &UNFINISHED, None).await;
        let cancelled = set.context("cancel the backfill")?;
        self.forget_streamed().await?;
        Ok(cancelled)
    }

    pub async fn fail(&self, id: BackfillId, error: &str) -> anyhow::Result<()> {
        let running = [Status::Running];
        let set = self.set(id, Status::Failed, &running, Some(error)).await;
        set.map(drop).context("record why the backfill failed")
    }

    async fn set(
        &self,
        id: BackfillId,
        status: Status,
        from: &[Status],
        error: Option<&str>,
    ) -> Result<bool, tokio_postgres::Error> {
        let set = include_str!("../../sql/queries/backfill/set_status.sql");
        let from: Vec<&str> = from.iter().map(|status| status.as_str()).collect();
        let parameters: [&(dyn ToSql + Sync); 5] =
            [&self.slot, &id.0, &status.as_str(), &from, &error];
        Ok(self.client.execute(set, &parameters).await? > 0)
    }

    pub async fn wait(&self, id: BackfillId, reason: Option<&str>) -> anyhow::Result<()> {
        let wait = include_str!("../../sql/queries/backfill/wait.sql");
        let written = self.client.execute(wait, &[&id.0, &reason]).await;
        written
            .map(drop)
            .context("record what the backfill waits for")
    }

    /// Frees the room of what was noted for backfills that are over.
    pub async fn forget_streamed(&self) -> anyhow::Result<()> {
        let forget = include_str!("../../sql/queries/backfill/forget_streamed.sql");
        let forgotten = self.client.execute(forget, &[]).await;
        forgotten
            .map(drop)
            .context("forget what was noted for backfills")
    }

    /// Deliveries that are due and not begun, counted up to `bound`.
    pub async fn backlog(&self, bound: i64) -> anyhow::Result<i64> {
        let count = include_str!("../../sql/queries/backfill/count_due.sql");
        let row = self.client.query_one(count, &[&bound]).await;
        Ok(row.context("count the deliveries that are due")?.get(0))
    }

    /// Whether an instance holds the slot, and so runs backfills.
    pub async fn has_leader(&self) -> anyhow::Result<bool> {
        let leader = include_str!("../../sql/queries/backfill/has_leader.sql");
        let row = self.client.query_one(leader, &[&self.slot]).await;
        Ok(row.context("look who holds the slot")?.get(0))
    }
}

impl Job {
    fn from_row(row: &Row) -> anyhow::Result<Self> {
        let since: Option<Timestamp> = row.get("since");
        let column: Option<String> = row.get("since_column");
        Ok(Job {
            id: BackfillId(row.get("id")),
            order: Order {
                table: TableName {
                    schema: row.get("schema_name"),
                    name: row.get("table_name"),
                },
                key: row.get("key_columns"),
                rules: row.get("rules"),
                wanted: Wanted {
                    condition: row.get("filter"),
                    search_path: row.get("search_path"),
                    since: column.zip(since),
                    until: row.get("until_key"),
                },
                subscription: row
                    .get::<_, Option<Uuid>>("subscription_id")
                    .map(SubscriptionId),
                from_lsn: row.get("from_lsn"),
                rows_per_second: row.get("rows_per_second"),
                chunk_rows: row.get("chunk_rows"),
                estimate: row.get("estimate"),
            },
            status: Status::parse(row.get("status"))?,
            cursor: row.get("cursor"),
            rows_read: row.get("rows_read"),
            events: row.get("events"),
            deliveries: row.get("deliveries"),
            parked: row.get("parked"),
            streamed: row.get("streamed"),
            waiting: row.get("waiting"),
            error: row.get("error"),
            created_at: row.get("created_at"),
        })
    }
}
