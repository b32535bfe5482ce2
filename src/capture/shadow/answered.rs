//! Up to where changes were mapped with old values of the shadow: what of it may have been
//! stale is not more.

use std::collections::HashMap;

use crate::lsn::Lsn;

/// By the tables' oids, for as long as this process holds the slot.
#[derive(Debug, Default)]
pub struct Answered {
    /// Of the leadership that it is of, and those before without another in between.
    epoch: i64,
    tables: HashMap<u32, Lsn>,
}

impl Answered {
    pub(super) fn note(&mut self, epoch: i64, table: u32, commit_lsn: Lsn) {
        self.lead(epoch);
        let last = self.tables.entry(table).or_default();
        *last = commit_lsn.max(*last);
    }

    /// Another process may have led before, of which this one knows nothing.
    pub(super) fn lead(&mut self, epoch: i64) {
        if epoch != self.epoch && epoch != self.epoch + 1 {
            self.tables.clear();
        }
        self.epoch = epoch;
    }

    /// The last commit that may have been mapped with old values, before this leadership began;
    /// where that is not known, what was mapped at all.
    pub(super) fn of(&self, table: u32, epoch: i64, progress: Lsn) -> Lsn {
        match epoch == self.epoch || epoch == self.epoch + 1 {
            true => self.tables.get(&table).copied().unwrap_or(Lsn::ZERO),
            false => progress,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_process_may_have_mapped_counts() {
        let mut answered = Answered::default();
        assert_eq!(answered.of(7, 5, Lsn(9)), Lsn(9));
        answered.lead(5);
        assert_eq!(answered.of(7, 6, Lsn(9)), Lsn::ZERO);
        answered.note(5, 7, Lsn(3));
        answered.note(5, 7, Lsn(2));
        assert_eq!(answered.of(7, 6, Lsn(9)), Lsn(3));
        assert_eq!(answered.of(7, 7, Lsn(9)), Lsn(9));
        answered.lead(6);
        assert_eq!(answered.of(7, 6, Lsn(9)), Lsn(3));
        answered.lead(8);
        assert_eq!(answered.of(7, 8, Lsn(9)), Lsn::ZERO);
    }
}
