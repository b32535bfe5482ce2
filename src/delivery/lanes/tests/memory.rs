//! What may wait in memory, and for how long.

use super::*;

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
