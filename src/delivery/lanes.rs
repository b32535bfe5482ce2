//! Lanes: a queue, limits and a breaker for each endpoint, so that one that hangs or
//! fails costs the others nothing. Pure but for the clock that is passed in.
//!
//! What may be in flight is paid out of two budgets. An endpoint that answers is paid by
//! the first; one on trial (new, failing, or with an attempt that hangs) has one attempt
//! at a time, paid by the second, where attempts that turn slow move too. Within a
//! budget tenants take turns, then their endpoints, and none gets more than twice what
//! it leaves free.

use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::breaker::{Admission, BreakerState};
use super::{Delivery, Hold};
use crate::event::{DeliveryId, IdMap, IdSet, SubscriptionId};
use crate::subscription::directory::Snapshot;

mod budget;
mod claim;
mod flight;
mod lane;
mod leases;
mod memory;
mod pacer;
mod turns;

use budget::{Budgets, Class};
pub use claim::{Asked, Claimable, Wanted};
pub use flight::Ticket;
use lane::{Lane, Place};
use leases::Leases;
use memory::{Holdings, admits};
use turns::Turns;

pub struct Lanes {
    limits: Limits,
    snapshot: Arc<Snapshot>,
    leases: Leases,
    lanes: IdMap<SubscriptionId, Lane>,
    fast: Waiting,
    slow: Waiting,
    /// Lanes whose rate limit holds them back, by when.
    paced: BinaryHeap<std::cmp::Reverse<(Instant, SubscriptionId)>>,
    budgets: Budgets,
    holdings: Holdings,
    /// Claimed deliveries in memory, so that none is taken twice when its lease ends.
    leased: IdSet<DeliveryId>,
    /// A claim was cut short for want of memory.
    starved: bool,
    signals: Signals,
    draining: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub concurrency: usize,
    pub endpoint_concurrency: usize,
    pub slow_concurrency: usize,
    /// Attempts that may wait for this machine's time, rather than for an endpoint: see
    /// [`Lanes::bear`].
    pub at_hand: usize,
}

/// Lanes that wait for one budget.
#[derive(Default)]
struct Waiting {
    turns: Turns,
    /// Those who have their share of it, and those who have but retries. A lane that
    /// waits there no longer is passed over when its turn comes.
    held: VecDeque<SubscriptionId>,
    held_retries: VecDeque<SubscriptionId>,
}

/// What has changed for those who wait on the lanes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// A lane can take what waits for it in the store.
    pub room: bool,
    /// A lane is to be woken sooner than any before: see [`Lanes::next_wake`].
    pub timer: bool,
    /// A subscription can be given back: see [`Lanes::let_gone`].
    pub let_gone: bool,
    /// So much is in flight that it may be more than the machine has time for, which is to
    /// be measured: see [`Lanes::bear`].
    pub crowded: bool,
}

