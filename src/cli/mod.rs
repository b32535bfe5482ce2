//! (being written)

pub mod listen;
pub mod signals;
