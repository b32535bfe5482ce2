//! Links into the portal: minted for one tenant, good for one session. These functions act as
//! the store's owner, not as a tenant.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use serde_json::json;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::capability::{self, Capability};
use super::code::Code;
use super::session::IDLE;
use crate::api::PublicUrl;
use crate::audit::{Caller, Entry};
use crate::db::{Connection, PoolError, Store};
use crate::duration::interval_seconds;
use crate::tenant;

/// How long a link may wait to be used, and does where nothing else is asked for. It is to be
/// made when somebody clicks, not ahead.
pub const LONGEST_VALID: Duration = Duration::from_secs(600);
pub const SHORTEST_VALID: Duration = Duration::from_secs(1);
pub const USUAL_VALID: Duration = Duration::from_secs(120);
/// A working day.
pub const USUAL_SESSION: Duration = Duration::from_secs(8 * 3600);
/// As the table checks. Nobody who left a company keeps a session for longer.
pub const LONGEST_SESSION: Duration = Duration::from_secs(24 * 3600);

/// The page that a link leads to where nothing else is asked for.
pub const USUAL_PAGE: &str = "/console/overview";

/// What a new link is to open.
#[derive(Debug)]
pub struct NewLink {
    pub tenant: String,
    /// Who is to use it; shown in the tenant's sessions.
    pub actor: String,
    pub capabilities: Vec<Capability>,
    pub expires_in: Duration,
    pub session_ttl: Duration,
    /// A path below `/console/`.
    pub next: String,
}

pub struct Minted {
    pub id: Uuid,
    /// With the code, which signs in the one who opens it first.
    pub url: String,
    pub expires_at: Timestamp,
}

/// Makes a link. What its fields may be is the caller's to check; the page is checked here.
pub async fn mint(
    store: &Store,
    public_url: &PublicUrl,
    link: &NewLink,
    caller: &Caller,
) -> anyhow::Result<Minted> {
    anyhow::ensure!(!link.tenant.is_empty(), "the tenant's id is empty");
    anyhow::ensure!(
        is_page(&link.next),
        "the page must be a path below /console/"
    );
    anyhow::ensure!(
        link.session_ttl <= LONGEST_SESSION,
        "a session lasts 24 hours at most"
    );
    let code = Code::generate();
    let id = Uuid::now_v7();
    let mut client = connect(store).await?;
    let transaction = client.transaction().await.context("begin a change")?;
    let names: Vec<&str> = link.capabilities.iter().map(|one| one.as_str()).collect();
    // Whoever is given a link is a tenant, before the first event or call of it.
    let seen = tenant::see(&transaction, &[&link.tenant]).await;
    seen.context("note the tenant")?;
    let row = transaction
        .query_one(
            include_str!("../../sql/queries/console/mint_link.sql"),
            &[
                &id,
                &link.tenant,
                &code.hash().as_slice(),
                &link.actor,
                &names,
                &link.next,
                &interval_seconds(link.session_ttl),
                &interval_seconds(link.expires_in),
            ],
        )
        .await
        .context("store the link's hash")?;
    let entry = Entry {
        tenant: Some(&link.tenant),
        action: "portal_link.create",
        object: Some(id.to_string()),
        after: Some(json!({"actor": link.actor, "capabilities": names})),
        ..Entry::default()
    };
    caller.commit(transaction, &entry).await?;
    Ok(Minted {
        id,
        url: format!("{}/console/enter#{}", public_url.origin(), code.text()),
        expires_at: row.get("expires_at"),
    })
}

/// A path of ours: no scheme, no other host, nothing that a browser would read as one.
pub fn is_page(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
    path.starts_with("/console/") && path.len() <= 2000 && path.bytes().all(plain)
}

/// What became of a code.
pub enum Redeemed {
    Opened {
        cookie: Code,
        lasts: Duration,
        next: String,
    },
    Used(Timestamp),
    Expired(Timestamp),
    Revoked(Timestamp),
    Unknown,
}

/// Whose session a code opens, where it still does.
pub async fn tenant_of(store: &Store, code: &str) -> Result<Option<String>, RedeemError> {
    let Some(code) = Code::parse(code) else {
        return Ok(None);
    };
    let client = store.get().await?;
    let row = client
        .query_opt(
            include_str!("../../sql/queries/console/find_link.sql"),
            &[&code.hash().as_slice()],
        )
        .await?;
    let open = row.filter(|row| row.get("is_open"));
    Ok(open.map(|row| row.get("tenant_id")))
}

