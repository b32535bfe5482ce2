//! Lanes: a queue, a limit and a breaker for each endpoint, so that one that hangs
//! or fails costs the others nothing. Pure but for the clock that is passed in.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::breaker::{Admission, Breaker, BreakerState, StateChange};
use super::{Delivery, Hold, UNSENT_LIMIT};
use crate::event::{DeliveryId, SubscriptionId};

/// Deliveries that wait in memory, all lanes together: at the rate that one process
/// reaches, more than a second's work. What does not fit stays in the store.
const MAX_QUEUED: usize = 16_384;

/// Bytes of bodies that wait in memory, so that large ones do not use it up.
const MAX_QUEUED_BYTES: usize = 16 * 1024 * 1024;

/// … and for one endpoint, so that a slow one cannot fill the memory of all.
const MAX_QUEUED_PER_LANE: usize = 1_024;

pub struct Lanes {
    limits: Limits,
    lanes: HashMap<SubscriptionId, Lane>,
    /// Lanes that may have something to send, each at most once: round robin.
    ring: VecDeque<SubscriptionId>,
    /// Queued or reserved.
    queued: usize,
    queued_bytes: usize,
    fast: usize,
    slow: usize,
    /// Claimed deliveries in memory, so that none is taken twice when its lease ends.
    leased: HashSet<DeliveryId>,
    draining: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub concurrency: usize,
    pub endpoint_concurrency: usize,
    pub slow_concurrency: usize,
}

struct Lane {
    queue: VecDeque<Delivery>,
    reserved: usize,
    in_flight: usize,
    in_ring: bool,
    breaker: Breaker,
    /// The breaker's state as the store knows it.
    reported: BreakerState,
}

impl Default for Lane {
    fn default() -> Self {
        Lane {
            queue: VecDeque::new(),
            reserved: 0,
            in_flight: 0,
            in_ring: false,
            breaker: Breaker::new(),
            reported: BreakerState::Closed,
        }
    }
}

/// What a look for work found.
#[derive(Default)]
pub struct Picked {
    pub next: Option<Delivery>,
    /// Turned away by an open breaker; back to the store for so long.
    pub refused: Vec<(Delivery, Duration)>,
}

/// What the lanes can take of what waits in the store.
pub struct Claimable {
    pub room: usize,
    /// Bytes of bodies, of which the last may exceed this.
    pub bytes: usize,
    /// Lanes that take none.
    pub full: Vec<SubscriptionId>,
}

/// How loaded the lanes are, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    pub queued: usize,
    pub in_flight: usize,
    pub breakers_open: usize,
}

impl Lanes {
    pub fn new(limits: Limits) -> Self {
        Lanes {
            limits,
            lanes: HashMap::new(),
            ring: VecDeque::new(),
            queued: 0,
            queued_bytes: 0,
            fast: 0,
            slow: 0,
            leased: HashSet::new(),
            draining: false,
        }
    }

    /// Makes room for a delivery of `bytes` that will be pushed; false where memory,
    /// or the endpoint's share of it, is full or its breaker is open.
    pub fn reserve(&mut self, lane: SubscriptionId, bytes: usize, now: Instant) -> bool {
        if self.draining
            || self.queued >= MAX_QUEUED
            // Alone, a body of any size passes: it would otherwise wait for ever.
            || (self.queued_bytes > 0 && self.queued_bytes + bytes > MAX_QUEUED_BYTES)
        {
            return false;
        }
        let lane = self.lanes.entry(lane).or_default();
        if lane.queue.len() + lane.reserved >= MAX_QUEUED_PER_LANE
            || lane.breaker.open_for(now).is_some()
        {
            return false;
        }
        lane.reserved += 1;
        self.queued += 1;
        self.queued_bytes += bytes;
        true
    }

    /// Gives a reservation back: the delivery did not come to be.
    pub fn unreserve(&mut self, lane: SubscriptionId, bytes: usize) {
        if let Some(lane) = self.lanes.get_mut(&lane) {
            lane.reserved = lane.reserved.saturating_sub(1);
        }
        self.queued = self.queued.saturating_sub(1);
        self.queued_bytes = self.queued_bytes.saturating_sub(bytes);
    }

    /// Puts a delivery that has a reservation into its lane.
    pub fn push(&mut self, delivery: Delivery) {
        let id = delivery.subscription_id;
        let lane = self.lanes.entry(id).or_default();
        lane.reserved = lane.reserved.saturating_sub(1);
        lane.queue.push_back(delivery);
        self.enlist(id);
    }

    /// Takes a claimed delivery, or gives it back where there is no room. One that is in
    /// memory already stays there once.
    pub fn push_leased(&mut self, delivery: Delivery, now: Instant) -> Option<Delivery> {
        if self.leased.contains(&delivery.id) {
            return None;
        }
        if !self.reserve(delivery.subscription_id, delivery.body.len(), now) {
            return Some(delivery);
        }
        self.leased.insert(delivery.id);
        self.push(delivery);
        None
    }

    /// A claimed delivery's result is in the store: it may be claimed again.
    pub fn forget_leased(&mut self, id: DeliveryId) {
        self.leased.remove(&id);
    }

    /// What may be claimed now. Half of the memory is left to first attempts.
    pub fn claimable(&self, now: Instant) -> Claimable {
        let bytes = (MAX_QUEUED_BYTES / 2).saturating_sub(self.queued_bytes);
        let room = match self.draining || bytes == 0 {
            true => 0,
            false => (MAX_QUEUED / 2).saturating_sub(self.queued),
        };
        let full = self.lanes.iter().filter(|(_, lane)| {
            lane.queue.len() + lane.reserved >= MAX_QUEUED_PER_LANE / 2
                || lane.breaker.open_for(now).is_some()
        });
        let full = full.map(|(id, _)| *id).collect();
        Claimable { room, bytes, full }
    }

