//! What is logged of endpoints and deliveries that fail: with tenant and host, and each at
//! most once a minute, however many deliveries it concerns.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Letter;
use crate::event::SubscriptionId;
use crate::log_limit::{Admitted, LogLimit};
use crate::subscription::{Subscription, host};

#[derive(Default)]
pub struct EndpointLog(Mutex<LogLimit<(SubscriptionId, Line)>>);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Line {
    BeganToFail,
    BreakerOpened,
    DeadLetter,
}

impl EndpointLog {
    /// The first failure of an endpoint that was well.
    pub fn began_to_fail(&self, subscription: &Subscription, reason: &str) {
        if let Some(Admitted { repeated, others }) = self.admit(subscription, Line::BeganToFail) {
            tracing::warn!(
                tenant = &*subscription.tenant_id,
                host = host(&subscription.url),
                subscription = %subscription.id,
                reason,
                repeated,
                others,
                "an endpoint began to fail; what is due to it is tried again"
            );
        }
    }

    /// `reason`: of the last failure.
    pub fn breaker_opened(&self, subscription: &Subscription, wait: Duration, reason: &str) {
        if let Some(Admitted { repeated, others }) = self.admit(subscription, Line::BreakerOpened) {
            tracing::warn!(
                tenant = &*subscription.tenant_id,
                host = host(&subscription.url),
                subscription = %subscription.id,
                reason,
                seconds = wait.as_secs(),
                repeated,
                others,
                "circuit breaker opened: the endpoint keeps failing"
            );
        }
    }

    pub fn failed_for_good(
        &self,
        subscription: &Subscription,
        letter: &Letter<'_>,
        attempts: u32,
        reason: &str,
    ) {
        if let Some(Admitted { repeated, others }) = self.admit(subscription, Line::DeadLetter) {
            tracing::warn!(
                tenant = &*subscription.tenant_id,
                host = host(&subscription.url),
                subscription = %subscription.id,
                delivery = %letter.id,
                event = letter.event_type,
                attempts,
                reason,
                repeated,
                others,
                "a delivery failed for good (dead letter)"
            );
        }
    }

    fn admit(&self, subscription: &Subscription, line: Line) -> Option<Admitted> {
        let mut limit = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        limit.admit((subscription.id, line), Instant::now())
    }
}
