//! A claimed row, and what is sent of it.

use std::sync::Arc;
use std::time::Instant;

use tokio_postgres::Row;
use uuid::Uuid;

use super::due::Behind;
use crate::delivery::cause::Cause;
use crate::delivery::{Delivery, Hold, is_of_stream};
use crate::event::{DeliveryId, EventId, SubscriptionId};
use crate::subscription::Format;

/// What a claim has met.
pub(super) struct Claimed {
    pub(super) lane: SubscriptionId,
    /// Where it stood in the lane.
    pub(super) at: Behind,
    pub(super) place: i64,
    pub(super) bytes: usize,
    /// It waits for another of its row, and was not claimed.
    pub(super) held: bool,
    pub(super) cause: Cause,
    /// It is this batch.
    pub(super) batch: Option<Uuid>,
    /// None of a batch, and where the delivery is another's, or its event is gone.
    pub(super) delivery: Option<Delivery>,
}

impl Claimed {
    pub(super) fn from_row(row: &Row) -> Self {
        let bytes: i32 = row.get("bytes");
        let batch = row.get("batch_id");
        let cause = Cause::of_stored(row.get("trigger"), row.get("actor"));
        Claimed {
            lane: SubscriptionId(row.get("subscription_id")),
            at: Behind {
                due_at: row.get("due_at"),
                id: row.get("id"),
            },
            place: row.get("place"),
            bytes: usize::try_from(bytes).unwrap_or(0),
            held: row.get("held"),
            cause,
            batch,
            delivery: match batch {
                None => delivery(row, cause),
                Some(_) => None,
            },
        }
    }
}

/// None where the delivery is another's, or its event is gone.
fn delivery(row: &Row, cause: Cause) -> Option<Delivery> {
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
        cause,
        batch: None,
    })
}
