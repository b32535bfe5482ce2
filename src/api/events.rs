//! `/events` and `/event-types`: what happened, whether anybody subscribed or not.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as AxumState;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::State;
use super::deliveries::{Delivery, text};
use super::error::Problem;
use super::extract::{self, PathId, Query, Tenant};
use crate::db::tenant_transaction;
use crate::delivery::listing::{self, EventSearch, IdRange, StoredEvent};

/// Deliveries shown with their event at once: it may have many subscriptions, and each replays.
const DELIVERIES_OF_EVENT: i64 = 200;

#[derive(Serialize, ToSchema)]
pub struct Event {
    /// Also the `webhook-id` that is sent.
    #[schema(examples("evt_019aa8f1-7c00-7000-8000-000000000000"))]
    id: String,
    #[serde(rename = "type")]
    #[schema(examples("payment.received"))]
    event_type: String,
    /// When the change was committed.
    timestamp: Timestamp,
    /// Sorts as text in the order of the commits.
    #[schema(examples("00000000016B3748-0000000003"))]
    sequence: String,
    /// Table and key of the row that changed; empty where it has no key.
    #[schema(examples("public.payments:4711"))]
    row_key: String,
    /// It was made to test an endpoint: nothing of the kind happened.
    test: bool,
}

impl From<&StoredEvent> for Event {
    fn from(row: &StoredEvent) -> Self {
        Event {
            id: row.id.to_string(),
            event_type: row.event_type.clone(),
            timestamp: row.occurred_at,
            sequence: row.sequence.clone(),
            row_key: row.row_key.clone(),
            test: row.is_test,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct EventWithBody {
    #[serde(flatten)]
    event: Event,
    /// Exactly what is signed and sent.
    body: String,
    /// What became of it: 200 deliveries at most, in no order of time.
    deliveries: Vec<Delivery>,
    /// Pass it as `deliveries_cursor` for the next of them; null where these are the last.
    deliveries_next_cursor: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct GetEvent {
    /// The `deliveries_next_cursor` of the answer before.
    deliveries_cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct EventPage {
    data: Vec<Event>,
    /// Pass it as `cursor` for the next page; null on the last.
    next_cursor: Option<String>,
    /// The search stopped here, as it had looked at many that did not match: all events since
    /// then were looked at, and `next_cursor` goes on. Absent where the page is whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    searched_to: Option<Timestamp>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListEvents {
    /// The event's type, or `prefix.*`.
    #[serde(rename = "type", alias = "event")]
    event_type: Option<String>,
    /// The key of the row that changed, such as `4711`, or `public.payments:4711` with its table.
    row_key: Option<String>,
    /// Committed at or after this time (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Committed before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// 1 to 200; 50 if absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
}

impl ListEvents {
    pub fn limit(&self) -> Option<u16> {
        self.limit
    }

    /// What is looked for, and where.
    pub fn read(self) -> Result<(EventSearch, IdRange), Problem> {
        let before = extract::cursor(self.cursor.as_deref())?;
        let ids = IdRange::new(self.since, self.until, before.map(|[id]| id));
        let search = EventSearch {
            types: self.event_type.into_iter().collect(),
            row: self.row_key,
        };
        Ok((search, ids))
    }
}

/// List events, newest first
#[utoipa::path(get, path = "/events", tag = "Events", params(ListEvents),
    responses((status = 200, description = "A page of them", body = EventPage)))]
pub async fn list_events(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    Query(query): Query<ListEvents>,
) -> Result<Json<EventPage>, Problem> {
    let limit = extract::limit(query.limit)?;
    let (search, ids) = query.read()?;
    let mut client = state.store.get().await?;
    let transaction = tenant_transaction(&mut client, &tenant).await?;
    let found = listing::events(&transaction, &search, ids, limit).await?;
    Ok(Json(EventPage {
        data: found.rows.iter().map(Event::from).collect(),
        next_cursor: found.next.map(|id| extract::next_cursor([id])),
        searched_to: found.searched_to,
    }))
}

/// Read an event, with its body and its deliveries
#[utoipa::path(get, path = "/events/{id}", tag = "Events",
    params(("id" = String, Path, description = "`evt_…`"), GetEvent),
    responses((status = 200, description = "The event", body = EventWithBody)))]
pub async fn get_event(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    id: PathId,
    Query(query): Query<GetEvent>,
) -> Result<Json<EventWithBody>, Problem> {
    let before = extract::cursor(query.deliveries_cursor.as_deref())?;
    let before = before.map_or(Uuid::max(), |[delivery]| delivery);
    let event = id.parse("event")?;
    let mut client = state.store.get().await?;
    let transaction = tenant_transaction(&mut client, &tenant).await?;
    let found = listing::event(&transaction, event).await?;
    let found = found.ok_or_else(|| Problem::not_found("event", &id.0))?;
    let limit = DELIVERIES_OF_EVENT;
    let deliveries = listing::of_event(&transaction, event, before, limit + 1).await?;
    let (deliveries, next) = extract::page(deliveries, limit, |row| [row.id.0]);
    Ok(Json(EventWithBody {
        event: Event::from(&found),
        body: found.body.map(text).unwrap_or_default(),
        deliveries: deliveries.into_iter().map(Delivery::from).collect(),
        deliveries_next_cursor: next,
    }))
}

#[derive(Serialize, ToSchema)]
pub struct EventType {
    #[schema(examples("payment.received"))]
    name: String,
    /// What it means, where its rule says so.
    description: Option<String>,
    /// The members of its `data`; null where that is the whole row.
    members: Option<Vec<String>>,
    /// A `data` such as it has, where its rule has an example.
    #[schema(value_type = Option<Object>)]
    example: Option<Value>,
    /// About deliveries themselves: no rule makes it, and filters are not asked.
    system: bool,
}

#[derive(Serialize, ToSchema)]
pub struct EventTypes {
    data: Vec<EventType>,
    /// Always null: one page holds them all.
    #[schema(value_type = Option<String>)]
    next_cursor: Option<()>,
}

/// List the event types that can be subscribed to
#[utoipa::path(get, path = "/event-types", tag = "Events",
    responses((status = 200, description = "All of them, sorted", body = EventTypes)))]
pub async fn list_event_types(
    AxumState(state): AxumState<Arc<State>>,
    _tenant: Tenant,
) -> Json<EventTypes> {
    Json(EventTypes {
        data: state
            .event_types
            .all()
            .iter()
            .map(|one| EventType {
                name: one.name.clone(),
                description: one.description.clone(),
                members: one.data.clone(),
                example: one.example.clone(),
                system: one.is_operational,
            })
            .collect(),
        next_cursor: None,
    })
}
