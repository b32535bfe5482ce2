//! `/audit`: who changed what of the tenant's; and the entries that calls of the API write.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State as AxumState;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::State;
use super::error::Problem;
use super::extract::{self, Query, Tenant};
use super::subscription_view::Subscription;
use crate::audit::{self, Entry, EntryFilter, PrincipalKind, StoredEntry};
use crate::db::tenant_transaction;
use crate::subscription::queries::StoredSubscription;

/// What is entered of a subscription that a call has created or deleted, all secrets masked.
pub fn whole(stored: &StoredSubscription, state: &State) -> Value {
    let subscription = Subscription::masked(stored.clone(), &state.key);
    let mut shown = serde_json::to_value(subscription).unwrap_or_default();
    if let Some(shown) = shown.as_object_mut() {
        // That it was changed, the entry's own time says.
        shown.remove("updated_at");
        let headers = headers(stored, state);
        let names = headers.into_keys().map(|name| (name, Value::from(MASK)));
        shown.insert("headers".to_owned(), Value::Object(names.collect()));
    }
    shown
}

/// What is entered of a subscription that a call has changed: of both states what differs, of
/// headers the names. None where nothing differs.
pub fn changed<'a>(
    action: &'static str,
    tenant: &'a str,
    state: &State,
    before: &StoredSubscription,
    after: &StoredSubscription,
) -> Option<Entry<'a>> {
    let (mut old, mut new) = audit::difference(&whole(before, state), &whole(after, state));
    let (had, has) = (headers(before, state), headers(after, state));
    for (side, of, other) in [(&mut old, &had, &has), (&mut new, &has, &had)] {
        let differing = of
            .iter()
            .filter(|(name, value)| other.get(*name) != Some(value));
        let names = differing.map(|(name, _)| (name.clone(), Value::from(MASK)));
        let names: Map<String, Value> = names.collect();
        if let Some(side) = side.as_object_mut() {
            match had == has {
                true => side.remove("headers"),
                false => side.insert("headers".to_owned(), Value::Object(names)),
            };
        }
    }
    let differs = |side: &Value| side.as_object().is_some_and(|side| !side.is_empty());
    (differs(&old) || differs(&new)).then(|| Entry {
        tenant: Some(tenant),
        action,
        object: Some(after.id.to_string()),
        before: Some(old),
        after: Some(new),
        reason: None,
    })
}

/// Of headers the audit log has the names: a part of a value would be one of a credential.
const MASK: &str = "…";

/// None where they cannot be read.
fn headers(stored: &StoredSubscription, state: &State) -> BTreeMap<String, String> {
    let opened = stored.headers.open(&state.key, stored.id);
    opened.unwrap_or_default()
}

/// What is entered of a subscription's secret or key that a call has rotated.
pub fn rotated<'a>(
    action: &'static str,
    tenant: &'a str,
    stored: &StoredSubscription,
) -> Entry<'a> {
    Entry {
        tenant: Some(tenant),
        action,
        object: Some(stored.id.to_string()),
        after: Some(json!({
            "secret_hint": stored.secret_hint,
            "public_key": stored.public_key,
        })),
        ..Entry::default()
    }
}

/// Something that a call has changed, and who called.
#[derive(Serialize, ToSchema)]
pub struct AuditEntry {
    #[schema(examples("019aa8f1-7c00-7000-8000-000000000000"))]
    id: String,
    at: Timestamp,
    principal: AuditPrincipal,
    #[schema(examples("subscription.update"))]
    action: String,
    /// What was changed: `sub_…`, `dlv_…`, a token's id.
    object: Option<String>,
    /// What was there before, of what was changed. Secrets are masked.
    #[schema(value_type = Option<Object>)]
    before: Option<Value>,
    /// What is there since.
    #[schema(value_type = Option<Object>)]
    after: Option<Value>,
    reason: Option<String>,
    /// Also in the answer's `X-Request-Id`.
    request_id: Option<String>,
    #[schema(value_type = Option<String>)]
    remote_ip: Option<IpAddr>,
}

/// Who changed something.
#[derive(Serialize, ToSchema)]
pub struct AuditPrincipal {
    /// `token`, `jwt`, `portal`, `operator`, `command` (of the operator's command line) or
    /// `walhook`.
    #[schema(examples("token"))]
    kind: &'static str,
    /// Which of its kind: a token's id, a JWT's `sub`. Null for the operator and the operator's
    /// commands.
    name: Option<String>,
    /// What people call it, or on whose behalf it acts.
    actor: Option<String>,
}

/// The system users and machines of the operator are none of a tenant's business.
fn is_operators(kind: PrincipalKind) -> bool {
    match kind {
        PrincipalKind::Operator | PrincipalKind::Command => true,
        PrincipalKind::Token
        | PrincipalKind::Jwt
        | PrincipalKind::Portal
        | PrincipalKind::Walhook => false,
    }
}

impl From<audit::Principal> for AuditPrincipal {
    fn from(principal: audit::Principal) -> Self {
        let kind = principal.kind.as_str();
        match is_operators(principal.kind) {
            true => AuditPrincipal {
                kind,
                name: None,
                actor: None,
            },
            false => AuditPrincipal {
                kind,
                name: Some(principal.name),
                actor: principal.actor,
            },
        }
    }
}

impl From<StoredEntry> for AuditEntry {
    fn from(entry: StoredEntry) -> Self {
        let by_operator = is_operators(entry.principal.kind);
        AuditEntry {
            id: entry.id.to_string(),
            at: entry.at,
            principal: entry.principal.into(),
            action: entry.action,
            object: entry.object,
            before: entry.before,
            after: entry.after,
            reason: entry.reason,
            request_id: entry.request_id,
            remote_ip: entry.remote_ip.filter(|_| !by_operator),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct AuditPage {
    data: Vec<AuditEntry>,
    /// Pass it as `cursor` for the next page; null on the last.
    next_cursor: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListAudit {
    /// As in `subscription.update`, exact.
    action: Option<String>,
    /// The id of what was changed, exact.
    object: Option<String>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// 1 to 200; 50 if absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
}

/// List who changed what
///
/// Each call that changed something of the tenant's, and each change by the operator, newest
/// first.
#[utoipa::path(get, path = "/audit", tag = "Tenant", params(ListAudit),
    responses((status = 200, description = "A page of entries", body = AuditPage)))]
pub async fn list_audit(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    Query(query): Query<ListAudit>,
) -> Result<Json<AuditPage>, Problem> {
    let limit = extract::limit(query.limit)?;
    let before = extract::cursor(query.cursor.as_deref())?.map_or(Uuid::max(), |[id]| id);
    let filter = EntryFilter {
        action: query.action.as_deref(),
        object: query.object.as_deref(),
    };
    let mut client = state.store.get().await?;
    let transaction = tenant_transaction(&mut client, &tenant).await?;
    let rows = audit::entries(&transaction, filter, before, limit + 1).await?;
    let (rows, next_cursor) = extract::page(rows, limit, |row| [row.id]);
    Ok(Json(AuditPage {
        data: rows.into_iter().map(AuditEntry::from).collect(),
        next_cursor,
    }))
}
