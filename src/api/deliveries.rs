//! `/deliveries`: what became of each event for each subscription, and retries.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as AxumState;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::State;
use super::attempts::Attempt;
use super::error::Problem;
use super::extract::{self, OptionalBody, PathId, Query, Tenant};
use super::jobs::{self, Estimate, Job};
use crate::audit::Caller;
use crate::db::tenant_transaction;
use crate::delivery::attempt_log;
use crate::delivery::client::ErrorClass;
use crate::delivery::cloud_event::cloud_event;
use crate::delivery::jobs::{NewJob, Request, RetryRequest};
use crate::delivery::listing::{
    self, DeliveryId, DeliverySearch, HttpStatuses, IdRange, Place, Status,
};
use crate::delivery::manual::{self, Retry};
use crate::subscription::Format;
use crate::subscription::queries::SubscriptionId;

#[derive(Serialize, ToSchema)]
pub struct Delivery {
    #[schema(examples("dlv_019aa8f1-7c00-7000-8000-000000000000"))]
    id: String,
    /// Also the `webhook-id` that is sent, unless it is sent in a batch.
    #[schema(examples("evt_019aa8f1-7c00-7000-8000-000000000000"))]
    event_id: String,
    /// The event's type.
    event: String,
    subscription_id: String,
    /// `pending`, `in_flight`, `delivered`, `failed` (for good: a dead letter, which can be
    /// retried), `cancelled` or `parked` (set aside until someone acts).
    #[schema(examples("delivered"))]
    status: &'static str,
    /// Why it is parked: `disabled` (the subscription is) or `oversized`.
    #[serde(skip_serializing_if = "Option::is_none")]
    parked_reason: Option<String>,
    format: String,
    attempts: i32,
    next_attempt_at: Option<Timestamp>,
    last_http_status: Option<i16>,
    last_error: Option<String>,
    /// The replay that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    replay_id: Option<String>,
    /// The batch that it is sent in, or was last: also the `webhook-id` of that request.
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_id: Option<String>,
    created_at: Timestamp,
    delivered_at: Option<Timestamp>,
}

