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
    /// `now`: where the WAL ends.
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

    /// Whether it may be time to shed, and shedding would help. Where the WAL is kept for a
    /// transaction that has been open for long, all that was committed may well have been
    /// read: to skip it would free nothing.
    fn is_critical(&self, policy: WalPolicy) -> bool {
        policy == WalPolicy::Shed && self.uses(CRITICAL) && self.lag >= self.retained / 2
    }
}

/// Whether walhook catches up, from one look at the slot to the next. Right after a start
/// most of the budget may be used by what it is about to read.
#[derive(Clone, Copy, Debug, Default)]
pub struct CatchingUp {
    last_lag: Option<u64>,
    /// Looks in a row at which it did not.
    stuck: u32,
}

/// Looks in a row without catching up, after which is shed.
const STUCK_LOOKS: u32 = 3;
/// The share at which is shed in any case: the server is about to drop the slot.
const ALWAYS: u64 = 98;

impl CatchingUp {
    /// Takes a look, and answers whether it is time to shed.
    pub fn is_to_be_shed(&mut self, budget: &Budget, policy: WalPolicy) -> bool {
        let caught_up = self.last_lag.is_none_or(|last| budget.lag < last);
        self.last_lag = Some(budget.lag);
        self.stuck = match caught_up {
            true => 0,
            false => self.stuck.saturating_add(1),
        };
        budget.is_critical(policy) && (budget.uses(ALWAYS) || self.stuck >= STUCK_LOOKS)
    }
}

/// The share at which the policy decides: what is left is for what is written meanwhile.
pub const CRITICAL: u64 = 90;

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
        let shed = |budget: &Budget, policy| CatchingUp::default().is_to_be_shed(budget, policy);
        let lost_soon = budget(99, 99, Some(1), None);
        assert!(shed(&lost_soon, WalPolicy::Shed));
        assert!(!shed(&lost_soon, WalPolicy::Hold));
        let read_already = budget(99, 1, Some(1), None);
        assert!(!shed(&read_already, WalPolicy::Shed));
        let in_time = budget(50, 50, Some(50), None);
        assert!(!shed(&in_time, WalPolicy::Shed));
    }

    #[test]
    fn what_catches_up_is_not_shed_before_the_last() {
        let shed_at = |lags: &[u64]| {
            let mut catching = CatchingUp::default();
            let is_shed = |lag: &u64| {
                let look = budget(95, *lag, Some(5), None);
                catching.is_to_be_shed(&look, WalPolicy::Shed)
            };
            lags.iter().position(is_shed)
        };
        assert_eq!(shed_at(&[95, 94, 93, 92, 91, 90, 89, 88]), None);
        assert_eq!(shed_at(&[94, 95, 95, 94, 94, 95, 93]), None);
        assert_eq!(shed_at(&[90, 90, 90, 90]), Some(3));
        assert_eq!(shed_at(&[90, 91, 92, 93]), Some(3));
        assert_eq!(shed_at(&[90, 89, 89, 90, 91]), Some(4));
    }
}
