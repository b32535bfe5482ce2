//! One endpoint: how it is, what was sent to it last, what can be done with it.

use std::sync::Arc;

use askama::Template;
use axum::extract::State as AxumState;
use axum::response::Response;
use jiff::Timestamp;
use uuid::Uuid;

use super::State;
use super::chart::{Activity, Span};
use super::deliveries::committed;
use super::fault::{Fault, retention_days, spoken};
use super::fields::{self, Asked, Fields};
use super::markup::{Markup, badge, last_answer, state as state_of};
use super::shell::{Place, Shell, Visitor, page};
use super::words::{EndpointName, endpoint_state};
use crate::api::extract::PathId;
use crate::db::tenant_transaction;
use crate::delivery::listing::{self, Delivery, DeliverySearch, IdRange, Status};
use crate::subscription::host;
use crate::subscription::queries::{self, StoredSubscription, SubscriptionId};

/// The newest deliveries, and the newest that failed.
const NEWEST: i64 = 10;

struct Row {
    id: String,
    state: Markup,
    event_type: String,
    answer: String,
    at: Timestamp,
}

impl Row {
    fn of(delivery: &Delivery) -> Self {
        Row {
            id: delivery.id.to_string(),
            state: state_of(delivery.status),
            event_type: delivery.event_type.clone(),
            answer: last_answer(delivery),
            at: committed(delivery.event_id.0),
        }
    }
}

#[derive(Template)]
#[template(path = "endpoint.html")]
struct Page {
    shell: Shell,
    name: EndpointName,
    id: String,
    url: String,
    host: String,
    badge: Markup,
    sentence: String,
    is_active: bool,
    events: Vec<String>,
    filter: Option<String>,
    filter_error: Option<String>,
    headers: Vec<String>,
    ordering: String,
    format: String,
    rate_limit: Option<i32>,
    is_batched: bool,
    secret_hint: String,
    previous_until: Option<Timestamp>,
    created_at: Timestamp,
    failing: Vec<Row>,
    recent: Vec<Row>,
    activity: Activity,
    recover: String,
    /// After it was enabled: a replay of what it missed.
    missed: Option<String>,
}

impl Page {
    fn time(&self, at: &Timestamp) -> Markup {
        self.shell.time(at)
    }
}

/// The page of one endpoint.
pub async fn show(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    id: PathId,
    Asked(asked): Asked,
) -> Result<Response, Fault> {
    let days = retention_days(state.api.settings.retention());
    let not_found = || Fault::not_found("endpoint", &id.0, days);
    let subscription: SubscriptionId = id.0.parse().map_err(|_| not_found())?;
    let mut client = state.api.store.get().await?;
    let transaction = tenant_transaction(&mut client, visitor.tenant()).await?;
    let found = queries::get(&transaction, subscription).await?;
    let found = found.ok_or_else(not_found)?;
    let list = async |status| {
        let search = DeliverySearch {
            status,
            subscription: Some(subscription.0),
            ..DeliverySearch::default()
        };
        let all = IdRange::new(None, None, None);
        let found =
            listing::deliveries(&transaction, &search, all, None, Uuid::max(), NEWEST).await?;
        Ok::<_, Fault>(found.rows)
    };
    let recent = list(None).await?;
    let mut failing = list(Some(Status::Failed)).await?;
    let pending = list(Some(Status::Pending)).await?;
    failing.extend(pending.into_iter().filter(|one| one.attempts > 0));
    failing.sort_by_key(|one| std::cmp::Reverse(one.event_id.0));
    failing.truncate(usize::try_from(NEWEST).unwrap_or(usize::MAX));
    let span = Span::named(asked.get("span"));
    let here = format!("/console/endpoints/{subscription}");
    let now = Timestamp::now();
    let activity = Activity::read(&transaction, Some(subscription), span, &here, now).await?;
    drop(transaction);
    let name = EndpointName::of(&found);
    let shell = visitor
        .shell(Place::Endpoints, name.title())
        .with_notice(notice(&asked));
    page(&of(
        &state,
        shell,
        &found,
        name,
        [&failing, &recent],
        activity,
        &asked,
    ))
}

fn notice(asked: &Fields) -> Option<String> {
    let text = match asked.get("done")? {
        "save" => "Saved. Deliveries that exist keep their bytes.",
        "pause" => {
            "Paused. What comes in is not sent until you enable it; you can then have it sent."
        }
        "enable" => "Enabled. What was parked is due now.",
        _ => return None,
    };
    Some(text.to_owned())
}

fn of(
    state: &State,
    shell: Shell,
    found: &StoredSubscription,
    name: EndpointName,
    [failing, recent]: [&[Delivery]; 2],
    activity: Activity,
    asked: &Fields,
) -> Page {
    let how = endpoint_state(found);
    let id = found.id.to_string();
    let headers = found.headers.open(&state.api.key, found.id);
    let missed = match (asked.get("since"), asked.get("until")) {
        (Some(since), Some(until)) => Some(format!(
            "/console/recover{}",
            fields::query([
                ("what", "all"),
                ("endpoint", id.as_str()),
                ("since", since),
                ("until", until),
            ])
        )),
        _ => None,
    };
    Page {
        recover: format!(
            "/console/recover{}",
            fields::query([("what", "failed"), ("endpoint", id.as_str())])
        ),
        url: found.url.clone(),
        host: host(&found.url),
        badge: badge(how.class, how.shape, how.word),
        sentence: how.sentence,
        is_active: found.active,
        events: found.events.clone(),
        filter: found.filter.clone(),
        filter_error: found.filter_error.as_ref().map(|error| {
            format!(
                "It failed on {}, last at {}: {}",
                super::markup::counted(
                    u64::try_from(error.failures).unwrap_or(0),
                    "event",
                    "events"
                ),
                spoken(error.failed_at),
                error.reason
            )
        }),
        headers: headers.map_or_else(|_| Vec::new(), |all| all.into_keys().collect()),
        ordering: found.ordering.clone(),
        format: found.format.clone(),
        rate_limit: found.rate_limit,
        is_batched: found.batching.is_some(),
        secret_hint: found.secret_hint.clone(),
        previous_until: found
            .previous_secret_expires_at
            .filter(|at| *at > shell.now),
        created_at: found.created_at,
        failing: failing.iter().map(Row::of).collect(),
        recent: recent.iter().map(Row::of).collect(),
        activity,
        missed,
        id,
        name,
        shell,
    }
}
