//! Secrets: how they are read, made, kept at rest and never shown.
//!
//! [`SigningSecret`] and [`SigningKey`] sign what is sent to a subscriber, [`PublicKey`]
//! verifies what the latter signed, [`EncryptionKey`] keeps both unreadable in the store,
//! [`ApiToken`] opens the API. None of them but the public key prints anything of itself,
//! and their memory is wiped when dropped.

mod api_token;
mod encryption_key;
mod file;
mod key_id;
mod pasted;
mod signing_key;
mod signing_secret;

pub use api_token::{ApiToken, TokenError};
pub use encryption_key::{EncryptionKey, KeyFileError};
pub use file::{SecretFileError, mode_open_to_others, read_secret_file};
pub use key_id::KeyId;
pub use pasted::PasteError;
pub use signing_key::{PublicKey, PublicKeyError, SigningKey, SigningKeyError};
pub use signing_secret::SigningSecret;

use signing_secret::{MAX_CHARS, MIN_CHARS};

/// The secret is not one, or what was encrypted cannot be read. Never quotes the secret.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SecretError {
    #[error("the secret {0}")]
    Pasted(#[from] PasteError),
    #[error(
        "the secret has {0} characters: use at least {MIN_CHARS}, or leave it out to have one generated"
    )]
    TooShort(usize),
    #[error("the secret has {0} characters: use at most {MAX_CHARS}")]
    TooLong(usize),
    #[error("the secret begins with `whsk_`, which marks an ed25519 key: give it as `signing_key`")]
    SigningKey,
    #[error("the secret begins with `whpk_`, which marks a public key: everyone may know it")]
    PublicKey,
    #[error("the secret begins with `whk_`, which marks a token of this API: use another text")]
    ApiToken,
    #[error(
        "the secret is base64 without its prefix: put `whsec_` before it, as receivers decode what follows that, or use a text without `+`, `/` and `=`"
    )]
    WithoutPrefix,
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
        "the value is encrypted with the key {0}, which this process does not have: name that key's file as security.encryption_key_file or security.previous_encryption_key_file"
    )]
    UnknownKey(KeyId),
    #[error("the encrypted value was altered, or is another's")]
    WrongKey,
}
