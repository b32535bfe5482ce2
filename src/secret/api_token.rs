//! API tokens: shown once, stored as a hash.

use std::fmt;

use rand::distr::{Alphanumeric, SampleString as _};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// Lets secret scanners and people see what leaked.
const PREFIX: &str = "whk_";
/// 43 characters of 62 hold 256 bits, and a double click selects all of them.
const RANDOM_CHARS: usize = 43;
/// Enough characters of 62 for 32 bits.
const CHECKSUM_CHARS: usize = 6;

/// A token of the API: `whk_`, 43 random characters and a checksum of 6, which
/// tells a mistyped or cut-off token from an unknown one without asking the store.
#[derive(Clone)]
pub struct ApiToken(SecretString);

/// The text is no token of ours. Never quotes it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenError {
    #[error(
        "this is not a walhook token: expected `whk_` and 49 letters and digits, as `walhook token create` prints it"
    )]
    Malformed,
    #[error("the token is mistyped or cut off: its checksum does not match")]
    Checksum,
}

impl ApiToken {
    pub fn generate() -> Self {
        let random = Zeroizing::new(Alphanumeric.sample_string(&mut rand::rng(), RANDOM_CHARS));
        let check = checksum(&random);
        ApiToken(SecretString::from(format!(
            "{PREFIX}{}{check}",
            random.as_str()
        )))
    }

    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let (random, check) = text
            .strip_prefix(PREFIX)
            .filter(|rest| rest.len() == RANDOM_CHARS + CHECKSUM_CHARS)
            .filter(|rest| rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
            .map(|rest| rest.split_at(RANDOM_CHARS))
            .ok_or(TokenError::Malformed)?;
        if check != checksum(random) {
            return Err(TokenError::Checksum);
        }
        Ok(ApiToken(SecretString::from(text)))
    }

    /// The token itself, to be shown once.
    pub fn text(&self) -> &str {
        self.0.expose_secret()
    }

    /// SHA-256 of the text: what is stored and looked up. A token holds 256 random
    /// bits, so that a slow hash would add nothing.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.text().as_bytes()).into()
    }
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiToken")
    }
}

/// The first 32 bits of the random part's SHA-256, in base 62.
fn checksum(random: &str) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let hash: [u8; 32] = Sha256::digest(random.as_bytes()).into();
    let mut rest = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
    let digits = (0..CHECKSUM_CHARS).map(|_| {
        let digit = DIGITS[(rest % 62) as usize];
        rest /= 62;
        char::from(digit)
    });
    digits.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_is_fresh() {
        let token = ApiToken::generate();
        assert_eq!(token.text().len(), 53);
        assert_eq!(ApiToken::parse(token.text()).unwrap().hash(), token.hash());
        assert_ne!(token.hash(), ApiToken::generate().hash());
        assert_eq!(format!("{token:?}"), "ApiToken");
    }

    #[test]
    fn mistyped_and_foreign_tokens_are_told_apart() {
        let text = ApiToken::generate().text().to_owned();
        let swap = |at: usize| {
            let other = if &text[at..=at] == "x" { "y" } else { "x" };
            format!("{}{other}{}", &text[..at], &text[at + 1..])
        };
        for at in [4, 20, 46, 47, 52] {
            assert_eq!(
                ApiToken::parse(&swap(at)).unwrap_err(),
                TokenError::Checksum
            );
        }
        for text in ["", "whk_", &text[..52], &text[1..], "ghp_abc", "whk_ü"] {
            assert_eq!(ApiToken::parse(text).unwrap_err(), TokenError::Malformed);
        }
    }
}
