//! One event: its exact bytes, and who got it, or why not.

use std::collections::HashMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::State as AxumState;
use axum::response::Response;
use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use super::State;
use super::capability::Capability;
use super::delivery::Body;
use super::events;
use super::fault::{Fault, retention_days, spoken};
use super::fields::{self, Asked, Posted};
use super::markup::{Markup, badge, exact_time, state};
use super::shell::{Place, Shell, Visitor, page, see_other};
use super::words::{EndpointName, address};
use crate::api::extract::{self, PathId, parse_id};
use crate::db::tenant_transaction;
use crate::delivery::listing::{self, Delivery, EventId, IdRange, StoredEvent};
use crate::delivery::replay;
use crate::mapping::filter::{Body as EventBody, Filter};
use crate::subscription::directory::type_matches;
use crate::subscription::queries::{self, SubscriptionId};

/// Endpoints on the page of an event.
const ENDPOINTS: i64 = 200;
/// Endpoints that were deleted since.
const DELETED: i64 = 20;
/// Deliveries of the event to one endpoint.
const DELIVERIES: usize = 5;

/// An endpoint beside an event.
struct Verdict {
    endpoint: EndpointName,
    badge: Markup,
    why: String,
    /// The filter that refused it.
    filter: Option<String>,
    /// The newest.
    deliveries: Vec<(String, Markup)>,
    /// There are older ones.
    is_more: bool,
    /// Whether it can be sent there now.
    can_send: bool,
}

#[derive(Template)]
#[template(path = "event.html")]
struct Page {
    shell: Shell,
    id: String,
    event_type: String,
    at: Timestamp,
    exact: Markup,
    sequence: String,
    row_key: String,
    body: Option<Body>,
    verdicts: Vec<Verdict>,
    /// Leads to the endpoints after these.
    next: Option<String>,
    is_first: bool,
    /// How many endpoints have it, of how many that were to get it.
    delivered: i64,
    wanted: i64,
}

/// The page of one event.
pub async fn show(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    id: PathId,
    Asked(asked): Asked,
) -> Result<Response, Fault> {
    let days = retention_days(state.api.settings.retention());
    let not_found = || Fault::not_found("event", &id.0, days);
    let event: EventId = id.0.parse().map_err(|_| not_found())?;
    let before = extract::cursor(asked.get("cursor"))?.map(|[id]| id);
    let mut client = state.api.store.get().await?;
    let transaction = tenant_transaction(&mut client, visitor.tenant()).await?;
    let found = listing::event(&transaction, event).await?;
    let found = found.ok_or_else(not_found)?;
    let row_key = transaction
        .query_one(
            include_str!("../../sql/queries/console/event_row.sql"),
            &[&event.0],
        )
        .await?;
    let audience = transaction
        .query(
            include_str!("../../sql/queries/console/list_audience.sql"),
            &[&event.0, &before.unwrap_or(Uuid::max()), &(ENDPOINTS + 1)],
        )
        .await?;
    let (audience, next) = extract::page(audience, ENDPOINTS, |row| [row.get("id")]);
    let id_range = IdRange::of_event(event);
    let deleted = match before {
        Some(_) => Vec::new(),
        None => {
            let sql = include_str!("../../sql/queries/console/list_deleted_audience.sql");
            let (from, to) = (id_range.from, id_range.to);
            transaction
                .query(sql, &[&event.0, &from, &to, &DELETED])
                .await?
        }
    };
    let ids = audience.iter().chain(&deleted).map(|row| row.get("id"));
    let ids: Vec<Uuid> = ids.collect();
    let limit = i64::try_from(DELIVERIES).unwrap_or(0) + 1;
    let deliveries = listing::of_event_to(&transaction, event, &ids, limit).await?;
    let (wanted, delivered) = events::deliveries_of(&transaction, &[event.0])
        .await?
        .remove(&event.0)
        .unwrap_or_default();
    drop(transaction);
    let shell = visitor.shell(Place::Events, found.event_type.clone());
    let judge = Judge {
        event: &found,
        may_see: visitor.may(Capability::Payloads),
    };
    let verdicts = judge.all(&audience, &deliveries);
    let page_of = Page {
        id: found.id.to_string(),
        event_type: found.event_type.clone(),
        at: found.occurred_at,
        exact: exact_time(found.occurred_at),
        sequence: found.sequence.clone(),
        row_key: row_key.get("row_key"),
        next: next.map(|cursor| {
            let query = fields::query([("cursor", cursor.as_str())]);
            format!("/console/events/{}{query}", found.id)
        }),
        is_first: before.is_none(),
        wanted,
        delivered,
        body: found
            .body
            .filter(|_| visitor.may(Capability::Payloads))
            .map(Body::of),
        verdicts,
        shell,
    };
    page(&page_of)
}

