//! Testing an endpoint with a signed event of any type.

use std::sync::Arc;

use askama::Template;
use axum::Json;
use axum::extract::State as AxumState;
use axum::response::Response;
use serde_json::value::RawValue;

use super::State;
use super::actions::call;
use super::capability::Capability;
use super::fault::Fault;
use super::fields::{self, Asked, Posted};
use super::shell::{Place, Shell, Visitor, page, see_other};
use super::words::{EndpointName, Endpoints};
use crate::api::error::Problem;
use crate::api::extract::{OptionalBody, PathId};
use crate::api::test_events::{self, PING, SendTest};
use crate::db::tenant_transaction;

#[derive(Template)]
#[template(path = "test.html")]
struct Page {
    shell: Shell,
    /// Those that are active.
    endpoints: Vec<EndpointName>,
    /// There are others.
    has_disabled: bool,
    types: Vec<String>,
    event_type: String,
    endpoint: Option<String>,
    /// The `data` to send; none of a ping, which has its own.
    data: Option<String>,
    /// Nobody has said what the type looks like.
    is_unknown: bool,
}

impl Page {
    fn is_type(&self, name: &str) -> bool {
        self.event_type == name
    }

    fn is_endpoint(&self, name: &EndpointName) -> bool {
        self.endpoint.as_deref() == Some(&name.id)
    }
}

/// A form with an example of the type that is asked for.
pub async fn show(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    Asked(asked): Asked,
) -> Result<Response, Fault> {
    let types = state.api.event_types.names();
    let event_type = asked.get("type").unwrap_or(PING);
    if event_type != PING {
        test_events::exact_type(&state.api, event_type).map_err(back)?;
    }
    let example = match event_type {
        PING => None,
        // Of what was sent only those see anything who may see bodies.
        _ if visitor.may(Capability::Payloads) => {
            test_events::example(&state.api, visitor.tenant(), event_type).await?
        }
        _ => {
            let example = state.api.event_types.example(event_type);
            example.map(|example| example.to_string())
        }
    };
    let is_unknown = event_type != PING && example.is_none();
    let mut client = state.api.store.get().await?;
    let transaction = tenant_transaction(&mut client, visitor.tenant()).await?;
    let endpoints = Endpoints::read(&transaction).await?;
    drop(transaction);
    let active = endpoints.all.iter().filter(|endpoint| endpoint.active);
    page(&Page {
        has_disabled: endpoints.all.iter().any(|endpoint| !endpoint.active),
        endpoints: active.map(EndpointName::of).collect(),
        data: match (event_type, example) {
            (PING, _) => None,
            (_, Some(example)) => Some(example),
            (_, None) => Some("{}".to_owned()),
        },
        event_type: event_type.to_owned(),
        endpoint: asked.get("endpoint").map(str::to_owned),
        is_unknown,
        types,
        shell: visitor.shell(Place::Test, "Test"),
    })
}

/// Sends it, and leads to what becomes of it.
pub async fn send(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    Posted(form): Posted,
) -> Result<Response, Fault> {
    let endpoint = form.get("endpoint").unwrap_or_default().to_owned();
    let data = form.get("data").map(|text| {
        let parsed = RawValue::from_string(text.to_owned());
        parsed.map_err(|error| {
            Problem::invalid("invalid_data", format!("the data is not JSON: {error}"))
        })
    });
    let test = SendTest {
        event_type: form.get("type").map(str::to_owned),
        data: data.transpose().map_err(back)?,
        wait: None,
    };
    let (api, tenant, caller) = call(&state, &visitor);
    let (id, test) = (PathId(endpoint), OptionalBody(test));
    let sent = test_events::test_subscription(api, tenant, caller, id, test).await;
    let (_, Json(sent)) = sent.map_err(back)?;
    let done = fields::query([("done", "test")]);
    Ok(see_other(&format!(
        "/console/deliveries/{}{done}",
        sent.delivery_id
    )))
}

fn back(problem: Problem) -> Fault {
    Fault::from(problem).with_next("/console/test", "The test")
}
