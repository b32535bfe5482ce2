//! What users ask of deliveries and events: lists, one alone, its attempts. Every
//! function wants a transaction of [`crate::db::tenant_transaction`].
//!
//! Ids begin with the commit's milliseconds, so that a page is a range of ids: the
//! cursor, `since` and `until` all bound it, and whole days are left aside.

use jiff::Timestamp;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};
use uuid::Uuid;

use crate::conninfo::{Client, Transaction};
use crate::event::{BatchId, EventPosition, SubscriptionId, id_floor, id_milliseconds};
use crate::lsn::Lsn;

pub use crate::event::{DeliveryId, EventId};

mod ids;
mod search;

pub use ids::IdRange;
pub use search::{DeliverySearch, EventSearch, Found, HttpStatuses, deliveries, events};

/// A delivery's state as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Waits for its first or next attempt, or for an earlier event of its row.
    Pending,
    /// An instance holds it in memory or has leased it: it is sent now or next.
    InFlight,
    Delivered,
    /// A dead letter: its last attempt failed. It can be retried.
    Failed,
    /// Its subscription was deleted before it was sent.
    Cancelled,
    /// Set aside until someone acts: its subscription is disabled, or its body is too large.
    Parked,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::InFlight => "in_flight",
            Status::Delivered => "delivered",
            Status::Failed => "failed",
            Status::Cancelled => "cancelled",
            Status::Parked => "parked",
        }
    }
}

/// Where a page of deliveries ends, which stand in the order of their events: the next one
/// begins after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub event: Uuid,
    pub delivery: Uuid,
}

/// What deliveries are chosen by, for a retry of all of them.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    pub status: Option<Status>,
    pub event_type: Option<String>,
    pub subscription: Option<Uuid>,
}

#[derive(Clone, Debug)]
pub struct Delivery {
    pub id: DeliveryId,
    pub event_id: EventId,
    pub event_type: String,
    pub subscription_id: SubscriptionId,
    pub status: Status,
    /// Of a parked one: `disabled` or `oversized`.
    pub parked_reason: Option<String>,
    pub format: String,
    pub attempts: i32,
    pub next_attempt_at: Option<Timestamp>,
    pub last_http_status: Option<i16>,
    pub last_error: Option<String>,
    pub replay_id: Option<Uuid>,
    /// The batch that it is, or was last, sent in.
    pub batch_id: Option<BatchId>,
    pub created_at: Timestamp,
    pub delivered_at: Option<Timestamp>,
}

#[derive(Clone)]
pub struct StoredEvent {
    pub id: EventId,
    pub event_type: String,
    pub occurred_at: Timestamp,
    pub sequence: String,
    /// Table and key of its row, as in `public.payments:1`; empty where it has no key.
    pub row_key: String,
    /// It was made to test an endpoint.
    pub is_test: bool,
    /// The bytes that are signed and sent; absent from a list.
    pub body: Option<Vec<u8>>,
}

/// At or below the id of everything that an instance holds in memory: where a search
/// for what is in flight may end. Read as the owner, as it is of no tenant.
pub async fn low_water(client: &Client) -> Result<Uuid, Error> {
    let row = client
        .query_opt(
            include_str!("../../sql/queries/delivery/min_low_water.sql"),
            &[],
        )
        .await?;
    Ok(row.map_or(Uuid::max(), |row| row.get(0)))
}

