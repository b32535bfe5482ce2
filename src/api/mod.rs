//! The HTTP API: tenants' subscriptions, deliveries and events under
//! [`TENANT_PATH`], and what operators ask at the root.
//!
//! # Layout
//!
//! - [`auth`], [`jwt`], [`tokens`]: who calls.
//! - [`subscriptions`] with [`subscription_rules`], [`subscription_view`], [`signing`] and
//!   [`subscription_actions`], [`test_events`], [`deliveries`], [`events`]: one handler a call.
//! - [`stream`]: what happens, as it happens.
//! - [`idempotency`]: a POST that is sent twice is carried out once.
//! - [`ops`]: health and metrics. [`docs`]: the OpenAPI document and its page.
//! - [`error`], [`extract`]: what refusals look like, how requests are read.
//!
//! A tenant's requests run under a database role that sees its rows alone.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State as AxumState};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::trace::TraceLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::conninfo::ConnInfo;
use crate::db::Store;
use crate::delivery::client::SecurityConfig;
use crate::secret::EncryptionKey;
use crate::tenant::Seen;

pub mod attempts;
pub mod auth;
pub mod batching;
pub mod callers;
mod config;
mod deadlock;
pub mod deliveries;
pub mod docs;
pub mod error;
pub mod event_types;
pub mod events;
pub mod extract;
mod failure_log;
pub mod filters;
pub mod guide;
pub mod history;
pub mod idempotency;
pub mod jobs;
pub mod jwt;
pub mod limits;
pub mod me;
pub mod ops;
pub mod public_url;
pub mod server;
pub mod signing;
pub mod source_position;
pub mod stats;
pub mod stream;
pub mod subscription_actions;
pub mod subscription_health;
pub mod subscription_rules;
pub mod subscription_view;
pub mod subscriptions;
pub mod test_events;
pub mod tokens;
pub mod trail;

pub use callers::Callers;
pub use config::ApiConfig;
pub use event_types::{EventType, EventTypes};
pub use jwt::{JwtConfig, JwtVerifier};
pub use limits::{Limits, LimitsConfig};
pub use me::Settings;
pub use public_url::PublicUrl;

use crate::health::Health;
use error::Problem;

/// Where the tenants' calls begin.
pub const TENANT_PATH: &str = "/api/v1/tenant/webhooks";

/// What the handlers share.
pub struct State {
    pub store: Store,
    /// The same over connections of its own, for `/readyz` and `/metrics`: requests of tenants
    /// must not keep these waiting.
    pub probed: Store,
    /// Says from which position on a new subscription receives.
    pub source: ConnInfo,
    /// Encrypts the signing secrets and the stored answers that hold them.
    pub key: Arc<EncryptionKey>,
    pub security: SecurityConfig,
    pub event_types: EventTypes,
    /// Compiles a subscription's filter for events whose `data` has these members, where they
    /// are known: the reason why it is refused.
    pub check_filter: fn(&str, Option<&[String]>) -> Result<(), String>,
    /// Evaluates a filter over an event's body.
    pub filter_matches: fn(&str, &[u8]) -> Result<bool, String>,
    pub health: Arc<Health>,
    /// Wakes this process's claimer; other nodes hear a NOTIFY.
    pub schedule_changed: Arc<Notify>,
    pub jwt: Option<JwtVerifier>,
    /// Bytes; see [`ApiConfig::body_limit`].
    pub body_limit: usize,
    pub request_timeout: Duration,
    pub limits: Limits,
    pub callers: Callers,
    pub settings: Settings,
    /// Those who follow what happens.
    pub hub: Arc<stream::hub::Hub>,
    pub caches: Caches,
}

/// What the API remembers between requests.
#[derive(Default)]
pub struct Caches {
    tokens: auth::TokenCache,
    queue_count: ops::QueueCount,
    scrape: ops::Scrape,
    store_ping: ops::StorePing,
    tenants: Seen,
}

impl State {
    fn changed(&self) {
        self.schedule_changed.notify_one();
    }
}

/// Where the API listens.
pub struct Listeners {
    pub api: TcpListener,
    /// For operators alone; none where they ask the other.
    pub ops: Option<TcpListener>,
    /// Connections to each at once.
    pub max_connections: usize,
}

/// Operators and orchestrators are few.
const OPS_CONNECTIONS: usize = 64;

/// Serves until `shutdown`, then finishes what is in progress; `pages` beside tenants' calls.
pub async fn serve(
    listeners: Listeners,
    state: Arc<State>,
    pages: Router,
    shutdown: CancellationToken,
) {
    let limit = listeners.max_connections;
    let Some(ops) = listeners.ops else {
        let all = router(state, Routes::All, pages);
        return server::serve(listeners.api, all, limit, shutdown).await;
    };
    let tenants = router(Arc::clone(&state), Routes::Tenants, pages);
    tokio::join!(
        server::serve(listeners.api, tenants, limit, shutdown.clone()),
        server::serve(
            ops,
            router(state, Routes::Operators, Router::new()),
            limit.min(OPS_CONNECTIONS),
            shutdown
        ),
    );
}

