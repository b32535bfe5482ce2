//! One delivery: what was committed, when it was tried, what was answered, and what to do.

use std::sync::Arc;

use askama::Template;
use axum::extract::State as AxumState;
use axum::response::Response;
use jiff::Timestamp;

use super::State;
use super::capability::Capability;
use super::deliveries::committed;
use super::fault::{Fault, retention_days};
use super::fields::{Asked, Posted};
use super::markup::{Markup, size};
use super::shell::{Place, Shell, Visitor, page, see_other};
use super::words::{EndpointName, shown_url, state_sentence};
use crate::api::deliveries::text;
use crate::api::extract::PathId;
use crate::conninfo::Transaction;
use crate::db::tenant_transaction;
use crate::delivery::attempt_log::{self, Attempt};
use crate::delivery::cloud_event::cloud_event;
use crate::delivery::listing::{self, Delivery, DeliveryId, Status};
use crate::delivery::manual::{self, Retry};
use crate::subscription::Format;
use crate::subscription::queries::{self, StoredSubscription};

mod attempts;
mod curl;
mod timeline;

pub use attempts::answered;
use attempts::{AttemptView, attempts, between_characters};
pub use curl::curl;
use timeline::Timeline;

/// Bytes of a body that a page shows; the rest is told of.
const SHOWN: usize = 64 * 1024;
/// Attempts on a page, the newest first: older ones have pages of their own.
const ATTEMPTS: usize = 20;

/// What is read of a delivery for its page.
struct Found {
    delivery: Delivery,
    /// Those of the page, in the order that they were made.
    attempts: Vec<Attempt>,
    /// The one before these.
    before: Option<Attempt>,
    /// The newest of all.
    last: Option<Attempt>,
    first_attempt_at: Option<Timestamp>,
    endpoint: Option<StoredSubscription>,
    /// As it is sent; none where the event's retention has ended.
    body: Option<Vec<u8>>,
    occurred_at: Timestamp,
}

impl Found {
    /// With the newest attempts before a number.
    async fn read(
        transaction: &Transaction<'_>,
        id: DeliveryId,
        before: Option<i32>,
    ) -> Result<Option<Self>, Fault> {
        let Some(delivery) = listing::delivery(transaction, id).await? else {
            return Ok(None);
        };
        let newest = async |before: i32, limit: usize| {
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            attempt_log::attempts(transaction, id, before, limit).await
        };
        let mut attempts = newest(before.unwrap_or(i32::MAX), ATTEMPTS + 1).await?;
        let earlier = (attempts.len() > ATTEMPTS).then(|| attempts.remove(0));
        let last = match before {
            None => attempts.last().cloned(),
            Some(_) => newest(i32::MAX, 1).await?.pop(),
        };
        let first_attempt_at = transaction
            .query_one(
                include_str!("../../sql/queries/console/first_attempt.sql"),
                &[&id.0],
            )
            .await?;
        let endpoint = queries::get(transaction, delivery.subscription_id).await?;
        let event = listing::event(transaction, delivery.event_id).await?;
        let occurred_at = event
            .as_ref()
            .map_or_else(|| committed(delivery.event_id.0), |event| event.occurred_at);
        let stored = event.and_then(|event| event.body);
        let body = stored.and_then(|body| match Format::parse(&delivery.format)? {
            Format::Standard => Some(body),
            Format::CloudEvents => cloud_event(&body).ok().map(Into::into),
        });
        Ok(Some(Found {
            delivery,
            attempts,
            before: earlier,
            last,
            first_attempt_at: first_attempt_at.get(0),
            endpoint,
            body,
            occurred_at,
        }))
    }
}

/// A body as a page shows it.
pub struct Body {
    pub text: String,
    pub size: String,
    /// How much was left out.
    pub rest: Option<String>,
}

impl Body {
    pub fn of(bytes: Vec<u8>) -> Self {
        let whole = bytes.len();
        let mut shown = bytes;
        let rest = whole.saturating_sub(SHOWN);
        shown.truncate(between_characters(&shown, SHOWN));
        Body {
            text: text(shown),
            size: size(whole),
            rest: (rest > 0).then(|| size(rest)),
        }
    }
}

