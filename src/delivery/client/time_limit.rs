//! The time that an exchange may take, measured by one timer: registering another costs a
//! hundredth of an exchange.

use std::pin::Pin;

use tokio::time::{Instant, Sleep};

/// Ends at a deadline, and before that says once that the exchange is slow.
pub(super) struct TimeLimit<'a, F> {
    timer: Pin<&'a mut Sleep>,
    deadline: Instant,
    on_slow: Option<F>,
}

impl<'a, F: FnOnce()> TimeLimit<'a, F> {
    /// `timer`: fires when the exchange is slow, or at the deadline if that is before.
    pub(super) fn new(timer: Pin<&'a mut Sleep>, deadline: Instant, on_slow: F) -> Self {
        TimeLimit {
            timer,
            deadline,
            on_slow: Some(on_slow),
        }
    }

    /// Brings the deadline forward.
    pub(super) fn shorten(&mut self, deadline: Instant) {
        self.deadline = self.deadline.min(deadline);
        if self.deadline < self.timer.deadline() || self.on_slow.is_none() {
            self.timer.as_mut().reset(self.deadline);
        }
    }

    /// Waits for the future; `None` where the deadline comes first.
    pub(super) async fn within<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(future);
        loop {
            // Cancel safe: both go on where they were.
            tokio::select! {
                biased;
                output = &mut future => return Some(output),
                () = self.timer.as_mut() => {}
            }
            if Instant::now() >= self.deadline {
                return None;
            }
            if let Some(on_slow) = self.on_slow.take() {
                on_slow();
            }
            self.timer.as_mut().reset(self.deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use tokio::time::{advance, sleep, sleep_until};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_says_once_that_the_exchange_is_slow_and_ends_at_the_deadline() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let told = Cell::new(0);
        let tell = || told.set(told.get() + 1);
        let timer = sleep_until(at(1));
        tokio::pin!(timer);
        let mut limit = TimeLimit::new(timer, at(15), tell);
        assert_eq!(limit.within(async { 7 }).await, Some(7));
        assert_eq!(told.get(), 0);
        let long = limit.within(sleep(Duration::from_secs(5))).await;
        assert!(long.is_some() && told.get() == 1 && Instant::now() == at(5));
        let endless = limit.within(std::future::pending::<()>()).await;
        assert!(endless.is_none() && told.get() == 1 && Instant::now() == at(15));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_is_brought_forward_holds() {
        for (before, shortened, ends) in [(0, 3, 3), (2, 3, 3), (0, 20, 15)] {
            let began = Instant::now();
            let at = |seconds| began + Duration::from_secs(seconds);
            let timer = sleep_until(at(1));
            tokio::pin!(timer);
            let mut limit = TimeLimit::new(timer, at(15), || {});
            limit.within(sleep(Duration::from_secs(before))).await;
            limit.shorten(at(shortened));
            assert!(limit.within(std::future::pending::<()>()).await.is_none());
            assert_eq!(Instant::now(), at(ends));
            advance(Duration::from_secs(1)).await;
        }
    }
}
