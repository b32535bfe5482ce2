//! The first page: whether all is well, and what is not.

use std::sync::Arc;

use askama::Template;
use axum::extract::State as AxumState;
use axum::response::Response;
use jiff::Timestamp;

use super::State;
use super::chart::{self, Activity, Span};
use super::deliveries::{capped, waiting};
use super::fault::Fault;
use super::fields::Asked;
use super::markup::{Markup, badge, last_answer, state as state_of};
use super::shell::{Place, Shell, Visitor, page};
use super::words::{EndpointName, EndpointState, Endpoints, endpoint_state};
use crate::db::tenant_transaction;
use crate::delivery::listing::{self, DeliverySearch, IdRange, Status};
use crate::delivery::stats;
use uuid::Uuid;

/// How far the numbers count.
const COUNTED: i64 = 10_000;
/// The newest deliveries, and the newest failures.
const NEWEST: i64 = 8;
/// Endpoints on the page.
const SHOWN: usize = 20;

struct Number {
    word: &'static str,
    class: &'static str,
    text: String,
    path: String,
}

struct Endpoint {
    name: EndpointName,
    badge: Markup,
    sentence: String,
    is_well: bool,
    spark: Markup,
}

struct Recent {
    id: String,
    state: Markup,
    event_type: String,
    endpoint: EndpointName,
    answer: String,
    at: Timestamp,
}

#[derive(Template)]
#[template(path = "overview.html")]
struct Page {
    shell: Shell,
    sentence: String,
    class: &'static str,
    numbers: Vec<Number>,
    /// Those that are not well first.
    endpoints: Vec<Endpoint>,
    /// How many there are beside them.
    more: usize,
    recent: Vec<Recent>,
    failed: i64,
    activity: Activity,
}

impl Page {
    fn time(&self, at: &Timestamp) -> Markup {
        self.shell.time(at)
    }
}

/// The page.
pub async fn show(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    Asked(asked): Asked,
) -> Result<Response, Fault> {
    let shell = visitor.shell(Place::Overview, "Overview");
    let mut client = state.api.store.get().await?;
    let transaction = tenant_transaction(&mut client, visitor.tenant()).await?;
    let endpoints = Endpoints::read(&transaction).await?;
    let last = endpoints.last_results(&transaction).await?;
    let counts = waiting(&transaction, COUNTED).await?;
    let everything = IdRange::new(None, None, None);
    let newest = listing::deliveries(
        &transaction,
        &DeliverySearch::default(),
        everything,
        None,
        Uuid::max(),
        NEWEST,
    )
    .await?;
    let span = Span::named(asked.get("span"));
    let here = Place::Overview.path();
    let activity = Activity::read(&transaction, None, span, here, shell.now).await?;
    let mut judged: Vec<_> = endpoints
        .all
        .iter()
        .map(|stored| (stored, endpoint_state(stored, last.get(&stored.id))))
        .collect();
    judged.sort_by_key(|(_, state)| is_well(state));
    let all = judged.len();
    let ill = judged.iter().filter(|(_, state)| !is_well(state)).count();
    judged.truncate(SHOWN);
    let ids: Vec<Uuid> = judged.iter().map(|(stored, _)| stored.id.0).collect();
    let day = Span::named(None).range(shell.now);
    let counted = stats::of_subscriptions(&transaction, &ids, day).await?;
    drop(transaction);
    let number = |word, status: Status| {
        let count = counts.get(status.as_str()).copied().unwrap_or(0);
        Number {
            word,
            class: status.as_str(),
            text: capped(count, COUNTED),
            path: format!("/console/deliveries?status={}", status.as_str()),
        }
    };
    let shown = judged.into_iter().map(|(stored, state)| {
        let counts = counted.get(&stored.id).map_or(&[][..], Vec::as_slice);
        Endpoint {
            name: EndpointName::of(stored),
            badge: badge(state.class, state.shape, state.word),
            is_well: is_well(&state),
            sentence: state.sentence,
            spark: chart::spark(counts, shell.now),
        }
    });
    let shown: Vec<Endpoint> = shown.collect();
    let failed = counts.get(Status::Failed.as_str()).copied().unwrap_or(0);
    let (class, sentence) = sentence(all, ill, failed);
    let recent = newest.rows.iter().map(|row| Recent {
        id: row.id.to_string(),
        state: state_of(row.status),
        event_type: row.event_type.clone(),
        endpoint: endpoints.name(row.subscription_id),
        answer: last_answer(row),
        at: super::deliveries::committed(row.event_id.0),
    });
    let page_of = Page {
        recent: recent.collect(),
        sentence,
        class,
        numbers: vec![
            number("failed", Status::Failed),
            number("pending", Status::Pending),
            number("parked", Status::Parked),
        ],
        more: all - shown.len(),
        endpoints: shown,
        failed,
        activity,
        shell,
    };
    page(&page_of)
}

fn is_well(state: &EndpointState) -> bool {
    state.class == "delivered"
}

/// The state of all, in a sentence.
fn sentence(all: usize, ill: usize, failed: i64) -> (&'static str, String) {
    match (all, ill, failed) {
        (0, ..) => (
            "cancelled",
            "You have no endpoint yet: nothing is sent.".to_owned(),
        ),
        (_, 0, 0) => (
            "delivered",
            match all {
                1 => "Your endpoint receives what it asks for.".to_owned(),
                _ => format!("All {all} endpoints receive what they ask for."),
            },
        ),
        (_, 0, _) => (
            "pending",
            format!(
                "All endpoints are active; {} failed for good and can be sent again.",
                super::markup::counted(
                    u64::try_from(failed).unwrap_or(0),
                    "delivery",
                    "deliveries"
                )
            ),
        ),
        (1, ..) => ("failed", "Your endpoint needs attention.".to_owned()),
        _ => (
            "failed",
            format!("{ill} of {all} endpoints need attention."),
        ),
    }
}