/// Which of the routes one listener serves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Routes {
    All,
    Tenants,
    Operators,
}

/// The routes of one listener, as [`serve`] serves them.
pub fn router(state: Arc<State>, routes: Routes, pages: Router) -> Router {
    let (mut router, _) = routes_of(&state, routes).split_for_parts();
    if routes != Routes::Operators {
        let (_, document) = routes_of(&state, Routes::All).split_for_parts();
        let document = docs::complete(document);
        let page: Bytes = docs::page(&document).into();
        let document: Bytes = serde_json::to_vec(&document).unwrap_or_default().into();
        let document = move || async move { docs::json(document) };
        router = router
            .route("/openapi.json", get(document))
            .route("/docs", get(guide::index))
            .route("/docs/api", get(move || async move { guide::answer(page) }))
            .route("/docs/{page}", get(guide::named_page));
    }
    let router = router
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .with_state(Arc::clone(&state))
        .merge(pages);
    let header = |name: &'static str, value: &'static str| {
        SetResponseHeaderLayer::if_not_present(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    };
    // From the inside out.
    router
        .layer(DefaultBodyLimit::max(state.body_limit))
        .layer(middleware::from_fn_with_state(state, limit_time))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(TraceLayer::new_for_http().on_failure(()))
        .layer(middleware::from_fn(failure_log::log))
        .layer(SetSensitiveRequestHeadersLayer::new([
            header::AUTHORIZATION,
        ]))
        .layer(header("x-content-type-options", "nosniff"))
        .layer(header("x-frame-options", "DENY"))
        .layer(header("referrer-policy", "no-referrer"))
        .layer(header(
            "content-security-policy",
            "default-src 'none'; frame-ancestors 'none'",
        ))
        // Answers hold a tenant's data, and sometimes a secret.
        .layer(header("cache-control", "no-store"))
        .layer(middleware::from_fn(auth::identify))
}

fn routes_of(state: &Arc<State>, routes: Routes) -> OpenApiRouter<Arc<State>> {
    let mut router = OpenApiRouter::with_openapi(docs::head());
    if routes != Routes::Tenants {
        router = router
            .routes(routes!(ops::healthz))
            .routes(routes!(ops::readyz))
            .routes(routes!(ops::metrics));
    }
    if routes != Routes::Operators {
        // From the inside out.
        let tenant = tenant_routes()
            .route_layer(middleware::from_fn(deadlock::again))
            .route_layer(middleware::from_fn_with_state(
                Arc::clone(state),
                idempotency::once,
            ))
            .route_layer(middleware::from_fn_with_state(
                Arc::clone(state),
                limits::admit,
            ))
            .route_layer(middleware::from_fn_with_state(
                Arc::clone(state),
                auth::authenticate,
            ));
        router = router.nest(TENANT_PATH, tenant);
    }
    router
}

fn tenant_routes() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::new()
        .routes(routes!(
            subscriptions::create_subscription,
            subscriptions::list_subscriptions
        ))
        .routes(routes!(
            subscriptions::get_subscription,
            subscriptions::update_subscription,
            subscriptions::delete_subscription
        ))
        .routes(routes!(signing::rotate_secret))
        .routes(routes!(signing::rotate_signing_key))
        .routes(routes!(test_events::test_subscription))
        .routes(routes!(subscription_actions::enable_subscription))
        .routes(routes!(subscription_actions::replay_subscription))
        .routes(routes!(filters::test_filter))
        .routes(routes!(deliveries::list_deliveries))
        .routes(routes!(deliveries::retry_deliveries))
        .routes(routes!(deliveries::get_delivery))
        .routes(routes!(deliveries::retry_delivery))
        .routes(routes!(jobs::list_jobs))
        .routes(routes!(jobs::get_job))
        .routes(routes!(jobs::pause_job))
        .routes(routes!(jobs::resume_job))
        .routes(routes!(jobs::cancel_job))
        .routes(routes!(events::list_events))
        .routes(routes!(events::get_event))
        .routes(routes!(events::list_event_types))
        .routes(routes!(history::list_history))
        .routes(routes!(stats::subscription_stats))
        .routes(routes!(stats::tenant_stats))
        .routes(routes!(stream::stream))
        .routes(routes!(trail::list_audit))
        .routes(routes!(me::me))
}

async fn no_route(method: Method, uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    Problem::new(
        StatusCode::NOT_FOUND,
        "no_such_call",
        format!("there is no call {method} {path}: /docs/api lists them"),
    )
}

async fn no_method(method: Method) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!("{method} is not a method of this path: the `Allow` header lists them"),
    )
}

async fn limit_time(
    AxumState(state): AxumState<Arc<State>>,
    request: Request,
    next: Next,
) -> Response {
    match tokio::time::timeout(state.request_timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let seconds = state.request_timeout.as_secs();
            Problem::unavailable(
                "timeout",
                format!(
                    "the call took longer than {seconds} s: look what it has done before it is repeated"
                ),
            )
            .into_response()
        }
    }
}

/// A panic is a defect of ours: it costs its request an answer, and nobody else's.
fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("unknown");
    tracing::error!(message, "A handler of the API panicked");
    Problem::internal().into_response()
}
