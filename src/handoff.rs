//! From accepted to durable. What capture has matched is offered to delivery at once and written a
//! moment later: events, deliveries, their first results, rows of the shadow and the progress, many
//! groups in one transaction of the store. Nothing is acknowledged to the slot before that has
//! committed. Which deliveries are offered and not durable is the state of
//! [`Offered`](crate::delivery::offered::Offered).

mod batch;
mod copies;
mod group;
mod parked_log;
mod progress;
mod queue;
mod reservation;
mod rows;
mod shadow_rows;
mod statements;
mod tallies;
mod unknown_tenants;
mod writer;

pub(crate) use batch::{Batch, DeliveryRows, ParkedKey, TakenChunk, WaitsFor};
pub(crate) use group::{Group, Written};
pub use progress::Progress;
pub(crate) use queue::Queue;
pub(crate) use reservation::Reservation;
pub(crate) use shadow_rows::{ChangedRow, Changes};
pub use tallies::Tallies;
pub use unknown_tenants::UnknownTenants;
pub(crate) use writer::{Failed, Means, Writer};

/// Why what was accepted was not written, and may be brought and written again.
#[derive(Debug, thiserror::Error)]
pub enum Interrupted {
    #[error(
        "the epoch of the slot `{slot}` was raised: another instance leads, or the slot was \
         set up again"
    )]
    Deposed { slot: String },
    #[error("retention dropped a day that rows were still written to; it is made again")]
    DayDropped,
}
