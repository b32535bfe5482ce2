//! What an endpoint's settings were before: who changed what, and when.

use std::sync::Arc;

use askama::Template;
use axum::extract::State as AxumState;
use axum::response::Response;
use jiff::Timestamp;
use uuid::Uuid;

use super::State;
use super::fault::{Fault, retention_days};
use super::fields::{self, Asked};
use super::markup::{self, Markup};
use super::shell::{Place, Shell, Visitor, page};
use super::words::{shown_url, who};
use crate::api::extract::PathId;
use crate::api::history::changed;
use crate::audit;
use crate::db::tenant_transaction;
use crate::subscription::history::{self, Version};
use crate::subscription::queries::SubscriptionId;

/// Versions on a page.
const ROWS: i64 = 20;

/// A setting that was changed.
struct Change {
    name: &'static str,
    /// From and to; none: they are not shown.
    values: Option<(String, String)>,
}

struct Row {
    version: i32,
    at: Timestamp,
    by: Option<String>,
    /// None: nothing is known of the version before.
    changes: Option<Vec<Change>>,
}

#[derive(Template)]
#[template(path = "history.html")]
struct Page {
    shell: Shell,
    id: String,
    rows: Vec<Row>,
    older: Option<String>,
}

impl Page {
    fn time(&self, at: &Timestamp) -> Markup {
        self.shell.time(at)
    }
}

/// The page, newest first.
pub async fn show(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    id: PathId,
    Asked(asked): Asked,
) -> Result<Response, Fault> {
    let days = retention_days(state.api.settings.retention());
    let not_found = || Fault::not_found("endpoint", &id.0, days);
    let subscription: SubscriptionId = id.0.parse().map_err(|_| not_found())?;
    let before = asked.get("before").and_then(|text| text.parse().ok());
    let before = before.unwrap_or(i32::MAX);
    let mut client = state.api.store.get().await?;
    let transaction = tenant_transaction(&mut client, visitor.tenant()).await?;
    // One more, which the last is compared with.
    let versions = history::versions(&transaction, subscription, before, ROWS + 1).await?;
    if versions.is_empty() {
        return Err(not_found());
    }
    let entries: Vec<Uuid> = versions.iter().filter_map(|one| one.changed_by).collect();
    let mut principals = audit::principals(&transaction, &entries).await?;
    drop(transaction);
    let rows = usize::try_from(ROWS).unwrap_or(usize::MAX);
    let shown = versions.iter().enumerate().take(rows);
    let shown = shown.map(|(place, version)| {
        let older = versions.get(place + 1);
        let principal = version.changed_by.and_then(|by| principals.remove(&by));
        Row {
            version: version.number,
            at: version.changed_at,
            by: principal.as_ref().map(who),
            changes: older.map(|older| {
                changed(older, version, &state.api.key, subscription)
                    .into_iter()
                    .map(|name| Change {
                        values: value(name, older, &visitor).zip(value(name, version, &visitor)),
                        name,
                    })
                    .collect()
            }),
        }
    });
    let shown: Vec<Row> = shown.collect();
    let last = shown.last().map(|row| row.version.to_string());
    let last = last.filter(|_| versions.len() > rows);
    page(&Page {
        older: last.map(|last| fields::query([("before", last.as_str())])),
        rows: shown,
        id: id.0.clone(),
        shell: visitor.shell(Place::Endpoints, "History of an endpoint"),
    })
}

/// A setting as it is shown; none of the headers, which may be credentials.
fn value(name: &str, of: &Version, visitor: &Visitor) -> Option<String> {
    Some(match name {
        "url" => shown_url(&of.url, visitor),
        "events" => of.events.join(", "),
        "filter" => of.filter.clone().unwrap_or_else(|| "none".to_owned()),
        "ordering" => of.ordering.clone(),
        "format" => of.format.clone(),
        "rate_limit" => match of.rate_limit {
            Some(rate) => format!("{rate} a second"),
            None => "none".to_owned(),
        },
        "batch" => match of.batching {
            Some(of) => format!(
                "up to {} events or {} bytes, or after {}",
                of.max_events,
                markup::count(of.max_bytes),
                markup::measured(of.max_wait)
            ),
            None => "none".to_owned(),
        },
        _ => return None,
    })
}
