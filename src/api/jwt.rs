//! The application's own JWTs (`[api.jwt]`): verified with a key file or a JWKS file.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::secret::read_secret_file;

/// `[api.jwt]`: admits the JWTs that the application issues to its users.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtConfig {
    /// `HS256`, `RS256` or `ES256`; a token signed with another is refused.
    pub algorithm: JwtAlgorithm,
    /// The key: for HS256 its bytes (32 or more; a line break at the end is left out),
    /// else the public key as PEM. Either this or `jwks_file`.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// A JSON Web Key Set. Read again where a token names a key that it lacks.
    #[serde(default)]
    pub jwks_file: Option<PathBuf>,
    /// The claim that holds the tenant's id; dots lead into objects, as in `app.tenant`.
    #[serde(default = "default_tenant_claim")]
    pub tenant_claim: String,
    /// The `iss` that a token must have; none: any.
    #[serde(default)]
    pub issuer: Option<String>,
    /// The `aud` that a token must have; none: any.
    #[serde(default)]
    pub audience: Option<String>,
}

fn default_tenant_claim() -> String {
    "tenant_id".to_owned()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum JwtAlgorithm {
    HS256,
    RS256,
    ES256,
}

impl JwtAlgorithm {
    fn library(self) -> Algorithm {
        match self {
            JwtAlgorithm::HS256 => Algorithm::HS256,
            JwtAlgorithm::RS256 => Algorithm::RS256,
            JwtAlgorithm::ES256 => Algorithm::ES256,
        }
    }
}

/// Clocks of two machines may differ by so many seconds.
const LEEWAY: u64 = 30;
/// A stranger's tokens with invented key ids make us read the file no more often.
const REREAD_INTERVAL: Duration = Duration::from_secs(10);
/// RFC 7518 §3.2: an HMAC key has at least the hash's length.
const MIN_HMAC_KEY: usize = 32;

/// Verifies JWTs and reads the tenant out of them.
pub struct JwtVerifier {
    algorithm: JwtAlgorithm,
    tenant_claim: String,
    has_issuer: bool,
    validation: Validation,
    keys: Keys,
}

enum Keys {
    One(DecodingKey),
    Set { file: PathBuf, read: Mutex<KeySet> },
}

struct KeySet {
    /// By key id; a key without one stands under `None`.
    keys: HashMap<Option<String>, DecodingKey>,
    read_at: Instant,
}

/// Characters of a `sub` that are kept.
const MAX_SUBJECT: usize = 255;

/// What an admitted JWT says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub tenant: String,
    /// Its `sub`, for the audit log.
    pub subject: Option<String>,
}

/// Why a JWT was not admitted, for its sender. Never quotes the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    #[error("the token is neither one of walhook nor a JWT")]
    Malformed,
    #[error("the JWT is signed with an algorithm that is not the configured one")]
    Algorithm,
    #[error("the JWT names a key that is not known here")]
    UnknownKey,
    #[error("the JWT has expired or has no `exp`")]
    Expired,
    #[error("the JWT is not valid yet (`nbf`)")]
    NotYetValid,
    #[error("the JWT was issued by or for somebody else (`iss`, `aud`)")]
    NotForUs,
    #[error("the JWT's signature does not verify")]
    Signature,
    #[error("the JWT asks for extensions (`crit`), of which walhook knows none")]
    Critical,
    #[error("the JWT does not say its tenant in the configured claim")]
    NoTenant,
}

impl JwtVerifier {
    pub fn load(config: &JwtConfig) -> anyhow::Result<Self> {
        let keys = match (&config.key_file, &config.jwks_file) {
            (Some(file), None) => Keys::One(read_key(config.algorithm, file)?),
            (None, Some(file)) => Keys::Set {
                file: file.clone(),
                read: Mutex::new(read_set(config.algorithm, file)?),
            },
            _ => bail!("`api.jwt` needs either `key_file` or `jwks_file`, and not both"),
        };
        let mut validation = Validation::new(config.algorithm.library());
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        let mut required = vec!["exp"];
        match &config.audience {
            Some(audience) => {
                validation.set_audience(&[audience]);
                required.push("aud");
            }
            None => validation.validate_aud = false,
        }
        if let Some(issuer) = &config.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        validation.set_required_spec_claims(&required);
        Ok(JwtVerifier {
            algorithm: config.algorithm,
            tenant_claim: config.tenant_claim.clone(),
            has_issuer: config.issuer.is_some(),
            validation,
            keys,
        })
    }

