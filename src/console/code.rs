//! What opens a session, and what holds it: random, shown once, stored as a hash.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// 256 bits.
const BYTES: usize = 32;
/// In base64 without padding.
const CHARS: usize = 43;

/// The code of a link, or the value of a session's cookie.
pub struct Code(SecretString);

impl Code {
    pub fn generate() -> Self {
        let mut bytes = Zeroizing::new([0; BYTES]);
        rand::fill(&mut bytes[..]);
        Code(SecretString::from(URL_SAFE_NO_PAD.encode(&bytes[..])))
    }

    /// None where the text cannot be one: no look-up is needed to know.
    pub fn parse(text: &str) -> Option<Self> {
        let is_ours = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (text.len() == CHARS && text.bytes().all(is_ours)).then(|| Code(SecretString::from(text)))
    }

    pub fn text(&self) -> &str {
        self.0.expose_secret()
    }

    /// What is stored. It holds 256 random bits, so that a slow hash would add nothing.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.text().as_bytes()).into()
    }

    /// What forms of the session carry. It follows from the cookie, and says nothing of it.
    pub fn form_token(&self) -> FormToken {
        let mut hash = Sha256::new();
        hash.update(b"walhook form\0");
        hash.update(self.text().as_bytes());
        FormToken(hash.finalize().into())
    }
}

/// Shows that a form is of a page of its session.
pub struct FormToken([u8; BYTES]);

impl FormToken {
    /// As a form has it: another text each time, as pages are compressed, and what stays the same
    /// could be guessed by their lengths (BREACH).
    pub fn masked(&self) -> String {
        let mut text = [0; 2 * BYTES];
        let (mask, masked) = text.split_at_mut(BYTES);
        rand::fill(mask);
        for (to, (byte, mask)) in masked.iter_mut().zip(self.0.iter().zip(mask.iter())) {
            *to = byte ^ mask;
        }
        URL_SAFE_NO_PAD.encode(text)
    }

    /// Whether a form has it.
    pub fn is(&self, text: &str) -> bool {
        let Ok(text) = URL_SAFE_NO_PAD.decode(text) else {
            return false;
        };
        let Some((mask, masked)) = text.split_at_checked(BYTES) else {
            return false;
        };
        let bytes: Vec<u8> = mask
            .iter()
            .zip(masked)
            .map(|(mask, byte)| mask ^ byte)
            .collect();
        // The hashes are compared, which tell nothing by the time that it takes.
        masked.len() == BYTES && Sha256::digest(bytes) == Sha256::digest(self.0)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forms_token_is_another_text_each_time_and_of_its_session_alone() {
        let token = Code::generate().form_token();
        let (one, other) = (token.masked(), token.masked());
        assert!(token.is(&one) && token.is(&other));
        assert_ne!(one[CHARS..], other[CHARS..]);
        let foreign = Code::generate().form_token();
        let longer = format!("{one}AAAA");
        for text in ["", "!", "AAAA", &one[..CHARS], &longer, &foreign.masked()] {
            assert!(!token.is(text), "{text}");
        }
    }

    #[test]
    fn a_code_reads_back_and_shows_nothing() {
        let code = Code::generate();
        assert_eq!(Code::parse(code.text()).unwrap().hash(), code.hash());
        assert_ne!(code.hash(), Code::generate().hash());
        assert_ne!(code.form_token().masked(), code.text());
        assert_eq!(format!("{code:?}"), "Code");
        for text in [
            "",
            "x",
            &code.text()[1..],
            &format!("{}=", &code.text()[1..]),
        ] {
            assert!(Code::parse(text).is_none(), "{text}");
        }
    }
}