impl From<listing::Delivery> for Delivery {
    fn from(row: listing::Delivery) -> Self {
        Delivery {
            id: row.id.to_string(),
            event_id: row.event_id.to_string(),
            event: row.event_type,
            subscription_id: row.subscription_id.to_string(),
            status: row.status.as_str(),
            parked_reason: row.parked_reason,
            format: row.format,
            attempts: row.attempts,
            next_attempt_at: row.next_attempt_at,
            last_http_status: row.last_http_status,
            last_error: row.last_error,
            replay_id: row.replay_id.map(|id| id.to_string()),
            batch_id: row.batch_id.map(|id| id.to_string()),
            created_at: row.created_at,
            delivered_at: row.delivered_at,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct DeliveryWithAttempts {
    #[serde(flatten)]
    delivery: Delivery,
    /// The newest 100 attempts, in the order that they were made.
    attempt_log: Vec<Attempt>,
    /// Exactly what is signed and sent, in the delivery's format, or its part of a batch;
    /// null once the event's retention has ended.
    body: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct DeliveryPage {
    data: Vec<Delivery>,
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
pub struct ListDeliveries {
    /// `pending`, `in_flight`, `delivered`, `failed`, `cancelled` or `parked`.
    status: Option<String>,
    /// The event's type, or `prefix.*`.
    event: Option<String>,
    /// `sub_…`
    subscription_id: Option<String>,
    /// The HTTP status of the last answer, such as `404`, or `5xx` for all of them.
    http_status: Option<String>,
    /// The class of the last attempt's error: `http_status`, `timeout`, `connect`, `dns`, `tls`,
    /// `blocked`, `response` or `request`.
    error: Option<String>,
    /// The key of the event's row, such as `4711`, or `public.payments:4711` with its table.
    row_key: Option<String>,
    /// Events committed at or after this time (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Events committed before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// 1 to 200; 50 if absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
}

fn status(name: &str) -> Result<Status, Problem> {
    let all = [
        Status::Pending,
        Status::InFlight,
        Status::Delivered,
        Status::Failed,
        Status::Cancelled,
        Status::Parked,
    ];
    let found = all.into_iter().find(|status| status.as_str() == name);
    found.ok_or_else(|| {
        Problem::invalid(
            "invalid_status",
            "`status` is pending, in_flight, delivered, failed, cancelled or parked",
        )
    })
}

/// Reads `404` or `5xx`.
pub fn http_statuses(text: &str) -> Result<HttpStatuses, Problem> {
    HttpStatuses::parse(text).ok_or_else(|| {
        Problem::invalid(
            "invalid_http_status",
            "`http_status` is one such as `404`, or `5xx` for all from 500 to 599",
        )
    })
}

/// Reads the class of an error.
pub fn error_class(name: &str) -> Result<ErrorClass, Problem> {
    let all = ErrorClass::ALL;
    let found = all.into_iter().find(|class| class.as_str() == name);
    found.ok_or_else(|| {
        let names = all.map(ErrorClass::as_str).join(", ");
        Problem::invalid("invalid_error_class", format!("`error` is one of {names}"))
    })
}

pub fn subscription(id: Option<&str>) -> Result<Option<Uuid>, Problem> {
    let parse = |id| extract::parse_id("subscription_id", id).map(|SubscriptionId(id)| id);
    id.map(parse).transpose()
}

/// List deliveries
///
/// Newest events first.
#[utoipa::path(get, path = "/deliveries", tag = "Deliveries", params(ListDeliveries),
    responses((status = 200, description = "A page of them", body = DeliveryPage)))]
pub async fn list_deliveries(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    Query(query): Query<ListDeliveries>,
) -> Result<Json<DeliveryPage>, Problem> {
    let limit = extract::limit(query.limit)?;
    let before = extract::cursor(query.cursor.as_deref())?;
    let before = before.map(|[event, delivery]| Place { event, delivery });
    let ids = IdRange::new(query.since, query.until, None);
    let search = DeliverySearch {
        status: query.status.as_deref().map(status).transpose()?,
        event_type: query.event,
        subscription: subscription(query.subscription_id.as_deref())?,
        http: query
            .http_status
            .as_deref()
            .map(http_statuses)
            .transpose()?,
        error: query.error.as_deref().map(error_class).transpose()?,
        row: query.row_key,
    };
    let mut client = state.store.get().await?;
    let low_water = match search.status {
        Some(Status::InFlight) => listing::low_water(&client).await?,
        _ => Uuid::max(),
    };
    let transaction = tenant_transaction(&mut client, &tenant).await?;
    let found = listing::deliveries(&transaction, &search, ids, before, low_water, limit).await?;
    let next = found.next.map(|next| [next.event, next.delivery]);
    Ok(Json(DeliveryPage {
        data: found.rows.into_iter().map(Delivery::from).collect(),
        next_cursor: next.map(extract::next_cursor),
        searched_to: found.searched_to,
    }))
}

/// Attempts in one answer: each holds up to 16 KiB of what the receiver answered.
const ATTEMPTS: i64 = 100;

/// Read a delivery, with its newest 100 attempts and the event's body
#[utoipa::path(get, path = "/deliveries/{id}", tag = "Deliveries",
    params(("id" = String, Path, description = "`dlv_…`")),
    responses((status = 200, description = "The delivery", body = DeliveryWithAttempts)))]
pub async fn get_delivery(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    id: PathId,
) -> Result<Json<DeliveryWithAttempts>, Problem> {
    let delivery = id.parse("delivery")?;
    let mut client = state.store.get().await?;
    let transaction = tenant_transaction(&mut client, &tenant).await?;
    let found = listing::delivery(&transaction, delivery).await?;
    let found = found.ok_or_else(|| Problem::not_found("delivery", &id.0))?;
    let attempts = attempt_log::attempts(&transaction, delivery, i32::MAX, ATTEMPTS).await?;
    let event = listing::event(&transaction, found.event_id).await?;
    let stored = event.and_then(|event| event.body);
    Ok(Json(DeliveryWithAttempts {
        body: stored.and_then(|body| sent(body, &found.format)),
        delivery: found.into(),
        attempt_log: attempts.into_iter().map(Attempt::from).collect(),
    }))
}

/// What is sent of a stored body; none where it cannot be rendered, and so never is.
fn sent(body: Vec<u8>, format: &str) -> Option<String> {
    match Format::parse(format)? {
        Format::Standard => Some(text(body)),
        Format::CloudEvents => cloud_event(&body).ok().map(|body| text(body.into())),
    }
}

/// A body is UTF-8: walhook writes it. What is not would be a defect worth seeing.
pub fn text(body: Vec<u8>) -> String {
    String::from_utf8_lossy(&body).into_owned()
}

/// Retry a delivery
///
/// It is due now, whatever became of it before: the same bytes under the same
/// `webhook-id`. It is sent before what waits for the same subscription; where the endpoint's
/// circuit breaker is open it is the next probe. What is in a batch that is tried again is sent
/// with the whole batch; anything else alone, under its event's id.
#[utoipa::path(post, path = "/deliveries/{id}/retry", tag = "Deliveries",
    params(("id" = String, Path, description = "`dlv_…`")),
    responses((status = 202, description = "The delivery as it is now", body = Delivery)))]