#[derive(Template)]
#[template(path = "delivery.html")]
struct Page {
    shell: Shell,
    id: String,
    event_id: String,
    event_type: String,
    state: Markup,
    sentence: String,
    endpoint: EndpointName,
    url: Option<String>,
    webhook_id: String,
    batch_id: Option<String>,
    replay_id: Option<String>,
    content_type: &'static str,
    custom_headers: Vec<String>,
    timeline: Timeline,
    attempts: Vec<AttemptView>,
    /// Shows the attempts before these.
    older: Option<String>,
    /// Not the newest attempts.
    is_older: bool,
    body: Option<Body>,
    has_body: bool,
    /// Whether retrying can be asked for now; else why not.
    retry: Result<&'static str, &'static str>,
    /// It changes by itself: after so many seconds the page is asked for again.
    refresh: Option<u32>,
    max_attempts: usize,
    made: i32,
    next_attempt_at: Option<Timestamp>,
}

/// The page of one delivery.
pub async fn show(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    id: PathId,
    Asked(fields): Asked,
) -> Result<Response, Fault> {
    let settings = &state.api.settings;
    let days = retention_days(settings.retention());
    let not_found = || Fault::not_found("delivery", &id.0, days);
    let delivery: DeliveryId = id.0.parse().map_err(|_| not_found())?;
    let mut client = state.api.store.get().await?;
    let transaction = tenant_transaction(&mut client, visitor.tenant()).await?;
    let before = fields.get("before").map(str::parse).transpose();
    let before: Option<i32> = before.map_err(|_| {
        Fault::invalid("invalid_query", "`before` is the number of an attempt.")
            .with_next(format!("/console/deliveries/{delivery}"), "The delivery")
    })?;
    let found = Found::read(&transaction, delivery, before).await?;
    let found = found.ok_or_else(not_found)?;
    drop(transaction);
    let notice = match fields.get("done") {
        Some("retry") => Some("It is due now, before what waits for the same endpoint.".to_owned()),
        Some("test") => Some("The test is on its way.".to_owned()),
        Some("send") => Some("The event is on its way to this endpoint.".to_owned()),
        _ => None,
    };
    let title = found.delivery.event_type.clone();
    let shell = visitor.shell(Place::Deliveries, title).with_notice(notice);
    page(&of(&state, shell, found, before.is_some())?)
}

