//! One transaction that closes batches: what is open, how much of it, and what comes of it.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::conninfo::Transaction;
use crate::delivery::batch::{self, Open};
use crate::delivery::cloud_event::cloud_event;
use crate::event::SubscriptionId;
use crate::subscription::{Batching, Format, Subscription};

/// Deliveries that are put into batches by one transaction, and bytes of their bodies.
const EVENTS: usize = 2_000;
const BYTES: usize = 4 * 1024 * 1024;

/// How much of each lane is put into batches at once.
#[derive(Default)]
pub(super) struct Room {
    pub(super) lanes: Vec<Uuid>,
    events: Vec<i32>,
    bytes: Vec<i64>,
    taken_events: usize,
    taken_bytes: usize,
}

impl Room {
    /// Room for so many batches, but for one at least as long as there is any.
    pub(super) fn take(&mut self, lane: SubscriptionId, batches: usize, batching: &Batching) {
        let (events, bytes) = (
            usize::from(batching.max_events),
            usize::try_from(batching.max_bytes).unwrap_or(usize::MAX),
        );
        if self.taken_events >= EVENTS || self.taken_bytes >= BYTES {
            return;
        }
        let fitting =
            ((EVENTS - self.taken_events) / events).min((BYTES - self.taken_bytes) / bytes);
        let batches = batches.min(fitting).max(1);
        self.taken_events += batches * events;
        self.taken_bytes += batches * bytes;
        self.lanes.push(lane.0);
        self.events
            .push(i32::try_from(batches * events).unwrap_or(i32::MAX));
        self.bytes
            .push(i64::try_from(batches * bytes).unwrap_or(i64::MAX));
    }
}

/// Open deliveries of one subscription, in the order of the WAL.
#[derive(Default)]
pub(super) struct Waiting {
    open: Vec<Open>,
    /// Those that cannot be in any batch: each goes, and fails, by itself.
    odd: Vec<Uuid>,
    /// There are more than were read.
    pub(super) more: bool,
}

pub(super) async fn lock_open(
    transaction: &Transaction<'_>,
    room: &Room,
) -> anyhow::Result<HashMap<Uuid, Waiting>> {
    transaction
        .batch_execute(include_str!(
            "../../../../sql/queries/delivery/walk_in_order.sql"
        ))
        .await?;
    let sql = include_str!("../../../../sql/queries/delivery/lock_open.sql");
    let statement = transaction.prepare_cached(sql).await?;
    let rows = transaction
        .query(&statement, &[&room.lanes, &room.events, &room.bytes])
        .await
        .context("read open deliveries")?;
    let mut waiting: HashMap<Uuid, Waiting> = HashMap::new();
    for row in &rows {
        let of_lane = waiting.entry(row.get("subscription_id")).or_default();
        of_lane.more = row.get("more");
        match open(row) {
            Some(open) => of_lane.open.push(open),
            None => of_lane.odd.push(row.get("delivery_id")),
        }
    }
    Ok(waiting)
}

/// None where its delivery is not pending, or is no event.
fn open(row: &Row) -> Option<Open> {
    let format = Format::parse(row.get::<_, Option<&str>>("format")?)?;
    let stored: i32 = row.get("body_bytes");
    let bytes = match format {
        Format::Standard => usize::try_from(stored).ok()?,
        Format::CloudEvents => cloud_event(row.get::<_, Option<&[u8]>>("body")?)
            .ok()?
            .len(),
    };
    let waited: i64 = row.get("waited");
    Some(Open {
        id: row.get("delivery_id"),
        format,
        bytes,
        waited: Duration::from_millis(u64::try_from(waited).unwrap_or(0)),
    })
}

/// Batches that close, as the columns that their statement takes.
#[derive(Default)]
pub(super) struct Closing<'a> {
    members: Vec<Uuid>,
    batches: Vec<Uuid>,
    pub(super) ids: Vec<Uuid>,
    pub(super) lanes: Vec<Uuid>,
    tenants: Vec<&'a str>,
    bytes: Vec<i32>,
    pub(super) odd: Vec<Uuid>,
}

impl<'a> Closing<'a> {
    /// Answers how long until what is left open closes.
    pub(super) fn add(
        &mut self,
        subscription: &'a Subscription,
        batching: &Batching,
        waiting: Waiting,
    ) -> Option<Duration> {
        self.odd.extend(waiting.odd);
        let (cuts, left) = batch::cut(&waiting.open, batching, &subscription.tenant_id);
        let mut open = waiting.open.iter();
        for cut in cuts {
            let id = Uuid::now_v7();
            for member in open.by_ref().take(cut.events) {
                self.members.push(member.id);
                self.batches.push(id);
            }
            self.ids.push(id);
            self.lanes.push(subscription.id.0);
            self.tenants.push(&subscription.tenant_id);
            self.bytes
                .push(i32::try_from(cut.bytes).unwrap_or(i32::MAX));
        }
        left
    }

    pub(super) async fn write(&self, transaction: &Transaction<'_>) -> anyhow::Result<()> {
        if !self.odd.is_empty() {
            let sql = include_str!("../../../../sql/queries/delivery/unbatch_deliveries.sql");
            let freed = transaction.execute(sql, &[&self.odd]).await;
            freed.context("take odd deliveries out of batches")?;
        }
        if self.ids.is_empty() {
            return Ok(());
        }
        let sql = include_str!("../../../../sql/queries/delivery/form_batches.sql");
        let statement = transaction.prepare_cached(sql).await?;
        transaction
            .execute(
                &statement,
                &[
                    &self.members,
                    &self.batches,
                    &self.ids,
                    &self.lanes,
                    &self.tenants,
                    &self.bytes,
                ],
            )
            .await
            .context("close batches")?;
        Ok(())
    }
}