/// Newest events first, after `before`. Pending, parked, failed and in flight are read from the
/// schedule and from the few ids above `low_water`: the successes are never walked for them.
/// Of the successes and of what was cancelled it knows nothing: `status` is none for them.
async fn walk(
    transaction: &Transaction<'_>,
    status: Option<Status>,
    subscription: Option<Uuid>,
    mut ids: IdRange,
    before: Option<Place>,
    low_water: Uuid,
    limit: i64,
) -> Result<Vec<Delivery>, Error> {
    let place = before.unwrap_or(Place {
        event: ids.to,
        delivery: Uuid::nil(),
    });
    let by_id = before.map_or(ids.to, |place| place.delivery.min(ids.to));
    // What is in a batch has the state of the batch.
    let scheduled = |statuses: &'static [&'static str]| async move {
        let parked = status == Some(Status::Parked);
        let arm = include_str!("../../sql/queries/delivery/scheduled_in_status.sql");
        let arms = statuses.iter().map(|one| arm.replace("/* status */", one));
        let arms = arms.collect::<Vec<_>>().join("union all\n");
        let list = include_str!("../../sql/queries/delivery/list_scheduled_deliveries.sql");
        let sql = list.replace("/* arms */", &arms);
        let parameters: [&(dyn ToSql + Sync); 5] =
            [&ids.from, &by_id, &subscription, &limit, &parked];
        transaction.query(sql.as_str(), &parameters).await
    };
    let rows = match status {
        Some(Status::Pending) => scheduled(&["pending", "held", "open", "batched"]).await?,
        Some(Status::Parked) => scheduled(&["parked", "batched"]).await?,
        Some(Status::Failed) => scheduled(&["failed"]).await?,
        Some(Status::InFlight) => {
            let from = ids.from.max(low_water);
            transaction
                .query(
                    include_str!("../../sql/queries/delivery/list_in_flight_deliveries.sql"),
                    &[
                        &ids.from,
                        &by_id,
                        &subscription,
                        &limit,
                        &from,
                        &id_floor(id_milliseconds(from)),
                    ],
                )
                .await?
        }
        None | Some(Status::Delivered | Status::Cancelled) => {
            ids.to = ids.to.min(place.event);
            by_event(transaction, subscription, ids, ids.from, place, limit).await?
        }
    };
    Ok(rows.iter().map(read).collect())
}

/// How many deliveries are of events above one: `limit` at most, and one more where there are
/// more. What is below it is not read.
pub async fn newer(
    transaction: &Transaction<'_>,
    search: &DeliverySearch,
    mut ids: IdRange,
    above: Uuid,
    low_water: Uuid,
    limit: i64,
) -> Result<i64, Error> {
    // A delivery has the millisecond of its event, and not the rest of its id.
    ids.from = ids.from.max(id_floor(id_milliseconds(above)));
    let found = deliveries(transaction, search, ids, None, low_water, limit + 1).await?;
    let count = found
        .rows
        .iter()
        .filter(|one| one.event_id.0 > above)
        .count();
    Ok(i64::try_from(count).unwrap_or(limit + 1))
}

/// The deliveries of one event below the id `before`, at most so many of them.
pub async fn of_event(
    transaction: &Transaction<'_>,
    event: EventId,
    before: Uuid,
    limit: i64,
) -> Result<Vec<Delivery>, Error> {
    let alone = IdRange {
        from: event.0,
        to: event.0,
    };
    let place = Place {
        event: event.0,
        delivery: before,
    };
    let rows = by_event(transaction, None, alone, event.0, place, limit).await?;
    Ok(rows.iter().map(read).collect())
}

/// Of one event the newest deliveries, at most so many, to each of these subscriptions.
pub async fn of_event_to(
    transaction: &Transaction<'_>,
    event: EventId,
    subscriptions: &[Uuid],
    limit: i64,
) -> Result<Vec<Delivery>, Error> {
    let days = IdRange::of_event(event);
    let rows = transaction
        .query(
            include_str!("../../sql/queries/delivery/list_event_deliveries.sql"),
            &[&event.0, &subscriptions, &days.from, &days.to, &limit],
        )
        .await?;
    Ok(rows.iter().map(read).collect())
}

/// In the order of their events, those of events from `first` on and after `place`.
async fn by_event(
    transaction: &Transaction<'_>,
    subscription: Option<Uuid>,
    ids: IdRange,
    first: Uuid,
    place: Place,
    limit: i64,
) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    for span in ids.whole_milliseconds().newest_first() {
        let below = Place {
            event: span.to,
            delivery: Uuid::nil(),
        };
        let place = match place.event < below.event {
            true => place,
            false => below,
        };
        let found = transaction
            .query(
                include_str!("../../sql/queries/delivery/list_deliveries.sql"),
                &[
                    &span.from,
                    &span.to,
                    &subscription,
                    &missing(limit, rows.len()),
                    &first.max(span.from),
                    &place.event,
                    &place.delivery,
                ],
            )
            .await?;
        rows.extend(found);
        if missing(limit, rows.len()) == 0 {
            break;
        }
    }
    Ok(rows)
}

