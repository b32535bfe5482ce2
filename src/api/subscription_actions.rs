//! `/subscriptions/{id}/…`: enable, replay.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as AxumState;
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::State;
use super::error::Problem;
use super::extract::{Body, PathId, Tenant};
use super::jobs::{self, Estimate, Job};
use super::subscription_rules as rules;
use super::subscription_view::Subscription;
use super::subscriptions::find;
use super::trail::changed;
use crate::audit::Caller;
use crate::db::tenant_transaction;
use crate::delivery::jobs::{NewJob, ReplayRequest as StoredRequest, Request};
use crate::delivery::listing::IdRange;
use crate::delivery::manual::{self, COUNTING};
use crate::delivery::replay::Replay;
use crate::lsn::Lsn;
use crate::subscription::pause::await_enqueue;
use crate::subscription::queries::{self, StoredSubscription};

/// What is sent to a disabled subscription would be parked at once.
pub fn active(subscription: StoredSubscription) -> Result<StoredSubscription, Problem> {
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
    if let Some(entry) = changed("subscription.enable", &tenant, &state, &before, &enabled) {
        caller.change().enter(&transaction, &entry).await?;
    }
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
    /// Deliveries a second that become due at most, 1 to 10,000; as fast as possible if absent.
    #[schema(minimum = 1, maximum = 10_000)]
    max_per_second: Option<u32>,
    /// Only say what there is to send: the answer is an `Estimate`.
    #[serde(default)]
    dry_run: bool,
}

/// Replay stored events
///
/// New deliveries, each under its event's `webhook-id`, of the stored events that match
/// the subscription's types and filter. Where the endpoint's circuit breaker is open, a probe
/// is sent at once, and the others follow when it succeeds. The answer is a job, which has ended
/// where there were few; else it goes on by itself, and `GET /jobs/{id}` says how far it has come.
#[utoipa::path(post, path = "/subscriptions/{id}/replay", tag = "Subscriptions",
    params(("id" = String, Path, description = "`sub_…`")), request_body = ReplayRequest,
    responses((status = 202, description = "How far it has come", body = Job),
        (status = 200, description = "With `dry_run`: what there is to send", body = Estimate)))]
pub async fn replay_subscription(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    caller: Caller,
    id: PathId,
    Body(request): Body<ReplayRequest>,
) -> Result<Response, Problem> {
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
    let max_per_second = jobs::rate(request.max_per_second)?;
    let subscription = find(&state, &tenant, &id).await?;
    let subscription = match request.dry_run {
        true => subscription,
        false => active(subscription)?,
    };
    let wanted = Replay {
        subscription: &subscription,
        since,
        until: request.until,
        from_lsn,
        to_lsn,
        types: &types,
        matches: state.filter_matches,
    };
    let client = state.store.get().await?;
    let range = wanted.range(&*client).await?;
    drop(client);
    // Where there are no events at all there is nothing between these ids.
    let range = range.unwrap_or_default();
    let counted = wanted.estimate_within(&state.store, &tenant, range, COUNTING);
    let counted = counted.await?;
    if request.dry_run {
        let estimate = counted.map_or_else(Estimate::default, |found| Estimate {
            complete: true,
            matching: Some(found.matching),
            disabled: Some(0),
            filter_failures: Some(found.filter_failures),
            oldest: found.oldest.and_then(|id| jobs::committed_at(id.0)),
            sample: found.sample.iter().map(ToString::to_string).collect(),
            estimated_seconds: jobs::estimated_seconds(found.matching, max_per_second),
        });
        return Ok(Json(estimate).into_response());
    }
    let job = NewJob {
        request: &Request::Replay(StoredRequest {
            subscription: subscription.id.0,
            since,
            until: request.until,
            from_lsn: from_lsn.map(|lsn| lsn.0),
            to_lsn: to_lsn.map(|lsn| lsn.0),
            types: types.clone(),
        }),
        ids: IdRange {
            from: range.0,
            to: range.1,
        },
        total: counted.map(|found| found.matching),
        max_per_second,
    };
    Ok(jobs::begin(&state, &tenant, &caller, job)
        .await?
        .into_response())
}

fn lsn(text: Option<&str>) -> Result<Option<Lsn>, Problem> {
    let parsed = text.map(str::parse::<Lsn>).transpose();
    parsed.map_err(|error| Problem::invalid("invalid_range", error.to_string()))
}
