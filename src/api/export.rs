//! `/deliveries.ndjson` and `/events.ndjson`: a list as one answer, a row a line. Each page is read
//! in a transaction of its own and sent after it: a slow client holds no connection to the store.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State as AxumState};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout};
use tracing::warn;
use utoipa::ToSchema;
use uuid::Uuid;

use super::State;
use super::auth::{Check, Credentials, Standing};
use super::deliveries::{Delivery, ListDeliveries};
use super::error::Problem;
use super::events::{Event, ListEvents};
use super::extract::{self, Query, Tenant};
use crate::db::tenant_transaction;
use crate::delivery::listing::{self, DeliverySearch, EventSearch, IdRange, Place, Status};

/// Rows in one export.
const MOST: usize = 100_000;
/// Rows that are read at once.
const PAGE: i64 = 200;
/// A client that does not take a page in this time is left.
const PATIENCE: Duration = Duration::from_secs(30);
/// An export ends after this time, wherever it is.
const LONGEST: Duration = Duration::from_secs(600);

/// The last line of an export. An answer without it was cut off.
#[derive(Serialize, ToSchema)]
pub struct ExportEnd {
    /// Lines before this one.
    rows: usize,
    /// Pass it as `cursor` to go on; null where this was all.
    next_cursor: Option<String>,
    /// Why it ends before the last row: `limit` (100,000 rows), `time` (ten minutes), `token` (it
    /// is not valid any more) or `unavailable` (the store does not answer).
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

/// Export deliveries
///
/// The list as NDJSON: a delivery a line, newest events first, 100,000 at most. The last line is
/// `{"end": …}` and says whether there are more and with which `cursor` to go on; without that
/// line the answer was cut off. A search that finds little sends an empty line now and then. A client
/// that does not take 200 rows within 30 s is left. 429 where the tenant
/// has two exports in progress.
#[utoipa::path(get, path = "/deliveries.ndjson", tag = "Deliveries", params(ListDeliveries),
    responses((status = 200, description = "A delivery a line, and then the end", content_type = "application/x-ndjson", body = String)))]
pub async fn export_deliveries(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    Query(query): Query<ListDeliveries>,
    request: Request,
) -> Result<Response, Problem> {
    let check = Credentials::of(&state, &request)?.check(&state);
    drop(request);
    no_limit(query.limit())?;
    let (search, ids, before) = query.read()?;
    let rows = Rows::Deliveries {
        search,
        ids,
        before,
    };
    export(state, tenant, rows, check).await
}

/// Export events
///
/// The list as NDJSON, without bodies: as `/deliveries.ndjson`.
#[utoipa::path(get, path = "/events.ndjson", tag = "Events", params(ListEvents),
    responses((status = 200, description = "An event a line, and then the end", content_type = "application/x-ndjson", body = String)))]
pub async fn export_events(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    Query(query): Query<ListEvents>,
    request: Request,
) -> Result<Response, Problem> {
    let check = Credentials::of(&state, &request)?.check(&state);
    drop(request);
    no_limit(query.limit())?;
    let (search, ids) = query.read()?;
    export(state, tenant, Rows::Events { search, ids }, check).await
}

fn no_limit(limit: Option<u16>) -> Result<(), Problem> {
    match limit {
        None => Ok(()),
        Some(_) => Err(Problem::invalid(
            "invalid_limit",
            format!("an export takes no `limit`: it ends after {MOST} rows"),
        )),
    }
}

/// What is exported, from where on.
pub enum Rows {
    Deliveries {
        search: DeliverySearch,
        ids: IdRange,
        before: Option<Place>,
    },
    Events {
        search: EventSearch,
        ids: IdRange,
    },
}

struct Page {
    lines: Vec<u8>,
    rows: usize,
    /// None: it was the last.
    next_cursor: Option<String>,
}

