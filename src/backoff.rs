//! Delays between tries: exponential with jitter, for what is retried in-process.

use std::time::Duration;

/// Doubles from `base` to `cap`, each delay shortened by up to half at random, so
/// that many clients of one server do not come back at the same moment.
#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    tries: u32,
}

impl Backoff {
    pub fn new(base: Duration, cap: Duration) -> Self {
        Backoff {
            base,
            cap,
            tries: 0,
        }
    }

    /// For reconnecting to PostgreSQL: the first try comes soon, a server that is
    /// down for long is asked every 10 s.
    pub fn reconnect() -> Self {
        Backoff::new(Duration::from_millis(200), Duration::from_secs(10))
    }

    pub fn next_delay(&mut self) -> Duration {
        let full = self
            .base
            .saturating_mul(1 << self.tries.min(20))
            .min(self.cap);
        self.tries = self.tries.saturating_add(1);
        full.mul_f64(rand::random_range(0.5..=1.0))
    }

    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_its_cap_and_starts_over() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8));
        for full in [1, 2, 4, 8, 8, 8] {
            let delay = backoff.next_delay();
            assert!(delay >= Duration::from_secs(full) / 2 && delay <= Duration::from_secs(full));
        }
        backoff.reset();
        assert!(backoff.next_delay() <= Duration::from_secs(1));
    }
}
