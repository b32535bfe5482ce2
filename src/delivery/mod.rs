//! Delivers events: hand-off, lanes, signature, attempt, result, retry.
//!
//! A delivery enters by the enqueuer's hand-off or by the [`claimer`], waits in its
//! endpoint's lane in the [`dispatcher`], is sent by [`attempt`], judged by [`state`]
//! and written down by the [`recorder`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use uuid::Uuid;

use batch::Batch;
use cause::Cause;
use client::NameServer;

use crate::duration::HumanDuration;
use crate::event::{DeliveryId, EventId, SubscriptionId};
use crate::subscription::Format;

pub mod attempt;
pub mod attempt_log;
pub mod batch;
pub mod breaker;
pub mod cause;
pub mod claimer;
pub mod client;
pub mod cloud_event;
pub mod dispatcher;
pub mod endpoint_log;
pub mod health;
pub mod instance;
pub mod jobs;
pub mod lanes;
pub mod leases;
pub mod listing;
pub mod manual;
pub mod offered;
pub mod operational;
pub mod ordering;
pub mod parking;
pub mod partitions;
pub mod problems;
pub mod pruner;
pub mod queue;
pub mod recorder;
pub mod replay;
pub mod signature;
pub mod state;
pub mod stats;
pub mod unreadable;
pub mod verification;

/// `[delivery]`: how much is sent at once, and what becomes of what fails.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeliveryConfig {
    /// Requests in flight, all endpoints together; fewer where they wait for this machine
    /// rather than for their endpoints.
    #[serde(deserialize_with = "at_least_one")]
    pub concurrency: usize,
    /// Requests in flight to one endpoint.
    #[serde(deserialize_with = "at_least_one")]
    pub endpoint_concurrency: usize,
    /// Requests that have run for longer than a second, and those to endpoints that are
    /// new or failing: a budget apart from `concurrency`, so that they do not use it up.
    #[serde(deserialize_with = "at_least_one")]
    pub slow_concurrency: usize,
    /// The whole exchange, the response's body included; but a 2xx counts at its headers.
    pub timeout: HumanDuration,
    /// Asked for the addresses of endpoints; none: those of the system.
    pub name_servers: Vec<NameServer>,
    /// Delays before the second, third … attempt. After the last a delivery has failed.
    pub retry_schedule: Vec<HumanDuration>,
    /// Bytes of a body above which it is parked instead of sent.
    pub max_body: usize,
    /// An endpoint whose every attempt has failed for so long is disabled; 0: never.
    pub disable_after: HumanDuration,
    /// Whether failed attempts keep headers and body of the answer.
    pub keep_answer: bool,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        let minutes = |minutes: u64| HumanDuration::from_secs(minutes * 60);
        DeliveryConfig {
            concurrency: 512,
            endpoint_concurrency: 32,
            slow_concurrency: 1024,
            timeout: HumanDuration::from_secs(15),
            name_servers: Vec::new(),
            retry_schedule: vec![
                HumanDuration::from_secs(5),
                minutes(5),
                minutes(30),
                minutes(2 * 60),
                minutes(5 * 60),
                minutes(10 * 60),
                minutes(14 * 60),
                minutes(20 * 60),
                minutes(24 * 60),
            ],
            max_body: 256 * 1024,
            disable_after: minutes(5 * 24 * 60),
            keep_answer: true,
        }
    }
}

fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    match usize::deserialize(deserializer)? {
        0 => Err(D::Error::custom(
            "is 0, with which nothing would be sent: use 1 or more",
        )),
        number => Ok(number),
    }
}

impl DeliveryConfig {
    /// For how long an endpoint may fail; none: for ever.
    pub fn disable_after(&self) -> Option<Duration> {
        let HumanDuration(limit) = self.disable_after;
        (!limit.is_zero()).then_some(limit)
    }

    /// When an attempt that is under way has ended, and its result and its counts are written.
    pub fn settled_after(&self) -> Duration {
        self.timeout.0 + stats::PERIOD + WRITING
    }

    /// How long a claimed delivery is ours: time to wait in its lane and to be sent.
    pub fn lease(&self) -> Duration {
        self.timeout.0 * 2 + UNSENT_LIMIT
    }
}

/// What the recorder takes at most, with the store well, for what is due to be written.
const WRITING: Duration = Duration::from_secs(5);

/// A delivery that has waited in memory for this long goes back to the store, where
/// any instance may claim it.
pub const UNSENT_LIMIT: Duration = Duration::from_secs(30);

