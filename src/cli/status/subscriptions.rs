//! The subscriptions, and those that nothing can be sent to.

use anyhow::Context;
use serde::Serialize;

use crate::conninfo::Client;
use crate::event::SubscriptionId;
use crate::subscription::directory::Counts;

#[derive(Debug, Serialize)]
pub struct Subscriptions {
    pub(super) active: i64,
    pub(super) disabled: i64,
    /// Those that cannot be decrypted or read: what is due to them waits.
    pub(super) unreadable: Vec<Unreadable>,
}

#[derive(Debug, Serialize)]
pub(super) struct Unreadable {
    pub(super) id: String,
    pub(super) tenant_id: String,
    pub(super) reason: String,
}

impl Subscriptions {
    pub fn problem(&self) -> Option<String> {
        let first = self.unreadable.first()?;
        Some(format!(
            "{} subscription(s) cannot be read, and what is due to them waits, as {} of tenant `{}`: {}",
            self.unreadable.len(),
            first.id,
            first.tenant_id,
            first.reason
        ))
    }

    pub async fn read(client: &Client) -> anyhow::Result<Self> {
        let counts = Counts::read(client).await?;
        let query = include_str!("../../../sql/queries/cli/list_unreadable.sql");
        let rows = client
            .query(query, &[])
            .await
            .context("list the subscriptions that cannot be read")?;
        let unreadable = |row: &tokio_postgres::Row| Unreadable {
            id: SubscriptionId(row.get("id")).to_string(),
            tenant_id: row.get("tenant_id"),
            reason: row.get("unreadable_reason"),
        };
        Ok(Subscriptions {
            active: counts.active,
            disabled: counts.disabled,
            unreadable: rows.iter().map(unreadable).collect(),
        })
    }
}
