//! How much log the slot keeps of what it may.

use crate::byte_size::ByteSize;
use crate::lsn::Lsn;
use crate::replication::{SlotState, WalPolicy};

/// How much log the slot keeps, and how much it may; no limit: the disk is the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    pub retained: u64,
    /// Written and not confirmed: what shedding would give up.
    pub lag: u64,
    pub limit: Option<u64>,
}

/// Below a segment's size the shares say nothing: PostgreSQL keeps whole segments.
const SEGMENT: u64 = 16 << 20;

impl Budget {
    /// `now`: where the log ends.
    pub fn of(state: &SlotState, now: Lsn, own_limit: Option<ByteSize>) -> Self {
        let behind = |lsn: Option<Lsn>| lsn.map_or(0, |lsn| now.0.saturating_sub(lsn.0));
        let retained = behind(state.restart_lsn);
        let servers = state.safe_wal_size.map(|safe| {
            let safe = u64::try_from(safe).unwrap_or(0);
            retained.saturating_add(safe)
        });
        let own = own_limit.map(|limit| limit.0);
        Budget {
            retained,
            lag: behind(state.confirmed_flush_lsn),
            limit: servers.into_iter().chain(own).min(),
        }
    }

    /// Whether `percent` of the limit is used.
    pub fn uses(&self, percent: u64) -> bool {
        self.limit.is_some_and(|limit| {
            let share = u128::from(self.retained) * 100;
            self.retained >= SEGMENT && share >= u128::from(limit) * u128::from(percent)
        })
    }

    /// Whether it is time to shed, and shedding would help. Where the log is kept for a
    /// transaction that has been open for long, all that was committed may well have been
    /// read: to skip it would free nothing.
    pub fn is_to_be_shed(&self, policy: WalPolicy) -> bool {
        policy == WalPolicy::Shed && self.uses(BRINK) && self.lag >= self.retained / 2
    }
}

/// The share at which the policy decides: what is left is for what is written meanwhile.
pub const BRINK: u64 = 90;

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn budget(retained: u64, lag: u64, safe: Option<i64>, own: Option<u64>) -> Budget {
        let now = Lsn(1000 * GIB);
        let state = SlotState {
            restart_lsn: Some(Lsn(now.0 - retained * GIB)),
            confirmed_flush_lsn: Some(Lsn(now.0 - lag * GIB)),
            safe_wal_size: safe.map(|safe| safe * GIB as i64),
            ..SlotState::default()
        };
        Budget::of(&state, now, own.map(|own| ByteSize(own * GIB)))
    }

    #[test]
    fn the_smaller_limit_counts() {
        for (retained, safe, own, used) in [
            (49, Some(51), None, 0),
            (5, Some(5), None, 50),
            (80, Some(20), None, 80),
            (5, Some(-1), None, 90),
            (500, None, None, 0),
            (500, None, Some(1000), 50),
            (50, Some(950), Some(60), 80),
            (50, Some(5), Some(1000), 90),
        ] {
            let budget = budget(retained, retained, safe, own);
            let share = [90, 80, 50, 0]
                .into_iter()
                .find(|percent| *percent == 0 || budget.uses(*percent));
            assert_eq!(share, Some(used), "{budget:?}");
        }
    }

    #[test]
    fn log_is_shed_only_where_that_frees_it() {
        let near = budget(95, 95, Some(5), None);
        assert!(near.is_to_be_shed(WalPolicy::Shed));
        assert!(!near.is_to_be_shed(WalPolicy::Hold));
        let read_already = budget(95, 1, Some(5), None);
        assert!(!read_already.is_to_be_shed(WalPolicy::Shed));
        let in_time = budget(50, 50, Some(50), None);
        assert!(!in_time.is_to_be_shed(WalPolicy::Shed));
    }
}