fn of(state: &State, shell: Shell, found: Found, is_older: bool) -> Result<Page, Fault> {
    let delivery = &found.delivery;
    let now = shell.now;
    let may_see = shell.visitor.may(Capability::Payloads);
    let settings = &state.api.settings;
    let endpoint = match &found.endpoint {
        Some(endpoint) => EndpointName::of(endpoint),
        None => EndpointName {
            id: delivery.subscription_id.to_string(),
            address: "deleted endpoint".to_owned(),
            description: None,
            is_deleted: true,
        },
    };
    let headers = found.endpoint.as_ref().map(|endpoint| {
        let opened = endpoint.headers.open(&state.api.key, endpoint.id);
        opened.map_or_else(|_| Vec::new(), |headers| headers.into_keys().collect())
    });
    let retry = match (&found.endpoint, delivery.status) {
        (None, _) => Err("Its endpoint is deleted: there is nowhere to send it."),
        (Some(endpoint), _) if !endpoint.active => {
            Err("Its endpoint is disabled: enable it first, and what is parked is sent.")
        }
        (_, Status::InFlight) => Err("It is being sent at this moment."),
        (_, Status::Delivered) => {
            Ok("It was received already: the receiver gets the same webhook-id again.")
        }
        (_, Status::Parked) => Err("Its body is larger than what is sent to endpoints."),
        (_, Status::Pending | Status::Failed | Status::Cancelled) => {
            Ok("The same bytes under the same webhook-id, before what waits for this endpoint.")
        }
    };
    Ok(Page {
        id: delivery.id.to_string(),
        event_id: delivery.event_id.to_string(),
        event_type: delivery.event_type.clone(),
        state: super::markup::state(delivery.status),
        sentence: state_sentence(
            delivery,
            found.last.as_ref(),
            found.first_attempt_at,
            found.endpoint.as_ref(),
            now,
        ),
        url: found
            .endpoint
            .as_ref()
            .map(|endpoint| shown_url(&endpoint.url, &shell.visitor)),
        webhook_id: match delivery.batch_id {
            Some(batch) => batch.to_string(),
            None => delivery.event_id.to_string(),
        },
        batch_id: delivery.batch_id.map(|id| id.to_string()),
        replay_id: delivery.replay_id.map(|id| id.to_string()),
        content_type: content_type(&delivery.format),
        custom_headers: headers.unwrap_or_default(),
        timeline: Timeline::of(&found, is_older, now),
        attempts: attempts(&found, settings.timeout(), &shell.visitor),
        has_body: found.body.is_some(),
        // Older attempts do not change.
        refresh: refresh(delivery, now).filter(|_| !is_older),
        older: found
            .before
            .as_ref()
            .zip(found.attempts.first())
            .map(|(_, first)| {
                format!(
                    "/console/deliveries/{}?before={}",
                    delivery.id, first.number
                )
            }),
        is_older,
        max_attempts: settings.max_attempts(),
        made: delivery.attempts,
        next_attempt_at: delivery.next_attempt_at,
        retry,
        endpoint,
        body: found.body.filter(|_| may_see).map(Body::of),
        shell,
    })
}

fn refresh(delivery: &Delivery, now: Timestamp) -> Option<u32> {
    let is_soon = |at: Timestamp| at.as_second() - now.as_second() < 30;
    match delivery.status {
        Status::InFlight => Some(3),
        Status::Pending => Some(match delivery.next_attempt_at {
            Some(at) if is_soon(at) => 3,
            Some(_) | None => 30,
        }),
        Status::Delivered | Status::Failed | Status::Cancelled | Status::Parked => None,
    }
}

fn content_type(format: &str) -> &'static str {
    match Format::parse(format) {
        Some(Format::CloudEvents) => "application/cloudevents+json",
        Some(Format::Standard) | None => "application/json",
    }
}

/// Sends it again.
pub async fn retry(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    id: PathId,
    Posted(_): Posted,
) -> Result<Response, Fault> {
    let days = retention_days(state.api.settings.retention());
    let not_found = || Fault::not_found("delivery", &id.0, days);
    let delivery: DeliveryId = id.0.parse().map_err(|_| not_found())?;
    let here = format!("/console/deliveries/{delivery}");
    let conflict = |code, detail: &str| {
        let status = axum::http::StatusCode::CONFLICT;
        Err(Fault::new(status, code, "Not sent again", detail).with_next(&here, "Back to it"))
    };
    match manual::retry(
        &state.api.store,
        visitor.tenant(),
        delivery,
        &visitor.caller,
    )
    .await?
    {
        Retry::Queued => {
            state.api.schedule_changed.notify_one();
            Ok(see_other(&format!("{here}?done=retry")))
        }
        Retry::NotFound => Err(not_found()),
        Retry::InFlight => conflict(
            "in_flight",
            "It is being sent at this moment: see what becomes of it first.",
        ),
        Retry::SubscriptionDisabled => conflict(
            "subscription_disabled",
            "Its endpoint is disabled: enable it first, and what is parked is sent.",
        ),
        Retry::SubscriptionDeleted => conflict(
            "subscription_deleted",
            "Its endpoint is deleted: there is nowhere to send it.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_body_is_cut_between_characters() {
        let body = Body::of(b"{}".to_vec());
        assert_eq!((body.text.as_str(), body.rest), ("{}", None));
        let long = "ü".repeat(SHOWN);
        let body = Body::of(long.into_bytes());
        assert!(body.text.chars().all(|c| c == 'ü'));
        assert!(body.rest.is_some());
    }
}
