//! `/subscriptions`: what a tenant wants to receive, and where.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State as AxumState;
use axum::http::StatusCode;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::State;
use super::batching::{self, Batch};
use super::error::Problem;
use super::extract::{self, Body, PathId, Query, Tenant};
use super::signing::NewSigningKey;
use super::source_position::source_position;
use super::subscription_health::{Known, SubscriptionWithHealth};
use super::subscription_rules as rules;
use super::subscription_view::Subscription;
use super::trail::{changed, whole};
use crate::audit::{Caller, Entry};
use crate::db::tenant_transaction;
use crate::delivery::manual;
use crate::subscription::Format;
use crate::subscription::headers::SealedHeaders;
use crate::subscription::keys::SealedSecret;
use crate::subscription::queries::{
    self, Changes, Disabling, NewSubscription, StoredSubscription, SubscriptionId,
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
    /// `whsec_` and base64 of 24 to 64 bytes, or another text of 16 to 256 printable ASCII
    /// characters. Generated if absent.
    #[schema(value_type = Option<String>, write_only)]
    secret: Option<SecretString>,
    /// Also signs with ed25519, as `v1a` of Standard Webhooks: `whsk_` and base64 of the
    /// private key's 32 bytes (or 64, with the public key), or `generate`. Receivers verify
    /// with the answer's `public_key`. Absent: the secret alone signs.
    #[schema(value_type = Option<String>, write_only, examples("generate"))]
    signing_key: Option<SecretString>,
    /// For people; at most 1024 characters.
    description: Option<String>,
    /// A condition over the event, in the words of PostgreSQL: only events for which it is
    /// true are sent. Names lead into the body (`type`, `data.total`, `previous.status`,
    /// `data."order-id"`); `previous ? 'status'` asks whether a member changed. Values are
    /// what JSON has: numbers, texts, true and false, null (also where a member is absent).
    /// A comparison of two kinds is an error, and the event is not sent.
    #[schema(
        max_length = 1024,
        examples("data.amount > 100 and data.currency in ('EUR', 'USD')")
    )]
    filter: Option<String>,
    /// Headers to send along, such as an Authorization of your own.
    headers: Option<BTreeMap<String, String>>,
    /// `none` (default) or `row`: a row's event is then sent when the row's earlier ones
    /// have succeeded or failed for good.
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

/// What is left out stays as it is; null clears `description`, `filter`, `batch`,
/// `rate_limit` and `signing_key`.
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
    /// Adds an ed25519 key, or replaces it at once: `rotate-signing-key` lets the one so far
    /// go on signing for a while.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, write_only, examples("generate"))]
    signing_key: Option<Option<SecretString>>,
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
pub struct SubscriptionPage {
    data: Vec<SubscriptionWithHealth>,
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
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
}

/// Create a subscription
///
/// It receives every event committed after this answer, and none from before. The
/// secret is shown this once, as is a signing key that was generated.
#[utoipa::path(post, path = "/subscriptions", tag = "Subscriptions",
    request_body = CreateSubscription,
    responses((status = 201, description = "Created; the secret is shown this once", body = Subscription),
        (status = 503, description = "The source does not answer", body = super::error::Problem, content_type = "application/problem+json")))]
pub async fn create_subscription(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    caller: Caller,
    Body(request): Body<CreateSubscription>,
) -> Result<(StatusCode, Json<Subscription>), Problem> {
    let events = rules::events(&state, request.event, request.events)?.ok_or_else(|| {
        Problem::invalid("invalid_events", "say which events: `event` or `events`")
    })?;
    rules::filter(&state, request.filter.as_deref(), &events)?;
    let format = rules::format(request.format.as_deref())?.unwrap_or(Format::Standard);
    let secret = rules::secret(request.secret.as_ref())?;
    let signing_key = request.signing_key.as_ref();
    let signing_key = signing_key.map(NewSigningKey::read).transpose()?;
    let headers = rules::headers(request.headers.unwrap_or_default())?;
    let id = SubscriptionId(Uuid::now_v7());
    let new = NewSubscription {
        id,
        url: rules::url(&state, &request.url)?,
        events,
        description: rules::description(request.description)?,
        filter: request.filter,
        headers: SealedHeaders::seal(&headers, &state.key, id),
        format,
        rate_limit: rules::rate_limit(request.rate_limit.as_ref())?,
        ordering: rules::ordering(request.ordering.as_deref())?.unwrap_or_default(),
        batching: batching::read(request.batch.as_ref())?,
        secret: SealedSecret::seal(&secret, &state.key, id),
        signing_key: signing_key.as_ref().map(|new| new.seal(&state.key, id)),
        from_lsn: source_position(&state).await?,
    };
    let mut client = state.store.get().await?;
    let transaction = tenant_transaction(&mut client, &tenant).await?;
    if queries::count_for_one_more(&transaction).await?
        >= i64::from(state.limits.config.subscriptions.get())
    {
        return Err(state.limits.subscriptions_full());
    }
    let change = caller.change();
    change.announce(&transaction).await?;
    let stored = queries::create(&transaction, &tenant, &new).await?;
    batching::check_with_ordering(&stored.ordering, stored.batching)?;
    let entry = Entry {
        tenant: Some(&tenant),
        action: "subscription.create",
        object: Some(stored.id.to_string()),
        after: Some(whole(&stored, &state)),
        ..Entry::default()
    };
    change.enter(&transaction, &entry).await?;
    let created = Subscription::with_secret(stored, &secret, &state.key)
        .with_signing_key(signing_key.as_ref());
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
    let known = Known::read(&transaction, &state, &rows).await?;
    let shown = rows.into_iter().map(|row| known.show(row, &state.key));
    Ok(Json(SubscriptionPage {
        data: shown.collect(),
        next_cursor,
    }))
}

