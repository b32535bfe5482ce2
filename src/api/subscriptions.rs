//! `/subscriptions`: what a tenant wants to receive, and where.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State as AxumState;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::State;
use super::batching::{self, Batch};
use super::error::Problem;
use super::extract::{self, Body, PathId, Query, Tenant};
use super::source_position::source_position;
use super::subscription_rules as rules;
use crate::db::tenant_transaction;
use crate::secret::{EncryptionKey, SigningSecret};
use crate::subscription::Format;
use crate::subscription::headers::{HeadersError, SealedHeaders};
use crate::subscription::queries::{
    self, Changes, NewSubscription, SealedSecret, StoredSubscription, SubscriptionId,
};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateSubscription {
    /// Where to POST the events: `https://…`, at a public address.
    #[schema(examples("https://example.com/webhooks"))]
    url: String,
    /// One event type, `prefix.*`, or `*` for all. Either this or `events`.
    #[schema(examples("payment.received"))]
    event: Option<String>,
    /// Several of them.
    #[schema(examples(json!(["payment.*", "customer.created"])))]
    events: Option<Vec<String>>,
    /// `whsec_` and base64 of 24 to 64 bytes, or any 16 to 256 characters. Generated if absent.
    #[schema(value_type = Option<String>, write_only)]
    secret: Option<secrecy::SecretString>,
    /// For people; at most 1024 characters.
    description: Option<String>,
    /// An expression over the event's body: only events for which it is true are sent.
    #[schema(max_length = 1024, examples("data.amount > 100"))]
    filter: Option<String>,
    /// Headers to send along, such as an Authorization of your own.
    headers: Option<BTreeMap<String, String>>,
    /// `none` (default) or `row`: a row's event is then sent when the row's earlier ones
    /// have succeeded or were given up.
    #[schema(examples("row"))]
    ordering: Option<String>,
    /// Several events in one request; `{}` for the defaults. Absent: each by itself.
    #[schema(value_type = Option<Batch>)]
    batch: Option<serde_json::Value>,
    /// Deliveries per second at most, evenly spaced: 1 to 10000. The rest waits. Absent:
    /// as fast as the endpoint takes them.
    #[schema(value_type = Option<u16>, minimum = 1, maximum = 10_000)]
    rate_limit: Option<serde_json::Value>,
    /// `standard` (default) or `cloudevents` (CloudEvents 1.0, structured JSON).
    format: Option<String>,
}

/// What is left out stays as it is; null clears `description`, `filter`, `batch` and
/// `rate_limit`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateSubscription {
    url: Option<String>,
    event: Option<String>,
    events: Option<Vec<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    description: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    filter: Option<Option<String>>,
    /// Replaces all of them.
    headers: Option<BTreeMap<String, String>>,
    /// From none to row, new events wait some seconds until what is on its way has its
    /// place among them.
    ordering: Option<String>,
    /// Replaces all of it. Batches that have closed keep what is in them.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Batch>)]
    batch: Option<Option<serde_json::Value>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u16>, minimum = 1, maximum = 10_000)]
    rate_limit: Option<Option<serde_json::Value>>,
    /// Deliveries that exist keep theirs: their bytes never change.
    format: Option<String>,
    /// False disables: nothing is delivered, what waits is parked. True enables again.
    active: Option<bool>,
}

/// Tells a null from an absent field.
fn given<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

