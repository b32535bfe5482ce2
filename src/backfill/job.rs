//! Backfills as the store records them.

use std::fmt;

use anyhow::{Context, bail};
use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use super::reader::Wanted;
use crate::conninfo::Client;
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

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Done => "done",
            Status::Cancelled => "cancelled",
            Status::Failed => "failed",
        })
    }
}

/// The backfills of one slot.
pub struct Jobs<'a> {
    pub client: &'a Client,
    pub slot: &'a str,
}

impl Jobs<'_> {
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
        let get = include_str!("../../sql/queries/backfill/get.sql");
        let row = self.client.query_opt(get, &[&self.slot, &id.0]).await;
        row.context("read the backfill")?
            .as_ref()
            .map(read)
            .transpose()
    }

    /// Those that are not over, and the newest of the others, oldest first.
    pub async fn list(&self) -> anyhow::Result<Vec<Job>> {
        let list = include_str!("../../sql/queries/backfill/list.sql");
        let rows = self.client.query(list, &[&self.slot]).await;
        rows.context("list the backfills")?
            .iter()
            .map(read)
            .collect()
    }

    /// The one whose turn it is.
    pub async fn next(&self) -> anyhow::Result<Option<Job>> {
        let next = include_str!("../../sql/queries/backfill/next.sql");
        let row = self.client.query_opt(next, &[&self.slot]).await;
        let row = row.context("look for a backfill")?;
        row.as_ref().map(read).transpose()
    }

    /// False where it is not running.
    pub async fn pause(&self, id: BackfillId) -> anyhow::Result<bool> {
        self.change(include_str!("../../sql/queries/backfill/pause.sql"), id)
            .await
            .context("pause the backfill")
    }

    /// False where it is over, or never was.
    pub async fn resume(&self, id: BackfillId) -> anyhow::Result<bool> {
        self.change(include_str!("../../sql/queries/backfill/resume.sql"), id)
            .await
            .context("resume the backfill")
    }

    /// False where it is over, or never was.
    pub async fn cancel(&self, id: BackfillId) -> anyhow::Result<bool> {
        let cancelled = self
            .change(include_str!("../../sql/queries/backfill/cancel.sql"), id)
            .await
            .context("cancel the backfill")?;
        self.forget_streamed().await?;
        Ok(cancelled)
    }

    async fn change(&self, sql: &str, id: BackfillId) -> Result<bool, tokio_postgres::Error> {
        let changed = self.client.query_opt(sql, &[&self.slot, &id.0]).await?;
        Ok(changed.is_some())
    }

    pub async fn fail(&self, id: BackfillId, error: &str) -> anyhow::Result<()> {
        let fail = include_str!("../../sql/queries/backfill/fail.sql");
        let failed = self.client.execute(fail, &[&id.0, &error]).await;
        failed.map(drop).context("record why the backfill failed")
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

fn read(row: &Row) -> anyhow::Result<Job> {
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
        status: match row.get("status") {
            "running" => Status::Running,
            "paused" => Status::Paused,
            "done" => Status::Done,
            "cancelled" => Status::Cancelled,
            "failed" => Status::Failed,
            other => bail!("the store has a backfill in the unknown status `{other}`"),
        },
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
