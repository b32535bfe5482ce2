//! How connections to endpoints are made and kept: the guarded look-up, TCP, TLS with the
//! system's roots, HTTP/1.1 or HTTP/2 as the endpoint chooses, one pool for all.

use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{ClientBuilder, retry};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use super::ClientError;
use super::resolver::GuardedResolver;

/// Idle connections kept for each endpoint: above the default
/// `delivery.endpoint_concurrency` (32), so that a burst reconnects nothing.
const IDLE_PER_HOST: usize = 64;
/// Below the 60 s after which common load balancers drop an idle connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// A peer that is gone without a word is noticed after a minute at most, also while it
/// owes an answer to a request that it has acknowledged.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 3;
/// … and what it does not acknowledge is given up.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// An HTTP/2 connection outlives a failed request: without pings a dead one would
/// fail every attempt until TCP gives up, which takes a quarter of an hour.
const H2_PING_INTERVAL: Duration = Duration::from_secs(10);
const H2_PING_TIMEOUT: Duration = Duration::from_secs(5);
/// HTTP/2 lets a receiver send so much unread; hyper's default is 2 MiB a stream.
const H2_STREAM_WINDOW: u32 = 64 * 1024;
const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;

/// `limit` is for the look-up, TCP and TLS together: the deadline of an exchange is its
/// own, this one is for a connection that the pool still opens after its request has found
/// another. A part of the whole, so that an endpoint that refuses to connect can be
/// distinguished from one that does not answer the request.
pub(super) fn client(
    resolver: GuardedResolver,
    limit: Duration,
    tls: &ClientConfig,
) -> Result<reqwest::Client, ClientError> {
    let client = ClientBuilder::new()
        .dns_resolver(resolver)
        // A proxy of the environment would connect in our place, past the guard.
        .no_proxy()
        .redirect(Policy::none())
        // Attempts are counted and spaced elsewhere. What was never written to a kept
        // connection that had been closed is still sent on another. With none at all reqwest
        // makes no copy of the request, which `never` alone lets it.
        .retry(retry::never().max_retries_per_request(0))
        .tls_backend_preconfigured(tls.clone())
        .connect_timeout(limit * 2 / 3)
        .pool_max_idle_per_host(IDLE_PER_HOST)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .tcp_nodelay(true)
        .tcp_keepalive(KEEPALIVE)
        .tcp_keepalive_interval(KEEPALIVE)
        .tcp_keepalive_retries(KEEPALIVE_PROBES)
        .http2_initial_stream_window_size(H2_STREAM_WINDOW)
        .http2_initial_connection_window_size(H2_CONNECTION_WINDOW)
        .http2_keep_alive_interval(H2_PING_INTERVAL)
        .http2_keep_alive_timeout(H2_PING_TIMEOUT);
    #[cfg(target_os = "linux")]
    let client = client.tcp_user_timeout(UNACKNOWLEDGED);
    client.build().map_err(ClientError::Build)
}

/// Trusts `roots` besides the system's.
pub(super) fn tls(roots: &[CertificateDer<'static>]) -> Result<ClientConfig, ClientError> {
    let mut anchors = RootCertStore::empty();
    anchors.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    anchors.add_parsable_certificates(roots.iter().cloned());
    if anchors.is_empty() {
        return Err(ClientError::NoRoots);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ClientError::Tls)?
        .with_root_certificates(anchors)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
