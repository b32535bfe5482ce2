//! Attempts under way: what they are paid by, and who gets what they leave.

use std::time::Instant;

use super::Lanes;
use super::budget::Class;
use super::lane::Place;
use crate::delivery::breaker::StateChange;
use crate::event::SubscriptionId;

/// An attempt's place among those in flight; to be given back by [`Lanes::finish`].
#[derive(Debug)]
pub struct Ticket {
    pub lane: SubscriptionId,
    class: Class,
    began: Instant,
    /// The budget among whose retries it counts.
    retry_of: Option<Class>,
    pub(super) turned_slow: bool,
}

impl Ticket {
    pub(super) fn new(lane: SubscriptionId, class: Class, retry: bool, now: Instant) -> Self {
        Ticket {
            lane,
            class,
            began: now,
            retry_of: retry.then_some(class),
            turned_slow: false,
        }
    }
}

impl Lanes {
    /// So many of the attempts in flight wait for this machine, by measure; the others
    /// wait for their endpoints, and as many of them as there are may be. Answers whether
    /// to measure again: not where all that could be sent is in flight, and is little.
    pub fn bear(&mut self, waiting_here: f64) -> bool {
        let (in_flight, at_hand) = (self.budgets.fast_in_flight(), self.limits.at_hand);
        if in_flight < at_hand && self.fast.turns.is_empty() {
            self.budgets.bear(at_hand);
            return false;
        }
        let spare = at_hand as f64 - waiting_here;
        let bearable = (in_flight as f64 + spare).max(at_hand as f64);
        self.budgets.bear(bearable as usize);
        true
    }

    /// An attempt has run for long. It is paid by the slow budget from here on, and its
    /// endpoint gets no more until something good is heard of it.
    pub fn slow_down(&mut self, ticket: &mut Ticket, now: Instant) {
        ticket.turned_slow = true;
        if let Some(lane) = self.lanes.get_mut(&ticket.lane) {
            lane.breaker.suspect();
        }
        self.settle_retry(ticket, now);
        if ticket.class == Class::Fast {
            ticket.class = Class::Slow;
            self.budgets.slow_down();
            self.release(Class::Fast, now);
        }
    }

    /// An attempt is over. `success` is none where it says nothing of the endpoint.
    pub fn finish(
        &mut self,
        mut ticket: Ticket,
        success: Option<bool>,
        now: Instant,
    ) -> Option<StateChange> {
        self.settle_retry(&mut ticket, now);
        let freed = self.budgets.finish(ticket.class);
        self.release(freed, now);
        let id = ticket.lane;
        let lane = self.lanes.get_mut(&id)?;
        // The breaker takes a probe that left without a result for one that vanished,
        // so the result comes first.
        let change = success.and_then(|success| lane.breaker.record(now, ticket.began, success));
        if success == Some(true) {
            lane.succeeded(ticket.turned_slow);
        }
        lane.in_flight = lane.in_flight.saturating_sub(1);
        let moved = match lane.place {
            Place::Held(_) | Place::HeldRetries(_) => true,
            Place::Ready(class) => class != lane.class(),
            Place::Idle | Place::Paced => false,
        };
        if moved {
            lane.place = Place::Idle;
        }
        self.enlist(id, now);
        self.signal_room(id, now);
        self.signal_let_gone(id);
        change
    }

    fn settle_retry(&mut self, ticket: &mut Ticket, now: Instant) {
        let Some(class) = ticket.retry_of.take() else {
            return;
        };
        self.budgets.settle_retry(class);
        while let Some(id) = self.waiting(class).held_retries.pop_front() {
            if self.revive(id, Place::HeldRetries(class), now) {
                break;
            }
        }
    }

    /// A budget has got room: a lane that had its share of it looks again.
    fn release(&mut self, class: Class, now: Instant) {
        while let Some(id) = self.waiting(class).held.pop_front() {
            if self.revive(id, Place::Held(class), now) {
                break;
            }
        }
    }

    /// Ends a lane's wait in this place; false where it waits there no longer.
    pub(super) fn revive(&mut self, id: SubscriptionId, place: Place, now: Instant) -> bool {
        let waits = self.lanes.get_mut(&id).filter(|lane| lane.place == place);
        let Some(lane) = waits else {
            return false;
        };
        lane.place = Place::Idle;
        self.enlist(id, now);
        true
    }
}
