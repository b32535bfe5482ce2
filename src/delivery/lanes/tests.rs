//! Limits, fairness and what a bad endpoint costs the others.

use super::*;
use crate::event::EventId;
use crate::subscription::Format;
use proptest::prelude::*;
use std::sync::Arc;
use uuid::Uuid;

fn lane(number: u128) -> SubscriptionId {
    SubscriptionId(Uuid::from_u128(number))
}

fn delivery(lane: SubscriptionId, now: Instant) -> Delivery {
    let event_id = EventId::random();
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
    }
}

fn lanes(concurrency: usize, endpoint_concurrency: usize) -> Lanes {
    Lanes::new(Limits {
        concurrency,
        endpoint_concurrency,
        slow_concurrency: 2,
    })
}

fn push(lanes: &mut Lanes, to: SubscriptionId, count: usize, now: Instant) {
    for _ in 0..count {
        assert!(lanes.reserve(to, 10, now));
        lanes.push(delivery(to, now));
    }
}

fn pick_all(lanes: &mut Lanes, now: Instant) -> Vec<SubscriptionId> {
    std::iter::from_fn(|| {
        lanes
            .pick(now)
            .next
            .map(|delivery| delivery.subscription_id)
    })
    .collect()
}

#[test]
fn lanes_take_turns_within_their_limits() {
    let now = Instant::now();
    let mut lanes = lanes(5, 2);
    push(&mut lanes, lane(1), 10, now);
    push(&mut lanes, lane(2), 1, now);
    push(&mut lanes, lane(3), 10, now);
    let picked = pick_all(&mut lanes, now);
    assert_eq!(picked, [lane(1), lane(2), lane(3), lane(1), lane(3)]);
    lanes.finish(lane(1), false, Some(true), now);
    assert_eq!(pick_all(&mut lanes, now), [lane(1)]);
}

#[test]
fn deliveries_of_a_lane_leave_in_their_order() {
    let now = Instant::now();
    let mut lanes = lanes(100, 100);
    let sent: Vec<Delivery> = (0..20).map(|_| delivery(lane(1), now)).collect();
    for delivery in &sent {
        assert!(lanes.reserve(lane(1), 10, now));
        lanes.push(delivery.clone());
    }
    for delivery in &sent {
        assert_eq!(lanes.pick(now).next.unwrap().id, delivery.id);
    }
}

#[test]
fn a_hanging_endpoint_leaves_the_common_budget() {
    let now = Instant::now();
    let mut lanes = lanes(2, 32);
    push(&mut lanes, lane(1), 10, now);
    assert_eq!(pick_all(&mut lanes, now).len(), 2);
    push(&mut lanes, lane(2), 1, now);
    assert_eq!(pick_all(&mut lanes, now), []);
    assert!(lanes.slow_down() && lanes.slow_down());
    assert_eq!(pick_all(&mut lanes, now), [lane(1), lane(2)]);
    assert!(!lanes.slow_down(), "the slow budget is full");
}

#[test]
fn an_open_breaker_turns_its_lane_away_and_comes_back() {
    let now = Instant::now();
    let mut lanes = lanes(100, 32);
    push(&mut lanes, lane(1), 5, now);
    assert_eq!(pick_all(&mut lanes, now).len(), 5);
    push(&mut lanes, lane(1), 3, now);
    let changes: Vec<_> = (0..5)
        .filter_map(|_| lanes.finish(lane(1), false, Some(false), now))
        .collect();
    assert!(matches!(changes[..], [StateChange::Opened(_)]));
    let picked = lanes.pick(now);
    assert!(picked.next.is_none());
    assert_eq!(picked.refused.len(), 3);
    assert!(!lanes.reserve(lane(1), 10, now));
    assert_eq!(lanes.claimable(now).full, [lane(1)]);
    assert_eq!(lanes.breaker_changes(), [(lane(1), BreakerState::Open)]);
    assert_eq!(lanes.breaker_changes(), []);

    let later = now + Duration::from_secs(3600);
    assert!(lanes.claimable(later).full.is_empty());
    push(&mut lanes, lane(1), 3, later);
    assert_eq!(pick_all(&mut lanes, later).len(), 1, "one probe");
    lanes.finish(lane(1), false, Some(true), later);
    assert!(!pick_all(&mut lanes, later).is_empty());
}

#[test]
fn one_endpoint_cannot_fill_the_memory_of_all() {
    let now = Instant::now();
    let mut lanes = lanes(1, 1);
    let mut admitted = 0;
    while lanes.reserve(lane(1), 10, now) {
        admitted += 1;
    }
    assert_eq!(admitted, MAX_QUEUED_PER_LANE);
    assert!(lanes.reserve(lane(2), 10, now));
    assert!(!lanes.reserve(lane(3), MAX_QUEUED_BYTES, now));
}