#[derive(Serialize, ToSchema)]
pub struct Subscription {
    #[schema(examples("sub_019aa8f1-7c00-7000-8000-000000000000"))]
    id: String,
    url: String,
    events: Vec<String>,
    description: Option<String>,
    /// False: nothing is delivered until it is enabled.
    active: bool,
    disabled_at: Option<Timestamp>,
    disabled_reason: Option<String>,
    filter: Option<String>,
    /// The values of headers that carry credentials are masked.
    headers: BTreeMap<String, String>,
    /// `none` or `row`.
    ordering: String,
    /// Null: each event is sent by itself.
    batch: Option<Batch>,
    /// Deliveries per second at most.
    rate_limit: Option<i32>,
    format: String,
    /// On creation and rotation only: it is shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// The secret's last four characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_hint: Option<String>,
    /// Until then the secret before the last rotation signs too.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_secret_expires_at: Option<Timestamp>,
    /// The endpoint's circuit breaker: `closed` (traffic flows), `open` or `half_open`.
    breaker: String,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Subscription {
    pub fn masked(stored: StoredSubscription, key: &EncryptionKey) -> Result<Self, Problem> {
        let now = Timestamp::now();
        let headers = stored.headers.open(key, stored.id)?;
        Ok(Subscription {
            id: stored.id.to_string(),
            url: stored.url,
            events: stored.events,
            description: stored.description,
            active: stored.active,
            disabled_at: stored.disabled_at,
            disabled_reason: stored.disabled_reason,
            filter: stored.filter,
            headers: rules::mask(headers),
            ordering: stored.ordering,
            batch: stored.batching.map(Batch::from),
            rate_limit: stored.rate_limit,
            format: stored.format,
            secret: None,
            secret_hint: Some(stored.secret_hint),
            previous_secret_expires_at: stored.previous_secret_expires_at.filter(|at| *at > now),
            breaker: stored.breaker,
            created_at: stored.created_at,
            updated_at: stored.updated_at,
        })
    }

    pub fn with_secret(
        stored: StoredSubscription,
        secret: &SigningSecret,
        key: &EncryptionKey,
    ) -> Result<Self, Problem> {
        Ok(Subscription {
            secret: Some(secret.text().to_owned()),
            secret_hint: None,
            ..Self::masked(stored, key)?
        })
    }
}

/// The key is not the one that encrypted them: the operator's to mend.
impl From<HeadersError> for Problem {
    fn from(error: HeadersError) -> Self {
        anyhow::Error::from(error).into()
    }
}

#[derive(Serialize, ToSchema)]
pub struct SubscriptionPage {
    data: Vec<Subscription>,
    /// Pass it as `cursor` for the next page; null on the last.
    next_cursor: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListSubscriptions {
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// 1 to 200; 50 if absent.
    limit: Option<u16>,
}

/// Create a subscription
///
/// It receives every event committed after this answer, and none from before. The
/// secret is shown this once.
#[utoipa::path(post, path = "/subscriptions", tag = "Subscriptions",
    request_body = CreateSubscription,
    responses((status = 201, description = "Created; the secret is shown this once", body = Subscription),
        (status = 503, description = "The source does not answer", body = super::error::Problem, content_type = "application/problem+json")))]
pub async fn create_subscription(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    Body(request): Body<CreateSubscription>,
) -> Result<(StatusCode, Json<Subscription>), Problem> {
    let events = rules::events(&state, request.event, request.events)?.ok_or_else(|| {
        Problem::invalid("invalid_events", "say which events: `event` or `events`")
    })?;
    let format = rules::format(request.format.as_deref())?.unwrap_or(Format::Standard);
    let secret = rules::secret(request.secret.as_ref())?;
    let headers = rules::headers(request.headers.unwrap_or_default())?;
    let id = SubscriptionId(Uuid::now_v7());
    let new = NewSubscription {
        id,
        url: rules::url(&state, &request.url)?,
        events,
        description: rules::description(request.description)?,
        filter: rules::filter(&state, request.filter)?,
        headers: SealedHeaders::seal(&headers, &state.key, id),
        format,
        rate_limit: rules::rate_limit(request.rate_limit.as_ref())?,
        ordering: rules::ordering(request.ordering.as_deref())?.unwrap_or_default(),
        batching: batching::read(request.batch.as_ref())?,
        secret: SealedSecret::seal(&secret, &state.key, id),
        from_lsn: source_position(&state).await?,
    };
    let mut client = state.store.get().await?;
    let transaction = tenant_transaction(&mut client, &tenant).await?;
    let stored = queries::create(&transaction, &tenant, &new).await?;
    batching::check_with_ordering(&stored.ordering, stored.batching)?;
    let created = Subscription::with_secret(stored, &secret, &state.key)?;
    transaction.commit().await?;
    Ok((StatusCode::CREATED, Json(created)))
}

/// List the subscriptions, newest first
#[utoipa::path(get, path = "/subscriptions", tag = "Subscriptions", params(ListSubscriptions),
    responses((status = 200, description = "A page of them, secrets masked", body = SubscriptionPage)))]
pub async fn list_subscriptions(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    Query(query): Query<ListSubscriptions>,
) -> Result<Json<SubscriptionPage>, Problem> {
    let limit = extract::limit(query.limit)?;
    let before = extract::cursor(query.cursor.as_deref())?.map_or(Uuid::max(), |[id]| id);
    let mut client = state.store.get().await?;
    let transaction = tenant_transaction(&mut client, &tenant).await?;
    let rows = queries::list(&transaction, before, limit + 1).await?;
    let (rows, next_cursor) = extract::page(rows, limit, |row| [row.id.0]);
    let masked = rows
        .into_iter()
        .map(|row| Subscription::masked(row, &state.key));
    Ok(Json(SubscriptionPage {
        data: masked.collect::<Result<_, _>>()?,
        next_cursor,
    }))
}

