//! Changes that PostgreSQL broke off to end a deadlock: nothing of their transaction was
//! done, so they are made again. A subscription with many deliveries is deleted or
//! disabled in the midst of those that record what became of them, and no order of the
//! locks is kept through all of that. A POST is not called again: some are made of several
//! transactions, and its caller is told to try again.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;

use super::error::Problem;

/// Marks the answer of a call that was broken off.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlocked;

/// A call that meets so many in a row meets them for another reason.
const CALLS: usize = 5;

/// Middleware.
pub(super) async fn again(request: Request, next: Next) -> Result<Response, Problem> {
    if ![Method::DELETE, Method::PATCH].contains(request.method()) {
        return Ok(next.run(request).await);
    }
    let (parts, body) = request.into_parts();
    // With the parts, as they carry the limit of the body.
    let request = Request::from_parts(parts.clone(), body);
    let body = Bytes::from_request(request, &()).await?;
    let call = || Request::from_parts(parts.clone(), Body::from(body.clone()));
    for _ in 1..CALLS {
        let response = next.clone().run(call()).await;
        if response.extensions().get::<Deadlocked>().is_none() {
            return Ok(response);
        }
    }
    Ok(next.run(call()).await)
}