struct Judge<'a> {
    event: &'a StoredEvent,
    may_see: bool,
}

impl Judge<'_> {
    /// Those that were to get it first, then the others, newest first.
    fn all(&self, audience: &[Row], deliveries: &[Delivery]) -> Vec<Verdict> {
        let mut by_endpoint: HashMap<Uuid, Vec<&Delivery>> = HashMap::new();
        for delivery in deliveries {
            let of = by_endpoint.entry(delivery.subscription_id.0).or_default();
            of.push(delivery);
        }
        let mut verdicts: Vec<Verdict> = audience
            .iter()
            .map(|row| {
                let id: Uuid = row.get("id");
                let deliveries = by_endpoint.remove(&id).unwrap_or_default();
                self.verdict(row, &deliveries)
            })
            .collect();
        let deleted = by_endpoint.into_iter().map(|(id, deliveries)| Verdict {
            endpoint: EndpointName {
                id: SubscriptionId(id).to_string(),
                address: "deleted endpoint".to_owned(),
                description: None,
                is_deleted: true,
            },
            badge: deliveries
                .first()
                .map(|one| state(one.status))
                .unwrap_or_default(),
            why: "The endpoint was deleted since.".to_owned(),
            filter: None,
            deliveries: shown(&deliveries),
            is_more: deliveries.len() > DELIVERIES,
            can_send: false,
        });
        verdicts.extend(deleted);
        verdicts.sort_by_key(|one| one.deliveries.is_empty());
        verdicts
    }

    fn verdict(&self, row: &Row, deliveries: &[&Delivery]) -> Verdict {
        let endpoint = EndpointName {
            id: SubscriptionId(row.get("id")).to_string(),
            address: address(row.get("url")),
            description: row.get("description"),
            is_deleted: false,
        };
        let active: bool = row.get("active");
        let (badge, why, filter) = match deliveries.first() {
            Some(newest) => (state(newest.status), of_delivery(newest), None),
            None => self.refusal(row, active),
        };
        Verdict {
            endpoint,
            badge,
            why,
            filter,
            deliveries: shown(deliveries),
            is_more: deliveries.len() > DELIVERIES,
            can_send: active,
        }
    }

    /// Why there is no delivery of it, as far as can be told from how the endpoint is now.
    fn refusal(&self, row: &Row, active: bool) -> (Markup, String, Option<String>) {
        let not_sent = |word| badge("cancelled", "–", word);
        let events: Vec<Option<String>> = row.get("events");
        let events: Vec<String> = events.into_iter().flatten().collect();
        let event_type = &self.event.event_type;
        if self.event.is_test {
            let why = "It is a test of another endpoint.".to_owned();
            return (not_sent("test of another"), why, None);
        }
        if !events
            .iter()
            .any(|pattern| type_matches(pattern, event_type))
        {
            let why = format!("It asks for {}.", events.join(", "));
            return (not_sent("not subscribed to this type"), why, None);
        }
        if row.get("begins_later") {
            let created: Timestamp = row.get("created_at");
            let why = format!("It was created at {}, after the event.", spoken(created));
            return (not_sent("created later"), why, None);
        }
        let filter: Option<String> = row.get("filter");
        if let Some(refusal) = filter.and_then(|filter| self.filtered(filter)) {
            return refusal;
        }
        if !active || row.get("after_disabling") {
            let disabled: Option<Timestamp> = row.get("disabled_at");
            let why = match disabled {
                Some(at) => format!("It is disabled since {}.", spoken(at)),
                None => "It was disabled when the event came.".to_owned(),
            };
            return (not_sent("disabled at the time"), why, None);
        }
        let why = "No delivery was made: when it came, the endpoint was disabled, or its types or \
            its filter were others."
            .to_owned();
        (not_sent("not sent"), why, None)
    }
}

