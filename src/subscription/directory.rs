//! All active subscriptions in memory, for matching and sending. Loaded again when
//! their generation in the store has moved.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Context;
use tokio_postgres::Row;
use uuid::Uuid;

use super::reading::Reader;
use super::wish::refusal;
use super::{Subscription, reading};
use crate::conninfo::Client;
use crate::event::{IdMap, SubscriptionId};
use crate::lsn::Lsn;
use crate::secret::EncryptionKey;

/// The newest snapshot of the subscriptions, shared by those who match and those who send.
#[derive(Clone)]
pub struct Directory {
    key: Arc<EncryptionKey>,
    /// Says why a filter does not compile.
    check_filter: reading::CheckFilter,
    current: Arc<RwLock<Arc<Snapshot>>>,
}

/// The subscriptions as they stood at one generation.
#[derive(Default)]
pub struct Snapshot {
    pub generation: i64,
    by_id: IdMap<SubscriptionId, Arc<Subscription>>,
    by_tenant: HashMap<Arc<str>, Vec<Arc<Subscription>>>,
}

impl Directory {
    pub fn new(key: Arc<EncryptionKey>) -> Self {
        Directory {
            key,
            check_filter: |_| Ok(()),
            current: Arc::default(),
        }
    }

    /// Holds back subscriptions whose filter does not compile, by what this says of it.
    pub fn checking_filters(mut self, check: reading::CheckFilter) -> Self {
        self.check_filter = check;
        self
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Loads the subscriptions if `generation` is not the one in memory. Called with
    /// what the caller's own transaction has read, on that transaction's connection.
    pub async fn at_generation(
        &self,
        client: &Client,
        generation: i64,
    ) -> anyhow::Result<Arc<Snapshot>> {
        let current = self.snapshot();
        if current.generation == generation {
            return Ok(current);
        }
        let versions = client
            .query(
                include_str!("../../sql/queries/subscription/list_versions.sql"),
                &[],
            )
            .await
            .context("list the subscriptions")?;
        // To decrypt all of them for each that is created costs more than to send an event.
        let mut unchanged = Vec::with_capacity(versions.len());
        let mut changed: Vec<Uuid> = Vec::new();
        for row in &versions {
            let id: Uuid = row.try_get("id").context("read a subscription's id")?;
            match current.get(SubscriptionId(id)) {
                Some(known) if known.row_version == row.get::<_, i64>("row_version") => {
                    unchanged.push(Arc::clone(known));
                }
                _ => changed.push(id),
            }
        }
        let rows = match changed.is_empty() {
            true => Vec::new(),
            false => client
                .query(
                    include_str!("../../sql/queries/subscription/load.sql"),
                    &[&changed],
                )
                .await
                .context("load the subscriptions")?,
        };
        // The rows may be younger than `generation`; then the next look loads them again.
        let snapshot = Arc::new(self.build(generation, unchanged, &rows, &current)?);
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.generation < generation {
            *current = Arc::clone(&snapshot);
        }
        Ok(snapshot)
    }

    /// Looks at the generation and loads what changed.
    pub async fn refresh(&self, client: &Client) -> anyhow::Result<Arc<Snapshot>> {
        let generation = read_generation(client).await?;
        self.at_generation(client, generation).await
    }

    fn build(
        &self,
        generation: i64,
        mut subscriptions: Vec<Arc<Subscription>>,
        rows: &[Row],
        before: &Snapshot,
    ) -> anyhow::Result<Snapshot> {
        let reader = Reader {
            key: &self.key,
            check_filter: self.check_filter,
            before,
        };
        let mut tenants: HashMap<String, Arc<str>> = HashMap::new();
        for row in rows {
            // Without these it belongs to no tenant, and there is nothing to hold back.
            let id = row.try_get("id").context("read a subscription's id")?;
            let tenant: String = row
                .try_get("tenant_id")
                .context("read a subscription's tenant")?;
            let known = before.by_tenant.get_key_value(tenant.as_str());
            let tenant = tenants
                .entry(tenant)
                .or_insert_with_key(|tenant| match known {
                    Some((known, _)) => Arc::clone(known),
                    None => Arc::from(tenant.as_str()),
                });
            let subscription = reader.read(row, SubscriptionId(id), Arc::clone(tenant));
            subscriptions.push(Arc::new(subscription));
        }
        Ok(Snapshot::of(generation, subscriptions))
    }
}

/// Changes with every change of a subscription.
pub async fn read_generation(client: &Client) -> anyhow::Result<i64> {
    let query = include_str!("../../sql/queries/subscription/read_generation.sql");
    let row = client.query_one(query, &[]).await;
    Ok(row.context("read the subscriptions' generation")?.get(0))
}

/// How many there are.
pub struct Counts {
    pub active: i64,
    pub disabled: i64,
}

impl Counts {
    pub async fn read(client: &Client) -> anyhow::Result<Self> {
        let query = include_str!("../../sql/queries/subscription/count.sql");
        let row = client.query_one(query, &[]).await;
        let row = row.context("count the subscriptions")?;
        Ok(Counts {
            active: row.get("active"),
            disabled: row.get("disabled"),
        })
    }
}

impl Snapshot {
    pub fn of(generation: i64, subscriptions: Vec<impl Into<Arc<Subscription>>>) -> Self {
        let mut snapshot = Snapshot {
            generation,
            ..Snapshot::default()
        };
        for subscription in subscriptions {
            let subscription: Arc<Subscription> = subscription.into();
            snapshot
                .by_id
                .insert(subscription.id, Arc::clone(&subscription));
            snapshot
                .by_tenant
                .entry(Arc::clone(&subscription.tenant_id))
                .or_default()
                .push(subscription);
        }
        snapshot
    }

