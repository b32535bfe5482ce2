//! Random interleavings of all that happens to lanes: each ends, nothing is lost or doubled, no
//! limit is passed, and what waits is sent once nothing stands in its way.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

/// Lanes, of three tenants.
const LANES: u128 = 5;
const CONCURRENCY: usize = 6;
const ENDPOINT_CONCURRENCY: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    Push(u128),
    Pick,
    /// One of those in flight ends, well or not, or is broken off.
    Finish(usize, Option<bool>),
    Wait(u64),
    Wake,
    Sweep,
    /// The subscriptions change: the rate limits of the lanes, and which are gone.
    Follow(Vec<Option<u32>>, u128),
    Retain,
}

fn step() -> impl Strategy<Value = Step> {
    let rates = proptest::collection::vec(
        prop_oneof![Just(None), Just(Some(1)), Just(Some(3)), Just(Some(10_000))],
        LANES as usize,
    );
    prop_oneof![
        8 => (0..LANES).prop_map(Step::Push),
        8 => Just(Step::Pick),
        6 => (0..8_usize, prop_oneof![4 => Just(Some(true)), 2 => Just(Some(false)), 1 => Just(None)])
            .prop_map(|(which, how)| Step::Finish(which, how)),
        3 => (0..3_000_u64).prop_map(Step::Wait),
        3 => Just(Step::Wake),
        1 => Just(Step::Sweep),
        2 => (rates, 0..LANES + 4).prop_map(|(rates, gone)| Step::Follow(rates, gone)),
        1 => Just(Step::Retain),
    ]
}

struct Model {
    lanes: Lanes,
    now: Instant,
    generation: u64,
    flying: Vec<(DeliveryId, Ticket)>,
    /// What waits in memory.
    waiting: HashSet<DeliveryId>,
}

impl Model {
    fn push(&mut self, number: u128) {
        let to = lane(number);
        if self.lanes.reserve(to, 10, self.now) {
            let delivery = delivery(to, self.now);
            assert!(self.waiting.insert(delivery.id));
            self.lanes.push(delivery, self.now);
        }
    }

    fn pick(&mut self) -> bool {
        let picked = self.lanes.pick(self.now);
        for (delivery, _) in &picked.refused {
            assert!(self.waiting.remove(&delivery.id), "given back twice");
        }
        let Some((delivery, ticket)) = picked.next else {
            return false;
        };
        assert!(self.waiting.remove(&delivery.id), "sent twice");
        self.flying.push((delivery.id, ticket));
        let of_lane = |id| self.flying.iter().filter(|(_, one)| one.lane == id).count();
        assert!(of_lane(delivery.subscription_id) <= ENDPOINT_CONCURRENCY);
        true
    }

    fn finish(&mut self, which: usize, how: Option<bool>) {
        if which < self.flying.len() {
            let (_, ticket) = self.flying.remove(which);
            self.lanes.finish(ticket, how, self.now);
        }
    }

    fn follow(&mut self, rates: &[Option<u32>], gone: u128) {
        self.generation += 1;
        let there = (0..LANES).zip(rates).filter(|(number, _)| *number != gone);
        let all = there
            .map(|(number, rate)| subscription(lane(number), &format!("t{}", number % 3), *rate));
        let snapshot = Snapshot::of(self.generation.try_into().unwrap(), all.collect());
        self.lanes.follow(&Arc::new(snapshot), self.now);
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Push(number) => self.push(*number),
            Step::Pick => {
                self.pick();
            }
            Step::Finish(which, how) => self.finish(*which, *how),
            Step::Wait(milliseconds) => self.now += Duration::from_millis(*milliseconds),
            Step::Wake => self.lanes.wake(self.now),
            Step::Sweep => {
                for delivery in self.lanes.sweep(self.now) {
                    assert!(self.waiting.remove(&delivery.id), "swept twice");
                }
            }
            Step::Follow(rates, gone) => self.follow(rates, *gone),
            Step::Retain => self.lanes.retain(),
        }
        let load = self.lanes.load();
        assert_eq!(load.in_flight, self.flying.len());
        assert_eq!(load.queued, self.waiting.len());
    }

    /// Endpoints answer well from now on, and time goes by.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            while !self.flying.is_empty() {
                self.finish(0, Some(true));
            }
            if self.pick() {
                continue;
            }
            if self.waiting.is_empty() {
                return;
            }
            self.now += Duration::from_millis(500);
            self.lanes.wake(self.now);
            self.apply(&Step::Sweep);
        }
        panic!("{} wait for ever", self.waiting.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_happens_ends_and_loses_nothing(steps in proptest::collection::vec(step(), 1..120)) {
        let limits = Limits {
            concurrency: CONCURRENCY,
            endpoint_concurrency: ENDPOINT_CONCURRENCY,
            slow_concurrency: 2,
            at_hand: usize::MAX,
        };
        let mut model = Model {
            lanes: lanes_within(limits),
            now: Instant::now(),
            generation: 0,
            flying: Vec::new(),
            waiting: HashSet::new(),
        };
        for step in &steps {
            model.apply(step);
        }
        model.settle();
    }
}
