//! A tenant's own subscriptions: create, read, change, rotate, enable, delete. Every
//! function wants a transaction of [`crate::db::tenant_transaction`]; another tenant's
//! subscription is then as absent as one that never was.

use std::time::Duration;

use jiff::Timestamp;
use tokio_postgres::{Error, Row};
use uuid::Uuid;

use super::headers::SealedHeaders;
use super::keys::{Kind, Previous, SealedSecret, SealedSigningKey};
use super::pause::Pause;
use super::{Batching, Format, Ordering};
use crate::conninfo::{Queries, Transaction};
use crate::duration::interval_seconds;
use crate::lsn::Lsn;

pub use crate::event::SubscriptionId;

/// A subscription as its owner may see it: no secret, only the hint, and no signing key,
/// only its public key.
#[derive(Clone, Debug)]
pub struct StoredSubscription {
    pub id: SubscriptionId,
    pub url: String,
    pub events: Vec<String>,
    pub description: Option<String>,
    pub filter: Option<String>,
    /// None where the filter, as it is, has never failed.
    pub filter_error: Option<FilterError>,
    pub headers: SealedHeaders,
    pub ordering: String,
    pub rate_limit: Option<i32>,
    pub batching: Option<Batching>,
    pub format: String,
    pub active: bool,
    pub disabled_at: Option<Timestamp>,
    pub disabled_reason: Option<String>,
    pub breaker: String,
    /// The first failed attempt after the endpoint's last success.
    pub failing_since: Option<Timestamp>,
    /// Of its settings.
    pub version: i32,
    /// Why an instance cannot send to it.
    pub unreadable_reason: Option<String>,
    pub secret_hint: String,
    /// Until then a secret from before a rotation signs too.
    pub previous_secret_expires_at: Option<Timestamp>,
    /// `whpk_…`; none where it has no signing key.
    pub public_key: Option<String>,
    /// Until then a signing key from before a rotation signs too.
    pub previous_signing_key_expires_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A filter that could not be evaluated on some events.
#[derive(Clone, Debug)]
pub struct FilterError {
    /// Of the last of them.
    pub reason: String,
    pub failed_at: Timestamp,
    /// How many there were.
    pub failures: i64,
}

impl FilterError {
    fn of(row: &Row) -> Option<Self> {
        Some(FilterError {
            reason: row.get::<_, Option<String>>("filter_error")?,
            failed_at: row.get::<_, Option<Timestamp>>("filter_failed_at")?,
            failures: row.get("filter_failures"),
        })
    }
}

pub struct NewSubscription {
    pub id: SubscriptionId,
    pub url: String,
    pub events: Vec<String>,
    pub description: Option<String>,
    pub filter: Option<String>,
    pub headers: SealedHeaders,
    pub format: Format,
    /// Per second; the table says which numbers it may be.
    pub rate_limit: Option<i32>,
    pub ordering: Ordering,
    pub batching: Option<Batching>,
    pub secret: SealedSecret,
    pub signing_key: Option<SealedSigningKey>,
    /// Read on the source before this is inserted: nothing committed after the answer is missed.
    pub from_lsn: Lsn,
}

/// What a change leaves out stays as it is; an inner `None` clears.
#[derive(Default)]
pub struct Changes {
    pub url: Option<String>,
    pub events: Option<Vec<String>>,
    pub description: Option<Option<String>>,
    pub filter: Option<Option<String>>,
    pub headers: Option<SealedHeaders>,
    pub format: Option<Format>,
    pub rate_limit: Option<Option<i32>>,
    pub ordering: Option<Ordering>,
    pub batching: Option<Option<Batching>>,
    /// At once: the one so far, and those before it, sign no more.
    pub signing_key: Option<Option<SealedSigningKey>>,
}

pub async fn create(
    transaction: &Transaction<'_>,
    tenant: &str,
    new: &NewSubscription,
) -> Result<StoredSubscription, Error> {
    let (max_events, max_bytes, max_wait) = Batching::columns(new.batching);
    let row = transaction
        .query_one(
            include_str!("../../sql/queries/subscription/create.sql"),
            &[
                &new.id.0,
                &tenant,
                &new.url,
                &new.events,
                &new.description,
                &new.filter,
                &new.headers.as_stored(),
                &new.format.as_str(),
                &new.secret.ciphertext,
                &new.secret.hint,
                &new.from_lsn,
                &new.rate_limit,
                &new.ordering.as_str(),
                &max_events,
                &max_bytes,
                &max_wait,
                &new.signing_key.as_ref().map(|key| &key.ciphertext),
                &new.signing_key.as_ref().map(|key| &key.public_key),
            ],
        )
        .await?;
    Ok(read(&row))
}

/// How many the tenant has. Locks out other creations for this tenant until the transaction ends.
pub async fn count_for_one_more(transaction: &Transaction<'_>) -> Result<i64, Error> {
    transaction
        .execute(
            include_str!("../../sql/queries/subscription/lock_own.sql"),
            &[],
        )
        .await?;
    count(transaction).await
}

/// How many the tenant has.
pub async fn count(transaction: &Transaction<'_>) -> Result<i64, Error> {
    let count = include_str!("../../sql/queries/subscription/count_own.sql");
    Ok(transaction.query_one(count, &[]).await?.get(0))
}

pub async fn get(
    transaction: &Transaction<'_>,
    id: SubscriptionId,
) -> Result<Option<StoredSubscription>, Error> {
    let row = transaction
        .query_opt(
            include_str!("../../sql/queries/subscription/get.sql"),
            &[&id.0],
        )
        .await?;
    Ok(row.as_ref().map(read))
}

/// As [`get`]; nobody else changes it until the transaction ends.
pub async fn get_locked(
    transaction: &Transaction<'_>,
    id: SubscriptionId,
) -> Result<Option<StoredSubscription>, Error> {
    let sql = include_str!("../../sql/queries/subscription/get_locked.sql");
    let row = transaction.query_opt(sql, &[&id.0]).await?;
    Ok(row.as_ref().map(read))
}

/// Newest first, those below `before`.
pub async fn list(
    transaction: &Transaction<'_>,
    before: Uuid,
    limit: i64,
) -> Result<Vec<StoredSubscription>, Error> {
    let rows = transaction
        .query(
            include_str!("../../sql/queries/subscription/list.sql"),
            &[&before, &limit],
        )
        .await?;
    Ok(rows.iter().map(read).collect())
}

pub async fn update(
    transaction: &Transaction<'_>,
    id: SubscriptionId,
    changes: &Changes,
) -> Result<Option<StoredSubscription>, Error> {
    let (max_events, max_bytes, max_wait) = Batching::columns(changes.batching.flatten());
    let signing_key = changes.signing_key.as_ref().and_then(Option::as_ref);
    let row = transaction
        .query_opt(
            include_str!("../../sql/queries/subscription/update.sql"),
            &[
                &id.0,
                &changes.url,
                &changes.events,
                &changes.description.is_some(),
                &changes.description.as_ref().and_then(Option::as_ref),
                &changes.filter.is_some(),
                &changes.filter.as_ref().and_then(Option::as_ref),
                &changes.headers.is_some(),
                &changes.headers.as_ref().and_then(SealedHeaders::as_stored),
                &changes.format.map(Format::as_str),
                &changes.rate_limit.is_some(),
                &changes.rate_limit.flatten(),
                &changes.ordering.map(Ordering::as_str),
                &changes.batching.is_some(),
                &max_events,
                &max_bytes,
                &max_wait,
                &changes.signing_key.is_some(),
                &signing_key.map(|key| &key.ciphertext),
                &signing_key.map(|key| &key.public_key),
            ],
        )
        .await?;
    Ok(row.as_ref().map(read))
}

/// Enables; what was parked meanwhile becomes due soon after. The pause is `None` where the
/// subscription was active already.
pub async fn enable(
    transaction: &Transaction<'_>,
    id: SubscriptionId,
) -> Result<Option<(StoredSubscription, Option<Pause>)>, Error> {
    let locked = transaction
        .query_opt(
            include_str!("../../sql/queries/subscription/lock.sql"),
            &[&id.0],
        )
        .await?;
    let Some(locked) = locked else {
        return Ok(None);
    };
    let Some(pause) = Pause::of(&locked) else {
        let unchanged = get(transaction, id).await?;
        return Ok(unchanged.map(|subscription| (subscription, None)));
    };
    let row = transaction
        .query_one(
            include_str!("../../sql/queries/subscription/enable.sql"),
            &[&id.0],
        )
        .await?;
    Ok(Some((read(&row), Some(pause))))
}

/// Why a subscription is disabled.
#[derive(Clone, Copy, Debug)]
pub enum Disabling<'a> {
    Because(&'a str),
    /// Only where every attempt has failed for so long.
    FailingFor(Duration),
}

/// The reason where the tenant disables it.
pub const BY_REQUEST: &str = "by request";

pub struct Disabled {
    pub id: SubscriptionId,
    pub tenant_id: String,
    pub reason: String,
}

/// Disables those that are not yet; what waits is parked soon after. Also for the owner's
/// connection.
pub async fn disable(
    client: &impl Queries,
    ids: &[Uuid],
    disabling: Disabling<'_>,
) -> Result<Vec<Disabled>, Error> {
    let (reason, failing_for) = match disabling {
        Disabling::Because(reason) => (Some(reason), None),
        Disabling::FailingFor(limit) => (None, Some(interval_seconds(limit))),
    };
    let sql = include_str!("../../sql/queries/subscription/disable.sql");
    let rows = client.query(sql, &[&ids, &reason, &failing_for]).await?;
    let disabled = rows.iter().map(|row| Disabled {
        id: SubscriptionId(row.get("id")),
        tenant_id: row.get("tenant_id"),
        reason: row.get("disabled_reason"),
    });
    Ok(disabled.collect())
}

/// Ids in one statement: enough to make round trips cheap, few enough that the planner
/// looks each up by its key.
const CANCEL_BATCH: i64 = 1000;

/// Deletes, and cancels what waits. False where there is no such subscription.
pub async fn delete(transaction: &Transaction<'_>, id: SubscriptionId) -> Result<bool, Error> {
    let deleted = transaction
        .execute(
            include_str!("../../sql/queries/subscription/delete.sql"),
            &[&id.0],
        )
        .await?;
    if deleted == 0 {
        return Ok(false);
    }
    loop {
        let rows = transaction
            .query(
                include_str!("../../sql/queries/subscription/unschedule_deliveries.sql"),
                &[&id.0, &CANCEL_BATCH],
            )
            .await?;
        if rows.is_empty() {
            return Ok(true);
        }
        let ids: Vec<Uuid> = rows.iter().map(|row| row.get(0)).collect();
        transaction
            .execute(
                include_str!("../../sql/queries/subscription/cancel_deliveries.sql"),
                &[&ids],
            )
            .await?;
    }
}

/// A null among them is nothing that is asked for.
fn events(row: &Row) -> Vec<String> {
    let events: Vec<Option<String>> = row.get("events");
    events.into_iter().flatten().collect()
}

pub(super) fn read(row: &Row) -> StoredSubscription {
    StoredSubscription {
        id: SubscriptionId(row.get("id")),
        url: row.get("url"),
        events: events(row),
        description: row.get("description"),
        filter: row.get("filter"),
        filter_error: FilterError::of(row),
        headers: SealedHeaders::from_stored(row.get("headers")),
        ordering: row.get("ordering"),
        rate_limit: row.get("rate_limit"),
        batching: Batching::of(row),
        format: row.get("format"),
        active: row.get("active"),
        disabled_at: row.get("disabled_at"),
        disabled_reason: row.get("disabled_reason"),
        breaker: row.get("breaker"),
        failing_since: row.get("failing_since"),
        version: row.get("version"),
        unreadable_reason: row.get("unreadable_reason"),
        secret_hint: row.get("secret_hint"),
        previous_secret_expires_at: Previous::of(row, Kind::Secret).last_expires_at(),
        public_key: row.get("public_key"),
        previous_signing_key_expires_at: Previous::of(row, Kind::SigningKey).last_expires_at(),
        created_at: row.get("created_at"),
        updated_at: row.get("updated_at"),
    }
}
