//! walhook: signed webhooks from a PostgreSQL write-ahead log.
//!
//! # Layout, in the order that data flows
//!
//! - [`replication`]: the walsender connection; brings the WAL.
//! - [`pgoutput`]: decodes it; no I/O, never panics.
//! - [`mapping`]: turns changes into business events by rules; pure.
//! - [`subscription`]: who wants which events.
//! - [`enqueuer`]: events, deliveries and progress in one SQL transaction.
//! - [`source`]: what walhook knows of the application's database, and made there.
//! - [`backfill`]: rows that exist already, on their way to the enqueuer.
//! - [`delivery`]: hand-off, claim, sign, send, record, retry.
//! - [`api`]: what tenants and operators call.
//! - [`preflight`]: what must hold before `walhook run`; [`setup`] makes it.
//! - [`app`]: wires the tasks and supervises them; [`cli`] and [`demo`] stand on it.
//!
//! [`lsn`], [`duration`], [`byte_size`], [`secret`], [`backoff`], [`clock`], [`episode`],
//! [`log_limit`], [`metrics`], [`telemetry`], [`terminal`], [`conninfo`], [`health`] and [`docs`],
//! the guide, are leaves that everyone may import. `tests/layers.rs` asserts who may import whom.

pub mod api;
pub mod app;
pub mod backfill;
pub mod backoff;
pub mod byte_size;
pub mod cli;
pub mod clock;
pub mod config;
pub mod conninfo;
pub mod db;
pub mod delivery;
pub mod demo;
pub mod docs;
pub mod duration;
pub mod enqueuer;
pub mod episode;
pub mod event;
pub mod health;
pub mod log_limit;
pub mod lsn;
pub mod mapping;
pub mod metrics;
pub mod pgoutput;
pub mod preflight;
pub mod replication;
pub mod secret;
pub mod setup;
pub mod source;
pub mod subscription;
pub mod telemetry;
pub mod terminal;
