//! `GET /stream`: what becomes of a tenant's deliveries, events and subscriptions, as server-sent
//! events (HTML, section 9.2) while somebody looks. [`hub`] looks once for all of a tenant; here
//! is what each of them gets of it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State as AxumState};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;
use utoipa::IntoParams;
use uuid::Uuid;

pub mod hub;
mod known;
mod viewer;

use super::State;
use super::auth::{Check, Credentials};
use super::deliveries;
use super::error::Problem;
use super::events;
use super::extract::{self, Query, Tenant};
use crate::audit::Caller;
use crate::event::{DeliveryId, EventId};
use crate::metrics::METRICS;
use crate::subscription::directory::type_matches;
use crate::subscription::queries::SubscriptionId;
use hub::{Change, News};
use viewer::Stream;

/// A message of a stream.
pub type Message = axum::response::sse::Event;

/// Without a message so long, a comment is sent: proxies close what is silent for 60 s.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Messages on their way to the connection.
const AHEAD: usize = 16;
/// Deliveries that one stream may name.
const NAMED: usize = 200;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StreamQuery {
    /// `deliveries`, `events` and `subscriptions`, those that are wanted, with commas between
    /// them; all if absent.
    #[param(example = "deliveries,subscriptions")]
    topics: Option<String>,
    /// Of deliveries and subscriptions: of this one alone.
    subscription_id: Option<String>,
    /// Of deliveries and events: of this type, or `prefix.*`.
    event: Option<String>,
    /// Ids of deliveries with commas between them, 200 at most: each is sent at once, and again
    /// when it changes, however old it is.
    watch: Option<String>,
    /// The id of the last event that is known: what was committed after it is sent first. The
    /// header `Last-Event-ID`, which clients send when they connect again, is instead of it.
    after: Option<String>,
}

/// Which changes somebody wants.
pub struct Wanted {
    pub deliveries: bool,
    pub events: bool,
    pub subscriptions: bool,
    pub subscription: Option<Uuid>,
    pub event_type: Option<String>,
    /// Deliveries that are found wherever they stand in the list.
    pub named: Vec<Uuid>,
    /// What was committed after this event comes first.
    pub after: Option<Uuid>,
}

impl Wanted {
    fn of(query: &StreamQuery, headers: &HeaderMap) -> Result<Self, Problem> {
        let topics = match &query.topics {
            None => vec!["deliveries", "events", "subscriptions"],
            Some(topics) => topics.split(',').collect(),
        };
        let has = |name| topics.contains(&name);
        let wanted = Wanted {
            deliveries: has("deliveries"),
            events: has("events"),
            subscriptions: has("subscriptions"),
            subscription: deliveries::subscription(query.subscription_id.as_deref())?,
            event_type: query.event.clone(),
            named: named(query.watch.as_deref().unwrap_or_default())?,
            after: after(query.after.as_deref(), headers)?,
        };
        let known = [wanted.deliveries, wanted.events, wanted.subscriptions];
        if known.into_iter().filter(|known| *known).count() != topics.len() {
            return Err(Problem::invalid(
                "invalid_topics",
                "`topics` are deliveries, events and subscriptions, each once, with commas \
                 between them",
            ));
        }
        Ok(wanted)
    }

    /// Whether it is one of those that are wanted.
    pub fn admits(&self, change: &Change) -> bool {
        let of = |id: Uuid| self.subscription.is_none_or(|wanted| wanted == id);
        let typed = |name: &str| {
            let pattern = self.event_type.as_deref();
            pattern.is_none_or(|pattern| type_matches(pattern, name))
        };
        match change {
            Change::Delivery { delivery, news } => {
                self.named.contains(&delivery.id.0)
                    || self.deliveries
                        && *news != News::IsNamed
                        && of(delivery.subscription_id.0)
                        && typed(&delivery.event_type)
            }
            Change::Event(event) => self.events && typed(&event.event_type),
            Change::Subscription(id) => self.subscriptions && of(*id),
            Change::Missed => self.deliveries || self.events,
        }
    }
}

/// The ids of `watch`.
pub fn named(text: &str) -> Result<Vec<Uuid>, Problem> {
    let ids = text.split(',').filter(|id| !id.is_empty());
    let ids = ids.map(|id| extract::parse_id("watch", id).map(|DeliveryId(id)| id));
    let ids: Vec<Uuid> = ids.collect::<Result<_, _>>()?;
    if ids.len() > NAMED {
        return Err(Problem::invalid(
            "invalid_query",
            format!("`watch` names {} deliveries: {NAMED} at most", ids.len()),
        ));
    }
    Ok(ids)
}

