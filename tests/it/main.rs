//! walhook from outside, against a real PostgreSQL and real HTTP.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod api;
mod capture;
mod cli;
mod connecting;
mod crash;
mod delivery;
mod demo;
mod explain;
mod facts;
mod faults;
mod gaps;
mod harness;
mod listen;
mod mapping;
mod operations;
mod ownership;
mod pipeline;
mod refusals;
mod shadow;
mod store;
mod tables;
mod truncate;
mod versions;
mod wal_budget;
mod write_behind;
