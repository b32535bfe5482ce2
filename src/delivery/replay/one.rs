//! One event to one subscription, whatever that asks for: a stored one once more, or a test.

use serde_json::json;
use tokio_postgres::Error;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::{NewDeliveries, Position};
use crate::audit::{Caller, Entry};
use crate::clock;
use crate::conninfo::Transaction;
use crate::db::{Store, tenant_transaction};
use crate::delivery::cause::{Cause, Trigger};
use crate::delivery::manual::{ManualError, notify, put_first, request_probe};
use crate::delivery::{operational, partitions};
use crate::event::{DeliveryId, EventId};
use crate::subscription::batching::LONGEST_WAIT;
use crate::subscription::queries::StoredSubscription;

/// Makes a new delivery of the event, due now and before what waits for the subscription. None
/// where the tenant has no such event.
pub async fn send_event(
    store: &Store,
    tenant: &str,
    subscription: &StoredSubscription,
    event: EventId,
    caller: &Caller,
) -> Result<Option<DeliveryId>, ManualError> {
    let mut client = store.get().await?;
    let transaction = tenant_transaction(&mut client, tenant).await?;
    let row = transaction
        .query_opt(
            include_str!("../../../sql/queries/delivery/find_event_to_send.sql"),
            &[&event.0 as &(dyn ToSql + Sync)],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let replay = Uuid::now_v7();
    let position = Position {
        commit_lsn: row.get("commit_lsn"),
        ordinal: row.get("ordinal"),
        rule_index: row.get("rule_index"),
    };
    let mut batch = NewDeliveries::default();
    batch.push(
        subscription.id,
        replay,
        event,
        row.get("event_type"),
        &position,
        row.get("row_key"),
    );
    batch.body_bytes.push(row.get("body_bytes"));
    let change = caller.change();
    let cause = Cause {
        trigger: Trigger::Replay,
        actor: Some(change.id),
    };
    batch
        .insert(&transaction, tenant, subscription, Some(replay), cause)
        .await?;
    let id = DeliveryId::derive(event, subscription.id.0, replay);
    put_first(&transaction, id.0).await?;
    request_probe(&transaction, subscription.id).await?;
    notify(&transaction, store.schema()).await?;
    let entry = Entry {
        tenant: Some(tenant),
        action: "event.send",
        object: Some(event.to_string()),
        after: Some(json!({
            "subscription_id": subscription.id.to_string(),
            "delivery_id": id.to_string(),
        })),
        ..Entry::default()
    };
    change.enter(&transaction, &entry).await?;
    transaction.commit().await?;
    Ok(Some(id))
}

/// What a test sends.
pub struct TestEvent<'a> {
    pub event_type: &'a str,
    /// JSON.
    pub data: &'a str,
}

/// Sends an event that says of itself that it is a test to one subscription, whatever types it
/// asks for, before what waits for it. It is the probe where the breaker is open.
pub async fn send_test(
    store: &Store,
    tenant: &str,
    subscription: &StoredSubscription,
    test: &TestEvent<'_>,
    caller: &Caller,
) -> Result<DeliveryId, ManualError> {
    let mut client = store.get().await?;
    let now = clock::read(&*client).await?.now();
    let event = EventId::random(now);
    partitions::ensure(&client, std::iter::once(event.0))
        .await
        .map_err(ManualError::Partitions)?;
    let body = operational::body(event, test.event_type, tenant, test.data, true, now);
    let transaction = tenant_transaction(&mut client, tenant).await?;
    transaction
        .execute(
            include_str!("../../../sql/queries/delivery/insert_test_event.sql"),
            &[
                &event.0 as &(dyn ToSql + Sync),
                &tenant,
                &test.event_type,
                &now,
                &body,
            ],
        )
        .await?;
    let mut batch = NewDeliveries::default();
    batch.push(
        subscription.id,
        Uuid::nil(),
        event,
        test.event_type,
        &Position::default(),
        "",
    );
    let bytes = i32::try_from(body.len()).unwrap_or(i32::MAX);
    batch.body_bytes.push(bytes);
    let change = caller.change();
    let cause = Cause {
        trigger: Trigger::Test,
        actor: Some(change.id),
    };
    // Whoever tests does not want to wait: the batch closes with it.
    batch.age = LONGEST_WAIT;
    batch
        .insert(&transaction, tenant, subscription, None, cause)
        .await?;
    put_first(&transaction, batch.ids[0]).await?;
    request_probe(&transaction, subscription.id).await?;
    notify(&transaction, store.schema()).await?;
    let delivery = DeliveryId(batch.ids[0]);
    let entry = Entry {
        tenant: Some(tenant),
        action: "subscription.test",
        object: Some(subscription.id.to_string()),
        after: Some(json!({"delivery_id": delivery.to_string()})),
        ..Entry::default()
    };
    change.enter(&transaction, &entry).await?;
    transaction.commit().await?;
    Ok(delivery)
}

/// The body of the newest event of a type that one of the tenant's subscriptions was sent, to
/// make an example of; none where there is none among the newest few.
pub async fn newest_of_type(
    transaction: &Transaction<'_>,
    event_type: &str,
) -> Result<Option<Vec<u8>>, Error> {
    let row = transaction
        .query_opt(
            include_str!("../../../sql/queries/delivery/newest_of_type.sql"),
            &[&event_type as &(dyn ToSql + Sync)],
        )
        .await?;
    Ok(row.map(|row| row.get("body")))
}
