//! What becomes of a delivery after an attempt: a pure decision.

use std::time::Duration;

use super::ParkedReason;
use super::attempt::Outcome;
use crate::duration::HumanDuration;

/// A delivery's next state. It carries delays and no times: they count from when it was
/// decided on, and the store, whose clock decides what is due, makes times of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transition {
    /// A 2xx: the end.
    Delivered,
    /// To be tried again so long after the end of the attempt.
    Retry { delay: Duration },
    /// The last attempt of the schedule failed: a dead letter, kept and retryable.
    Failed,
    /// The receiver says 410: a dead letter, and the subscription is disabled.
    Gone,
    /// Not attempted, or not to its end: due after so long, no attempt counted.
    Released { delay: Duration },
    /// Not attempted: kept until someone acts.
    Parked(ParkedReason),
    /// Its subscription is deleted: the end.
    Cancelled,
}

/// Extra delay, as a share of the delay, that jitter adds at most.
const JITTER: f64 = 0.2;

/// Decides after an attempt. `attempts` counts this one; `jitter` is random in 0..1.
pub fn after_attempt(
    outcome: &Outcome,
    attempts: u32,
    schedule: &[HumanDuration],
    jitter: f64,
) -> Transition {
    if outcome.is_success() {
        return Transition::Delivered;
    }
    if outcome.http_status == Some(410) {
        return Transition::Gone;
    }
    let step = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
    let Some(HumanDuration(step)) = schedule.get(step) else {
        return Transition::Failed;
    };
    // Retry-After only ever delays.
    let delay = outcome.retry_after.map_or(*step, |asked| asked.max(*step));
    let jitter = delay.mul_f64(JITTER * jitter.clamp(0.0, 1.0));
    Transition::Retry {
        delay: delay.saturating_add(jitter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::client::{Answer, ErrorClass};
    use std::time::Instant;

    fn outcome(http_status: Option<u16>, retry_after: Option<u64>) -> Outcome {
        let success = http_status.is_some_and(|code| (200..300).contains(&code));
        Outcome {
            began: Instant::now(),
            duration: Duration::ZERO,
            http_status,
            error: (!success).then(|| (ErrorClass::HttpStatus, String::new())),
            retry_after: retry_after.map(Duration::from_secs),
            excerpt: None,
            answer: Answer::default(),
            subscription_version: 1,
        }
    }

    fn seconds(seconds: u64) -> Transition {
        Transition::Retry {
            delay: Duration::from_secs(seconds),
        }
    }

    #[test]
    fn what_follows_an_attempt() {
        let schedule = [HumanDuration::from_secs(10), HumanDuration::from_secs(100)];
        for (status, retry_after, attempts, jitter, expected) in [
            (Some(200), None, 1, 0.0, Transition::Delivered),
            (Some(204), Some(50), 9, 0.0, Transition::Delivered),
            (Some(500), None, 1, 0.0, seconds(10)),
            (Some(500), None, 1, 1.0, seconds(12)),
            (Some(301), None, 2, 0.0, seconds(100)),
            (None, None, 2, 0.5, seconds(110)),
            // Retry-After only ever delays.
            (Some(429), Some(5), 1, 0.0, seconds(10)),
            (Some(503), Some(60), 1, 0.0, seconds(60)),
            (Some(500), None, 3, 0.0, Transition::Failed),
            (Some(503), Some(60), 3, 0.0, Transition::Failed),
            (Some(410), None, 1, 0.0, Transition::Gone),
        ] {
            let outcome = outcome(status, retry_after);
            let made = after_attempt(&outcome, attempts, &schedule, jitter);
            assert_eq!(
                made, expected,
                "{status:?} {retry_after:?} {attempts} {jitter}"
            );
        }
    }
}
