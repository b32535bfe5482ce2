//! Telling the other instances of what is theirs.

use std::sync::Weak;

use super::{Record, Recorder, Session};
use crate::delivery::ParkedReason;
use crate::delivery::dispatcher::Dispatcher;
use crate::delivery::manual::notify;
use crate::delivery::state::Transition;

impl Recorder {
    /// What waits of a subscription that another sends to by now is the other's to claim.
    pub(super) async fn tell_others(
        &self,
        session: &Option<Session>,
        records: &[Record],
        dispatcher: &Weak<Dispatcher>,
    ) {
        let Some(session) = session else { return };
        let dispatcher = dispatcher.upgrade();
        let is_others = |record: &Record| {
            let id = record.delivery.subscription_id;
            waits(record) && !dispatcher.as_ref().is_some_and(|own| own.serves(id))
        };
        if !records.iter().any(is_others) {
            return;
        }
        if let Err(error) = notify(&session.client, self.store.schema()).await {
            tracing::debug!(%error, "cannot announce what waits; the others will find it");
        }
    }
}

/// Whether it is in the schedule, and may be due there.
pub(super) fn waits(record: &Record) -> bool {
    matches!(
        record.transition,
        Transition::Retry { .. }
            | Transition::Released { .. }
            // Its subscription may have been enabled meanwhile.
            | Transition::Parked(ParkedReason::Disabled)
    )
}
