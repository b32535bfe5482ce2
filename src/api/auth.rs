//! Who calls: a walhook token or a JWT of the application becomes a [`Tenant`], and a [`Caller`]
//! for the audit log.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Request, State as AxumState};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret as _, SecretString};
use tokio_postgres::Row;
use tracing::debug;
use uuid::Uuid;

use super::State;
use super::error::Problem;
use super::extract::Tenant;
use super::limits::refused;
use crate::audit::{Caller, Principal, PrincipalKind};
use crate::db::Store;
use crate::secret::ApiToken;
use crate::tenant;

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
    let credentials = Credentials::of(&state, &request)?;
    let (tenant, principal) = admit(&state, &credentials).await?;
    see(&state, &tenant).await?;
    let caller = Caller {
        principal,
        remote_ip: Some(state.callers.origin(&request)),
        request_id: Some(request_id(&request)),
    };
    request.extensions_mut().insert(Tenant(tenant));
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

/// What a request brings to say whose it is.
#[derive(Clone)]
pub struct Credentials {
    token: SecretString,
    /// From where it came, as failures are counted.
    caller: IpAddr,
    origin: IpAddr,
}

impl Credentials {
    pub fn of(state: &State, request: &Request) -> Result<Self, Problem> {
        Ok(Credentials {
            token: bearer(request)?.into(),
            caller: state.callers.address(request),
            origin: state.callers.origin(request),
        })
    }
}

/// Whether a caller whose answer takes long is still admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Admitted,
    /// The token or session has ended.
    Ended,
    /// The store does not answer.
    Unknown,
}

/// Asks for the standing of one caller.
pub type Check = Box<dyn Fn() -> BoxFuture<'static, Standing> + Send + Sync>;

impl Credentials {
    pub fn check(self, state: &Arc<State>) -> Check {
        let state = Arc::clone(state);
        Box::new(move || {
            let (state, credentials) = (Arc::clone(&state), self.clone());
            Box::pin(async move {
                match admit(&state, &credentials).await {
                    Ok(_) => Standing::Admitted,
                    Err(problem) if problem.status().is_server_error() => Standing::Unknown,
                    Err(_) => Standing::Ended,
                }
            })
        })
    }
}

/// Whose they are, if they are valid at this moment.
pub async fn admit(
    state: &State,
    credentials: &Credentials,
) -> Result<(Arc<str>, Principal), Problem> {
    let token = credentials.token.expose_secret();
    if token.starts_with("whk_") {
        let token = ApiToken::parse(token).map_err(|e| unauthorized(e.to_string()))?;
        let admitted = of_token(state, &token, credentials).await?;
        return Ok((admitted.tenant, admitted.principal));
    }
    let verifier = state.jwt.as_ref().ok_or_else(|| {
        unauthorized("this is not a walhook token (`whk_…`), and JWTs are not configured here")
    })?;
    let verified = verifier.verify(token);
    let verified = verified.map_err(|e| unauthorized(e.to_string()))?;
    let principal = Principal {
        kind: PrincipalKind::Jwt,
        name: verified.subject.unwrap_or_default(),
        actor: None,
    };
    Ok((Arc::from(verified.tenant), principal))
}

/// Middleware: each request has an id, which each answer names.
pub async fn identify(mut request: Request, next: Next) -> Response {
    let id = HeaderValue::try_from(request_id(&request));
    let Ok(id) = id else {
        return next.run(request).await;
    };
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let mut response = next.run(request).await;
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Has the store know a tenant that calls for the first time.
async fn see(state: &State, tenant: &Arc<str>) -> Result<(), Problem> {
    let seen = &state.caches.tenants;
    let now = Instant::now();
    if !seen.knows(tenant, now) {
        let client = state.store.get().await?;
        tenant::see(&*client, &[tenant]).await?;
        seen.note(std::slice::from_ref(tenant), now);
    }
    Ok(())
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Of a request's id that a proxy or the caller gave: those of common proxies are UUIDs.
const REQUEST_ID_BYTES: usize = 128;

/// As a proxy or the caller gave it, else a new one.
pub fn request_id(request: &Request) -> String {
    let given = request.headers().get(REQUEST_ID);
    let given = given.and_then(|value| value.to_str().ok());
    let given = given.filter(|id| (1..=REQUEST_ID_BYTES).contains(&id.len()));
    given.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
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
    id: Uuid,
    principal: Principal,
    expires_at: Option<Instant>,
    /// Whether the store knows of a use in the last minute.
    is_noted: bool,
}

enum Known {
    Admitted(Admitted),
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
            Some(found) => Some(Known::Admitted(found.clone())),
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

    /// Forgets what this process knows of a token that is revoked now.
    pub(super) fn forget(&self, id: Uuid) {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cache.retain(|_, answer| answer.found.as_ref().is_none_or(|found| found.id != id));
    }
}

async fn of_token(
    state: &State,
    token: &ApiToken,
    &Credentials { caller, origin, .. }: &Credentials,
) -> Result<Admitted, Problem> {
    let hash = token.hash();
    let tokens = &state.caches.tokens;
    match tokens.get(&hash) {
        Some(Known::Admitted(admitted)) => return Ok(admitted),
        Some(Known::Unknown) => return Err(unknown(state, caller)),
        None => {}
    }
    let asked_at = Instant::now();
    let found = match state.callers.slow_down(caller) {
        None => find_tokens(&state.store, &[&hash]).await?.remove(&hash),
        Some(_) => state.callers.look_up_together(&state.store, hash).await?,
    };
    tokens.put(hash, asked_at, found.clone());
    let found = found.ok_or_else(|| unknown(state, caller))?;
    if !found.is_noted {
        note_use(&state.store, found.id, origin).await;
    }
    Ok(found)
}

/// Notes when a token was used, and from where. Where that fails, the call is carried out anyway.
async fn note_use(store: &Store, id: Uuid, origin: IpAddr) {
    let noted = async {
        let client = store.get().await?;
        let sql = include_str!("../../sql/queries/api/note_token_use.sql");
        client.execute(sql, &[&id, &origin]).await?;
        anyhow::Ok(())
    };
    if let Err(error) = noted.await {
        debug!(token.id = %id, error = %format!("{error:#}"), "The use of a token was not noted");
    }
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
        let name: &str = row.get("name");
        let id: Uuid = row.get("id");
        let principal = Principal {
            kind: PrincipalKind::Token,
            name: id.to_string(),
            actor: Some(name.to_owned()).filter(|name| !name.is_empty()),
        };
        let admitted = Admitted {
            tenant,
            id,
            principal,
            expires_at,
            is_noted: row.get("is_noted"),
        };
        Some((hash, admitted))
    };
    Ok(rows.iter().filter_map(read).collect())
}
