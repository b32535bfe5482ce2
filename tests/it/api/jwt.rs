//! The application's own JWTs.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};
use walhook::api::jwt::{JwtAlgorithm, JwtConfig, JwtVerifier};

use super::fixtures::Api;

fn config(algorithm: JwtAlgorithm, key_file: PathBuf) -> JwtConfig {
    JwtConfig {
        algorithm,
        key_file: Some(key_file),
        jwks_file: None,
        tenant_claim: "tenant_id".to_owned(),
        issuer: None,
        audience: None,
    }
}

fn sign(algorithm: Algorithm, key: &EncodingKey, claims: &Value) -> String {
    encode(&Header::new(algorithm), claims, key).unwrap()
}

fn write(directory: &Path, name: &str, content: &str) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, content).unwrap();
    path
}

async fn serve(config: &JwtConfig) -> Api {
    let verifier = JwtVerifier::load(config).unwrap();
    Api::start_with(|state| state.jwt = Some(verifier)).await
}

fn claims() -> Value {
    json!({"tenant_id": "acme", "exp": get_current_timestamp() + 60})
}

#[tokio::test]
async fn hs256_is_admitted_with_the_right_key_time_issuer_and_audience() {
    let directory = tempfile::tempdir().unwrap();
    let secret = "0123456789abcdef0123456789abcdef";
    let mut config = config(
        JwtAlgorithm::HS256,
        write(directory.path(), "key", &format!("{secret}\n")),
    );
    config.issuer = Some("app".to_owned());
    config.audience = Some("webhooks".to_owned());
    config.tenant_claim = "app.tenant".to_owned();
    let api = serve(&config).await;
    let key = EncodingKey::from_secret(secret.as_bytes());
    let now = get_current_timestamp();
    let good =
        json!({"app": {"tenant": 42}, "exp": now + 60, "iss": "app", "aud": ["webhooks", "x"]});
    let token = |claims: &Value| sign(Algorithm::HS256, &key, claims);
    let with = |field: &str, value: Value| {
        let mut claims = good.clone();
        claims[field] = value;
        claims
    };
    let without = |field: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(field);
        claims
    };
    api.get("/events", &token(&good)).await.expect(200);
    // It is tenant "42": a walhook token of that tenant sees what the JWT creates.
    let subscription = api.subscribe(&token(&good)).await;
    let walhook = api.token("42").await;
    assert_eq!(
        api.get("/subscriptions", &walhook).await.json["data"][0]["id"],
        subscription["id"]
    );
    for (claims, word) in [
        (with("exp", json!(now - 120)), "expired"),
        (without("exp"), "expired"),
        (with("nbf", json!(now + 120)), "not valid yet"),
        (with("iss", json!("other")), "somebody else"),
        (without("iss"), "somebody else"),
        (with("aud", json!("other")), "somebody else"),
        (without("aud"), "somebody else"),
        (with("iss", json!(["app"])), "somebody else"),
        (with("iss", json!(["app", "other"])), "somebody else"),
        (with("app", json!({})), "tenant"),
        (with("app", json!({"tenant": ""})), "tenant"),
        (with("app", json!({"tenant": "a\u{0}"})), "tenant"),
        (with("app", json!({"tenant": 1.5})), "tenant"),
    ] {
        let answer = api.get("/events", &token(&claims)).await;
        answer.refused(401, "unauthorized");
        assert!(
            answer.json["detail"].as_str().unwrap().contains(word),
            "{word}: {}",
            answer.text
        );
    }
    // What the header calls critical must be understood (RFC 7515 §4.1.11).
    let encoded = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let header = json!({"alg": "HS256", "typ": "JWT", "crit": ["exp"], "exp": 1});
    let message = format!("{}.{}", encoded(header), encoded(good.clone()));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    let critical = api.get("/events", &format!("{message}.{signature}")).await;
    critical.refused(401, "unauthorized");
    assert!(critical.text.contains("crit"), "{}", critical.text);
    let other = EncodingKey::from_secret(b"another secret of enough bytes!!");
    api.get("/events", &sign(Algorithm::HS256, &other, &good))
        .await
        .refused(401, "unauthorized");
    api.get("/events", &sign(Algorithm::HS384, &key, &good))
        .await
        .refused(401, "unauthorized");
    let whole = token(&good);
    let (head, signature) = whole.rsplit_once('.').unwrap();
    api.get("/events", &format!("{head}."))
        .await
        .refused(401, "unauthorized");
    let none = format!("eyJhbGciOiJub25lIn0.{}.", head.split_once('.').unwrap().1);
    api.get("/events", &none).await.refused(401, "unauthorized");
    assert!(!signature.is_empty());
}

