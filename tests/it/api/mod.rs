//! The HTTP API, over real HTTP against a real store.

mod deliveries;
mod fixtures;
mod idempotency;
mod jwt;
mod openapi;
mod operation;
mod refusals;
mod replays;
mod subscriptions;
mod tenants;
