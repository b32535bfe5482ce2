//! One stored event once more, to one subscription, whatever that asks for.

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::{NewDeliveries, Position};
use crate::db::{Store, tenant_transaction};
use crate::delivery::manual::{ManualError, notify, put_first, request_probe};
use crate::event::{DeliveryId, EventId};
use crate::subscription::queries::StoredSubscription;

/// Makes a new delivery of the event, due now and before what waits for the subscription. None
/// where the tenant has no such event.
pub async fn send_event(
    store: &Store,
    tenant: &str,
    subscription: &StoredSubscription,
    event: EventId,
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
    batch
        .insert(&transaction, tenant, subscription, Some(replay))
        .await?;
    let id = DeliveryId::derive(event, subscription.id.0, replay);
    put_first(&transaction, id.0).await?;
    request_probe(&transaction, subscription.id).await?;
    notify(&transaction, store.schema()).await?;
    transaction.commit().await?;
    Ok(Some(id))
}
