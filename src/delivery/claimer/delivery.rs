//! A claimed row as what is sent.

use std::sync::Arc;
use std::time::Instant;

use tokio_postgres::Row;

use crate::delivery::{Delivery, Hold, is_of_stream};
use crate::event::{DeliveryId, EventId, SubscriptionId};
use crate::subscription::Format;

/// None where the delivery is another's, or its event is gone.
pub(super) fn claimed(row: &Row) -> Option<Delivery> {
    if !row.get::<_, Option<bool>>("ours").unwrap_or(false) {
        return None;
    }
    let attempts: i32 = row.get("attempts");
    let (id, event_id) = (DeliveryId(row.get("id")), EventId(row.get("event_id")));
    let subscription_id = SubscriptionId(row.get("subscription_id"));
    let body: Vec<u8> = row.get("body");
    Some(Delivery {
        id,
        event_id,
        subscription_id,
        event_type: Arc::from(row.get::<_, &str>("event_type")),
        format: Format::parse(row.get("format"))?,
        of_stream: is_of_stream(id, event_id, subscription_id, &body),
        body: body.into(),
        attempts: u32::try_from(attempts).ok()?,
        occurred_at: row.get("occurred_at"),
        queued_at: Instant::now(),
        hold: Hold::Leased,
        batch: None,
    })
}
