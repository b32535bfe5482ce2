//! Writes results down, many at a time. They commit synchronously, though a result that
//! is lost would only be sent again: the store can crash and come back under a process
//! that goes on, has forgotten the delivery with its result, and still owns its row.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use tokio::sync::{Notify, mpsc};
use tokio_postgres::{Client, Statement};
use uuid::Uuid;

use super::attempt::Outcome;
use super::breaker::BreakerState;
use super::dispatcher::Dispatcher;
use super::instance::Outstanding;
use super::state::Transition;
use super::{Delivery, Hold, ParkedReason};
use crate::backoff::Backoff;
use crate::db::{Store, is_transient};
use crate::event::SubscriptionId;
use crate::metrics::METRICS;

/// A delivery's next state, and the attempt that led to it.
pub struct Record {
    pub delivery: Delivery,
    pub transition: Transition,
    pub outcome: Option<Outcome>,
}

impl Record {
    /// A delivery that leaves memory without an attempt that counts.
    pub fn unattempted(delivery: Delivery, transition: Transition) -> Self {
        Record {
            delivery,
            transition,
            outcome: None,
        }
    }

    /// Leaves out what the receiver said; false where that is done already.
    fn forget_words(&mut self) -> bool {
        let Some(outcome) = &mut self.outcome else {
            return false;
        };
        let excerpt = outcome.excerpt.take();
        let message = outcome.error.as_mut().map(|(_, message)| message);
        let message = message.map(std::mem::take).filter(|text| !text.is_empty());
        excerpt.is_some() || message.is_some()
    }
}

#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are results: boxing each would cost an allocation"
)]
pub enum Entry {
    Result(Record),
    Breakers(Vec<(SubscriptionId, BreakerState)>),
}

impl From<Record> for Entry {
    fn from(record: Record) -> Self {
        Entry::Result(record)
    }
}

/// Results that wait to be written; when it is full, attempts wait.
pub const QUEUE: usize = 4_096;

/// Results written by one statement. More gain nothing (facts: 500 a batch), and the
/// arrays stay small.
const BATCH: usize = 500;

/// When nothing else is to be done the recorder waits this long for more results: it
/// trades this delay of a result's visibility, never of a delivery, for fewer commits.
/// Each commit waits for the disk, where enqueues wait too.
const LINGER: Duration = Duration::from_millis(20);

pub struct Recorder {
    pub store: Store,
    pub instance: Uuid,
    pub outstanding: Arc<Outstanding>,
    /// Told when the schedule has got a new row.
    pub schedule_changed: Arc<Notify>,
}

impl Recorder {
    /// Records until every sender is gone. A store that is away is waited for.
    pub async fn run(
        self,
        mut entries: mpsc::Receiver<Entry>,
        dispatcher: std::sync::Weak<Dispatcher>,
    ) -> anyhow::Result<()> {
        let mut session = None;
        let mut batch = Vec::with_capacity(BATCH);
        while entries.recv_many(&mut batch, BATCH).await > 0 {
            if batch.len() < BATCH / 4 && !entries.is_closed() {
                tokio::time::sleep(LINGER).await;
                while batch.len() < BATCH {
                    let Ok(entry) = entries.try_recv() else { break };
                    batch.push(entry);
                }
            }
            let mut records = Vec::with_capacity(batch.len());
            let mut breakers = Vec::new();
            for entry in batch.drain(..) {
                match entry {
                    Entry::Result(record) => records.push(record),
                    Entry::Breakers(changes) => breakers.extend(changes),
                }
            }
            self.write_all(&mut session, &mut records, &breakers)
                .await?;
            self.settle(&records, &dispatcher);
        }
        Ok(())
    }

