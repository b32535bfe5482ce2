//! The symmetric secrets of Standard Webhooks, `whsec_`, and texts in their place.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretSlice, SecretString};

use super::SecretError;
use super::pasted::{self, PUBLIC_KEY_PREFIX, SECRET_PREFIX, SIGNING_KEY_PREFIX};

/// Standard Webhooks 1.0: a symmetric secret is 24 to 64 bytes.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// What is generated: as many bytes as SHA-256 puts out, more gain nothing.
const GENERATED_BYTES: usize = 32;
/// Shorter texts can be guessed from one captured signature.
pub(super) const MIN_CHARS: usize = 16;
/// Beyond HMAC-SHA256's block more is only storage.
pub(super) const MAX_CHARS: usize = 256;

/// A subscription's signing secret as its owner was shown it.
#[derive(Clone)]
pub struct SigningSecret {
    text: SecretString,
    /// What `whsec_` stands for; none where the text's own bytes are the key.
    decoded: Option<SecretSlice<u8>>,
}

impl SigningSecret {
    /// Reads a secret as a user gives it: `whsec_` and base64 of 24 to 64 bytes, or
    /// another text of 16 to 256 printable ASCII characters, whose bytes are then the key.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let chars = text.chars().count();
        if chars > MAX_CHARS {
            return Err(SecretError::TooLong(chars));
        }
        pasted::check(text)?;
        let decoded = match text.strip_prefix(SECRET_PREFIX) {
            Some(encoded) => Some(decode(encoded)?),
            None => {
                check_text(text)?;
                None
            }
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
            text: SecretString::from(format!("{SECRET_PREFIX}{}", encoded.as_str())),
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

    /// Whether the text's own bytes are the key.
    pub fn is_text(&self) -> bool {
        self.decoded.is_none()
    }

    /// The last four characters, so that its owner knows which secret it is: `…a1b2`.
    pub fn hint(&self) -> String {
        let text = self.text();
        let start = text.char_indices().rev().nth(3).map_or(0, |(at, _)| at);
        format!("…{}", &text[start..])
    }
}

fn decode(encoded: &str) -> Result<SecretSlice<u8>, SecretError> {
    let key = STANDARD
        .decode(encoded)
        .map_err(|_| SecretError::NotBase64)?;
    let key = Zeroizing::new(key);
    if !KEY_BYTES.contains(&key.len()) {
        return Err(SecretError::KeyLength(key.len()));
    }
    // Of its exact size: shrinking it would leave a copy behind.
    Ok(SecretSlice::from(key.to_vec()))
}

/// Whether a text without `whsec_` may be meant as it stands.
fn check_text(text: &str) -> Result<(), SecretError> {
    let chars = text.chars().count();
    if text.starts_with(SIGNING_KEY_PREFIX) {
        Err(SecretError::SigningKey)
    } else if text.starts_with(PUBLIC_KEY_PREFIX) {
        Err(SecretError::PublicKey)
    } else if super::ApiToken::parse(text).is_ok() {
        Err(SecretError::ApiToken)
    } else if chars < MIN_CHARS {
        Err(SecretError::TooShort(chars))
    } else if is_base64(text) {
        Err(SecretError::WithoutPrefix)
    } else {
        Ok(())
    }
}

/// Base64 beyond doubt, of either alphabet. Without `+`, `/` and padding it may as well
/// be hex, or words with dashes.
fn is_base64(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    let padded = digits.len() < text.len();
    let only = |more: [char; 2]| {
        let digit = |c: char| c.is_ascii_alphanumeric() || more.contains(&c);
        digits.chars().all(digit)
    };
    let standard = only(['+', '/']) && (padded || digits.contains(['+', '/']));
    standard || (padded && only(['-', '_']))
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
        assert!(!secret.is_text());
        assert_eq!(format!("{secret:?}"), "SigningSecret");
    }

    #[test]
    fn another_text_is_its_own_bytes() {
        let secret = SigningSecret::parse("correct horse ba").unwrap();
        assert_eq!(secret.key(), b"correct horse ba");
        assert!(secret.is_text());
        assert_eq!(secret.hint(), "…e ba");
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
    fn a_secret_pasted_for_something_else_is_named() {
        use SecretError::{ApiToken, PublicKey, SigningKey, WithoutPrefix};
        let token = super::super::ApiToken::generate();
        for (text, error) in [
            (
                "whsk_VEVTVFNJR05JTkdLRVlET05PVFVTRVRISVNGT1JBTlk=",
                SigningKey,
            ),
            (
                "whpk_VEVTVFNJR05JTkdLRVlET05PVFVTRVRISVNGT1JBTlk=",
                PublicKey,
            ),
            (token.text(), ApiToken),
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa+w", WithoutPrefix),
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2La/aSw", WithoutPrefix),
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLQ==", WithoutPrefix),
            // Cut off, and of the URL-safe alphabet.
            ("MfKQ9r8GKYqrTwjUPD8IL+ZIo", WithoutPrefix),
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2La-_==", WithoutPrefix),
        ] {
            assert_eq!(SigningSecret::parse(text), Err(error), "{text}");
        }
        for text in [
            "webhook-secret-key",
            "webhook_secret/with-both",
            "key=of-the-receiver",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "d41d8cd98f00b204e9800998ecf8427e",
            "a+b is a sum, not base64",
        ] {
            let secret = SigningSecret::parse(text).unwrap();
            assert!(
                secret.is_text() && secret.key() == text.as_bytes(),
                "{text}"
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
