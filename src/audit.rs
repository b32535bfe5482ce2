//! The audit log: who changed what. An entry commits with the change that it tells of, and is
//! never changed afterwards.
//!
//! The caller of a change has a [`Caller`], and makes a [`Change`] of it: its id is known
//! before the entry is written, so that rows of the change can name it.

use std::collections::HashMap;
use std::net::IpAddr;

use anyhow::Context;
use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio_postgres::{Error, Row};
use uuid::Uuid;

use crate::conninfo::{Queries, Transaction};

/// What kind of principal changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrincipalKind {
    /// A walhook token of the API.
    Token,
    /// A JWT of the application.
    Jwt,
    /// A session of the tenant's pages.
    Portal,
    Operator,
    /// A command of the command line.
    Command,
    /// walhook itself.
    Walhook,
}

impl PrincipalKind {
    pub fn as_str(self) -> &'static str {
        match self {
            PrincipalKind::Token => "token",
            PrincipalKind::Jwt => "jwt",
            PrincipalKind::Portal => "portal",
            PrincipalKind::Operator => "operator",
            PrincipalKind::Command => "command",
            PrincipalKind::Walhook => "walhook",
        }
    }

    /// The table admits no other texts.
    pub fn of_stored(text: &str) -> Self {
        match text {
            "token" => PrincipalKind::Token,
            "jwt" => PrincipalKind::Jwt,
            "portal" => PrincipalKind::Portal,
            "operator" => PrincipalKind::Operator,
            "command" => PrincipalKind::Command,
            _ => PrincipalKind::Walhook,
        }
    }
}

/// Who changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub kind: PrincipalKind,
    /// Which of its kind: a token's id, a JWT's `sub`, a system user.
    pub name: String,
    /// What people call it, or on whose behalf it acts.
    pub actor: Option<String>,
}

/// Who calls, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub principal: Principal,
    pub request_id: Option<String>,
    pub remote_ip: Option<IpAddr>,
}

impl Caller {
    /// The user who runs this command, and the machine. Of `sudo` the user who called it.
    pub fn of_command() -> Self {
        let user = std::env::var("SUDO_USER").or_else(|_| whoami::username());
        let (user, host) = (
            user.unwrap_or_default(),
            whoami::hostname().unwrap_or_default(),
        );
        Caller::own(PrincipalKind::Command, format!("{user}@{host}"))
    }

    /// walhook itself.
    pub fn walhook() -> Self {
        Caller::own(PrincipalKind::Walhook, "walhook".to_owned())
    }

    fn own(kind: PrincipalKind, name: String) -> Self {
        Caller {
            principal: Principal {
                kind,
                name,
                actor: None,
            },
            request_id: None,
            remote_ip: None,
        }
    }

    /// Commits a change together with its entry. A transaction that has changed nothing is
    /// dropped instead: it has no entry.
    pub async fn commit(
        &self,
        transaction: Transaction<'_>,
        entry: &Entry<'_>,
    ) -> anyhow::Result<()> {
        let entered = self.change().enter(&transaction, entry).await;
        entered.context("write the audit log")?;
        let committed = transaction.commit().await;
        committed.context("commit the change")
    }

    /// Begins a change, of which each row that it writes can name the entry.
    pub fn change(&self) -> Change<'_> {
        Change {
            id: Uuid::now_v7(),
            caller: self,
        }
    }
}

/// Something that is being changed.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// Of its entry.
    pub id: Uuid,
    caller: &'a Caller,
}

/// What an entry says besides who and when.
#[derive(Clone, Debug, Default)]
pub struct Entry<'a> {
    pub tenant: Option<&'a str>,
    /// As in `subscription.update`.
    pub action: &'static str,
    pub object: Option<String>,
    /// What was there before: no secrets.
    pub before: Option<Value>,
    /// What is there since: no secrets.
    pub after: Option<Value>,
    pub reason: Option<&'a str>,
}

