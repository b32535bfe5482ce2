//! What operators and orchestrators ask, at the root: `/healthz`, `/readyz`, `/metrics`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State as AxumState;
use axum::http::header;
use axum::response::IntoResponse;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::State;
use super::error::Problem;
use super::extract::Query;
use super::limits::Bucket;
use crate::db::Store;
use crate::delivery::problems::{self, Names};
use crate::delivery::queue::Queue;
use crate::health::{self, CaptureState, ProblemKind, RulesState};
use crate::metrics::METRICS;

#[derive(Serialize, ToSchema)]
pub struct Alive {
    /// `ok`
    status: &'static str,
}

/// Is the process up?
#[utoipa::path(get, path = "/healthz", tag = "Operation", security(()),
    responses((status = 200, description = "It is", body = Alive)))]
pub async fn healthz() -> Json<Alive> {
    Json(Alive { status: "ok" })
}

#[derive(Serialize, ToSchema)]
pub struct Ready {
    /// `ready`
    status: &'static str,
    /// `ok`
    store: &'static str,
    /// `held`, `stand-by` or `not run here`; `failing` while capture is interrupted for a moment
    slot: &'static str,
    /// `active` or `seeding`
    rules: &'static str,
    /// What is wrong and does not keep this node from its work.
    problems: Vec<ListedProblem>,
}

/// A problem that does not take the node out of service.
#[derive(Serialize, ToSchema)]
pub struct ListedProblem {
    /// What kind it is, as in the metric `walhook_problems`.
    kind: &'static str,
    /// What is wrong, and what to do.
    text: String,
}

/// What else `/readyz` waits for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct ReadyQuery {
    /// `rules`: that every rule makes events, the seeding of old values included.
    #[param(inline)]
    wait: Option<Wait>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Wait {
    Rules,
}

/// A probe that hangs is worse than one that fails.
const PING_TIMEOUT: Duration = Duration::from_millis(1500);

/// Does it do its work?
///
/// The slot is held (or another process holds it), the store answers, every connection is
/// answered, the rules are read, and no gap in the WAL waits to be accepted. One connection
/// that is silent, or an interruption of capture, counts once it lasts 14 s. With
/// `?wait=rules` also: every rule makes events. Endpoints, deliveries and seeds that fail never
/// take a node out of service; they are listed, as the store said when it was last asked.
#[utoipa::path(get, path = "/readyz", tag = "Operation", security(()), params(ReadyQuery),
    responses((status = 200, description = "It does", body = Ready),
        (status = 400, description = "An unknown parameter", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "It does not; the detail says why", body = Problem, content_type = "application/problem+json")))]
pub async fn readyz(
    AxumState(state): AxumState<Arc<State>>,
    Query(query): Query<ReadyQuery>,
) -> Result<Json<Ready>, Problem> {
    // For the next probe: this one is not to wait for it.
    if state.caches.queue_count.begin() {
        tokio::spawn(count_queue(Arc::clone(&state)));
    }
    let mut problems = state.health.problems();
    if !state.caches.store_ping.answers(&state.probed).await {
        problems.insert(
            0,
            ProblemKind::StoreUnreachable.because("the store does not answer"),
        );
    }
    let waits = |problem: &health::Problem| {
        let rules = query.wait == Some(Wait::Rules) && problem.kind == ProblemKind::Seeding;
        problem.affects_readiness || rules
    };
    let reasons: Vec<_> = problems
        .iter()
        .filter(|problem| waits(problem))
        .map(|problem| problem.text.as_str())
        .collect();
    if !reasons.is_empty() {
        return Err(Problem::unavailable("not_ready", reasons.join("; ")));
    }
    let slot = match state.health.capture() {
        CaptureState::NotRunHere => "not run here",
        CaptureState::Standby => "stand-by",
        CaptureState::Leading => "held",
        CaptureState::Starting => "starting",
        CaptureState::Failing(_) => "failing",
    };
    let rules = match state.health.rules() {
        RulesState::Active => "active",
        RulesState::NotRead => "not read",
        RulesState::Seeding(_) => "seeding",
    };
    let problems = problems.into_iter().map(|problem| ListedProblem {
        kind: problem.kind.as_str(),
        text: problem.text,
    });
    Ok(Json(Ready {
        status: "ready",
        store: "ok",
        slot,
        rules,
        problems: problems.collect(),
    }))
}

/// The store's last answer to a ping, kept for a second: frequent probes do not become
/// frequent pings.
#[derive(Default)]
pub struct StorePing(tokio::sync::Mutex<Option<(Instant, bool)>>);

/// How long the answer is kept.
const PING_INTERVAL: Duration = Duration::from_secs(1);

impl StorePing {
    async fn answers(&self, store: &Store) -> bool {
        let mut last = self.0.lock().await;
        match *last {
            Some((at, answered)) if at.elapsed() < PING_INTERVAL => answered,
            _ => {
                let answered = answers(store).await;
                *last = Some((Instant::now(), answered));
                answered
            }
        }
    }
}