    pub fn get(&self, id: SubscriptionId) -> Option<&Arc<Subscription>> {
        self.by_id.get(&id)
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<Subscription>> {
        self.by_id.values()
    }

    /// Those that have a subscription, active or not.
    pub fn tenants(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_tenant.keys()
    }

    /// Whether it has a subscription, active or not.
    pub fn has_tenant(&self, tenant_id: &str) -> bool {
        self.by_tenant.contains_key(tenant_id)
    }

    /// All of the tenant's subscriptions.
    pub fn of_tenant(&self, tenant_id: &str) -> impl Iterator<Item = &Arc<Subscription>> {
        let of_tenant = self.by_tenant.get(tenant_id).map_or(&[][..], Vec::as_slice);
        of_tenant.iter()
    }

    /// The tenant's active subscriptions that ask for this type and had begun when
    /// the transaction committed. Filters are the caller's to ask.
    pub fn matching<'a>(
        &'a self,
        tenant_id: &str,
        event_type: &'a str,
        commit_lsn: Lsn,
    ) -> impl Iterator<Item = &'a Arc<Subscription>> {
        self.of_tenant(tenant_id).filter(move |subscription| {
            let Subscription {
                active,
                from_lsn,
                events,
                ..
            } = &***subscription;
            refusal(*active, *from_lsn, events, event_type, commit_lsn).is_none()
        })
    }
}

/// `*` is every type, `payment.*` every type below `payment`, anything else itself.
pub fn type_matches(pattern: &str, event_type: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some("") => true,
        Some(prefix) if prefix.ends_with('.') => event_type.starts_with(prefix),
        _ => pattern == event_type,
    }
}

#[cfg(test)]
mod tests {
    use super::type_matches;

    #[test]
    fn patterns_match_whole_segments() {
        for (pattern, event_type, expected) in [
            ("*", "payment.received", true),
            ("payment.*", "payment.received", true),
            ("payment.*", "payment.refund.created", true),
            ("payment.*", "payments.received", false),
            ("payment.*", "payment", false),
            ("payment.received", "payment.received", true),
            ("payment.received", "payment.failed", false),
            ("pay*", "payment.received", false),
        ] {
            assert_eq!(
                type_matches(pattern, event_type),
                expected,
                "{pattern} {event_type}"
            );
        }
    }
}
