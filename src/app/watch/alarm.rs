//! The alarms while the slot uses up what it may keep of the WAL.

use crate::replication::WalPolicy;
use crate::replication::slot::{Budget, CRITICAL};

/// How near the slot is to being lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Alarm {
    None,
    /// Half of what may be kept for the slot is used.
    Half,
    /// Four fifths of it.
    Near,
    /// Nine tenths: the policy decides.
    Critical,
}

impl Alarm {
    pub(super) fn of(budget: &Budget) -> Self {
        match () {
            () if budget.uses(CRITICAL) => Alarm::Critical,
            () if budget.uses(80) => Alarm::Near,
            () if budget.uses(50) => Alarm::Half,
            () => Alarm::None,
        }
    }

    /// Says it once when the alarm rises, and once when it is over.
    pub(super) fn after(self, slot: &str, budget: &Budget, policy: WalPolicy) -> Self {
        let now = Alarm::of(budget);
        let (bytes, limit) = (budget.retained, budget.limit.unwrap_or(0));
        let lag = budget.lag;
        match now {
            Alarm::Critical if self < Alarm::Critical && policy == WalPolicy::Shed => {
                tracing::error!(
                    slot,
                    bytes,
                    limit,
                    lag,
                    "the slot keeps over 90 % of the WAL that it may: what was not read is shed as soon as \
                 walhook does not catch up, and at 98 % in any case"
                )
            }
            Alarm::Critical if self < Alarm::Critical => tracing::error!(
                slot,
                bytes,
                limit,
                lag,
                "the slot keeps over 90 % of the WAL that it may, and walhook holds it. Find out what holds \
                 walhook up, or which transaction has been open for long, or raise the limit"
            ),
            Alarm::Near if self < Alarm::Near => tracing::error!(
                slot,
                bytes,
                limit,
                "the slot keeps over 80 % of the WAL that it may: find out what holds walhook up, or raise \
                 max_slot_wal_keep_size and source.wal_limit"
            ),
            Alarm::Half if self < Alarm::Half => tracing::warn!(
                slot,
                bytes,
                limit,
                "the slot keeps over half of the WAL that it may"
            ),
            Alarm::None if self > Alarm::None => {
                tracing::info!(
                    slot,
                    bytes,
                    limit,
                    "the slot keeps less than half of the WAL that it may again"
                );
            }
            Alarm::None | Alarm::Half | Alarm::Near | Alarm::Critical => {}
        }
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alarm_follows_the_share_that_is_used() {
        const MIB: u64 = 1 << 20;
        for (retained, limit, expected) in [
            (49, Some(100), Alarm::None),
            (50, Some(100), Alarm::Half),
            (79, Some(100), Alarm::Half),
            (80, Some(100), Alarm::Near),
            (90, Some(100), Alarm::Critical),
            (200, Some(100), Alarm::Critical),
            (9, Some(10), Alarm::None),
            (500, None, Alarm::None),
        ] {
            let budget = Budget {
                retained: retained * MIB,
                lag: 0,
                limit: limit.map(|limit: u64| limit * MIB),
            };
            assert_eq!(Alarm::of(&budget), expected, "{budget:?}");
        }
    }
}
