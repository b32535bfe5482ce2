//! Ordered subscriptions: of a row's deliveries the first alone is claimed, the others are
//! held behind it in the schedule. Who comes when is decided in the store, so that it is
//! the same for every node and after every crash:
//!
//! - a claim that meets one that is not the first of its row holds it, and keeps what it
//!   waits for from ending meanwhile;
//! - whoever ends a delivery lets go of the next of its row in the same transaction.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::conninfo::{Client, Queries};
use crate::db::Connection;
use crate::event::SubscriptionId;
use crate::subscription::directory::Snapshot;

/// Rows of ordered subscriptions of which a delivery has ended.
#[derive(Debug, Default)]
pub(super) struct Ended {
    subscriptions: Vec<Uuid>,
    keys: Vec<i64>,
}

impl Ended {
    /// Takes a row of `record_results`; answers the delivery that it speaks of, if that.
    pub(super) fn take(&mut self, row: &Row) -> Option<Uuid> {
        let key: Option<i64> = row.get("order_key");
        if let Some(key) = key {
            self.subscriptions.push(row.get("subscription_id"));
            self.keys.push(key);
        }
        row.get("id")
    }

    /// Lets go of the next of each row; answers whose they are. Wants the transaction
    /// that has ended those before: a statement of its own sees what came to be held
    /// while that one waited.
    pub(super) async fn release_next(
        &self,
        client: &impl Queries,
    ) -> anyhow::Result<Vec<SubscriptionId>> {
        if self.keys.is_empty() {
            return Ok(Vec::new());
        }
        let sql = include_str!("../../sql/queries/delivery/lock_order.sql");
        let locked = client.execute(sql, &[&self.subscriptions]).await;
        locked.context("lock the order of rows")?;
        let sql = include_str!("../../sql/queries/delivery/release_held.sql");
        let released = client.query(sql, &[&self.subscriptions, &self.keys]).await;
        let released = released.context("release the next deliveries of rows")?;
        let of = |row: &Row| SubscriptionId(row.get(0));
        Ok(released.iter().map(of).collect())
    }
}

/// Tells the claimer of this process for whom something was let go, so that it needs not
/// look for it. Another node's finds it when it looks.
#[derive(Debug, Default)]
pub struct Released {
    lanes: Mutex<HashSet<SubscriptionId>>,
    pub(super) told: Notify,
}

impl Released {
    pub(super) fn tell(&self, lanes: Vec<SubscriptionId>) {
        if !lanes.is_empty() {
            self.lanes().extend(lanes);
            self.told.notify_one();
        }
    }

    pub(super) fn take(&self) -> HashSet<SubscriptionId> {
        std::mem::take(&mut *self.lanes())
    }

    fn lanes(&self) -> std::sync::MutexGuard<'_, HashSet<SubscriptionId>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was handed over as the subscription became ordered has its row in the store after
/// this time: some passes of the enqueuer later.
const HANDED_OVER_SECONDS: f64 = 5.0;

/// Deliveries that are given their places by one statement.
const PLACED: i64 = 1000;

/// Settles the subscriptions that became ordered, as far as they can be by now.
pub(super) async fn settle(client: &mut Connection, snapshot: &Snapshot) -> anyhow::Result<()> {
    let unsettled = snapshot.all().filter(|one| !one.ordering_settled);
    let unsettled: Vec<SubscriptionId> = unsettled.map(|one| one.id).collect();
    for subscription in unsettled {
        let sql = include_str!("../../sql/queries/delivery/ordering_may_settle.sql");
        let changed_at = client
            .query_opt(sql, &[&subscription.0, &HANDED_OVER_SECONDS])
            .await
            .context("look whether a subscription's order is settled")?;
        if let Some(row) = changed_at {
            place(client, subscription).await?;
            release_all(client, subscription, row.get(0)).await?;
        }
    }
    Ok(())
}

/// Gives the subscription's deliveries their places, some at a time.
async fn place(client: &Client, subscription: SubscriptionId) -> anyhow::Result<()> {
    let sql = include_str!("../../sql/queries/delivery/place_deliveries.sql");
    let mut behind = Uuid::nil();
    while let Some(row) = client
        .query_opt(sql, &[&subscription.0, &behind, &PLACED])
        .await
        .context("give deliveries their places")?
    {
        behind = row.get(0);
    }
    Ok(())
}

async fn release_all(
    client: &mut Connection,
    subscription: SubscriptionId,
    changed_at: Timestamp,
) -> anyhow::Result<()> {
    let transaction = client.transaction().await?;
    let sql = include_str!("../../sql/queries/delivery/settle_ordering.sql");
    let settled = transaction
        .execute(sql, &[&subscription.0, &changed_at])
        .await
        .context("settle a subscription's order")?;
    if settled > 0 {
        let sql = include_str!("../../sql/queries/delivery/release_all_held.sql");
        let released = transaction.execute(sql, &[&subscription.0]).await;
        let released = released.context("release what waited for the order to settle")?;
        tracing::info!(%subscription, deliveries = released, "a subscription's order is settled");
    }
    transaction.commit().await.context("commit a settled order")
}
