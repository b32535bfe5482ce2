//! The breaker by example, and that whatever happens it never sends two probes at once.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Fails the breaker until it opens; for how long it then is.
fn fail_until_open(breaker: &mut Breaker, now: Instant) -> Duration {
    for _ in 0..100 {
        if let Some(StateChange::Opened(length)) = breaker.record(now, now, false) {
            return length;
        }
    }
    panic!("100 failures did not open it");
}

#[test]
fn five_failures_in_a_row_open_it_four_do_not() {
    let now = Instant::now();
    let mut breaker = Breaker::new();
    for _ in 0..3 {
        for _ in 0..4 {
            assert_eq!(breaker.record(now, now, false), None);
        }
        // Enough successes to keep the share of failures below half.
        for _ in 0..8 {
            assert_eq!(breaker.record(now, now, true), None);
        }
    }
    for _ in 0..4 {
        assert_eq!(breaker.record(now, now, false), None);
    }
    let opened = StateChange::Opened(FIRST_OPEN);
    assert_eq!(breaker.record(now, now, false), Some(opened));
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[test]
fn timeouts_of_attempts_that_began_before_a_success_are_no_row() {
    let began = Instant::now();
    let mut breaker = Breaker::new();
    for _ in 0..20 {
        assert_eq!(breaker.record(began + SECOND, began, true), None);
    }
    for _ in 0..10 {
        assert_eq!(breaker.record(began + 2 * SECOND, began, false), None);
    }
    let later = began + 2 * SECOND;
    for _ in 0..4 {
        assert_eq!(breaker.record(later, later, false), None);
    }
    let opened = Some(StateChange::Opened(FIRST_OPEN));
    assert_eq!(breaker.record(later, later, false), opened);
}

#[test]
fn more_than_half_of_twenty_opens_it_but_not_what_is_old() {
    let start = Instant::now();
    // Fail, fail, succeed: two thirds fail and never five in a row.
    let results = |number: u32| number % 3 == 2;
    let mut breaker = Breaker::new();
    let opened_at = (0..100).find(|&n| breaker.record(start, start, results(n)).is_some());
    assert_eq!(
        opened_at,
        Some(WINDOW_RESULTS - 1),
        "a failure, the 20th result"
    );

    let mut breaker = Breaker::new();
    for number in 0..100 {
        let at = start + number * 5 * SECOND;
        assert_eq!(breaker.record(at, at, results(number)), None, "12 a minute");
    }

    let mut breaker = Breaker::new();
    for number in 0..100 {
        assert_eq!(
            breaker.record(start, start, number % 2 == 0),
            None,
            "exactly half"
        );
    }
}

#[test]
fn it_stays_open_twice_as_long_each_time_up_to_a_quarter_of_an_hour() {
    let mut now = Instant::now();
    let mut breaker = Breaker::new();
    let mut lengths = vec![fail_until_open(&mut breaker, now)];
    for _ in 0..40 {
        let length = *lengths.last().unwrap();
        let almost = now + length - Duration::from_nanos(1);
        assert_eq!(
            breaker.admit(almost, 0),
            Admission::Wait(Duration::from_nanos(1))
        );
        now += length;
        assert_eq!(breaker.admit(now, 0), Admission::Yes);
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        lengths.push(fail_until_open(&mut breaker, now));
    }
    let seconds: Vec<u64> = lengths.iter().map(Duration::as_secs).collect();
    assert_eq!(seconds[..8], [10, 20, 40, 80, 160, 320, 640, 900]);
    assert!(seconds[8..].iter().all(|&length| length == 900));
}

#[test]
fn after_a_probe_it_starts_slowly() {
    let mut now = Instant::now();
    let mut breaker = Breaker::new();
    now += fail_until_open(&mut breaker, now);
    assert_eq!(breaker.admit(now, 0), Admission::Yes);
    assert_eq!(breaker.admit(now, 1), Admission::Wait(RECHECK));
    assert_eq!(breaker.record(now, now, true), Some(StateChange::Closed));

    let admitted = |breaker: &mut Breaker| {
        (0..1000)
            .find(|&in_flight| breaker.admit(now, in_flight) != Admission::Yes)
            .unwrap_or(1000)
    };
    for limit in [1, 2, 4, 8] {
        assert_eq!(admitted(&mut breaker), limit);
        for _ in 0..limit {
            assert_eq!(breaker.record(now, now, true), None);
        }
    }
    assert_eq!(breaker.record(now, now, false), None);
    assert_eq!(admitted(&mut breaker), 1, "on trial");
    assert_eq!(breaker.record(now, now, true), None);
    assert_eq!(
        admitted(&mut breaker),
        8,
        "a failure halves what was earned"
    );
    for _ in 0..SLOW_START_END {
        assert_eq!(breaker.record(now, now, true), None);
    }
    assert_eq!(admitted(&mut breaker), 1000, "no limit of its own any more");
}

#[test]
fn one_at_a_time_until_a_success_where_it_is_new_failed_or_hangs() {
    let now = Instant::now();
    let mut breaker = Breaker::new();
    let state = |breaker: &Breaker| (breaker.on_trial(), breaker.limit());
    assert_eq!(state(&breaker), (true, 1));
    for limit in [2, 2, 4] {
        breaker.record(now, now, true);
        assert_eq!(state(&breaker), (false, limit));
    }
    breaker.suspect();
    assert_eq!(state(&breaker), (true, 1));
    breaker.record(now, now, true);
    assert_eq!(state(&breaker), (false, 4), "nothing is lost by being slow");
    breaker.record(now, now, false);
    assert_eq!(state(&breaker), (true, 1));
    breaker.record(now, now, true);
    assert_eq!(state(&breaker), (false, 2));
}

#[test]
fn a_calm_time_forgets_earlier_openings() {
    let mut now = Instant::now();
    let mut breaker = Breaker::new();
    for expected in [10, 20] {
        let length = fail_until_open(&mut breaker, now);
        assert_eq!(length.as_secs(), expected);
        now += length;
        assert_eq!(breaker.admit(now, 0), Admission::Yes);
        assert_eq!(breaker.record(now, now, true), Some(StateChange::Closed));
    }
    now += LONGEST_OPEN;
    assert_eq!(breaker.record(now, now, true), None);
    assert_eq!(fail_until_open(&mut breaker, now), FIRST_OPEN);
}

#[test]
fn attempts_from_before_the_opening_are_no_probe() {
    let mut now = Instant::now();
    let mut breaker = Breaker::new();
    now += fail_until_open(&mut breaker, now);
    assert_eq!(breaker.admit(now, 2), Admission::Wait(RECHECK));
    assert_eq!(breaker.record(now, now, true), None);
    assert_eq!(breaker.state(), BreakerState::Open);
    assert_eq!(breaker.admit(now, 0), Admission::Yes);
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
}

#[test]
fn a_probe_that_vanished_is_replaced() {
    let mut now = Instant::now();
    let mut breaker = Breaker::new();
    now += fail_until_open(&mut breaker, now);
    assert_eq!(breaker.admit(now, 0), Admission::Yes);
    assert_eq!(breaker.admit(now, 0), Admission::Yes);
    assert_eq!(breaker.record(now, now, true), Some(StateChange::Closed));
}

#[test]
fn a_probe_that_is_asked_for_is_admitted_at_once_and_makes_the_next_time_no_longer() {
    let now = Instant::now();
    let mut breaker = Breaker::new();
    breaker.ask_probe();
    assert_eq!(
        fail_until_open(&mut breaker, now),
        FIRST_OPEN,
        "closed: none"
    );
    assert_eq!(breaker.admit(now, 0), Admission::Wait(FIRST_OPEN));
    for _ in 0..3 {
        breaker.ask_probe();
        assert_eq!(breaker.admit(now, 1), Admission::Wait(RECHECK));
        assert_eq!(breaker.admit(now, 0), Admission::Yes);
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        let opened = StateChange::Opened(FIRST_OPEN);
        assert_eq!(breaker.record(now, now, false), Some(opened));
        assert_eq!(breaker.admit(now, 0), Admission::Wait(FIRST_OPEN));
    }
    // One that comes in its time counts.
    let later = now + FIRST_OPEN;
    assert_eq!(breaker.admit(later, 0), Admission::Yes);
    let opened = StateChange::Opened(2 * FIRST_OPEN);
    assert_eq!(breaker.record(later, later, false), Some(opened));
    breaker.ask_probe();
    assert_eq!(breaker.admit(later, 0), Admission::Yes);
    let closed = breaker.record(later, later, true);
    assert_eq!(closed, Some(StateChange::Closed));
}

#[test]
fn a_probe_that_is_asked_for_during_another_follows_it_where_it_fails() {
    let now = Instant::now();
    let mut breaker = Breaker::new();
    fail_until_open(&mut breaker, now);
    breaker.ask_probe();
    assert_eq!(breaker.admit(now, 0), Admission::Yes);
    breaker.ask_probe();
    assert_eq!(breaker.admit(now, 1), Admission::Wait(RECHECK));
    assert!(breaker.record(now, now, false).is_some());
    assert_eq!(breaker.admit(now, 0), Admission::Yes);
    breaker.ask_probe();
    let closed = breaker.record(now, now, true);
    assert_eq!(closed, Some(StateChange::Closed));
    assert!(!breaker.is_probe_asked(), "nothing is to be probed");
}

#[derive(Clone, Debug)]
enum Step {
    Ask,
    AskProbe,
    Finish { success: bool },
    Drop,
    Pass(Duration),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Ask),
        1 => Just(Step::AskProbe),
        3 => prop::bool::weighted(0.3).prop_map(|success| Step::Finish { success }),
        1 => Just(Step::Drop),
        2 => (0_u64..40_000).prop_map(|ms| Step::Pass(Duration::from_millis(ms))),
    ]
}

