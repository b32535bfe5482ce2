//! Rate limits and breakers.

use super::*;
use crate::delivery::cause::Trigger;

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

/// Whatever changes, of this subscription or of another, one that waits goes on waiting.
#[test]
fn what_waits_by_its_rate_goes_on_waiting_when_subscriptions_change() {
    let now = Instant::now();
    let mut lanes = lanes(100, 100, 100);
    let of = |generation, rate, others: u128| {
        let mut all = vec![subscription(lane(1), "acme", Some(rate))];
        all.extend((0..others).map(|other| subscription(lane(2 + other), "globex", Some(1))));
        Arc::new(Snapshot::of(generation, all))
    };
    lanes.follow(&of(1, 1, 1), now);
    for lane_of in [lane(1), lane(2)] {
        push(&mut lanes, lane_of, 2, now);
    }
    for ticket in pick_all(&mut lanes, now) {
        lanes.finish(ticket, Some(true), now);
    }
    assert_eq!(lanes.next_wake(), Some(now + SECOND));
    for (generation, others) in [(2, 1), (3, 2), (4, 1)] {
        lanes.follow(&of(generation, 1, others), now);
        assert_eq!(lanes.next_wake(), Some(now + SECOND), "{generation}");
    }
    lanes.follow(&of(5, 2, 0), now);
    let later = now + 2 * SECOND;
    lanes.wake(later);
    let sent = pick_all(&mut lanes, later);
    assert!(sent.iter().any(|ticket| ticket.lane == lane(1)));
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
    let (sent, ticket) = lanes.pick(later).next.expect("one probe");
    assert_eq!(sent.cause.trigger, Trigger::Probe);
    assert!(lanes.pick(later).next.is_none(), "one probe");
    assert_eq!(probe(&mut lanes), []);
    lanes.take_signals();
    lanes.finish(ticket, Some(true), later);
    assert!(lanes.take_signals().room, "there is more in the store");
    assert!(!pick_all(&mut lanes, later).is_empty());
}

#[test]
fn what_is_asked_for_by_hand_alone_is_the_probe_of_an_open_breaker() {
    let now = Instant::now();
    let mut lanes = lanes(100, 32, 100);
    let ask = |lanes: &mut Lanes| lanes.ask_probes(vec![lane(1), lane(HELD + 1)], now);
    prove(&mut lanes, lane(1), now);
    push(&mut lanes, lane(1), 5, now);
    let flying = pick_all(&mut lanes, now);
    push(&mut lanes, lane(1), 3, now);
    for ticket in flying {
        lanes.finish(ticket, Some(false), now);
    }
    // What waits in memory goes back, and nothing new comes before the claim.
    let asked = ask(&mut lanes);
    assert_eq!(asked.own, [lane(1), lane(HELD + 1)], "or deleted");
    assert_eq!(asked.refused.len(), 3);
    assert!(!lanes.reserve(lane(1), 10, now));
    assert!(pick_all(&mut lanes, now).is_empty());
    let wanted = |lanes: &mut Lanes| lanes.claimable([lane(1)].into_iter(), 100, now).wanted;
    let [Wanted { count: 1, .. }] = wanted(&mut lanes)[..] else {
        panic!("not one");
    };
    assert!(lanes.push_leased(leased(lane(1), 1, now), now));
    let mut flying = pick_all(&mut lanes, now);
    assert_eq!(flying.len(), 1);
    // Asked again meanwhile: once that has failed.
    assert!(ask(&mut lanes).refused.is_empty());
    assert!(!lanes.reserve(lane(1), 10, now));
    assert_eq!(wanted(&mut lanes), []);
    assert!(lanes.finish(flying.remove(0), Some(false), now).is_some());
    assert_eq!(wanted(&mut lanes).len(), 1);
    assert!(lanes.push_leased(leased(lane(1), 1, now), now));
    let mut flying = pick_all(&mut lanes, now);
    lanes.finish(flying.remove(0), Some(true), now);
    assert!(lanes.reserve(lane(1), 10, now), "closed");
}
