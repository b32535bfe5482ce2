//! The HTTP client that sends webhooks. The only home of reqwest.
//!
//! Receivers are strangers, and their addresses are chosen by tenants: one deadline
//! covers the whole exchange, the body included, but for a 2xx, which is a success once
//! its headers are here; the answer is read up to a cap; nothing is redirected, proxied,
//! decompressed or silently repeated; and only public addresses are connected to.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ipnet::IpNet;
use reqwest::{Method, Request};
use rustls::pki_types::CertificateDer;
use serde::Deserialize;
use tokio::time::{Instant, sleep_until, timeout};

mod address;
mod answer;
mod connections;
mod destination;
mod dns;
mod excerpt;
mod header;
mod known_urls;
mod look_ups;
#[cfg(test)]
#[path = "../../tests/it/harness/name_server.rs"]
#[expect(unreachable_pub)]
mod name_server;
mod resolver;
mod retry_after;
mod send_error;
mod system_names;
#[cfg(test)]
mod tests;
mod time_limit;

pub use answer::{Answer, FailureAnswer};
pub use destination::{UrlError, check_url};
pub use header::{HeaderError, check_headers};
pub use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
pub use send_error::{ErrorClass, SendError};
pub use system_names::NameServer;

use answer::{Incoming, Memory};
use excerpt::Excerpt;
use known_urls::{Known, KnownUrls};
use resolver::GuardedResolver;
use system_names::SystemNames;
use time_limit::TimeLimit;

use crate::secret::{EncryptionKey, KeyFileError};

/// An exchange that takes longer is slow.
const SLOW: Duration = Duration::from_secs(1);
/// What a success says beyond its headers is only shown: it may take so long, and no more
/// of it is waited for.
const EXCERPT_TIME: Duration = Duration::from_secs(1);
/// A body that takes longer than this is read in bursts, with a rest between: one that
/// drips, perhaps on hundreds of connections, must not wake the process for each byte.
const BODY_AT_ONCE: Duration = Duration::from_secs(1);
const BODY_REST: Duration = Duration::from_secs(1);
/// A burst is over when nothing has come for so long.
const BODY_GAP: Duration = Duration::from_millis(10);

/// `[security]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SecurityConfig {
    /// Whether endpoints may be `http://`; otherwise only `https://`.
    pub allow_http: bool,
    /// Networks that may be sent to although they are not public. An IPv4 network
    /// also admits its addresses written as IPv4-mapped IPv6.
    pub allow_networks: Vec<IpNet>,
    /// Ports besides 443 (and 80 with `allow_http`) that may be sent to at public addresses.
    pub allow_ports: Vec<u16>,
    /// The key that encrypts signing secrets in the store.
    pub encryption_key_file: PathBuf,
    /// The key before it, while `walhook rotate-key` has not encrypted all again; empty: none.
    pub previous_encryption_key_file: PathBuf,
}

impl Default for SecurityConfig {
    fn default() -> Self {
        SecurityConfig {
            allow_http: false,
            allow_networks: Vec::new(),
            allow_ports: Vec::new(),
            encryption_key_file: PathBuf::from("walhook.key"),
            previous_encryption_key_file: PathBuf::new(),
        }
    }
}

impl SecurityConfig {
    /// Reads the key, and the previous one where there is one.
    pub fn load_key(&self) -> Result<EncryptionKey, KeyFileError> {
        let key = EncryptionKey::load(&self.encryption_key_file)?;
        let previous = &self.previous_encryption_key_file;
        if previous.as_os_str().is_empty() {
            return Ok(key);
        }
        Ok(key.with_previous(EncryptionKey::load(previous)?))
    }
}

/// Sends requests over one pool of connections. Cloning shares the pool.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    /// For ports that are sent to in `security.allow_networks` alone.
    inside: reqwest::Client,
    security: Arc<SecurityConfig>,
    urls: Arc<KnownUrls>,
    timeout: Duration,
    max_response: usize,
    /// Whether failures keep headers and body.
    keep_answers: bool,
    answers: Memory,
}

/// A POST about to be sent. No `Debug`: headers and body are the tenant's.
pub struct OutgoingRequest<'a> {
    pub url: &'a str,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// The answer of an endpoint: of any status and complete, or of 2xx.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// How long the endpoint asks to be left alone, at most 24 h.
    pub retry_after: Option<Duration>,
    /// The beginning of the body as printable text, at most 1 KiB.
    pub excerpt: String,
    pub answer: Answer,
}

