//! Old values that may not be what the tables have, as the watch finds in the catalog, and the
//! catalog as a hold of the slot begins and ends with it.

use std::time::Duration;

use tokio::sync::watch;

use super::capture::Capture;
use super::fault::Fault;
use super::watch::definitions::{DefinitionWatch, Persist};
use crate::app::old_values;
use crate::capture::{OldValueTables, SourceCatalog};
use crate::conninfo::{ConnInfo, Purpose};
use crate::replication::{ReplicationError, SourceConfig};

/// Where the tables are defined.
pub(super) fn catalog(source: &ConnInfo, config: &SourceConfig) -> SourceCatalog {
    SourceCatalog {
        source: source.clone(),
        publication: config.publication.clone(),
        slot: config.slot.clone(),
    }
}

/// The watch says here what capture has to begin again for.
pub(super) struct Doubtful {
    reason: watch::Sender<Option<String>>,
}

impl Doubtful {
    pub(super) fn new() -> Self {
        Doubtful {
            reason: watch::Sender::new(None),
        }
    }

    pub(super) fn raise(&self, reason: String) {
        self.reason.send_replace(Some(reason));
    }

    /// A session has begun under the definitions of now.
    pub(super) fn settle(&self) {
        self.reason.send_replace(None);
    }

    pub(super) fn reason(&self) -> Option<String> {
        self.reason.borrow().clone()
    }

    /// Waits until there is a reason. Cancel-safe.
    pub(super) async fn raised(&self) {
        // The sender is ours: it does not go away.
        let _ = self.reason.subscribe().wait_for(Option::is_some).await;
    }
}

/// How long the source may take for the last look when the process is to stop.
const LAST_LOOK: Duration = Duration::from_secs(1);

impl Capture {
    /// Adds how the tables are defined, as this leader finds it: another may have known later
    /// definitions than those from before it let go of the slot.
    pub(super) async fn define(&self, tables: OldValueTables) -> Result<OldValueTables, Fault> {
        if tables.shadowed.is_empty() {
            return Ok(tables);
        }
        let source = self.source.connect(Purpose::Reload, None).await;
        let mut source = source.map_err(ReplicationError::from)?;
        let catalog = &self.enqueuer.catalog;
        Ok(old_values::define(tables, catalog, &mut source).await?)
    }

    /// All is written: what is altered while capture is stopped is known to come later.
    pub(super) async fn look_at_last(&self) {
        let looking = async {
            let mut source = self.source.connect(Purpose::Reload, None).await?;
            let mut definitions = DefinitionWatch::default();
            let (catalog, store) = (&self.enqueuer.catalog, &self.enqueuer.store);
            definitions
                .look(catalog, &mut source, store, Persist::Always)
                .await
        };
        match tokio::time::timeout(LAST_LOOK, looking).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(
                error = format!("{error:#}"),
                "did not look at the definitions of tables at the end"
            ),
            Err(_) => tracing::debug!("did not look at the definitions of tables at the end"),
        }
    }
}
