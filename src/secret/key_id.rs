//! Which encryption key it is.

use std::fmt;

use sha2::{Digest, Sha256};

/// The first bytes of a hash of the key: they tell it from others, and nothing of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; KeyId::BYTES]);

impl KeyId {
    /// Few enough to stand in every ciphertext; two keys of one installation never agree in them.
    pub const BYTES: usize = 8;

    pub(super) fn of_key(key: &[u8]) -> Self {
        let hash = Sha256::new()
            .chain_update(b"walhook key id\0")
            .chain_update(key)
            .finalize();
        let (id, _) = hash.split_first_chunk().expect("SHA-256 has 32 bytes");
        KeyId(*id)
    }

    /// As the store has it; `None` where that is not an id.
    pub fn of_stored(stored: &[u8]) -> Option<Self> {
        stored.try_into().ok().map(KeyId)
    }

    pub fn bytes(&self) -> &[u8; KeyId::BYTES] {
        &self.0
    }
}

impl From<[u8; KeyId::BYTES]> for KeyId {
    fn from(bytes: [u8; KeyId::BYTES]) -> Self {
        KeyId(bytes)
    }
}

/// Hexadecimal.
impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}
