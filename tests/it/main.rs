//! walhook from outside, against a real PostgreSQL and real HTTP.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod capture;
mod connecting;
mod demo;
mod harness;
mod listen;
mod operations;
mod pipeline;
mod store;
