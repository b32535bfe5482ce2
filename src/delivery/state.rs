//! What becomes of a delivery after an attempt: a pure decision.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::ParkedReason;
use super::attempt::Outcome;
use crate::duration::HumanDuration;

/// A delivery's next state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transition {
    /// A 2xx: the end.
    Delivered,
    /// To be tried again at this time.
    Retry { due_at: Timestamp },
    /// The last attempt of the schedule failed: a dead letter, kept and retryable.
    Failed,
    /// The receiver says 410: a dead letter, and the subscription is disabled.
    Gone,
    /// Not attempted, or not to its end: due at this time, no attempt counted.
    Released { due_at: Timestamp },
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
    now: Timestamp,
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
    let delay = delay + delay.mul_f64(JITTER * jitter.clamp(0.0, 1.0));
    Transition::Retry {
        due_at: after(now, delay),
    }
}

/// A time from now; the end of time where it does not fit.
pub fn after(now: Timestamp, delay: Duration) -> Timestamp {
    SignedDuration::try_from(delay)
        .ok()
        .and_then(|delay| now.checked_add(delay).ok())
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::client::ErrorClass;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn outcome(http_status: Option<u16>, retry_after: Option<u64>) -> Outcome {
        let success = http_status.is_some_and(|code| (200..300).contains(&code));
        Outcome {
            started_at: NOW,
            duration: Duration::ZERO,
            http_status,
            error: (!success).then(|| (ErrorClass::HttpStatus, String::new())),
            retry_after: retry_after.map(Duration::from_secs),
            excerpt: None,
        }
    }

    fn seconds(seconds: i64) -> Transition {
        Transition::Retry {
            due_at: Timestamp::from_second(seconds).unwrap(),
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
            let made = after_attempt(&outcome, attempts, &schedule, NOW, jitter);
            assert_eq!(
                made, expected,
                "{status:?} {retry_after:?} {attempts} {jitter}"
            );
        }
    }

    #[test]
    fn a_delay_beyond_the_end_of_time_ends_there() {
        assert_eq!(after(NOW, Duration::MAX), Timestamp::MAX);
    }
}
