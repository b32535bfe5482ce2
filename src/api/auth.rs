//! Who calls: a walhook token or a JWT of the application becomes a [`Tenant`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Request, State as AxumState};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::State;
use super::error::Problem;
use super::extract::Tenant;
use crate::secret::ApiToken;

/// How long a token is admitted without asking the store: a revoked one lives no longer.
const CACHE_TIME: Duration = Duration::from_secs(5);
/// Tokens in memory at most; beyond, the cache starts over.
const CACHE_SIZE: usize = 10_000;

/// Middleware: admits a request that says who it is, and puts its tenant on it.
pub async fn authenticate(
    AxumState(state): AxumState<Arc<State>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let token = bearer(&request)?;
    let tenant = if token.starts_with("whk_") {
        let token = ApiToken::parse(token).map_err(|e| unauthorized(e.to_string()))?;
        of_token(&state, &token).await?
    } else {
        let verifier = state.jwt.as_ref().ok_or_else(|| {
            unauthorized("this is not a walhook token (`whk_…`), and JWTs are not configured here")
        })?;
        let tenant = verifier.tenant(token);
        Arc::from(tenant.map_err(|e| unauthorized(e.to_string()))?)
    };
    request.extensions_mut().insert(Tenant(tenant));
    Ok(next.run(request).await)
}

fn bearer(request: &Request) -> Result<&str, Problem> {
    let value = request
        .headers()
        .get(header::AUTHORIZATION)
        .ok_or_else(|| {
            unauthorized("send `Authorization: Bearer …` with a token of your tenant")
        })?;
    value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .filter(|token| !token.is_empty())
        .ok_or_else(|| unauthorized("the Authorization header is not `Bearer` and a token"))
}

fn unauthorized(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail).with_header(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static("Bearer realm=\"walhook\""),
    )
}

/// Tokens that the store knew a moment ago, by their hashes.
#[derive(Default)]
pub struct TokenCache(Mutex<HashMap<[u8; 32], Admitted>>);

#[derive(Clone)]
struct Admitted {
    tenant: Arc<str>,
    checked_at: Instant,
    expires_at: Option<Instant>,
}

impl TokenCache {
    fn get(&self, hash: &[u8; 32]) -> Option<Arc<str>> {
        let cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let admitted = cache.get(hash)?;
        let fresh = admitted.checked_at.elapsed() < CACHE_TIME
            && admitted.expires_at.is_none_or(|at| Instant::now() < at);
        fresh.then(|| Arc::clone(&admitted.tenant))
    }

    fn put(&self, hash: [u8; 32], admitted: Admitted) {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= CACHE_SIZE {
            cache.clear();
        }
        cache.insert(hash, admitted);
    }
}

async fn of_token(state: &State, token: &ApiToken) -> Result<Arc<str>, Problem> {
    let hash = token.hash();
    if let Some(tenant) = state.caches.tokens.get(&hash) {
        return Ok(tenant);
    }
    let client = state.store.get().await?;
    let asked_at = Instant::now();
    let row = client
        .query_opt(
            include_str!("../../sql/queries/find_api_token.sql"),
            &[&hash.as_slice()],
        )
        .await?
        .ok_or_else(|| unauthorized("the token is unknown, expired or revoked"))?;
    let tenant: Arc<str> = Arc::from(row.get::<_, &str>("tenant_id"));
    let admitted = Admitted {
        tenant: Arc::clone(&tenant),
        checked_at: asked_at,
        expires_at: row.get::<_, Option<f64>>("expires_in").and_then(|seconds| {
            let left = Duration::try_from_secs_f64(seconds).unwrap_or_default();
            asked_at.checked_add(left)
        }),
    };
    state.caches.tokens.put(hash, admitted);
    Ok(tenant)
}
