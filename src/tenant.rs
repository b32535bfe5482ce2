//! The tenants that the store has met: by their events, calls, tokens or portal links; and the
//! erasure of all that it has of one.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio_postgres::{Error, Row};

use crate::conninfo::Queries;

mod erasure;

pub use erasure::{Erased, Erasure, Found};

/// Tenants in memory: beyond, the cache begins again, and each is looked up once more.
const CACHE_SIZE: usize = 50_000;

/// Tenants that the store knows, as far as this process has seen: none is written twice.
#[derive(Default)]
pub struct Seen(Mutex<HashSet<Arc<str>>>);

impl Seen {
    /// Those that may be new to the store, each once and in order.
    pub fn unknown<'a>(&self, tenants: impl Iterator<Item = &'a Arc<str>>) -> Vec<Arc<str>> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unknown: BTreeSet<Arc<str>> = BTreeSet::new();
        let mut last: Option<&Arc<str>> = None;
        for tenant in tenants {
            // Those of one transaction are often of one tenant.
            if last.replace(tenant).is_some_and(|last| last == tenant) {
                continue;
            }
            if !seen.contains(tenant) {
                unknown.insert(Arc::clone(tenant));
            }
        }
        unknown.into_iter().collect()
    }

    /// These are in the store by now.
    pub fn note(&self, tenants: &[Arc<str>]) {
        if tenants.is_empty() {
            return;
        }
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() + tenants.len() > CACHE_SIZE {
            seen.clear();
        }
        seen.extend(tenants.iter().map(Arc::clone));
    }
}

/// Has the store know these, given in order. As its owner.
pub async fn see(client: &impl Queries, tenants: &[&str]) -> Result<(), Error> {
    let sql = include_str!("../sql/queries/tenant/see.sql");
    client.execute(sql, &[&tenants]).await.map(drop)
}

/// A tenant as the operator sees it.
#[derive(Clone, Debug)]
pub struct StoredTenant {
    pub id: String,
    pub first_seen: Timestamp,
    pub name: Option<String>,
    /// Since when it is being erased.
    pub erased_at: Option<Timestamp>,
    pub subscriptions: i64,
    /// Tokens that are valid.
    pub tokens: i64,
}

/// Tenants after `after`, in the order of their ids. As the store's owner.
pub async fn list(
    client: &impl Queries,
    after: &str,
    limit: i64,
) -> Result<Vec<StoredTenant>, Error> {
    let sql = include_str!("../sql/queries/tenant/list.sql");
    let rows = client.query(sql, &[&after, &limit]).await?;
    let tenant = |row: &Row| StoredTenant {
        id: row.get("tenant_id"),
        first_seen: row.get("first_seen"),
        name: row.get("name"),
        erased_at: row.get("erased_at"),
        subscriptions: row.get("subscriptions"),
        tokens: row.get("tokens"),
    };
    Ok(rows.iter().map(tenant).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tenant_is_unknown_until_it_is_noted() {
        let seen = Seen::default();
        let of = |names: &[&str]| -> Vec<Arc<str>> {
            names.iter().map(|name| Arc::from(*name)).collect()
        };
        let tenants = of(&["b", "a", "a", "b", "b", "c"]);
        assert_eq!(seen.unknown(tenants.iter()), of(&["a", "b", "c"]));
        seen.note(&of(&["b"]));
        assert_eq!(seen.unknown(tenants.iter()), of(&["a", "c"]));
        seen.note(&of(&["a", "c"]));
        assert!(seen.unknown(tenants.iter()).is_empty());
    }
}
