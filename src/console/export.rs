//! The lists as files, by the API's exports: what the page's address asks for, a row a line.

use std::sync::Arc;

use axum::extract::State as AxumState;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use jiff::Timestamp;

use super::State;
use super::fault::Fault;
use super::fields::Asked;
use super::session;
use super::shell::Visitor;
use super::wanted::Wanted;
use crate::api::export::{Rows, export};
use crate::delivery::listing::IdRange;

pub async fn deliveries(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    headers: HeaderMap,
    Asked(asked): Asked,
) -> Result<Response, Fault> {
    let wanted = Wanted::of(&asked);
    let rows = Rows::Deliveries {
        search: wanted.search()?,
        ids: ids(&wanted)?,
        before: None,
    };
    file(&state, &visitor, &headers, rows, "deliveries").await
}

pub async fn events(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    headers: HeaderMap,
    Asked(asked): Asked,
) -> Result<Response, Fault> {
    let wanted = Wanted::of(&asked);
    let rows = Rows::Events {
        search: wanted.events(),
        ids: ids(&wanted)?,
    };
    file(&state, &visitor, &headers, rows, "events").await
}

fn ids(wanted: &Wanted) -> Result<IdRange, Fault> {
    let (since, until) = wanted.range(Timestamp::now())?;
    Ok(IdRange::new(since, until, None))
}

async fn file(
    state: &Arc<State>,
    visitor: &Visitor,
    headers: &HeaderMap,
    rows: Rows,
    name: &str,
) -> Result<Response, Fault> {
    let check = session::check(state, headers);
    let tenant = Arc::clone(visitor.tenant());
    let mut response = export(Arc::clone(&state.api), tenant, rows, check).await?;
    let disposition = format!("attachment; filename=\"{name}.ndjson\"");
    if let Ok(value) = HeaderValue::try_from(disposition) {
        response
            .headers_mut()
            .insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}
