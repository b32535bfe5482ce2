//! Sending many again: which endpoint, which time, what; the number before, and then the start.

use std::sync::Arc;

use askama::Template;
use axum::extract::State as AxumState;
use axum::response::Response;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::State;
use super::actions::call;
use super::endpoints::{request, text};
use super::fault::Fault;
use super::fields::{Asked, Fields, Posted};
use super::jobs::{JobView, newest_jobs};
use super::markup::Markup;
use super::shell::{Place, Shell, Visitor, page, see_other};
use super::wanted::{TIMES, Wanted};
use super::words::{EndpointName, Endpoints};
use crate::api::extract::{Body, OptionalBody, PathId, parse_id};
use crate::api::{deliveries, subscription_actions};
use crate::db::tenant_transaction;
use crate::delivery::listing::IdRange;
use crate::subscription::queries::SubscriptionId;

mod preview;

use preview::{Preview, preview_all, preview_waiting};

/// A receiver may not expect what is older.
const OLD_DAYS: i64 = 7;

/// What is to be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// Dead letters.
    Failed,
    /// Waiting for its next attempt: now instead.
    Pending,
    /// Every event of the time that the endpoint asks for, received before or not.
    All,
}

impl What {
    const ALL: [What; 3] = [What::Failed, What::Pending, What::All];

    fn as_str(self) -> &'static str {
        match self {
            What::Failed => "failed",
            What::Pending => "pending",
            What::All => "all",
        }
    }

    fn words(self) -> &'static str {
        match self {
            What::Failed => "what has failed for good",
            What::Pending => "what waits for its next attempt: now instead",
            What::All => "every event of that time, also what was delivered or never made",
        }
    }

    fn of(fields: &Fields) -> Self {
        let asked = fields.get("what").unwrap_or_default();
        let found = What::ALL.into_iter().find(|one| one.as_str() == asked);
        found.unwrap_or(What::Failed)
    }
}

