//! What one transaction of the store will write.

use std::time::Instant;

use jiff::Timestamp;
use uuid::Uuid;

use crate::clock::Clocks;
use crate::delivery::ParkedReason as DeliveryParked;
use crate::event::{Event, SubscriptionId};
use crate::lsn::Lsn;
use crate::mapping::{Mapped, ParkedChange, ParkedReason};
use crate::metrics::METRICS;
use crate::subscription::Format;

/// Events and parked changes that are not durable yet.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) events: Vec<Event>,
    pub(crate) parked: Vec<ParkedChange>,
    /// Parked changes of before that are parked no longer.
    pub(crate) unparked: Vec<ParkedKey>,
    pub(crate) bytes: usize,
    /// Where the events are those of a backfill's chunk, and none of the stream's.
    pub(crate) chunk: Option<TakenChunk>,
    oldest_commit: Option<Timestamp>,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        let none = self.events.is_empty() && self.parked.is_empty() && self.unparked.is_empty();
        none && self.chunk.is_none()
    }

    pub(crate) fn add(&mut self, mapped: Mapped) {
        match mapped {
            Mapped::Event(event) => {
                self.bytes += event.body.len();
                self.events.push(event);
            }
            Mapped::Parked(change) => {
                self.bytes += change.change.as_ref().map_or(0, Vec::len);
                self.parked.push(change);
            }
        }
    }

    pub(crate) fn oldest_commit(&mut self, committed_at: Timestamp) {
        self.oldest_commit.get_or_insert(committed_at);
    }

    /// Counts what has become durable.
    pub(crate) fn count(&self, started: Instant, clocks: &Clocks) {
        if self.is_empty() {
            return;
        }
        let taken = started.elapsed();
        METRICS.stages.enqueue.observe(taken.as_secs_f64());
        for event in &self.events {
            METRICS.events.with_label_values(&[&event.event_type]).inc();
        }
        for change in &self.parked {
            match change.reason {
                ParkedReason::Unroutable => METRICS.unroutable.inc(),
                ParkedReason::Unmappable | ParkedReason::Undecodable | ParkedReason::Oversized => {
                    METRICS
                        .parked
                        .with_label_values(&[change.reason.as_str()])
                        .inc();
                }
            }
        }
        if let Some(last) = self.events.last() {
            let age = clocks.since_commit(last.occurred_at);
            METRICS.lag_seconds.set(age.as_secs_f64());
        }
    }
}

/// A chunk whose events are in the batch.
pub(crate) struct TakenChunk {
    pub(crate) backfill: Uuid,
    /// Who had begun by then receives them …
    pub(crate) from_lsn: Lsn,
    /// … or this one alone.
    pub(crate) subscription: Option<SubscriptionId>,
    pub(crate) cursor: Option<Vec<String>>,
    pub(crate) end: bool,
    pub(crate) rows: usize,
    pub(crate) streamed: usize,
}

/// Where a parked change stands: the primary key of `parked_changes`.
pub(crate) type ParkedKey = (Lsn, i64, String);

/// Rows of `webhook_deliveries`, each pointing at its event in the batch.
#[derive(Default)]
pub(crate) struct DeliveryRows {
    pub(crate) id: Vec<Uuid>,
    /// Index into the batch's events.
    pub(crate) event: Vec<usize>,
    pub(crate) subscription_id: Vec<Uuid>,
    pub(crate) format: Vec<Format>,
    pub(crate) owner: Vec<Option<Uuid>>,
    pub(crate) parked: Vec<Option<DeliveryParked>>,
    /// What it waits for in the schedule.
    pub(crate) waits_for: Vec<WaitsFor>,
}

/// What keeps a delivery in the schedule from being sent at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitsFor {
    Nothing,
    /// For those of its row that are before it.
    Row,
    /// For others that it is sent together with.
    Batch,
}

impl DeliveryRows {
    pub(crate) fn push(
        &mut self,
        id: Uuid,
        event: usize,
        subscription_id: Uuid,
        format: Format,
        parked: Option<DeliveryParked>,
        waits_for: WaitsFor,
    ) {
        self.id.push(id);
        self.event.push(event);
        self.subscription_id.push(subscription_id);
        self.format.push(format);
        self.owner.push(None);
        self.parked.push(parked);
        self.waits_for.push(match parked {
            None => waits_for,
            Some(_) if waits_for == WaitsFor::Batch => WaitsFor::Nothing,
            Some(_) => waits_for,
        });
    }

    /// Counts what has become durable and is kept without being sent.
    pub(crate) fn count_parked(&self) {
        for reason in self.parked.iter().flatten() {
            METRICS.parked.with_label_values(&[reason.as_str()]).inc();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.id.len()
    }

    pub(crate) fn own(&mut self, index: usize, instance: Uuid) {
        if let Some(owner) = self.owner.get_mut(index) {
            *owner = Some(instance);
        }
    }

    /// How many of them nobody owns: these need a row in the schedule.
    pub(crate) fn schedule_len(&self) -> usize {
        self.owner.iter().filter(|owner| owner.is_none()).count()
    }
}