impl Change<'_> {
    /// Has what the transaction's triggers write name the entry.
    pub async fn announce(&self, transaction: &impl Queries) -> Result<(), Error> {
        transaction
            .query_one(
                include_str!("../sql/queries/audit/announce.sql"),
                &[&self.id.to_string()],
            )
            .await
            .map(drop)
    }

    /// Writes the entry, in the transaction of the change.
    pub async fn enter(&self, transaction: &impl Queries, entry: &Entry<'_>) -> Result<(), Error> {
        let Caller {
            principal,
            request_id,
            remote_ip,
        } = self.caller;
        transaction
            .execute(
                include_str!("../sql/queries/audit/enter.sql"),
                &[
                    &self.id,
                    &principal.kind.as_str(),
                    &principal.name,
                    &principal.actor,
                    &entry.tenant,
                    &entry.action,
                    &entry.object,
                    &entry.before,
                    &entry.after,
                    &entry.reason,
                    request_id,
                    remote_ip,
                ],
            )
            .await
            .map(drop)
    }
}

/// Of two states what differs, before and after.
pub fn difference(before: &Value, after: &Value) -> (Value, Value) {
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        return (before.clone(), after.clone());
    };
    let only = |of: &Map<String, Value>, other: &Map<String, Value>| {
        let differs = of
            .iter()
            .filter(|(name, value)| other.get(*name) != Some(value));
        let differs = differs.map(|(name, value)| (name.clone(), value.clone()));
        Value::Object(differs.collect())
    };
    (only(old, new), only(new, old))
}

/// An entry as it was written.
#[derive(Clone, Debug)]
pub struct StoredEntry {
    pub id: Uuid,
    pub at: Timestamp,
    pub principal: Principal,
    pub action: String,
    pub object: Option<String>,
    pub before: Option<Value>,
    pub after: Option<Value>,
    pub reason: Option<String>,
    pub request_id: Option<String>,
    pub remote_ip: Option<IpAddr>,
}

/// Which entries are listed.
#[derive(Clone, Copy, Debug, Default)]
pub struct EntryFilter<'a> {
    pub action: Option<&'a str>,
    pub object: Option<&'a str>,
}

/// A tenant's entries below the id `before`, the newest first. Wants a transaction of
/// [`crate::db::tenant_transaction`].
pub async fn entries(
    transaction: &impl Queries,
    filter: EntryFilter<'_>,
    before: Uuid,
    limit: i64,
) -> Result<Vec<StoredEntry>, Error> {
    let rows = transaction
        .query(
            include_str!("../sql/queries/audit/list.sql"),
            &[&before, &filter.action, &filter.object, &limit],
        )
        .await?;
    let entry = |row: &Row| StoredEntry {
        id: row.get("id"),
        at: row.get("at"),
        principal: principal(row),
        action: row.get("action"),
        object: row.get("object"),
        before: row.get("before"),
        after: row.get("after"),
        reason: row.get("reason"),
        request_id: row.get("request_id"),
        remote_ip: row.get("remote_ip"),
    };
    Ok(rows.iter().map(entry).collect())
}

/// Who made these entries, of those that are there still.
pub async fn principals(
    transaction: &impl Queries,
    entries: &[Uuid],
) -> Result<HashMap<Uuid, Principal>, Error> {
    if entries.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = include_str!("../sql/queries/audit/list_principals.sql");
    let rows = transaction.query(sql, &[&entries]).await?;
    let found = rows.iter().map(|row| (row.get("id"), principal(row)));
    Ok(found.collect())
}

fn principal(row: &Row) -> Principal {
    Principal {
        kind: PrincipalKind::of_stored(row.get("principal_kind")),
        name: row.get("principal"),
        actor: row.get("actor"),
    }
}

/// Forgets entries from before a time, so many at a time. As the store's owner.
pub const PRUNE: &str = include_str!("../sql/queries/audit/prune.sql");

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn difference_has_what_differs_and_nothing_else() {
        let before = json!({"url": "a", "filter": null, "events": ["x"], "gone": 1});
        let after = json!({"url": "b", "filter": null, "events": ["x", "y"], "new": 2});
        let (old, new) = difference(&before, &after);
        assert_eq!(old, json!({"url": "a", "events": ["x"], "gone": 1}));
        assert_eq!(new, json!({"url": "b", "events": ["x", "y"], "new": 2}));
        let (old, new) = difference(&before, &before);
        assert_eq!((old, new), (json!({}), json!({})));
    }
}