/// Asked again over another connection where one does not answer: it may be the connection
/// that is dead.
async fn answers(store: &Store) -> bool {
    for _ in 0..2 {
        let ping = tokio::time::timeout(PING_TIMEOUT, ping(store)).await;
        if matches!(ping, Ok(Ok(()))) {
            return true;
        }
    }
    false
}

async fn ping(store: &Store) -> anyhow::Result<()> {
    let client = store.get().await?;
    client
        .query_one(include_str!("../../sql/queries/api/ping_store.sql"), &[])
        .await?;
    Ok(())
}

/// The count of what waits, as it stands in the gauges.
#[derive(Default)]
pub struct QueueCount(Mutex<Count>);

#[derive(Default)]
struct Count {
    under_way: bool,
    ended_at: Option<Instant>,
    took: Duration,
}

/// Several scrapers, or one in a hurry, count the schedule no more often than this …
const COUNT_INTERVAL: Duration = Duration::from_secs(5);
/// … and a long one so seldom that counting takes a hundredth of the time.
const COUNT_SHARE: u32 = 100;
/// Beyond it a scrape shows the last count: a slow store must not hide the rest.
const COUNT_TIMEOUT: Duration = Duration::from_secs(3);

impl QueueCount {
    /// Whether to count now; who is told so [`end`](Self::end)s it.
    fn begin(&self) -> bool {
        let mut count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = COUNT_INTERVAL.max(count.took * COUNT_SHARE);
        let due = count.ended_at.is_none_or(|at| at.elapsed() >= rest);
        let begins = due && !count.under_way;
        count.under_way |= begins;
        begins
    }

    fn end(&self, began: Instant) {
        let mut count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *count = Count {
            under_way: false,
            ended_at: Some(Instant::now()),
            took: began.elapsed(),
        };
    }
}

/// The metrics as they were last rendered. Rendering takes a millisecond or more, and frequent
/// scrapes must not take it from deliveries.
#[derive(Default)]
pub struct Scrape(Mutex<Option<(Bucket, Bytes)>>);

/// How often they are rendered, a second and at once.
const SCRAPES: f64 = 5.0;

impl Scrape {
    fn text(&self) -> anyhow::Result<Bytes> {
        let now = Instant::now();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((bucket, text)) = &mut *last {
            if bucket.take(now).is_ok() {
                *text = METRICS.render()?.into();
            }
            return Ok(text.clone());
        }
        let text: Bytes = METRICS.render()?.into();
        *last = Some((Bucket::full(SCRAPES, SCRAPES, now), text.clone()));
        Ok(text)
    }
}

/// Metrics in Prometheus' text format
///
/// What waits in the store is counted every few seconds at most, and the more seldom the
/// longer it takes; `walhook_queue_counted_timestamp_seconds` says when it was.
#[utoipa::path(get, path = "/metrics", tag = "Operation", security(()),
    responses((status = 200, description = "The metrics", body = String, content_type = "text/plain; version=0.0.4")))]
pub async fn metrics(
    AxumState(state): AxumState<Arc<State>>,
) -> Result<impl IntoResponse, Problem> {
    if state.caches.queue_count.begin() {
        let counting = tokio::spawn(count_queue(Arc::clone(&state)));
        if tokio::time::timeout(COUNT_TIMEOUT, counting).await.is_err() {
            tracing::warn!("Counting the queue takes long: /metrics shows the last count");
        }
    }
    let problems = state.health.problems();
    for kind in ProblemKind::ALL {
        let count = problems
            .iter()
            .filter(|problem| problem.kind == kind)
            .count();
        let gauge = METRICS.problems.with_label_values(&[kind.as_str()]);
        gauge.set(count as f64);
    }
    if let Some(blind) = state.health.blind_for() {
        METRICS.watch_age_seconds.set(blind.as_secs_f64());
    }
    let text = state.caches.scrape.text()?;
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, content_type)], text))
}

async fn count_queue(state: Arc<State>) {
    let mut began = Instant::now();
    if let Err(error) = read_gauges(&state, &mut began).await {
        tracing::warn!(error = %format!("{error:#}"), "The queue's depth cannot be read");
    }
    state.caches.queue_count.end(began);
}

/// `began`: to be set once there is a connection, as it is the store's work that is limited.
async fn read_gauges(state: &State, began: &mut Instant) -> anyhow::Result<()> {
    let client = state.probed.get().await?;
    *began = Instant::now();
    let queue = Queue::count(&*client).await?;
    for (state, count) in [
        ("pending", queue.pending),
        ("parked", queue.parked),
        ("failed", queue.failed),
    ] {
        let depth = METRICS.queue_depth.with_label_values(&[state]);
        depth.set(count as f64);
    }
    METRICS.pending_retries.set(queue.retries as f64);
    let oldest = queue.oldest_due.unwrap_or_default();
    METRICS.oldest_due_seconds.set(oldest.as_secs_f64());
    let now = jiff::Timestamp::now();
    METRICS.queue_counted.set(now.as_millisecond() as f64 / 1e3);
    let found = problems::read(&*client).await?;
    let mut found = found.problems(Names::InStatus);
    found.extend(queue.overdue());
    found.extend(problems::unreadable(&*client).await?);
    state.health.set_of_store(found);
    Ok(())
}
