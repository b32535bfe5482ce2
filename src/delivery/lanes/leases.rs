//! Which subscriptions this instance sends to. The others are another's, or nobody's yet:
//! what comes of theirs goes to the store.

use super::Lanes;
use super::memory::Holdings;
use crate::delivery::Delivery;
use crate::delivery::breaker::BreakerState;
use crate::event::{IdSet, SubscriptionId};

#[derive(Default)]
pub(super) struct Leases {
    held: IdSet<SubscriptionId>,
    /// To be given back once nothing of theirs is in memory.
    leaving: IdSet<SubscriptionId>,
}

impl Leases {
    /// Not those that are to be given back.
    pub(super) fn holds(&self, id: SubscriptionId) -> bool {
        self.held.contains(&id)
    }

    /// Also those that are not given back yet.
    pub(super) fn has(&self, id: SubscriptionId) -> bool {
        self.held.contains(&id) || self.leaving.contains(&id)
    }
}

impl Lanes {
    /// Takes over which leases the store says this instance has; answers whether there
    /// are new ones among them. Those that are to be given back are not taken up again.
    pub fn hold(&mut self, leased: impl Iterator<Item = SubscriptionId>) -> bool {
        let Leases { held, leaving } = &mut self.leases;
        let leased: IdSet<SubscriptionId> = leased.filter(|id| !leaving.contains(id)).collect();
        let gained = leased.iter().any(|id| !held.contains(id));
        *held = leased;
        gained
    }

    /// How many active subscriptions it holds.
    pub fn held(&self) -> usize {
        self.active().count()
    }

    /// Sends no more for so many of the active subscriptions; hands over what waits of
    /// theirs. First those for which nothing is under way and whose endpoint is well: what
    /// is known of one that is not would be lost.
    pub fn let_go(&mut self, count: usize) -> Vec<Delivery> {
        let mut active: Vec<SubscriptionId> = self.active().collect();
        active.sort_by_cached_key(|id| {
            let lane = self.lanes.get(id);
            let state = lane.map_or(BreakerState::Closed, |lane| lane.breaker.state());
            let waiting = lane.is_some_and(|lane| lane.holdings != Holdings::default());
            let under_way = lane.map_or(0, |lane| lane.in_flight);
            (under_way, waiting, state != BreakerState::Closed, *id)
        });
        active.truncate(count);
        let mut waiting = Vec::new();
        for id in active {
            self.leases.held.remove(&id);
            self.leases.leaving.insert(id);
            if let Some(lane) = self.lanes.get_mut(&id) {
                waiting.extend(lane.drain());
            }
        }
        self.leave(waiting.iter());
        waiting
    }

    /// Those to be given back of whom nothing is in memory any more.
    pub fn let_gone(&self) -> Vec<SubscriptionId> {
        let leaving = self.leases.leaving.iter().copied();
        leaving.filter(|id| self.is_empty(*id)).collect()
    }

    /// Another may have these now. What was known of their endpoints is forgotten.
    pub fn given_back(&mut self, ids: &[SubscriptionId]) {
        for id in ids {
            self.leases.leaving.remove(id);
            self.lanes.remove(id);
        }
    }

    /// Whether this instance may send to it, and so take deliveries over in memory. One that
    /// cannot be read is not sent to: what comes of it waits in the store.
    pub(super) fn holds(&self, id: SubscriptionId) -> bool {
        let subscription = self.snapshot.get(id);
        self.leases.held.contains(&id) && subscription.is_none_or(|one| one.unreadable.is_none())
    }

    /// Whether what waits of it in the store is this instance's to settle. Nothing is sent
    /// to a subscription that is not active or not there: anybody may say so.
    pub fn serves(&self, id: SubscriptionId) -> bool {
        let subscription = self.snapshot.get(id);
        self.holds(id) || subscription.is_none_or(|subscription| !subscription.active)
    }

    /// Says so when the last of a lane that is to be given back has left memory.
    pub(super) fn signal_let_gone(&mut self, id: SubscriptionId) {
        self.signals.let_gone |= self.leases.leaving.contains(&id) && self.is_empty(id);
    }

    fn active(&self) -> impl Iterator<Item = SubscriptionId> {
        let held = self.leases.held.iter().copied();
        held.filter(|id| self.snapshot.get(*id).is_some_and(|one| one.active))
    }

    fn is_empty(&self, id: SubscriptionId) -> bool {
        let lane = self.lanes.get(&id);
        lane.is_none_or(|lane| lane.in_flight == 0 && lane.holdings == Holdings::default())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::tests::{delivery, lane, lanes, leased, subscription};
    use super::*;
    use crate::subscription::directory::Snapshot;
    use std::sync::Arc;

    /// Holds the first of these subscriptions.
    fn holding(held: u128, of: u128) -> Lanes {
        let mut lanes = lanes(8, 4, 8);
        let all = (0..of).map(|number| subscription(lane(number), "t", None));
        let snapshot = Arc::new(Snapshot::of(1, all.collect()));
        lanes.follow(&snapshot, Instant::now());
        lanes.hold((0..held).map(lane));
        lanes
    }

    #[test]
    fn what_is_anothers_is_neither_taken_over_nor_claimed_nor_sent() {
        let now = Instant::now();
        let mut lanes = holding(1, 2);
        assert!(lanes.reserve(lane(0), 10, now) && !lanes.reserve(lane(1), 10, now));
        let claimable = lanes.claimable([lane(0), lane(1), lane(7)].into_iter(), 10, now);
        let wanted: Vec<_> = claimable.wanted.iter().map(|one| one.lane).collect();
        assert_eq!(
            wanted,
            [lane(0), lane(7)],
            "what is due to nobody is anybody's"
        );
        // It was claimed before it was given away.
        lanes.push_leased(leased(lane(1), 1, now), now);
        let picked = lanes.pick(now);
        assert!(picked.next.is_none());
        assert_eq!(picked.refused[0].0.subscription_id, lane(1));
        assert_eq!(lanes.load().queued, 1, "the reserved one");
    }

    #[test]
    fn a_lease_can_be_given_back_once_nothing_is_in_memory() {
        let now = Instant::now();
        let mut lanes = holding(2, 2);
        for _ in 0..2 {
            assert!(lanes.reserve(lane(0), 10, now));
            lanes.push(delivery(lane(0), now), now);
        }
        let (_, ticket) = lanes.pick(now).next.unwrap();
        assert!(lanes.reserve(lane(0), 10, now));
        // The idle one goes first.
        assert!(lanes.let_go(1).is_empty());
        assert_eq!((lanes.let_gone(), lanes.held()), (vec![lane(1)], 1));
        lanes.given_back(&[lane(1)]);
        let waiting = lanes.let_go(usize::MAX);
        assert_eq!((waiting.len(), lanes.held()), (1, 0));
        // The store still says that it is ours.
        assert!(!lanes.hold([lane(0)].into_iter()));
        assert!(lanes.let_gone().is_empty());
        lanes.finish(ticket, Some(true), now);
        assert!(lanes.let_gone().is_empty() && !lanes.take_signals().let_gone);
        lanes.unreserve(lane(0), 10);
        assert!(lanes.take_signals().let_gone);
        assert_eq!(lanes.let_gone(), [lane(0)]);
        lanes.given_back(&[lane(0)]);
        assert!(lanes.hold([lane(0)].into_iter()), "and later it comes back");
    }
}
