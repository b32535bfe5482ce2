//! Sending many again: which endpoint, which time, what; the number before, and then the start.

use std::sync::Arc;

use askama::Template;
use axum::extract::State as AxumState;
use axum::response::Response;
use jiff::Timestamp;

use super::State;
use super::fault::Fault;
use super::fields::{self, Asked, Fields, Posted};
use super::markup::{Markup, count};
use super::shell::{Place, Shell, Visitor, page, see_other};
use super::wanted::{TIMES, Wanted};
use super::words::{EndpointName, Endpoints};
use crate::api::extract::parse_id;
use crate::db::tenant_transaction;
use crate::delivery::listing::{DeliveryFilter, IdRange, Status};
use crate::delivery::manual;
use crate::delivery::replay::{self, Replay};
use crate::subscription::queries::{StoredSubscription, SubscriptionId};

mod preview;

use preview::{Preview, preview_all, preview_waiting};

/// A receiver may not expect what is older.
const OLD_DAYS: i64 = 7;

/// What is to be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// Given up after the last attempt.
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
    let shell = visitor
        .shell(Place::Recover, "Recover")
        .with_notice(done(&asked));
    let order = Order::of(&asked, shell.now)?;
    let mut client = state.api.store.get().await?;
    let transaction = tenant_transaction(&mut client, visitor.tenant()).await?;
    let endpoints = Endpoints::read(&transaction).await?;
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
            drop(transaction);
            drop(client);
            let _permit = state.api.limits.take_replay(visitor.tenant())?;
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
        preview,
        missing,
        wanted,
        shell,
    };
    page(&page_of)
}

fn done(asked: &Fields) -> Option<String> {
    let number = asked.get("sent")?.parse::<u64>().ok()?;
    Some(match number {
        0 => "There was nothing left to send again.".to_owned(),
        1 => "1 delivery is due now. It is sent as its endpoint takes it.".to_owned(),
        many => format!(
            "{} deliveries are due now. They are sent as their endpoints take them.",
            count(many)
        ),
    })
}

async fn replay_of(
    state: &State,
    visitor: &Visitor,
    order: &Order,
    endpoint: &StoredSubscription,
    dry_run: bool,
) -> Result<replay::Replayed, Fault> {
    let every = || vec!["*".to_owned()];
    let types = order.event_type.clone().map_or_else(every, |one| vec![one]);
    let wanted = Replay {
        subscription: endpoint,
        since: order.since.unwrap_or(Timestamp::UNIX_EPOCH),
        until: order.until,
        from_lsn: None,
        to_lsn: None,
        types: &types,
        matches: state.api.filter_matches,
        dry_run,
    };
    let store = &state.api.store;
    Ok(replay::replay(store, visitor.tenant(), &wanted).await?)
}

/// Sends again what was counted.
pub async fn start(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    Posted(form): Posted,
) -> Result<Response, Fault> {
    let order = Order::of(&form, Timestamp::now())?;
    let _permit = state.api.limits.take_replay(visitor.tenant())?;
    let sent = match order.what {
        What::Failed | What::Pending => {
            let filter = DeliveryFilter {
                status: Some(match order.what {
                    What::Pending => Status::Pending,
                    What::Failed | What::All => Status::Failed,
                }),
                event_type: order.event_type.clone(),
                subscription: order.endpoint.map(|SubscriptionId(id)| id),
            };
            let store = &state.api.store;
            manual::retry_matching(store, visitor.tenant(), &filter, order.ids()).await?
        }
        What::All => {
            let endpoint = of_form(&state, &visitor, &order).await?;
            let replayed = replay_of(&state, &visitor, &order, &endpoint, false).await?;
            replayed.deliveries
        }
    };
    state.api.schedule_changed.notify_one();
    let sent = sent.to_string();
    let query = fields::query([("sent", sent.as_str())]);
    Ok(see_other(&format!("/console/recover{query}")))
}

/// The one active endpoint that a replay goes to.
async fn of_form(
    state: &State,
    visitor: &Visitor,
    order: &Order,
) -> Result<StoredSubscription, Fault> {
    let choose = || {
        Fault::invalid(
            "invalid_range",
            "Choose an endpoint that is active, and from when on every event is sent again.",
        )
        .with_next("/console/recover", "Recover")
    };
    let id = order
        .endpoint
        .filter(|_| order.since.is_some())
        .ok_or_else(choose)?;
    let mut client = state.api.store.get().await?;
    let transaction = tenant_transaction(&mut client, visitor.tenant()).await?;
    let found = crate::subscription::queries::get(&transaction, id).await?;
    found.filter(|endpoint| endpoint.active).ok_or_else(choose)
}
