//! Secrets: how they are read, kept at rest and never shown.

use std::fmt;

/// A subscription's signing secret as its owner was shown it.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret {
    text: String,
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret")
    }
}

impl SigningSecret {
    /// The secret exactly as it was shown.
    pub fn text(&self) -> &str {
        &self.text
    }
}
