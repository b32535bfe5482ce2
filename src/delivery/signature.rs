//! Signs what is sent, per Standard Webhooks 1.0 and in the simple form besides.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::secret::{SigningKey, SigningSecret};

/// The values of the two signature headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureHeaders {
    /// `webhook-signature`: `v1,<base64>` for each secret, then `v1a,<base64>` for each
    /// signing key, space-separated, newest first.
    pub webhook_signature: String,
    /// `X-Webhook-Signature`: `sha256=<hex>`, for receivers that expect the simple form.
    pub x_webhook_signature: String,
}

/// A `v1` signature of the list, with the blank before it.
const V1_CHARS: usize = " v1,".len() + 44;
/// A `v1a` signature of the list, with the blank before it.
const V1A_CHARS: usize = " v1a,".len() + 88;

/// Signs `body` under every secret and every signing key, so that a receiver verifies
/// with the old one or the new while a rotation overlaps. Both come newest first; without
/// any secret the simple form is empty. `timestamp` is in Unix seconds and must be the
/// `webhook-timestamp` that is sent.
///
/// `v1` is HMAC-SHA256 over `id.timestamp.body`, keyed by the secret's bytes, `v1a` ed25519
/// over the same; the simple form is HMAC-SHA256 over the body alone, keyed by the newest
/// secret's text exactly as it was shown.
pub fn sign(
    webhook_id: &str,
    timestamp: i64,
    body: &[u8],
    secrets: &[&SigningSecret],
    signing_keys: &[&SigningKey],
) -> SignatureHeaders {
    let head = format!("{webhook_id}.{timestamp}.");
    let parts = [head.as_bytes(), body];
    let mut webhook_signature =
        String::with_capacity(V1_CHARS * secrets.len() + V1A_CHARS * signing_keys.len());
    let mut push = |version, signature: &[u8]| {
        if !webhook_signature.is_empty() {
            webhook_signature.push(' ');
        }
        webhook_signature.push_str(version);
        STANDARD.encode_string(signature, &mut webhook_signature);
    };
    for secret in secrets {
        push("v1,", &hmac_sha256(secret.key(), &parts));
    }
    for key in signing_keys {
        push("v1a,", &key.sign(&parts));
    }
    let mut x_webhook_signature = String::new();
    if let Some(newest) = secrets.first() {
        x_webhook_signature.reserve("sha256=".len() + 64);
        x_webhook_signature.push_str("sha256=");
        push_hex(
            &mut x_webhook_signature,
            &hmac_sha256(newest.text().as_bytes(), &[body]),
        );
    }
    SignatureHeaders {
        webhook_signature,
        x_webhook_signature,
    }
}

/// `write!` of each byte would cost half as much as signing.
fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from(DIGITS[usize::from(digit)]));
        }
    }
}

fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;

    fn secret(text: &str) -> SigningSecret {
        SigningSecret::parse(text).unwrap()
    }

    #[test]
    fn the_published_vector_holds() {
        let headers = sign(ID, 1_614_265_330, BODY, &[&secret(SECRET)], &[]);
        assert_eq!(
            headers.webhook_signature,
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    /// The vector is that of the Standard Webhooks library for Go.
    #[test]
    fn the_published_asymmetric_vector_holds_beside_the_symmetric_one() {
        let text = "whsk_VEVTVFNJR05JTkdLRVlET05PVFVTRVRISVNGT1JBTlk=";
        let key = SigningKey::parse(text).unwrap();
        let headers = sign(ID, 1_614_265_330, BODY, &[&secret(SECRET)], &[&key]);
        assert_eq!(
            headers.webhook_signature,
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= \
             v1a,tQ9V2XOqn7jL/DQenEFpqIugdBVtiMmER5mhSkXBNwM0mkATuDe6KYYUuxqtaiHeYGb7KaaBRdM5WqyeFiL8Ag=="
        );
        assert_eq!(headers.webhook_signature.len() + 1, V1_CHARS + V1A_CHARS);
        assert_eq!(headers.x_webhook_signature, OPENSSL);
    }

    /// The vector is from `printf '{"test": 2432232314}' | openssl dgst -sha256 -hmac $SECRET`.
    #[test]
    fn the_simple_form_is_keyed_by_the_text_as_shown() {
        let headers = sign(ID, 1_614_265_330, BODY, &[&secret(SECRET)], &[]);
        assert_eq!(headers.x_webhook_signature, OPENSSL);
    }

    const OPENSSL: &str = "sha256=80ec8a89ce3cd22133a1066caecb4d04fea7467657c8514d717ec42c38a5c94c";

    /// RFC 4231, test case 2: a short key, as of a secret that is its own bytes.
    #[test]
    fn hmac_is_the_standard_one() {
        let mac = hmac_sha256(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(mac[..8], [0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e]);
    }

    #[test]
    fn receivers_verify_under_the_old_secret_and_the_new() {
        let newest = SigningSecret::generate();
        let plain = secret("a passphrase of one's own");
        let now = jiff::Timestamp::now().as_second();
        let signed = sign(ID, now, BODY, &[&newest, &plain], &[]);
        let verify = |key: &SigningSecret, body: &[u8]| {
            let mut headers = axum::http::HeaderMap::new();
            headers.insert("webhook-id", ID.parse().unwrap());
            headers.insert("webhook-timestamp", now.into());
            let value = signed.webhook_signature.parse().unwrap();
            headers.insert("webhook-signature", value);
            standardwebhooks::Webhook::from_bytes(key.key().to_vec())
                .unwrap()
                .verify(body, &headers)
        };
        verify(&newest, BODY).unwrap();
        verify(&plain, BODY).unwrap();
        assert!(verify(&newest, b"{}").is_err());
        assert!(verify(&SigningSecret::generate(), BODY).is_err());
    }

    #[test]
    fn without_a_secret_nothing_is_signed() {
        let headers = sign(ID, 0, BODY, &[], &[]);
        assert_eq!(headers.webhook_signature, "");
        assert_eq!(headers.x_webhook_signature, "");
    }
}
