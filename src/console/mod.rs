//! The console: a tenant's own pages at `/console`, rendered here and readable without script.
//!
//! # Layout
//!
//! - [`links`], [`code`], [`session`], [`capability`]: who is signed in, and what they may do.
//! - [`gate`]: what every request passes. [`once`]: a form that is sent twice is carried out once.
//!   [`enter`]: signing in and out.
//! - [`deliveries`], [`delivery`], [`events`], [`event`], [`recover`], [`jobs`] and the others: one file a
//!   page, with its template in `templates/`.
//! - [`chart`]: what became of attempts, by hours and days.
//! - [`settings`], [`tokens`]: sessions, and the tokens of the tenant's own programs.
//! - [`stream`]: tells open pages what has happened. [`export`]: lists as files.
//! - [`shell`], [`markup`], [`words`], [`advice`], [`wanted`], [`fields`], [`fault`], [`assets`]: what the pages share.
//!
//! Pages ask the same functions as the API's handlers, in a transaction of the tenant's role, and
//! never HTTP.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::{self, Next};
use axum::response::IntoResponse;
use axum::routing::{MethodFilter, MethodRouter, any, get, on, post};
use tokio::sync::Semaphore;
use tower_http::compression::CompressionLayer;

use crate::api;
use crate::api::PublicUrl;

pub mod actions;
pub mod advice;
pub mod assets;
pub mod capability;
pub mod catalogue;
pub mod chart;
pub mod code;
pub mod deliveries;
pub mod delivery;
pub mod endpoint;
pub mod endpoints;
pub mod enter;
pub mod event;
pub mod events;
pub mod export;
pub mod fault;
pub mod fields;
pub mod gate;
pub mod history;
pub mod jobs;
pub mod links;
pub mod markup;
pub mod once;
pub mod overview;
pub mod recover;
pub mod search;
pub mod session;
pub mod settings;
pub mod shell;
pub mod stream;
pub mod test_event;
pub mod tokens;
pub mod wanted;
pub mod words;

use capability::Capability;

/// What the pages share.
pub struct State {
    api: Arc<api::State>,
    /// None: nothing is served.
    public_url: Option<PublicUrl>,
    sessions: session::Cache,
    /// A turn for those who have sent much that is unknown.
    strangers: Semaphore,
}

/// A page or an action of those who are signed in.
pub struct Route {
    pub method: Method,
    pub path: &'static str,
    /// Without it the answer is 403.
    pub needs: Capability,
    handler: MethodRouter<Arc<State>>,
}

