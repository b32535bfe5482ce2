//! A delivery's attempts, as its tenant sees them: what brought each about, what it was made with
//! and what the endpoint answered.

use std::fmt;

use jiff::Timestamp;
use serde_json::Value;
use tokio_postgres::{Error, Row};
use uuid::Uuid;

use super::cause::Trigger;
use crate::audit::{self, Principal};
use crate::conninfo::Transaction;
use crate::event::DeliveryId;

#[derive(Clone)]
pub struct Attempt {
    pub number: i32,
    pub started_at: Timestamp,
    pub duration_ms: i32,
    pub http_status: Option<i16>,
    pub error_class: Option<String>,
    pub error: Option<String>,
    pub response_excerpt: Option<String>,
    pub content_type: Option<String>,
    /// An object of chosen headers: of a failure, where answers are kept.
    pub response_headers: Option<Value>,
    /// As it came.
    pub response_body: Option<Vec<u8>>,
    /// There was more of it; none: no answer was kept.
    pub response_truncated: Option<bool>,
    pub trigger: Trigger,
    /// Who asked for it, as far as the audit log knows.
    pub actor: Option<Principal>,
    /// The version of the subscription's settings that it was made with …
    pub subscription_version: Option<i32>,
    /// … and their URL.
    pub url: Option<String>,
}

/// Without what the endpoint said: receivers echo what they were sent.
impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt")
            .field("number", &self.number)
            .field("started_at", &self.started_at)
            .field("http_status", &self.http_status)
            .field("trigger", &self.trigger)
            .finish_non_exhaustive()
    }
}

/// The newest ones before the number `before`, at most so many, in the order that they were
/// made: a delivery that is retried by hand may have any number. Wants a transaction of
/// [`crate::db::tenant_transaction`].
pub async fn attempts(
    transaction: &Transaction<'_>,
    id: DeliveryId,
    before: i32,
    limit: i64,
) -> Result<Vec<Attempt>, Error> {
    let rows = transaction
        .query(
            include_str!("../../sql/queries/delivery/list_attempts.sql"),
            &[&id.0, &before, &limit],
        )
        .await?;
    let entry = |row: &Row| row.get::<_, Option<Uuid>>("actor");
    let entries: Vec<Uuid> = rows.iter().filter_map(entry).collect();
    let principals = audit::principals(transaction, &entries).await?;
    let actor = |row: &Row| principals.get(&entry(row)?).cloned();
    Ok(rows.iter().map(|row| read(row, actor(row))).collect())
}

fn read(row: &Row, actor: Option<Principal>) -> Attempt {
    Attempt {
        number: row.get("number"),
        started_at: row.get("started_at"),
        duration_ms: row.get("duration_ms"),
        http_status: row.get("http_status"),
        error_class: row.get("error_class"),
        error: row.get("error"),
        response_excerpt: row.get("response_excerpt"),
        content_type: row.get("content_type"),
        response_headers: row.get("response_headers"),
        response_body: row.get("response_body"),
        response_truncated: row.get("response_truncated"),
        trigger: Trigger::of_stored(row.get("trigger")),
        actor,
        subscription_version: row.get("subscription_version"),
        url: row.get("url"),
    }
}
