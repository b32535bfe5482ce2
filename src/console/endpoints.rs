//! The endpoints, and the form that makes and changes one.

use std::sync::Arc;

use askama::Template;
use axum::Json;
use axum::extract::State as AxumState;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use super::State;
use super::actions::call;
use super::chart::{self, Span};
use super::fault::Fault;
use super::fields::{Asked, Posted};
use super::markup::{Markup, badge};
use super::shell::{Place, Shell, Visitor, html, page, see_other};
use super::words::{EndpointName, Endpoints, endpoint_state};
use crate::api::error::Problem;
use crate::api::extract::{Body, PathId};
use crate::api::subscriptions;
use crate::db::tenant_transaction;
use crate::delivery::stats;
use crate::subscription::queries::StoredSubscription;

mod filter_trial;
mod form;

use filter_trial::Tested;
use form::Form;

struct Row {
    name: EndpointName,
    badge: Markup,
    sentence: String,
    events: String,
    filter: Option<String>,
    spark: Markup,
    created_at: Timestamp,
}

#[derive(Template)]
#[template(path = "endpoints.html")]
struct Page {
    shell: Shell,
    rows: Vec<Row>,
    /// The address of the page with the older ones.
    next: Option<String>,
    is_first: bool,
}

impl Page {
    fn time(&self, at: &Timestamp) -> Markup {
        self.shell.time(at)
    }
}

/// Endpoints on a page.
const ROWS: usize = 50;

/// All of them, newest first, page by page.
pub async fn show(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    Asked(asked): Asked,
) -> Result<Response, Fault> {
    let from = asked.get("from").map_or(Ok(0), str::parse);
    let from: usize =
        from.map_err(|_| Problem::invalid("invalid_query", "`from` is a number of endpoints"))?;
    let mut client = state.api.store.get().await?;
    let transaction = tenant_transaction(&mut client, visitor.tenant()).await?;
    let endpoints = Endpoints::read(&transaction).await?;
    let rows = endpoints.all.iter().skip(from).take(ROWS);
    let ids: Vec<Uuid> = rows.clone().map(|one| one.id.0).collect();
    let now = Timestamp::now();
    let day = Span::named(None).range(now);
    let counted = stats::of_subscriptions(&transaction, &ids, day).await?;
    let last = endpoints.last_results(&transaction).await?;
    drop(transaction);
    let is_more = endpoints.all.len() > from.saturating_add(ROWS);
    let rows = rows.map(|endpoint| {
        let state = endpoint_state(endpoint, last.get(&endpoint.id));
        let counts = counted.get(&endpoint.id).map_or(&[][..], Vec::as_slice);
        Row {
            name: EndpointName::of(endpoint),
            badge: badge(state.class, state.shape, state.word),
            sentence: state.sentence,
            events: endpoint.events.join(", "),
            filter: endpoint.filter.clone(),
            spark: chart::spark(counts, now),
            created_at: endpoint.created_at,
        }
    });
    page(&Page {
        rows: rows.collect(),
        next: is_more.then(|| format!("{}?from={}", Place::Endpoints.path(), from + ROWS)),
        is_first: from == 0,
        shell: visitor.shell(Place::Endpoints, "Endpoints"),
    })
}

#[derive(Template)]
#[template(path = "endpoint_form.html")]
struct FormPage {
    shell: Shell,
    form: Form,
    types: Vec<String>,
    /// None for a new one.
    id: Option<String>,
    /// The names of the headers that it has.
    header_names: Vec<String>,
    /// Why it was not saved.
    fault: Option<String>,
    /// What its filter would do with events that there were.
    tested: Option<Tested>,
}

impl FormPage {
    fn wants(&self, event: &str) -> bool {
        self.form.events.iter().any(|one| one == event)
    }

    fn is_ordering(&self, name: &str) -> bool {
        self.form.ordering == name
    }

    fn is_format(&self, name: &str) -> bool {
        self.form.format == name
    }

    fn answer(&self) -> Result<Response, Fault> {
        let status = match self.fault {
            Some(_) => StatusCode::BAD_REQUEST,
            None => StatusCode::OK,
        };
        Ok(html(status, self.render()?))
    }
}

/// The empty form; `?type=` chooses one type.
pub async fn new(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    Asked(asked): Asked,
) -> Result<Response, Fault> {
    let form = Form {
        events: asked.all("type").map(str::to_owned).collect(),
        ..Form::default()
    };
    form_page(&state, &visitor, form, None).answer()
}

