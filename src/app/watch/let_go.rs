//! Helps the server to let go of log that was read: for a slot it keeps what has been
//! written since it last wrote down which transactions are running, and tells a walsender
//! that has nothing to send of new log only when there is more. After a burst that
//! concerns nobody, both may take half a minute; a record of some hundred bytes is enough,
//! and progress that is persisted after it.

use crate::capture::{LET_GO, watermark};
use crate::conninfo::Client;
use crate::lsn::Lsn;
use crate::replication::SlotState;
use crate::replication::slot::{self, Budget};

/// Less than this is not worth a record.
const KEPT: u64 = 8 * 1024 * 1024;

/// At most so many looks are let pass, two to this power, while it does not help: an open
/// transaction keeps the WAL, or capture is far behind.
const MOST: u32 = 5;

#[derive(Default)]
pub(super) struct LetGo {
    restart: Option<Lsn>,
    tries: u32,
    looks: u32,
}

impl LetGo {
    pub(super) async fn help(&mut self, source: &Client, state: &SlotState, budget: &Budget) {
        if self.restart != state.restart_lsn {
            self.restart = state.restart_lsn;
            (self.tries, self.looks) = (0, 0);
        }
        if budget.retained < KEPT {
            return;
        }
        self.looks += 1;
        if self.looks < 1 << self.tries.min(MOST) {
            return;
        }
        self.looks = 0;
        self.tries += 1;
        if let Err(error) = mark(source).await {
            tracing::debug!(
                error = format!("{error:#}"),
                "the slot keeps log that was read"
            );
        }
    }
}

/// The record, and after it a message that has the progress persisted: the slot moves.
pub(super) async fn mark(source: &Client) -> anyhow::Result<()> {
    // Where a transaction is open for long it waits in vain: the record is written by then.
    if let Err(error) = slot::log_running_transactions(source).await {
        let error = format!("{:#}", anyhow::Error::from(error));
        tracing::debug!(error, "did not see the running transactions end");
    }
    watermark::emit(source, LET_GO).await
}
