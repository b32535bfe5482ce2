//! Notices and log lines of deliveries that failed for good.

use std::collections::HashSet;

use uuid::Uuid;

use super::{Record, Recorder};
use crate::delivery::attempt::Outcome;
use crate::delivery::state::Transition;
use crate::delivery::{Letter, operational};
use crate::subscription::directory::Snapshot;

/// The dead letters that the tenant is notified of. Those of operational events end
/// silently, or each would make the next.
pub(super) fn announced(record: &Record) -> impl Iterator<Item = Letter<'_>> {
    dead_letters(record).filter(|letter| !letter.event_type.starts_with(operational::PREFIX))
}

pub(super) fn is_announced(record: &Record) -> bool {
    announced(record).next().is_some()
}

fn dead_letters(record: &Record) -> impl Iterator<Item = Letter<'_>> {
    let dead = matches!(record.transition, Transition::Failed | Transition::Gone);
    record.delivery.letters().filter(move |_| dead)
}

impl Recorder {
    /// Logs those of the records that were written.
    pub(super) fn log_dead_letters(
        &self,
        records: &[Record],
        written: &HashSet<Uuid>,
        subscriptions: &Snapshot,
    ) {
        for record in records {
            let written = dead_letters(record).filter(|letter| written.contains(&letter.id.0));
            for letter in written {
                let subscription = subscriptions.get(record.delivery.subscription_id);
                let Some(subscription) = subscription else {
                    continue;
                };
                let reason = record.outcome.as_ref().map(Outcome::reason);
                let reason = reason.unwrap_or_default();
                let attempts = record.delivery.attempts;
                let log = &self.health.log;
                log.failed_for_good(subscription, &letter, attempts, &reason);
            }
        }
    }
}
