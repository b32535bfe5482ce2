//! A subscription's secrets and signing keys as the store keeps them, and their rotation.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use secrecy::zeroize::Zeroizing;
use tokio_postgres::{Error, Row};

use super::Active;
use super::queries::{StoredSubscription, SubscriptionId, read};
use crate::conninfo::Transaction;
use crate::secret::{EncryptionKey, SecretError, SigningKey, SigningSecret};

/// Sets signing keys apart from the secret, which is encrypted for the bare id.
const SIGNING_KEY_CONTEXT: &[u8] = b"signing key";

/// So many rotated ones sign beside the newest: each makes the header longer. The table
/// checks it too.
pub const MAX_PREVIOUS: usize = 10;

/// A signing secret, encrypted for one subscription: no row's secret can pass for another's.
pub struct SealedSecret {
    pub(super) ciphertext: Vec<u8>,
    pub(super) hint: String,
}

impl SealedSecret {
    pub fn seal(secret: &SigningSecret, key: &EncryptionKey, id: SubscriptionId) -> Self {
        SealedSecret {
            ciphertext: key.encrypt(secret.text().as_bytes(), &secret_context(id)),
            hint: secret.hint(),
        }
    }
}

/// An ed25519 key, encrypted likewise, and its public key, which is no secret.
pub struct SealedSigningKey {
    pub(super) ciphertext: Vec<u8>,
    pub(super) public_key: String,
}

impl SealedSigningKey {
    pub fn seal(signing_key: &SigningKey, key: &EncryptionKey, id: SubscriptionId) -> Self {
        let text = signing_key.text();
        SealedSigningKey {
            ciphertext: key.encrypt(text.expose_secret().as_bytes(), &signing_key_context(id)),
            public_key: signing_key.public_key().to_string(),
        }
    }
}

/// What a subscription's secrets are encrypted for.
pub fn secret_context(id: SubscriptionId) -> Vec<u8> {
    id.0.as_bytes().to_vec()
}

/// What its signing keys are encrypted for.
pub fn signing_key_context(id: SubscriptionId) -> Vec<u8> {
    [id.0.as_bytes(), SIGNING_KEY_CONTEXT].concat()
}

/// What was encrypted does not open, or is not what walhook writes. Never quotes it.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error(transparent)]
    Sealed(#[from] SecretError),
    #[error("what was encrypted is not what walhook writes")]
    Malformed,
    #[error(transparent)]
    Column(#[from] Error),
}

/// The secrets of a row that sign still, newest first.
pub(super) fn open_secrets(
    row: &Row,
    key: &EncryptionKey,
    id: SubscriptionId,
) -> Result<Vec<Active<SigningSecret>>, OpenError> {
    let previous = signing_still(row, "previous_secrets", "previous_secrets_left")?;
    let context = secret_context(id);
    open_all(id, Some(row.get("secret")), previous, |ciphertext| {
        let text = Zeroizing::new(key.decrypt(ciphertext, &context)?);
        let text = std::str::from_utf8(&text).map_err(|_| OpenError::Malformed)?;
        SigningSecret::parse(text).map_err(|_| OpenError::Malformed)
    })
}

/// The signing keys of a row that sign still, newest first.
pub(super) fn open_signing_keys(
    row: &Row,
    key: &EncryptionKey,
    id: SubscriptionId,
) -> Result<Vec<Active<SigningKey>>, OpenError> {
    let previous = signing_still(row, "previous_signing_keys", "previous_signing_keys_left")?;
    let context = signing_key_context(id);
    open_all(id, row.get("signing_key"), previous, |ciphertext| {
        let text = Zeroizing::new(key.decrypt(ciphertext, &context)?);
        let text = std::str::from_utf8(&text).map_err(|_| OpenError::Malformed)?;
        SigningKey::parse(text).map_err(|_| OpenError::Malformed)
    })
}

/// Those before the newest, oldest first, each with when it ends to sign. The store's clock
/// says how many seconds are left.
fn signing_still<'a>(
    row: &'a Row,
    ciphertexts: &str,
    left: &str,
) -> Result<Vec<(&'a [u8], Instant)>, OpenError> {
    let ciphertexts: Vec<&[u8]> = row.try_get(ciphertexts)?;
    let left: Vec<f64> = row.try_get(left)?;
    let now = Instant::now();
    let ends = left.into_iter().map(|seconds| {
        let left = Duration::try_from_secs_f64(seconds).ok()?;
        now.checked_add(left)
    });
    let both = ciphertexts.into_iter().zip(ends);
    Ok(both
        .filter_map(|(ciphertext, ends)| Some((ciphertext, ends?)))
        .collect())
}

