//! Delivers events: hand-off, lanes, signature, attempt, result, retry.

pub mod breaker;
pub mod signature;