/// The client could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(
        "cannot set up the HTTP client: no root certificates were found; install the package `ca-certificates` or set SSL_CERT_FILE"
    )]
    NoRoots,
    #[error("cannot set up the HTTP client's TLS")]
    Tls(#[source] rustls::Error),
    #[error("cannot set up the HTTP client")]
    Build(#[source] reqwest::Error),
}

impl Client {
    /// Without `name_servers` those of the system are asked. `timeout` is for the whole
    /// exchange, from the look-up of the name to the last byte of the answer;
    /// `max_response` is in bytes, beyond it reading stops.
    pub fn new(
        security: &SecurityConfig,
        name_servers: &[NameServer],
        timeout: Duration,
        max_response: usize,
    ) -> Result<Self, ClientError> {
        Self::with_roots(security, name_servers, timeout, max_response, &[])
    }

    /// Trusts further root certificates besides the system's.
    fn with_roots(
        security: &SecurityConfig,
        name_servers: &[NameServer],
        timeout: Duration,
        max_response: usize,
        roots: &[CertificateDer<'static>],
    ) -> Result<Self, ClientError> {
        let names = SystemNames::new(name_servers);
        let resolver = GuardedResolver::new(&security.allow_networks, names);
        let tls = connections::tls(roots)?;
        let inside = connections::client(resolver.only_allowed(), timeout, &tls)?;
        let http = connections::client(resolver, timeout, &tls)?;
        Ok(Client {
            http,
            inside,
            security: Arc::new(security.clone()),
            urls: Arc::default(),
            timeout,
            max_response,
            keep_answers: true,
            answers: Memory::default(),
        })
    }

    /// Whether failures keep headers and body of what the endpoint answered.
    pub fn keeping_answers(mut self, keep_answers: bool) -> Self {
        self.keep_answers = keep_answers;
        self
    }

    /// Sends one POST and reads the answer. An answer of any status is `Ok`; one that
    /// does not end within the deadline or breaks off is not, unless it is a 2xx.
    /// Calls `on_slow` once it has taken longer than [`SLOW`]. Dropping the future ends the
    /// exchange and closes its connection.
    pub async fn post(
        &self,
        request: OutgoingRequest<'_>,
        on_slow: impl FnOnce(),
    ) -> Result<Response, SendError> {
        let began = Instant::now();
        let deadline = began + self.timeout;
        let timer = sleep_until(deadline.min(began + SLOW));
        tokio::pin!(timer);
        let mut limit = TimeLimit::new(timer, deadline, on_slow);
        // Not only when it was saved: the configuration may have become stricter since, and
        // reqwest never asks the resolver about a host that is an address.
        let Known { url, host, inside } = self.urls.parse(request.url, &self.security)?;
        let http = if inside { &self.inside } else { &self.http };
        let mut outgoing = Request::new(Method::POST, url);
        *outgoing.headers_mut() = request.headers;
        *outgoing.body_mut() = Some(request.body.into());
        let answer = match limit.within(http.execute(outgoing)).await {
            Some(Ok(answer)) => answer,
            Some(Err(error)) => return Err(SendError::classify(&error, &host)),
            None => return Err(SendError::timeout(self.timeout, false)),
        };
        let status = answer.status();
        let retry_after = retry_after::of(answer.headers());
        let mut kept = Answer::begin(answer.headers());
        let mut body = Body {
            excerpt: Excerpt::default(),
            incoming: None,
            is_whole: false,
        };
        if status.is_success() {
            limit.shorten(Instant::now() + EXCERPT_TIME);
        } else if self.keep_answers {
            body.incoming = Some(Incoming::begin(answer.headers(), &self.answers));
        }
        let failure = match limit.within(self.read(answer, &mut body)).await {
            Some(Ok(())) => None,
            Some(Err(error)) => Some(SendError::classify(&error, &host)),
            None => Some(SendError::timeout(self.timeout, true)),
        };
        let Body {
            excerpt,
            incoming,
            is_whole,
        } = body;
        kept.failure = incoming.map(|incoming| incoming.end(is_whole));
        match failure {
            // The endpoint has said that it took the event; sending it again because the
            // rest of the answer never came would only send it twice.
            Some(error) if !status.is_success() => Err(SendError {
                status: Some(status.as_u16()),
                answer: kept,
                ..error
            }),
            Some(_) | None => Ok(Response {
                status: status.as_u16(),
                retry_after,
                excerpt: excerpt.into_text(),
                answer: kept,
            }),
        }
    }

    /// Reads the body to its end, so that the connection can be used again, but not beyond
    /// the cap: dropping the rest unread closes it.
    async fn read(
        &self,
        mut answer: reqwest::Response,
        body: &mut Body,
    ) -> Result<(), reqwest::Error> {
        let mut unread = self.max_response;
        let began = Instant::now();
        while unread > 0 {
            let chunk = if began.elapsed() < BODY_AT_ONCE {
                answer.chunk().await?
            } else if let Ok(chunk) = timeout(BODY_GAP, answer.chunk()).await {
                chunk?
            } else {
                tokio::time::sleep(BODY_REST).await;
                continue;
            };
            let Some(chunk) = chunk else {
                body.is_whole = true;
                break;
            };
            body.excerpt.push(&chunk);
            if let Some(incoming) = &mut body.incoming {
                incoming.push(&chunk);
            }
            unread = unread.saturating_sub(chunk.len());
        }
        Ok(())
    }
}

/// What is read of an answer's body.
struct Body {
    excerpt: Excerpt,
    /// Where it is to be kept.
    incoming: Option<Incoming>,
    is_whole: bool,
}