/// One from before a rotation that does not open is left out: its receiver verifies by the
/// newest.
fn open_all<T>(
    id: SubscriptionId,
    newest: Option<&[u8]>,
    previous: Vec<(&[u8], Instant)>,
    open: impl Fn(&[u8]) -> Result<T, OpenError>,
) -> Result<Vec<Active<T>>, OpenError> {
    let mut keys = Vec::with_capacity(1 + previous.len());
    if let Some(newest) = newest {
        keys.push(Active {
            key: open(newest)?,
            expires_at: None,
        });
    }
    for (ciphertext, ends) in previous.into_iter().rev() {
        match open(ciphertext) {
            Ok(key) => keys.push(Active {
                key,
                expires_at: Some(ends),
            }),
            Err(error) => tracing::warn!(
                subscription = %id,
                %error,
                "one that was rotated cannot be read, and does not sign beside the newest"
            ),
        }
    }
    Ok(keys)
}

/// What is rotated: both kinds are kept, and expire, alike.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Secret,
    SigningKey,
}

/// Those before the newest, oldest first, and until when each of them signs.
#[derive(Clone, Default)]
pub(super) struct Previous {
    ciphertexts: Vec<Vec<u8>>,
    expire_at: Vec<Timestamp>,
}

impl Previous {
    pub(super) fn of(row: &Row, kind: Kind) -> Self {
        let (ciphertexts, expire_at) = match kind {
            Kind::Secret => ("previous_secrets", "previous_secrets_expire_at"),
            Kind::SigningKey => ("previous_signing_keys", "previous_signing_keys_expire_at"),
        };
        Previous {
            // What cannot be read signs no more, and is dropped with the next rotation.
            ciphertexts: row.try_get(ciphertexts).unwrap_or_default(),
            expire_at: row.try_get(expire_at).unwrap_or_default(),
        }
    }

    /// Until then one of them signs beside the newest.
    pub(super) fn last_expires_at(&self) -> Option<Timestamp> {
        self.expire_at.iter().max().copied()
    }

    fn signing_at(&self, now: Timestamp) -> impl DoubleEndedIterator<Item = (&Vec<u8>, Timestamp)> {
        let expire_at = self.expire_at.iter().copied();
        let all = self.ciphertexts.iter().zip(expire_at);
        all.filter(move |(_, expires)| *expires > now)
    }

    /// With the one that was the newest so far. What has expired goes.
    fn rotated(
        &self,
        newest: Vec<u8>,
        now: Timestamp,
        overlap: Duration,
    ) -> Result<Self, RotationError> {
        let signing: Vec<_> = self.signing_at(now).collect();
        if signing.len() >= MAX_PREVIOUS {
            let until = signing.iter().map(|(_, expires)| *expires).min();
            return Err(RotationError::TooMany {
                until: until.unwrap_or(now),
            });
        }
        let (mut ciphertexts, mut expire_at): (Vec<_>, Vec<_>) = signing
            .into_iter()
            .map(|(ciphertext, expires)| (ciphertext.clone(), expires))
            .unzip();
        ciphertexts.push(newest);
        expire_at.push(now.saturating_add(overlap).unwrap_or(now));
        Ok(Previous {
            ciphertexts,
            expire_at,
        })
    }
}

/// Why nothing was rotated.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    #[error("there is no such subscription")]
    NotFound,
    #[error("the subscription has no signing key")]
    NoSigningKey,
    #[error("{MAX_PREVIOUS} rotated ones sign still, the first of them until {until}")]
    TooMany { until: Timestamp },
    #[error("rotate in the store")]
    Store(#[from] Error),
}

