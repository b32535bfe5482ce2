//! No more in flight than the machine has time for. An attempt in flight waits for its
//! endpoint, which costs nothing, or for its turn here, to write its request or to take in
//! the answer. The more of these there are the longer each waits, and the less of what
//! belongs to it is still in a cache: with 512 in flight to endpoints that answer at once
//! walhook uses a third more CPU a delivery than with 64, and two thirds more memory.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Dispatcher;

/// Attempts that may wait for their turn here, for each core: enough to keep it at work.
const AT_HAND_PER_CORE: usize = 16;

/// How often what waits is measured while much is in flight: a burst to slow endpoints
/// has all that it may have within a tenth of a second on two cores, on one within two.
const TICK: Duration = Duration::from_millis(5);

/// What the last measure counts for: about ten of them make the mean, as one may have
/// met another process on its core.
const WEIGHT: f64 = 0.2;

/// What was measured before a rest of this length says nothing of what comes after it. Two
/// batches of one busy stream are less apart.
const MEMORY: Duration = Duration::from_millis(100);

/// An attempt has two turns: one for its request, one for the answer.
const TURNS: f64 = 2.0;

pub(super) fn at_hand() -> usize {
    AT_HAND_PER_CORE * std::thread::available_parallelism().map_or(1, usize::from)
}

/// How many attempts wait for their turn here.
struct Waiting {
    mean: f64,
    measured_at: Instant,
    ended: u64,
}

impl Waiting {
    fn new(now: Instant, ended: u64) -> Self {
        Waiting {
            mean: 0.0,
            measured_at: now,
            ended,
        }
    }

    /// `lag`: how long a turn was waited for just now. `ended`: attempts so far. By Little's
    /// law as many wait as end in the time that each of them waits.
    fn measure(&mut self, now: Instant, ended: u64, lag: Duration) -> f64 {
        let elapsed = now.saturating_duration_since(self.measured_at);
        // Two measures at one moment say nothing of a rate.
        let elapsed = elapsed.as_secs_f64().max(1e-3);
        let per_second = ended.saturating_sub(self.ended) as f64 / elapsed;
        let waiting = per_second * TURNS * lag.as_secs_f64();
        self.mean += WEIGHT * (waiting - self.mean);
        self.measured_at = now;
        self.ended = ended;
        self.mean
    }
}

impl Dispatcher {
    /// Bounds what is in flight by what waits here, for as long as it is polled.
    pub(super) async fn keep_pace<T>(self: &Arc<Self>) -> T {
        let mut waiting = Waiting::new(Instant::now(), 0);
        loop {
            self.crowded.notified().await;
            if waiting.measured_at.elapsed() > MEMORY {
                let ended = self.ended.load(Ordering::Relaxed);
                waiting = Waiting::new(Instant::now(), ended);
            }
            loop {
                tokio::time::sleep(TICK).await;
                let asked = Instant::now();
                // Behind what is to be done by now, or most of it: where that is more than the
                // runtime does between two looks at its sockets, it is not all waited for.
                tokio::task::yield_now().await;
                let now = Instant::now();
                let ended = self.ended.load(Ordering::Relaxed);
                let waiting_here = waiting.measure(now, ended, now - asked);
                let is_crowded = self.lanes().bear(waiting_here);
                self.pump();
                if !is_crowded {
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_wait_as_end_while_one_waits() {
        let mut now = Instant::now();
        let mut waiting = Waiting::new(now, 0);
        let mut ended = 0;
        let mut mean = 0.0;
        // 10,000 a second, each of which waits twice for 4 ms.
        for _ in 0..50 {
            now += TICK;
            ended += 50;
            mean = waiting.measure(now, ended, Duration::from_millis(4));
        }
        assert!((mean - 80.0).abs() < 1.0, "{mean}");
        // They wait for their endpoints instead.
        for _ in 0..50 {
            now += TICK;
            ended += 50;
            mean = waiting.measure(now, ended, Duration::ZERO);
        }
        assert!(mean < 1.0, "{mean}");
    }
}