    /// Whom the token speaks for.
    pub fn verify(&self, token: &str) -> Result<Verified, JwtError> {
        let header = decode_header(token).map_err(|_| JwtError::Malformed)?;
        if names_extensions(token) {
            return Err(JwtError::Critical);
        }
        if header.alg != self.algorithm.library() {
            return Err(JwtError::Algorithm);
        }
        let key = self.key(header.kid)?;
        let claims = decode::<Map<String, Value>>(token, &key, &self.validation)
            .map_err(|error| explain(&error))?
            .claims;
        // The library also accepts a list, which RFC 7519 (§4.1.1) does not provide for.
        if self.has_issuer && !matches!(claims.get("iss"), Some(Value::String(_))) {
            return Err(JwtError::NotForUs);
        }
        let tenant = match find(&claims, &self.tenant_claim) {
            Some(Value::String(tenant)) => tenant.clone(),
            Some(Value::Number(tenant)) if !tenant.is_f64() => tenant.to_string(),
            _ => return Err(JwtError::NoTenant),
        };
        let usable = !tenant.is_empty() && !tenant.contains('\0');
        let subject = claims.get("sub").and_then(Value::as_str);
        let subject = subject.map(|subject| subject.replace('\0', ""));
        let subject = subject.map(|text| text.chars().take(MAX_SUBJECT).collect());
        let verified = usable.then_some(Verified { tenant, subject });
        verified.ok_or(JwtError::NoTenant)
    }

    fn key(&self, id: Option<String>) -> Result<DecodingKey, JwtError> {
        let (file, read) = match &self.keys {
            Keys::One(key) => return Ok(key.clone()),
            Keys::Set { file, read } => (file, read),
        };
        let mut set = read.lock().unwrap_or_else(PoisonError::into_inner);
        if set.find(id.as_ref()).is_none() && set.read_at.elapsed() >= REREAD_INTERVAL {
            set.read_at = Instant::now();
            match read_set(self.algorithm, file) {
                Ok(newer) => *set = newer,
                Err(error) => tracing::warn!(
                    error = %format!("{error:#}"),
                    "The JWKS file cannot be read again; the keys so far stay"
                ),
            }
        }
        set.find(id.as_ref()).cloned().ok_or(JwtError::UnknownKey)
    }
}

impl KeySet {
    /// The key of this id; for a token without one, the set's only key.
    fn find(&self, id: Option<&String>) -> Option<&DecodingKey> {
        match id {
            Some(id) => self.keys.get(&Some(id.clone())),
            None if self.keys.len() == 1 => self.keys.values().next(),
            None => None,
        }
    }
}

/// Whether the header has `crit`. A verifier that does not implement each extension in it
/// must refuse the token (RFC 7515 §4.1.11); walhook implements none.
fn names_extensions(token: &str) -> bool {
    let header = token.split('.').next().unwrap_or_default();
    let header = URL_SAFE_NO_PAD.decode(header).unwrap_or_default();
    let header: Option<Map<String, Value>> = serde_json::from_slice(&header).ok();
    header.is_none_or(|header| header.contains_key("crit"))
}

fn find<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    // A claim whose name has dots of its own, such as a URL, comes first.
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    let (first, rest) = path.split_once('.')?;
    find(claims.get(first)?.as_object()?, rest)
}

fn explain(error: &jsonwebtoken::errors::Error) -> JwtError {
    use jsonwebtoken::errors::ErrorKind;
    match error.kind() {
        ErrorKind::ExpiredSignature => JwtError::Expired,
        ErrorKind::MissingRequiredClaim(claim) if claim == "exp" => JwtError::Expired,
        ErrorKind::ImmatureSignature => JwtError::NotYetValid,
        ErrorKind::InvalidIssuer
        | ErrorKind::InvalidAudience
        | ErrorKind::MissingRequiredClaim(_) => JwtError::NotForUs,
        ErrorKind::InvalidAlgorithm => JwtError::Algorithm,
        ErrorKind::InvalidSignature => JwtError::Signature,
        _ => JwtError::Malformed,
    }
}

