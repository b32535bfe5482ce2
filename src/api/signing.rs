//! What a subscription's deliveries are signed with: signing keys as callers give them, and
//! the rotation of secrets and keys.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State as AxumState;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use utoipa::ToSchema;

use super::State;
use super::error::Problem;
use super::extract::{OptionalBody, PathId, Tenant};
use super::subscription_rules as rules;
use super::subscription_view::Subscription;
use super::trail;
use crate::audit::Caller;
use crate::db::tenant_transaction;
use crate::secret::{EncryptionKey, SigningKey};
use crate::subscription::keys::{self, RotationError, SealedSecret, SealedSigningKey};
use crate::subscription::queries::SubscriptionId;

/// How long what signed before goes on signing: receivers need time to learn the new one.
const OVERLAP: Duration = Duration::from_secs(24 * 3600);

/// What stands in place of a key that is to be made here.
const GENERATE: &str = "generate";

/// A signing key that a call gives to a subscription.
pub struct NewSigningKey {
    key: SigningKey,
    generated: bool,
}

impl NewSigningKey {
    pub fn read(given: &SecretString) -> Result<Self, Problem> {
        if given.expose_secret() == GENERATE {
            return Ok(Self::generate());
        }
        let key = SigningKey::parse(given.expose_secret()).map_err(|error| {
            let detail = format!(
                "{error}: `signing_key` is `whsk_` and base64 of an ed25519 private key, or `{GENERATE}`"
            );
            Problem::invalid("invalid_signing_key", detail)
        })?;
        Ok(NewSigningKey {
            key,
            generated: false,
        })
    }

    fn generate() -> Self {
        NewSigningKey {
            key: SigningKey::generate(),
            generated: true,
        }
    }

    pub fn seal(&self, key: &EncryptionKey, id: SubscriptionId) -> SealedSigningKey {
        SealedSigningKey::seal(&self.key, key, id)
    }

    /// For the answer; none where the caller has it already.
    pub fn shown(&self) -> Option<String> {
        let text = self.generated.then(|| self.key.text());
        text.map(|text| text.expose_secret().to_owned())
    }
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateSecret {
    /// The new secret; generated if absent.
    #[schema(value_type = Option<String>, write_only)]
    secret: Option<SecretString>,
}

/// Rotate the secret
///
/// For 24 hours deliveries are signed with both secrets, then with the new one alone. A
/// further rotation meanwhile adds to them: ten from before sign at most.
#[utoipa::path(post, path = "/subscriptions/{id}/rotate-secret", tag = "Subscriptions",
    params(("id" = String, Path, description = "`sub_…`")),
    request_body(content = Option<RotateSecret>, description = "May be left out"),
    responses((status = 200, description = "The new secret, shown this once", body = Subscription),
        (status = 409, description = "Ten secrets from before sign still", body = super::error::Problem, content_type = "application/problem+json")))]
pub async fn rotate_secret(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    caller: Caller,
    id: PathId,
    OptionalBody(request): OptionalBody<RotateSecret>,
) -> Result<Json<Subscription>, Problem> {
    let subscription = id.parse("subscription")?;
    let secret = rules::secret(request.secret.as_ref())?;
    let sealed = SealedSecret::seal(&secret, &state.key, subscription);
    let mut client = state.store.get().await?;
    let transaction = tenant_transaction(&mut client, &tenant).await?;
    let rotated = keys::rotate_secret(&transaction, subscription, &sealed, OVERLAP).await;
    let rotated = rotated.map_err(|error| refused(error, &id))?;
    let entry = trail::rotated("subscription.rotate_secret", &tenant, &rotated);
    caller.change().enter(&transaction, &entry).await?;
    let answer = Subscription::with_secret(rotated, &secret, &state.key);
    transaction.commit().await?;
    Ok(Json(answer))
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateSigningKey {
    /// The new key, `whsk_…`; generated if absent.
    #[schema(value_type = Option<String>, write_only)]
    signing_key: Option<SecretString>,
}

/// Rotate the signing key
///
/// For 24 hours deliveries are signed with both keys, then with the new one alone. The
/// secret stays, and signs beside them.
#[utoipa::path(post, path = "/subscriptions/{id}/rotate-signing-key", tag = "Subscriptions",
    params(("id" = String, Path, description = "`sub_…`")),
    request_body(content = Option<RotateSigningKey>, description = "May be left out"),
    responses((status = 200, description = "The new public key, and the private key if it was generated", body = Subscription),
        (status = 409, description = "There is no signing key, or ten from before sign still", body = super::error::Problem, content_type = "application/problem+json")))]
pub async fn rotate_signing_key(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    caller: Caller,
    id: PathId,
    OptionalBody(request): OptionalBody<RotateSigningKey>,
) -> Result<Json<Subscription>, Problem> {
    let subscription = id.parse("subscription")?;
    let new = match &request.signing_key {
        Some(given) => NewSigningKey::read(given)?,
        None => NewSigningKey::generate(),
    };
    let sealed = new.seal(&state.key, subscription);
    let mut client = state.store.get().await?;
    let transaction = tenant_transaction(&mut client, &tenant).await?;
    let rotated = keys::rotate_signing_key(&transaction, subscription, &sealed, OVERLAP).await;
    let rotated = rotated.map_err(|error| refused(error, &id))?;
    let entry = trail::rotated("subscription.rotate_signing_key", &tenant, &rotated);
    caller.change().enter(&transaction, &entry).await?;
    let answer = Subscription::masked(rotated, &state.key).with_signing_key(Some(&new));
    transaction.commit().await?;
    Ok(Json(answer))
}

fn refused(error: RotationError, id: &PathId) -> Problem {
    match error {
        RotationError::NotFound => Problem::not_found("subscription", &id.0),
        RotationError::NoSigningKey => Problem::conflict(
            "no_signing_key",
            "the subscription has no signing key: PATCH it with `signing_key` to add one",
        ),
        RotationError::TooMany { .. } => {
            Problem::conflict("too_many_rotations", format!("{error}: rotate again then"))
        }
        RotationError::Store(error) => error.into(),
    }
}
