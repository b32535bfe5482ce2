//! The asymmetric keys of Standard Webhooks: ed25519, `whsk_` signs and `whpk_` verifies.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::ed25519::signature::MultipartSigner as _;
use ed25519_dalek::{
    KEYPAIR_LENGTH, PUBLIC_KEY_LENGTH, SECRET_KEY_LENGTH, SIGNATURE_LENGTH, Signature, VerifyingKey,
};
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

use super::pasted::{self, PUBLIC_KEY_PREFIX, PasteError, SECRET_PREFIX, SIGNING_KEY_PREFIX};

/// A subscription's ed25519 key, which signs beside its secret. Boxed: moving the key
/// itself would leave copies that nothing wipes.
#[derive(Clone)]
pub struct SigningKey(Box<ed25519_dalek::SigningKey>);

/// The key is not one. Never quotes it.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum SigningKeyError {
    #[error("the signing key {0}")]
    Pasted(#[from] PasteError),
    #[error("the signing key begins with `whsec_`, which marks a secret: give it as `secret`")]
    Secret,
    #[error("the signing key begins with `whpk_`, which marks a public key: it cannot sign")]
    PublicKey,
    #[error("the signing key does not begin with `whsk_`")]
    NoPrefix,
    #[error("what follows `whsk_` is not base64 (standard alphabet, padded)")]
    NotBase64,
    #[error(
        "the signing key holds {0} bytes: ed25519 wants the 32 of the private key, or 64 with the public key behind it"
    )]
    KeyLength(usize),
    #[error("the signing key holds a public key that is not the one of its private key")]
    OtherPublicKey,
}

impl SigningKey {
    /// Reads a key as a user gives it: `whsk_` and base64 of the 32 bytes that RFC 8032
    /// calls the private key, which the Standard Webhooks libraries take, or of 64 with the
    /// public key behind them, as libsodium and Svix write it.
    pub fn parse(text: &str) -> Result<Self, SigningKeyError> {
        pasted::check(text)?;
        if text.starts_with(SECRET_PREFIX) {
            return Err(SigningKeyError::Secret);
        }
        if text.starts_with(PUBLIC_KEY_PREFIX) {
            return Err(SigningKeyError::PublicKey);
        }
        let encoded = text
            .strip_prefix(SIGNING_KEY_PREFIX)
            .ok_or(SigningKeyError::NoPrefix)?;
        let bytes = STANDARD
            .decode(encoded)
            .map_err(|_| SigningKeyError::NotBase64)?;
        let bytes = Zeroizing::new(bytes);
        if let Ok(private) = <&[u8; SECRET_KEY_LENGTH]>::try_from(bytes.as_slice()) {
            return Ok(SigningKey::of(private));
        }
        let pair = <&[u8; KEYPAIR_LENGTH]>::try_from(bytes.as_slice())
            .map_err(|_| SigningKeyError::KeyLength(bytes.len()))?;
        ed25519_dalek::SigningKey::from_keypair_bytes(pair)
            .map(|key| SigningKey(Box::new(key)))
            .map_err(|_| SigningKeyError::OtherPublicKey)
    }

    /// A new key of 32 random bytes.
    pub fn generate() -> Self {
        let mut private = Zeroizing::new([0; SECRET_KEY_LENGTH]);
        rand::fill(&mut private[..]);
        SigningKey::of(&private)
    }

    fn of(private: &[u8; SECRET_KEY_LENGTH]) -> Self {
        SigningKey(Box::new(ed25519_dalek::SigningKey::from_bytes(private)))
    }

    /// `whsk_` and base64 of the 32 bytes.
    pub fn text(&self) -> SecretString {
        // Of full size at once: growing would leave copies behind.
        let mut text = String::with_capacity(SIGNING_KEY_PREFIX.len() + 44);
        text.push_str(SIGNING_KEY_PREFIX);
        STANDARD.encode_string(self.0.as_bytes(), &mut text);
        SecretString::from(text)
    }

    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs the parts as one message.
    pub fn sign(&self, parts: &[&[u8]]) -> [u8; SIGNATURE_LENGTH] {
        self.0.multipart_sign(parts).to_bytes()
    }
}

impl PartialEq for SigningKey {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for SigningKey {}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

/// What verifies the signatures of a [`SigningKey`]: `whpk_` and base64. No secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum PublicKeyError {
    #[error("the public key {0}")]
    Pasted(#[from] PasteError),
    #[error("the public key is not `whpk_` and base64 of 32 bytes that are an ed25519 key")]
    Malformed,
}

impl PublicKey {
    pub fn parse(text: &str) -> Result<Self, PublicKeyError> {
        pasted::check(text)?;
        let bytes = text
            .strip_prefix(PUBLIC_KEY_PREFIX)
            .and_then(|encoded| STANDARD.decode(encoded).ok())
            .and_then(|bytes| <[u8; PUBLIC_KEY_LENGTH]>::try_from(bytes).ok())
            .ok_or(PublicKeyError::Malformed)?;
        VerifyingKey::from_bytes(&bytes)
            .map(PublicKey)
            .map_err(|_| PublicKeyError::Malformed)
    }

