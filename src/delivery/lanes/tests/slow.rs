//! New endpoints, and those that turn slow.

use super::*;

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
