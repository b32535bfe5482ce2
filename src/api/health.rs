//! Whether this process does what it is for: asked by `/readyz`.

use std::sync::{Mutex, PoisonError};

/// What the capture of this process is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Capturing {
    /// Not one of this process's roles.
    #[default]
    NotOurs,
    /// Has not held the slot yet.
    Starting,
    /// Another instance holds the slot.
    StandBy,
    /// Holds the slot and streams; every rule is active.
    Leader,
    /// Lost the stream and tries again; says why.
    Interrupted(String),
}

/// Written by the tasks, read by the API.
#[derive(Debug, Default)]
pub struct Health {
    capturing: Mutex<Capturing>,
}

impl Health {
    pub fn set_capturing(&self, capturing: Capturing) {
        *self
            .capturing
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = capturing;
    }

    pub fn capturing(&self) -> Capturing {
        self.capturing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
