//! What is given to the recorder, and how long it waits for more of it.

use std::time::Duration;

use tokio::sync::mpsc;

use super::{BATCH, Record};
use crate::delivery::breaker::BreakerState;
use crate::event::SubscriptionId;

/// When nothing else is to be done the recorder waits this long for more results: it
/// trades this delay of a result's visibility, never of a delivery, for fewer commits.
/// Each commit waits for the disk, where enqueues wait too.
const LINGER: Duration = Duration::from_millis(20);

/// For results that nobody waits for it lingers longer, as endpoints that fail would
/// else cost the others a commit for each of a few: see [`Entry::can_wait`].
const LONG_LINGER: Duration = Duration::from_millis(200);

#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are results: boxing each would cost an allocation"
)]
pub enum Entry {
    Result(Record),
    Breakers(Vec<(SubscriptionId, BreakerState)>),
    /// The endpoint has succeeded after having failed.
    Recovered(SubscriptionId),
    /// What was counted is to be written.
    Stats,
}

impl Entry {
    /// Whether nothing follows from it for longer than the recorder may linger.
    fn can_wait(&self) -> bool {
        match self {
            Entry::Result(record) => record.due_in().is_some_and(|seconds| seconds > 1.0),
            Entry::Breakers(_) | Entry::Stats => true,
            Entry::Recovered(_) => false,
        }
    }
}

impl From<Record> for Entry {
    fn from(record: Record) -> Self {
        Entry::Result(record)
    }
}

/// Waits for what may be written with the batch.
pub(super) async fn gather(entries: &mut mpsc::Receiver<Entry>, batch: &mut Vec<Entry>) {
    let mut waited = Duration::ZERO;
    while batch.len() < BATCH / 4 && !entries.is_closed() {
        let patience = match batch.iter().all(Entry::can_wait) {
            true => LONG_LINGER,
            false => LINGER,
        };
        if waited >= patience {
            return;
        }
        tokio::time::sleep(LINGER).await;
        waited += LINGER;
        while batch.len() < BATCH {
            let Ok(entry) = entries.try_recv() else { break };
            batch.push(entry);
        }
    }
}
