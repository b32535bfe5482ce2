//! TLS: who is trusted and what is said of the rest.

use std::io::{Read as _, Write as _};
use std::net::TcpListener as BlockingListener;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::*;

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_refused() {
    let (address, certificate) = tls_server("http/1.1", ANSWER);
    let url = format!("https://{address}/?token=secret");
    let error = refusal_of(&client(LONG), &url).await;
    assert_eq!(error.class, ErrorClass::Tls, "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");

    let response = post(&trusting(certificate), &url).await.unwrap();
    assert_eq!((response.status, &*response.excerpt), (200, "tls"));
}

#[tokio::test]
async fn a_server_without_tls_is_no_success() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let error = refusal_of(&client(LONG), &url).await;
    assert_eq!(error.class, ErrorClass::Tls, "{error}");
}

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\ntls";

/// A TLS server with a self-signed certificate for its address, which answers a request
/// with fixed bytes of a protocol and closes TCP without ending TLS (no `close_notify`). Its
/// thread serves two connections, of which the first need not come to a handshake.
pub(super) fn tls_server(
    protocol: &str,
    answer: &'static [u8],
) -> (SocketAddr, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], PrivateKeyDer::Pkcs8(key))
        .unwrap();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let config = Arc::new(config);
    let listener = BlockingListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(2) {
            let mut stream = stream.unwrap();
            let mut connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tls = rustls::Stream::new(&mut connection, &mut stream);
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"{}") && tls.read(&mut byte).is_ok_and(|read| read > 0) {
                request.push(byte[0]);
            }
            let _ = tls.write_all(answer);
        }
    });
    (address, made.cert.der().clone())
}

pub(super) fn trusting(certificate: CertificateDer<'static>) -> Client {
    Client::with_roots(&loopback(), &[], LONG, CAP, &[certificate]).unwrap()
}
