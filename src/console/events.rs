//! The list of events: what happened, and how many endpoints got it.

use std::collections::HashMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::State as AxumState;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use uuid::Uuid;

use super::State;
use super::deliveries::{self, NEWER};
use super::fault::Fault;
use super::fields::{self, Asked};
use super::markup::Markup;
use super::shell::{Place, Shell, Visitor, html, page};
use super::wanted::{TIMES, Wanted};
use crate::api::extract;
use crate::conninfo::Transaction;
use crate::db::tenant_transaction;
use crate::delivery::listing::{self, EventId, IdRange};

/// Rows on a page.
const ROWS: i64 = 50;

struct Row {
    id: String,
    event_type: String,
    at: Timestamp,
    /// To how many endpoints, and how many of these have it; none: nobody was to get it.
    sent: Option<(i64, i64)>,
}

impl Row {
    fn received(&self) -> String {
        match self.sent {
            None => "nobody was to get it".to_owned(),
            Some((all, delivered)) if all == delivered => match all {
                1 => "delivered".to_owned(),
                _ => format!("delivered to all {all}"),
            },
            Some((1, _)) => "not delivered".to_owned(),
            Some((all, delivered)) => format!("delivered to {delivered} of {all}"),
        }
    }

    fn class(&self) -> &'static str {
        match self.sent {
            None => "cancelled",
            Some((all, delivered)) if all == delivered => "delivered",
            Some(_) => "pending",
        }
    }
}

#[derive(Template)]
#[template(path = "events.html")]
struct Page {
    shell: Shell,
    wanted: Wanted,
    times: [(&'static str, i64); 4],
    types: Vec<String>,
    rows: Vec<Row>,
    next: Option<String>,
    /// The search stopped here: what is older was not looked at.
    searched_to: Option<Timestamp>,
    is_first: bool,
    /// Asks for what is newer than the first row; none on later pages.
    newer: Option<String>,
    top: String,
    /// The address of the list as a file.
    export: String,
}

impl Page {
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
    Asked(asked): Asked,
) -> Result<Response, Fault> {
    let wanted = Wanted::of(&asked);
    let shell = visitor.shell(Place::Events, "Events");
    let before = extract::cursor(asked.get("cursor"))?.map(|[id]| id);
    let (since, until) = wanted.range(shell.now)?;
    let ids = IdRange::new(since, until, before);
    let mut client = state.api.store.get().await?;
    let transaction = tenant_transaction(&mut client, visitor.tenant()).await?;
    let found = listing::events(&transaction, &wanted.events(), ids, ROWS).await?;
    let next = found.next.map(|id| extract::next_cursor([id]));
    let ids: Vec<Uuid> = found.rows.iter().map(|event| event.id.0).collect();
    let sent = deliveries_of(&transaction, &ids).await?;
    drop(transaction);
    let newest = deliveries::newest(found.rows.first().map(|event| event.id.0), shell.now);
    let rows = found.rows.iter().map(|event| Row {
        id: event.id.to_string(),
        event_type: event.event_type.clone(),
        at: event.occurred_at,
        sent: sent.get(&event.id.0).copied(),
    });
    let top = EventId(newest).to_string();
    let page_of = Page {
        newer: before
            .is_none()
            .then(|| wanted.path_with("/console/events/newer", "top", &top)),
        top,
        rows: rows.collect(),
        types: state.api.event_types.names(),
        times: TIMES,
        next: next.map(|cursor| wanted.path_with("/console/events", "cursor", &cursor)),
        export: wanted.export("/console/events.ndjson"),
        searched_to: found.searched_to,
        is_first: before.is_none(),
        wanted,
        shell,
    };
    page(&page_of)
}

/// How many are newer than the first row of a page: asked for by a page that is looked at.
pub async fn newer(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    Asked(asked): Asked,
) -> Result<Response, Fault> {
    let wanted = Wanted::of(&asked);
    let EventId(top) = extract::parse_id("top", asked.get("top").unwrap_or_default())?;
    let (since, until) = wanted.range(Timestamp::now())?;
    let mut ids = IdRange::new(since, until, None);
    ids.from = ids.from.max(top);
    let mut client = state.api.store.get().await?;
    let transaction = tenant_transaction(&mut client, visitor.tenant()).await?;
    let found = listing::events(&transaction, &wanted.events(), ids, NEWER + 1).await?;
    let count = found.rows.iter().filter(|event| event.id.0 > top).count();
    let count = i64::try_from(count).unwrap_or(NEWER);
    let fields = wanted.fields().into_iter();
    let path = format!("/console/events{}", fields::query(fields));
    Ok(html(StatusCode::OK, deliveries::new(count, NEWER, &path)))
}

/// Of each event how many deliveries there are, and how many of these were delivered.
pub async fn deliveries_of(
    transaction: &Transaction<'_>,
    events: &[Uuid],
) -> Result<HashMap<Uuid, (i64, i64)>, Fault> {
    let bounds = events.iter().min().zip(events.iter().max());
    let Some((first, last)) = bounds else {
        return Ok(HashMap::new());
    };
    let days = IdRange {
        from: *first,
        to: *last,
    };
    let days = days.whole_milliseconds();
    let rows = transaction
        .query(
            include_str!("../../sql/queries/console/count_deliveries.sql"),
            &[&events, &days.from, &days.to],
        )
        .await?;
    let counts = rows.iter().map(|row| {
        let counts = (row.get("deliveries"), row.get("delivered"));
        (row.get("event_id"), counts)
    });
    Ok(counts.collect())
}
