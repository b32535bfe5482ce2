//! Limits, fairness and what a bad endpoint costs the others.

use super::*;
use crate::delivery::cause::Cause;
use crate::event::EventId;
use crate::lsn::Lsn;
use crate::subscription::{Format, Subscription};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use uuid::Uuid;

mod bearable;
mod claims;
mod counts;
mod memory;
mod model;
mod pace;
mod slow;

const SECOND: Duration = Duration::from_secs(1);

/// More than any test has lanes.
const HELD: u128 = 2_000;

pub(super) fn lane(number: u128) -> SubscriptionId {
    SubscriptionId(Uuid::from_u128(number))
}

/// Of body's ten bytes.
pub(in crate::delivery) fn delivery(lane: SubscriptionId, now: Instant) -> Delivery {
    let event_id = EventId::random(jiff::Timestamp::UNIX_EPOCH);
    Delivery {
        id: DeliveryId::derive(event_id, lane.0, Uuid::nil()),
        event_id,
        subscription_id: lane,
        event_type: Arc::from("t"),
        format: Format::Standard,
        body: bytes::Bytes::from_static(b"0123456789"),
        attempts: 0,
        occurred_at: jiff::Timestamp::UNIX_EPOCH,
        queued_at: now,
        hold: Hold::Owned,
        of_stream: true,
        cause: Cause::default(),
        batch: None,
    }
}

pub(super) fn leased(lane: SubscriptionId, attempts: u32, now: Instant) -> Delivery {
    Delivery {
        attempts,
        hold: Hold::Leased,
        ..delivery(lane, now)
    }
}

pub(super) fn lanes(
    concurrency: usize,
    endpoint_concurrency: usize,
    slow_concurrency: usize,
) -> Lanes {
    lanes_within(Limits {
        concurrency,
        endpoint_concurrency,
        slow_concurrency,
        at_hand: usize::MAX,
    })
}

fn lanes_within(limits: Limits) -> Lanes {
    let mut lanes = Lanes::new(limits);
    lanes.hold((0..HELD).map(lane));
    lanes
}

/// The subscription of a lane, its tenant and its rate limit.
pub(super) fn subscription(
    lane: SubscriptionId,
    tenant: &str,
    rate_limit: Option<u32>,
) -> Subscription {
    Subscription {
        id: lane,
        row_version: 0,
        version: 1,
        tenant_id: Arc::from(tenant),
        url: String::new(),
        events: Vec::new(),
        filter: None,
        headers: BTreeMap::new(),
        format: Format::Standard,
        rate_limit: rate_limit.and_then(NonZeroU32::new),
        batching: None,
        active: true,
        secrets: Vec::new(),
        ordering: crate::subscription::Ordering::None,
        ordering_settled: true,
        signing_keys: Vec::new(),
        from_lsn: Lsn(0),
        created_at: jiff::Timestamp::UNIX_EPOCH,
        unreadable: None,
    }
}

fn push(lanes: &mut Lanes, to: SubscriptionId, count: usize, now: Instant) {
    for _ in 0..count {
        assert!(lanes.reserve(to, 10, now));
        lanes.push(delivery(to, now), now);
    }
}

fn pick_all(lanes: &mut Lanes, now: Instant) -> Vec<Ticket> {
    std::iter::from_fn(|| lanes.pick(now).next.map(|(_, ticket)| ticket)).collect()
}

fn whose(tickets: &[Ticket]) -> Vec<SubscriptionId> {
    tickets.iter().map(|ticket| ticket.lane).collect()
}

/// Lets the endpoint answer well until nothing but its own limit holds it.
fn prove(lanes: &mut Lanes, to: SubscriptionId, now: Instant) {
    while lanes.lane(to, now).breaker.limit() != usize::MAX {
        push(lanes, to, 1, now);
        for ticket in pick_all(lanes, now) {
            lanes.finish(ticket, Some(true), now);
        }
    }
}

#[test]
fn lanes_take_turns_within_their_limits() {
    let now = Instant::now();
    let mut lanes = lanes(8, 2, 8);
    (1..=3).for_each(|number| prove(&mut lanes, lane(number), now));
    push(&mut lanes, lane(1), 10, now);
    push(&mut lanes, lane(2), 1, now);
    push(&mut lanes, lane(3), 10, now);
    let mut flying = pick_all(&mut lanes, now);
    let expected = [1, 2, 3, 1, 3].map(lane);
    assert_eq!(whose(&flying), expected);
    lanes.finish(flying.remove(0), Some(true), now);
    assert_eq!(whose(&pick_all(&mut lanes, now)), [lane(1)]);
}