/// The secret so far goes on signing for `overlap`, beside the new one and those before it.
pub async fn rotate_secret(
    transaction: &Transaction<'_>,
    id: SubscriptionId,
    secret: &SealedSecret,
    overlap: Duration,
) -> Result<StoredSubscription, RotationError> {
    let locked = lock(transaction, id).await?;
    let previous = Previous::of(&locked, Kind::Secret);
    let previous = previous.rotated(locked.get("secret"), locked.get("now"), overlap)?;
    let row = transaction
        .query_one(
            include_str!("../../sql/queries/subscription/rotate_secret.sql"),
            &[
                &id.0,
                &secret.ciphertext,
                &secret.hint,
                &previous.ciphertexts,
                &previous.expire_at,
            ],
        )
        .await?;
    Ok(read(&row))
}

/// The same for the signing key.
pub async fn rotate_signing_key(
    transaction: &Transaction<'_>,
    id: SubscriptionId,
    signing_key: &SealedSigningKey,
    overlap: Duration,
) -> Result<StoredSubscription, RotationError> {
    let locked = lock(transaction, id).await?;
    let newest: Option<Vec<u8>> = locked.get("signing_key");
    let newest = newest.ok_or(RotationError::NoSigningKey)?;
    let previous = Previous::of(&locked, Kind::SigningKey);
    let previous = previous.rotated(newest, locked.get("now"), overlap)?;
    let row = transaction
        .query_one(
            include_str!("../../sql/queries/subscription/rotate_signing_key.sql"),
            &[
                &id.0,
                &signing_key.ciphertext,
                &signing_key.public_key,
                &previous.ciphertexts,
                &previous.expire_at,
            ],
        )
        .await?;
    Ok(read(&row))
}

async fn lock(transaction: &Transaction<'_>, id: SubscriptionId) -> Result<Row, RotationError> {
    let locked = transaction
        .query_opt(
            include_str!("../../sql/queries/subscription/lock_keys.sql"),
            &[&id.0],
        )
        .await?;
    locked.ok_or(RotationError::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn after(hours: u32) -> Timestamp {
        Timestamp::UNIX_EPOCH + HOUR * hours
    }

    #[test]
    fn a_rotation_keeps_all_that_sign_still_and_drops_what_has_expired() {
        let begun = Previous::default();
        let once = begun.rotated(vec![1], after(0), HOUR * 24).unwrap();
        let twice = once.rotated(vec![2], after(1), HOUR * 24).unwrap();
        assert_eq!(twice.ciphertexts, [[1], [2]]);
        assert_eq!(twice.expire_at, [after(24), after(25)]);
        assert_eq!(twice.last_expires_at(), Some(after(25)));
        let later = twice.rotated(vec![3], after(24), HOUR * 24).unwrap();
        assert_eq!(later.ciphertexts, [[2], [3]]);
        assert_eq!(later.expire_at, [after(25), after(48)]);
    }

    #[test]
    fn a_rotation_beyond_the_limit_waits_for_the_first_to_expire() {
        let mut previous = Previous::default();
        for hour in 0..10_u8 {
            let now = after(hour.into());
            previous = previous.rotated(vec![hour], now, HOUR * 24).unwrap();
        }
        let refused = previous.rotated(vec![10], after(23), HOUR * 24);
        let first = after(24);
        assert!(matches!(refused, Err(RotationError::TooMany { until }) if until == first));
        let rotated = previous.rotated(vec![10], first, HOUR * 24).unwrap();
        assert_eq!(rotated.ciphertexts.len(), MAX_PREVIOUS);
    }

    #[test]
    fn a_sealed_key_opens_for_its_subscription_and_as_a_signing_key_only() {
        let key = EncryptionKey::generate();
        let [id, other] = [1, 2].map(|n| SubscriptionId(uuid::Uuid::from_u128(n)));
        let sealed = SealedSigningKey::seal(&SigningKey::generate(), &key, id);
        let opens = |context: &[u8]| key.decrypt(&sealed.ciphertext, context).is_ok();
        assert!(opens(&signing_key_context(id)));
        assert!(!opens(&signing_key_context(other)));
        assert!(!opens(id.0.as_bytes()), "it passes for a secret");
    }
}
