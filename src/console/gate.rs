//! What every request of the console passes: its headers, who asks, and that a form is ours.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Request, State as AxumState};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::SemaphorePermit;
use tokio::time::timeout;

use super::State;
use super::assets::{PATHS, Paths};
use super::capability::Capability;
use super::fault::Fault;
use super::fields::Fields;
use super::session::{self, Asks, Unsigned};
use super::shell::{Theme, Visitor, html};
use crate::api::error::Problem;
use crate::api::extract::Tenant;
use crate::api::{PublicUrl, auth, limits};
use crate::audit::{self, Principal, PrincipalKind};

/// Nothing but what this server sends, no script or style inside a page, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    font-src 'none'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Outermost: the headers of every answer, and faults as pages.
pub async fn dress(request: Request, next: Next) -> Response {
    let theme = Theme::of(request.headers());
    let mut response = next.run(request).await;
    if let Some(fault) = response.extensions_mut().remove::<Fault>() {
        let cookies = response.headers_mut().remove(header::SET_COOKIE);
        response = fault_page(&fault, theme);
        if let Some(retry_after) = fault.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, *retry_after);
        }
        if let Some(cookie) = cookies {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
    }
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(POLICY),
    );
    let policies = [
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        // Without any, some browsers send forms with the origin `null`.
        ("referrer-policy", "same-origin"),
        (
            "permissions-policy",
            "camera=(), geolocation=(), microphone=(), payment=()",
        ),
    ];
    for (name, value) in policies {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[derive(Template)]
#[template(path = "fault.html")]
struct FaultPage<'a> {
    fault: &'a Fault,
    theme: &'static str,
}

impl FaultPage<'_> {
    fn assets(&self) -> &'static Paths {
        &PATHS
    }
}