/// The three answers, checked.
struct Order {
    what: What,
    endpoint: Option<SubscriptionId>,
    event_type: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Order {
    fn of(fields: &Fields, now: Timestamp) -> Result<Self, Fault> {
        let wanted = Wanted::of(fields);
        let (since, until) = wanted.range(now)?;
        if since
            .zip(until)
            .is_some_and(|(since, until)| since >= until)
        {
            return Err(Fault::invalid(
                "invalid_range",
                "The time ends before it begins.",
            ));
        }
        let endpoint = wanted.endpoint.as_deref();
        Ok(Order {
            what: What::of(fields),
            endpoint: endpoint.map(|id| parse_id("endpoint", id)).transpose()?,
            event_type: wanted.event_type,
            since,
            until,
        })
    }

    fn ids(&self) -> IdRange {
        IdRange::new(self.since, self.until, None)
    }
}

#[derive(Template)]
#[template(path = "recover.html")]
struct Page {
    shell: Shell,
    wanted: Wanted,
    what: What,
    kinds: [What; 3],
    times: [(&'static str, i64); 4],
    types: Vec<String>,
    endpoints: Vec<EndpointName>,
    /// None before anything is asked for.
    preview: Option<Preview>,
    /// What must be answered first.
    missing: Option<&'static str>,
    is_old: bool,
    is_ordered: bool,
    /// The times of the number, as the order repeats them.
    since: Option<String>,
    until: String,
    list: String,
    jobs: Vec<JobView>,
}

impl Page {
    fn is_endpoint(&self, name: &EndpointName) -> bool {
        self.wanted.endpoint.as_deref() == Some(&name.id)
    }

    fn is_type(&self, name: &str) -> bool {
        self.wanted.event_type.as_deref() == Some(name)
    }

    fn is_time(&self, name: &str) -> bool {
        self.wanted.within.as_deref() == Some(name)
    }

    fn time(&self, at: &Timestamp) -> Markup {
        self.shell.time(at)
    }
}

/// The questions, and once they are answered the number.
pub async fn show(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    Asked(asked): Asked,
) -> Result<Response, Fault> {
    let shell = visitor.shell(Place::Recover, "Recover");
    let order = Order::of(&asked, shell.now)?;
    let mut client = state.api.store.get().await?;
    let transaction = tenant_transaction(&mut client, visitor.tenant()).await?;
    let endpoints = Endpoints::read(&transaction).await?;
    let jobs = newest_jobs(&transaction, &endpoints).await?;
    let one = order.endpoint.and_then(|id| endpoints.get(id));
    let missing = match (asked.has("what"), order.what, one, order.since) {
        (false, ..) => None,
        (true, What::All, None, _) => Some("Choose the endpoint that is to get every event again."),
        (true, What::All, Some(_), None) => Some("Choose from when on every event is sent again."),
        (true, What::All, Some(one), Some(_)) if !one.active => {
            Some("This endpoint is disabled: enable it first.")
        }
        (true, ..) => None,
    };
    let preview = match (asked.has("what"), order.what, one) {
        (false, ..) => None,
        _ if missing.is_some() => None,
        (true, What::All, Some(one)) => {
            // It takes connections of its own: one request never holds two.
            drop(transaction);
            drop(client);
            Some(preview_all(&state, &visitor, &order, one).await?)
        }
        (true, ..) => Some(preview_waiting(&transaction, &order, &endpoints).await?),
    };
    let now = shell.now;
    let oldest = preview.as_ref().and_then(|preview| preview.oldest);
    let is_ordered = match one {
        Some(one) => one.ordering == "row",
        None => endpoints.all.iter().any(|one| one.ordering == "row"),
    };
    let wanted = Wanted::of(&asked);
    let status = match order.what {
        What::Failed => Some("failed"),
        What::Pending => Some("pending"),
        What::All => None,
    };
    let listed = Wanted {
        status: status.map(str::to_owned),
        ..wanted.clone()
    };
    let page_of = Page {
        what: order.what,
        kinds: What::ALL,
        times: TIMES,
        types: state.api.event_types.names(),
        endpoints: endpoints.names(),
        is_old: oldest.is_some_and(|at| now.as_second() - at.as_second() > OLD_DAYS * 86_400),
        is_ordered: is_ordered && preview.is_some(),
        since: order.since.map(|at| at.to_string()),
        // What fails from here on was not in the number.
        until: wanted.until.clone().unwrap_or_else(|| format!("{now:.3}")),
        list: listed.path(),
        jobs,
        preview,
        missing,
        wanted,
        shell,
    };
    page(&page_of)
}

/// Sends again what was counted, as the API's calls do: a job, which goes on by itself.
pub async fn start(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    Posted(form): Posted,
) -> Result<Response, Fault> {
    let order = Order::of(&form, Timestamp::now())?;
    let (api, tenant, caller) = call(&state, &visitor);
    let rate = match form.get("rate") {
        None => None,
        Some(text) => Some(text.parse::<u32>().map_err(|_| {
            Fault::invalid(
                "invalid_rate",
                "Deliveries a second are a whole number from 1 to 10000.",
            )
            .with_next("/console/recover", "Recover")
        })?),
    };
    let begun = match order.what {
        What::Failed | What::Pending => {
            let retry = request(json!({
                "status": order.what.as_str(),
                "subscription_id": order.endpoint.map(|id| id.to_string()),
                "event": order.event_type,
                "since": order.since,
                "until": order.until,
                "max_per_second": rate,
            }))?;
            deliveries::retry_deliveries(api, tenant, caller, OptionalBody(retry)).await?
        }
        What::All => {
            let choose = || {
                let detail = "Choose an endpoint, and from when on every event is sent again.";
                Fault::invalid("invalid_range", detail).with_next("/console/recover", "Recover")
            };
            let endpoint = order.endpoint.ok_or_else(choose)?;
            let since = order.since.ok_or_else(choose)?;
            let replay = request(json!({
                "since": since,
                "until": order.until,
                "events": order.event_type.map(|one| [one]),
                "max_per_second": rate,
            }))?;
            let id = PathId(endpoint.to_string());
            subscription_actions::replay_subscription(api, tenant, caller, id, Body(replay)).await?
        }
    };
    Ok(see_other(&format!(
        "/console/jobs/{}",
        job_of(begun).await?
    )))
}

/// The id of the job that a call of the API answers.
async fn job_of(answer: Response) -> Result<String, Fault> {
    // Our own answer, which is in memory already.
    let body = axum::body::to_bytes(answer.into_body(), ANSWER).await;
    let job: Value = body
        .ok()
        .and_then(|body| serde_json::from_slice(&body).ok())
        .unwrap_or_default();
    Ok(text(&job, "id"))
}

/// Bytes of an answer that says how far a job has come: some hundred.
const ANSWER: usize = 64 * 1024;