    /// The next delivery that may be sent now, counted as in flight from here on.
    pub fn pick(&mut self, now: Instant) -> Picked {
        let mut picked = Picked::default();
        while !self.draining && self.fast < self.limits.concurrency {
            let Some(id) = self.ring.pop_front() else {
                break;
            };
            let Some(lane) = self.lanes.get_mut(&id) else {
                continue;
            };
            lane.in_ring = false;
            if lane.queue.is_empty() || lane.in_flight >= self.limits.endpoint_concurrency {
                continue;
            }
            match lane.breaker.admit(now, lane.in_flight) {
                Admission::Yes => {
                    let Some(delivery) = lane.queue.pop_front() else {
                        continue;
                    };
                    lane.in_flight += 1;
                    self.fast += 1;
                    self.queued = self.queued.saturating_sub(1);
                    self.queued_bytes = self.queued_bytes.saturating_sub(delivery.body.len());
                    self.enlist(id);
                    picked.next = Some(delivery);
                    break;
                }
                Admission::Wait(wait) if lane.breaker.open_for(now).is_some() => {
                    let refused: Vec<_> = lane.queue.drain(..).collect();
                    for delivery in refused {
                        self.leave(&delivery);
                        picked.refused.push((delivery, wait));
                    }
                }
                // The probe or the slow start decides: its result brings the lane back.
                Admission::Wait(_) => {}
            }
        }
        picked
    }

    /// Takes what has waited for too long, and brings back lanes that wait for time.
    pub fn sweep(&mut self, now: Instant) -> Vec<Delivery> {
        let mut stale = Vec::new();
        let ids: Vec<SubscriptionId> = self.lanes.keys().copied().collect();
        for id in ids {
            let Some(lane) = self.lanes.get_mut(&id) else {
                continue;
            };
            let unsent = |delivery: &Delivery| now - delivery.queued_at >= UNSENT_LIMIT;
            while lane.queue.front().is_some_and(unsent) {
                stale.extend(lane.queue.pop_front());
            }
            self.enlist(id);
        }
        for delivery in &stale {
            self.leave(delivery);
        }
        stale
    }

    /// An attempt has run for long: it moves to the slow budget if there is room.
    pub fn slow_down(&mut self) -> bool {
        let room = self.slow < self.limits.slow_concurrency;
        if room {
            self.slow += 1;
            self.fast = self.fast.saturating_sub(1);
        }
        room
    }

    /// An attempt is over. `success` is none where it says nothing of the endpoint.
    pub fn finish(
        &mut self,
        id: SubscriptionId,
        slow: bool,
        success: Option<bool>,
        now: Instant,
    ) -> Option<StateChange> {
        let budget = if slow { &mut self.slow } else { &mut self.fast };
        *budget = budget.saturating_sub(1);
        let lane = self.lanes.get_mut(&id)?;
        // The breaker takes a probe that left without a result for one that vanished,
        // so the result comes first.
        let change = success.and_then(|success| lane.breaker.record(now, success));
        lane.in_flight = lane.in_flight.saturating_sub(1);
        self.enlist(id);
        change
    }

    /// The breakers whose state has changed since this was last asked.
    pub fn breaker_changes(&mut self) -> Vec<(SubscriptionId, BreakerState)> {
        let changed = self.lanes.iter_mut().filter_map(|(id, lane)| {
            let state = lane.breaker.state();
            (std::mem::replace(&mut lane.reported, state) != state).then_some((*id, state))
        });
        changed.collect()
    }

    /// Stops giving out work and hands over everything that waits.
    pub fn drain(&mut self) -> Vec<Delivery> {
        self.draining = true;
        let waiting: Vec<Delivery> = self
            .lanes
            .values_mut()
            .flat_map(|lane| lane.queue.drain(..))
            .collect();
        for delivery in &waiting {
            self.leave(delivery);
        }
        waiting
    }

    /// Forgets idle lanes of subscriptions that are gone.
    pub fn retain(&mut self, exists: impl Fn(SubscriptionId) -> bool) {
        self.lanes.retain(|id, lane| {
            exists(*id) || lane.in_flight > 0 || lane.reserved > 0 || !lane.queue.is_empty()
        });
    }

    pub fn load(&self) -> Load {
        let open = |lane: &&Lane| lane.breaker.state() == BreakerState::Open;
        Load {
            queued: self.queued,
            in_flight: self.fast + self.slow,
            breakers_open: self.lanes.values().filter(open).count(),
        }
    }

    /// A delivery leaves memory without an attempt.
    fn leave(&mut self, delivery: &Delivery) {
        self.queued = self.queued.saturating_sub(1);
        self.queued_bytes = self.queued_bytes.saturating_sub(delivery.body.len());
        debug_assert!(delivery.hold == Hold::Owned || self.leased.contains(&delivery.id));
    }

    fn enlist(&mut self, id: SubscriptionId) {
        if let Some(lane) = self.lanes.get_mut(&id)
            && !lane.in_ring
            && !lane.queue.is_empty()
            && lane.in_flight < self.limits.endpoint_concurrency
        {
            lane.in_ring = true;
            self.ring.push_back(id);
        }
    }
}

#[cfg(test)]
mod tests;
