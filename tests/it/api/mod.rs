//! The HTTP API, over real HTTP against a real store.

mod audit;
mod deliveries;
mod end_to_end;
mod filters;
pub mod fixtures;
mod history;
mod idempotency;
mod jobs;
mod jwt;
mod limits;
mod openapi;
mod operation;
mod refusals;
mod replays;
mod retention;
mod signing;
mod stream;
mod subscriptions;
mod tenants;