fn read_key(algorithm: JwtAlgorithm, file: &Path) -> anyhow::Result<DecodingKey> {
    let shown = file.display();
    let content = read_secret_file(file).context("read api.jwt.key_file")?;
    let pem = || format!("read api.jwt.key_file `{shown}`: expected a public key as PEM");
    Ok(match algorithm {
        JwtAlgorithm::HS256 => {
            let key = content.trim_ascii_end();
            ensure!(
                key.len() >= MIN_HMAC_KEY,
                "api.jwt.key_file `{shown}` has {} bytes: HS256 needs {MIN_HMAC_KEY} or more",
                key.len()
            );
            DecodingKey::from_secret(key)
        }
        JwtAlgorithm::RS256 => DecodingKey::from_rsa_pem(&content).with_context(pem)?,
        JwtAlgorithm::ES256 => DecodingKey::from_ec_pem(&content).with_context(pem)?,
    })
}

fn read_set(algorithm: JwtAlgorithm, file: &Path) -> anyhow::Result<KeySet> {
    let shown = file.display();
    let content = fs::read(file).with_context(|| format!("read api.jwt.jwks_file `{shown}`"))?;
    let set: JwkSet = serde_json::from_slice(&content)
        .with_context(|| format!("read api.jwt.jwks_file `{shown}`: expected a JWK set"))?;
    let mut keys = HashMap::new();
    for jwk in set.keys.iter().filter(|jwk| serves(algorithm, jwk)) {
        let id = &jwk.common.key_id;
        let key = DecodingKey::from_jwk(jwk)
            .with_context(|| format!("read the key {id:?} of api.jwt.jwks_file `{shown}`"))?;
        keys.insert(id.clone(), key);
    }
    ensure!(
        !keys.is_empty(),
        "api.jwt.jwks_file `{shown}` has no key that verifies {algorithm:?}"
    );
    Ok(KeySet {
        keys,
        read_at: Instant::now(),
    })
}

/// Whether a key of the set is meant to verify signatures of this algorithm.
fn serves(algorithm: JwtAlgorithm, jwk: &Jwk) -> bool {
    use jsonwebtoken::jwk::AlgorithmParameters;
    let family = matches!(
        (algorithm, &jwk.algorithm),
        (JwtAlgorithm::HS256, AlgorithmParameters::OctetKey(_))
            | (JwtAlgorithm::RS256, AlgorithmParameters::RSA(_))
            | (JwtAlgorithm::ES256, AlgorithmParameters::EllipticCurve(_))
    );
    let signs = !matches!(&jwk.common.public_key_use, Some(PublicKeyUse::Encryption));
    let named = jwk
        .common
        .key_algorithm
        .is_none_or(|named| named.to_string() == format!("{algorithm:?}"));
    family && signs && named
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header, encode, get_current_timestamp};
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};

    use super::*;

    #[test]
    fn a_key_that_was_added_to_the_file_is_found_and_a_broken_file_keeps_the_keys() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let keys: Vec<EncodingKey> = (0..2)
            .map(|_| KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap())
            .map(|pair| EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap())
            .collect();
        let publish = |ids: &[usize]| {
            let jwks = ids.iter().map(|id| {
                let mut jwk = Jwk::from_encoding_key(&keys[*id], Algorithm::ES256).unwrap();
                jwk.common.key_id = Some(id.to_string());
                jwk
            });
            let keys = jwks.collect();
            fs::write(&file, serde_json::to_vec(&JwkSet { keys }).unwrap()).unwrap();
        };
        publish(&[0]);
        let config = JwtConfig {
            algorithm: JwtAlgorithm::ES256,
            key_file: None,
            jwks_file: Some(file.path().to_owned()),
            tenant_claim: default_tenant_claim(),
            issuer: None,
            audience: None,
        };
        let verifier = JwtVerifier::load(&config).unwrap();
        let ask = |id: usize| {
            let mut header = Header::new(Algorithm::ES256);
            header.kid = Some(id.to_string());
            let claims =
                serde_json::json!({"tenant_id": "acme", "exp": get_current_timestamp() + 60});
            verifier
                .verify(&encode(&header, &claims, &keys[id]).unwrap())
                .map(|verified| verified.tenant)
        };
        let let_time_pass = || {
            let Keys::Set { read, .. } = &verifier.keys else {
                panic!("a set was configured")
            };
            read.lock().unwrap().read_at -= REREAD_INTERVAL;
        };
        publish(&[0, 1]);
        assert_eq!(ask(1), Err(JwtError::UnknownKey), "read a moment ago");
        let_time_pass();
        assert_eq!(ask(1).as_deref(), Ok("acme"));
        fs::write(&file, "broken").unwrap();
        let_time_pass();
        assert_eq!(ask(0).as_deref(), Ok("acme"));
    }
}
