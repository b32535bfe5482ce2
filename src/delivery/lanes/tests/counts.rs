//! The counts after any sequence of steps.

use super::*;
use proptest::prelude::*;

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