#[test]
fn what_waits_for_too_long_leaves() {
    let now = Instant::now();
    let mut lanes = lanes(1, 1);
    push(&mut lanes, lane(1), 3, now);
    assert!(lanes.pick(now).next.is_some());
    assert!(lanes.sweep(now).is_empty());
    assert_eq!(lanes.sweep(now + UNSENT_LIMIT).len(), 2);
    assert_eq!(
        lanes.load(),
        Load {
            queued: 0,
            in_flight: 1,
            breakers_open: 0
        }
    );
}

#[test]
fn a_claimed_delivery_is_taken_once() {
    let now = Instant::now();
    let mut lanes = lanes(1, 1);
    let claimed = Delivery {
        hold: Hold::Leased,
        ..delivery(lane(1), now)
    };
    assert!(lanes.push_leased(claimed.clone(), now).is_none());
    assert!(lanes.push_leased(claimed.clone(), now).is_none());
    assert_eq!(lanes.load().queued, 1);
    lanes.pick(now);
    assert!(lanes.push_leased(claimed.clone(), now).is_none());
    assert_eq!(lanes.load().queued, 0);
    lanes.forget_leased(claimed.id);
    assert!(lanes.push_leased(claimed, now).is_none());
    assert_eq!(lanes.load().queued, 1);
}

#[test]
fn a_claimed_delivery_that_does_not_fit_is_given_back() {
    let now = Instant::now();
    let mut lanes = lanes(1, 1);
    while lanes.reserve(lane(1), 1, now) {}
    let claimed = Delivery {
        hold: Hold::Leased,
        ..delivery(lane(1), now)
    };
    let refused = lanes.push_leased(claimed.clone(), now);
    assert_eq!(refused.map(|delivery| delivery.id), Some(claimed.id));
    lanes.unreserve(lane(1), 1);
    assert!(lanes.push_leased(claimed, now).is_none());
}

#[derive(Clone, Debug)]
enum Step {
    Push(u128),
    Unreserve(u128),
    Pick,
    Finish(usize, bool, bool),
    Sweep(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4u128).prop_map(Step::Push),
        (0..4u128).prop_map(Step::Unreserve),
        Just(Step::Pick),
        (0..8usize, any::<bool>(), any::<bool>())
            .prop_map(|(index, slow, success)| Step::Finish(index, slow, success)),
        (0..40u64).prop_map(Step::Sweep),
    ]
}

proptest! {
    /// Whatever happens, limits hold, nothing is lost and the counts come back to zero.
    #[test]
    fn counts_agree_with_what_is_there(steps in proptest::collection::vec(step(), 0..200)) {
        let mut now = Instant::now();
        let mut lanes = lanes(5, 2);
        let mut flying: Vec<(SubscriptionId, bool)> = Vec::new();
        let (mut entered, mut left) = (0, 0);
        for step in steps {
            match step {
                Step::Push(number) => if lanes.reserve(lane(number), 10, now) {
                    lanes.push(delivery(lane(number), now));
                    entered += 1;
                },
                Step::Unreserve(number) => if lanes.reserve(lane(number), 10, now) {
                    lanes.unreserve(lane(number), 10);
                },
                Step::Pick => {
                    let picked = lanes.pick(now);
                    left += picked.refused.len();
                    flying.extend(picked.next.map(|delivery| (delivery.subscription_id, false)));
                }
                Step::Finish(index, slow, success) => if let Some(flight) = flying.get_mut(index) {
                    if slow && !flight.1 {
                        flight.1 = lanes.slow_down();
                    } else {
                        let (id, slow) = flying.remove(index);
                        lanes.finish(id, slow, Some(success), now);
                        left += 1;
                    }
                },
                Step::Sweep(seconds) => {
                    now += Duration::from_secs(seconds);
                    left += lanes.sweep(now).len();
                }
            }
            let fast = flying.iter().filter(|(_, slow)| !slow).count();
            prop_assert!(fast <= 5 && flying.len() - fast <= 2);
            for number in 0..4 {
                let of_lane = flying.iter().filter(|(id, _)| *id == lane(number)).count();
                prop_assert!(of_lane <= 2);
            }
            let load = lanes.load();
            prop_assert_eq!(load.in_flight, flying.len());
            prop_assert_eq!(load.queued + load.in_flight + left, entered);
        }
        left += lanes.drain().len();
        prop_assert_eq!(left + flying.len(), entered);
        prop_assert_eq!(lanes.load().queued, 0);
    }
}