impl Judge<'_> {
    /// Why a filter does not admit the event; none where it does.
    fn filtered(&self, filter: String) -> Option<(Markup, String, Option<String>)> {
        let not_sent = |word| badge("cancelled", "–", word);
        let failed = |error: String| {
            let error = match self.may_see {
                true => error,
                false => "a value is of another kind than the filter expects".to_owned(),
            };
            let why = format!("Its filter cannot be evaluated on this event: {error}.");
            Some((not_sent("filter failed"), why, Some(filter.clone())))
        };
        let compiled = match Filter::compile(&filter) {
            Ok(compiled) => compiled,
            Err(error) => return failed(error.to_string()),
        };
        let body = match EventBody::parse(self.event.body.as_deref().unwrap_or_default()) {
            Ok(body) => body,
            Err(error) => return failed(error.to_string()),
        };
        match compiled.matches_body(&body) {
            Ok(true) => None,
            Ok(false) => {
                let refusal = compiled.refusal(&body);
                let values = refusal.values.iter().map(|one| match &one.value {
                    Some(value) => format!("{} was {}", one.expression, value.get()),
                    None => format!("{} was not there", one.expression),
                });
                let values = values.collect::<Vec<_>>().join(", ");
                let why = match (self.may_see, values.as_str()) {
                    (true, values) if !values.is_empty() => {
                        format!("Its filter does not hold: {values}. It asks for")
                    }
                    _ => "Its filter does not hold for this event. It asks for".to_owned(),
                };
                Some((not_sent("filter refused"), why, Some(refusal.clause)))
            }
            Err(error) => failed(error.to_string()),
        }
    }
}

fn of_delivery(delivery: &Delivery) -> String {
    let attempts = match delivery.attempts {
        0 => "Not attempted yet.".to_owned(),
        1 => "After 1 attempt.".to_owned(),
        many => format!("After {many} attempts."),
    };
    match &delivery.last_error {
        Some(error) => format!("{attempts} Last: {error}."),
        None => attempts,
    }
}

fn shown(deliveries: &[&Delivery]) -> Vec<(String, Markup)> {
    let each = deliveries.iter().take(DELIVERIES);
    each.map(|one| (one.id.to_string(), state(one.status)))
        .collect()
}

/// Sends the event to one endpoint now, whatever that asks for.
pub async fn send(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    id: PathId,
    Posted(form): Posted,
) -> Result<Response, Fault> {
    let days = retention_days(state.api.settings.retention());
    let not_found = || Fault::not_found("event", &id.0, days);
    let event: EventId = id.0.parse().map_err(|_| not_found())?;
    let endpoint: SubscriptionId = parse_id("endpoint", form.get("endpoint").unwrap_or_default())?;
    let mut client = state.api.store.get().await?;
    let transaction = tenant_transaction(&mut client, visitor.tenant()).await?;
    let found = queries::get(&transaction, endpoint).await?;
    drop(transaction);
    drop(client);
    let found = found.ok_or_else(|| Fault::not_found("endpoint", &endpoint.to_string(), days))?;
    if !found.active {
        let status = axum::http::StatusCode::CONFLICT;
        let detail = "The endpoint is disabled: enable it first.";
        return Err(
            Fault::new(status, "subscription_disabled", "Not sent", detail)
                .with_next(format!("/console/endpoints/{endpoint}"), "The endpoint"),
        );
    }
    let sent = replay::send_event(
        &state.api.store,
        visitor.tenant(),
        &found,
        event,
        &visitor.caller,
    )
    .await?;
    let delivery = sent.ok_or_else(not_found)?;
    state.api.schedule_changed.notify_one();
    Ok(see_other(&format!(
        "/console/deliveries/{delivery}?done=send"
    )))
}
