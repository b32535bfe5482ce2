//! walhook from outside, against a real PostgreSQL and real HTTP.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod agreement;
mod api;
mod backfill;
mod capture;
mod cli;
mod connecting;
mod console;
mod delivery;
mod demo;
mod documents;
mod erasure;
mod explain;
mod facts;
mod gaps;
#[expect(
    dead_code,
    reason = "the targets `faults`, `versions` and `browser` need what this one does not"
)]
mod harness;
mod heartbeat;
mod hostile;
mod identity;
mod listen;
mod mapping;
mod operations;
mod ownership;
mod pipeline;
mod problems;
mod refusals;
mod reload;
mod replay;
mod sessions;
mod shadow;
mod store;
mod store_functions;
mod tables;
mod tenant_role;
mod truncate;
mod unknown_tenants;
mod wal_budget;
mod write_behind;
