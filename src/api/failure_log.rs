//! What is logged of calls that failed for a fault of ours.

use std::time::Instant;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;

/// A status of 500 or more is logged, but for what `/readyz` answers to every probe: what is
/// wrong then is logged where it is met.
pub(super) async fn log(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let began = Instant::now();
    let response = next.run(request).await;
    let status = response.status();
    if status.is_server_error() && path != "/readyz" {
        let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::error!(%method, path, %status, milliseconds, "a call of the API failed");
    }
    response
}
