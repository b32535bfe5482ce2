//! walhook on the releases of PostgreSQL that the machine need not have: 14, 16, 17 and 18,
//! from npm. Not part of plain `cargo test`: `cargo test --test versions` runs it.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod failover;
#[path = "../it/harness/mod.rs"]
#[expect(
    dead_code,
    reason = "the harness of `it`, of which this target needs a part"
)]
mod harness;
mod npm;
mod pair;
mod release;
mod standby;
mod suite;
