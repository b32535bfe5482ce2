//! A form that is sent twice, as by two presses of its button or after a broken connection, is
//! carried out once and answered alike: as a call of the API with an `Idempotency-Key` is.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State as AxumState};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::{Instant, sleep};
use tracing::error;

use super::State;
use super::fault::Fault;
use super::fields::Fields;
use super::gate::whole;
use super::shell::{Visitor, html, see_other};
use crate::api::error::Problem;
use crate::api::idempotency::{Answered, Claim, IN_PROGRESS};

/// How long the second of two waits for the answer to the first.
const WAIT: Duration = Duration::from_secs(10);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(150);

/// Middleware, after the sign-in.
pub async fn once(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    request: Request,
    next: Next,
) -> Result<Response, Fault> {
    if request.method() != Method::POST {
        return Ok(next.run(request).await);
    }
    let (parts, bytes) = whole(request).await?;
    let form = Fields::parse(&bytes);
    // Trying a filter does nothing.
    let does_once = form.has("once") && !form.has("try");
    let claim = does_once.then(|| {
        let tenant = Arc::clone(visitor.tenant());
        Claim::of_form(tenant, parts.uri.path(), &bytes)
    });
    let request = Request::from_parts(parts, Body::from(bytes));
    let Some(claim) = claim else {
        return Ok(next.run(request).await);
    };
    if let Some(answered) = reserve(&state, &claim).await? {
        return Ok(again(answered));
    }
    // A task of its own: a browser that goes away in the middle, and sends the form again, meets
    // the answer.
    let call = tokio::spawn(async move {
        let response = next.run(request).await;
        settle(&state, &claim, response).await
    });
    Ok(call.await.unwrap_or_else(|panic| {
        error!(error = %panic, "A handler of the console panicked");
        Fault::from(Problem::internal()).into_response()
    }))
}

async fn reserve(state: &State, claim: &Claim) -> Result<Option<Answered>, Fault> {
    let began = Instant::now();
    loop {
        match claim.reserve(&state.api).await {
            Err(problem) if problem.code() == IN_PROGRESS && began.elapsed() < WAIT => {
                sleep(LOOK).await;
            }
            answered => return Ok(answered?),
        }
    }
}

/// Keeps where it led to, or the page that it showed; of a refusal nothing.
async fn settle(state: &State, claim: &Claim, response: Response) -> Response {
    let (parts, body) = response.into_parts();
    // Our own page, which is in memory already.
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
        return Fault::from(Problem::internal()).into_response();
    };
    let location = parts.headers.get(header::LOCATION);
    match (parts.status, location) {
        (status @ StatusCode::SEE_OTHER, Some(location)) => {
            claim.keep(&state.api, status, location.as_bytes()).await;
        }
        (StatusCode::OK, _) => claim.keep(&state.api, StatusCode::OK, &body).await,
        _ => claim.release(&state.api).await,
    }
    Response::from_parts(parts, Body::from(body))
}

fn again(answered: Answered) -> Response {
    let text = String::from_utf8_lossy(&answered.body).into_owned();
    match answered.status {
        StatusCode::SEE_OTHER => see_other(&text),
        status => html(status, text),
    }
}
