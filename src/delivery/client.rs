//! The HTTP client that sends webhooks. The only home of hyper.
//!
//! Receivers are strangers, and their addresses are chosen by tenants: one deadline
//! covers the whole exchange, the body included; the answer is read up to a cap;
//! nothing is redirected, proxied, decompressed or silently repeated; and only
//! public addresses are connected to.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::ACCEPT;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use ipnet::IpNet;
use rustls::pki_types::CertificateDer;
use serde::Deserialize;
use tokio::time::timeout;

mod address;
mod connector;
mod destination;
mod excerpt;
mod header;
mod known_urls;
mod resolver;
mod retry_after;
mod send_error;
#[cfg(test)]
mod tests;

pub use destination::{UrlError, check_url};
pub use header::{HeaderError, check_headers};
pub use http::header::{HeaderMap, HeaderName, HeaderValue};
pub use send_error::{ErrorClass, SendError};

use connector::Connector;
use excerpt::Excerpt;
use known_urls::{Known, KnownUrls};

/// Idle connections kept for each endpoint: above the default
/// `delivery.endpoint_concurrency` (32), so that a burst reconnects nothing.
const IDLE_PER_HOST: usize = 64;
/// Below the 60 s after which common load balancers drop an idle connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);
/// An HTTP/2 connection outlives a failed request: without pings a dead one would
/// fail every attempt until TCP gives up, which takes a quarter of an hour.
const H2_PING_INTERVAL: Duration = Duration::from_secs(10);
const H2_PING_TIMEOUT: Duration = Duration::from_secs(5);
/// HTTP/2 lets a receiver send so much unread; hyper's default is 2 MiB a stream.
const H2_STREAM_WINDOW: u32 = 64 * 1024;
const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;
/// A body that takes longer than this is read in bursts, with a rest between: one that
/// drips, perhaps on hundreds of connections, must not wake anybody for each of its bytes.
const BODY_AT_ONCE: Duration = Duration::from_millis(500);
const BODY_REST: Duration = Duration::from_secs(1);
/// A burst is over when nothing has come for so long.
const BODY_GAP: Duration = Duration::from_millis(10);
const ANYTHING: HeaderValue = HeaderValue::from_static("*/*");

/// `[security]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SecurityConfig {
    /// Whether endpoints may be `http://`; otherwise only `https://`.
    pub allow_http: bool,
    /// Networks that may be sent to although they are not public. An IPv4 network
    /// also admits its addresses written as IPv4-mapped IPv6.
    pub allow_networks: Vec<IpNet>,
    /// The key that encrypts signing secrets in the store.
    pub encryption_key_file: PathBuf,
}

impl Default for SecurityConfig {
    fn default() -> Self {
        SecurityConfig {
            allow_http: false,
            allow_networks: Vec::new(),
            encryption_key_file: PathBuf::from("walhook.key"),
        }
    }
}

/// Sends requests over one pool of connections. Cloning shares the pool.
#[derive(Clone)]
pub struct Client {
    http: legacy::Client<Connector, Full<Bytes>>,
    security: Arc<SecurityConfig>,
    urls: Arc<KnownUrls>,
    timeout: Duration,
    max_response: usize,
}

/// A POST about to be sent. No `Debug`: headers and body are the tenant's.
pub struct OutgoingRequest<'a> {
    pub url: &'a str,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// A complete answer of an endpoint, of any status.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// How long the endpoint asks to be left alone, at most 24 h.
    pub retry_after: Option<Duration>,
    /// The beginning of the body as printable text, at most 1 KiB.
    pub excerpt: String,
}

/// The client could not be set up.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot set up the HTTP client: no root certificates were found; install the package `ca-certificates` or set SSL_CERT_FILE"
)]
pub struct ClientError;

impl Client {
    /// `timeout` is for the whole exchange, from the look-up of the name to the last
    /// byte of the answer; `max_response` is in bytes, beyond it reading stops.
    pub fn new(
        security: &SecurityConfig,
        timeout: Duration,
        max_response: usize,
    ) -> Result<Self, ClientError> {
        Self::with_roots(security, timeout, max_response, &[])
    }

    /// Trusts further root certificates besides the system's.
    fn with_roots(
        security: &SecurityConfig,
        timeout: Duration,
        max_response: usize,
        roots: &[CertificateDer<'static>],
    ) -> Result<Self, ClientError> {
        // The deadline of an exchange is in `post`; this one is for a connection that the
        // pool still opens after its request has found another.
        let connector = connector::connect(&security.allow_networks, timeout, roots)?;
        let http = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .http2_initial_stream_window_size(H2_STREAM_WINDOW)
            .http2_initial_connection_window_size(H2_CONNECTION_WINDOW)
            .http2_keep_alive_interval(H2_PING_INTERVAL)
            .http2_keep_alive_timeout(H2_PING_TIMEOUT)
            .build(connector);
        Ok(Client {
            http,
            security: Arc::new(security.clone()),
            urls: Arc::default(),
            timeout,
            max_response,
        })
    }

    /// Sends one POST and reads the answer. An answer of any status is `Ok`; one that
    /// does not end within the deadline is not, whatever its status.
    /// Dropping the future ends the exchange and closes its connection.
    pub async fn post(&self, request: OutgoingRequest<'_>) -> Result<Response, SendError> {
        let mut status = None;
        let exchange = self.exchange(request, &mut status);
        let result = match timeout(self.timeout, exchange).await {
            Ok(result) => result,
            Err(_) => Err(SendError::timeout(self.timeout, status.is_some())),
        };
        result.map_err(|error| SendError { status, ..error })
    }

    async fn exchange(
        &self,
        request: OutgoingRequest<'_>,
        status: &mut Option<u16>,
    ) -> Result<Response, SendError> {
        // Not only when it was saved: the configuration may have become stricter since, and
        // the connector never asks the resolver about a host that is an address.
        let Known { uri, host } = self.urls.parse(request.url, &self.security)?;
        let mut outgoing = Request::new(Full::new(request.body));
        *outgoing.method_mut() = Method::POST;
        *outgoing.uri_mut() = uri;
        *outgoing.headers_mut() = request.headers;
        outgoing.headers_mut().insert(ACCEPT, ANYTHING);
        // Without redirects, proxies or decompression, and never sent again but where a
        // kept connection had been closed before the request was written to it.
        let response = self.http.request(outgoing).await;
        let response = response.map_err(|error| {
            let is_connect = error.is_connect();
            SendError::classify(&error, is_connect, &host)
        })?;
        let (head, mut body) = response.into_parts();
        *status = Some(head.status.as_u16());
        let retry_after = retry_after::of(&head.headers);

        // To the end, so that the connection can be used again, but not beyond the
        // cap: dropping the rest unread closes it.
        let mut excerpt = Excerpt::default();
        let mut unread = self.max_response;
        let answered = Instant::now();
        while unread > 0 {
            let frame = if answered.elapsed() < BODY_AT_ONCE {
                body.frame().await
            } else if let Ok(frame) = timeout(BODY_GAP, body.frame()).await {
                frame
            } else {
                tokio::time::sleep(BODY_REST).await;
                continue;
            };
            let Some(frame) = frame else {
                break;
            };
            let frame = frame.map_err(|error| SendError::classify(&error, false, &host))?;
            let Ok(chunk) = frame.into_data() else {
                continue;
            };
            excerpt.push(&chunk);
            unread = unread.saturating_sub(chunk.len());
        }
        Ok(Response {
            status: head.status.as_u16(),
            retry_after,
            excerpt: excerpt.into_text(),
        })
    }
}
