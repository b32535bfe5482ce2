//! One endpoint's lane: what waits for it in memory, and how much of it may be sent.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::budget::Class;
use super::memory::Holdings;
use super::pacer::Pacer;
use crate::delivery::breaker::{Breaker, BreakerState};
use crate::delivery::{Delivery, UNSENT_LIMIT};

/// Deliveries of one endpoint that wait in memory, so that a slow one cannot fill it.
const MAX_QUEUED: usize = 1_024;

/// … where nothing good is known of the endpoint: it gets one at a time anyway.
const MAX_QUEUED_ON_TRIAL: usize = 16;

/// Claimed deliveries of one endpoint that wait in memory.
const MAX_CLAIMED: usize = 512;

/// … for each attempt that the endpoint may have at a time.
const CLAIMED_PER_ATTEMPT: usize = 16;

/// A lane with a rate limit holds so much of its rate; what waits for longer waits in
/// the store.
const PACED_AHEAD: Duration = Duration::from_secs(2);

/// Where a lane waits for its next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nowhere: it has nothing to send, or as much under way as it may.
    Idle,
    /// In the turns of this budget.
    Ready(Class),
    /// It has more than its share of this budget: until another's attempt ends.
    Held(Class),
    /// It has but retries, of which enough are under way: until one of them ends.
    HeldRetries(Class),
    /// Until its rate limit admits the next.
    Paced,
}

pub(super) struct Lane {
    pub(super) tenant: Arc<str>,
    first: VecDeque<Delivery>,
    again: VecDeque<Delivery>,
    /// First attempts and retries take turns.
    retry_is_next: bool,
    /// Queued, and of the owned those that are reserved too.
    pub(super) holdings: Holdings,
    pub(super) in_flight: usize,
    pub(super) place: Place,
    pub(super) breaker: Breaker,
    /// The breaker's state as the store knows it.
    pub(super) reported: BreakerState,
    pacer: Option<Pacer>,
    /// How many may be claimed ahead: halved when they waited in vain, and grown by each
    /// success, so that what a slow endpoint cannot take in time stays in the store.
    ahead: usize,
    /// Its last success took long: it is slow, and not suspect for it.
    pub(super) is_slow: bool,
    /// The store holds more for it that is due.
    pub(super) has_stored: bool,
}

impl Lane {
    pub(super) fn new(tenant: Arc<str>) -> Self {
        Lane {
            tenant,
            first: VecDeque::new(),
            again: VecDeque::new(),
            retry_is_next: false,
            holdings: Holdings::default(),
            in_flight: 0,
            place: Place::Idle,
            breaker: Breaker::new(),
            reported: BreakerState::Closed,
            pacer: None,
            ahead: MAX_CLAIMED,
            is_slow: false,
            has_stored: false,
        }
    }

    /// Takes over the subscription's rate limit, if it is another than before.
    pub(super) fn pace(&mut self, per_second: Option<NonZeroU32>, now: Instant) {
        let paced = self.pacer.as_ref().map(|pacer| pacer.per_second);
        if paced != per_second {
            self.pacer = per_second.map(|per_second| Pacer::new(per_second, now));
        }
    }

    pub(super) fn push(&mut self, delivery: Delivery) {
        let queue = match delivery.attempts {
            0 => &mut self.first,
            _ => &mut self.again,
        };
        queue.push_back(delivery);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty() && self.again.is_empty()
    }

    pub(super) fn has_first(&self) -> bool {
        !self.first.is_empty()
    }

    /// The next delivery to send, which the breaker has admitted; with `retries` one that has
    /// been tried may be it.
    pub(super) fn pop(&mut self, retries: bool) -> Option<Delivery> {
        let retry = retries && (self.retry_is_next || self.first.is_empty());
        let (wanted, other) = match retry {
            true => (&mut self.again, Some(&mut self.first)),
            false => (&mut self.first, None),
        };
        let mut next = wanted
            .pop_front()
            .or_else(|| other.and_then(VecDeque::pop_front))?;
        self.retry_is_next = next.attempts == 0;
        if self.breaker.state() == BreakerState::HalfOpen {
            next.cause = next.cause.as_probe();
        }
        Some(next)
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = Delivery> {
        self.first.drain(..).chain(self.again.drain(..))
    }

    /// What has waited for too long.
    pub(super) fn take_stale(&mut self, now: Instant) -> Vec<Delivery> {
        let unsent = |delivery: &Delivery| now - delivery.queued_at >= UNSENT_LIMIT;
        let mut stale = Vec::new();
        for queue in [&mut self.first, &mut self.again] {
            while queue.front().is_some_and(unsent) {
                stale.extend(queue.pop_front());
            }
        }
        if !stale.is_empty() {
            self.ahead = (self.ahead / 2).max(1);
        }
        stale
    }

    pub(super) fn succeeded(&mut self, slowly: bool) {
        self.is_slow = slowly;
        self.ahead = (self.ahead + 1).min(MAX_CLAIMED);
    }

    /// The budget that pays its next attempt.
    pub(super) fn class(&self) -> Class {
        match self.is_slow || self.breaker.on_trial() {
            true => Class::Slow,
            false => Class::Fast,
        }
    }

    /// How long the rate limit holds the next attempt back.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        self.pacer
            .as_ref()
            .map_or(Duration::ZERO, |pacer| pacer.wait(now))
    }

    pub(super) fn take_turn(&mut self, now: Instant) {
        if let Some(pacer) = &mut self.pacer {
            pacer.take(now);
        }
    }

    /// How many may wait in memory by the fast path.
    pub(super) fn capacity(&self, now: Instant) -> usize {
        let capacity = match self.breaker.on_trial() {
            _ if self.breaker.open_for(now).is_some() || self.breaker.is_probe_asked() => 0,
            true => MAX_QUEUED_ON_TRIAL,
            false => MAX_QUEUED.min(self.ahead * 2),
        };
        self.paced(capacity)
    }

    /// How many more are to be claimed for it: none while it has half of what it may, so
    /// that claims are few; on trial, one when there is nothing else to try it with.
    pub(super) fn claimable(&self, now: Instant) -> usize {
        if self.breaker.open_for(now).is_some() && !self.breaker.is_probe_asked() {
            return 0;
        }
        if self.breaker.on_trial() {
            return usize::from(self.in_flight == 0 && self.is_empty());
        }
        let earned = self.breaker.limit().saturating_mul(CLAIMED_PER_ATTEMPT);
        let capacity = self.paced(earned.min(self.ahead));
        match self.holdings.leased.count {
            held if held * 2 > capacity => 0,
            held => capacity.saturating_sub(held),
        }
    }

    fn paced(&self, capacity: usize) -> usize {
        match &self.pacer {
            Some(pacer) => capacity.min(pacer.worth(PACED_AHEAD)),
            None => capacity,
        }
    }
}
