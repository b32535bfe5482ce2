//! The endpoints, and the form that makes and changes one.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::Json;
use axum::extract::State as AxumState;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::State;
use super::fault::Fault;
use super::fields::{Fields, Posted};
use super::markup::{Markup, badge};
use super::shell::{Place, Shell, Visitor, html, page, see_other};
use super::words::{EndpointName, Endpoints, endpoint_state};
use crate::api::error::Problem;
use crate::api::extract::{Body, PathId, Tenant};
use crate::api::subscriptions;
use crate::db::tenant_transaction;
use crate::subscription::queries::StoredSubscription;

struct Row {
    name: EndpointName,
    badge: Markup,
    sentence: String,
    events: String,
    filter: Option<String>,
    created_at: Timestamp,
}

#[derive(Template)]
#[template(path = "endpoints.html")]
struct Page {
    shell: Shell,
    rows: Vec<Row>,
}

impl Page {
    fn time(&self, at: &Timestamp) -> Markup {
        self.shell.time(at)
    }
}

/// All of them, newest first.
pub async fn show(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
) -> Result<Response, Fault> {
    let mut client = state.api.store.get().await?;
    let transaction = tenant_transaction(&mut client, visitor.tenant()).await?;
    let endpoints = Endpoints::read(&transaction).await?;
    let rows = endpoints.all.iter().map(|endpoint| {
        let state = endpoint_state(endpoint);
        Row {
            name: EndpointName::of(endpoint),
            badge: badge(state.class, state.shape, state.word),
            sentence: state.sentence,
            events: endpoint.events.join(", "),
            filter: endpoint.filter.clone(),
            created_at: endpoint.created_at,
        }
    });
    page(&Page {
        rows: rows.collect(),
        shell: visitor.shell(Place::Endpoints, "Endpoints"),
    })
}

/// The form, filled in.
#[derive(Default)]
struct Form {
    url: String,
    description: String,
    events: Vec<String>,
    /// Patterns beside those of the list.
    others: String,
    filter: String,
    /// Lines `Name: value`; of an endpoint that exists they are not shown.
    headers: String,
    drop_headers: bool,
    ordering: String,
    format: String,
    rate_limit: String,
    batch: bool,
}

impl Form {
    fn of(fields: &Fields) -> Self {
        let text = |name| fields.exact(name).unwrap_or_default().trim().to_owned();
        Form {
            url: text("url"),
            description: text("description"),
            events: fields.all("events").map(str::to_owned).collect(),
            others: text("others"),
            filter: text("filter"),
            headers: text("headers"),
            drop_headers: fields.has("drop_headers"),
            ordering: text("ordering"),
            format: text("format"),
            rate_limit: text("rate_limit"),
            batch: fields.has("batch"),
        }
    }

    fn stored(endpoint: &StoredSubscription, known: &[String]) -> Self {
        let (events, others): (Vec<_>, Vec<_>) = endpoint
            .events
            .iter()
            .cloned()
            .partition(|event| event == "*" || known.contains(event));
        Form {
            url: endpoint.url.clone(),
            description: endpoint.description.clone().unwrap_or_default(),
            events,
            others: others.join(" "),
            filter: endpoint.filter.clone().unwrap_or_default(),
            headers: String::new(),
            drop_headers: false,
            ordering: endpoint.ordering.clone(),
            format: endpoint.format.clone(),
            rate_limit: endpoint
                .rate_limit
                .map_or_else(String::new, |rate| rate.to_string()),
            batch: endpoint.batching.is_some(),
        }
    }

    fn events(&self) -> Vec<String> {
        let separators = |c: char| c.is_whitespace() || c == ',';
        let others = self.others.split(separators).filter(|one| !one.is_empty());
        let listed = self.events.iter().cloned();
        listed.chain(others.map(str::to_owned)).collect()
    }

    fn headers(&self) -> Result<BTreeMap<String, String>, Problem> {
        let lines = self.headers.lines().filter(|line| !line.trim().is_empty());
        lines
            .enumerate()
            .map(|(at, line)| match line.split_once(':') {
                Some((name, value)) => Ok((name.trim().to_owned(), value.trim().to_owned())),
                None => Err(Problem::invalid(
                    "invalid_headers",
                    format!(
                        "line {} of the headers has no colon: write `Name: value`",
                        at + 1
                    ),
                )),
            })
            .collect()
    }

    /// As the API's call takes it: what was there is replaced where this is a change.
    fn request(&self, is_change: bool, was_batched: bool) -> Result<Value, Problem> {
        let mut request = Map::new();
        let mut set = |name: &str, value: Value| {
            request.insert(name.to_owned(), value);
        };
        let or_null = |text: &str| match text {
            "" => Value::Null,
            text => json!(text),
        };
        set("url", json!(self.url));
        set("events", json!(self.events()));
        set("description", or_null(&self.description));
        set("filter", or_null(&self.filter));
        let rate = match self.rate_limit.as_str() {
            "" => Value::Null,
            text => text
                .parse::<i64>()
                .map_or_else(|_| json!(text), Value::from),
        };
        set("rate_limit", rate);
        for (name, value) in [("ordering", &self.ordering), ("format", &self.format)] {
            if !value.is_empty() {
                set(name, json!(value));
            }
        }
        let headers = self.headers()?;
        if !headers.is_empty() || self.drop_headers {
            set("headers", json!(headers));
        }
        match (self.batch, was_batched) {
            (true, false) => set("batch", json!({})),
            (false, _) => set("batch", Value::Null),
            // Its limits stay as they are.
            (true, true) if is_change => {}
            (true, true) => set("batch", json!({})),
        }
        Ok(Value::Object(request))
    }
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
    super::fields::Asked(asked): super::fields::Asked,
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
    let created = async {
        let request = request(form.request(false, false)?)?;
        let api = AxumState(Arc::clone(&state.api));
        let tenant = Tenant(Arc::clone(visitor.tenant()));
        subscriptions::create_subscription(api, tenant, Body(request)).await
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
    let path = format!("/console/endpoints/{}", stored.id);
    let saved = async {
        let request = request(form.request(true, stored.batching.is_some())?)?;
        let api = AxumState(Arc::clone(&state.api));
        let tenant = Tenant(Arc::clone(visitor.tenant()));
        subscriptions::update_subscription(api, tenant, id, Body(request)).await
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_becomes_the_body_of_the_call() {
        let fields = Fields::parse(
            b"url=https://a.example&events=a.b&others=c.*,+d.e&filter=&rate_limit=5\
              &headers=X-A:+1%0d%0aX-B:+2&ordering=row&format=",
        );
        let form = Form::of(&fields);
        assert_eq!(
            form.request(false, false).unwrap(),
            json!({
                "url": "https://a.example", "events": ["a.b", "c.*", "d.e"],
                "description": null, "filter": null, "rate_limit": 5, "ordering": "row",
                "headers": {"X-A": "1", "X-B": "2"}, "batch": null,
            })
        );
        let fields = Fields::parse(b"headers=nonsense&rate_limit=many&batch=on");
        let form = Form::of(&fields);
        assert!(form.request(false, false).is_err());
        let fields = Fields::parse(b"rate_limit=many&batch=on");
        let changed = Form::of(&fields).request(true, true).unwrap();
        assert_eq!(changed["rate_limit"], "many");
        assert!(changed.get("batch").is_none() && changed.get("headers").is_none());
    }
}
