//! What one look at the stream brought, matched and handed over together.

use std::sync::Arc;
use std::time::Instant;

use super::Progress;
use super::batch::{Batch, DeliveryRows};
use crate::event::DeliveryId;
use crate::mapping::RuleSet;

/// Events and their deliveries on the way into the store.
pub(super) struct Pass {
    /// By which [`crate::delivery::unwritten::Unwritten`] knows its deliveries.
    pub(super) group: u64,
    pub(super) batch: Batch,
    pub(super) rows: DeliveryRows,
    /// Where the stream stood behind it.
    pub(super) progress: Progress,
    pub(super) since: Instant,
    /// Those that made its events, which name them by index.
    pub(super) rules: Arc<RuleSet>,
}

impl Pass {
    /// The deliveries that this instance has in memory.
    pub(super) fn owned(&self) -> impl Iterator<Item = DeliveryId> {
        let rows = self.rows.id.iter().zip(&self.rows.owner);
        rows.filter(|(_, owner)| owner.is_some())
            .map(|(id, _)| DeliveryId(*id))
    }
}
