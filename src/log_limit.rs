//! How often things of one kind are logged: each at most once a minute, and all together at
//! most ten a second.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// How often the same thing is logged.
const AGAIN: Duration = Duration::from_secs(60);
/// Many fail at once where what they share fails: the lines say nothing more by then.
const LINES: u32 = 10;
/// In which there are at most so many lines.
const PERIOD: Duration = Duration::from_secs(1);
/// Things that are remembered before those of long ago are forgotten.
const REMEMBERED: usize = 1_024;

#[derive(Debug)]
pub struct LogLimit<K> {
    logged: HashMap<K, Logged>,
    period: Option<Instant>,
    lines: u32,
    left_out: u64,
}

#[derive(Debug)]
struct Logged {
    at: Instant,
    /// Of the same thing, since then.
    left_out: u64,
}

/// There is to be a line, which says how many there were not.
#[derive(Debug, PartialEq, Eq)]
pub struct Admitted {
    /// Of the same thing.
    pub repeated: u64,
    /// Of other things, for which there were too many lines.
    pub others: u64,
}

impl<K> Default for LogLimit<K> {
    fn default() -> Self {
        LogLimit {
            logged: HashMap::new(),
            period: None,
            lines: 0,
            left_out: 0,
        }
    }
}

impl<K: Eq + Hash> LogLimit<K> {
    /// Whether to log `thing` now.
    pub fn admit(&mut self, thing: K, now: Instant) -> Option<Admitted> {
        let since = |at: Instant| now.saturating_duration_since(at);
        if let Some(logged) = self.logged.get_mut(&thing)
            && since(logged.at) < AGAIN
        {
            logged.left_out += 1;
            return None;
        }
        if self.period.is_none_or(|began| since(began) >= PERIOD) {
            self.period = Some(now);
            self.lines = 0;
        }
        if self.lines >= LINES {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        if self.logged.len() >= REMEMBERED {
            self.logged.retain(|_, logged| since(logged.at) < AGAIN);
        }
        let logged = Logged {
            at: now,
            left_out: 0,
        };
        let before = self.logged.insert(thing, logged);
        Some(Admitted {
            repeated: before.map_or(0, |before| before.left_out),
            others: std::mem::take(&mut self.left_out),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_logged_once_a_minute_and_many_things_ten_a_second() {
        let mut limit = LogLimit::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let admitted = |repeated, others| Some(Admitted { repeated, others });
        assert_eq!(limit.admit(0, at(0)), admitted(0, 0));
        assert_eq!(limit.admit(0, at(1)), None);
        assert_eq!(limit.admit(0, at(59)), None);
        assert_eq!(limit.admit(0, at(60)), admitted(2, 0));
        for thing in 1..10 {
            assert!(limit.admit(thing, at(60)).is_some());
        }
        for thing in 10..13 {
            assert_eq!(limit.admit(thing, at(60)), None);
        }
        assert_eq!(limit.admit(10, at(61)), admitted(0, 3));
        assert_eq!(limit.admit(11, at(61)), admitted(0, 0));
    }
}
