//! Tells WAL that the server cannot decode from a session that was ended: the WAL fails at
//! the same position each time.

use std::time::Duration;

use crate::lsn::Lsn;

/// How often the stream has to fail where it stands before the WAL there counts as
/// unreadable.
pub(super) const TRIES: u32 = 3;

/// Between two tries, so that what passes within some ten seconds is never a gap.
pub(super) const TRY_AGAIN: Duration = Duration::from_secs(4);

/// What is durable: a commit, and how much of the transaction.
pub(super) type Position = (Lsn, i64);

/// Failures in a row at one position.
#[derive(Debug, Default)]
pub(super) struct Failures {
    at: Option<Position>,
    count: u32,
}

impl Failures {
    /// Counts one more with nothing durable after `at`. The number of failures there.
    pub(super) fn count(&mut self, at: Option<Position>) -> u32 {
        if self.at != at {
            *self = Failures { at, count: 0 };
        }
        self.count += 1;
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_count_where_nothing_became_durable_between_them() {
        let mut failures = Failures::default();
        let at = |lsn, ordinal| Some((Lsn(lsn), ordinal));
        let counted = [
            at(5, -1),
            at(5, -1),
            at(5, 7),
            at(5, 7),
            at(5, 7),
            at(6, -1),
            None,
        ];
        let counted = counted.map(|at| failures.count(at));
        assert_eq!(counted, [1, 2, 1, 2, 3, 1, 1]);
    }
}
