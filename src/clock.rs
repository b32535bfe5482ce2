//! The clocks of the store and of the source, as this process knows them.
//!
//! A time is compared with times of the same clock only: the store's says what is due,
//! expired or past retention, the source's when something was committed. Across a
//! connection go lengths of time, not times. Of our own clock nothing depends but the
//! `webhook-timestamp` of what is sent, which receivers compare with theirs.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio_postgres::Error;

use crate::conninfo::Queries;
use crate::metrics::METRICS;

/// Skew from here on is a fault: synchronised clocks differ by milliseconds.
pub const NOTICEABLE: Duration = Duration::from_secs(30);

/// How far `webhook-timestamp` may be from a receiver's clock: the tolerance of the Standard
/// Webhooks libraries.
pub const REJECTED: Duration = Duration::from_secs(5 * 60);

/// What has begun ends below this share of the limit at which it began: a skew that lies at
/// the limit would else be said to begin and to end all the time.
const ENDS_BELOW: f64 = 0.8;

/// What another machine's clock said, carried on by our monotonic clock: a step of our own
/// clock does not move it.
#[derive(Clone, Copy, Debug)]
pub struct ClockReading {
    time: Timestamp,
    at: Instant,
}

/// How far this machine's clock is ahead of another's; negative: behind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Skew(pub f64);

/// Asks a server for its time.
pub async fn read(client: &impl Queries) -> Result<ClockReading, Error> {
    let asked = Instant::now();
    let sql = include_str!("../sql/queries/clock/read_clock.sql");
    let time = client.query_one(sql, &[]).await?.get(0);
    Ok(ClockReading::between(asked, Instant::now(), time))
}

impl ClockReading {
    /// Of a server that was asked and has answered: wrong by half of the time between at most.
    pub fn between(asked: Instant, answered: Instant, time: Timestamp) -> Self {
        ClockReading {
            time,
            at: asked + answered.saturating_duration_since(asked) / 2,
        }
    }

    pub fn now(&self) -> Timestamp {
        self.time_at(Instant::now())
    }

    pub fn time_at(&self, at: Instant) -> Timestamp {
        let moved = match at.checked_duration_since(self.at) {
            Some(later) => self.time.checked_add(later),
            None => self.time.checked_sub(self.at - at),
        };
        moved.unwrap_or(self.time)
    }

    /// How far our own clock is ahead of it.
    pub fn skew(&self) -> Skew {
        let (own, at) = (Timestamp::now(), Instant::now());
        Skew(own.duration_since(self.time_at(at)).as_secs_f64())
    }

    /// How far it is ahead of another machine's clock.
    pub fn ahead_of(&self, other: &ClockReading) -> Skew {
        let at = Instant::now();
        let ahead = self.time_at(at).duration_since(other.time_at(at));
        Skew(ahead.as_secs_f64())
    }
}

impl Skew {
    pub fn severity(self) -> Severity {
        match self.0.abs() {
            seconds if seconds > REJECTED.as_secs_f64() => Severity::Rejected,
            seconds if seconds >= NOTICEABLE.as_secs_f64() => Severity::Noticeable,
            _ => Severity::None,
        }
    }
}

/// `45 s behind`, `7 min ahead of`: of the clock that is named next.
impl fmt::Display for Skew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = if self.0 < 0.0 { "behind" } else { "ahead of" };
        match self.0.abs() {
            seconds if seconds < 120.0 => write!(f, "{seconds:.0} s {direction}"),
            seconds if seconds < 7_200.0 => write!(f, "{:.0} min {direction}", seconds / 60.0),
            seconds => write!(f, "{:.0} h {direction}", seconds / 3_600.0),
        }
    }
}

/// What a skew does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    #[default]
    None,
    /// Times that are shown beside each other do not fit.
    Noticeable,
    /// Receivers reject what is sent under such a `webhook-timestamp`.
    Rejected,
}

impl Severity {
    /// What is said of it next.
    fn after(self, skew: Skew) -> Severity {
        let ends_at = Skew(skew.0 / ENDS_BELOW).severity();
        skew.severity().max(self.min(ends_at))
    }
}

/// What this process knows of both clocks.
#[derive(Debug)]
pub struct Clocks {
    store: Mutex<Side>,
    source: Mutex<Side>,
}