proptest! {
    #[test]
    fn whatever_happens(steps in prop::collection::vec(step(), 1..400)) {
        let mut now = Instant::now();
        let mut breaker = Breaker::new();
        let mut in_flight = 0_usize;
        let mut open_until = now;
        let mut asked = false;
        for step in steps {
            match step {
                Step::Ask => {
                    let open = breaker.state() == BreakerState::Open && now < open_until;
                    match breaker.admit(now, in_flight) {
                        Admission::Yes => {
                            prop_assert!(!open || asked, "sent while open");
                            asked = false;
                            in_flight += 1;
                        }
                        Admission::Wait(wait) => {
                            prop_assert!(wait > Duration::ZERO && wait <= LONGEST_OPEN);
                            let closed = breaker.state() == BreakerState::Closed;
                            prop_assert!(!closed || in_flight > 0, "nothing would wake it");
                        }
                    }
                }
                Step::AskProbe => {
                    breaker.ask_probe();
                    asked |= breaker.state() != BreakerState::Closed;
                }
                Step::Finish { success } if in_flight > 0 => {
                    if let Some(StateChange::Opened(length)) = breaker.record(now, now, success) {
                        prop_assert!(!success, "opened by a success");
                        prop_assert!(length >= FIRST_OPEN && length <= LONGEST_OPEN);
                        open_until = now + length;
                    }
                    in_flight -= 1;
                }
                Step::Drop if in_flight > 0 => in_flight -= 1,
                Step::Finish { .. } | Step::Drop => {}
                Step::Pass(time) => now += time,
            }
            asked &= breaker.state() != BreakerState::Closed;
            if breaker.state() == BreakerState::HalfOpen {
                prop_assert!(in_flight <= 1, "two probes at once");
            }
        }
        // An endpoint that is well again is always found so.
        now += LONGEST_OPEN;
        for _ in 0..2 * SLOW_START_END {
            prop_assert_eq!(breaker.admit(now, 0), Admission::Yes);
            breaker.record(now, now, true);
        }
        prop_assert_eq!(breaker.state(), BreakerState::Closed);
        prop_assert_eq!(breaker.admit(now, 10_000), Admission::Yes);
    }
}
