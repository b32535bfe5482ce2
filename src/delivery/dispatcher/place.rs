//! A place among the attempts in flight.

use std::sync::Arc;
use std::time::Instant;

use super::Dispatcher;
use crate::delivery::breaker::StateChange;
use crate::delivery::lanes::Ticket;

/// A delivery's place among those in flight; given back however its attempt ends.
pub(super) struct Place {
    pub(super) dispatcher: Arc<Dispatcher>,
    /// None once it is given back.
    pub(super) ticket: Option<Ticket>,
    /// None where nothing was learnt about the endpoint.
    pub(super) success: Option<bool>,
    /// Why the attempt failed; empty where it did not.
    pub(super) reason: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else {
            return;
        };
        let lane = ticket.lane;
        let (change, signals) = {
            let mut lanes = self.dispatcher.lanes();
            let change = lanes.finish(ticket, self.success, Instant::now());
            (change, lanes.take_signals())
        };
        self.dispatcher.pass_on(signals);
        match change {
            Some(StateChange::Opened(wait)) => {
                let subscriptions = self.dispatcher.directory.snapshot();
                if let Some(subscription) = subscriptions.get(lane) {
                    let log = &self.dispatcher.health.log;
                    log.breaker_opened(subscription, wait, &self.reason);
                }
            }
            Some(StateChange::Closed) => {
                tracing::info!(subscription = %lane, "circuit breaker closed");
            }
            None => {}
        }
    }
}
