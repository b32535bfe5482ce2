//! Limits, fairness and what a bad endpoint costs the others.

use super::*;
use crate::event::EventId;
use crate::lsn::Lsn;
use crate::subscription::{Format, Subscription};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use uuid::Uuid;

const SECOND: Duration = Duration::from_secs(1);

fn lane(number: u128) -> SubscriptionId {
    SubscriptionId(Uuid::from_u128(number))
}

/// Of body's ten bytes.
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
        batch: None,
    }
}

fn leased(lane: SubscriptionId, attempts: u32, now: Instant) -> Delivery {
    Delivery {
        attempts,
        hold: Hold::Leased,
        ..delivery(lane, now)
    }
}

fn lanes(concurrency: usize, endpoint_concurrency: usize, slow_concurrency: usize) -> Lanes {
    Lanes::new(Limits {
        concurrency,
        endpoint_concurrency,
        slow_concurrency,
    })
}

/// The subscription of a lane, its tenant and its rate limit.
fn subscription(lane: SubscriptionId, tenant: &str, rate_limit: Option<u32>) -> Subscription {
    Subscription {
        id: lane,
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
        from_lsn: Lsn(0),
        created_at: jiff::Timestamp::UNIX_EPOCH,
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

#[test]
fn a_new_endpoint_gets_one_at_a_time_until_it_has_succeeded() {
    let now = Instant::now();
    let mut lanes = lanes(100, 100, 100);
    push(&mut lanes, lane(1), 16, now);
    for expected in [1, 1, 1, 1, 1] {
        let mut flying = pick_all(&mut lanes, now);
        assert_eq!(flying.len(), expected);
        // It neither succeeded nor failed.
        lanes.finish(flying.remove(0), None, now);
    }
    for expected in [1, 2, 4] {
        let flying = pick_all(&mut lanes, now);
        assert_eq!(flying.len(), expected);
        for ticket in flying {
            lanes.finish(ticket, Some(true), now);
        }
    }
}

#[test]
fn new_endpoints_that_hang_leave_the_common_budget_alone() {
    let now = Instant::now();
    let mut lanes = lanes(4, 4, 8);
    prove(&mut lanes, lane(1), now);
    for number in 2..=20 {
        push(&mut lanes, lane(number), 3, now);
    }
    let mut hanging = pick_all(&mut lanes, now);
    // A quarter of the slow budget is for those who turn slow.
    assert_eq!(hanging.len(), 6);
    for ticket in &mut hanging {
        lanes.slow_down(ticket, now + SECOND);
    }
    assert_eq!(whose(&pick_all(&mut lanes, now + SECOND)), []);
    push(&mut lanes, lane(1), 10, now);
    let flying = pick_all(&mut lanes, now + SECOND);
    assert_eq!(whose(&flying), [lane(1); 3], "all that one lane may have");
}

#[test]
fn an_endpoint_that_begins_to_hang_leaves_the_common_budget_and_gets_no_more() {
    let now = Instant::now();
    let mut lanes = lanes(6, 32, 100);
    prove(&mut lanes, lane(1), now);
    prove(&mut lanes, lane(2), now);
    push(&mut lanes, lane(1), 100, now);
    let mut hanging = pick_all(&mut lanes, now);
    let left = 6 - hanging.len();
    assert!(left > 0, "a lane never gets all");
    push(&mut lanes, lane(2), 100, now);
    assert_eq!(whose(&pick_all(&mut lanes, now)), vec![lane(2); left]);
    let now = now + SECOND;
    for ticket in &mut hanging {
        lanes.slow_down(ticket, now);
    }
    let flying = whose(&pick_all(&mut lanes, now));
    assert!(!flying.is_empty() && flying.iter().all(|id| *id == lane(2)));
    // An answer of it, however late, and it is as good as before.
    lanes.finish(hanging.remove(0), Some(true), now);
    assert!(whose(&pick_all(&mut lanes, now)).contains(&lane(1)));
}

#[test]
fn attempts_that_find_the_slow_budget_full_leave_the_common_one_later() {
    let now = Instant::now();
    let mut lanes = lanes(4, 8, 1);
    prove(&mut lanes, lane(1), now);
    push(&mut lanes, lane(1), 8, now);
    let mut hanging = pick_all(&mut lanes, now);
    let count = hanging.len();
    for ticket in &mut hanging {
        lanes.slow_down(ticket, now);
    }
    assert_in_flight(&lanes, count);
    // One in the slow budget, the others overstay: each that ends frees the common one.
    assert_eq!(lanes.budgets.free(Class::Fast), 4 - (count - 1));
    while let Some(ticket) = hanging.pop() {
        lanes.finish(ticket, Some(false), now);
    }
    assert_in_flight(&lanes, 0);
    assert_eq!(lanes.budgets.free(Class::Fast), 4);
    assert_eq!(lanes.budgets.free(Class::Slow), 1);
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

#[test]
fn a_rate_limit_spaces_attempts_and_delays_nobody_else() {
    let now = Instant::now();
    let mut lanes = lanes(100, 100, 100);
    let all = vec![
        subscription(lane(1), "acme", Some(5)),
        subscription(lane(2), "acme", None),
    ];
    lanes.follow(&Arc::new(Snapshot::of(1, all)), now);
    prove(&mut lanes, lane(2), now);
    // No more than two seconds' worth waits in memory; the rest in the store.
    push(&mut lanes, lane(1), 10, now);
    assert!(!lanes.reserve(lane(1), 10, now));
    push(&mut lanes, lane(2), 20, now);
    let mut sent = Vec::new();
    for tick in 0..=20_u32 {
        let at = now + tick * Duration::from_millis(100);
        lanes.wake(at);
        let flying = pick_all(&mut lanes, at);
        if flying.iter().any(|ticket| ticket.lane == lane(1)) {
            sent.push(tick * 100);
        }
        let others = flying.iter().filter(|ticket| ticket.lane == lane(2));
        assert_eq!(others.count(), if tick == 0 { 20 } else { 0 });
        for ticket in flying {
            lanes.finish(ticket, Some(true), at);
        }
    }
    let expected: Vec<u32> = (0..10).map(|number| number * 200).collect();
    assert_eq!(sent, expected);
    assert_eq!(lanes.next_wake(), None, "nothing waits for time");
}

#[test]
fn a_changed_rate_limit_holds_at_once() {
    let now = Instant::now();
    let mut lanes = lanes(100, 100, 100);
    let of = |generation, rate| {
        Arc::new(Snapshot::of(
            generation,
            vec![subscription(lane(1), "acme", rate)],
        ))
    };
    lanes.follow(&of(1, Some(1)), now);
    push(&mut lanes, lane(1), 2, now);
    let flying = pick_all(&mut lanes, now);
    assert_eq!(flying.len(), 1);
    for ticket in flying {
        lanes.finish(ticket, Some(true), now);
    }
    assert_eq!(pick_all(&mut lanes, now).len(), 0);
    assert_eq!(lanes.next_wake(), Some(now + SECOND));
    assert!(lanes.take_signals().timer);
    lanes.follow(&of(2, None), now);
    assert_eq!(pick_all(&mut lanes, now).len(), 1);
}

#[test]
fn an_open_breaker_turns_its_lane_away_and_comes_back() {
    let now = Instant::now();
    let mut lanes = lanes(100, 32, 100);
    prove(&mut lanes, lane(1), now);
    push(&mut lanes, lane(1), 5, now);
    let flying = pick_all(&mut lanes, now);
    assert_eq!(flying.len(), 5);
    push(&mut lanes, lane(1), 3, now);
    let opened: Vec<_> = flying
        .into_iter()
        .filter_map(|ticket| lanes.finish(ticket, Some(false), now))
        .collect();
    let [crate::delivery::breaker::StateChange::Opened(length)] = opened[..] else {
        panic!("{opened:?}");
    };
    let picked = lanes.pick(now);
    assert!(picked.next.is_none());
    assert_eq!(picked.refused.len(), 3);
    assert_eq!(lanes.load().queued, 0);
    assert!(!lanes.reserve(lane(1), 10, now));
    let claimable = lanes.claimable([lane(1)].into_iter(), 100, now);
    assert_eq!(claimable.wanted, []);
    assert_eq!(claimable.next_probe, Some(length));
    assert_eq!(lanes.breaker_changes(), [(lane(1), BreakerState::Open)]);
    assert_eq!(lanes.breaker_changes(), []);

    // One is claimed to try it with, and no other while that is under way.
    let later = now + length;
    let probe = |lanes: &mut Lanes| lanes.claimable([lane(1)].into_iter(), 100, later).wanted;
    let [Wanted { count: 1, .. }] = probe(&mut lanes)[..] else {
        panic!("not one");
    };
    assert!(lanes.push_leased(leased(lane(1), 1, later), later));
    assert_eq!(probe(&mut lanes), []);
    push(&mut lanes, lane(1), 3, later);
    let mut flying = pick_all(&mut lanes, later);
    assert_eq!(flying.len(), 1, "one probe");
    assert_eq!(probe(&mut lanes), []);
    lanes.take_signals();
    lanes.finish(flying.remove(0), Some(true), later);
    assert!(lanes.take_signals().room, "there is more in the store");
    assert!(!pick_all(&mut lanes, later).is_empty());
}

#[test]
fn an_endpoint_on_trial_fills_no_memory() {
    let now = Instant::now();
    let mut lanes = lanes(10, 10, 1_000);
    prove(&mut lanes, lane(1), now);
    let fill = |lanes: &mut Lanes, number| {
        let mut admitted = 0;
        while lanes.reserve(lane(number), 10, now) {
            admitted += 1;
        }
        admitted
    };
    let new: Vec<usize> = (1_000..2_000).map(|one| fill(&mut lanes, one)).collect();
    assert!(new[0] > 0 && new.iter().all(|count| *count <= 16));
    // Whatever the others hold, there is enough left for one that is well.
    let well = fill(&mut lanes, 1);
    assert!(well > 500, "{well}");
}

#[test]
fn one_endpoint_cannot_fill_the_memory_of_all() {
    let now = Instant::now();
    let mut lanes = lanes(10, 10, 100);
    prove(&mut lanes, lane(1), now);
    prove(&mut lanes, lane(2), now);
    let mut admitted = 0;
    while lanes.reserve(lane(1), 10, now) {
        admitted += 1;
    }
    assert_eq!(admitted, 1_024);
    assert!(lanes.reserve(lane(2), 10, now));
    assert!(!lanes.reserve(lane(3), 16 * 1024 * 1024, now));
    let wide = 1024 * 1024;
    let mut bytes = 0;
    while lanes.reserve(lane(2), wide, now) {
        bytes += wide;
    }
    assert!((1..=2 * wide).contains(&bytes), "{bytes} bytes of one lane");
}

#[test]
fn a_body_of_any_size_passes_alone() {
    let now = Instant::now();
    let mut lanes = lanes(10, 10, 10);
    assert!(lanes.reserve(lane(1), 64 * 1024 * 1024, now));
    assert!(!lanes.reserve(lane(2), 10, now));
}

#[test]
fn what_waits_for_too_long_leaves() {
    let now = Instant::now();
    let mut lanes = lanes(10, 1, 10);
    push(&mut lanes, lane(1), 3, now);
    assert!(lanes.pick(now).next.is_some());
    assert!(lanes.sweep(now).is_empty());
    let limit = crate::delivery::UNSENT_LIMIT;
    assert_eq!(lanes.sweep(now + limit).len(), 2);
    let empty_but_one = Load {
        queued: 0,
        in_flight: 1,
        breakers_open: 0,
    };
    assert_eq!(lanes.load(), empty_but_one);
}

#[test]
fn a_claimed_delivery_is_taken_once() {
    let now = Instant::now();
    let mut lanes = lanes(1, 1, 1);
    let claimed = leased(lane(1), 0, now);
    assert!(lanes.push_leased(claimed.clone(), now));
    assert!(!lanes.push_leased(claimed.clone(), now));
    assert_eq!(lanes.load().queued, 1);
    lanes.pick(now);
    assert!(!lanes.push_leased(claimed.clone(), now));
    assert_eq!(lanes.load().queued, 0);
    lanes.forget_leased(claimed.id);
    assert!(lanes.push_leased(claimed, now));
    assert_eq!(lanes.load().queued, 1);
}

#[test]
fn claims_keep_a_lane_supplied_and_no_more() {
    let now = Instant::now();
    let mut lanes = lanes(100, 10, 100);
    prove(&mut lanes, lane(1), now);
    let due = || [lane(1)].into_iter();
    let [first] = lanes.claimable(due(), 10_000, now).wanted[..] else {
        panic!("not one lane");
    };
    for _ in 0..first.count {
        assert!(lanes.push_leased(leased(lane(1), 0, now), now));
    }
    // Full, and the lane says when it can take more.
    assert_eq!(lanes.claimable(due(), 10_000, now).wanted, []);
    lanes.take_signals();
    let mut sent = 0;
    while !lanes.take_signals().room {
        for ticket in pick_all(&mut lanes, now) {
            lanes.finish(ticket, Some(true), now);
            sent += 1;
        }
    }
    assert!(sent <= first.count / 2 + 10, "{sent} of {}", first.count);
    let [second] = lanes.claimable(due(), 10_000, now).wanted[..] else {
        panic!("not one lane");
    };
    assert!(second.count >= first.count / 2 - 10);
    lanes.drained(due());
    for ticket in pick_all(&mut lanes, now) {
        lanes.finish(ticket, Some(true), now);
    }
    assert!(!lanes.take_signals().room, "the store has no more for it");
}

#[test]
fn what_an_endpoint_cannot_take_in_time_is_not_claimed_again_and_again() {
    let mut now = Instant::now();
    let mut lanes = lanes(100, 10, 100);
    prove(&mut lanes, lane(1), now);
    let mut claimed = Vec::new();
    for _ in 0..10 {
        let wanted = lanes.claimable([lane(1)].into_iter(), 10_000, now).wanted;
        let count = wanted.first().map_or(0, |one| one.count);
        claimed.push(count);
        for _ in 0..count {
            assert!(lanes.push_leased(leased(lane(1), 0, now), now));
        }
        // It takes two in that time.
        for ticket in (0..2)
            .filter_map(|_| lanes.pick(now).next)
            .collect::<Vec<_>>()
        {
            lanes.finish(ticket.1, Some(true), now);
        }
        now += crate::delivery::UNSENT_LIMIT;
        lanes.sweep(now);
    }
    assert!(claimed[0] > 100 && claimed[9] <= 6, "{claimed:?}");
    // When it is fast again it gets more.
    prove(&mut lanes, lane(1), now);
    for _ in 0..600 {
        push(&mut lanes, lane(1), 1, now);
        for ticket in pick_all(&mut lanes, now) {
            lanes.finish(ticket, Some(true), now);
        }
    }
    let wanted = lanes.claimable([lane(1)].into_iter(), 10_000, now).wanted;
    assert_eq!(wanted.first().map(|one| one.count), Some(claimed[0]));
}

#[derive(Clone, Debug)]
enum Step {
    Push(u128),
    Claim(u128, u32),
    Unreserve(u128),
    Pick,
    Slow(usize),
    Finish(usize, Option<bool>),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..4u128).prop_map(Step::Push),
        2 => (0..4u128, 0..3u32).prop_map(|(lane, attempts)| Step::Claim(lane, attempts)),
        1 => (0..4u128).prop_map(Step::Unreserve),
        4 => Just(Step::Pick),
        1 => (0..8usize).prop_map(Step::Slow),
        3 => (0..8usize, prop::option::weighted(0.9, prop::bool::weighted(0.7)))
            .prop_map(|(index, success)| Step::Finish(index, success)),
        1 => (0..40_000u64).prop_map(Step::Pass),
    ]
}

proptest! {
    /// Whatever happens, limits hold, nothing is lost and the counts come back to zero.
    #[test]
    fn counts_agree_with_what_is_there(steps in proptest::collection::vec(step(), 0..300)) {
        let mut now = Instant::now();
        let mut lanes = lanes(5, 2, 4);
        let paced = subscription(lane(3), "paced", Some(10));
        lanes.follow(&Arc::new(Snapshot::of(1, vec![paced])), now);
        let mut flying: Vec<Ticket> = Vec::new();
        let (mut entered, mut left) = (0, 0);
        for step in steps {
            match step {
                Step::Push(number) => if lanes.reserve(lane(number), 10, now) {
                    lanes.push(delivery(lane(number), now), now);
                    entered += 1;
                },
                Step::Claim(number, attempts) => {
                    prop_assert!(lanes.push_leased(leased(lane(number), attempts, now), now));
                    entered += 1;
                }
                Step::Unreserve(number) => if lanes.reserve(lane(number), 10, now) {
                    lanes.unreserve(lane(number), 10);
                },
                Step::Pick => {
                    let picked = lanes.pick(now);
                    left += picked.refused.len();
                    flying.extend(picked.next.map(|(_, ticket)| ticket));
                }
                Step::Slow(index) => if let Some(ticket) = flying.get_mut(index)
                    && !ticket.turned_slow
                {
                    lanes.slow_down(ticket, now);
                },
                Step::Finish(index, success) => if index < flying.len() {
                    lanes.finish(flying.remove(index), success, now);
                    left += 1;
                },
                Step::Pass(milliseconds) => {
                    now += Duration::from_millis(milliseconds);
                    lanes.wake(now);
                    left += lanes.sweep(now).len();
                }
            }
            prop_assert!(flying.len() <= 5 + 4);
            for number in 0..4 {
                let of_lane = flying.iter().filter(|ticket| ticket.lane == lane(number)).count();
                prop_assert!(of_lane <= 2);
            }
            let load = lanes.load();
            prop_assert_eq!(load.in_flight, flying.len());
            prop_assert_eq!(load.queued + load.in_flight + left, entered);
        }
        // What waits is sent, or turned away by a breaker, when the endpoints are well
        // again: no lane is forgotten in any of the places where lanes wait.
        for _ in 0..1_000 {
            while let Some(ticket) = flying.pop() {
                lanes.finish(ticket, Some(true), now);
                left += 1;
            }
            lanes.wake(now);
            loop {
                let picked = lanes.pick(now);
                left += picked.refused.len();
                match picked.next {
                    Some((_, ticket)) => flying.push(ticket),
                    None => break,
                }
            }
            if flying.is_empty() && lanes.load().queued == 0 {
                break;
            }
            now += Duration::from_millis(100);
        }
        prop_assert_eq!(lanes.load(), Load { breakers_open: lanes.load().breakers_open, ..Load::default() });
        prop_assert_eq!(left, entered);
        prop_assert_eq!(lanes.holdings, Holdings::default());
        prop_assert_eq!(lanes.budgets.free(Class::Fast), 5);
        prop_assert_eq!(lanes.budgets.free(Class::Slow), 3);
    }
}
