//! What is done to an endpoint: test, pause, enable, rotate, delete. Each as the API's call does.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as AxumState;
use axum::response::Response;
use serde_json::json;

use super::State;
use super::capability::Capability;
use super::endpoints::{SecretPage, request, text, value};
use super::fault::Fault;
use super::fields::{self, Posted};
use super::shell::{Place, Visitor, page, see_other};
use crate::api::extract::{Body, OptionalBody, PathId, Tenant};
use crate::api::test_events::{self, SendTest};
use crate::api::{signing, subscription_actions, subscriptions};
use crate::audit::Caller;
use crate::subscription::host;

/// What the handlers of the API take.
pub fn call(
    state: &State,
    visitor: &Visitor,
) -> (AxumState<Arc<crate::api::State>>, Tenant, Caller) {
    (
        AxumState(Arc::clone(&state.api)),
        Tenant(Arc::clone(visitor.tenant())),
        visitor.caller.clone(),
    )
}

/// Sends a test, and leads to what becomes of it.
pub async fn test(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    id: PathId,
    Posted(form): Posted,
) -> Result<Response, Fault> {
    let (api, tenant, caller) = call(&state, &visitor);
    let back = format!("/console/endpoints/{}", id.0);
    let wanted = OptionalBody(SendTest {
        event_type: form.get("type").map(str::to_owned),
        ..SendTest::default()
    });
    let sent = test_events::test_subscription(api, tenant, caller, id, wanted).await;
    let (_, Json(sent)) =
        sent.map_err(|problem| Fault::from(problem).with_next(back, "The endpoint"))?;
    let delivery = sent.delivery_id;
    Ok(see_other(&format!(
        "/console/deliveries/{delivery}?done=test"
    )))
}

/// Pauses: what comes in is not sent, what waits is parked.
pub async fn pause(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    id: PathId,
    Posted(_): Posted,
) -> Result<Response, Fault> {
    let path = format!("/console/endpoints/{}?done=pause", id.0);
    let (api, tenant, caller) = call(&state, &visitor);
    let change = Body(request(json!({"active": false}))?);
    let Json(_paused) = subscriptions::update_subscription(api, tenant, caller, id, change).await?;
    Ok(see_other(&path))
}

/// Enables, and leads to the replay of what was missed.
pub async fn enable(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    id: PathId,
    Posted(_): Posted,
) -> Result<Response, Fault> {
    let path = format!("/console/endpoints/{}", id.0);
    let (api, tenant, caller) = call(&state, &visitor);
    let Json(enabled) = subscription_actions::enable_subscription(api, tenant, caller, id).await?;
    let replay = &value(&enabled)?["replay"];
    let (since, until) = (text(replay, "since"), text(replay, "until"));
    let mut query = vec![("done", "enable")];
    if !since.is_empty() {
        query.extend([("since", since.as_str()), ("until", until.as_str())]);
    }
    Ok(see_other(&format!("{path}{}", fields::query(query))))
}

/// Makes a new secret and shows it this once.
pub async fn rotate(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    id: PathId,
    Posted(_): Posted,
) -> Result<Response, Fault> {
    let shown = id.0.clone();
    let (api, tenant, caller) = call(&state, &visitor);
    let new = OptionalBody(signing::RotateSecret::default());
    let Json(rotated) = signing::rotate_secret(api, tenant, caller, id, new).await?;
    let rotated = value(&rotated)?;
    page(&SecretPage {
        shell: visitor.shell(Place::Endpoints, "The new secret"),
        id: shown,
        is_new: false,
        secret: rotated["secret"]
            .as_str()
            .filter(|_| visitor.may(Capability::Secrets))
            .map(str::to_owned),
    })
}

/// Deletes, where the host's name was typed.
pub async fn delete(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    id: PathId,
    Posted(form): Posted,
) -> Result<Response, Fault> {
    let stored = subscriptions::find(&state.api, visitor.tenant(), &id).await?;
    let expected = host(&stored.url);
    if form.get("host") != Some(expected.as_str()) {
        return Err(Fault::invalid(
            "not_confirmed",
            format!("Nothing was deleted: type the host's name, {expected}, to confirm."),
        )
        .with_next(format!("/console/endpoints/{}", id.0), "Back to it"));
    }
    let (api, tenant, caller) = call(&state, &visitor);
    subscriptions::delete_subscription(api, tenant, caller, id).await?;
    Ok(see_other("/console/endpoints"))
}