/// How many rows a page that has so many still takes.
fn missing(limit: i64, found: usize) -> i64 {
    limit - i64::try_from(found).unwrap_or(limit).min(limit)
}

pub async fn delivery(
    transaction: &Transaction<'_>,
    id: DeliveryId,
) -> Result<Option<Delivery>, Error> {
    Ok(deliveries_of(transaction, &[id.0]).await?.pop())
}

/// Those of some ids that there are, in no order.
pub async fn deliveries_of(
    transaction: &Transaction<'_>,
    ids: &[Uuid],
) -> Result<Vec<Delivery>, Error> {
    let rows = transaction
        .query(
            include_str!("../../sql/queries/delivery/get_deliveries.sql"),
            &[&ids],
        )
        .await?;
    Ok(rows.iter().map(read).collect())
}

/// Newest first, without their bodies.
async fn walk_events(
    transaction: &Transaction<'_>,
    ids: IdRange,
    limit: i64,
) -> Result<Vec<StoredEvent>, Error> {
    let mut events = Vec::new();
    for span in ids.whole_milliseconds().newest_first() {
        let rows = transaction
            .query(
                include_str!("../../sql/queries/delivery/list_events.sql"),
                &[
                    &ids.from.max(span.from),
                    &ids.to.min(span.to),
                    &missing(limit, events.len()),
                    &span.from,
                    &span.to,
                ],
            )
            .await?;
        events.extend(rows.iter().map(read_event));
        if missing(limit, events.len()) == 0 {
            break;
        }
    }
    Ok(events)
}

pub async fn event(
    transaction: &Transaction<'_>,
    id: EventId,
) -> Result<Option<StoredEvent>, Error> {
    let row = transaction
        .query_opt(
            include_str!("../../sql/queries/delivery/get_event.sql"),
            &[&id.0],
        )
        .await?;
    Ok(row.as_ref().map(read_event))
}

fn read(row: &Row) -> Delivery {
    let stored: &str = row.get("status");
    let owned = row.get::<_, Option<Uuid>>("owner").is_some();
    let leased: bool = row.get("leased");
    let waits: Option<&str> = row.get("waits");
    let status = match stored {
        "delivered" => Status::Delivered,
        "failed" => Status::Failed,
        "cancelled" => Status::Cancelled,
        _ if owned || leased => Status::InFlight,
        _ if waits == Some("parked") => Status::Parked,
        _ => Status::Pending,
    };
    // Where it waits in the schedule, the schedule knows when.
    let next_attempt_at = match waits {
        _ if status != Status::Pending => None,
        Some("pending") => row.get("due_at"),
        Some(_) => None,
        None => row.get("next_attempt_at"),
    };
    Delivery {
        id: DeliveryId(row.get("id")),
        event_id: EventId(row.get("event_id")),
        event_type: row.get("event_type"),
        subscription_id: SubscriptionId(row.get("subscription_id")),
        status,
        parked_reason: row.get("parked_reason"),
        format: row.get("format"),
        attempts: row.get("attempts"),
        next_attempt_at,
        last_http_status: row.get("last_http_status"),
        last_error: row.get("last_error"),
        replay_id: row.get("replay_id"),
        batch_id: row.get::<_, Option<Uuid>>("shown_batch").map(BatchId),
        created_at: row.get("created_at"),
        delivered_at: row.get("delivered_at"),
    }
}

fn read_event(row: &Row) -> StoredEvent {
    let position = EventPosition {
        commit_lsn: row.get::<_, Lsn>("commit_lsn"),
        ordinal: u64::try_from(row.get::<_, i64>("ordinal")).unwrap_or(0),
        rule_index: u16::try_from(row.get::<_, i16>("rule_index")).unwrap_or(0),
    };
    StoredEvent {
        id: EventId(row.get("id")),
        event_type: row.get("event_type"),
        occurred_at: row.get("occurred_at"),
        sequence: position.sequence(),
        row_key: row.get("row_key"),
        is_test: row.get("is_test"),
        body: row.get("body"),
    }
}
