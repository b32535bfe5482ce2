//! `/subscriptions/{id}/test`: a signed event that says of itself that it is a test.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State as AxumState;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::State;
use super::attempts::Attempt;
use super::error::Problem;
use super::extract::{OptionalBody, PathId, Tenant};
use super::subscription_actions::active;
use super::subscription_rules as rules;
use super::subscriptions::find;
use crate::audit::Caller;
use crate::db::tenant_transaction;
use crate::delivery::attempt_log;
use crate::delivery::replay::{self, TestEvent};
use crate::duration::HumanDuration;
use crate::event::DeliveryId;

/// The type of a test that has none.
pub const PING: &str = "ping";

/// How long one may wait for the attempt, within the time of a request.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How often the store is asked for it.
const PERIOD: Duration = Duration::from_millis(150);

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SendTest {
    /// The event's type; `ping` if absent.
    #[serde(rename = "type")]
    #[schema(examples("payment.received"))]
    pub event_type: Option<String>,
    /// The event's `data`; if absent the example of its rule, or else that of the newest event
    /// of the type.
    #[schema(value_type = Option<Object>)]
    pub data: Option<Box<RawValue>>,
    /// Answer with the attempt, if it has ended within this time: `20s`; 30 s or half of
    /// `api.request_timeout` at most.
    #[schema(value_type = Option<String>, examples("20s"))]
    pub wait: Option<HumanDuration>,
}

#[derive(Serialize, ToSchema)]
pub struct TestSent {
    /// Read it at `/deliveries/{id}`.
    #[schema(examples("dlv_019aa8f1-7c00-7000-8000-000000000000"))]
    pub delivery_id: String,
    /// The attempt; null without `wait`, or where it had not ended in that time.
    attempt: Option<Attempt>,
}

/// Send a test
///
/// A signed event, whatever types the subscription asks for and whatever its filter says. Its
/// body has `"test": true`, it is listed as a test, and a replay leaves it out. It is sent at
/// once and before what waits; where the endpoint's circuit breaker is open it is the next
/// probe. Where the subscription has a `batch`, the test closes the one that is open, and
/// batches that wait already go first.
#[utoipa::path(post, path = "/subscriptions/{id}/test", tag = "Subscriptions",
    params(("id" = String, Path, description = "`sub_…`")), request_body = Option<SendTest>,
    responses((status = 202, description = "It is due now, or was attempted", body = TestSent)))]
pub async fn test_subscription(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    caller: Caller,
    id: PathId,
    OptionalBody(test): OptionalBody<SendTest>,
) -> Result<(StatusCode, Json<TestSent>), Problem> {
    let wait = test.wait.map_or(Duration::ZERO, |wait| wait.0);
    let longest = LONGEST_WAIT.min(state.request_timeout / 2);
    if wait > longest {
        return Err(Problem::invalid(
            "invalid_wait",
            format!("`wait` is at most {} s here", longest.as_secs()),
        ));
    }
    let event_type = test.event_type.as_deref().unwrap_or(PING);
    if event_type != PING {
        exact_type(&state, event_type)?;
    }
    let subscription = active(find(&state, &tenant, &id).await?)?;
    let data = match &test.data {
        Some(data) => object(data.get())?.to_owned(),
        None if event_type == PING => json!({
            "message": "This is a test. Receiving it shows that the endpoint works and that its signature verifies.",
            "subscription_id": subscription.id.to_string(),
        })
        .to_string(),
        None => example(&state, &tenant, event_type).await?.ok_or_else(|| {
            Problem::invalid(
                "no_example",
                format!("there is no example and no event of the type `{event_type}`: give `data`"),
            )
        })?,
    };
    let largest = state.settings.max_body();
    if data.len() > largest {
        return Err(Problem::invalid(
            "body_too_large",
            format!(
                "`data` is larger than {largest} bytes, which an event may have (delivery.max_body)"
            ),
        ));
    }
    state.limits.take_test(&tenant)?;
    let test = TestEvent {
        event_type,
        data: &data,
    };
    let delivery = replay::send_test(&state.store, &tenant, &subscription, &test, &caller).await?;
    state.schedule_changed.notify_one();
    let sent = TestSent {
        delivery_id: delivery.to_string(),
        attempt: attempt(&state, &tenant, delivery, wait).await,
    };
    Ok((StatusCode::ACCEPTED, Json(sent)))
}

/// One type, not a pattern.
pub fn exact_type(state: &State, event_type: &str) -> Result<(), Problem> {
    rules::check_type(&state.event_types.names(), event_type)?;
    match event_type.ends_with('*') {
        false => Ok(()),
        true => Err(Problem::invalid(
            "invalid_events",
            "a test is of one type: `*` stands for many",
        )),
    }
}

/// A rule's `data` is an object, and so is a test's.
fn object(json: &str) -> Result<&str, Problem> {
    match json.trim_start().starts_with('{') {
        true => Ok(json),
        false => Err(Problem::invalid("invalid_data", "`data` is an object")),
    }
}

/// A `data` such as events of this type have: the example of its rule, or else that of the
/// newest event that was sent.
pub async fn example(
    state: &State,
    tenant: &str,
    event_type: &str,
) -> Result<Option<String>, Problem> {
    if let Some(example) = state.event_types.example(event_type) {
        return Ok(Some(example.to_string()));
    }
    #[derive(Deserialize)]
    struct Body {
        data: Box<RawValue>,
    }
    let mut client = state.store.get().await?;
    let transaction = tenant_transaction(&mut client, tenant).await?;
    let newest = replay::newest_of_type(&transaction, event_type).await?;
    let body = newest.and_then(|body| serde_json::from_slice::<Body>(&body).ok());
    Ok(body.map(|body| body.data.get().to_owned()))
}

/// The newest attempt, once one has ended. The test is sent whether it is waited for or not:
/// what fails here is not told.
async fn attempt(
    state: &State,
    tenant: &str,
    delivery: DeliveryId,
    wait: Duration,
) -> Option<Attempt> {
    let until = Instant::now() + wait;
    while Instant::now() < until {
        tokio::time::sleep_until((Instant::now() + PERIOD).min(until)).await;
        let mut client = state.store.get().await.ok()?;
        let transaction = tenant_transaction(&mut client, tenant).await.ok()?;
        let attempts = attempt_log::attempts(&transaction, delivery, i32::MAX, 1)
            .await
            .ok()?;
        if let Some(newest) = attempts.into_iter().next() {
            return Some(Attempt::from(newest));
        }
    }
    None
}
