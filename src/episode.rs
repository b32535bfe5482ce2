//! A failure that repeats, logged when it begins, once a minute while it lasts, and when it
//! ends: not once for each try.

use std::time::{Duration, Instant};

/// How often a failure that lasts is logged again.
const REMINDER: Duration = Duration::from_secs(60);

/// The tries of one thing, from the first that fails to the next that succeeds.
#[derive(Debug, Default)]
pub struct Episode {
    lasting: Option<Lasting>,
}

#[derive(Debug)]
struct Lasting {
    began: Instant,
    logged: Instant,
    failures: u64,
}

/// What there is to log of a failure.
#[derive(Debug, PartialEq, Eq)]
enum Word {
    Begins,
    Lasts { failures: u64, lasting: Duration },
    Nothing,
}

impl Episode {
    /// Logs that `what` failed, if that is the first time or was not said for a minute.
    pub fn failed(&mut self, what: &str, error: &anyhow::Error) {
        match self.count(Instant::now()) {
            Word::Begins => tracing::warn!(error = format!("{error:#}"), "{what}; trying again"),
            Word::Lasts { failures, lasting } => tracing::warn!(
                error = format!("{error:#}"),
                failures,
                seconds = lasting.as_secs(),
                "{what}; still trying"
            ),
            Word::Nothing => tracing::debug!(error = format!("{error:#}"), "{what}"),
        }
    }

    /// Logs the end, if `what` had failed before.
    pub fn succeeded(&mut self, what: &str) {
        if let Some(lasting) = self.lasting.take() {
            tracing::info!(
                failures = lasting.failures,
                seconds = lasting.began.elapsed().as_secs(),
                "over: {what}"
            );
        }
    }

    /// Since when it has failed.
    pub fn since(&self) -> Option<Instant> {
        self.lasting.as_ref().map(|lasting| lasting.began)
    }

    fn count(&mut self, now: Instant) -> Word {
        let Some(lasting) = &mut self.lasting else {
            self.lasting = Some(Lasting {
                began: now,
                logged: now,
                failures: 1,
            });
            return Word::Begins;
        };
        lasting.failures += 1;
        if now.duration_since(lasting.logged) < REMINDER {
            return Word::Nothing;
        }
        lasting.logged = now;
        Word::Lasts {
            failures: lasting.failures,
            lasting: now.duration_since(lasting.began),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_logged_at_its_begin_once_a_minute_and_anew_after_its_end() {
        let mut episode = Episode::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(episode.count(at(0)), Word::Begins);
        assert_eq!(episode.count(at(1)), Word::Nothing);
        assert_eq!(episode.count(at(59)), Word::Nothing);
        let lasts = |failures, seconds| Word::Lasts {
            failures,
            lasting: Duration::from_secs(seconds),
        };
        assert_eq!(episode.count(at(60)), lasts(4, 60));
        assert_eq!(episode.count(at(61)), Word::Nothing);
        assert_eq!(episode.count(at(121)), lasts(6, 121));
        episode.succeeded("it");
        assert_eq!(episode.count(at(122)), Word::Begins);
    }
}
