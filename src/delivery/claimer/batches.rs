//! Closes the batches of subscriptions that want them, and reads what is in them. What is
//! closed stands in the schedule as one row that is due, and is claimed as any other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{Claimed, Claimer, Knowledge, Session};
use crate::db::Connection;
use crate::delivery::batch::{self, BATCH_TYPE, Batch, Member};
use crate::delivery::cause::Cause;
use crate::delivery::{Delivery, Hold, is_of_stream};
use crate::event::{BatchId, DeliveryId, EventId, SubscriptionId};
use crate::subscription::directory::Snapshot;
use crate::subscription::{Batching, Format, Subscription};

mod closing;

use closing::{Closing, Room, lock_open};

/// What is left open of subscriptions that want no batches any more is looked for at least
/// so often. It comes about where an enqueue and such a change meet.
const LEFT_OVER: Duration = Duration::from_secs(60);

/// Deliveries that are freed of their batch by one statement.
const UNBATCHED: i64 = 1_000;

impl Claimer {
    /// Looks whose batches close when.
    pub(super) async fn look_at_open(
        &self,
        client: &Connection,
        known: &mut Knowledge,
        subscriptions: &Snapshot,
    ) -> anyhow::Result<()> {
        let mut rules = Rules::default();
        let batching = subscriptions.all().filter_map(|one| {
            let batching = self.batching(one)?;
            Some((one.id, batching))
        });
        batching.for_each(|(id, batching)| rules.push(id, &batching));
        let rested = known
            .open_looked_at
            .is_some_and(|at| at.elapsed() < LEFT_OVER);
        if rules.id.is_empty() && !known.has_batches && rested {
            return Ok(());
        }
        known.has_batches |= !rules.id.is_empty();
        let sql = include_str!("../../../sql/queries/delivery/list_open.sql");
        let statement = client.prepare_cached(sql).await?;
        let rows = client
            .query(
                &statement,
                &[
                    &rules.id,
                    &rules.max_events,
                    &rules.max_bytes,
                    &rules.max_wait,
                ],
            )
            .await
            .context("ask whose batches close when")?;
        let now = Instant::now();
        let mut found = HashMap::new();
        let mut unwanted = Vec::new();
        for row in &rows {
            let id: Uuid = row.get("subscription_id");
            match row.get::<_, Option<i64>>("milliseconds") {
                Some(wait) => {
                    let wait = Duration::from_millis(u64::try_from(wait).unwrap_or(0));
                    found.insert(SubscriptionId(id), now + wait);
                }
                None => unwanted.push(id),
            }
        }
        known.open.replace(&found, now);
        known.open_looked_at = Some(now);
        self.unbatch(client, known, &unwanted).await
    }

    /// A batch is no larger than a body may be.
    fn batching(&self, subscription: &Subscription) -> Option<Batching> {
        let batching = subscription.batching?;
        let max_body = u32::try_from(self.config.max_body).unwrap_or(u32::MAX);
        Some(Batching {
            max_bytes: batching.max_bytes.min(max_body),
            ..batching
        })
    }

    async fn unbatch(
        &self,
        client: &Connection,
        known: &mut Knowledge,
        subscriptions: &[Uuid],
    ) -> anyhow::Result<()> {
        if subscriptions.is_empty() {
            return Ok(());
        }
        let sql = include_str!("../../../sql/queries/delivery/unbatch_subscriptions.sql");
        let freed = client.execute(sql, &[&subscriptions, &UNBATCHED]).await;
        if freed.context("free deliveries of their batches")? > 0 {
            // They are due, and there may be more.
            known.look_wanted = true;
            known.has_batches = true;
        }
        Ok(())
    }

