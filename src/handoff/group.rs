//! What one look at the stream brought, on its way into the store.

use std::sync::Arc;
use std::time::Instant;

use super::Progress;
use super::batch::{Batch, DeliveryRows};
use super::shadow_rows::Changes;
use crate::event::DeliveryId;
use crate::mapping::RuleSet;

/// Events and their deliveries on the way into the store.
pub(crate) struct Group {
    /// By which [`crate::delivery::offered::Offered`] knows its deliveries.
    pub(crate) number: u64,
    pub(crate) batch: Batch,
    pub(crate) rows: DeliveryRows,
    /// Of the shadow's rows.
    pub(crate) shadow: Changes,
    /// Where the stream stood after it.
    pub(crate) progress: Progress,
    pub(crate) since: Instant,
    /// Those that made its events, which name them by index.
    pub(crate) rules: Arc<RuleSet>,
}

/// How far is durable what the groups brought.
#[derive(Clone, Copy)]
pub(crate) struct Written {
    pub(crate) progress: Progress,
    /// The number of the shadow's [`Changes`].
    pub(crate) shadow: u64,
}

impl Group {
    /// What is durable when this is.
    pub(crate) fn written(&self) -> Written {
        Written {
            progress: self.progress,
            shadow: self.shadow.number,
        }
    }

    /// What it counts for among what is written at once. A change may make both an event
    /// and a row of the shadow, and an event any number of deliveries.
    pub(crate) fn len(&self) -> usize {
        let events = self.batch.events.len().max(self.rows.len());
        events.max(self.shadow.len())
    }

    pub(crate) fn bytes(&self) -> usize {
        self.batch.bytes + self.shadow.bytes()
    }

    /// The deliveries that this instance has in memory.
    pub(crate) fn owned(&self) -> impl Iterator<Item = DeliveryId> {
        let rows = self.rows.id.iter().zip(&self.rows.owner);
        rows.filter(|(_, owner)| owner.is_some())
            .map(|(id, _)| DeliveryId(*id))
    }
}
