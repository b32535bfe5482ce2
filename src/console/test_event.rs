//! Testing an endpoint with a signed ping.

use std::sync::Arc;

use askama::Template;
use axum::extract::State as AxumState;
use axum::response::Response;

use super::State;
use super::fault::Fault;
use super::shell::{Place, Shell, Visitor, page};
use super::words::{EndpointName, Endpoints};
use crate::db::tenant_transaction;

struct Row {
    name: EndpointName,
    is_active: bool,
}

#[derive(Template)]
#[template(path = "test.html")]
struct Page {
    shell: Shell,
    rows: Vec<Row>,
}

/// The endpoints, with a test for each.
pub async fn show(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
) -> Result<Response, Fault> {
    let mut client = state.api.store.get().await?;
    let transaction = tenant_transaction(&mut client, visitor.tenant()).await?;
    let endpoints = Endpoints::read(&transaction).await?;
    let rows = endpoints.all.iter().map(|endpoint| Row {
        name: EndpointName::of(endpoint),
        is_active: endpoint.active,
    });
    page(&Page {
        rows: rows.collect(),
        shell: visitor.shell(Place::Test, "Test"),
    })
}
