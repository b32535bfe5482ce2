//! Bulk retries and replays: carried out in batches, each of which commits with how far the job
//! has come. Any instance goes on where another one stopped.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};
use uuid::Uuid;

use super::listing::{DeliveryFilter, IdRange, Status};
use crate::audit::{Caller, Entry};
use crate::conninfo::Transaction;
use crate::event::{JobId, SubscriptionId};

mod batches;

pub use batches::{Advanced, Matches, advance, run};

/// What a job is to do, as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Request {
    Retry(RetryRequest),
    Replay(ReplayRequest),
}

/// Deliveries that are to be due now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryRequest {
    /// Of those that are pending instead of those that have failed.
    pub pending: bool,
    pub event_type: Option<String>,
    pub subscription: Option<Uuid>,
}

/// Stored events that are to be sent to one subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayRequest {
    pub subscription: Uuid,
    pub since: Timestamp,
    pub until: Option<Timestamp>,
    /// Positions in the WAL.
    pub from_lsn: Option<u64>,
    pub to_lsn: Option<u64>,
    pub types: Vec<String>,
}

impl RetryRequest {
    pub fn filter(&self) -> DeliveryFilter {
        DeliveryFilter {
            status: Some(match self.pending {
                true => Status::Pending,
                false => Status::Failed,
            }),
            event_type: self.event_type.clone(),
            subscription: self.subscription,
        }
    }
}

/// A job's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    Running,
    /// By a user, or by walhook, which says why.
    Paused,
    Done,
    Cancelled,
    Failed,
}

impl JobState {
    const ALL: [JobState; 5] = [
        JobState::Running,
        JobState::Paused,
        JobState::Done,
        JobState::Cancelled,
        JobState::Failed,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            JobState::Running => "running",
            JobState::Paused => "paused",
            JobState::Done => "done",
            JobState::Cancelled => "cancelled",
            JobState::Failed => "failed",
        }
    }

    fn of(name: &str) -> Self {
        let found = JobState::ALL.into_iter().find(|one| one.as_str() == name);
        // The table's check admits no other.
        found.unwrap_or(JobState::Failed)
    }
}

/// A bulk retry or a replay, and how far it has come.
#[derive(Clone, Debug)]
pub struct Job {
    pub id: JobId,
    pub request: Option<Request>,
    /// The entry of the audit log that says who asked for it.
    pub actor: Option<Uuid>,
    pub kind: String,
    pub subscription: Option<SubscriptionId>,
    pub state: JobState,
    pub reason: Option<String>,
    /// How many matched when it was asked for, where they were counted.
    pub total: Option<i64>,
    /// Deliveries that it made due.
    pub done: i64,
    /// Events on which the filter failed: they are not sent.
    pub filter_failures: i64,
    pub max_per_second: Option<i32>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub finished_at: Option<Timestamp>,
}

impl Job {
    fn read(row: &Row) -> Self {
        Job {
            id: JobId(row.get("id")),
            request: serde_json::from_str(row.get("request")).ok(),
            actor: row.get("actor"),
            kind: row.get("kind"),
            subscription: row
                .get::<_, Option<Uuid>>("subscription_id")
                .map(SubscriptionId),
            state: JobState::of(row.get("state")),
            reason: row.get("reason"),
            total: row.get("total"),
            done: row.get("done"),
            filter_failures: row.get("filter_failures"),
            max_per_second: row.get("max_per_second"),
            created_at: row.get("created_at"),
            updated_at: row.get("updated_at"),
            finished_at: row.get("finished_at"),
        }
    }
}

/// A job that is to begin.
pub struct NewJob<'a> {
    pub request: &'a Request,
    /// Of deliveries for a retry, of events for a replay.
    pub ids: IdRange,
    pub total: Option<u64>,
    pub max_per_second: Option<i32>,
}

/// Begins a job. [`advance`] and [`run`] carry it out.
pub async fn begin(
    transaction: &Transaction<'_>,
    tenant: &str,
    caller: &Caller,
    job: NewJob<'_>,
) -> Result<JobId, Error> {
    let id = JobId(Uuid::now_v7());
    let change = caller.change();
    let (kind, subscription) = match job.request {
        Request::Retry(retry) => ("retry", retry.subscription),
        Request::Replay(replay) => ("replay", Some(replay.subscription)),
    };
    let request = serde_json::to_string(job.request).unwrap_or_default();
    let total = job
        .total
        .map(|total| i64::try_from(total).unwrap_or(i64::MAX));
    transaction
        .execute(
            include_str!("../../sql/queries/delivery/insert_job.sql"),
            &[
                &id.0 as &(dyn ToSql + Sync),
                &tenant,
                &kind,
                &request,
                &subscription,
                &job.ids.from,
                &job.ids.to,
                &total,
                &job.max_per_second,
                &change.id,
            ],
        )
        .await?;
    let (action, object) = match job.request {
        Request::Retry(_) => ("delivery.retry_many", id.to_string()),
        Request::Replay(replay) => (
            "subscription.replay",
            SubscriptionId(replay.subscription).to_string(),
        ),
    };
    let entry = Entry {
        tenant: Some(tenant),
        action,
        object: Some(object),
        after: Some(json!({
            "job_id": id.to_string(),
            "request": job.request,
            "since": job.ids.since(),
            "until": job.ids.until(),
            "total": total,
            "max_per_second": job.max_per_second,
        })),
        ..Entry::default()
    };
    change.enter(transaction, &entry).await?;
    Ok(id)
}

/// How many of the tenant's jobs have not ended.
pub async fn unfinished(transaction: &Transaction<'_>) -> Result<i64, Error> {
    let sql = include_str!("../../sql/queries/delivery/count_unfinished_jobs.sql");
    Ok(transaction.query_one(sql, &[]).await?.get(0))
}

pub async fn get(transaction: &Transaction<'_>, id: JobId) -> Result<Option<Job>, Error> {
    let sql = include_str!("../../sql/queries/delivery/get_job.sql");
    let row = transaction.query_opt(sql, &[&id.0]).await?;
    Ok(row.as_ref().map(Job::read))
}

/// Newest first, those before the given one.
pub async fn list(
    transaction: &Transaction<'_>,
    before: Uuid,
    limit: i64,
) -> Result<Vec<Job>, Error> {
    let sql = include_str!("../../sql/queries/delivery/list_jobs.sql");
    let rows = transaction.query(sql, &[&before, &limit]).await?;
    Ok(rows.iter().map(Job::read).collect())
}

/// Pauses, resumes or cancels a job by hand. False where its state does not allow that, or
/// there is none.
pub async fn change(
    transaction: &Transaction<'_>,
    tenant: &str,
    caller: &Caller,
    id: JobId,
    to: JobState,
) -> Result<bool, Error> {
    let (from, action): (&[&str], _) = match to {
        JobState::Paused => (&["running"], "job.pause"),
        JobState::Running => (&["paused"], "job.resume"),
        JobState::Cancelled => (&["running", "paused"], "job.cancel"),
        JobState::Done | JobState::Failed => return Ok(false),
    };
    let sql = include_str!("../../sql/queries/delivery/change_job.sql");
    let changed = transaction
        .execute(sql, &[&id.0, &to.as_str(), &from])
        .await?;
    if changed > 0 {
        let entry = Entry {
            tenant: Some(tenant),
            action,
            object: Some(id.to_string()),
            ..Entry::default()
        };
        caller.change().enter(transaction, &entry).await?;
    }
    Ok(changed > 0)
}
