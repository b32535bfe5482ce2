//! `/subscriptions/{id}/history`: the settings of each time, and who changed them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State as AxumState;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::State;
use super::batching::Batch;
use super::error::Problem;
use super::extract::{self, PathId, Query, Tenant};
use super::subscription_rules as rules;
use super::trail::AuditPrincipal;
use crate::audit;
use crate::db::tenant_transaction;
use crate::secret::EncryptionKey;
use crate::subscription::history::{self, Version};
use crate::subscription::queries::SubscriptionId;

/// Settings of a subscription, as deliveries of that time were sent by them.
#[derive(Serialize, ToSchema)]
pub struct SubscriptionSettings {
    url: String,
    events: Vec<String>,
    filter: Option<String>,
    /// The values are masked: they may be credentials.
    headers: BTreeMap<String, String>,
    ordering: String,
    batch: Option<Batch>,
    rate_limit: Option<i32>,
    format: String,
}

impl SubscriptionSettings {
    fn of(version: &Version, key: &EncryptionKey, id: SubscriptionId) -> Self {
        SubscriptionSettings {
            url: version.url.clone(),
            events: version.events.clone(),
            filter: version.filter.clone(),
            // What cannot be read must not hide the rest.
            headers: rules::mask(version.headers.open(key, id).unwrap_or_default()),
            ordering: version.ordering.clone(),
            batch: version.batching.map(Batch::from),
            rate_limit: version.rate_limit,
            format: version.format.clone(),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct SubscriptionVersion {
    /// 1 for the settings that it was created with. Attempts name it as `subscription_version`.
    version: i32,
    changed_at: Timestamp,
    /// Null: not by a call, or so long ago that the audit log has forgotten it.
    changed_by: Option<AuditPrincipal>,
    /// The names of the settings that differ from the version before. Of headers the values
    /// count, too.
    changed: Vec<&'static str>,
    settings: SubscriptionSettings,
}

#[derive(Serialize, ToSchema)]
pub struct HistoryPage {
    data: Vec<SubscriptionVersion>,
    /// Pass it as `cursor` for the next page; null on the last.
    next_cursor: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListHistory {
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// 1 to 200; 50 if absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
}

/// List the versions of a subscription's settings
///
/// Newest first: what changed each time, and who changed it. A subscription that is deleted
/// keeps them for as long as its deliveries are listed.
#[utoipa::path(get, path = "/subscriptions/{id}/history", tag = "Subscriptions",
    params(("id" = String, Path, description = "`sub_…`"), ListHistory),
    responses((status = 200, description = "A page of versions", body = HistoryPage)))]
pub async fn list_history(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    id: PathId,
    Query(query): Query<ListHistory>,
) -> Result<Json<HistoryPage>, Problem> {
    let limit = extract::limit(query.limit)?;
    let subscription: SubscriptionId = id.parse("subscription")?;
    let before = match extract::cursor(query.cursor.as_deref())? {
        None => i32::MAX,
        Some([number]) => i32::try_from(number.as_u128()).unwrap_or(i32::MAX),
    };
    let mut client = state.store.get().await?;
    let transaction = tenant_transaction(&mut client, &tenant).await?;
    // One more, which the last of the page is compared with.
    let found = history::versions(&transaction, subscription, before, limit + 1).await?;
    if found.is_empty() && before == i32::MAX {
        return Err(Problem::not_found("subscription", &id.0));
    }
    let entries: Vec<Uuid> = found.iter().filter_map(|one| one.changed_by).collect();
    let mut principals = audit::principals(&transaction, &entries).await?;
    let mut shown = Vec::with_capacity(found.len());
    for (place, version) in found.iter().enumerate() {
        let changed = match found.get(place + 1) {
            Some(older) => changed(older, version, &state.key, subscription),
            None => Vec::new(),
        };
        let changed_by = version
            .changed_by
            .and_then(|entry| principals.remove(&entry));
        shown.push(SubscriptionVersion {
            version: version.number,
            changed_at: version.changed_at,
            changed_by: changed_by.map(AuditPrincipal::from),
            changed,
            settings: SubscriptionSettings::of(version, &state.key, subscription),
        });
    }
    let place = |version: &SubscriptionVersion| {
        [Uuid::from_u128(u128::from(version.version.unsigned_abs()))]
    };
    let (data, next_cursor) = extract::page(shown, limit, place);
    Ok(Json(HistoryPage { data, next_cursor }))
}

/// The names of the settings that differ.
pub fn changed(
    older: &Version,
    newer: &Version,
    key: &EncryptionKey,
    id: SubscriptionId,
) -> Vec<&'static str> {
    // Each encryption of the same headers is another.
    let headers = |version: &Version| version.headers.open(key, id).ok();
    [
        ("url", older.url != newer.url),
        ("events", older.events != newer.events),
        ("filter", older.filter != newer.filter),
        ("headers", headers(older) != headers(newer)),
        ("ordering", older.ordering != newer.ordering),
        ("batch", older.batching != newer.batching),
        ("rate_limit", older.rate_limit != newer.rate_limit),
        ("format", older.format != newer.format),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect()
}
