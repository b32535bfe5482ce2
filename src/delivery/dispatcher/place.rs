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
                tracing::warn!(subscription = %lane, seconds = wait.as_secs(), "circuit breaker opened: the endpoint keeps failing");
            }
            Some(StateChange::Closed) => {
                tracing::info!(subscription = %lane, "circuit breaker closed");
            }
            None => {}
        }
    }
}
