//! Why a session of capture ended, and what follows from it.

use crate::capture::{Interrupted, Redefined};
use crate::conninfo::sqlstate::Nature;
use crate::db;
use crate::delivery::instance::SILENCE;
use crate::handoff;
use crate::replication::{Gap, ReplicationError, slot::REMEDY};

/// Why a session ended that cannot simply be begun again.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Replication(#[from] ReplicationError),
    #[error(transparent)]
    Gap(#[from] Gap),
    /// Of the configuration, or of what was found in the WAL.
    #[error(transparent)]
    Final(anyhow::Error),
    /// Of the store: it may come back.
    #[error(transparent)]
    Store(#[from] anyhow::Error),
    /// The slot has to be released for WAL to be shed.
    #[error("WAL is about to be shed")]
    Shed,
    /// Another may hold the slot, and can write.
    #[error(
        "the store has confirmed no heartbeat of this instance for {} s: the slot is released for \
         a stand-by",
        SILENCE.as_secs()
    )]
    Silent,
}

impl Fault {
    /// The error to end with. A configuration's keeps its type, which decides the exit
    /// code; one that the stream cannot get past is told the way on.
    pub(super) fn explain(self) -> anyhow::Error {
        match self {
            Fault::Final(error) | Fault::Store(error) => error,
            Fault::Replication(error @ ReplicationError::Server { position: Some(_), .. }) => {
                anyhow::Error::from(error).context(format!(
                    "capture cannot get past this, and the slot keeps the WAL from there on. If nothing else helps: {REMEDY}"
                ))
            }
            Fault::Replication(error) => error.into(),
            Fault::Gap(gap) => gap.into(),
            Fault::Shed | Fault::Silent => self.into(),
        }
    }

    pub(super) fn is_of_another_leader(&self) -> bool {
        match self {
            Fault::Replication(ReplicationError::SlotActive { .. }) | Fault::Silent => true,
            Fault::Store(error) => {
                matches!(
                    error.downcast_ref(),
                    Some(handoff::Interrupted::Deposed { .. })
                )
            }
            Fault::Replication(_) | Fault::Gap(_) | Fault::Final(_) | Fault::Shed => false,
        }
    }

    /// The catalog has to be read again for a label, and all else is well.
    pub(super) fn is_of_new_label(&self) -> bool {
        let Fault::Store(error) = self else {
            return false;
        };
        matches!(error.downcast_ref(), Some(Interrupted::NewLabel(_)))
    }

    pub(super) fn is_transient(&self) -> bool {
        match self {
            Fault::Replication(error) => error.is_transient(),
            Fault::Gap(_) | Fault::Final(_) | Fault::Shed => false,
            Fault::Silent => true,
            Fault::Store(error) => error.is::<Redefined>() || is_transient(error),
        }
    }

    pub(super) fn is_of_decoding(&self) -> bool {
        matches!(self, Fault::Replication(error) if error.is_of_decoding())
    }

    /// The source does not let us in.
    pub(super) fn is_refused(&self) -> bool {
        matches!(self, Fault::Replication(error) if error.nature() == Nature::Refused)
    }
}

/// Whether the store may answer otherwise later, or ended our session.
fn is_transient(error: &anyhow::Error) -> bool {
    let is_interrupted = |cause: &(dyn std::error::Error + 'static)| {
        cause.is::<Interrupted>() || cause.is::<handoff::Interrupted>()
    };
    error.chain().any(is_interrupted) || db::is_transient(error)
}
