//! `/jobs`: bulk retries and replays, which go on by themselves.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State as AxumState;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::State;
use super::error::Problem;
use super::extract::{self, PathId, Query, Tenant};
use crate::audit::Caller;
use crate::db::tenant_transaction;
use crate::delivery::jobs::{self, Job as StoredJob, JobState, NewJob};
use crate::delivery::manual::ManualError;
use crate::event::JobId;

/// For how long the call that begins a job carries it out at most before it answers: most jobs
/// are small, and their callers see the end.
const AT_FIRST: Duration = Duration::from_secs(2);

/// A job's rate at most, as its column's check.
const MAX_RATE: u32 = 10_000;

#[derive(Serialize, ToSchema)]
pub struct Job {
    #[schema(examples("job_019aa8f1-7c00-7000-8000-000000000000"))]
    id: String,
    /// `retry` or `replay`.
    #[schema(examples("retry"))]
    kind: String,
    subscription_id: Option<String>,
    /// `running`, `paused`, `done`, `cancelled` or `failed`.
    #[schema(examples("running"))]
    state: &'static str,
    /// Why it failed, or why walhook paused it.
    reason: Option<String>,
    /// How many deliveries matched when it was asked for; null: they could not be counted within two
    /// seconds.
    total: Option<i64>,
    /// How many are due now, or were sent.
    done: i64,
    /// On how many events the subscription's filter failed: they are not sent.
    filter_failures: i64,
    /// Of a replay: what its deliveries have as `replay_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    replay_id: Option<String>,
    max_per_second: Option<i32>,
    created_at: Timestamp,
    updated_at: Timestamp,
    finished_at: Option<Timestamp>,
}

impl From<StoredJob> for Job {
    fn from(job: StoredJob) -> Self {
        Job {
            id: job.id.to_string(),
            replay_id: (job.kind == "replay").then(|| job.id.0.to_string()),
            kind: job.kind,
            subscription_id: job.subscription.map(|id| id.to_string()),
            state: job.state.as_str(),
            reason: job.reason,
            total: job.total,
            done: job.done,
            filter_failures: job.filter_failures,
            max_per_second: job.max_per_second,
            created_at: job.created_at,
            updated_at: job.updated_at,
            finished_at: job.finished_at,
        }
    }
}

/// What a bulk retry or a replay would do.
#[derive(Default, Serialize, ToSchema)]
pub struct Estimate {
    /// False: counting took longer than two seconds, and was ended. All else is null or empty.
    pub complete: bool,
    /// How many deliveries would be due.
    pub matching: Option<u64>,
    /// Of disabled subscriptions: they would be left aside.
    pub disabled: Option<u64>,
    /// Events on which the subscription's filter fails: they would not be sent.
    pub filter_failures: Option<u64>,
    /// When the first of the events was committed, to the millisecond.
    pub oldest: Option<Timestamp>,
    /// The newest few: deliveries of a retry, events of a replay.
    pub sample: Vec<String>,
    /// How long it takes at `max_per_second`; null: no limit was given, or they were not counted.
    pub estimated_seconds: Option<u64>,
}

#[derive(Serialize, ToSchema)]
pub struct JobPage {
    data: Vec<Job>,
    /// Pass it as `cursor` for the next page; null on the last.
    next_cursor: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListJobs {
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// 1 to 200; 50 if absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
}

/// When the change behind an id was committed.
pub(super) fn committed_at(id: Uuid) -> Option<Timestamp> {
    let milliseconds = i64::try_from(crate::event::id_milliseconds(id)).ok()?;
    Timestamp::from_millisecond(milliseconds).ok()
}

/// Reads `max_per_second`.
pub(super) fn rate(per_second: Option<u32>) -> Result<Option<i32>, Problem> {
    let Some(per_second) = per_second else {
        return Ok(None);
    };
    match i32::try_from(per_second) {
        Ok(rate) if (1..=MAX_RATE).contains(&per_second) => Ok(Some(rate)),
        _ => Err(Problem::invalid(
            "invalid_rate",
            format!("`max_per_second` is {per_second}: use 1 to {MAX_RATE}"),
        )),
    }
}

pub(super) fn estimated_seconds(matching: u64, rate: Option<i32>) -> Option<u64> {
    let rate = u64::try_from(rate?).ok()?.max(1);
    Some(matching.div_ceil(rate))
}

/// Begins a job and carries it out for a moment. Returns how far it has come.
pub(super) async fn begin(
    state: &State,
    tenant: &Arc<str>,
    caller: &Caller,
    job: NewJob<'_>,
) -> Result<(StatusCode, Json<Job>), Problem> {
    let mut client = state.store.get().await?;
    let transaction = tenant_transaction(&mut client, tenant).await?;
    let unfinished = jobs::unfinished(&transaction).await?;
    state.limits.admit_replay(unfinished)?;
    let id = jobs::begin(&transaction, tenant, caller, job).await?;
    let begun = jobs::get(&transaction, id).await?;
    let begun = begun.ok_or_else(|| Problem::not_found("job", &id.to_string()))?;
    transaction.commit().await?;
    drop(client);
    // From here on there is the job, which goes on by itself: the caller is never answered that
    // it failed, and never asks for it a second time.
    let carried_out = tokio::time::timeout(AT_FIRST, carry_out(state, tenant, id)).await;
    if let Ok(Err(error)) = carried_out {
        tracing::warn!(
            job = %id,
            error = format!("{:#}", anyhow::Error::from(error)),
            "a batch of a bulk retry or a replay failed; it is tried again"
        );
    }
    state.schedule_changed.notify_one();
    let job = match find(state, tenant, id).await {
        Ok(Some(job)) => job,
        Ok(None) | Err(_) => begun,
    };
    Ok((StatusCode::ACCEPTED, Json(job.into())))
}

/// Carries the job out to its end, or until its rate admits nothing.
async fn carry_out(state: &State, tenant: &str, id: JobId) -> Result<(), ManualError> {
    loop {
        let advanced = jobs::advance(&state.store, tenant, id, state.filter_matches).await?;
        if !advanced.running || !advanced.progressed {
            return Ok(());
        }
        state.schedule_changed.notify_one();
    }
}

async fn find(state: &State, tenant: &str, id: JobId) -> Result<Option<StoredJob>, Problem> {
    let mut client = state.store.get().await?;
    let transaction = tenant_transaction(&mut client, tenant).await?;
    Ok(jobs::get(&transaction, id).await?)
}

/// List bulk retries and replays, newest first
#[utoipa::path(get, path = "/jobs", tag = "Jobs", params(ListJobs),
    responses((status = 200, description = "A page of them", body = JobPage)))]
