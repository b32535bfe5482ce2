//! What operators and orchestrators ask, at the root: `/healthz`, `/readyz`, `/metrics`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State as AxumState;
use axum::http::header;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use super::State;
use super::error::Problem;
use crate::db::Store;
use crate::lsn::Lsn;
use crate::metrics::METRICS;

/// How the process stands, as its tasks say and `/readyz` shows.
pub struct Health {
    capture: Mutex<CaptureState>,
    rules: Mutex<RulesState>,
    gaps: Mutex<Vec<OpenGap>>,
}

/// A gap in the log that nobody has accepted yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenGap {
    pub kind: String,
    /// `schema.table` where it is one table's.
    pub table: Option<String>,
    pub from_lsn: Lsn,
    /// Where capture went on; `None`: it has not, or the table is still missing.
    pub to_lsn: Option<Lsn>,
    pub reason: String,
}

impl OpenGap {
    /// For `/readyz`: what, from where to where, and the way out.
    fn describe(&self) -> String {
        let OpenGap {
            kind,
            from_lsn,
            reason,
            ..
        } = self;
        let to = match self.to_lsn {
            Some(to) => format!("to {to}, behind which capture went on"),
            None => "on".to_owned(),
        };
        format!(
            "gap `{kind}` in the log from {from_lsn} {to}: {reason}; `walhook setup --accept-gap` says what to backfill, and closes it"
        )
    }
}

/// How this process stands to the replication slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaptureState {
    /// The role `capture` runs elsewhere.
    NotRunHere,
    Starting,
    /// Another process holds the slot; this one takes over when that one ends.
    Standby,
    /// This process holds the slot and reads from it.
    Leading,
    /// Why nothing is captured.
    Failing(String),
}

/// Whether the rules make events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RulesState {
    /// They are not compared with the tables yet.
    NotRead,
    /// Some wait for the old values of these tables.
    Seeding(Vec<String>),
    Active,
}

impl Health {
    /// `capture`: whether this process runs that role. Without it no rule need be active.
    pub fn new(capture: bool) -> Self {
        Health {
            capture: Mutex::new(match capture {
                true => CaptureState::Starting,
                false => CaptureState::NotRunHere,
            }),
            rules: Mutex::new(match capture {
                true => RulesState::NotRead,
                false => RulesState::Active,
            }),
            gaps: Mutex::default(),
        }
    }

    pub fn set_capture(&self, state: CaptureState) {
        *self.capture.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    pub fn capture(&self) -> CaptureState {
        let state = self.capture.lock().unwrap_or_else(PoisonError::into_inner);
        state.clone()
    }

    pub fn set_rules(&self, state: RulesState) {
        *self.rules.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    pub fn rules(&self) -> RulesState {
        let state = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        state.clone()
    }

    /// The gaps that nobody has accepted yet.
    pub fn set_gaps(&self, gaps: Vec<OpenGap>) {
        *self.gaps.lock().unwrap_or_else(PoisonError::into_inner) = gaps;
    }

    pub fn gaps(&self) -> Vec<OpenGap> {
        let gaps = self.gaps.lock().unwrap_or_else(PoisonError::into_inner);
        gaps.clone()
    }
}

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
    /// `held`, `stand-by` or `not run here`
    slot: &'static str,
    /// `active`
    rules: &'static str,
}

/// A probe that hangs is worse than one that fails.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// Does it do its work?
///
/// The slot is held (or another process holds it), the store answers, every rule is
/// active, and no gap in the log waits for somebody to accept it.
#[utoipa::path(get, path = "/readyz", tag = "Operation", security(()),
    responses((status = 200, description = "It does", body = Ready),
        (status = 503, description = "It does not; the detail says why", body = Problem, content_type = "application/problem+json")))]
pub async fn readyz(AxumState(state): AxumState<Arc<State>>) -> Result<Json<Ready>, Problem> {
    let mut reasons = Vec::new();
    let ping = tokio::time::timeout(PING_TIMEOUT, ping(&state.store)).await;
    if !matches!(ping, Ok(Ok(()))) {
        reasons.push("the store does not answer".to_owned());
    }
    let capture = state.health.capture();
    let slot = match &capture {
        CaptureState::NotRunHere => "not run here",
        CaptureState::Standby => "stand-by",
        CaptureState::Leading => "held",
        CaptureState::Starting => {
            reasons.push("the replication stream has not started yet".to_owned());
            "starting"
        }
        CaptureState::Failing(reason) => {
            reasons.push(reason.clone());
            "failing"
        }
    };
    for gap in state.health.gaps() {
        let said = gap.to_lsn.is_none() && reasons.iter().any(|said| said.contains(&gap.reason));
        if !said {
            reasons.push(gap.describe());
        }
    }
    // The process that holds the slot activates the rules.
    if capture != CaptureState::Standby {
        match state.health.rules() {
            RulesState::Active => {}
            RulesState::NotRead => reasons.push("some rules are not active yet".to_owned()),
            RulesState::Seeding(tables) => reasons.push(format!(
                "seeding the old values of {}, which rules wait for: some are not active yet",
                tables.join(", ")
            )),
        }
    }
    if !reasons.is_empty() {
        return Err(Problem::unavailable("not_ready", reasons.join("; ")));
    }
    Ok(Json(Ready {
        status: "ready",
        store: "ok",
        slot,
        rules: "active",
    }))
}

async fn ping(store: &Store) -> anyhow::Result<()> {
    let client = store.get().await?;
    client
        .query_one(include_str!("../../sql/queries/ping_store.sql"), &[])
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
        let counting = tokio::spawn(count_queue(state));
        if tokio::time::timeout(COUNT_TIMEOUT, counting).await.is_err() {
            tracing::warn!("Counting the queue takes long: /metrics shows the last count");
        }
    }
    let text = METRICS.render().map_err(anyhow::Error::from)?;
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, content_type)], text))
}

async fn count_queue(state: Arc<State>) {
    let began = Instant::now();
    if let Err(error) = read_gauges(&state.store).await {
        tracing::warn!(error = %format!("{error:#}"), "The queue's depth cannot be read");
    }
    state.caches.queue_count.end(began);
}

async fn read_gauges(store: &Store) -> anyhow::Result<()> {
    let client = store.get().await?;
    let row = client
        .query_one(include_str!("../../sql/queries/queue_depth.sql"), &[])
        .await?;
    for state in ["retrying", "parked", "failed"] {
        let depth = METRICS.queue_depth.with_label_values(&[state]);
        depth.set(row.get(state));
    }
    METRICS.oldest_due_seconds.set(row.get("oldest"));
    let now = jiff::Timestamp::now();
    METRICS.queue_counted.set(now.as_millisecond() as f64 / 1e3);
    Ok(())
}
