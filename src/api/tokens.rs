//! Tokens of the API, as `walhook token` makes them: shown once, stored as a hash.
//! These functions act as the store's owner, not as a tenant.

use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use crate::audit::{Caller, Entry};
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

/// Creates a token of `tenant`, by walhook itself.
pub async fn create(
    store: &Store,
    tenant: &str,
    name: &str,
    expires_in: Option<Duration>,
) -> anyhow::Result<ApiToken> {
    create_by(&Caller::walhook(), store, tenant, name, expires_in).await
}

/// Creates a token of `tenant`; the caller shows it once. `name` says what it is for.
pub async fn create_by(
    caller: &Caller,
    store: &Store,
    tenant: &str,
    name: &str,
    expires_in: Option<Duration>,
) -> anyhow::Result<ApiToken> {
    anyhow::ensure!(!tenant.is_empty(), "the tenant's id is empty");
    let token = ApiToken::generate();
    let id = Uuid::now_v7();
    let mut client = connect(store).await?;
    let entry = Entry {
        tenant: Some(tenant),
        action: "token.create",
        object: Some(id.to_string()),
        after: Some(json!({
            "name": name,
            "expires_in_seconds": expires_in.map(|length| length.as_secs()),
        })),
        ..Entry::default()
    };
    let transaction = client.transaction().await?;
    let seen = tenant::see(&transaction, &[tenant]).await;
    seen.context("note the tenant")?;
    transaction
        .execute(
            include_str!("../../sql/queries/api/create_token.sql"),
            &[
                &id,
                &tenant,
                &name,
                &token.hash().as_slice(),
                &expires_in.map(interval_seconds),
            ],
        )
        .await
        .context("store the token's hash")?;
    caller.commit(transaction, &entry).await?;
    Ok(token)
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
    let revoked = transaction.query_opt(sql, &[&id]).await;
    let Some(row) = revoked.context("revoke the token")? else {
        return Ok(false);
    };
    let (tenant, name): (String, String) = (row.get("tenant_id"), row.get("name"));
    let entry = Entry {
        tenant: Some(&tenant),
        action: "token.revoke",
        object: Some(id.to_string()),
        before: Some(json!({"name": name})),
        ..Entry::default()
    };
    caller.commit(transaction, &entry).await?;
    Ok(true)
}

async fn connect(store: &Store) -> anyhow::Result<crate::db::Connection> {
    let connected = store.get().await;
    connected.with_context(|| format!("connect to the store {}", store.describe()))
}
