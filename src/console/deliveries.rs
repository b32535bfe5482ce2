//! The list of deliveries: what was sent where, and what became of it.

use std::collections::HashMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::State as AxumState;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::State;
use super::fault::Fault;
use super::fields::{self, Asked};
use super::markup::{self, Markup, STATES, last_answer, state};
use super::shell::{Place, Shell, Visitor, html, page};
use super::wanted::{Chip, TIMES, Wanted};
use super::words::{EndpointName, Endpoints};
use crate::api::error::Problem;
use crate::api::extract;
use crate::api::stream;
use crate::conninfo::Transaction;
use crate::db::tenant_transaction;
use crate::delivery::listing::{self, Delivery, IdRange, Place as ListPlace, Status};
use crate::event::{EventId, id_floor, milliseconds};

/// Rows on a page: a screen or two.
const ROWS: i64 = 50;
/// How far the number beside a state counts.
const COUNTED: i64 = 1000;
/// How late an event may come into the list after its commit.
const LATE: SignedDuration = SignedDuration::from_mins(10);
/// How many newer ones are counted.
pub const NEWER: i64 = 100;

/// A state to choose, with how many there are.
struct Choice {
    word: &'static str,
    path: String,
    chosen: bool,
    count: Option<String>,
}

struct Row {
    id: String,
    mark: String,
    state: Markup,
    event_type: String,
    endpoint: EndpointName,
    attempts: i32,
    answer: String,
    at: Timestamp,
    /// Sent again by a replay.
    replayed: bool,
}

impl Row {
    fn of(delivery: &Delivery, endpoints: &Endpoints) -> Self {
        Row {
            id: delivery.id.to_string(),
            mark: markup::mark(delivery),
            state: state(delivery.status),
            event_type: delivery.event_type.clone(),
            endpoint: endpoints.name(delivery.subscription_id),
            attempts: delivery.attempts,
            answer: last_answer(delivery),
            at: committed(delivery.event_id.0),
            replayed: delivery.replay_id.is_some(),
        }
    }
}

