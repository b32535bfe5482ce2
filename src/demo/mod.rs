//! The demo, and the embedded PostgreSQL that it shares with tests and benches.

pub mod postgres;
pub mod receiver;
pub mod view;
