//! `/subscriptions/{id}/…`: send a test, enable, replay.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as AxumState;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::State;
use super::error::Problem;
use super::extract::{Body, PathId, Tenant};
use super::subscription_rules as rules;
use super::subscription_view::Subscription;
use super::subscriptions::find;
use super::trail::changed;
use crate::audit::Caller;
use crate::db::tenant_transaction;
use crate::delivery::manual;
use crate::delivery::replay::{self, Replay};
use crate::lsn::Lsn;
use crate::subscription::pause::await_enqueue;
use crate::subscription::queries::{self, StoredSubscription};

#[derive(Serialize, ToSchema)]
pub struct QueuedDelivery {
    /// Read it at `/deliveries/{id}`.
    #[schema(examples("dlv_019aa8f1-7c00-7000-8000-000000000000"))]
    delivery_id: String,
}

/// Send a test
///
/// A signed `ping` event, whatever types the subscription asks for. It is sent at once and
/// before what waits; where the endpoint's circuit breaker is open it is the next probe. Where
/// the subscription has a `batch`, the ping closes the one that is open, and batches that wait
/// already go first.
#[utoipa::path(post, path = "/subscriptions/{id}/test", tag = "Subscriptions",
    params(("id" = String, Path, description = "`sub_…`")),
    responses((status = 202, description = "The ping is due now", body = QueuedDelivery)))]
pub async fn test_subscription(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    caller: Caller,
    id: PathId,
) -> Result<(StatusCode, Json<QueuedDelivery>), Problem> {
    let subscription = active(find(&state, &tenant, &id).await?)?;
    state.limits.take_test(&tenant)?;
    let delivery = replay::ping(&state.store, &tenant, &subscription, &caller).await?;
    state.schedule_changed.notify_one();
    let queued = QueuedDelivery {
        delivery_id: delivery.to_string(),
    };
    Ok((StatusCode::ACCEPTED, Json(queued)))
}

/// What is sent to a disabled subscription would be parked at once.
fn active(subscription: StoredSubscription) -> Result<StoredSubscription, Problem> {
    if subscription.active {
        return Ok(subscription);
    }
    Err(Problem::conflict(
        "subscription_disabled",
        "the subscription is disabled: POST …/enable first",
    ))
}

#[derive(Serialize, ToSchema)]
pub struct EnabledSubscription {
    #[serde(flatten)]
    subscription: Subscription,
    /// What was missed; null where the subscription was active already.
    replay: Option<ReplayOffer>,
}

#[derive(Serialize, ToSchema)]
pub struct ReplayOffer {
    /// What to do with it.
    hint: String,
    /// When the first event that it missed was committed, at the latest when it was
    /// disabled: send it as the replay's `since` …
    since: Timestamp,
    /// … and this as its `until`.
    until: Timestamp,
}

/// Enable a subscription
///
/// What was parked is due now. For what came in while it was disabled there are no
/// deliveries: the answer offers a replay of that time. It begins before the disabling
/// where the WAL lagged then, so that nothing is missed between.
#[utoipa::path(post, path = "/subscriptions/{id}/enable", tag = "Subscriptions",
    params(("id" = String, Path, description = "`sub_…`")),
    responses((status = 200, description = "The subscription, active", body = EnabledSubscription)))]
