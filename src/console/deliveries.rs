//! The list of deliveries: what was sent where, and what became of it.

use std::collections::HashMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::State as AxumState;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
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
use crate::conninfo::Transaction;
use crate::db::tenant_transaction;
use crate::delivery::listing::{self, Delivery, Found, IdRange, Place as ListPlace, Status};

/// Rows on a page: a screen or two.
const ROWS: i64 = 50;
/// How far the number beside a state counts.
const COUNTED: i64 = 1000;
/// How many newer ones are counted.
const NEWER: i64 = 50;

/// A state to choose, with how many there are.
struct Choice {
    word: &'static str,
    path: String,
    chosen: bool,
    count: Option<String>,
}

struct Row {
    id: String,
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
    /// Asks for what is newer than the first row.
    newer: String,
    recover: String,
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
    let found = read(&transaction, &wanted, shell.now, before, low_water, ROWS).await?;
    let endpoints = Endpoints::read(&transaction).await?;
    let counts = waiting(&transaction, COUNTED).await?;
    drop(transaction);
    let rows = found.rows;
    let next = found.next.map(|next| [next.event, next.delivery]);
    let newest = rows.first().map_or(Uuid::nil(), |row| row.event_id.0);
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
        recover: format!(
            "/console/recover{}",
            fields::query(
                wanted
                    .fields()
                    .into_iter()
                    .filter(|(name, _)| *name != "status")
            )
        ),
        wanted,
        shell,
    };
    page(&page_of)
}

async fn read(
    transaction: &Transaction<'_>,
    wanted: &Wanted,
    now: Timestamp,
    before: Option<ListPlace>,
    low_water: Uuid,
    limit: i64,
) -> Result<Found<Delivery, ListPlace>, Fault> {
    let search = wanted.search()?;
    let (since, until) = wanted.range(now)?;
    let ids = IdRange::new(since, until, None);
    Ok(listing::deliveries(transaction, &search, ids, before, low_water, limit).await?)
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

/// How many are newer than the first row of a page: asked for by a page that is looked at.
pub async fn newer(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    Asked(fields): Asked,
) -> Result<Response, Fault> {
    let wanted = Wanted::of(&fields);
    let top = fields.get("top").and_then(|top| Uuid::try_parse(top).ok());
    let top = top.ok_or_else(|| Problem::invalid("invalid_query", "`top` is an id"))?;
    let mut client = state.api.store.get().await?;
    let low_water = listing::low_water(&client).await?;
    let transaction = tenant_transaction(&mut client, visitor.tenant()).await?;
    let now = Timestamp::now();
    let found = read(&transaction, &wanted, now, None, low_water, NEWER + 1).await?;
    let count = found.rows.iter().filter(|row| row.event_id.0 > top).count();
    let count = i64::try_from(count).unwrap_or(0);
    let text = match count {
        0 => String::new(),
        _ => format!(
            "<a class=\"newer\" href=\"{}\">{} new · show</a>",
            markup::escape(&wanted.path()),
            capped(count, NEWER)
        ),
    };
    Ok(html(StatusCode::OK, text))
}
