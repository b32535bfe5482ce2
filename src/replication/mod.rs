//! The walsender connection: brings the WAL of a PostgreSQL database.
//!
//! - [`receiver`]: the stream as the rest of walhook sees it.
//! - `session`: the thread behind it, which owns the socket.
//! - `takeover`: how it takes the slot, and what a refusal means.
//! - `queue`: what stands between the two, bounded by bytes.
//! - [`slot`]: the slot, looked at, created and dropped over plain SQL, and the
//!   judgement whether it still continues what was recorded.
//! - `connection`, `authentication`, `socket`, `copy_data`: the protocol, bottom up.

mod authentication;
mod connection;
mod copy_data;
pub mod error;
mod queue;
pub mod receiver;
mod session;
pub mod slot;
mod socket;
pub mod system;
mod takeover;

pub use error::ReplicationError;
pub use receiver::{OnGap, SourceConfig, WalPolicy, WalStream, identify, start, start_temporary};
pub use slot::{Gap, GapKind, RecordedProgress, SlotState};
pub use system::{SystemIdentity, TimelineSwitch};