/// The last event that a client knows. One that connects again says so by itself.
pub fn after(query: Option<&str>, headers: &HeaderMap) -> Result<Option<Uuid>, Problem> {
    let last = headers.get("last-event-id");
    let last = last.and_then(|value| value.to_str().ok());
    let last = last.filter(|id| !id.is_empty()).or(query);
    let parse = |id| extract::parse_id("after", id).map(|EventId(id)| id);
    last.map(parse).transpose()
}

/// Follow what happens
///
/// Server-sent events. `delivery`: a delivery as it is now, when it is new and whenever it
/// changes. `event`: a new event, without its body. `subscription`: the id of a subscription whose
/// settings or state have changed, or that is deleted. `missed`: more happened than is sent here
/// (the newest 200 of a second): list them. `live`: from now on all is sent; first of all, and
/// again after each `stopped`, which says that the store does not answer. `end`: the token is not
/// valid any more.
///
/// It is looked once a second at the newest 200 deliveries and events of the last ten minutes, at
/// those of them that have not ended, and at the deliveries that `watch` names. What a replay makes
/// of older events, and what becomes of older deliveries, is sent where `watch` names them. A client
/// that connects again with `Last-Event-ID` gets what it has missed, and some of it twice. 503 where
/// too many follow: 3 streams of one token, 50 of a tenant, 200 of one process.
#[utoipa::path(get, path = "/stream", tag = "Deliveries", params(StreamQuery),
    responses((status = 200, description = "The stream", content_type = "text/event-stream", body = String)))]
pub async fn stream(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    caller: Caller,
    Query(query): Query<StreamQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let wanted = Wanted::of(&query, request.headers())?;
    let check = Credentials::of(&state, &request)?.check(&state);
    let who = format!(
        "{} {}",
        caller.principal.kind.as_str(),
        caller.principal.name
    );
    open(&state, &tenant, &who, wanted, check, message)
}

/// What is sent of a change; none: nothing.
pub type Render = fn(&Change) -> Option<Message>;

fn message(change: &Change) -> Option<Message> {
    let message = match change {
        Change::Delivery { delivery, .. } => Message::default()
            .event("delivery")
            .json_data(deliveries::Delivery::from((**delivery).clone())),
        Change::Event(event) => Message::default()
            .event("event")
            .json_data(events::Event::from(&**event)),
        Change::Subscription(id) => Message::default()
            .event("subscription")
            .json_data(json!({ "id": SubscriptionId(*id).to_string() })),
        Change::Missed => Ok(Message::default().event("missed").data("{}")),
    };
    message.ok()
}

/// Starts a stream; `who` is the token or session whose streams are counted.
pub fn open(
    state: &Arc<State>,
    tenant: &Arc<str>,
    who: &str,
    wanted: Wanted,
    check: Check,
    render: Render,
) -> Result<Response, Problem> {
    let hub = &state.hub;
    let viewer = hub.watch(&state.store, tenant, who, wanted.named.clone());
    let viewer = viewer.ok_or_else(|| {
        METRICS.api_refused.with_label_values(&["streams"]).inc();
        Problem::unavailable(
            "too_many_streams",
            "too many streams are open: 3 of one session or token, 50 of a tenant, and 200 of one \
             process, are the most",
        )
        .with_header(header::RETRY_AFTER, HeaderValue::from_static("30"))
    })?;
    let (messages, sent) = mpsc::channel(AHEAD);
    let stream = Stream {
        state: Arc::clone(state),
        tenant: Arc::clone(tenant),
        newest: wanted.after.unwrap_or_default(),
        sent: wanted.after.unwrap_or_default(),
        catches_up: true,
        is_live: false,
        wanted,
        check,
        render,
        messages,
    };
    let ending = hub.ending().clone();
    tokio::spawn(async move { ending.run_until_cancelled(stream.run(viewer)).await });
    let sent = stream::unfold(sent, |mut sent| async {
        let message: Message = sent.recv().await?;
        Some((Ok::<_, Infallible>(message), sent))
    });
    let mut response = Sse::new(sent)
        .keep_alive(KeepAlive::new().interval(HEARTBEAT))
        .into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx holds an answer back until it has some kilobytes of it.
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    Ok(response)
}
