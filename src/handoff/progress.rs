//! How far the WAL is durable. Progress is what makes a replay harmless: whatever the WAL brings
//! again at or below it is skipped, and it commits together with the rows that it speaks of.

use tokio_postgres::Row;

use crate::lsn::Lsn;

/// How far the WAL is durable in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub commit_lsn: Lsn,
    /// The last ordinal of that transaction that is durable; -1 before the first.
    pub ordinal: i64,
    /// The transaction is durable to its end.
    pub complete: bool,
    pub acknowledged_lsn: Lsn,
}

impl Progress {
    pub(crate) fn from_row(row: &Row) -> Self {
        Progress {
            commit_lsn: row.get("commit_lsn"),
            ordinal: row.get("ordinal"),
            complete: row.get("complete"),
            acknowledged_lsn: row.get("acknowledged_lsn"),
        }
    }

    /// The ordinal from which a transaction is still to be taken; none where all of it
    /// is durable.
    pub(crate) fn resume(&self, commit_lsn: Lsn) -> Option<u64> {
        if commit_lsn < self.commit_lsn || (commit_lsn == self.commit_lsn && self.complete) {
            None
        } else if commit_lsn == self.commit_lsn {
            Some(u64::try_from(self.ordinal + 1).unwrap_or(0))
        } else {
            Some(0)
        }
    }

    /// The stream has come to this change.
    pub(crate) fn enter(&mut self, commit_lsn: Lsn, ordinal: u64) {
        self.commit_lsn = commit_lsn;
        self.ordinal = i64::try_from(ordinal).unwrap_or(i64::MAX);
        self.complete = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(commit_lsn: u64, ordinal: i64, complete: bool) -> Progress {
        Progress {
            commit_lsn: Lsn(commit_lsn),
            ordinal,
            complete,
            acknowledged_lsn: Lsn(0),
        }
    }

    #[test]
    fn a_replay_resumes_behind_what_is_durable() {
        for (stored, transaction, expected) in [
            (progress(50, 7, true), 49, None),
            (progress(50, 7, true), 50, None),
            (progress(50, 7, true), 51, Some(0)),
            (progress(50, 7, false), 49, None),
            (progress(50, 7, false), 50, Some(8)),
            (progress(50, -1, false), 50, Some(0)),
        ] {
            assert_eq!(
                stored.resume(Lsn(transaction)),
                expected,
                "{stored:?} {transaction}"
            );
        }
    }
}
