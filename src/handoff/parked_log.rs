//! What is logged of changes that are parked: by rule, table and reason, each at most once a
//! minute.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::log_limit::{Admitted, LogLimit};
use crate::mapping::{ParkedChange, ParkedReason};

#[derive(Default)]
pub(crate) struct ParkedLog(Mutex<LogLimit<Alike>>);

/// Rule, table and reason.
type Alike = (Arc<str>, Arc<str>, &'static str);

impl ParkedLog {
    /// Of changes that are durable.
    pub(crate) fn write(&self, changes: &[ParkedChange]) {
        if changes.is_empty() {
            return;
        }
        let mut limit = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            let (rule, relation) = (&change.rule, &change.relation);
            let reason = change.reason.as_str();
            let key = (Arc::clone(rule), Arc::clone(relation), reason);
            let Some(Admitted { repeated, others }) = limit.admit(key, Instant::now()) else {
                continue;
            };
            let lsn = change.commit_lsn;
            let detail = &*change.detail;
            match change.reason {
                ParkedReason::Unroutable | ParkedReason::Unmappable => tracing::warn!(
                    reason, %relation, %rule, %lsn, detail, repeated, others,
                    "a change was parked and not sent: see `walhook parked list`"
                ),
                // The rule is well: it is the row or the server that is to be looked at.
                ParkedReason::Undecodable | ParkedReason::Oversized => tracing::error!(
                    reason, %relation, %rule, %lsn, detail, bytes = change.row_bytes, repeated, others,
                    "a change was parked and not sent: see `walhook parked list`"
                ),
            }
        }
    }
}