#[tokio::test]
async fn rs256_and_es256_are_verified_by_their_public_keys_alone() {
    let directory = tempfile::tempdir().unwrap();
    let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let ec = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let rsa_key = EncodingKey::from_rsa_pem(rsa.serialize_pem().as_bytes()).unwrap();
    let ec_key = EncodingKey::from_ec_pem(ec.serialize_pem().as_bytes()).unwrap();
    let rsa_file = write(directory.path(), "rsa.pem", &rsa.public_key_pem());
    let ec_file = write(directory.path(), "ec.pem", &ec.public_key_pem());

    let api = serve(&config(JwtAlgorithm::RS256, rsa_file.clone())).await;
    api.get("/events", &sign(Algorithm::RS256, &rsa_key, &claims()))
        .await
        .expect(200);
    api.get("/events", &sign(Algorithm::ES256, &ec_key, &claims()))
        .await
        .refused(401, "unauthorized");
    // The public key is known to all: it must not pass for an HMAC key.
    let confused = EncodingKey::from_secret(rsa.public_key_pem().as_bytes());
    api.get("/events", &sign(Algorithm::HS256, &confused, &claims()))
        .await
        .refused(401, "unauthorized");

    let api = serve(&config(JwtAlgorithm::ES256, ec_file)).await;
    api.get("/events", &sign(Algorithm::ES256, &ec_key, &claims()))
        .await
        .expect(200);
    api.get("/events", &sign(Algorithm::RS256, &rsa_key, &claims()))
        .await
        .refused(401, "unauthorized");
    assert!(JwtVerifier::load(&config(JwtAlgorithm::ES256, rsa_file)).is_err());
}

#[tokio::test]
async fn a_key_set_is_asked_by_key_id() {
    let directory = tempfile::tempdir().unwrap();
    let keys: Vec<EncodingKey> = (0..2)
        .map(|_| KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap())
        .map(|pair| EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap())
        .collect();
    let jwk = |at: usize| {
        let mut jwk = Jwk::from_encoding_key(&keys[at], Algorithm::ES256).unwrap();
        jwk.common.key_id = Some(format!("key-{at}"));
        jwk
    };
    let set = JwkSet {
        keys: vec![jwk(0), jwk(1)],
    };
    let file = write(
        directory.path(),
        "jwks.json",
        &serde_json::to_string(&set).unwrap(),
    );
    let mut config = config(JwtAlgorithm::ES256, file.clone());
    assert!(
        JwtVerifier::load(&JwtConfig {
            jwks_file: Some(file.clone()),
            ..config.clone()
        })
        .is_err()
    );
    config.jwks_file = config.key_file.take();
    let verifier = JwtVerifier::load(&config).unwrap();
    let token = |at: usize, id: Option<&str>| {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = id.map(str::to_owned);
        encode(&header, &claims(), &keys[at]).unwrap()
    };
    let tenant = |at: usize, id: Option<&str>| {
        let verified = verifier.verify(&token(at, id));
        verified.map(|verified| verified.tenant)
    };
    assert_eq!(tenant(0, Some("key-0")).unwrap(), "acme");
    assert_eq!(tenant(1, Some("key-1")).unwrap(), "acme");
    for (at, id) in [(0, Some("key-1")), (0, Some("key-9")), (0, None)] {
        assert!(tenant(at, id).is_err(), "{id:?}");
    }
    config.algorithm = JwtAlgorithm::RS256;
    assert!(JwtVerifier::load(&config).is_err(), "no key of that kind");
}

#[test]
fn a_weak_or_missing_key_is_refused_at_start() {
    let directory = tempfile::tempdir().unwrap();
    let short = write(directory.path(), "short", "too short\n");
    let error = JwtVerifier::load(&config(JwtAlgorithm::HS256, short))
        .err()
        .unwrap();
    assert!(error.to_string().contains("HS256 needs 32"), "{error}");
    let missing = directory.path().join("missing");
    assert!(JwtVerifier::load(&config(JwtAlgorithm::HS256, missing)).is_err());
}