pub async fn enable_subscription(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    caller: Caller,
    id: PathId,
) -> Result<Json<EnabledSubscription>, Problem> {
    let subscription = id.parse("subscription")?;
    let mut client = state.store.get().await?;
    let transaction = tenant_transaction(&mut client, &tenant).await?;
    let not_found = || Problem::not_found("subscription", &id.0);
    let before = queries::get_locked(&transaction, subscription).await?;
    let before = before.ok_or_else(not_found)?;
    let enabled = queries::enable(&transaction, subscription).await?;
    manual::request_probe(&transaction, subscription).await?;
    let (enabled, pause) = enabled.ok_or_else(not_found)?;
    let entry = changed(
        "subscription.enable",
        &tenant,
        &state,
        Some(&before),
        Some(&enabled),
    );
    caller.change().enter(&transaction, &entry).await?;
    let enabled = Subscription::masked(enabled, &state.key);
    transaction.commit().await?;
    state.changed();
    let missed = match pause {
        Some(pause) => {
            await_enqueue(&*client).await?;
            let transaction = tenant_transaction(&mut client, &tenant).await?;
            Some(pause.missed(&transaction).await?)
        }
        None => None,
    };
    let replay = missed.map(|missed| ReplayOffer {
        hint: format!(
            "POST /api/v1/tenant/webhooks/subscriptions/{}/replay with this `since` and `until` \
             sends what it has missed",
            id.0
        ),
        since: missed.since,
        until: missed.until,
    });
    Ok(Json(EnabledSubscription {
        subscription: enabled,
        replay,
    }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayRequest {
    /// Events committed from here; may be absent where `from_lsn` is given …
    since: Option<Timestamp>,
    /// … up to, not including, here; all that is stored by now if absent.
    until: Option<Timestamp>,
    /// Events committed at or after this place in the source's log, such as 16/B374D848 …
    from_lsn: Option<String>,
    /// … up to, and with, this one.
    to_lsn: Option<String>,
    /// Of these types only (`prefix.*` and `*` too); all that the subscription asks for if absent.
    events: Option<Vec<String>>,
}

#[derive(Serialize, ToSchema)]
pub struct StartedReplay {
    replay_id: String,
    /// How many deliveries are due now.
    deliveries: u64,
    /// On how many events the subscription's filter failed: they are not sent.
    filter_failures: u64,
}

/// Replay stored events
///
/// New deliveries, each under its event's `webhook-id`, of the stored events that match
/// the subscription's types and filter. Where the endpoint's circuit breaker is open, a probe
/// is sent at once, and the others follow when it succeeds.
#[utoipa::path(post, path = "/subscriptions/{id}/replay", tag = "Subscriptions",
    params(("id" = String, Path, description = "`sub_…`")), request_body = ReplayRequest,
    responses((status = 202, description = "The deliveries are due now", body = StartedReplay)))]
pub async fn replay_subscription(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    caller: Caller,
    id: PathId,
    Body(request): Body<ReplayRequest>,
) -> Result<(StatusCode, Json<StartedReplay>), Problem> {
    let from_lsn = lsn(request.from_lsn.as_deref())?;
    let to_lsn = lsn(request.to_lsn.as_deref())?;
    let since = match (request.since, from_lsn) {
        (Some(since), _) => since,
        (None, Some(_)) => Timestamp::UNIX_EPOCH,
        (None, None) => {
            return Err(Problem::invalid(
                "invalid_range",
                "say from when: `since` or `from_lsn`",
            ));
        }
    };
    if from_lsn.is_some_and(|from| to_lsn.is_some_and(|to| to < from)) {
        return Err(Problem::invalid(
            "invalid_range",
            "`from_lsn` is behind `to_lsn`",
        ));
    }
    if request.until.is_some_and(|until| since >= until) {
        return Err(Problem::invalid(
            "invalid_range",
            "`since` is not before `until`",
        ));
    }
    let types = rules::events(&state, None, request.events)?.unwrap_or_else(|| vec!["*".into()]);
    let subscription = active(find(&state, &tenant, &id).await?)?;
    let _permit = state.limits.take_replay(&tenant)?;
    let wanted = Replay {
        subscription: &subscription,
        since,
        until: request.until,
        from_lsn,
        to_lsn,
        types: &types,
        matches: state.filter_matches,
        dry_run: false,
    };
    let replayed = replay::replay(&state.store, &tenant, &wanted, &caller).await?;
    state.schedule_changed.notify_one();
    let started = StartedReplay {
        replay_id: replayed.id.to_string(),
        deliveries: replayed.deliveries,
        filter_failures: replayed.filter_failures,
    };
    Ok((StatusCode::ACCEPTED, Json(started)))
}

fn lsn(text: Option<&str>) -> Result<Option<Lsn>, Problem> {
    let parsed = text.map(str::parse::<Lsn>).transpose();
    parsed.map_err(|error| Problem::invalid("invalid_range", error.to_string()))
}