    /// Writes the batch. What the store refuses for good is looked for by halving: one
    /// result must not keep the others from being written.
    async fn write_all(
        &self,
        session: &mut Option<Session>,
        records: &mut [Record],
        breakers: &[(SubscriptionId, BreakerState)],
    ) -> anyhow::Result<()> {
        let mut parts = vec![0..records.len()];
        while let Some(part) = parts.pop() {
            let part_records = &mut records[part.clone()];
            let Err(error) = self.write_or_refuse(session, part_records, &[]).await else {
                continue;
            };
            match part_records {
                [record] => {
                    let delivery = record.delivery.id;
                    if !record.forget_words() {
                        return Err(error.context(format!(
                            "the store refuses the result of the delivery {delivery}"
                        )));
                    }
                    tracing::error!(
                        %delivery,
                        error = format!("{error:#}"),
                        "the store refuses the result of a delivery; it is recorded without the receiver's words"
                    );
                    parts.push(part);
                }
                _ => {
                    let middle = part.start + part.len() / 2;
                    parts.push(middle..part.end);
                    parts.push(part.start..middle);
                }
            }
        }
        if breakers.is_empty() {
            return Ok(());
        }
        self.write_or_refuse(session, &[], breakers).await
    }

    /// Writes, and waits for a store that is away; an error is the store's last word.
    async fn write_or_refuse(
        &self,
        session: &mut Option<Session>,
        records: &[Record],
        breakers: &[(SubscriptionId, BreakerState)],
    ) -> anyhow::Result<()> {
        let mut backoff = Backoff::reconnect();
        loop {
            let Err(error) = self.write(session, records, breakers).await else {
                return Ok(());
            };
            *session = None;
            if !is_transient(&error) {
                return Err(error);
            }
            tracing::warn!(
                error = format!("{error:#}"),
                results = records.len(),
                "cannot record results; trying again"
            );
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    async fn write(
        &self,
        session: &mut Option<Session>,
        records: &[Record],
        breakers: &[(SubscriptionId, BreakerState)],
    ) -> anyhow::Result<()> {
        let session = match session {
            Some(session) => session,
            None => session.insert(Session::open(&self.store).await?),
        };
        if !records.is_empty() {
            let written = session.write_results(self.instance, records).await?;
            if written < records.len() as u64 {
                tracing::debug!(
                    results = records.len(),
                    written,
                    "some deliveries were no longer ours; their results were left out"
                );
            }
        }
        if !breakers.is_empty() {
            let ids: Vec<Uuid> = breakers.iter().map(|(id, _)| id.0).collect();
            let states: Vec<&str> = breakers.iter().map(|(_, state)| state.as_str()).collect();
            let sql = include_str!("../../sql/queries/record_breakers.sql");
            session
                .client
                .execute(sql, &[&ids, &states, &self.instance])
                .await
                .context("record breakers")?;
        }
        disable_gone(&session.client, records).await
    }

    /// The batch is in the store: memory may forget it.
    fn settle(&self, records: &[Record], dispatcher: &std::sync::Weak<Dispatcher>) {
        let held = |hold| {
            let of_hold = records
                .iter()
                .filter(move |record| record.delivery.hold == hold);
            of_hold.map(|record| record.delivery.id)
        };
        self.outstanding.remove(held(Hold::Owned).map(|id| id.0));
        if let Some(dispatcher) = dispatcher.upgrade() {
            dispatcher.forget_leased(&held(Hold::Leased).collect::<Vec<_>>());
        }
        let waits = |record: &Record| {
            matches!(
                record.transition,
                Transition::Retry { .. }
                    | Transition::Released { .. }
                    // Its subscription may have been enabled meanwhile.
                    | Transition::Parked(ParkedReason::Disabled)
            )
        };
        if records.iter().any(waits) {
            self.schedule_changed.notify_one();
        }
        for record in records {
            if let Transition::Parked(reason) = record.transition {
                METRICS.parked.with_label_values(&[reason.as_str()]).inc();
            }
        }
    }
}

/// The recorder's own connection.
struct Session {
    client: Client,
    record_results: Statement,
}

impl Session {
    async fn open(store: &Store) -> anyhow::Result<Self> {
        let client = store.connect("walhook recorder").await?;
        let sql = include_str!("../../sql/queries/record_results.sql");
        let record_results = client
            .prepare(sql)
            .await
            .context("prepare the record of results")?;
        Ok(Session {
            client,
            record_results,
        })
    }

    /// Writes the batch and answers how many of its deliveries were still ours.
    async fn write_results(&self, instance: Uuid, records: &[Record]) -> anyhow::Result<u64> {
        let column = Columns::of(records);
        self.client
            .execute(
                &self.record_results,
                &[
                    &instance,
                    &column.id,
                    &column.leased,
                    &column.status,
                    &column.parked_reason,
                    &column.attempts,
                    &column.http_status,
                    &column.error,
                    &column.due_at,
                    &column.delivered_at,
                    &column.started_at,
                    &column.duration_ms,
                    &column.error_class,
                    &column.response_excerpt,
                ],
            )
            .await
            .context("record results")
    }
}

async fn disable_gone(client: &Client, records: &[Record]) -> anyhow::Result<()> {
    let gone = records
        .iter()
        .filter(|record| record.transition == Transition::Gone);
    let gone: Vec<Uuid> = gone
        .map(|record| record.delivery.subscription_id.0)
        .collect();
    if gone.is_empty() {
        return Ok(());
    }
    let disabled = client
        .query(
            include_str!("../../sql/queries/disable_gone_subscriptions.sql"),
            &[&gone],
        )
        .await
        .context("disable subscriptions whose endpoint is gone")?;
    client
        .execute(
            include_str!("../../sql/queries/park_disabled.sql"),
            &[&gone],
        )
        .await
        .context("park the deliveries of disabled subscriptions")?;
    for row in disabled {
        let subscription = SubscriptionId(row.get(0));
        tracing::warn!(%subscription, "disabled a subscription: its endpoint answered 410 Gone");
    }
    Ok(())
}

/// A batch as the columns that unnest takes.
#[derive(Default)]
struct Columns<'a> {
    id: Vec<Uuid>,
    leased: Vec<bool>,
    status: Vec<&'static str>,
    parked_reason: Vec<Option<&'static str>>,
    attempts: Vec<i32>,
    http_status: Vec<Option<i16>>,
    error: Vec<Option<&'a str>>,
    due_at: Vec<Option<Timestamp>>,
    delivered_at: Vec<Option<Timestamp>>,
    started_at: Vec<Option<Timestamp>>,
    duration_ms: Vec<Option<i32>>,
    error_class: Vec<Option<&'static str>>,
    response_excerpt: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    fn of(records: &'a [Record]) -> Self {
        let mut columns = Columns::default();
        let now = Timestamp::now();
        for record in records {
            columns.push(record, now);
        }
        columns
    }

    fn push(&mut self, record: &'a Record, now: Timestamp) {
        let (status, due_at, parked) = match &record.transition {
            Transition::Delivered => ("delivered", None, None),
            Transition::Retry { due_at } | Transition::Released { due_at } => {
                ("pending", Some(*due_at), None)
            }
            Transition::Failed | Transition::Gone => ("failed", None, None),
            Transition::Parked(reason) => ("parked", None, Some(reason.as_str())),
            Transition::Cancelled => ("cancelled", None, None),
        };
        self.id.push(record.delivery.id.0);
        self.leased.push(record.delivery.hold == Hold::Leased);
        self.status.push(status);
        self.parked_reason.push(parked);
        self.attempts
            .push(i32::try_from(record.delivery.attempts).unwrap_or(i32::MAX));
        self.due_at.push(due_at);
        self.delivered_at
            .push((status == "delivered").then_some(now));
        let outcome = record.outcome.as_ref();
        self.http_status
            .push(outcome.and_then(Outcome::stored_status));
        let error = outcome.and_then(|outcome| outcome.error.as_ref());
        self.error.push(error.map(|(_, message)| message.as_str()));
        self.error_class
            .push(error.map(|(class, _)| class.as_str()));
        self.started_at
            .push(outcome.map(|outcome| outcome.started_at));
        self.duration_ms.push(outcome.map(Outcome::duration_ms));
        self.response_excerpt
            .push(outcome.and_then(|outcome| outcome.excerpt.as_deref()));
    }
}
