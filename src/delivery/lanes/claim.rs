//! What the lanes can take of what waits for them in the store.

use std::time::{Duration, Instant};

use super::Lanes;
use super::memory;
use crate::delivery::Delivery;
use crate::event::{DeliveryId, SubscriptionId};

/// What may be claimed now.
#[derive(Debug, Default)]
pub struct Claimable {
    pub wanted: Vec<Wanted>,
    /// Bytes of bodies in all, and of one lane: the last of each may exceed them.
    pub bytes: usize,
    pub lane_bytes: usize,
    /// When the first of the breakers that are open will admit a probe.
    pub next_probe: Option<Duration>,
}

/// Requests for probes that were taken.
#[derive(Default)]
pub struct Asked {
    /// Those for subscriptions that this instance holds, or that are deleted.
    pub own: Vec<SubscriptionId>,
    /// Deliveries that waited in memory: to be returned to the store for so long.
    pub refused: Vec<(Delivery, Duration)>,
}

/// Deliveries of a subscription to claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub lane: SubscriptionId,
    pub count: usize,
}

impl Lanes {
    /// How many to claim for each of `due`, the lanes for which something is due in the
    /// store, first come first served; at most `limit` in all. Of those that take none
    /// now, [`take_signals`](Lanes::take_signals) will say when they do. What is another's is
    /// left to it.
    pub fn claimable(
        &mut self,
        due: impl Iterator<Item = SubscriptionId>,
        limit: usize,
        now: Instant,
    ) -> Claimable {
        let pool = self.holdings.leased;
        let mut claimable = Claimable {
            bytes: memory::free_bytes(&pool),
            lane_bytes: memory::share(memory::free_bytes(&pool)),
            ..Claimable::default()
        };
        let mut room = limit.min(memory::free(&pool));
        if claimable.bytes == 0 || self.draining {
            room = 0;
        }
        // Beyond what the budget can try, lanes on trial would only wait in memory.
        let mut on_trial = self.limits.slow_concurrency;
        on_trial = on_trial.saturating_sub(self.slow.turns.len());
        for id in due {
            if !self.serves(id) {
                continue;
            }
            let lane = self.lane(id, now);
            lane.has_stored = true;
            let probe = lane.breaker.open_for(now);
            claimable.next_probe = earlier(claimable.next_probe, probe);
            let mut count = lane.claimable(now).min(memory::share(memory::free(&pool)));
            if lane.holdings.leased.bytes >= claimable.lane_bytes {
                count = 0;
            }
            let tried = lane.breaker.on_trial();
            if count == 0 {
                continue;
            }
            if claimable.wanted.len() >= room || (tried && on_trial == 0) {
                self.starved = true;
                continue;
            }
            on_trial -= usize::from(tried);
            claimable.wanted.push(Wanted { lane: id, count });
        }
        share_out(&mut claimable.wanted, room);
        claimable
    }

    /// Users have retried or tested by hand: where the breaker is open, the delivery that is
    /// claimed next is the probe.
    pub fn ask_probes(&mut self, asked: Vec<SubscriptionId>, now: Instant) -> Asked {
        let (leases, snapshot) = (&self.leases, &self.snapshot);
        let own = |id: &SubscriptionId| leases.holds(*id) || snapshot.get(*id).is_none();
        let own: Vec<SubscriptionId> = asked.into_iter().filter(own).collect();
        let mut refused = Vec::new();
        for id in &own {
            let Some(lane) = self.lanes.get_mut(id) else {
                continue;
            };
            lane.breaker.ask_probe();
            // A delivery in memory would be sent before it.
            if lane.breaker.is_probe_asked() {
                let wait = lane.breaker.open_for(now).unwrap_or_default();
                refused.extend(lane.drain().map(|delivery| (delivery, wait)));
            }
        }
        self.leave(refused.iter().map(|(delivery, _)| delivery));
        Asked { own, refused }
    }

    /// Nothing more is due for these.
    pub fn drained(&mut self, ids: impl Iterator<Item = SubscriptionId>) {
        for id in ids {
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.has_stored = false;
            }
        }
    }

    /// Takes a claimed delivery; false where it is in memory already.
    pub fn push_leased(&mut self, delivery: Delivery, now: Instant) -> bool {
        if !self.leased.insert(delivery.id) {
            return false;
        }
        let bytes = delivery.body.len();
        self.holdings.leased.add(bytes);
        let lane = self.lane(delivery.subscription_id, now);
        lane.holdings.leased.add(bytes);
        self.push(delivery, now);
        true
    }

    /// The delivery's result is in the store; it may be claimed again.
    pub fn forget_leased(&mut self, id: DeliveryId) {
        self.leased.remove(&id);
    }

    /// Says so when a lane, or the memory, has room again for what waits in the store.
    pub(super) fn signal_room(&mut self, id: SubscriptionId, now: Instant) {
        let lane = self.lanes.get(&id);
        let lane = lane.is_some_and(|lane| lane.has_stored && lane.claimable(now) > 0);
        let memory = self.starved && memory::is_roomy(&self.holdings.leased);
        if memory {
            self.starved = false;
        }
        self.signals.room |= lane || memory;
    }
}

fn earlier(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Cuts what is wanted down to `room`: an equal part each, and what some leave of theirs
/// to the others in their order.
fn share_out(wanted: &mut [Wanted], room: usize) {
    let part = room / wanted.len().max(1);
    let mut left = room;
    for one in wanted.iter() {
        left -= one.count.min(part);
    }
    for one in wanted {
        let more = one.count.saturating_sub(part).min(left);
        left -= more;
        one.count = one.count.min(part) + more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn what_is_wanted_is_cut_down_equally_and_nothing_is_left_over() {
        for (wanted, room, expected) in [
            (vec![5, 5], 10, vec![5, 5]),
            (vec![512], 500, vec![500]),
            (vec![512, 3, 512], 300, vec![197, 3, 100]),
            (vec![1, 1, 1], 3, vec![1, 1, 1]),
            (vec![], 10, vec![]),
        ] {
            let lane = SubscriptionId(Uuid::nil());
            let mut cut: Vec<Wanted> = wanted.iter().map(|&count| Wanted { lane, count }).collect();
            share_out(&mut cut, room);
            let cut: Vec<usize> = cut.iter().map(|one| one.count).collect();
            assert_eq!(cut, expected, "{wanted:?} {room}");
        }
    }
}