pub async fn list_jobs(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    Query(query): Query<ListJobs>,
) -> Result<Json<JobPage>, Problem> {
    let limit = extract::limit(query.limit)?;
    let before = extract::cursor(query.cursor.as_deref())?.map_or(Uuid::max(), |[id]| id);
    let mut client = state.store.get().await?;
    let transaction = tenant_transaction(&mut client, &tenant).await?;
    let rows = jobs::list(&transaction, before, limit + 1).await?;
    let (rows, next_cursor) = extract::page(rows, limit, |job| [job.id.0]);
    Ok(Json(JobPage {
        data: rows.into_iter().map(Job::from).collect(),
        next_cursor,
    }))
}

/// Read a bulk retry or a replay, and how far it has come
#[utoipa::path(get, path = "/jobs/{id}", tag = "Jobs",
    params(("id" = String, Path, description = "`job_…`")),
    responses((status = 200, description = "The job", body = Job)))]
pub async fn get_job(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    id: PathId,
) -> Result<Json<Job>, Problem> {
    let found = find(&state, &tenant, id.parse("job")?).await?;
    let found = found.ok_or_else(|| Problem::not_found("job", &id.0))?;
    Ok(Json(found.into()))
}

/// Pause a bulk retry or a replay
///
/// What it has made due already is sent.
#[utoipa::path(post, path = "/jobs/{id}/pause", tag = "Jobs",
    params(("id" = String, Path, description = "`job_…`")),
    responses((status = 200, description = "The job, paused", body = Job)))]
pub async fn pause_job(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    caller: Caller,
    id: PathId,
) -> Result<Json<Job>, Problem> {
    change(&state, &tenant, &caller, &id, JobState::Paused).await
}

/// Go on with a bulk retry or a replay that was paused
#[utoipa::path(post, path = "/jobs/{id}/resume", tag = "Jobs",
    params(("id" = String, Path, description = "`job_…`")),
    responses((status = 200, description = "The job, running", body = Job)))]
pub async fn resume_job(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    caller: Caller,
    id: PathId,
) -> Result<Json<Job>, Problem> {
    change(&state, &tenant, &caller, &id, JobState::Running).await
}

/// Cancel a bulk retry or a replay
///
/// What it has made due already is sent.
#[utoipa::path(post, path = "/jobs/{id}/cancel", tag = "Jobs",
    params(("id" = String, Path, description = "`job_…`")),
    responses((status = 200, description = "The job, cancelled", body = Job)))]
pub async fn cancel_job(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    caller: Caller,
    id: PathId,
) -> Result<Json<Job>, Problem> {
    change(&state, &tenant, &caller, &id, JobState::Cancelled).await
}

async fn change(
    state: &State,
    tenant: &str,
    caller: &Caller,
    id: &PathId,
    to: JobState,
) -> Result<Json<Job>, Problem> {
    let job: JobId = id.parse("job")?;
    let mut client = state.store.get().await?;
    let transaction = tenant_transaction(&mut client, tenant).await?;
    let changed = jobs::change(&transaction, tenant, caller, job, to).await?;
    let found = jobs::get(&transaction, job).await?;
    let found = found.ok_or_else(|| Problem::not_found("job", &id.0))?;
    // To ask for what is so already is no error.
    if !changed && found.state != to {
        return Err(Problem::conflict(
            "job_state",
            format!(
                "the job is {}: only one that is running or paused can be changed",
                found.state.as_str()
            ),
        ));
    }
    transaction.commit().await?;
    Ok(Json(found.into()))
}