/// Read a subscription
#[utoipa::path(get, path = "/subscriptions/{id}", tag = "Subscriptions",
    params(("id" = String, Path, description = "`sub_…`")),
    responses((status = 200, description = "The subscription, secret masked", body = Subscription)))]
pub async fn get_subscription(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    id: PathId,
) -> Result<Json<Subscription>, Problem> {
    let found = find(&state, &tenant, &id).await?;
    Subscription::masked(found, &state.key).map(Json)
}

/// Reads a subscription of this tenant, or says that there is none.
pub async fn find(state: &State, tenant: &str, id: &PathId) -> Result<StoredSubscription, Problem> {
    let subscription = id.parse("subscription")?;
    let mut client = state.store.get().await?;
    let transaction = tenant_transaction(&mut client, tenant).await?;
    let found = queries::get(&transaction, subscription).await?;
    found.ok_or_else(|| Problem::not_found("subscription", &id.0))
}

/// Change a subscription
///
/// A JSON merge patch: what is left out stays as it is. The secret is changed by
/// `rotate-secret`.
#[utoipa::path(patch, path = "/subscriptions/{id}", tag = "Subscriptions",
    params(("id" = String, Path, description = "`sub_…`")), request_body = UpdateSubscription,
    responses((status = 200, description = "The subscription as it is now", body = Subscription)))]
pub async fn update_subscription(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    id: PathId,
    Body(request): Body<UpdateSubscription>,
) -> Result<Json<Subscription>, Problem> {
    let subscription = id.parse("subscription")?;
    let changes = Changes {
        url: request
            .url
            .map(|url| rules::url(&state, &url))
            .transpose()?,
        events: rules::events(&state, request.event, request.events)?,
        description: request.description.map(rules::description).transpose()?,
        filter: request
            .filter
            .map(|filter| rules::filter(&state, filter))
            .transpose()?,
        headers: request
            .headers
            .map(rules::headers)
            .transpose()?
            .map(|headers| SealedHeaders::seal(&headers, &state.key, subscription)),
        format: rules::format(request.format.as_deref())?,
        rate_limit: request
            .rate_limit
            .map(|limit| rules::rate_limit(limit.as_ref()))
            .transpose()?,
        batching: request
            .batch
            .map(|batch| batching::read(batch.as_ref()))
            .transpose()?,
        ordering: rules::ordering(request.ordering.as_deref())?,
    };
    let mut client = state.store.get().await?;
    let transaction = tenant_transaction(&mut client, &tenant).await?;
    let stored = queries::update(&transaction, subscription, &changes).await?;
    let mut stored = stored.ok_or_else(|| Problem::not_found("subscription", &id.0))?;
    batching::check_with_ordering(&stored.ordering, stored.batching)?;
    match request.active {
        Some(true) => {
            let enabled = queries::enable(&transaction, state.store.schema(), subscription).await?;
            stored = enabled.map_or(stored, |(enabled, _)| enabled);
        }
        Some(false) => {
            queries::disable(&transaction, subscription, "by request").await?;
            let disabled = queries::get(&transaction, subscription).await?;
            stored = disabled.unwrap_or(stored);
        }
        None => {}
    }
    let answer = Subscription::masked(stored, &state.key)?;
    transaction.commit().await?;
    state.changed();
    Ok(Json(answer))
}

/// Delete a subscription
///
/// What waits to be sent to it is cancelled.
#[utoipa::path(delete, path = "/subscriptions/{id}", tag = "Subscriptions",
    params(("id" = String, Path, description = "`sub_…`")),
    responses((status = 204, description = "Deleted")))]
pub async fn delete_subscription(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    id: PathId,
) -> Result<StatusCode, Problem> {
    let subscription = id.parse("subscription")?;
    let mut client = state.store.get().await?;
    let transaction = tenant_transaction(&mut client, &tenant).await?;
    if !queries::delete(&transaction, subscription).await? {
        return Err(Problem::not_found("subscription", &id.0));
    }
    transaction.commit().await?;
    state.changed();
    Ok(StatusCode::NO_CONTENT)
}
