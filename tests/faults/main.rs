//! walhook under faults: kills, crashes and connections that are cut, at random moments and
//! one at a time. Not part of plain `cargo test`: `cargo test --test faults` runs it.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod clocks;
mod crash;
#[path = "../it/harness/mod.rs"]
#[expect(
    dead_code,
    reason = "the harness of `it`, of which this target needs a part"
)]
mod harness;
mod interrupted;
mod silence;
mod silent_store;
mod store;
mod takeover;