fn fault_page(fault: &Fault, theme: Theme) -> Response {
    let page = FaultPage {
        fault,
        theme: theme.as_str(),
    };
    match page.render() {
        Ok(text) => html(fault.status, text),
        Err(error) => {
            tracing::error!(error = %error, "The page of a fault cannot be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Of what has no session yet, too: no bearer tokens here, and no form of another site.
pub async fn same_site(
    AxumState(state): AxumState<Arc<State>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Fault> {
    let Some(public_url) = &state.public_url else {
        return Err(Fault::new(
            StatusCode::NOT_FOUND,
            "no_console",
            "There is no console here",
            "The operator has not set api.public_url, the https address at which browsers reach it.",
        ));
    };
    if request.headers().contains_key(header::AUTHORIZATION) {
        return Err(Fault::invalid(
            "no_tokens_here",
            "The console takes no Authorization header: tokens are for the API, and links that \
             `walhook portal-link` makes are for the console.",
        ));
    }
    let is_safe = matches!(*request.method(), Method::GET | Method::HEAD);
    if !is_safe && !is_of_our_page(request.headers(), public_url) {
        return Err(Fault::new(
            StatusCode::FORBIDDEN,
            "cross_site",
            "This form was sent by another site",
            format!(
                "Nothing was done. Forms are taken from {} alone (api.public_url).",
                public_url.origin()
            ),
        ));
    }
    let caller = Caller(state.api.callers.address(&request));
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

/// Who asks, by address: put on every request.
#[derive(Clone, Copy)]
pub struct Caller(pub IpAddr);

impl State {
    /// Before the store is asked for what a stranger sent: those who have sent much that is
    /// unknown are looked up one after the other, so that they leave its connections to others.
    pub async fn in_turn(&self, caller: Caller) -> Result<Option<SemaphorePermit<'_>>, Fault> {
        let Some(wait) = self.api.callers.slow_down(caller.0) else {
            return Ok(None);
        };
        match timeout(TURN, self.strangers.acquire()).await {
            Ok(Ok(turn)) => Ok(Some(turn)),
            Ok(Err(_)) | Err(_) => Err(Fault::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_requests",
                "Too much at once",
                format!(
                    "Too many links or sessions that are unknown came from {}: try again in {} s.",
                    caller.0,
                    wait.as_secs() + 1
                ),
            )),
        }
    }

    /// What the caller sent is unknown here.
    pub fn is_strange(&self, caller: Caller) {
        self.api.callers.failed(caller.0);
    }
}

/// How long a caller that is slowed down waits for its turn.
const TURN: Duration = Duration::from_secs(5);

/// A browser says which site a request comes from, and no page can make it say otherwise.
fn is_of_our_page(headers: &HeaderMap, public_url: &PublicUrl) -> bool {
    match headers.get("sec-fetch-site") {
        Some(site) => site == "same-origin",
        None => headers
            .get(header::ORIGIN)
            .is_some_and(|origin| origin == public_url.origin()),
    }
}

/// Admits who is signed in, to their share of the server, and only with forms of their session.
pub async fn signed_in(
    AxumState(state): AxumState<Arc<State>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Fault> {
    let unsigned = || Fault::unsigned(&Unsigned::Never);
    let public_url = state.public_url.as_ref().ok_or_else(unsigned)?;
    let cookie = session::cookie(request.headers(), public_url).ok_or_else(unsigned)?;
    let asks = Asks::of(request.headers());
    let session = match state.sessions.get(&cookie.hash(), asks) {
        Some(session) => session,
        None => {
            let caller = caller_of(&request);
            let _turn = state.in_turn(caller).await?;
            let found = session::find(&state.api.store, &state.sessions, &cookie, asks).await?;
            found.map_err(|why| {
                if matches!(why, Unsigned::Never) {
                    state.is_strange(caller);
                }
                Fault::unsigned(&why)
            })?
        }
    };
    if request.method() == Method::POST {
        let (parts, bytes) = whole(request).await?;
        let token = Fields::parse(&bytes);
        let token = token.get("token").unwrap_or_default();
        if !session.form_token.is(token) {
            return Err(Fault::new(
                StatusCode::FORBIDDEN,
                "stale_form",
                "This form is of another session",
                "Nothing was done. Open the page again and repeat it there.",
            ));
        }
        request = Request::from_parts(parts, Body::from(bytes));
    }
    // What answers a form is at an address that cannot be asked for.
    let path = request.uri().path_and_query();
    let path = path.filter(|_| request.method() == Method::GET);
    let visitor = Visitor {
        caller: audit::Caller {
            principal: Principal {
                kind: PrincipalKind::Portal,
                name: session.id.to_string(),
                actor: Some(session.actor.clone()),
            },
            request_id: Some(auth::request_id(&request)),
            remote_ip: Some(state.api.callers.origin(&request)),
        },
        theme: Theme::of(request.headers()),
        path: path.map(|path| path.as_str().to_owned()),
        session,
    };
    let tenant = Tenant(Arc::clone(visitor.tenant()));
    request.extensions_mut().insert(visitor);
    let api = AxumState(Arc::clone(&state.api));
    limits::admit(api, tenant, request, next)
        .await
        .map_err(Fault::from)
}

fn caller_of(request: &Request) -> Caller {
    let unknown = Caller(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    request.extensions().get().copied().unwrap_or(unknown)
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Fault> {
        let caller = parts.extensions.get().copied();
        caller.ok_or_else(|| Problem::internal().into())
    }
}

/// The one place that decides what a session may do: of every route, before its handler.
pub async fn require(
    capability: Capability,
    request: Request,
    next: Next,
) -> Result<Response, Fault> {
    let visitor = request.extensions().get::<Visitor>();
    match visitor.is_some_and(|visitor| visitor.may(capability)) {
        true => Ok(next.run(request).await),
        false => Err(Fault::lacks(capability)),
    }
}

/// A change that meets so many deadlocks in a row meets them for another reason: as of the API.
const CALLS: usize = 5;

/// Of changes that are one transaction: repeats what PostgreSQL broke off to end a deadlock.
pub async fn again(request: Request, next: Next) -> Result<Response, Fault> {
    let (parts, bytes) = whole(request).await?;
    for _ in 1..CALLS {
        let call = Request::from_parts(parts.clone(), Body::from(bytes.clone()));
        let response = next.clone().run(call).await;
        let fault = response.extensions().get::<Fault>();
        if !fault.is_some_and(|fault| fault.is_deadlock) {
            return Ok(response);
        }
    }
    Ok(next
        .run(Request::from_parts(parts, Body::from(bytes)))
        .await)
}

/// A request with its body in memory, which the server's limit bounds.
pub async fn whole(request: Request) -> Result<(Parts, Bytes), Fault> {
    let (parts, body) = request.into_parts();
    // With the parts, as they carry the limit of the body.
    let request = Request::from_parts(parts.clone(), body);
    let bytes = Bytes::from_request(request, &()).await;
    let bytes = bytes.map_err(|error| Fault::from(Problem::from(error)))?;
    Ok((parts, bytes))
}

/// A path that leads nowhere.
pub async fn no_page() -> Fault {
    Fault::new(
        StatusCode::NOT_FOUND,
        "no_page",
        "There is no such page",
        "The address may be cut off or of an earlier version.",
    )
}