impl Rows {
    /// Reads the next page, and goes on after it the next time.
    async fn next(&mut self, state: &State, tenant: &str) -> Result<Page, Problem> {
        let mut client = state.store.get().await?;
        match self {
            Rows::Deliveries {
                search,
                ids,
                before,
            } => {
                let low_water = match search.status {
                    Some(Status::InFlight) => listing::low_water(&client).await?,
                    _ => Uuid::max(),
                };
                let transaction = tenant_transaction(&mut client, tenant).await?;
                let found =
                    listing::deliveries(&transaction, search, *ids, *before, low_water, PAGE)
                        .await?;
                let next = found.next;
                *before = next.or(*before);
                let cursor = next.map(|next| extract::next_cursor([next.event, next.delivery]));
                Page::of(found.rows.into_iter().map(Delivery::from), cursor)
            }
            Rows::Events { search, ids } => {
                let transaction = tenant_transaction(&mut client, tenant).await?;
                let found = listing::events(&transaction, search, *ids, PAGE).await?;
                ids.to = found.next.unwrap_or(ids.to);
                let cursor = found.next.map(|id| extract::next_cursor([id]));
                Page::of(found.rows.iter().map(Event::from), cursor)
            }
        }
    }
}

impl Page {
    fn of<T: Serialize>(
        rows: impl Iterator<Item = T>,
        next_cursor: Option<String>,
    ) -> Result<Self, Problem> {
        let mut page = Page {
            lines: Vec::new(),
            rows: 0,
            next_cursor,
        };
        for row in rows {
            serde_json::to_writer(&mut page.lines, &row).map_err(anyhow::Error::from)?;
            page.lines.push(b'\n');
            page.rows += 1;
        }
        Ok(page)
    }
}

/// Starts an export for a caller that `check` knows.
pub async fn export(
    state: Arc<State>,
    tenant: Arc<str>,
    mut rows: Rows,
    check: Check,
) -> Result<Response, Problem> {
    let place = state.limits.begin_export(&tenant)?;
    // What is wrong at once is a refusal and not half an answer.
    let first = rows.next(&state, &tenant).await?;
    let (lines, sent) = mpsc::channel(1);
    let export = Export {
        running: state.limits.running(&tenant),
        state: Arc::clone(&state),
        tenant,
        check,
        lines,
    };
    let ending = state.hub.ending().clone();
    tokio::spawn(async move {
        let _place = place;
        ending.run_until_cancelled(export.run(first, rows)).await;
    });
    let sent = stream::unfold(sent, |mut sent: mpsc::Receiver<Bytes>| async {
        let lines = sent.recv().await?;
        Some((Ok::<_, Infallible>(lines), sent))
    });
    let mut response = Body::from_stream(sent).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/x-ndjson"),
    );
    Ok(response)
}

struct Export {
    state: Arc<State>,
    tenant: Arc<str>,
    check: Check,
    /// Of the tenant's requests: each page is one of them.
    running: Arc<Semaphore>,
    lines: mpsc::Sender<Bytes>,
}

impl Export {
    /// Sends pages until the last, or the client has left.
    async fn run(self, mut page: Page, mut rows: Rows) {
        let began = Instant::now();
        let mut sent = 0;
        let mut cursor;
        let reason = loop {
            sent += page.rows;
            cursor = page.next_cursor;
            if page.lines.is_empty() && cursor.is_some() {
                // A search that finds little: proxies close what is silent.
                page.lines.push(b'\n');
            }
            if !self.send(page.lines).await {
                return;
            }
            if cursor.is_none() {
                break None;
            }
            if sent >= MOST {
                break Some("limit");
            }
            if began.elapsed() >= LONGEST {
                break Some("time");
            }
            match self.next(&mut rows).await {
                Ok(next) => page = next,
                Err(reason) => break Some(reason),
            }
        };
        let end = ExportEnd {
            rows: sent,
            next_cursor: cursor,
            reason,
        };
        let mut line = json!({ "end": end }).to_string().into_bytes();
        line.push(b'\n');
        self.send(line).await;
    }

    async fn next(&self, rows: &mut Rows) -> Result<Page, &'static str> {
        match (self.check)().await {
            Standing::Admitted => {}
            Standing::Ended => return Err("token"),
            Standing::Unknown => return Err("unavailable"),
        }
        let read = async {
            let _running = self.running.acquire().await;
            rows.next(&self.state, &self.tenant).await
        };
        match timeout(self.state.request_timeout, read).await {
            Ok(Ok(page)) => Ok(page),
            Ok(Err(problem)) => {
                warn!(problem = problem.code(), "An export ended early");
                Err("unavailable")
            }
            Err(_) => Err("unavailable"),
        }
    }

    /// False where the client has left, or takes nothing.
    async fn send(&self, lines: Vec<u8>) -> bool {
        if lines.is_empty() {
            return !self.lines.is_closed();
        }
        let sent = timeout(PATIENCE, self.lines.send(lines.into())).await;
        matches!(sent, Ok(Ok(())))
    }
}
