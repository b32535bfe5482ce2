//! walhook from outside, against a real PostgreSQL and real HTTP.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod api;
mod capture;
mod cli;
mod connecting;
mod crash;
mod demo;
mod harness;
mod listen;
mod mapping;
mod operations;
mod pipeline;
mod shadow;
mod store;