fn form_page(state: &State, visitor: &Visitor, form: Form, fault: Option<String>) -> FormPage {
    FormPage {
        shell: visitor.shell(Place::Endpoints, "New endpoint"),
        form,
        types: state.api.event_types.names(),
        id: None,
        header_names: Vec::new(),
        fault,
        tested: None,
    }
}

#[derive(Template)]
#[template(path = "secret.html")]
pub struct SecretPage {
    pub shell: Shell,
    pub id: String,
    pub is_new: bool,
    /// Shown this once, to who may see it.
    pub secret: Option<String>,
}

/// Creates one, as the API's call does, and shows the secret this once.
pub async fn create(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    Posted(fields): Posted,
) -> Result<Response, Fault> {
    let form = Form::of(&fields);
    if fields.has("try") {
        let (tested, fault) =
            filter_trial::run(&state, &visitor, &form.filter, form.events()).await?;
        let page = FormPage {
            tested,
            ..form_page(&state, &visitor, form, fault)
        };
        return page.answer();
    }
    let created = async {
        let request = request(form.request(false, false)?)?;
        let (api, tenant, caller) = call(&state, &visitor);
        subscriptions::create_subscription(api, tenant, caller, Body(request)).await
    };
    let (_, Json(created)) = match created.await {
        Ok(created) => created,
        Err(problem) if problem.status().is_client_error() => {
            let fault = Some(problem.detail().to_owned());
            return form_page(&state, &visitor, form, fault).answer();
        }
        Err(problem) => return Err(problem.into()),
    };
    let created = value(&created)?;
    page(&SecretPage {
        shell: visitor.shell(Place::Endpoints, "Your new endpoint"),
        id: text(&created, "id"),
        is_new: true,
        // Whoever makes an endpoint must be able to verify what it gets.
        secret: created["secret"].as_str().map(str::to_owned),
    })
}

/// The body of a call of the API, as it would be posted.
pub fn request<T: DeserializeOwned>(body: Value) -> Result<T, Problem> {
    serde_json::from_value(body)
        .map_err(|error| Problem::invalid("invalid_body", error.to_string()))
}

/// What a call of the API answers.
pub fn value(answer: &impl Serialize) -> Result<Value, Fault> {
    let value = serde_json::to_value(answer);
    value.map_err(|error| Problem::from(anyhow::Error::from(error)).into())
}

pub fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

/// The form of one that exists.
pub async fn edit(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    id: PathId,
) -> Result<Response, Fault> {
    let found = subscriptions::find(&state.api, visitor.tenant(), &id).await?;
    let form = Form::stored(&found, &state.api.event_types.names());
    edit_page(&state, &visitor, &found, form, None).answer()
}

fn edit_page(
    state: &State,
    visitor: &Visitor,
    stored: &StoredSubscription,
    form: Form,
    fault: Option<String>,
) -> FormPage {
    let headers = stored.headers.open(&state.api.key, stored.id);
    FormPage {
        shell: visitor.shell(Place::Endpoints, "Edit endpoint"),
        id: Some(stored.id.to_string()),
        header_names: headers.map_or_else(|_| Vec::new(), |all| all.into_keys().collect()),
        ..form_page(state, visitor, form, fault)
    }
}

/// Changes one, as the API's call does.
pub async fn save(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    id: PathId,
    Posted(fields): Posted,
) -> Result<Response, Fault> {
    let stored = subscriptions::find(&state.api, visitor.tenant(), &id).await?;
    let form = Form::of(&fields);
    if fields.has("try") {
        let (tested, fault) =
            filter_trial::run(&state, &visitor, &form.filter, form.events()).await?;
        let page = FormPage {
            tested,
            ..edit_page(&state, &visitor, &stored, form, fault)
        };
        return page.answer();
    }
    let path = format!("/console/endpoints/{}", stored.id);
    let saved = async {
        let request = request(form.request(true, stored.batching.is_some())?)?;
        let (api, tenant, caller) = call(&state, &visitor);
        subscriptions::update_subscription(api, tenant, caller, id, Body(request)).await
    };
    match saved.await {
        Ok(_) => Ok(see_other(&format!("{path}?done=save"))),
        Err(problem) if problem.status().is_client_error() => {
            let fault = Some(problem.detail().to_owned());
            edit_page(&state, &visitor, &stored, form, fault).answer()
        }
        Err(problem) => Err(problem.into()),
    }
}