pub async fn retry_delivery(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    caller: Caller,
    id: PathId,
) -> Result<(StatusCode, Json<Delivery>), Problem> {
    let delivery: DeliveryId = id.parse("delivery")?;
    let not_found = || Problem::not_found("delivery", &id.0);
    match manual::retry(&state.store, &tenant, delivery, &caller).await? {
        Retry::Queued => {}
        Retry::NotFound => return Err(not_found()),
        Retry::InFlight => {
            return Err(Problem::conflict(
                "in_flight",
                "the delivery is being sent at this moment: see what becomes of it first",
            ));
        }
        Retry::SubscriptionDisabled => {
            return Err(Problem::conflict(
                "subscription_disabled",
                "the delivery's subscription is disabled: POST …/subscriptions/{id}/enable first",
            ));
        }
        Retry::SubscriptionDeleted => {
            return Err(Problem::conflict(
                "subscription_deleted",
                "the delivery's subscription is deleted: there is nowhere to send it",
            ));
        }
    }
    state.schedule_changed.notify_one();
    let mut client = state.store.get().await?;
    let transaction = tenant_transaction(&mut client, &tenant).await?;
    let found = listing::delivery(&transaction, delivery).await?;
    let found = found.ok_or_else(not_found)?;
    Ok((StatusCode::ACCEPTED, Json(found.into())))
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryDeliveries {
    /// `failed` (if absent) or `pending`.
    status: Option<String>,
    subscription_id: Option<String>,
    /// The event's type, exact: no `prefix.*`.
    event: Option<String>,
    /// Events committed at or after this time (RFC 3339).
    since: Option<Timestamp>,
    /// Events committed before this time.
    until: Option<Timestamp>,
    /// Deliveries a second that become due at most, 1 to 10,000; as fast as possible if absent.
    #[schema(minimum = 1, maximum = 10_000)]
    max_per_second: Option<u32>,
    /// Only say what there is to retry: the answer is an `Estimate`.
    #[serde(default)]
    dry_run: bool,
}

/// Retry all deliveries that match
///
/// Those of disabled or deleted subscriptions, and what is being sent, are left aside. Where an
/// endpoint's circuit breaker is open, a probe is sent to it at once, and the others follow when
/// it succeeds. The answer is a job, which has ended where there were few; else it goes on by
/// itself, and `GET /jobs/{id}` says how far it has come.
#[utoipa::path(post, path = "/deliveries/retry", tag = "Deliveries",
    request_body(content = Option<RetryDeliveries>, description = "May be left out: all that have failed"),
    responses((status = 202, description = "How far it has come", body = Job),
        (status = 200, description = "With `dry_run`: what there is to retry", body = Estimate)))]
pub async fn retry_deliveries(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    caller: Caller,
    OptionalBody(request): OptionalBody<RetryDeliveries>,
) -> Result<Response, Problem> {
    let pending = match request.status.as_deref() {
        None | Some("failed") => false,
        Some("pending") => true,
        Some(_) => {
            return Err(Problem::invalid(
                "invalid_status",
                "`status` is failed or pending; to send delivered events again, replay them",
            ));
        }
    };
    let max_per_second = jobs::rate(request.max_per_second)?;
    let retry = RetryRequest {
        pending,
        event_type: request.event,
        subscription: subscription(request.subscription_id.as_deref())?,
    };
    let ids = IdRange::new(request.since, request.until, None);
    let mut client = state.store.get().await?;
    let transaction = tenant_transaction(&mut client, &tenant).await?;
    let estimate = manual::estimate_retry(&transaction, &retry.filter(), ids).await?;
    transaction.rollback().await?;
    drop(client);
    if request.dry_run {
        let estimate = estimate.map_or_else(Estimate::default, |found| Estimate {
            complete: true,
            matching: Some(found.matching),
            disabled: Some(found.disabled),
            filter_failures: Some(0),
            oldest: found.oldest.and_then(|id| jobs::committed_at(id.0)),
            sample: found.sample.iter().map(ToString::to_string).collect(),
            estimated_seconds: jobs::estimated_seconds(found.matching, max_per_second),
        });
        return Ok(Json(estimate).into_response());
    }
    let job = NewJob {
        request: &Request::Retry(retry),
        ids,
        total: estimate.map(|found| found.matching),
        max_per_second,
    };
    Ok(jobs::begin(&state, &tenant, &caller, job)
        .await?
        .into_response())
}