/// Opens the session of a link, once.
pub async fn redeem(store: &Store, code: &str) -> Result<Redeemed, RedeemError> {
    let Some(code) = Code::parse(code) else {
        return Ok(Redeemed::Unknown);
    };
    let cookie = Code::generate();
    let client = store.get().await?;
    let hash = code.hash();
    let row = client
        .query_opt(
            include_str!("../../sql/queries/console/redeem_link.sql"),
            &[
                &hash.as_slice() as &(dyn ToSql + Sync),
                &Uuid::now_v7(),
                &cookie.hash().as_slice(),
            ],
        )
        .await?;
    if let Some(row) = row {
        let lasts = Duration::try_from_secs_f64(row.get("lasts")).unwrap_or_default();
        return Ok(Redeemed::Opened {
            cookie,
            lasts,
            next: row.get("next_path"),
        });
    }
    let row = client
        .query_opt(
            include_str!("../../sql/queries/console/find_link.sql"),
            &[&hash.as_slice()],
        )
        .await?;
    let Some(row) = row else {
        return Ok(Redeemed::Unknown);
    };
    let (used, revoked) = (row.get("redeemed_at"), row.get("revoked_at"));
    Ok(match (used, revoked) {
        (Some(at), _) => Redeemed::Used(at),
        (None, Some(at)) => Redeemed::Revoked(at),
        (None, None) => Redeemed::Expired(row.get("expires_at")),
    })
}

/// The store does not answer.
#[derive(Debug, thiserror::Error)]
pub enum RedeemError {
    #[error("take a connection of the store")]
    Pool(#[from] PoolError),
    #[error("redeem the link")]
    Store(#[from] tokio_postgres::Error),
}

/// What is to end; what is left out restricts nothing.
#[derive(Debug, Default)]
pub struct Revocation {
    pub link: Option<Uuid>,
    pub session: Option<Uuid>,
    pub tenant: Option<String>,
    pub actor: Option<String>,
}

pub struct Revoked {
    pub links: u64,
    pub sessions: u64,
}

/// Ends sessions and links that were not used: within seconds no process admits them.
pub async fn revoke(store: &Store, what: &Revocation, caller: &Caller) -> anyhow::Result<Revoked> {
    let Revocation {
        link,
        session,
        tenant,
        actor,
    } = what;
    anyhow::ensure!(
        link.is_some() || session.is_some() || tenant.is_some() || actor.is_some(),
        "say which sessions are to end"
    );
    let mut client = connect(store).await?;
    let transaction = client.transaction().await.context("begin a change")?;
    let by: [&(dyn ToSql + Sync); 4] = [link, session, tenant, actor];
    let links = transaction
        .query(
            include_str!("../../sql/queries/console/revoke_links.sql"),
            &by,
        )
        .await
        .context("revoke links")?;
    let sessions = transaction
        .query(
            include_str!("../../sql/queries/console/revoke_sessions.sql"),
            &by,
        )
        .await
        .context("revoke sessions")?;
    // An entry for each tenant: it is read by that tenant, and erased with it.
    let tenants = links.iter().chain(&sessions).map(|row| row.get(0));
    let tenants: BTreeSet<&str> = tenants.collect();
    for tenant in tenants {
        let entry = Entry {
            tenant: Some(tenant),
            action: "portal_session.revoke",
            object: session.or(*link).map(|id| id.to_string()),
            before: Some(json!({"actor": actor})),
            ..Entry::default()
        };
        let entered = caller.change().enter(&transaction, &entry).await;
        entered.context("write the audit log")?;
    }
    transaction.commit().await.context("commit a change")?;
    Ok(Revoked {
        links: links.len() as u64,
        sessions: sessions.len() as u64,
    })
}

/// A session as the operator sees it.
pub struct OpenSession {
    pub id: Uuid,
    pub link_id: Uuid,
    pub tenant_id: String,
    pub actor: String,
    pub capabilities: Vec<Capability>,
    pub created_at: Timestamp,
    pub seen_at: Timestamp,
    pub expires_at: Timestamp,
}

/// The open sessions of every tenant, or of one; oldest first.
pub async fn sessions(store: &Store, tenant: Option<&str>) -> anyhow::Result<Vec<OpenSession>> {
    let client = connect(store).await?;
    let rows = client
        .query(
            include_str!("../../sql/queries/console/list_portal_sessions.sql"),
            &[&tenant, &IDLE.as_secs_f64()],
        )
        .await
        .context("list the sessions")?;
    let sessions = rows.iter().map(|row| OpenSession {
        id: row.get("id"),
        link_id: row.get("link_id"),
        tenant_id: row.get("tenant_id"),
        actor: row.get("actor"),
        capabilities: capability::of_names(&row.get::<_, Vec<String>>("capabilities")),
        created_at: row.get("created_at"),
        seen_at: row.get("seen_at"),
        expires_at: row.get("expires_at"),
    });
    Ok(sessions.collect())
}

async fn connect(store: &Store) -> anyhow::Result<Connection> {
    let connected = store.get().await;
    connected.with_context(|| format!("connect to the store {}", store.describe()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_below_the_console() {
        for path in ["/console/overview", "/console/deliveries?status=failed#x"] {
            assert!(is_page(path), "{path}");
        }
        for path in [
            "",
            "/console",
            "//evil.example/console/",
            "https://evil.example/console/",
            "/console/\\evil",
            "/console/a b",
            "/console/\r\nset-cookie: a=b",
        ] {
            assert!(!is_page(path), "{path}");
        }
    }
}
