//! Custom headers as the store keeps them: they often hold the receiver's credentials.

use std::collections::BTreeMap;
use std::fmt;

use super::SubscriptionId;
use crate::secret::{EncryptionKey, SecretError};

/// Sets headers apart from the signing secret, which is encrypted for the bare id.
const CONTEXT: &[u8] = b"headers";

/// A subscription's custom headers, names and values, encrypted for it alone. None
/// where it has none.
#[derive(Clone)]
pub struct SealedHeaders(Option<Vec<u8>>);

#[derive(Debug, thiserror::Error)]
pub enum HeadersError {
    #[error("decrypt the headers of {id}")]
    Sealed {
        id: SubscriptionId,
        #[source]
        source: SecretError,
    },
    /// Says nothing of what was found: it is a credential.
    #[error("the headers of {0} are not what walhook writes: set them again")]
    Malformed(SubscriptionId),
}

impl SealedHeaders {
    pub fn seal(
        headers: &BTreeMap<String, String>,
        key: &EncryptionKey,
        id: SubscriptionId,
    ) -> Self {
        if headers.is_empty() {
            return SealedHeaders(None);
        }
        let plain: serde_json::Map<String, serde_json::Value> = headers
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().into()))
            .collect();
        let plain = serde_json::Value::Object(plain).to_string();
        SealedHeaders(Some(key.encrypt(plain.as_bytes(), &context(id))))
    }

    pub fn open(
        &self,
        key: &EncryptionKey,
        id: SubscriptionId,
    ) -> Result<BTreeMap<String, String>, HeadersError> {
        let Some(ciphertext) = &self.0 else {
            return Ok(BTreeMap::new());
        };
        let plain = key
            .decrypt(ciphertext, &context(id))
            .map_err(|source| HeadersError::Sealed { id, source })?;
        serde_json::from_slice(&plain).map_err(|_| HeadersError::Malformed(id))
    }

    /// As read from the store.
    pub fn from_stored(ciphertext: Option<Vec<u8>>) -> Self {
        SealedHeaders(ciphertext)
    }

    /// As the store takes it.
    pub fn as_stored(&self) -> Option<&[u8]> {
        self.0.as_deref()
    }
}

impl fmt::Debug for SealedHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedHeaders")
    }
}

/// What a subscription's headers are encrypted for.
pub fn context(id: SubscriptionId) -> Vec<u8> {
    [id.0.as_bytes(), CONTEXT].concat()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn headers() -> BTreeMap<String, String> {
        BTreeMap::from([("Authorization".to_owned(), "Bearer \"quoted\" é".to_owned())])
    }

    #[test]
    fn what_was_sealed_opens_for_the_same_subscription_under_the_same_key_only() {
        let key = EncryptionKey::generate();
        let id = SubscriptionId(Uuid::from_u128(1));
        let sealed = SealedHeaders::seal(&headers(), &key, id);
        assert_eq!(sealed.open(&key, id).unwrap(), headers());
        let other = SubscriptionId(Uuid::from_u128(2));
        assert!(sealed.open(&key, other).is_err());
        assert!(sealed.open(&EncryptionKey::generate(), id).is_err());
        // Nor does it pass for the signing secret, nor that for headers.
        let ciphertext = sealed.as_stored().unwrap();
        assert!(key.decrypt(ciphertext, id.0.as_bytes()).is_err());
        let secret = key.encrypt(b"{}", id.0.as_bytes());
        assert!(
            SealedHeaders::from_stored(Some(secret))
                .open(&key, id)
                .is_err()
        );
    }

    #[test]
    fn nothing_of_them_shows_at_rest() {
        let key = EncryptionKey::generate();
        let id = SubscriptionId(Uuid::from_u128(1));
        let sealed = SealedHeaders::seal(&headers(), &key, id);
        let stored = sealed.as_stored().unwrap();
        for plain in [&b"Authorization"[..], b"Bearer", b"quoted"] {
            assert!(!stored.windows(plain.len()).any(|part| part == plain));
        }
        assert_eq!(format!("{sealed:?}"), "SealedHeaders");
        assert!(
            SealedHeaders::seal(&BTreeMap::new(), &key, id)
                .as_stored()
                .is_none()
        );
    }

    #[test]
    fn an_error_quotes_nothing() {
        let key = EncryptionKey::generate();
        let id = SubscriptionId(Uuid::from_u128(1));
        let sealed = key.encrypt(b"[\"s3cret\"]", &context(id));
        let error = SealedHeaders::from_stored(Some(sealed))
            .open(&key, id)
            .unwrap_err();
        assert!(!format!("{error} {error:?}").contains("s3cret"));
    }
}