    /// Closes batches of those whose lanes can take some and have nothing else to take:
    /// what cannot be sent yet stays open, for the batches to become fuller. Answers when
    /// the first of the breakers that are open will admit a probe.
    pub(super) async fn close_batches(
        &self,
        known: &mut Knowledge,
    ) -> anyhow::Result<Option<Duration>> {
        let now = Instant::now();
        let wanting = known
            .open
            .due(now)
            .filter(|lane| !known.due.is_due(*lane, now));
        let wanting: Vec<SubscriptionId> = wanting.collect();
        if wanting.is_empty() {
            return Ok(None);
        }
        let claimable = self.dispatcher.claimable(wanting.into_iter(), super::BATCH);
        let subscriptions = self.directory.snapshot();
        let mut room = Room::default();
        for wanted in &claimable.wanted {
            let batching = subscriptions
                .get(wanted.lane)
                .and_then(|one| self.batching(one));
            match batching {
                Some(batching) => room.take(wanted.lane, wanted.count, &batching),
                // It has changed since: the next look will tell.
                None => known.open.remove(wanted.lane),
            }
        }
        if room.lanes.is_empty() {
            return Ok(claimable.next_probe);
        }
        let mut client = self.store.get().await.context("connect to the store")?;
        let transaction = client
            .transaction()
            .await
            .context("begin to close batches")?;
        let mut waiting = lock_open(&transaction, &room).await?;
        let mut closing = Closing::default();
        let mut next = Vec::with_capacity(room.lanes.len());
        for lane in &room.lanes {
            let open = waiting.remove(lane).unwrap_or_default();
            let more = open.more;
            let Some(subscription) = subscriptions.get(SubscriptionId(*lane)) else {
                continue;
            };
            let Some(batching) = self.batching(subscription) else {
                continue;
            };
            let left = closing.add(subscription, &batching, open);
            // The last of those that were read may be full with those that were not.
            next.push((
                subscription.id,
                if more { Some(Duration::ZERO) } else { left },
            ));
        }
        closing.write(&transaction).await?;
        transaction
            .commit()
            .await
            .context("commit closed batches")?;
        tracing::debug!(batches = closing.ids.len(), "closed batches");
        let now = Instant::now();
        for lane in &closing.lanes {
            known.due.bring_forward(SubscriptionId(*lane), now);
        }
        known.look_wanted |= !closing.odd.is_empty();
        for (lane, left) in next {
            known.open.remove(lane);
            if let Some(left) = left {
                known.open.set(lane, now + left, None);
            }
        }
        Ok(claimable.next_probe)
    }

    /// What was claimed, batches among it, ready to be sent.
    pub(super) async fn claimed(
        &self,
        session: &Session,
        rows: &mut [Claimed],
    ) -> anyhow::Result<Vec<Delivery>> {
        let batches: Vec<Uuid> = rows.iter().filter_map(|row| row.batch).collect();
        let mut members: HashMap<Uuid, Vec<Row>> = HashMap::new();
        if !batches.is_empty() {
            let read = session.client.query(&session.members, &[&batches]).await;
            for row in read.context("read what is in batches")? {
                members.entry(row.get("batch_id")).or_default().push(row);
            }
        }
        let deliveries = rows.iter_mut().filter_map(|row| match row.batch {
            None => row.delivery.take(),
            Some(id) => batch_of(row.lane, BatchId(id), row.cause, members.get(&id)?),
        });
        Ok(deliveries.collect())
    }
}

/// None where a member cannot be rendered, which closing has ruled out.
fn batch_of(
    subscription_id: SubscriptionId,
    id: BatchId,
    cause: Cause,
    members: &[Row],
) -> Option<Delivery> {
    let first = members.first()?;
    let format = Format::parse(first.get("format"))?;
    let bodies = members.iter().map(|row| row.get::<_, &[u8]>("body"));
    let body = batch::body(id, first.get("tenant_id"), format, bodies).ok()?;
    let member = |row: &Row| {
        let (id, event_id) = (DeliveryId(row.get("id")), EventId(row.get("event_id")));
        Member {
            id,
            event_id,
            event_type: Arc::from(row.get::<_, &str>("event_type")),
            occurred_at: row.get("occurred_at"),
            of_stream: is_of_stream(id, event_id, subscription_id, row.get("body")),
        }
    };
    let attempts: i32 = first.get("attempts");
    Some(Delivery {
        id: DeliveryId(id.0),
        event_id: EventId(id.0),
        subscription_id,
        event_type: Arc::from(BATCH_TYPE),
        format,
        body,
        attempts: u32::try_from(attempts).ok()?,
        occurred_at: first.get("occurred_at"),
        queued_at: Instant::now(),
        hold: Hold::Leased,
        of_stream: false,
        cause,
        batch: Some(Arc::new(Batch {
            id,
            members: members.iter().map(member).collect(),
        })),
    })
}

/// What the subscriptions ask of their batches, as the columns that `unnest` takes.
#[derive(Default)]
struct Rules {
    id: Vec<Uuid>,
    max_events: Vec<i32>,
    max_bytes: Vec<i64>,
    max_wait: Vec<i64>,
}

impl Rules {
    fn push(&mut self, id: SubscriptionId, batching: &Batching) {
        self.id.push(id.0);
        self.max_events.push(i32::from(batching.max_events));
        self.max_bytes.push(i64::from(batching.max_bytes));
        let wait = batching.max_wait.as_millis();
        self.max_wait.push(i64::try_from(wait).unwrap_or(i64::MAX));
    }
}
