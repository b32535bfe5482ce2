//! What the metrics are told of attempts and of the lanes.

use std::borrow::Cow;

use crate::clock::Clocks;
use crate::delivery::Delivery;
use crate::delivery::attempt::Outcome;
use crate::delivery::lanes::Load;
use crate::delivery::state::Transition;
use crate::metrics::METRICS;

pub(super) fn set_gauges(load: Load) {
    let depth = |state, deliveries| {
        let depth = METRICS.queue_depth.with_label_values(&[state]);
        depth.set(deliveries as f64);
    };
    depth("in_flight", load.queued + load.in_flight);
    let under_way = i64::try_from(load.in_flight).unwrap_or(i64::MAX);
    METRICS.requests_under_way.set(under_way);
    METRICS
        .breakers_open
        .set(i64::try_from(load.breakers_open).unwrap_or(i64::MAX));
}

pub(super) fn count(
    delivery: &Delivery,
    outcome: &Outcome,
    transition: &Transition,
    clocks: &Clocks,
) {
    let status = match transition {
        Transition::Delivered => "delivered",
        Transition::Retry { .. } | Transition::Released { .. } => "pending",
        Transition::Failed | Transition::Gone => "failed",
        Transition::Parked(_) => "parked",
        Transition::Cancelled => "cancelled",
    };
    for letter in delivery.letters() {
        METRICS
            .deliveries
            .with_label_values(&[status, letter.event_type])
            .inc();
    }
    let code = code_of(outcome.http_status);
    METRICS.http_status.with_label_values(&[&*code]).inc();
    METRICS.http_status_total.with_label_values(&[&*code]).inc();
    let seconds = outcome.duration.as_secs_f64();
    METRICS.delivery_duration.observe(seconds);
    METRICS.stages.http.observe(seconds);
    if delivery.attempts > 1 {
        METRICS.retries.inc();
    }
    if *transition == Transition::Delivered && delivery.attempts == 1 {
        for letter in delivery.letters().filter(|letter| letter.of_stream) {
            let total = clocks.since_commit(letter.occurred_at);
            METRICS.stages.total.observe(total.as_secs_f64());
        }
    }
}

/// As a label: what is no status of HTTP is one value, or an endpoint could make hundreds.
fn code_of(status: Option<u16>) -> Cow<'static, str> {
    match status {
        None => Cow::Borrowed("none"),
        Some(code @ 100..=599) => Cow::Owned(code.to_string()),
        Some(_) => Cow::Borrowed("other"),
    }
}

#[cfg(test)]
mod tests {
    use super::code_of;

    #[test]
    fn codes_that_http_does_not_know_are_one() {
        for (status, label) in [
            (None, "none"),
            (Some(99), "other"),
            (Some(100), "100"),
            (Some(599), "599"),
            (Some(600), "other"),
            (Some(999), "other"),
        ] {
            assert_eq!(code_of(status), label);
        }
    }
}
