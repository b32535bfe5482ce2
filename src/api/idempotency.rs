//! `Idempotency-Key`: a POST that is sent again, as after a broken connection, is
//! carried out once and answered alike.
//!
//! A key is reserved before the call begins and holds its answer, encrypted, once it
//! has succeeded. A call that was refused releases its key. One that a crash cut short
//! keeps it: whether it took effect is unknown, and it is not carried out twice. An answer is
//! repeated to the one alone who had it, as it may hold a secret that others may not see. Keys
//! are forgotten after a day: then they may be used again, and the pruner deletes them.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request, State as AxumState};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tracing::error;

use super::State;
use super::error::Problem;
use super::extract::Tenant;
use crate::audit::Caller;
use crate::db::{Store, tenant_transaction};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// The longest key: its column's check.
const MAX_KEY_BYTES: usize = 255;
/// A call still in progress after this was cut short: it outlives its own timeout by far.
const ABANDONED_AFTER: Duration = Duration::from_secs(600);

/// Middleware, after the authentication.
pub async fn once(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    caller: Caller,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let Some(key) = key_of(&request)? else {
        return Ok(next.run(request).await);
    };
    let (parts, body) = request.into_parts();
    let target = parts
        .uri
        .path_and_query()
        .map_or("", |target| target.as_str())
        .to_owned();
    // With the parts, as they carry the limit of the body.
    let request = Request::from_parts(parts.clone(), body);
    let body = Bytes::from_request(request, &()).await?;
    let principal = &caller.principal;
    let claim = Claim {
        tenant,
        key,
        request_hash: hash(&[principal.kind.as_str(), &principal.name, &target], &body),
    };
    if let Some(answered) = claim.reserve(&state).await? {
        return Ok(replay(answered));
    }
    let request = Request::from_parts(parts, Body::from(body));
    // A task of its own: a caller who goes away in the middle, and comes back with the
    // same key, meets the answer.
    let call = tokio::spawn(async move {
        let response = next.run(request).await;
        claim.settle(&state, response).await
    });
    Ok(call.await.unwrap_or_else(|panic| {
        error!(error = %panic, "A handler of the API panicked");
        Problem::internal().into_response()
    }))
}

