//! What is claimed from the store, and for whom.

use super::*;

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
