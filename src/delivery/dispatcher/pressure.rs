//! How many attempts are worth having in flight. Where it is this machine that holds them
//! up and not their endpoints, more of them come no sooner: each opens a connection of 36
//! KiB, finds every cache cold and waits for its turn of the CPU.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::Dispatcher;

/// As many keep two cores busy, with endpoints that answer at once: so many are always
/// admitted.
pub(super) const FEW: usize = 64;

/// So many more each time that none is held up: all of the default `delivery.concurrency`
/// after a seventh of a second.
const STEP: usize = 16;

/// How often it is looked at while more than a few are in flight.
const PERIOD: Duration = Duration::from_millis(5);

/// A timer that is as late as this waited for the CPU: its grain is a millisecond.
const LATE: Duration = Duration::from_millis(2);

/// An attempt waits for the CPU some four times: to write, to be read, to read, to be
/// judged. One that takes more than twice as long waits for its endpoint.
const TURNS: u32 = 8;

#[derive(Default)]
pub(super) struct Pressure {
    /// Told when more than a few are in flight.
    pub(super) crowded: Notify,
    /// Microseconds that an attempt takes, of late.
    duration: AtomicU64,
}

impl Pressure {
    /// An attempt has ended.
    pub(super) fn note(&self, duration: Duration) {
        let took = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        // A result that another overwrites is as good as one that came later.
        let before = self.duration.load(Ordering::Relaxed);
        let after = before - before / 16 + took / 16;
        self.duration.store(after, Ordering::Relaxed);
    }

    fn next_limit(&self, limit: usize, late: Duration, concurrency: usize) -> usize {
        let duration = Duration::from_micros(self.duration.load(Ordering::Relaxed));
        match late >= LATE && late * TURNS >= duration {
            true => (limit / 2).max(FEW).min(concurrency),
            false => (limit + STEP).min(concurrency),
        }
    }
}

impl Dispatcher {
    /// Sets how many may be in flight, for as long as it is polled.
    pub(super) async fn follow_pressure(self: &Arc<Self>) -> Infallible {
        let concurrency = self.config.concurrency;
        loop {
            let mut limit = FEW.min(concurrency);
            self.lanes().narrow(limit, Instant::now());
            self.pressure.crowded.notified().await;
            while self.lanes().fast_in_flight() >= FEW.min(concurrency) {
                let asleep = Instant::now();
                tokio::time::sleep(PERIOD).await;
                let late = asleep.elapsed().saturating_sub(PERIOD);
                let next = self.pressure.next_limit(limit, late, concurrency);
                if next != limit {
                    limit = next;
                    self.lanes().narrow(limit, Instant::now());
                    self.pump();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_that_this_machine_holds_up_are_fewer_and_others_more() {
        let late = Duration::from_millis(5);
        let pressure = Pressure::default();
        for (took, late, expected) in [
            (Duration::from_millis(10), late, 128),
            (Duration::from_millis(10), Duration::from_millis(1), 272),
            // Its endpoints are slow, whoever else wants the CPU.
            (Duration::from_millis(100), late, 272),
        ] {
            pressure
                .duration
                .store(took.as_micros() as u64, Ordering::Relaxed);
            assert_eq!(pressure.next_limit(256, late, 512), expected, "{took:?}");
        }
        pressure.duration.store(0, Ordering::Relaxed);
        assert_eq!(pressure.next_limit(FEW, late, 512), FEW);
        assert_eq!(pressure.next_limit(10, late, 10), 10);
    }

    #[test]
    fn what_attempts_take_is_that_of_the_last_ones() {
        let pressure = Pressure::default();
        (0..200).for_each(|_| pressure.note(Duration::from_millis(100)));
        (0..200).for_each(|_| pressure.note(Duration::from_millis(1)));
        let duration = pressure.duration.load(Ordering::Relaxed);
        assert!((900..1_100).contains(&duration), "{duration}");
    }
}