/// A delivery in this process's hands.
#[derive(Clone)]
pub struct Delivery {
    pub id: DeliveryId,
    pub event_id: EventId,
    pub subscription_id: SubscriptionId,
    pub event_type: Arc<str>,
    pub format: Format,
    /// The event's bytes, shared by its deliveries.
    pub body: Bytes,
    /// Attempts made so far.
    pub attempts: u32,
    pub occurred_at: Timestamp,
    pub queued_at: Instant,
    pub hold: Hold,
    /// Whether it is the first of a change that the stream brought, no replay's and no
    /// backfill's: how long after the commit it is delivered says how fast walhook is.
    pub of_stream: bool,
    /// What brings its next attempt about.
    pub cause: Cause,
    /// What is in it, where it is a batch: `id` is the batch's then, and `body` the whole.
    pub batch: Option<Arc<Batch>>,
}

impl Delivery {
    /// What it is sent under at every attempt.
    pub fn webhook_id(&self) -> String {
        match &self.batch {
            Some(batch) => batch.id.to_string(),
            None => self.event_id.to_string(),
        }
    }

    /// The deliveries whose fate is decided by its: itself, or those that are in it.
    pub fn letters(&self) -> impl Iterator<Item = Letter<'_>> {
        let batch = self.batch.as_deref();
        let alone = batch.is_none().then_some(Letter {
            id: self.id,
            event_id: self.event_id,
            event_type: &self.event_type,
            occurred_at: self.occurred_at,
            of_stream: self.of_stream,
        });
        let members = batch.map_or(&[][..], |batch| &batch.members);
        alone.into_iter().chain(members.iter().map(|member| Letter {
            id: member.id,
            event_id: member.event_id,
            event_type: &member.event_type,
            occurred_at: member.occurred_at,
            of_stream: member.of_stream,
        }))
    }
}

/// Whether a stored delivery is the first of a change that the stream brought: its id is
/// derived from no replay's, and its event names no backfill.
fn is_of_stream(id: DeliveryId, event: EventId, subscription: SubscriptionId, body: &[u8]) -> bool {
    let first = DeliveryId::derive(event, subscription.0, Uuid::nil());
    id == first && !names_backfill(body)
}

/// A backfill's name is the last member of the body: after the data, which ends with a brace
/// of its own.
fn names_backfill(body: &[u8]) -> bool {
    const MEMBER: &[u8] = b",\"backfill\":\"bkf_";
    const VALUE: usize = uuid::fmt::Hyphenated::LENGTH;
    let end = body.len().checked_sub(MEMBER.len() + VALUE + "\"}".len());
    end.and_then(|end| body.get(end..))
        .is_some_and(|end| end.starts_with(MEMBER))
}

/// One event on its way to one subscription, by itself or in a batch.
#[derive(Clone, Copy, Debug)]
pub struct Letter<'a> {
    pub id: DeliveryId,
    pub event_id: EventId,
    pub event_type: &'a str,
    pub occurred_at: Timestamp,
    pub of_stream: bool,
}

/// By what right a delivery is in memory; its result is refused once the right is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The delivery's row names this instance as its owner: the fast path.
    Owned,
    /// Claimed from the schedule, under a lease.
    Leased,
}

/// Why a delivery is kept without being sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParkedReason {
    /// Its subscription is disabled.
    Disabled,
    /// Its body is larger than `delivery.max_body`.
    Oversized,
}

impl ParkedReason {
    pub fn as_str(self) -> &'static str {
        match self {
            ParkedReason::Disabled => "disabled",
            ParkedReason::Oversized => "oversized",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_of_the_stream_unless_it_is_a_replays_or_a_backfills() {
        let event = EventId::random(Timestamp::UNIX_EPOCH);
        let subscription = SubscriptionId(Uuid::now_v7());
        let id = |replay| DeliveryId::derive(event, subscription.0, replay);
        let of_stream = |id, body: &str| is_of_stream(id, event, subscription, body.as_bytes());
        let name = crate::event::BackfillId(Uuid::now_v7());
        let member = format!(r#""backfill":"{name}""#);
        for (body, expected) in [
            (String::new(), true),
            (r#"{"id":"evt_1","data":{}}"#.to_owned(), true),
            (format!(r#"{{"data":{{"a":1,{member}}}}}"#), true),
            (format!(r#"{{"data":{{}},{member}}}"#), false),
        ] {
            assert_eq!(of_stream(id(Uuid::nil()), &body), expected, "{body}");
            assert!(!of_stream(id(Uuid::now_v7()), &body), "{body}");
        }
    }
}
