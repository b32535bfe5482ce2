//! Delivers events: hand-off, lanes, signature, attempt, result, retry.

pub mod attempt;
pub mod breaker;
pub mod client;
pub mod cloud_event;
pub mod listing;
pub mod manual;
pub mod partitions;
pub mod replay;
pub mod signature;
