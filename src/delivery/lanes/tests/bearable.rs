//! What is in flight follows what the machine has time for.

use super::*;

const LIMITS: Limits = Limits {
    concurrency: 64,
    endpoint_concurrency: 64,
    slow_concurrency: 8,
    at_hand: 4,
};

#[test]
fn what_waits_for_endpoints_may_be_as_much_as_is_configured() {
    let now = Instant::now();
    let mut lanes = lanes_within(LIMITS);
    prove(&mut lanes, lane(1), now);
    push(&mut lanes, lane(1), 60, now);
    let mut flying = pick_all(&mut lanes, now);
    assert_eq!(flying.len(), 4);
    assert!(lanes.take_signals().crowded);
    // No measure finds one that waits here.
    for expected in [8, 12, 16] {
        assert!(lanes.bear(0.0));
        flying.extend(pick_all(&mut lanes, now));
        assert_eq!(flying.len(), expected);
    }
    for _ in 0..20 {
        lanes.bear(0.0);
        flying.extend(pick_all(&mut lanes, now));
    }
    assert_eq!(flying.len(), 43, "twice what it leaves free");
}

#[test]
fn what_waits_here_is_not_added_to() {
    let now = Instant::now();
    let mut lanes = lanes_within(LIMITS);
    for number in 1..=20 {
        prove(&mut lanes, lane(number), now);
    }
    for number in 1..=20 {
        push(&mut lanes, lane(number), 2, now);
    }
    let mut flying = pick_all(&mut lanes, now);
    assert_eq!(flying.len(), 4);
    assert!(lanes.pick(now).is_busy, "it is no endpoint that is slow");
    assert!(lanes.bear(4.0));
    assert!(pick_all(&mut lanes, now).is_empty());
    // Two of them wait for their endpoints.
    lanes.bear(2.0);
    flying.extend(pick_all(&mut lanes, now));
    assert_eq!(flying.len(), 6);
    // Never fewer than keep the machine at work, however long its turns take.
    lanes.bear(100.0);
    assert!(pick_all(&mut lanes, now).is_empty());
    while let Some(ticket) = flying.pop() {
        lanes.finish(ticket, Some(true), now);
        if flying.len() < 4 {
            break;
        }
    }
    assert_eq!(pick_all(&mut lanes, now).len(), 1);
}

#[test]
fn a_machine_that_is_at_rest_is_not_measured() {
    let now = Instant::now();
    let mut lanes = lanes_within(LIMITS);
    prove(&mut lanes, lane(1), now);
    lanes.take_signals();
    push(&mut lanes, lane(1), 2, now);
    let flying = pick_all(&mut lanes, now);
    assert_eq!(flying.len(), 2);
    assert!(!lanes.take_signals().crowded);
    assert!(!lanes.bear(0.0));
}
