//! Verifies a signature as a receiver does, per Standard Webhooks 1.0. Shares no
//! code with [`super::signature`], so that one does not hide the other's mistakes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::Sha256;

use crate::secret::{PublicKey, SigningSecret};

/// How far a message's timestamp may be from now, in seconds, either way: what the
/// Standard Webhooks libraries allow against replayed requests.
const TOLERANCE: i64 = 5 * 60;

/// The headers that a signature is verified with; `None` where the request has none
/// or where it is not text.
#[derive(Clone, Copy, Debug)]
pub struct SignedHeaders<'a> {
    pub webhook_id: Option<&'a str>,
    pub webhook_timestamp: Option<&'a str>,
    pub webhook_signature: Option<&'a str>,
}

/// Why a request is not to be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerificationError {
    #[error("the request has no `{0}` header")]
    MissingHeader(&'static str),
    #[error("`webhook-timestamp` is not a number of Unix seconds")]
    BadTimestamp,
    #[error(
        "`webhook-timestamp` is {0} s away from now, more than {TOLERANCE} s: \
         an old request sent again, or a wrong clock"
    )]
    OutsideTolerance(u64),
    #[error(
        "`webhook-signature` holds no signature of the kind that is looked for: v1 with a secret, v1a with a public key"
    )]
    NoSignature,
    #[error("no signature matches: another secret or key, or the body was changed on its way")]
    NoMatch,
}

