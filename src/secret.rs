//! Secrets: how they are read, made, kept at rest and never shown.
//!
//! [`SigningSecret`] signs what is sent to a subscriber, [`EncryptionKey`] keeps
//! signing secrets unreadable in the store, [`ApiToken`] opens the API. None of
//! them prints anything of itself, and their memory is wiped when dropped.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretSlice, SecretString};

mod api_token;
mod encryption_key;
mod file;

pub use api_token::{ApiToken, TokenError};
pub use encryption_key::{EncryptionKey, KeyFileError};
pub use file::{SecretFileError, mode_open_to_others, read_secret_file};

/// What Standard Webhooks puts before the base64 of a symmetric secret.
const PREFIX: &str = "whsec_";
/// Standard Webhooks 1.0: a symmetric secret is 24 to 64 bytes.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// What is generated: as many bytes as SHA-256 puts out, more gain nothing.
const GENERATED_BYTES: usize = 32;
/// Shorter texts can be guessed from one captured signature.
const MIN_CHARS: usize = 16;
/// Beyond HMAC-SHA256's block more is only storage.
const MAX_CHARS: usize = 256;

/// A subscription's signing secret as its owner was shown it.
#[derive(Clone)]
pub struct SigningSecret {
    text: SecretString,
    /// What `whsec_` stands for; none where the text's own bytes are the key.
    decoded: Option<SecretSlice<u8>>,
}

/// The secret is not one, or what was encrypted cannot be read. Never quotes the secret.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SecretError {
    #[error(
        "the secret has {0} characters: use at least {MIN_CHARS}, or leave it out to have one generated"
    )]
    TooShort(usize),
    #[error("the secret has {0} characters: use at most {MAX_CHARS}")]
    TooLong(usize),
    #[error(
        "the secret begins with `whsec_` but what follows is not base64 (standard alphabet, padded): correct it, or leave it out to have one generated"
    )]
    NotBase64,
    #[error(
        "the secret begins with `whsec_` and holds {0} bytes: Standard Webhooks wants 24 to 64, or leave it out to have one generated"
    )]
    KeyLength(usize),
    #[error(
        "the encrypted value has an unknown version or is cut off: was it written by a later walhook?"
    )]
    UnknownCiphertext,
    #[error(
        "the encrypted value does not open with this key: `security.encryption_key_file` must name the key that the store was set up with"
    )]
    WrongKey,
}

impl SigningSecret {
    /// Reads a secret as a user gives it: `whsec_` and base64 of 24 to 64 bytes,
    /// or any other text of 16 to 256 characters, whose bytes are then the key.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let chars = text.chars().count();
        if chars > MAX_CHARS {
            return Err(SecretError::TooLong(chars));
        }
        let decoded = match text.strip_prefix(PREFIX) {
            Some(encoded) => {
                let key = STANDARD
                    .decode(encoded)
                    .map_err(|_| SecretError::NotBase64)?;
                if !KEY_BYTES.contains(&key.len()) {
                    return Err(SecretError::KeyLength(key.len()));
                }
                Some(SecretSlice::from(key))
            }
            None if chars < MIN_CHARS => return Err(SecretError::TooShort(chars)),
            None => None,
        };
        Ok(SigningSecret {
            text: SecretString::from(text),
            decoded,
        })
    }

    /// A new secret of 32 random bytes.
    pub fn generate() -> Self {
        let mut key = Zeroizing::new([0; GENERATED_BYTES]);
        rand::fill(&mut key[..]);
        let encoded = Zeroizing::new(STANDARD.encode(&key[..]));
        SigningSecret {
            text: SecretString::from(format!("{PREFIX}{}", encoded.as_str())),
            decoded: Some(SecretSlice::from(key.to_vec())),
        }
    }

    /// The secret exactly as it was shown.
    pub fn text(&self) -> &str {
        self.text.expose_secret()
    }

    /// The bytes that key the HMAC of `webhook-signature`.
    pub fn key(&self) -> &[u8] {
        match &self.decoded {
            Some(key) => key.expose_secret(),
            None => self.text().as_bytes(),
        }
    }

    /// The last four characters, so that its owner knows which secret it is: `…a1b2`.
    pub fn hint(&self) -> String {
        let text = self.text();
        let start = text.char_indices().rev().nth(3).map_or(0, |(at, _)| at);
        format!("…{}", &text[start..])
    }
}

impl PartialEq for SigningSecret {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for SigningSecret {}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standard_secret_is_its_decoded_bytes() {
        let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        assert_eq!(secret.key().len(), 24);
        assert_eq!(secret.text(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        assert_eq!(secret.hint(), "…LaSw");
        assert_eq!(format!("{secret:?}"), "SigningSecret");
    }

    #[test]
    fn another_text_is_its_own_bytes() {
        let secret = SigningSecret::parse("correct horse ba").unwrap();
        assert_eq!(secret.key(), b"correct horse ba");
        assert_eq!(
            SigningSecret::parse("sixteen letters€").unwrap().hint(),
            "…ers€"
        );
    }

    #[test]
    fn refuses_what_is_too_weak_too_long_or_malformed() {
        let standard = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
        for (text, error) in [
            (String::new(), SecretError::TooShort(0)),
            ("short".into(), SecretError::TooShort(5)),
            ("x".repeat(257), SecretError::TooLong(257)),
            ("whsec_".into(), SecretError::KeyLength(0)),
            (standard(23), SecretError::KeyLength(23)),
            (standard(65), SecretError::KeyLength(65)),
            (
                "whsec_not base64 at all, sorry!!".into(),
                SecretError::NotBase64,
            ),
            (
                // The URL-safe alphabet, which receivers' libraries do not read.
                "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa-_".into(),
                SecretError::NotBase64,
            ),
        ] {
            assert_eq!(SigningSecret::parse(&text), Err(error), "{text}");
        }
        for bytes in [24, 64] {
            assert_eq!(
                SigningSecret::parse(&standard(bytes)).unwrap().key().len(),
                bytes
            );
        }
    }

    #[test]
    fn a_generated_secret_reads_back_and_is_fresh() {
        let secret = SigningSecret::generate();
        let read = SigningSecret::parse(secret.text()).unwrap();
        assert_eq!(read.key(), secret.key());
        assert_eq!(read.key().len(), GENERATED_BYTES);
        assert_ne!(secret, SigningSecret::generate());
    }
}