/// When an event was committed, by its id.
pub fn committed(event: Uuid) -> Timestamp {
    let milliseconds = i64::try_from(crate::event::id_milliseconds(event)).unwrap_or(0);
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[derive(Template)]
#[template(path = "deliveries.html")]
struct Page {
    shell: Shell,
    wanted: Wanted,
    choices: Vec<Choice>,
    chips: Vec<Chip>,
    times: [(&'static str, i64); 4],
    types: Vec<String>,
    endpoints: Vec<EndpointName>,
    rows: Vec<Row>,
    next: Option<String>,
    /// The search stopped here: what is older was not looked at.
    searched_to: Option<Timestamp>,
    /// Of a later page.
    is_first: bool,
    /// Asks for what is newer than the first row, or than what was looked at.
    newer: String,
    top: String,
    /// The address of the list as a file.
    export: String,
    /// None where a job cannot be of all that is listed by.
    recover: Option<String>,
}

impl Page {
    fn is_endpoint(&self, name: &EndpointName) -> bool {
        self.wanted.endpoint.as_deref() == Some(&name.id)
    }

    fn is_type(&self, name: &str) -> bool {
        self.wanted.event_type.as_deref() == Some(name)
    }

    fn is_time(&self, name: &str) -> bool {
        self.wanted.within.as_deref() == Some(name)
    }

    fn time(&self, at: &Timestamp) -> Markup {
        self.shell.time(at)
    }
}

/// The list, newest first.
pub async fn show(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    Asked(fields): Asked,
) -> Result<Response, Fault> {
    let wanted = Wanted::of(&fields);
    let shell = visitor.shell(Place::Deliveries, "Deliveries");
    let before = extract::cursor(fields.get("cursor"))?;
    let before = before.map(|[event, delivery]| ListPlace { event, delivery });
    let mut client = state.api.store.get().await?;
    let low_water = listing::low_water(&client).await?;
    let transaction = tenant_transaction(&mut client, visitor.tenant()).await?;
    let search = wanted.search()?;
    let (since, until) = wanted.range(shell.now)?;
    let ids = IdRange::new(since, until, None);
    let found = listing::deliveries(&transaction, &search, ids, before, low_water, ROWS).await?;
    let endpoints = Endpoints::read(&transaction).await?;
    let counts = waiting(&transaction, COUNTED).await?;
    drop(transaction);
    let rows = found.rows;
    let next = found.next.map(|next| [next.event, next.delivery]);
    let newest = newest(rows.first().map(|row| row.event_id.0), shell.now);
    let choices = [None]
        .into_iter()
        .chain(STATES.map(Some))
        .map(|one| Choice {
            word: one.map_or("all", markup::word),
            path: wanted.with_status(one).path(),
            chosen: one.map(Status::as_str) == wanted.status.as_deref(),
            count: one
                .and_then(|status| counts.get(status.as_str()))
                .map(|count| capped(*count, COUNTED)),
        });
    let page_of = Page {
        choices: choices.collect(),
        chips: wanted.chips(&endpoints),
        times: TIMES,
        types: state.api.event_types.names(),
        rows: rows.iter().map(|row| Row::of(row, &endpoints)).collect(),
        endpoints: endpoints.names(),
        next: next
            .map(extract::next_cursor)
            .map(|cursor| wanted.path_with("/console/deliveries", "cursor", &cursor)),
        searched_to: found.searched_to,
        is_first: before.is_none(),
        newer: wanted.path_with("/console/deliveries/newer", "top", &newest.to_string()),
        top: EventId(newest).to_string(),
        export: wanted.export("/console/deliveries.ndjson"),
        recover: recover(&wanted),
        wanted,
        shell,
    };
    page(&page_of)
}

/// The first row's event of a page that was made now, or what it has looked at: whatever was
/// committed long before.
pub fn newest(first: Option<Uuid>, now: Timestamp) -> Uuid {
    let looked_at = now.checked_sub(LATE).unwrap_or(now);
    let looked_at = id_floor(milliseconds(looked_at));
    first.map_or(looked_at, |first| first.max(looked_at))
}

/// Leads to sending all of it again, where a job can be of that.
fn recover(wanted: &Wanted) -> Option<String> {
    let is_pattern = wanted
        .event_type
        .as_ref()
        .is_some_and(|one| one.ends_with('*'));
    let is_narrower = wanted.http.is_some() || wanted.error.is_some() || wanted.row.is_some();
    if is_pattern || is_narrower {
        return None;
    }
    let asked = wanted.fields().into_iter();
    let query = fields::query(asked.filter(|(name, _)| *name != "status"));
    Some(format!("/console/recover{query}"))
}

/// How many deliveries wait in each state, up to a limit.
pub async fn waiting(
    transaction: &Transaction<'_>,
    limit: i64,
) -> Result<HashMap<&'static str, i64>, Fault> {
    let rows = transaction
        .query(
            include_str!("../../sql/queries/console/count_waiting.sql"),
            &[&(limit + 1)],
        )
        .await?;
    let mut counts = HashMap::new();
    for row in rows {
        let state = match row.get::<_, &str>("status") {
            "failed" => Status::Failed,
            "parked" => Status::Parked,
            _ => Status::Pending,
        };
        *counts.entry(state.as_str()).or_default() += row.get::<_, i64>("deliveries");
    }
    Ok(counts)
}

/// `12`, or `1 000+`.
pub fn capped(count: i64, limit: i64) -> String {
    match count > limit {
        true => format!("{}+", markup::count(limit)),
        false => markup::count(count),
    }
}

#[derive(Template)]
#[template(path = "delivery_rows.html")]
struct Rows {
    shell: Shell,
    rows: Vec<Row>,
}

impl Rows {
    fn time(&self, at: &Timestamp) -> Markup {
        self.shell.time(at)
    }
}

/// Rows of the list as they are now: asked for by a page that hears that they have changed.
pub async fn rows(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    Asked(fields): Asked,
) -> Result<Response, Fault> {
    let ids = stream::named(fields.get("ids").unwrap_or_default())?;
    let mut client = state.api.store.get().await?;
    let transaction = tenant_transaction(&mut client, visitor.tenant()).await?;
    let found = listing::deliveries_of(&transaction, &ids).await?;
    let endpoints = Endpoints::read(&transaction).await?;
    page(&Rows {
        rows: found.iter().map(|row| Row::of(row, &endpoints)).collect(),
        shell: visitor.shell(Place::Deliveries, "Deliveries"),
    })
}

/// How many are newer than the first row of a page: asked for by a page that is looked at.
pub async fn newer(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    Asked(fields): Asked,
) -> Result<Response, Fault> {
    let wanted = Wanted::of(&fields);
    let top = fields.get("top").and_then(|top| Uuid::try_parse(top).ok());
    let top = top.ok_or_else(|| Problem::invalid("invalid_query", "`top` is an id"))?;
    let search = wanted.search()?;
    let (since, until) = wanted.range(Timestamp::now())?;
    let ids = IdRange::new(since, until, None);
    let mut client = state.api.store.get().await?;
    let low_water = listing::low_water(&client).await?;
    let transaction = tenant_transaction(&mut client, visitor.tenant()).await?;
    let count = listing::newer(&transaction, &search, ids, top, low_water, NEWER).await?;
    Ok(html(StatusCode::OK, new(count, NEWER, &wanted.path())))
}

/// A link to what is new, up to a limit; nothing where nothing is.
pub fn new(count: i64, limit: i64, path: &str) -> String {
    match count {
        0 => String::new(),
        _ => format!(
            "<a class=\"newer\" data-new href=\"{}\">{} new · show</a>",
            markup::escape(path),
            capped(count, limit)
        ),
    }
}
