//! Delivers events: hand-off, lanes, signature, attempt, result, retry.

pub mod breaker;
pub mod listing;
pub mod manual;
pub mod partitions;
pub mod signature;