    /// Strictly: a weak key, under which one signature fits many messages, verifies nothing.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.0.verify_strict(message, &signature).is_ok())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{PUBLIC_KEY_PREFIX}{}",
            STANDARD.encode(self.0.as_bytes())
        )
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits = text.as_bytes().chunks(2);
        let bytes = digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16));
        bytes.map(Result::unwrap).collect()
    }

    fn whsk(bytes: &[u8]) -> String {
        format!("{SIGNING_KEY_PREFIX}{}", STANDARD.encode(bytes))
    }

    /// RFC 8032, section 7.1: private key, public key, message, signature of tests 1 to 3.
    const RFC_8032: [[&str; 4]; 3] = [
        [
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ],
        [
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ],
        [
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ],
    ];

    #[test]
    fn signatures_and_public_keys_are_those_of_rfc_8032() {
        for [private, public, message, signature] in RFC_8032.map(|vector| vector.map(hex)) {
            for given in [whsk(&private), whsk(&[&private[..], &public].concat())] {
                let key = SigningKey::parse(&given).unwrap();
                let expected = format!("{PUBLIC_KEY_PREFIX}{}", STANDARD.encode(&public));
                assert_eq!(key.public_key().to_string(), expected);
                assert_eq!(key.text().expose_secret(), whsk(&private));
                assert_eq!(key.sign(&[&message]).as_slice(), signature);
                let (head, tail) = message.split_at(message.len() / 2);
                assert_eq!(key.sign(&[head, tail]).as_slice(), signature);
                let public = PublicKey::parse(&expected).unwrap();
                assert!(public.verifies(&message, &signature));
                assert!(!public.verifies(b"other", &signature));
                assert!(!public.verifies(&message, &signature[1..]));
            }
        }
    }

    #[test]
    fn a_generated_key_reads_back_is_fresh_and_prints_nothing() {
        let key = SigningKey::generate();
        let read = SigningKey::parse(key.text().expose_secret()).unwrap();
        assert_eq!(read, key);
        assert_ne!(key, SigningKey::generate());
        assert_eq!(format!("{key:?}"), "SigningKey");
    }

    #[test]
    fn what_is_no_signing_key_is_refused_with_the_reason() {
        use SigningKeyError::*;
        let [private, public, ..] = RFC_8032[0].map(hex);
        let other = hex(RFC_8032[1][1]);
        for (text, error) in [
            (whsk(&[7; 31]), KeyLength(31)),
            (whsk(&[7; 33]), KeyLength(33)),
            (whsk(&[]), KeyLength(0)),
            (whsk(&[&private[..], &other].concat()), OtherPublicKey),
            (whsk(&[&public[..], &private].concat()), OtherPublicKey),
            ("whsk_not base64".to_owned(), NotBase64),
            (whsk(&private).trim_end_matches('=').to_owned(), NotBase64),
            (STANDARD.encode(&private), NoPrefix),
            ("generated".to_owned(), NoPrefix),
            (String::new(), NoPrefix),
            (format!("whsec_{}", STANDARD.encode(&private)), Secret),
            (format!("whpk_{}", STANDARD.encode(&public)), PublicKey),
            (
                format!("{}\n", whsk(&private)),
                Pasted(PasteError::SurroundingBlank),
            ),
            (
                whsk(&private).replace("whsk_", "WHSK_"),
                Pasted(PasteError::PrefixInCapitals("whsk_")),
            ),
        ] {
            assert_eq!(SigningKey::parse(&text), Err(error), "{text}");
        }
    }

    #[test]
    fn what_is_no_public_key_is_refused() {
        let public = hex(RFC_8032[0][1]);
        let y_of_no_point = [2; PUBLIC_KEY_LENGTH];
        for text in [
            whsk(&public),
            format!("whpk_{}", STANDARD.encode(&public[1..])),
            format!("whpk_{}", STANDARD.encode(y_of_no_point)),
        ] {
            assert_eq!(
                PublicKey::parse(&text),
                Err(PublicKeyError::Malformed),
                "{text}"
            );
        }
        // A point of low order reads as a key and verifies nothing.
        let identity = [&[1][..], &[0; 31]].concat();
        let weak = PublicKey::parse(&format!("whpk_{}", STANDARD.encode(&identity))).unwrap();
        assert!(!weak.verifies(b"any", &[&identity[..], &[0; 32]].concat()));
    }
}
