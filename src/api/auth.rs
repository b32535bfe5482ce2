//! Who calls: a walhook token or a JWT of the application becomes a [`Tenant`].

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Request, State as AxumState};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use tokio_postgres::Row;

use super::State;
use super::error::Problem;
use super::extract::Tenant;
use super::limits::refused;
use crate::db::Store;
use crate::secret::ApiToken;

/// How long a token is admitted, or refused, without asking the store: a revoked one lives
/// no longer.
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
        let caller = state.callers.address(&request);
        of_token(&state, &token, caller).await?
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

/// The store's answers of the last seconds, by the tokens' hashes.
#[derive(Default)]
pub struct TokenCache(Mutex<HashMap<[u8; 32], Answer>>);

struct Answer {
    asked_at: Instant,
    /// None: it is unknown.
    found: Option<Admitted>,
}

#[derive(Clone)]
pub(super) struct Admitted {
    tenant: Arc<str>,
    expires_at: Option<Instant>,
}

enum Known {
    Admitted(Arc<str>),
    Unknown,
}

impl TokenCache {
    fn get(&self, hash: &[u8; 32]) -> Option<Known> {
        let cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = cache.get(hash)?;
        if answer.asked_at.elapsed() >= CACHE_TIME {
            return None;
        }
        match &answer.found {
            None => Some(Known::Unknown),
            Some(found) if found.expires_at.is_some_and(|at| at <= Instant::now()) => None,
            Some(found) => Some(Known::Admitted(Arc::clone(&found.tenant))),
        }
    }

    fn put(&self, hash: [u8; 32], asked_at: Instant, found: Option<Admitted>) {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= CACHE_SIZE {
            // Unknown tokens must not push out those that are in use.
            let fresh = |answer: &Answer| answer.asked_at.elapsed() < CACHE_TIME;
            cache.retain(|_, answer| answer.found.is_some() && fresh(answer));
            if cache.len() >= CACHE_SIZE {
                cache.clear();
            }
        }
        cache.insert(hash, Answer { asked_at, found });
    }
}

async fn of_token(state: &State, token: &ApiToken, caller: IpAddr) -> Result<Arc<str>, Problem> {
    let hash = token.hash();
    let tokens = &state.caches.tokens;
    match tokens.get(&hash) {
        Some(Known::Admitted(tenant)) => return Ok(tenant),
        Some(Known::Unknown) => return Err(unknown(state, caller)),
        None => {}
    }
    let asked_at = Instant::now();
    let found = match state.callers.slow_down(caller) {
        None => find_tokens(&state.store, &[&hash]).await?.remove(&hash),
        Some(_) => state.callers.look_up_together(&state.store, hash).await?,
    };
    let tenant = found.as_ref().map(|found| Arc::clone(&found.tenant));
    tokens.put(hash, asked_at, found);
    tenant.ok_or_else(|| unknown(state, caller))
}

/// Counts the failure. 401, or 429 where the caller has failed too often.
fn unknown(state: &State, caller: IpAddr) -> Problem {
    let slow_down = state.callers.slow_down(caller);
    state.callers.failed(caller);
    match slow_down {
        None => unauthorized("the token is unknown, expired or revoked"),
        Some(wait) => refused(
            "authentication",
            wait,
            format!(
                "the token is unknown, expired or revoked, and {caller} has sent too many such tokens"
            ),
        ),
    }
}

/// Those of the tokens that are valid, by their hashes.
pub(super) async fn find_tokens(
    store: &Store,
    hashes: &[&[u8]],
) -> Result<HashMap<[u8; 32], Admitted>, Problem> {
    let client = store.get().await?;
    let asked_at = Instant::now();
    let rows = client
        .query(
            include_str!("../../sql/queries/api/find_tokens.sql"),
            &[&hashes],
        )
        .await?;
    let read = |row: &Row| {
        let hash = row.get::<_, &[u8]>("hash").try_into().ok()?;
        let expires_at = row.get::<_, Option<f64>>("expires_in").and_then(|seconds| {
            let left = Duration::try_from_secs_f64(seconds).unwrap_or_default();
            asked_at.checked_add(left)
        });
        let tenant = Arc::from(row.get::<_, &str>("tenant_id"));
        Some((hash, Admitted { tenant, expires_at }))
    };
    Ok(rows.iter().filter_map(read).collect())
}
