//! The types of events that there are, and who of the endpoints gets each.

use std::sync::Arc;

use askama::Template;
use axum::extract::State as AxumState;
use axum::response::Response;

use super::State;
use super::fault::Fault;
use super::shell::{Place, Shell, Visitor, page};
use super::words::{EndpointName, Endpoints};
use crate::db::tenant_transaction;
use crate::subscription::directory::type_matches;

struct Type {
    name: String,
    description: Option<String>,
    /// A `data` such as it has.
    example: Option<String>,
    /// The members of its `data`, where they are known.
    members: Vec<String>,
    is_system: bool,
    endpoints: Vec<EndpointName>,
}

#[derive(Template)]
#[template(path = "catalogue.html")]
struct Page {
    shell: Shell,
    types: Vec<Type>,
}

/// All of them, sorted.
pub async fn show(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
) -> Result<Response, Fault> {
    let mut client = state.api.store.get().await?;
    let transaction = tenant_transaction(&mut client, visitor.tenant()).await?;
    let endpoints = Endpoints::read(&transaction).await?;
    drop(transaction);
    let types = state.api.event_types.all();
    let types = types.iter().map(|one| {
        let asks = |events: &[String]| events.iter().any(|event| type_matches(event, &one.name));
        let of = endpoints
            .all
            .iter()
            .filter(|endpoint| asks(&endpoint.events));
        Type {
            name: one.name.clone(),
            description: one.description.clone(),
            example: one.example.as_ref().map(|example| format!("{example:#}")),
            members: one.data.clone().unwrap_or_default(),
            is_system: one.is_operational,
            endpoints: of.map(EndpointName::of).collect(),
        }
    });
    page(&Page {
        types: types.collect(),
        shell: visitor.shell(Place::Catalogue, "Catalogue"),
    })
}