fn page<H, T>(path: &'static str, needs: Capability, handler: H) -> Route
where
    H: Handler<T, Arc<State>>,
    T: 'static,
{
    route(Method::GET, MethodFilter::GET, path, needs, handler)
}

fn action<H, T>(path: &'static str, needs: Capability, handler: H) -> Route
where
    H: Handler<T, Arc<State>>,
    T: 'static,
{
    route(Method::POST, MethodFilter::POST, path, needs, handler)
}

/// An action that is one transaction, as a PATCH or a DELETE of the API: it is made again where a
/// deadlock broke it off.
fn change<H, T>(path: &'static str, needs: Capability, handler: H) -> Route
where
    H: Handler<T, Arc<State>>,
    T: 'static,
{
    let handler = handler.layer(middleware::from_fn(gate::again));
    action(path, needs, handler)
}

fn route<H, T>(
    method: Method,
    filter: MethodFilter,
    path: &'static str,
    needs: Capability,
    handler: H,
) -> Route
where
    H: Handler<T, Arc<State>>,
    T: 'static,
{
    let check = move |request: Request, next: Next| gate::require(needs, request, next);
    Route {
        method,
        path,
        needs,
        handler: on(filter, handler).route_layer(middleware::from_fn(check)),
    }
}

/// All that needs a session.
pub fn routes() -> Vec<Route> {
    use Capability::{Manage, Payloads, Resend, Secrets, Test, Tokens, View};
    vec![
        page("/console/overview", View, overview::show),
        page("/console/deliveries", View, deliveries::show),
        page("/console/deliveries.ndjson", View, export::deliveries),
        page("/console/deliveries/newer", View, deliveries::newer),
        page("/console/deliveries/rows", View, deliveries::rows),
        page("/console/deliveries/{id}", View, delivery::show),
        page("/console/deliveries/{id}/curl", Payloads, delivery::curl),
        page(
            "/console/deliveries/{id}/attempts/{number}",
            Payloads,
            delivery::answered,
        ),
        action("/console/deliveries/{id}/retry", Resend, delivery::retry),
        page("/console/events", View, events::show),
        page("/console/events.ndjson", View, export::events),
        page("/console/events/newer", View, events::newer),
        page("/console/events/{id}", View, event::show),
        action("/console/events/{id}/send", Resend, event::send),
        page("/console/recover", View, recover::show),
        action("/console/recover", Resend, recover::start),
        page("/console/jobs/{id}", View, jobs::show),
        action("/console/jobs/{id}/pause", Resend, jobs::pause),
        action("/console/jobs/{id}/resume", Resend, jobs::resume),
        action("/console/jobs/{id}/cancel", Resend, jobs::cancel),
        page("/console/endpoints", View, endpoints::show),
        page("/console/endpoints/new", Manage, endpoints::new),
        action("/console/endpoints/new", Manage, endpoints::create),
        page("/console/endpoints/{id}", View, endpoint::show),
        page("/console/endpoints/{id}/history", View, history::show),
        page("/console/endpoints/{id}/edit", Manage, endpoints::edit),
        change("/console/endpoints/{id}/edit", Manage, endpoints::save),
        action("/console/endpoints/{id}/test", Test, actions::test),
        change("/console/endpoints/{id}/pause", Manage, actions::pause),
        action("/console/endpoints/{id}/enable", Manage, actions::enable),
        change("/console/endpoints/{id}/rotate", Secrets, actions::rotate),
        change("/console/endpoints/{id}/delete", Manage, actions::delete),
        page("/console/catalogue", View, catalogue::show),
        page("/console/test", View, test_event::show),
        action("/console/test", Test, test_event::send),
        page("/console/settings", View, settings::show),
        change("/console/settings/end", Manage, settings::end_session),
        page("/console/settings/tokens", Tokens, tokens::show),
        action("/console/settings/tokens", Tokens, tokens::create),
        change("/console/settings/tokens/revoke", Tokens, tokens::revoke),
        action("/console/theme", View, settings::theme),
        action("/console/sign-out", View, enter::sign_out),
        page("/console/search", View, search::show),
        page("/console/stream", View, stream::show),
    ]
}

/// Everything below `/console`. Without a public URL each path says that there is no console.
pub fn router(api: Arc<api::State>, public_url: Option<PublicUrl>) -> Router {
    let state = Arc::new(State {
        api,
        public_url,
        sessions: session::Cache::default(),
        strangers: Semaphore::new(1),
    });
    let mut signed_in = Router::new();
    for route in routes() {
        signed_in = signed_in.route(route.path, route.handler);
    }
    // The last is the outermost.
    let signed_in = signed_in
        .route_layer(middleware::from_fn_with_state(
            Arc::clone(&state),
            once::once,
        ))
        .route_layer(middleware::from_fn_with_state(
            Arc::clone(&state),
            gate::signed_in,
        ));
    signed_in
        .route("/console", get(enter::home))
        .route("/console/", get(enter::home))
        .route(
            "/console/enter",
            get(enter::show).merge(post(enter::redeem)),
        )
        .route("/console/assets/{name}", get(assets::get))
        .route("/console/{*rest}", any(gate::no_page))
        .method_not_allowed_fallback(no_method)
        .route_layer(middleware::from_fn_with_state(
            Arc::clone(&state),
            gate::same_site,
        ))
        .layer(middleware::from_fn(gate::dress))
        // Neither what is compressed already nor a stream, which it would hold back.
        .layer(CompressionLayer::new())
        .with_state(state)
}

async fn no_method() -> impl IntoResponse {
    gate::no_page().await
}
