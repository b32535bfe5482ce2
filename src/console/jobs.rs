//! A bulk retry or a replay on its way: how far it has come; pause, resume, cancel.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::Json;
use axum::extract::State as AxumState;
use axum::response::Response;
use jiff::Timestamp;
use uuid::Uuid;

use super::State;
use super::actions::call;
use super::fault::{Fault, retention_days};
use super::fields::Posted;
use super::markup::{Markup, badge, count, counted, rounded};
use super::shell::{Place, Shell, Visitor, page, see_other};
use super::words::Endpoints;
use crate::api::extract::PathId;
use crate::api::jobs as calls;
use crate::conninfo::Transaction;
use crate::db::tenant_transaction;
use crate::delivery::jobs::{self, Job, JobState};
use crate::event::JobId;

/// The newest jobs on the page that begins them.
const NEWEST: i64 = 5;

/// A job as pages show it.
pub struct JobView {
    pub id: String,
    pub state: Markup,
    pub what: &'static str,
    pub endpoint: Option<String>,
    pub done: String,
    pub total: Option<String>,
    /// Of a hundred, where the whole is known.
    pub percent: Option<i64>,
    pub created_at: Timestamp,
}

impl JobView {
    pub fn of(job: &Job, endpoints: &Endpoints) -> Self {
        let number = |number: i64| count(u64::try_from(number).unwrap_or(0));
        JobView {
            id: job.id.to_string(),
            state: state(job.state),
            what: match job.kind.as_str() {
                "replay" => "Replay",
                _ => "Retry",
            },
            endpoint: job
                .subscription
                .map(|id| endpoints.name(id).title().to_owned()),
            done: number(job.done),
            total: job.total.map(number),
            percent: job
                .total
                .filter(|total| *total > 0)
                .map(|total| (job.done * 100 / total).clamp(0, 100)),
            created_at: job.created_at,
        }
    }
}

fn state(state: JobState) -> Markup {
    let (class, shape) = match state {
        JobState::Running => ("in_flight", "▶"),
        JobState::Paused => ("parked", "❚❚"),
        JobState::Done => ("delivered", "✓"),
        JobState::Cancelled => ("cancelled", "–"),
        JobState::Failed => ("failed", "✕"),
    };
    badge(class, shape, state.as_str())
}

/// The newest of the tenant's.
pub async fn newest_jobs(
    transaction: &Transaction<'_>,
    endpoints: &Endpoints,
) -> Result<Vec<JobView>, Fault> {
    let found = jobs::list(transaction, Uuid::max(), NEWEST).await?;
    let views = found.iter().map(|job| JobView::of(job, endpoints));
    Ok(views.collect())
}

#[derive(Template)]
#[template(path = "job.html")]
struct Page {
    shell: Shell,
    job: JobView,
    sentence: String,
    reason: Option<String>,
    filter_failures: Option<String>,
    is_running: bool,
    is_paused: bool,
}

/// The page of one job.
pub async fn show(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    id: PathId,
) -> Result<Response, Fault> {
    let days = retention_days(state.api.settings.retention());
    let not_found = || Fault::not_found("job", &id.0, days);
    let job: JobId = id.0.parse().map_err(|_| not_found())?;
    let mut client = state.api.store.get().await?;
    let transaction = tenant_transaction(&mut client, visitor.tenant()).await?;
    let found = jobs::get(&transaction, job).await?;
    let found = found.ok_or_else(not_found)?;
    let endpoints = Endpoints::read(&transaction).await?;
    page(&Page {
        shell: visitor.shell(Place::Recover, "Sending again"),
        job: JobView::of(&found, &endpoints),
        sentence: sentence(&found),
        reason: found.reason.clone(),
        filter_failures: (found.filter_failures > 0).then(|| {
            let number = u64::try_from(found.filter_failures).unwrap_or(0);
            counted(number, "event", "events")
        }),
        is_running: found.state == JobState::Running,
        is_paused: found.state == JobState::Paused,
    })
}

fn sentence(job: &Job) -> String {
    let number = |number: i64| u64::try_from(number).unwrap_or(0);
    let done = counted(number(job.done), "delivery is", "deliveries are");
    let left = job.total.map(|total| number(total - job.done));
    let left_words = left.map_or_else(String::new, |left| match left {
        0 => String::new(),
        _ => format!(" {} left.", count(left)),
    });
    match job.state {
        JobState::Running => {
            let rate = job.max_per_second.and_then(|rate| u64::try_from(rate).ok());
            let takes = left.zip(rate).map_or_else(String::new, |(left, rate)| {
                let seconds = left.div_ceil(rate.max(1));
                format!(" About {} to go.", rounded(Duration::from_secs(seconds)))
            });
            format!("{done} due so far.{left_words}{takes} It goes on by itself.")
        }
        JobState::Paused => format!("Paused: {done} due so far.{left_words}"),
        JobState::Done if job.done == 0 => "There was nothing left to send again.".to_owned(),
        JobState::Done => format!("{done} due: sent as their endpoints take them."),
        JobState::Cancelled => format!("Cancelled: {done} due by then, and sent."),
        JobState::Failed => format!("It failed: {done} due by then.{left_words}"),
    }
}

/// What it has made due already is sent.
pub async fn pause(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    id: PathId,
    Posted(_): Posted,
) -> Result<Response, Fault> {
    let path = format!("/console/jobs/{}", id.0);
    let (api, tenant, caller) = call(&state, &visitor);
    let Json(_paused) = calls::pause_job(api, tenant, caller, id).await?;
    Ok(see_other(&path))
}

/// Goes on.
pub async fn resume(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    id: PathId,
    Posted(_): Posted,
) -> Result<Response, Fault> {
    let path = format!("/console/jobs/{}", id.0);
    let (api, tenant, caller) = call(&state, &visitor);
    let Json(_running) = calls::resume_job(api, tenant, caller, id).await?;
    Ok(see_other(&path))
}

/// Ends it.
pub async fn cancel(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    id: PathId,
    Posted(_): Posted,
) -> Result<Response, Fault> {
    let path = format!("/console/jobs/{}", id.0);
    let (api, tenant, caller) = call(&state, &visitor);
    let Json(_cancelled) = calls::cancel_job(api, tenant, caller, id).await?;
    Ok(see_other(&path))
}
