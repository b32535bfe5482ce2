//! `/filters/test`: a filter on events that there really were, before it is saved.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State as AxumState;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::State;
use super::error::Problem;
use super::extract::{self, Body, Tenant};
use super::subscription_rules as rules;
use crate::conninfo::Transaction;
use crate::db::tenant_transaction;
use crate::delivery::listing::{self, EventId, EventSearch, IdRange, StoredEvent};
use crate::mapping::filter::{Body as EventBody, Filter};

/// Events that a filter is tested on at most.
const EVENTS: u16 = 50;
/// Pages of the newest that are looked through.
const PAGES: usize = 10;
/// For how long events are tested: each may cost a filter's whole budget several times.
const TIME: Duration = Duration::from_secs(2);

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestFilter {
    /// The filter, as a subscription has it.
    #[schema(examples("data.amount > 100"))]
    filter: String,
    /// Types, `prefix.*` or `*`; all if absent.
    events: Option<Vec<String>>,
    /// How many of the newest events of these types, 1 to 50; 50 if absent.
    #[schema(minimum = 1, maximum = 50)]
    last: Option<u16>,
    /// These events instead of the newest.
    event_ids: Option<Vec<String>>,
}

#[derive(Serialize, ToSchema)]
pub struct FilterTested {
    /// On how many events it was tested.
    tested: usize,
    /// How many of them would be sent.
    matching: usize,
    /// False: testing took too long, or there were too many events of other types between.
    complete: bool,
    data: Vec<TestedEvent>,
}

#[derive(Serialize, ToSchema)]
pub struct TestedEvent {
    id: String,
    #[serde(rename = "type")]
    event_type: String,
    /// When the change was committed.
    timestamp: Timestamp,
    /// `sent`, `refused`, or `failed`: then it is not sent either.
    #[schema(examples("refused"))]
    verdict: &'static str,
    /// Of a refused one: the part of the filter that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    clause: Option<String>,
    /// What that part names, with its values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    values: Vec<NamedValue>,
    /// Of a failed one: why.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct NamedValue {
    #[schema(examples("data.amount"))]
    name: String,
    /// As it stands in the event; absent where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    value: Option<Box<RawValue>>,
}

/// Test a filter
///
/// On the newest events, newest first, or on those that are named. Nothing is sent or saved.
#[utoipa::path(post, path = "/filters/test", tag = "Subscriptions", request_body = TestFilter,
    responses((status = 200, description = "What it would do with each event", body = FilterTested)))]
pub async fn test_filter(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    Body(request): Body<TestFilter>,
) -> Result<Json<FilterTested>, Problem> {
    let began = Instant::now();
    let types = rules::events(&state, None, request.events)?.unwrap_or_else(|| vec!["*".into()]);
    let filter = Filter::compile(&request.filter)
        .map_err(|error| Problem::invalid("invalid_filter", error.to_string()))?;
    let last = match (request.last.unwrap_or(EVENTS), &request.event_ids) {
        (_, Some(ids)) if ids.len() > usize::from(EVENTS) => {
            return Err(Problem::invalid(
                "invalid_limit",
                format!("there are {} `event_ids`: use {EVENTS} at most", ids.len()),
            ));
        }
        (last @ 1..=EVENTS, _) => usize::from(last),
        (last, _) => {
            return Err(Problem::invalid(
                "invalid_limit",
                format!("`last` is {last}: use 1 to {EVENTS}"),
            ));
        }
    };
    let mut client = state.store.get().await?;
    let transaction = tenant_transaction(&mut client, &tenant).await?;
    let (ids, mut complete) = match &request.event_ids {
        None => newest(&transaction, types, last).await?,
        Some(ids) => {
            let parsed = ids.iter().map(|id| extract::parse_id("event_ids", id));
            (parsed.collect::<Result<_, _>>()?, true)
        }
    };
    let mut data = Vec::new();
    for id in ids {
        if began.elapsed() > TIME {
            complete = false;
            break;
        }
        let found = listing::event(&transaction, id).await?;
        let found = found.ok_or_else(|| Problem::not_found("event", &id.to_string()))?;
        data.push(test(&filter, &found));
    }
    Ok(Json(FilterTested {
        tested: data.len(),
        matching: data.iter().filter(|one| one.verdict == "sent").count(),
        complete,
        data,
    }))
}

/// The newest events of these types; false: there may be more further back.
async fn newest(
    transaction: &Transaction<'_>,
    types: Vec<String>,
    last: usize,
) -> Result<(Vec<EventId>, bool), Problem> {
    let search = EventSearch { types, row: None };
    let mut ids = IdRange::new(None, None, None);
    let mut newest = Vec::new();
    for _ in 0..PAGES {
        let found = listing::events(transaction, &search, ids, i64::from(EVENTS)).await?;
        // What answers a test is sent whatever the filter says.
        let wanted = found.rows.iter().filter(|event| !event.is_test);
        newest.extend(wanted.map(|event| event.id));
        if newest.len() >= last {
            newest.truncate(last);
            return Ok((newest, true));
        }
        match found.next {
            None => return Ok((newest, true)),
            Some(_) if found.searched_to.is_some() => return Ok((newest, false)),
            Some(next) => ids.to = next,
        }
    }
    Ok((newest, false))
}

fn test(filter: &Filter, event: &StoredEvent) -> TestedEvent {
    let mut tested = TestedEvent {
        id: event.id.to_string(),
        event_type: event.event_type.clone(),
        timestamp: event.occurred_at,
        verdict: "failed",
        clause: None,
        values: Vec::new(),
        error: None,
    };
    let body = EventBody::parse(event.body.as_deref().unwrap_or_default());
    let matched = body
        .as_ref()
        .map_err(Clone::clone)
        .and_then(|body| filter.matches_body(body));
    match (matched, body) {
        (Ok(true), _) => tested.verdict = "sent",
        (Ok(false), Ok(body)) => {
            let refusal = filter.refusal(&body);
            tested.verdict = "refused";
            tested.clause = Some(refusal.clause);
            let values = refusal.values.into_iter().map(|one| NamedValue {
                name: one.expression,
                value: one.value,
            });
            tested.values = values.collect();
        }
        (Err(error), _) | (_, Err(error)) => tested.error = Some(error.to_string()),
    }
    tested
}
