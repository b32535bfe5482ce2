//! The tenants that the store has met: by their events, calls, tokens or portal links; and the
//! erasure of all that it has of one.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio_postgres::{Error, Row};

use crate::conninfo::Queries;

mod erasure;

pub use erasure::{Erased, Erasure, Found};

/// Tenants in memory: beyond, the cache begins again, and each is looked up once more.
const CACHE_SIZE: usize = 50_000;

/// For so long a tenant is not looked up again: one that was erased, and comes back, is known
/// again after that.
const CACHE_TIME: Duration = Duration::from_secs(600);

/// Tenants that the store knows, as far as this process has seen: none is written for each call
/// or event.
#[derive(Default)]
pub struct Seen(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    /// Those that the store knew at these times.
    known: HashMap<Arc<str>, Instant>,
    /// Those that are to be written: no more than [`CACHE_SIZE`].
    met: BTreeSet<Arc<str>>,
}

impl Memory {
    fn knows(&self, tenant: &str, now: Instant) -> bool {
        let at = self.known.get(tenant);
        at.is_some_and(|at| now.saturating_duration_since(*at) < CACHE_TIME)
    }
}

impl Seen {
    /// Whether the store knows it.
    pub fn knows(&self, tenant: &str, now: Instant) -> bool {
        self.lock().knows(tenant, now)
    }

    /// These were met: those that may be new to the store are to be written.
    pub fn meet<'a>(&self, tenants: impl Iterator<Item = &'a Arc<str>>, now: Instant) {
        let mut memory = self.lock();
        let mut last: Option<&Arc<str>> = None;
        for tenant in tenants {
            // Those of one transaction are often of one tenant.
            if last.replace(tenant).is_some_and(|last| last == tenant) {
                continue;
            }
            if !memory.knows(tenant, now) && memory.met.len() < CACHE_SIZE {
                memory.met.insert(Arc::clone(tenant));
            }
        }
    }

    /// Those that are to be written, in order.
    pub fn met(&self) -> Vec<Arc<str>> {
        self.lock().met.iter().map(Arc::clone).collect()
    }

    /// These are in the store by now.
    pub fn note(&self, tenants: &[Arc<str>], now: Instant) {
        let mut memory = self.lock();
        if memory.known.len() + tenants.len() > CACHE_SIZE {
            memory.known.clear();
        }
        for tenant in tenants {
            memory.met.remove(tenant);
            memory.known.insert(Arc::clone(tenant), now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn each_tenant_is_met_until_it_is_noted_and_again_after_a_while() {
        let seen = Seen::default();
        let of = |names: &[&str]| -> Vec<Arc<str>> {
            names.iter().map(|name| Arc::from(*name)).collect()
        };
        let now = Instant::now();
        let tenants = of(&["b", "a", "a", "b", "b", "c"]);
        seen.meet(tenants.iter(), now);
        assert_eq!(seen.met(), of(&["a", "b", "c"]));
        seen.note(&of(&["b"]), now);
        seen.meet(tenants.iter(), now);
        assert_eq!(seen.met(), of(&["a", "c"]));
        seen.note(&of(&["a", "c"]), now);
        assert!(seen.met().is_empty() && seen.knows("b", now));
        // It may have been erased meanwhile.
        let later = now + CACHE_TIME;
        assert!(!seen.knows("b", later));
        seen.meet(tenants.iter().take(1), later);
        assert_eq!(seen.met(), of(&["b"]));
    }
}