/// What a look for work found.
#[derive(Default)]
pub struct Picked {
    pub next: Option<(Delivery, Ticket)>,
    /// Turned away by an open breaker, or of a subscription that is another's; back to the
    /// store for so long.
    pub refused: Vec<(Delivery, Duration)>,
    /// Something waits that could be sent, but as much as may be is in flight.
    pub is_busy: bool,
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
            snapshot: Arc::default(),
            leases: Leases::default(),
            lanes: IdMap::default(),
            fast: Waiting::default(),
            slow: Waiting::default(),
            paced: BinaryHeap::new(),
            budgets: Budgets::new(&limits),
            holdings: Holdings::default(),
            leased: IdSet::default(),
            starved: false,
            signals: Signals::default(),
            draining: false,
        }
    }

    /// Takes over whose subscriptions there are and their rate limits.
    pub fn follow(&mut self, snapshot: &Arc<Snapshot>, now: Instant) {
        if self.snapshot.generation == snapshot.generation {
            return;
        }
        self.snapshot = Arc::clone(snapshot);
        for (id, lane) in &mut self.lanes {
            let subscription = snapshot.get(*id);
            lane.pace(subscription.and_then(|one| one.rate_limit), now);
        }
        // Each lane that waits by a former rate once: enlisting may put it back into the heap.
        for std::cmp::Reverse((_, id)) in std::mem::take(&mut self.paced) {
            self.revive(id, Place::Paced, now);
        }
    }

    /// Makes room for a delivery of `bytes` that will be pushed; false where memory,
    /// or the endpoint's share of it, is full, its breaker is open or another sends to it.
    pub fn reserve(&mut self, id: SubscriptionId, bytes: usize, now: Instant) -> bool {
        if !self.holds(id) {
            return false;
        }
        let pool = self.holdings.owned;
        let draining = self.draining;
        let lane = self.lane(id, now);
        let held = lane.holdings.owned;
        // Endpoints on trial have half of the memory, whatever their number.
        let crowded = lane.breaker.on_trial() && !memory::is_roomy(&pool);
        let full = held.count >= lane.capacity(now) || !admits(&pool, &held, bytes);
        if draining || crowded || full {
            return false;
        }
        lane.holdings.owned.add(bytes);
        self.holdings.owned.add(bytes);
        true
    }

    /// Gives a reservation back: the delivery did not come to be.
    pub fn unreserve(&mut self, id: SubscriptionId, bytes: usize) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.holdings.owned.remove(bytes);
        }
        self.holdings.owned.remove(bytes);
        self.signal_let_gone(id);
    }

    /// Puts a delivery that has a reservation into its lane.
    pub fn push(&mut self, delivery: Delivery, now: Instant) {
        let id = delivery.subscription_id;
        let lane = self.lane(id, now);
        lane.push(delivery);
        if matches!(lane.place, Place::HeldRetries(_)) && lane.has_first() {
            lane.place = Place::Idle;
        }
        self.enlist(id, now);
    }

    /// The next delivery that may be sent now, counted as in flight from here on.
    pub fn pick(&mut self, now: Instant) -> Picked {
        let mut picked = Picked::default();
        for class in [Class::Fast, Class::Slow] {
            while !self.draining && self.budgets.free(class) > 0 {
                let Some(id) = self.waiting(class).turns.pop() else {
                    break;
                };
                picked.next = self.start(id, class, now, &mut picked.refused);
                if picked.next.is_some() {
                    return picked;
                }
            }
        }
        picked.is_busy = self.budgets.is_used_up() && !self.fast.turns.is_empty();
        picked
    }

    /// Starts the next attempt of a lane whose turn it is, if it may.
    fn start(
        &mut self,
        id: SubscriptionId,
        class: Class,
        now: Instant,
        refused: &mut Vec<(Delivery, Duration)>,
    ) -> Option<(Delivery, Ticket)> {
        let serves = self.serves(id);
        let lane = self.lanes.get_mut(&id)?;
        // It may have changed its place since, and its class.
        if lane.place != Place::Ready(class) {
            return None;
        }
        lane.place = Place::Idle;
        if !serves {
            // Handed over or claimed while it was being let go.
            let waiting: Vec<Delivery> = lane.drain().collect();
            self.leave(waiting.iter());
            self.signal_let_gone(id);
            refused.extend(
                waiting
                    .into_iter()
                    .map(|delivery| (delivery, Duration::ZERO)),
            );
            return None;
        }
        if lane.class() != class {
            self.enlist(id, now);
            return None;
        }
        if lane.is_empty() || lane.in_flight >= self.limits.endpoint_concurrency {
            return None;
        }
        // Twice what it leaves free: however many lanes hang at once, something is left.
        if lane.in_flight >= self.budgets.left(class).saturating_mul(2) {
            lane.place = Place::Held(class);
            self.waiting(class).held.push_back(id);
            return None;
        }
        let retries = self.budgets.admits_retry(class);
        if !retries && !lane.has_first() {
            lane.place = Place::HeldRetries(class);
            self.waiting(class).held_retries.push_back(id);
            return None;
        }
        match lane.breaker.admit(now, lane.in_flight) {
            Admission::Yes => {}
            Admission::Wait(wait) => {
                if lane.breaker.open_for(now).is_some() {
                    let waiting: Vec<Delivery> = lane.drain().collect();
                    self.leave(waiting.iter());
                    refused.extend(waiting.into_iter().map(|delivery| (delivery, wait)));
                }
                // Otherwise the probe or the slow start decides: its result comes back.
                return None;
            }
        }
        let delivery = lane.pop(retries)?;
        lane.in_flight += 1;
        lane.take_turn(now);
        let retry = delivery.attempts > 0;
        self.budgets.start(class, retry);
        self.signals.crowded |= self.budgets.fast_in_flight() >= self.limits.at_hand;
        self.leave(std::iter::once(&delivery));
        self.enlist(id, now);
        self.signal_room(id, now);
        Some((delivery, Ticket::new(id, class, retry, now)))
    }

    /// Brings back the lanes whose rate limit admits an attempt by now.
    pub fn wake(&mut self, now: Instant) {
        while let Some(std::cmp::Reverse((at, id))) = self.paced.peek().copied() {
            if at > now {
                return;
            }
            self.paced.pop();
            self.revive(id, Place::Paced, now);
        }
    }

    /// When to [`wake`](Self::wake) a lane.
    pub fn next_wake(&self) -> Option<Instant> {
        self.paced.peek().map(|std::cmp::Reverse((at, _))| *at)
    }

    /// Takes what has waited for too long, and brings back lanes that wait for time.
    pub fn sweep(&mut self, now: Instant) -> Vec<Delivery> {
        let ids: Vec<SubscriptionId> = self.lanes.keys().copied().collect();
        let mut stale = Vec::new();
        for id in ids {
            if let Some(lane) = self.lanes.get_mut(&id) {
                stale.extend(lane.take_stale(now));
            }
            self.enlist(id, now);
        }
        self.leave(stale.iter());
        self.fast.turns.trim();
        self.slow.turns.trim();
        stale
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
        let lanes = self.lanes.values_mut();
        let waiting: Vec<Delivery> = lanes.flat_map(Lane::drain).collect();
        self.leave(waiting.iter());
        waiting
    }

    /// Forgets idle lanes of subscriptions that are gone, or are another's.
    pub fn retain(&mut self) {
        let (snapshot, leases) = (&self.snapshot, &self.leases);
        self.lanes.retain(|id, lane| {
            let busy = lane.in_flight > 0 || lane.holdings != Holdings::default();
            busy || (snapshot.get(*id).is_some() && leases.has(*id))
        });
    }

    pub fn load(&self) -> Load {
        let open = |lane: &&Lane| lane.breaker.state() == BreakerState::Open;
        Load {
            queued: self.holdings.owned.count + self.holdings.leased.count,
            in_flight: self.budgets.in_flight(),
            breakers_open: self.lanes.values().filter(open).count(),
        }
    }

    /// What those who wait on the lanes are to be told; asked after every change.
    pub fn take_signals(&mut self) -> Signals {
        std::mem::take(&mut self.signals)
    }

    /// Deliveries leave memory, or at least the queue.
    fn leave<'a>(&mut self, deliveries: impl Iterator<Item = &'a Delivery>) {
        for delivery in deliveries {
            let bytes = delivery.body.len();
            self.holdings.of_mut(delivery.hold).remove(bytes);
            if let Some(lane) = self.lanes.get_mut(&delivery.subscription_id) {
                lane.holdings.of_mut(delivery.hold).remove(bytes);
            }
            debug_assert!(delivery.hold == Hold::Owned || self.leased.contains(&delivery.id));
        }
    }

    /// Gives an idle lane its turn, if it has something that it may send.
    fn enlist(&mut self, id: SubscriptionId, now: Instant) {
        let Some(lane) = self.lanes.get_mut(&id) else {
            return;
        };
        let limit = lane.breaker.limit().min(self.limits.endpoint_concurrency);
        if lane.place != Place::Idle || lane.is_empty() || lane.in_flight >= limit {
            return;
        }
        let wait = lane.wait(now);
        if !wait.is_zero() {
            lane.place = Place::Paced;
            let at = now + wait;
            self.signals.timer |= self.paced.peek().is_none_or(|first| at < first.0.0);
            self.paced.push(std::cmp::Reverse((at, id)));
            return;
        }
        let class = lane.class();
        lane.place = Place::Ready(class);
        let tenant = Arc::clone(&lane.tenant);
        self.waiting(class).turns.push(&tenant, id);
    }

    fn lane(&mut self, id: SubscriptionId, now: Instant) -> &mut Lane {
        let snapshot = &self.snapshot;
        self.lanes.entry(id).or_insert_with(|| {
            let subscription = snapshot.get(id);
            let mut lane =
                Lane::new(subscription.map_or_else(Arc::default, |one| Arc::clone(&one.tenant_id)));
            lane.pace(subscription.and_then(|one| one.rate_limit), now);
            lane
        })
    }

    fn waiting(&mut self, class: Class) -> &mut Waiting {
        match class {
            Class::Fast => &mut self.fast,
            Class::Slow => &mut self.slow,
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
