//! A subscription's rate limit, kept smoothly: attempts leave an interval apart, and what
//! an idle time saved up is never more than a tenth of a second's worth.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// How much of its rate an endpoint may get at once.
const BURST: Duration = Duration::from_millis(100);

/// The generic cell rate algorithm: a theoretical time of the next attempt, which those
/// that are made push on by an interval each, and which may be run ahead of a little.
#[derive(Clone, Debug)]
pub(super) struct Pacer {
    pub(super) per_second: NonZeroU32,
    interval: Duration,
    ahead: Duration,
    next: Instant,
}

impl Pacer {
    /// Begins with nothing saved up, so that a restart sends no more than the rate does.
    pub(super) fn new(per_second: NonZeroU32, now: Instant) -> Self {
        let interval = Duration::from_secs(1) / per_second.get();
        let ahead = BURST.saturating_sub(interval);
        Pacer {
            per_second,
            interval,
            ahead,
            next: now + ahead,
        }
    }

    /// How long until an attempt may be made; zero: now.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        self.next.saturating_duration_since(now + self.ahead)
    }

    /// An attempt is made.
    pub(super) fn take(&mut self, now: Instant) {
        self.next = self.next.max(now) + self.interval;
    }

    /// What is sent in so long, at least one.
    pub(super) fn worth(&self, time: Duration) -> usize {
        let worth = f64::from(self.per_second.get()) * time.as_secs_f64();
        (worth as usize).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The moments, in milliseconds from `start`, at which `count` attempts leave a queue
    /// that is never empty, where the clock is looked at each `step`.
    fn moments(pacer: &mut Pacer, start: Instant, count: usize, step: Duration) -> Vec<u128> {
        let mut now = start;
        let mut moments = Vec::new();
        while moments.len() < count {
            while pacer.wait(now).is_zero() && moments.len() < count {
                pacer.take(now);
                moments.push((now - start).as_millis());
            }
            now += step;
        }
        moments
    }

    #[test]
    fn attempts_leave_an_interval_apart() {
        let now = Instant::now();
        let mut pacer = Pacer::new(NonZeroU32::new(4).unwrap(), now);
        let step = Duration::from_millis(1);
        assert_eq!(moments(&mut pacer, now, 4, step), [0, 250, 500, 750]);
        // However long it was idle: a quarter of a second's worth is less than one.
        let later = now + Duration::from_secs(60);
        assert_eq!(moments(&mut pacer, later, 3, step), [0, 250, 500]);
    }

    #[test]
    fn an_idle_time_saves_up_a_tenth_of_a_second_and_a_start_nothing() {
        let now = Instant::now();
        let mut pacer = Pacer::new(NonZeroU32::new(50).unwrap(), now);
        let step = Duration::from_millis(1);
        assert_eq!(moments(&mut pacer, now, 4, step), [0, 20, 40, 60]);
        let later = now + Duration::from_secs(60);
        assert_eq!(moments(&mut pacer, later, 7, step), [0, 0, 0, 0, 0, 20, 40]);
    }

    #[test]
    fn a_coarse_clock_loses_nothing_of_a_high_rate() {
        let now = Instant::now();
        let mut pacer = Pacer::new(NonZeroU32::new(5_000).unwrap(), now);
        let moments = moments(&mut pacer, now, 5_000, Duration::from_millis(7));
        assert!((990..=1_007).contains(moments.last().unwrap()));
        for window in 0..9 {
            let inside = |at: &&u128| (window * 100..window * 100 + 100).contains(*at);
            let sent = moments.iter().filter(inside).count();
            assert!(sent <= 1_000, "{sent} within a tenth of a second");
        }
    }
}