fn replay(answered: Answered) -> Response {
    let mut response = (answered.status, answered.body).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

fn key_of(request: &Request) -> Result<Option<String>, Problem> {
    if request.method() != Method::POST {
        return Ok(None);
    }
    let Some(key) = request.headers().get(KEY) else {
        return Ok(None);
    };
    match key.to_str() {
        Ok(key) if (1..=MAX_KEY_BYTES).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => Err(Problem::invalid(
            "invalid_idempotency_key",
            format!("`Idempotency-Key` has 1 to {MAX_KEY_BYTES} visible ASCII characters"),
        )),
    }
}

fn hash(head: &[&str], body: &[u8]) -> Vec<u8> {
    let mut hash = Sha256::new();
    for part in head {
        // None can be taken for a part of another.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.update(body);
    hash.finalize().to_vec()
}

/// A key of a tenant, for one request.
pub struct Claim {
    tenant: Arc<str>,
    key: String,
    request_hash: Vec<u8>,
}

/// What an earlier call was answered.
pub struct Answered {
    pub status: StatusCode,
    pub body: Vec<u8>,
}

/// Of a call whose key is reserved by one that has not ended.
pub const IN_PROGRESS: &str = "in_progress";

impl Claim {
    /// Of a form of the console, which has a number of its own in its body: the same form with
    /// another content is another call.
    pub fn of_form(tenant: Arc<str>, path: &str, body: &[u8]) -> Self {
        let request_hash = hash(&[path], body);
        Claim {
            tenant,
            key: format!("form:{}", URL_SAFE_NO_PAD.encode(&request_hash)),
            request_hash,
        }
    }

    /// Reserves the key; or returns what an earlier call with it was answered.
    pub async fn reserve(&self, state: &State) -> Result<Option<Answered>, Problem> {
        let mut client = state.store.get().await?;
        let transaction = tenant_transaction(&mut client, &self.tenant).await?;
        let reserved = transaction
            .execute(
                include_str!("../../sql/queries/api/reserve_idempotency_key.sql"),
                &[&&*self.tenant, &self.key, &self.request_hash],
            )
            .await?;
        if reserved > 0 {
            transaction.commit().await?;
            return Ok(None);
        }
        let row = transaction
            .query_opt(
                include_str!("../../sql/queries/api/get_idempotency_key.sql"),
                &[&self.key, &ABANDONED_AFTER.as_secs_f64()],
            )
            .await?;
        let in_progress = || {
            Problem::conflict(
                IN_PROGRESS,
                "an earlier call with this Idempotency-Key is still in progress: ask again in a moment",
            )
        };
        // Released between the two statements: the next try will reserve it.
        let row = row.ok_or_else(in_progress)?;
        if row.get::<_, &[u8]>("request_hash") != self.request_hash {
            return Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "this Idempotency-Key came with another request, or with another token: use a new \
                 key for a new request",
            ));
        }
        if row.get::<_, i16>("http_status") == 0 {
            return Err(match row.get("abandoned") {
                false => in_progress(),
                true => Problem::conflict(
                    "outcome_unknown",
                    "an earlier call with this Idempotency-Key was cut short and may have taken \
                     effect: look, and if it has not, call again with a new key",
                ),
            });
        }
        self.open(state, row.get("response"), row.get("http_status"))
            .map(Some)
    }

    fn open(&self, state: &State, sealed: &[u8], status: i16) -> Result<Answered, Problem> {
        let body = state.key.decrypt(sealed, &self.context()).map_err(|e| {
            error!(error = %e, "A stored answer of the API cannot be decrypted");
            Problem::internal()
        })?;
        let status = u16::try_from(status)
            .ok()
            .and_then(|status| StatusCode::from_u16(status).ok())
            .unwrap_or(StatusCode::OK);
        Ok(Answered { status, body })
    }

    /// Keeps the answer of a call that succeeded, releases the key of one that did not.
    async fn settle(&self, state: &State, response: Response) -> Response {
        let (parts, body) = response.into_parts();
        // Our own answer, which is in memory already.
        let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
            return Problem::internal().into_response();
        };
        match parts.status.is_success() {
            true => self.keep(state, parts.status, &body).await,
            false => self.release(state).await,
        }
        Response::from_parts(parts, Body::from(body))
    }

    /// Keeps an answer for those who send the same again.
    pub async fn keep(&self, state: &State, status: StatusCode, body: &[u8]) {
        let sealed = state.key.encrypt(body, &self.context());
        let status = i16::try_from(status.as_u16()).unwrap_or(200);
        self.execute(
            &state.store,
            include_str!("../../sql/queries/api/finish_idempotency_key.sql"),
            &[&self.key, &sealed, &status],
        )
        .await;
    }

    /// Nothing was done: the same may be sent again.
    pub async fn release(&self, state: &State) {
        self.execute(
            &state.store,
            include_str!("../../sql/queries/api/release_idempotency_key.sql"),
            &[&self.key],
        )
        .await;
    }

    async fn execute(
        &self,
        store: &Store,
        sql: &str,
        parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    ) {
        let executed = async {
            let mut client = store.get().await?;
            let transaction = tenant_transaction(&mut client, &self.tenant).await?;
            transaction.execute(sql, parameters).await?;
            transaction.commit().await?;
            anyhow::Ok(())
        };
        if let Err(error) = executed.await {
            error!(
                error = %format!("{error:#}"),
                "The answer for an Idempotency-Key was not stored; the call itself was answered"
            );
        }
    }

    /// Binds a stored answer to its tenant and key.
    fn context(&self) -> Vec<u8> {
        context(&self.tenant, &self.key)
    }
}

/// What a stored answer is encrypted for.
pub fn context(tenant: &str, key: &str) -> Vec<u8> {
    [b"idempotency\0", tenant.as_bytes(), b"\0", key.as_bytes()].concat()
}
