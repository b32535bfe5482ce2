//! Tokens of the API, as `walhook token` makes them: shown once, stored as a hash.
//! These functions act as the store's owner, not as a tenant: what tenants do with their own is in
//! [`super::own_tokens`].

use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use crate::audit::{Caller, Entry};
use crate::conninfo::Transaction;
use crate::db::Store;
use crate::duration::interval_seconds;
use crate::secret::ApiToken;
use crate::tenant;

/// A token as the store knows it.
#[derive(Clone, Debug)]
pub struct StoredToken {
    pub id: Uuid,
    pub tenant_id: String,
    pub name: String,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    /// By the store's clock, when it was listed.
    pub expired: bool,
    pub revoked_at: Option<Timestamp>,
}

/// A token that is to be made.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewToken<'a> {
    /// What it is for.
    pub name: &'a str,
    /// Absent: it is valid until it is revoked.
    pub expires_at: Option<Timestamp>,
    /// Instead of a time.
    pub expires_in: Option<Duration>,
    /// Whether it may make and revoke tokens of its tenant.
    pub manages_tokens: bool,
}

/// One that was made.
pub struct Created {
    pub id: Uuid,
    /// Shown once.
    pub token: ApiToken,
    pub created_at: Timestamp,
}

/// Creates a token of `tenant`, by walhook itself.
pub async fn create(
    store: &Store,
    tenant: &str,
    name: &str,
    expires_in: Option<Duration>,
) -> anyhow::Result<ApiToken> {
    let new = NewToken {
        name,
        expires_in,
        ..NewToken::default()
    };
    create_by(&Caller::walhook(), store, tenant, &new).await
}

/// Creates a token of `tenant`; the caller shows it once.
pub async fn create_by(
    caller: &Caller,
    store: &Store,
    tenant: &str,
    new: &NewToken<'_>,
) -> anyhow::Result<ApiToken> {
    anyhow::ensure!(!tenant.is_empty(), "the tenant's id is empty");
    let mut client = connect(store).await?;
    let transaction = client.transaction().await?;
    let seen = tenant::see(&transaction, &[tenant]).await;
    seen.context("note the tenant")?;
    let created = insert(&transaction, caller, tenant, new).await;
    let created = created.context("store the token's hash")?;
    transaction.commit().await.context("commit the token")?;
    Ok(created.token)
}

/// Writes a new token, with its entry of the audit log.
pub(super) async fn insert(
    transaction: &Transaction<'_>,
    caller: &Caller,
    tenant: &str,
    new: &NewToken<'_>,
) -> Result<Created, tokio_postgres::Error> {
    let (id, token) = (Uuid::now_v7(), ApiToken::generate());
    let principal = &caller.principal;
    let row = transaction
        .query_one(
            include_str!("../../sql/queries/api/create_token.sql"),
            &[
                &id,
                &tenant,
                &new.name,
                &token.hash().as_slice(),
                &new.expires_at,
                &new.expires_in.map(interval_seconds),
                &new.manages_tokens,
                &principal.kind.as_str(),
                &principal.name,
                &principal.actor,
            ],
        )
        .await?;
    let entry = Entry {
        tenant: Some(tenant),
        action: "token.create",
        object: Some(id.to_string()),
        after: Some(json!({
            "name": new.name,
            "expires_at": new.expires_at,
            "expires_in_seconds": new.expires_in.map(|length| length.as_secs()),
            "manages_tokens": new.manages_tokens,
        })),
        ..Entry::default()
    };
    caller.change().enter(transaction, &entry).await?;
    Ok(Created {
        id,
        token,
        created_at: row.get("created_at"),
    })
}

/// The entry of a token that is revoked.
pub(super) fn revoked<'a>(tenant: &'a str, id: Uuid, name: &str) -> Entry<'a> {
    Entry {
        tenant: Some(tenant),
        action: "token.revoke",
        object: Some(id.to_string()),
        before: Some(json!({"name": name})),
        ..Entry::default()
    }
}

/// Every token, or those of one tenant; oldest first.
pub async fn list(store: &Store, tenant: Option<&str>) -> anyhow::Result<Vec<StoredToken>> {
    let client = connect(store).await?;
    let rows = client
        .query(
            include_str!("../../sql/queries/api/list_tokens.sql"),
            &[&tenant],
        )
        .await
        .context("list the tokens")?;
    let tokens = rows.iter().map(|row| StoredToken {
        id: row.get("id"),
        tenant_id: row.get("tenant_id"),
        name: row.get("name"),
        created_at: row.get("created_at"),
        expires_at: row.get("expires_at"),
        expired: row.get("expired"),
        revoked_at: row.get("revoked_at"),
    });
    Ok(tokens.collect())
}

/// Revokes a token: within seconds no process admits it. False where there is none
/// with this id or it was revoked before.
pub async fn revoke(caller: &Caller, store: &Store, id: Uuid) -> anyhow::Result<bool> {
    let mut client = connect(store).await?;
    let transaction = client.transaction().await?;
    let sql = include_str!("../../sql/queries/api/revoke_token.sql");
    let found = transaction.query_opt(sql, &[&id]).await;
    let Some(row) = found.context("revoke the token")? else {
        return Ok(false);
    };
    let (tenant, name): (String, String) = (row.get("tenant_id"), row.get("name"));
    let entry = revoked(&tenant, id, &name);
    caller.commit(transaction, &entry).await?;
    Ok(true)
}

async fn connect(store: &Store) -> anyhow::Result<crate::db::Connection> {
    let connected = store.get().await;
    connected.with_context(|| format!("connect to the store {}", store.describe()))
}
