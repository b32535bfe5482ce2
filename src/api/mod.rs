//! (being written)

mod health;

pub use health::{Capturing, Health};