/// Whether `body` was signed under one of `secrets`, or under the private key of one of
/// `public_keys`, within five minutes of `now`. Signatures of secrets are compared in
/// constant time; those of keys hold nothing secret.
pub fn verify(
    headers: SignedHeaders<'_>,
    body: &[u8],
    secrets: &[SigningSecret],
    public_keys: &[PublicKey],
    now: Timestamp,
) -> Result<(), VerificationError> {
    let required = |value: Option<_>, name| value.ok_or(VerificationError::MissingHeader(name));
    let id = required(headers.webhook_id, "webhook-id")?;
    let timestamp = required(headers.webhook_timestamp, "webhook-timestamp")?;
    let signatures = required(headers.webhook_signature, "webhook-signature")?;

    let seconds: i64 = timestamp
        .parse()
        .map_err(|_| VerificationError::BadTimestamp)?;
    let distance = seconds.abs_diff(now.as_second());
    if distance > TOLERANCE.unsigned_abs() {
        return Err(VerificationError::OutsideTolerance(distance));
    }

    // The timestamp's own text is signed, not what it was read as.
    let message = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
    let matches = |secret: &SigningSecret, signature: &[u8]| {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(secret.key()).expect("HMAC takes a key of any length");
        mac.update(&message);
        mac.verify_slice(signature).is_ok()
    };
    let mut signed = false;
    for signature in signatures.split(' ') {
        // Another version, or one for which there is no key, is skipped and not refused:
        // a sender adds it beside the one that is verified.
        let Some((version, encoded)) = signature.split_once(',') else {
            continue;
        };
        let Ok(signature) = STANDARD.decode(encoded) else {
            continue;
        };
        let verified = match version {
            "v1" if !secrets.is_empty() => secrets.iter().any(|one| matches(one, &signature)),
            "v1a" if !public_keys.is_empty() => public_keys
                .iter()
                .any(|one| one.verifies(&message, &signature)),
            _ => continue,
        };
        if verified {
            return Ok(());
        }
        signed = true;
    }
    Err(if signed {
        VerificationError::NoMatch
    } else {
        VerificationError::NoSignature
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SigningKey;

    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    const SIGNED_AT: i64 = 1_614_265_330;

    /// The published vector, checked `late` seconds after it was signed.
    fn vector(signature: &str, body: &[u8], late: i64) -> Result<(), VerificationError> {
        let headers = SignedHeaders {
            webhook_id: Some("msg_p5jXN8AQM9LWM0D4loKWxJek"),
            webhook_timestamp: Some("1614265330"),
            webhook_signature: Some(signature),
        };
        let secrets = [
            SigningSecret::generate(),
            SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap(),
        ];
        let now = Timestamp::from_second(SIGNED_AT + late).unwrap();
        verify(headers, body, &secrets, &[], now)
    }

    #[test]
    fn the_published_vector_verifies_alone_and_among_others() {
        assert_eq!(vector(SIGNATURE, BODY, 0), Ok(()));
        let list = format!("v1a,AAAA v1,AAAA v1,&& {SIGNATURE}");
        assert_eq!(vector(&list, BODY, 0), Ok(()));
    }

    #[test]
    fn what_is_not_signed_is_refused() {
        let no_match = Err(VerificationError::NoMatch);
        assert_eq!(vector(SIGNATURE, b"{}", 0), no_match);
        assert_eq!(vector("v1,AAAA", BODY, 0), no_match);
        for none in ["", "v1", "v1,", "v1,&&", "v1a,AAAA", "sha256=00"] {
            let result = vector(none, BODY, 0);
            assert!(
                matches!(
                    result,
                    Err(VerificationError::NoSignature | VerificationError::NoMatch)
                ),
                "{none}: {result:?}"
            );
        }
    }

    #[test]
    fn each_kind_of_key_looks_at_its_own_signatures() {
        // Made by the Standard Webhooks library for Go under `whsk_VEVT…`.
        const ASYMMETRIC: &str = "v1a,tQ9V2XOqn7jL/DQenEFpqIugdBVtiMmER5mhSkXBNwM0mkATuDe6KYYUuxqtaiHeYGb7KaaBRdM5WqyeFiL8Ag==";
        let key = SigningKey::parse("whsk_VEVTVFNJR05JTkdLRVlET05PVFVTRVRISVNGT1JBTlk=").unwrap();
        let own = [SigningKey::generate().public_key(), key.public_key()];
        let secret = [SigningSecret::generate()];
        let check = |signature: &str, body, secrets: &[SigningSecret], keys: &[PublicKey]| {
            let headers = SignedHeaders {
                webhook_id: Some("msg_p5jXN8AQM9LWM0D4loKWxJek"),
                webhook_timestamp: Some("1614265330"),
                webhook_signature: Some(signature),
            };
            let now = Timestamp::from_second(SIGNED_AT).unwrap();
            verify(headers, body, secrets, keys, now)
        };
        let both = format!("{SIGNATURE} {ASYMMETRIC}");
        assert_eq!(check(&both, BODY, &[], &own), Ok(()));
        assert_eq!(check(&both, BODY, &secret, &own), Ok(()));
        let no_match = Err(VerificationError::NoMatch);
        assert_eq!(check(&both, b"{}", &[], &own), no_match);
        assert_eq!(check(&both, BODY, &[], &own[..1]), no_match);
        assert_eq!(check(&both, BODY, &secret, &[]), no_match);
        assert_eq!(check("v1a,AAAA", BODY, &[], &own), no_match);
        let none = Err(VerificationError::NoSignature);
        assert_eq!(check(SIGNATURE, BODY, &[], &own), none);
        assert_eq!(check(ASYMMETRIC, BODY, &secret, &[]), none);
    }

    #[test]
    fn a_timestamp_counts_for_five_minutes_either_way() {
        assert_eq!(vector(SIGNATURE, BODY, 300), Ok(()));
        assert_eq!(vector(SIGNATURE, BODY, -300), Ok(()));
        for late in [301, -301] {
            assert_eq!(
                vector(SIGNATURE, BODY, late),
                Err(VerificationError::OutsideTolerance(301))
            );
        }
    }

    #[test]
    fn a_missing_or_broken_header_is_named() {
        let whole = SignedHeaders {
            webhook_id: Some("evt_1"),
            webhook_timestamp: Some("1614265330"),
            webhook_signature: Some(SIGNATURE),
        };
        let now = Timestamp::from_second(SIGNED_AT).unwrap();
        let check = |headers| verify(headers, BODY, &[], &[], now).unwrap_err();
        let missing = VerificationError::MissingHeader;
        assert_eq!(
            check(SignedHeaders {
                webhook_id: None,
                ..whole
            }),
            missing("webhook-id")
        );
        assert_eq!(
            check(SignedHeaders {
                webhook_timestamp: None,
                ..whole
            }),
            missing("webhook-timestamp")
        );
        assert_eq!(
            check(SignedHeaders {
                webhook_signature: None,
                ..whole
            }),
            missing("webhook-signature")
        );
        assert_eq!(
            check(SignedHeaders {
                webhook_timestamp: Some("9223372036854775808"),
                ..whole
            }),
            VerificationError::BadTimestamp
        );
    }
}