/// Read a subscription
#[utoipa::path(get, path = "/subscriptions/{id}", tag = "Subscriptions",
    params(("id" = String, Path, description = "`sub_…`")),
    responses((status = 200, description = "The subscription, secret masked", body = SubscriptionWithHealth)))]
pub async fn get_subscription(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    id: PathId,
) -> Result<Json<SubscriptionWithHealth>, Problem> {
    let subscription = id.parse("subscription")?;
    let mut client = state.store.get().await?;
    let transaction = tenant_transaction(&mut client, &tenant).await?;
    let found = queries::get(&transaction, subscription).await?;
    let found = found.ok_or_else(|| Problem::not_found("subscription", &id.0))?;
    let known = Known::read(&transaction, &state, std::slice::from_ref(&found)).await?;
    Ok(Json(known.show(found, &state.key)))
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
/// `rotate-secret`. With a new `url` or new `headers` the endpoint is tried at once, also where
/// its circuit breaker is open.
#[utoipa::path(patch, path = "/subscriptions/{id}", tag = "Subscriptions",
    params(("id" = String, Path, description = "`sub_…`")), request_body = UpdateSubscription,
    responses((status = 200, description = "The subscription as it is now", body = Subscription)))]
pub async fn update_subscription(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    caller: Caller,
    id: PathId,
    Body(request): Body<UpdateSubscription>,
) -> Result<Json<Subscription>, Problem> {
    let subscription = id.parse("subscription")?;
    let signing_key = request
        .signing_key
        .map(|given| given.as_ref().map(NewSigningKey::read).transpose())
        .transpose()?;
    if let Some(filter) = &request.filter {
        // Its length and syntax, before it is stored; its members below, by the stored events.
        rules::filter(&state, filter.as_deref(), &[])?;
    }
    let headers = request.headers.map(rules::headers).transpose()?;
    let mut changes = Changes {
        url: request
            .url
            .map(|url| rules::url(&state, &url))
            .transpose()?,
        events: rules::events(&state, request.event, request.events)?,
        description: request.description.map(rules::description).transpose()?,
        filter: request.filter,
        headers: None,
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
        signing_key: signing_key
            .as_ref()
            .map(|new| new.as_ref().map(|new| new.seal(&state.key, subscription))),
    };
    let mut client = state.store.get().await?;
    let transaction = tenant_transaction(&mut client, &tenant).await?;
    let not_found = || Problem::not_found("subscription", &id.0);
    let change = caller.change();
    change.announce(&transaction).await?;
    let before = queries::get_locked(&transaction, subscription).await?;
    let before = before.ok_or_else(not_found)?;
    // Encrypted again, the same headers would differ, and be another version of the settings.
    let had = before.headers.open(&state.key, subscription).ok();
    changes.headers = headers
        .filter(|headers| had.as_ref() != Some(headers))
        .map(|headers| SealedHeaders::seal(&headers, &state.key, subscription));
    let stored = queries::update(&transaction, subscription, &changes).await?;
    let mut stored = stored.ok_or_else(not_found)?;
    batching::check_with_ordering(&stored.ordering, stored.batching)?;
    if stored.url != before.url || changes.headers.is_some() {
        manual::request_probe(&transaction, subscription).await?;
    }
    if changes.filter.is_some() || changes.events.is_some() {
        rules::filter(&state, stored.filter.as_deref(), &stored.events)?;
    }
    match request.active {
        Some(true) => {
            let enabled = queries::enable(&transaction, subscription).await?;
            manual::request_probe(&transaction, subscription).await?;
            stored = enabled.map_or(stored, |(enabled, _)| enabled);
        }
        Some(false) => {
            let by_request = Disabling::Because(queries::BY_REQUEST);
            queries::disable(&transaction, &[subscription.0], by_request).await?;
            let disabled = queries::get(&transaction, subscription).await?;
            stored = disabled.unwrap_or(stored);
        }
        None => {}
    }
    if let Some(entry) = changed("subscription.update", &tenant, &state, &before, &stored) {
        change.enter(&transaction, &entry).await?;
    }
    let answer =
        Subscription::masked(stored, &state.key).with_signing_key(signing_key.flatten().as_ref());
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
    caller: Caller,
    id: PathId,
) -> Result<StatusCode, Problem> {
    let subscription = id.parse("subscription")?;
    let mut client = state.store.get().await?;
    let transaction = tenant_transaction(&mut client, &tenant).await?;
    let not_found = || Problem::not_found("subscription", &id.0);
    let before = queries::get_locked(&transaction, subscription).await?;
    let before = before.ok_or_else(not_found)?;
    if !queries::delete(&transaction, subscription).await? {
        return Err(not_found());
    }
    let entry = Entry {
        tenant: Some(&tenant),
        action: "subscription.delete",
        object: Some(before.id.to_string()),
        before: Some(whole(&before, &state)),
        ..Entry::default()
    };
    caller.change().enter(&transaction, &entry).await?;
    transaction.commit().await?;
    state.changed();
    Ok(StatusCode::NO_CONTENT)
}
