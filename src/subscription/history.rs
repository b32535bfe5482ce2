//! The versions of a subscription's settings, the newest first.

use jiff::Timestamp;
use tokio_postgres::{Error, Row};
use uuid::Uuid;

use super::Batching;
use super::headers::SealedHeaders;
use crate::conninfo::Transaction;
use crate::event::SubscriptionId;

/// The settings from a change on until the next.
#[derive(Clone, Debug)]
pub struct Version {
    pub number: i32,
    pub url: String,
    pub events: Vec<String>,
    pub filter: Option<String>,
    pub headers: SealedHeaders,
    pub format: String,
    pub ordering: String,
    pub batching: Option<Batching>,
    pub rate_limit: Option<i32>,
    pub changed_at: Timestamp,
    /// The entry of the audit log that says who changed it.
    pub changed_by: Option<Uuid>,
}

/// Those before the version `before`. Also of a subscription that is deleted, while deliveries of
/// it are listed. Wants a transaction of [`crate::db::tenant_transaction`].
pub async fn versions(
    transaction: &Transaction<'_>,
    id: SubscriptionId,
    before: i32,
    limit: i64,
) -> Result<Vec<Version>, Error> {
    let sql = include_str!("../../sql/queries/subscription/list_history.sql");
    let rows = transaction.query(sql, &[&id.0, &before, &limit]).await?;
    let version = |row: &Row| Version {
        number: row.get("version"),
        url: row.get("url"),
        events: row.get("events"),
        filter: row.get("filter"),
        headers: SealedHeaders::from_stored(row.get("headers")),
        format: row.get("format"),
        ordering: row.get("ordering"),
        batching: Batching::of(row),
        rate_limit: row.get("rate_limit"),
        changed_at: row.get("changed_at"),
        changed_by: row.get("changed_by"),
    };
    Ok(rows.iter().map(version).collect())
}