#[derive(Debug)]
struct Side {
    name: &'static str,
    reading: Option<ClockReading>,
    severity: Severity,
}

impl Default for Clocks {
    fn default() -> Self {
        let side = |name| {
            Mutex::new(Side {
                name,
                reading: None,
                severity: Severity::None,
            })
        };
        Clocks {
            store: side("store"),
            source: side("source"),
        }
    }
}

impl Clocks {
    pub fn observe_store(&self, reading: ClockReading) -> Skew {
        lock(&self.store).observe(reading)
    }

    pub fn observe_source(&self, reading: ClockReading) -> Skew {
        lock(&self.source).observe(reading)
    }

    /// The store's clock; our own where it was never read.
    pub fn store(&self) -> ClockReading {
        lock(&self.store).reading.unwrap_or_else(own)
    }

    /// The source's clock; the store's where this process does not watch the source.
    pub fn source(&self) -> ClockReading {
        let source = lock(&self.source).reading;
        source.unwrap_or_else(|| self.store())
    }

    /// How long ago something was committed. Not below zero: the readings are wrong by
    /// milliseconds.
    pub fn since_commit(&self, committed_at: Timestamp) -> Duration {
        let age: SignedDuration = self.source().now().duration_since(committed_at);
        Duration::try_from(age).unwrap_or_default()
    }
}

impl Side {
    /// Logs once where a skew begins and where it ends.
    fn observe(&mut self, reading: ClockReading) -> Skew {
        let skew = reading.skew();
        METRICS
            .clock_skew
            .with_label_values(&[self.name])
            .set(skew.0);
        let severity = self.severity.after(skew);
        if severity != self.severity {
            let side = self.name;
            match severity {
                Severity::None => {
                    tracing::info!("this machine's clock agrees with the {side}'s again");
                }
                Severity::Noticeable => tracing::warn!(
                    "this machine's clock is {skew} the {side}'s: synchronise both by NTP"
                ),
                Severity::Rejected => tracing::warn!(
                    "this machine's clock is {skew} the {side}'s: receivers reject a \
                     `webhook-timestamp` that is more than 5 min off; synchronise both by NTP"
                ),
            }
        }
        self.severity = severity;
        self.reading = Some(reading);
        skew
    }
}

fn own() -> ClockReading {
    ClockReading {
        time: Timestamp::now(),
        at: Instant::now(),
    }
}

fn lock(side: &Mutex<Side>) -> MutexGuard<'_, Side> {
    side.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_moves_with_the_monotonic_clock_from_the_middle_of_the_round_trip() {
        let asked = Instant::now();
        let answered = asked + Duration::from_secs(4);
        let time: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let reading = ClockReading::between(asked, answered, time);
        for (at, seconds) in [(2, 0), (5, 3), (0, -2)] {
            let at = asked + Duration::from_secs(at);
            let expected = time + SignedDuration::from_secs(seconds);
            assert_eq!(reading.time_at(at), expected);
        }
    }

    #[test]
    fn skew_is_told_by_its_size_and_direction() {
        for (skew, text, severity) in [
            (0.4, "0 s ahead of", Severity::None),
            (-29.9, "30 s behind", Severity::None),
            (30.0, "30 s ahead of", Severity::Noticeable),
            (-300.0, "5 min behind", Severity::Noticeable),
            (301.0, "5 min ahead of", Severity::Rejected),
            (-86_400.0, "24 h behind", Severity::Rejected),
        ] {
            assert_eq!(Skew(skew).to_string(), text);
            assert_eq!(Skew(skew).severity(), severity, "{skew}");
        }
    }

    #[test]
    fn skew_at_a_limit_begins_once_and_ends_well_below_it() {
        let mut severity = Severity::None;
        for (skew, expected) in [
            (29.0, Severity::None),
            (31.0, Severity::Noticeable),
            (-29.0, Severity::Noticeable),
            (301.0, Severity::Rejected),
            (299.0, Severity::Rejected),
            (200.0, Severity::Noticeable),
            (25.0, Severity::Noticeable),
            (20.0, Severity::None),
        ] {
            severity = severity.after(Skew(skew));
            assert_eq!(severity, expected, "{skew}");
        }
    }
}
