//! What users ask for by hand: retry a delivery, or a batch of those that match. They become due
//! now, and the claimer sends them. An open breaker admits a probe for it at once.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};
use uuid::Uuid;

use super::cause::{Cause, Trigger};
use super::listing::{DeliveryFilter, IdRange, Status};
use crate::audit::{Caller, Entry};
use crate::conninfo::{Queries, Transaction};
use crate::db::{PoolError, Store, tenant_transaction};
use crate::duration::milliseconds;
use crate::event::{DeliveryId, SubscriptionId};

/// Wakes the claimers of every node. Its parameter is the schema.
pub const NOTIFY: &str = include_str!("../../sql/queries/delivery/notify_schedule.sql");

/// Ids that one transaction touches: enough to make round trips cheap, few enough that
/// it holds no lock for long.
pub(super) const BATCH: i64 = 1000;

#[derive(Debug, thiserror::Error)]
pub enum ManualError {
    #[error("take a connection of the store")]
    Pool(#[from] PoolError),
    #[error("write to the store")]
    Store(#[from] Error),
    #[error("prepare the day's partitions")]
    Partitions(#[source] anyhow::Error),
}

/// What became of the wish to retry one delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    Queued,
    NotFound,
    /// An instance is sending it.
    InFlight,
    SubscriptionDisabled,
    SubscriptionDeleted,
}

/// Makes one delivery due now, whatever its state, unless it is being sent. It is sent before
/// what waits for the same subscription, and is the probe where the breaker is open.
pub async fn retry(
    store: &Store,
    tenant: &str,
    id: DeliveryId,
    caller: &Caller,
) -> Result<Retry, ManualError> {
    let mut client = store.get().await?;
    let transaction = tenant_transaction(&mut client, tenant).await?;
    // The schedule first, as the claimer does: whoever has the row decides. Of what is in a
    // batch that is the batch's.
    let batch = transaction
        .query_opt(
            include_str!("../../sql/queries/delivery/lock_batch.sql"),
            &[&id.0],
        )
        .await?;
    let batch_is_leased = batch.as_ref().is_some_and(|row| row.get("leased"));
    let leased = transaction
        .query_opt(
            include_str!("../../sql/queries/delivery/lock_schedule.sql"),
            &[&id.0],
        )
        .await?
        .is_some_and(|row| row.get(0));
    let row = transaction
        .query_opt(
            include_str!("../../sql/queries/delivery/lock_delivery.sql"),
            &[&id.0],
        )
        .await?;
    let Some(row) = row else {
        return Ok(Retry::NotFound);
    };
    match row.get::<_, Option<bool>>("active") {
        _ if leased || batch_is_leased || row.get("owned") => return Ok(Retry::InFlight),
        None => return Ok(Retry::SubscriptionDeleted),
        Some(false) => return Ok(Retry::SubscriptionDisabled),
        Some(true) => {}
    }
    let change = caller.change();
    let cause = Cause {
        trigger: Trigger::Retry,
        actor: Some(change.id),
    };
    match batch {
        Some(batch) => {
            hasten(&transaction, store.schema(), &[batch.get(0)], cause).await?;
            put_first(&transaction, batch.get(0)).await?;
        }
        None => {
            requeue(&transaction, store.schema(), &[id.0], cause).await?;
            put_first(&transaction, id.0).await?;
        }
    }
    request_probes(&transaction, &[row.get("subscription_id")]).await?;
    let entry = Entry {
        tenant: Some(tenant),
        action: "delivery.retry",
        object: Some(id.to_string()),
        ..Entry::default()
    };
    change.enter(&transaction, &entry).await?;
    transaction.commit().await?;
    Ok(Retry::Queued)
}

/// What a batch of a bulk retry did.
pub(super) struct RetriedBatch {
    pub(super) retried: u64,
    /// The last delivery of the batch: the next one is below it.
    pub(super) last: Uuid,
    /// Subscriptions whose breaker admits a probe for it.
    pub(super) probed: Vec<Uuid>,
}

/// Makes due now at most `limit` of what matches and belongs to an active subscription, from
/// the last id down: what fails again meanwhile is not met a second time. None where nothing
/// matches. `filter.status` is `Failed` or `Pending`. Of each subscription that is not in
/// `probed` one is the probe where the breaker is open.
pub(super) async fn retry_batch(
    transaction: &Transaction<'_>,
    schema: &str,
    filter: &DeliveryFilter,
    ids: IdRange,
    limit: i64,
    probed: &[Uuid],
    cause: Cause,
) -> Result<Option<RetriedBatch>, Error> {
    let status = filter.status.unwrap_or(Status::Failed);
    let rows = transaction
        .query(
            include_str!("../../sql/queries/delivery/lock_retryable.sql"),
            &[
                &status.as_str() as &(dyn ToSql + Sync),
                &ids.from,
                &ids.to,
                &filter.event_type,
                &filter.subscription,
                &limit,
            ],
        )
        .await?;
    let Some(last) = rows.last() else {
        return Ok(None);
    };
    let mut retried = 0;
    let batch_of = |row: &Row| row.get::<_, Option<Uuid>>("batch_id");
    let batches: BTreeSet<Uuid> = rows.iter().filter_map(batch_of).collect();
    if !batches.is_empty() {
        let batches: Vec<Uuid> = batches.into_iter().collect();
        hasten(transaction, schema, &batches, cause).await?;
        retried += rows.iter().filter_map(batch_of).count() as u64;
    }
    let alone = rows.iter().filter(|row| batch_of(row).is_none());
    let alone: Vec<Uuid> = alone.map(|row| row.get(0)).collect();
    retried += requeue(transaction, schema, &alone, cause).await?;
    let subscriptions: BTreeSet<Uuid> = rows.iter().map(|row| row.get("subscription_id")).collect();
    let new = subscriptions.into_iter().filter(|id| !probed.contains(id));
    let new: Vec<Uuid> = new.collect();
    request_probes(transaction, &new).await?;
    Ok(Some(RetriedBatch {
        retried,
        last: last.get(0),
        probed: new,
    }))
}

/// What a bulk retry would find.
#[derive(Clone, Debug, Default)]
pub struct RetryEstimate {
    pub matching: u64,
    /// Of subscriptions that are disabled: they are left aside.
    pub disabled: u64,
    pub oldest: Option<DeliveryId>,
    /// The newest few.
    pub sample: Vec<DeliveryId>,
}

/// How long a caller waits for a count: there is no bound to what there may be to count.
pub const COUNTING: Duration = Duration::from_secs(2);

/// Lets each statement of the transaction take so long.
pub(super) async fn limit_statements(
    transaction: &Transaction<'_>,
    limit: Duration,
) -> Result<(), Error> {
    // Zero would be no limit.
    let limit = milliseconds(limit.max(Duration::from_millis(1)));
    let set = format!("set local statement_timeout = '{limit}'");
    transaction.batch_execute(&set).await
}

/// Whether a statement took longer than its limit.
pub(super) fn took_too_long(error: &Error) -> bool {
    error.code() == Some(&SqlState::QUERY_CANCELED)
}

/// Counts what a bulk retry would make due. None where that takes longer than [`COUNTING`]: the
/// transaction is of no more use then.
pub async fn estimate_retry(
    transaction: &Transaction<'_>,
    filter: &DeliveryFilter,
    ids: IdRange,
) -> Result<Option<RetryEstimate>, Error> {
    let status = filter.status.unwrap_or(Status::Failed);
    limit_statements(transaction, COUNTING).await?;
    let counted = transaction
        .query_one(
            include_str!("../../sql/queries/delivery/estimate_retry.sql"),
            &[
                &status.as_str(),
                &ids.from,
                &ids.to,
                &filter.event_type,
                &filter.subscription,
            ],
        )
        .await;
    let row = match counted {
        Err(error) if took_too_long(&error) => return Ok(None),
        counted => counted?,
    };
    let count = |name| u64::try_from(row.get::<_, i64>(name)).unwrap_or(0);
    let sample: Vec<Uuid> = row.get("sample");
    Ok(Some(RetryEstimate {
        matching: count("matching"),
        disabled: count("disabled"),
        oldest: row.get::<_, Option<Uuid>>("oldest").map(DeliveryId),
        sample: sample.into_iter().map(DeliveryId).collect(),
    }))
}

/// Makes batches due now, each whole.
async fn hasten(
    transaction: &Transaction<'_>,
    schema: &str,
    batches: &[Uuid],
    cause: Cause,
) -> Result<(), Error> {
    transaction
        .execute(
            include_str!("../../sql/queries/delivery/hasten_batches.sql"),
            &[&batches, &cause.trigger.stored(), &cause.actor],
        )
        .await?;
    notify(transaction, schema).await?;
    Ok(())
}

async fn requeue(
    transaction: &Transaction<'_>,
    schema: &str,
    ids: &[Uuid],
    cause: Cause,
) -> Result<u64, Error> {
    let rows = transaction
        .query(
            include_str!("../../sql/queries/delivery/requeue_deliveries.sql"),
            &[&ids],
        )
        .await?;
    let requeued: Vec<Uuid> = rows.iter().map(|row| row.get(0)).collect();
    let scheduled = transaction
        .execute(
            include_str!("../../sql/queries/delivery/schedule_deliveries.sql"),
            &[&requeued, &cause.trigger.stored(), &cause.actor],
        )
        .await?;
    notify(transaction, schema).await?;
    Ok(scheduled)
}

/// Puts what is due before all that waits for the same subscription.
pub(super) async fn put_first(transaction: &Transaction<'_>, scheduled: Uuid) -> Result<(), Error> {
    transaction
        .execute(
            include_str!("../../sql/queries/delivery/put_first.sql"),
            &[&scheduled],
        )
        .await?;
    Ok(())
}

/// Has an endpoint tried at once where its breaker is open: there is reason to believe that
/// it is well again. The caller wakes the claimers.
pub async fn request_probe(
    transaction: &Transaction<'_>,
    subscription: SubscriptionId,
) -> Result<(), Error> {
    request_probes(transaction, &[subscription.0]).await
}

async fn request_probes(
    transaction: &Transaction<'_>,
    subscriptions: &[Uuid],
) -> Result<(), Error> {
    if !subscriptions.is_empty() {
        let sql = include_str!("../../sql/queries/delivery/request_probes.sql");
        transaction.execute(sql, &[&subscriptions]).await?;
    }
    Ok(())
}

/// Wakes the claimers of every node, once a transaction.
pub(super) async fn notify(client: &impl Queries, schema: &str) -> Result<(), Error> {
    client.execute(NOTIFY, &[&schema]).await.map(drop)
}
