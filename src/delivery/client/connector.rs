//! Connections to endpoints: the guarded look-up, TCP, and TLS with the system's roots.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tower::timeout::Timeout;
use tower::{BoxError, Service, ServiceExt};

use super::ClientError;
use super::resolver::GuardedResolver;

type Https = HttpsConnector<HttpConnector<GuardedResolver>>;

/// Over HTTP/1.1 or HTTP/2, as the endpoint chooses. Shared: the client makes a copy for
/// each request, in case it finds no idle connection, and mostly drops it unused.
#[derive(Clone)]
pub(super) struct Connector {
    https: Arc<Https>,
    /// For the look-up, TCP and TLS together.
    limit: Duration,
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let https = Https::clone(&self.https);
        Timeout::new(https, self.limit).oneshot(uri).boxed()
    }
}

/// A peer that is gone without a word is noticed after a minute at most, also while it
/// owes an answer to a request that it has acknowledged.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 3;
/// … and what it does not acknowledge is given up.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// `limit` is for the look-up, TCP and TLS together. Trusts `roots` besides the system's.
pub(super) fn connect(
    allowed: &[IpNet],
    limit: Duration,
    roots: &[CertificateDer<'static>],
) -> Result<Connector, ClientError> {
    let mut tcp = HttpConnector::new_with_resolver(GuardedResolver::new(allowed));
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE));
    tcp.set_keepalive_retries(Some(KEEPALIVE_PROBES));
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    let https = HttpsConnectorBuilder::new()
        .with_tls_config(tls(roots)?)
        .https_or_http()
        .enable_http1()
        .enable_http2()
        .wrap_connector(tcp);
    Ok(Connector {
        https: Arc::new(https),
        limit,
    })
}

fn tls(roots: &[CertificateDer<'static>]) -> Result<ClientConfig, ClientError> {
    let mut anchors = RootCertStore::empty();
    anchors.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    anchors.add_parsable_certificates(roots.iter().cloned());
    if anchors.is_empty() {
        return Err(ClientError);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| ClientError)?;
    Ok(config.with_root_certificates(anchors).with_no_client_auth())
}