#[test]
fn it_is_busy_where_something_waits_for_the_budget_alone() {
    let now = Instant::now();
    let mut lanes = lanes(3, 1, 8);
    (1..=4).for_each(|number| prove(&mut lanes, lane(number), now));
    push(&mut lanes, lane(1), 2, now);
    let flying = pick_all(&mut lanes, now);
    assert_eq!(flying.len(), 1);
    assert!(!lanes.pick(now).is_busy, "it waits for its endpoint");
    (2..=4).for_each(|number| push(&mut lanes, lane(number), 1, now));
    pick_all(&mut lanes, now);
    assert!(lanes.pick(now).is_busy);
    for ticket in flying {
        lanes.finish(ticket, Some(true), now);
    }
    pick_all(&mut lanes, now);
    assert!(lanes.pick(now).is_busy, "the first's second is left");
}

#[test]
fn tenants_take_turns_before_their_endpoints_do() {
    let now = Instant::now();
    let mut lanes = lanes(100, 8, 100);
    let mut all: Vec<Subscription> = (1..=9)
        .map(|number| subscription(lane(number), "large", None))
        .collect();
    all.push(subscription(lane(10), "small", None));
    lanes.follow(&Arc::new(Snapshot::of(1, all)), now);
    (1..=10).for_each(|number| prove(&mut lanes, lane(number), now));
    (1..=10).for_each(|number| push(&mut lanes, lane(number), 4, now));
    let flying: Vec<Ticket> = (0..8).map(|_| lanes.pick(now).next.unwrap().1).collect();
    let small = whose(&flying).iter().filter(|id| **id == lane(10)).count();
    assert_eq!(small, 4, "half of what there is, as one of two tenants");
}

#[test]
fn deliveries_of_a_lane_leave_in_their_order() {
    let now = Instant::now();
    let mut lanes = lanes(100, 100, 100);
    prove(&mut lanes, lane(1), now);
    let sent: Vec<Delivery> = (0..20).map(|_| delivery(lane(1), now)).collect();
    for delivery in &sent {
        assert!(lanes.reserve(lane(1), 10, now));
        lanes.push(delivery.clone(), now);
    }
    for delivery in &sent {
        assert_eq!(lanes.pick(now).next.unwrap().0.id, delivery.id);
    }
}

fn assert_in_flight(lanes: &Lanes, count: usize) {
    assert_eq!(lanes.load().in_flight, count);
}

#[test]
fn retries_leave_a_part_of_the_budget_to_first_attempts() {
    let now = Instant::now();
    let mut lanes = lanes(8, 8, 8);
    (1..=8).for_each(|number| prove(&mut lanes, lane(number), now));
    for number in 1..=6 {
        for _ in 0..4 {
            assert!(lanes.push_leased(leased(lane(number), 3, now), now));
        }
    }
    let mut flying = pick_all(&mut lanes, now);
    assert_eq!(flying.len(), 6, "three quarters");
    push(&mut lanes, lane(7), 1, now);
    push(&mut lanes, lane(8), 1, now);
    assert_eq!(whose(&pick_all(&mut lanes, now)), [lane(7), lane(8)]);
    // One that ends makes way for another.
    lanes.finish(flying.pop().unwrap(), Some(true), now);
    assert_eq!(pick_all(&mut lanes, now).len(), 1);
}

#[test]
fn first_attempts_and_retries_of_a_lane_take_turns() {
    let now = Instant::now();
    let mut lanes = lanes(100, 100, 100);
    prove(&mut lanes, lane(1), now);
    push(&mut lanes, lane(1), 3, now);
    for _ in 0..3 {
        assert!(lanes.push_leased(leased(lane(1), 1, now), now));
    }
    let attempts = std::iter::from_fn(|| lanes.pick(now).next.map(|(next, _)| next.attempts));
    let attempts: Vec<u32> = attempts.collect();
    assert!(
        attempts == [0, 1, 0, 1, 0, 1] || attempts == [1, 0, 1, 0, 1, 0],
        "{attempts:?}"
    );
}
