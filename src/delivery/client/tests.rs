//! The client against real sockets that behave as badly as receivers do.

use std::future::Future;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use super::*;

mod names;
mod success;
mod tls;

/// For exchanges that end by themselves; never waited out.
const LONG: Duration = Duration::from_secs(30);
/// For exchanges that only the deadline ends; long enough for a busy machine to send
/// the head of an answer.
const SHORT: Duration = Duration::from_secs(1);
const CAP: usize = 64 * 1024;

fn loopback() -> SecurityConfig {
    SecurityConfig {
        allow_http: true,
        allow_networks: vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
        ..SecurityConfig::default()
    }
}

fn client(timeout: Duration) -> Client {
    Client::new(&loopback(), &[], timeout, CAP).unwrap()
}

async fn post(client: &Client, url: &str) -> Result<Response, SendError> {
    let request = OutgoingRequest {
        url,
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"{}"),
    };
    client.post(request, || {}).await
}

async fn refusal_of(client: &Client, url: &str) -> SendError {
    match post(client, url).await {
        Ok(response) => panic!("{url} was answered with {}", response.status),
        Err(error) => error,
    }
}

/// Accepts connections and leaves each to `behave`, after the request was read.
async fn server<F>(behave: impl Fn(TcpStream) -> F + Send + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n{}") {
                stream.read_buf(&mut request).await.unwrap();
            }
            tokio::spawn(behave(stream));
        }
    });
    format!("http://{address}/hook?token=secret")
}

/// Answers with fixed bytes, then waits until the client closes.
async fn answering(answer: &'static [u8]) -> String {
    server(async |mut stream| {
        let _ = stream.write_all(answer).await;
        let _ = stream.read(&mut [0]).await;
    })
    .await
}

#[tokio::test]
async fn any_status_is_an_answer() {
    for (answer, status, excerpt) in [
        (
            &b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"[..],
            200,
            "ok",
        ),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, ""),
        (b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n", 410, ""),
        (
            b"HTTP/1.1 500 Oops\r\ntransfer-encoding: chunked\r\n\r\n3\r\na\0b\r\n0\r\n\r\n",
            500,
            "ab",
        ),
    ] {
        let response = post(&client(LONG), &answering(answer).await).await.unwrap();
        assert_eq!((response.status, &*response.excerpt), (status, excerpt));
        assert_eq!(response.retry_after, None);
    }
}

#[tokio::test]
async fn retry_after_is_handed_on() {
    let url = answering(b"HTTP/1.1 429 Slow\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n").await;
    let response = post(&client(LONG), &url).await.unwrap();
    assert_eq!(response.status, 429);
    assert_eq!(response.retry_after, Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let (visited, mut visits) = mpsc::unbounded_channel();
    let inside = server(move |_| {
        visited.send(()).unwrap();
        async {}
    })
    .await;
    let url = server(move |mut stream| {
        let answer =
            format!("HTTP/1.1 307 Away\r\nlocation: {inside}\r\ncontent-length: 0\r\n\r\n");
        async move { stream.write_all(answer.as_bytes()).await.unwrap() }
    })
    .await;
    assert_eq!(post(&client(LONG), &url).await.unwrap().status, 307);
    assert!(visits.try_recv().is_err());
}

#[tokio::test]
async fn what_is_sent_asks_for_no_compression_and_one_connection_serves_all() {
    let (accepted, mut connections) = mpsc::unbounded_channel();
    let (seen, mut heads) = mpsc::unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            accepted.send(()).unwrap();
            let mut request = Vec::new();
            while stream.read_buf(&mut request).await.unwrap() > 0 {
                if request.ends_with(b"{}") {
                    seen.send(String::from_utf8(std::mem::take(&mut request)).unwrap())
                        .unwrap();
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                    stream.write_all(answer).await.unwrap();
                }
            }
        }
    });
    let client = client(LONG);
    for _ in 0..5 {
        post(&client, &url).await.unwrap();
        let head = heads.recv().await.unwrap();
        assert!(head.starts_with("POST / HTTP/1.1\r\n"), "{head}");
        assert!(!head.contains("accept-encoding"), "{head}");
        assert!(head.contains("content-length: 2\r\n"), "{head}");
    }
    assert!(connections.recv().await.is_some());
    assert!(connections.try_recv().is_err(), "a second connection");
}

#[tokio::test]
async fn the_deadline_covers_a_silent_endpoint() {
    let url = answering(b"").await;
    let began = Instant::now();
    let error = refusal_of(&client(SHORT), &url).await;
    assert!(began.elapsed() < LONG / 2);
    assert_eq!(error.class, ErrorClass::Timeout);
    assert_eq!(error.status, None);
    assert_eq!(error.to_string(), "no answer within 1s");
}

#[tokio::test]
async fn the_deadline_covers_a_dripping_head_and_a_dripping_body() {
    let dripping = async |head: &'static str, drop: &'static str, status| {
        let url = server(move |mut stream| async move {
            let mut next = head.as_bytes();
            while stream.write_all(next).await.is_ok() {
                next = drop.as_bytes();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        let began = Instant::now();
        let error = refusal_of(&client(SHORT), &url).await;
        assert!(began.elapsed() < LONG / 2);
        assert_eq!(error.class, ErrorClass::Timeout, "{head}: {error}");
        assert_eq!(error.status, status, "{head}");
    };
    let length = "HTTP/1.1 500 Oops\r\ncontent-length: 9999\r\n\r\n";
    let chunked = "HTTP/1.1 302 Away\r\ntransfer-encoding: chunked\r\n\r\n";
    tokio::join!(
        dripping("HTTP/1.1 200 OK\r\nx-slow: ", "x", None),
        dripping("", "HTTP/1.1 102 Processing\r\n\r\n", None),
        dripping(length, "x", Some(500)),
        dripping(chunked, "1\r\nx\r\n", Some(302)),
    );
}

#[tokio::test]
async fn a_body_that_takes_its_time_is_read_whole() {
    let url = server(|mut stream| async move {
        let head = "HTTP/1.1 500 Oops\r\ntransfer-encoding: chunked\r\n\r\n1\r\n0\r\n";
        let _ = stream.write_all(head.as_bytes()).await;
        for part in ["1", "2"] {
            tokio::time::sleep(super::BODY_AT_ONCE).await;
            let chunks = format!("1\r\n{part}\r\n").repeat(100);
            let _ = stream.write_all(chunks.as_bytes()).await;
        }
        let _ = stream.write_all(b"0\r\n\r\n").await;
    })
    .await;
    let answer = post(&client(LONG), &url).await.unwrap();
    let whole = format!("0{}{}", "1".repeat(100), "2".repeat(100));
    assert_eq!(answer.excerpt, whole);
}

#[tokio::test]
async fn an_endless_body_is_read_up_to_the_cap_and_the_connection_closed() {
    let (closed, was_closed) = oneshot::channel();
    let closed = std::sync::Mutex::new(Some(closed));
    let url = server(move |mut stream| {
        let closed = closed.lock().unwrap().take();
        async move {
            let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            stream.write_all(head).await.unwrap();
            let chunk = [b"1000\r\n", &[b'x'; 4096][..], b"\r\n"].concat();
            let mut written = 0_usize;
            while stream.write_all(&chunk).await.is_ok() {
                written += chunk.len();
            }
            let _ = closed.unwrap().send(written);
        }
    })
    .await;
    let response = post(&client(LONG), &url).await.unwrap();
    assert_eq!(response.status, 200);
    assert_eq!(response.excerpt, "x".repeat(1024));
    let written = was_closed.await.unwrap();
    assert!(
        written < 64 * 1024 * 1024,
        "{written} bytes left the server"
    );
}

#[tokio::test]
async fn endless_headers_are_refused() {
    let url = server(async |mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream.write_all(b"x-more: and more\r\n").await.is_ok() {}
    })
    .await;
    let error = refusal_of(&client(LONG), &url).await;
    assert_eq!(error.class, ErrorClass::Response, "{error}");
}

#[tokio::test]
async fn a_broken_answer_is_said_to_be_one() {
    for (answer, status) in [
        (&b""[..], None),
        (b"SSH-2.0-OpenSSH_9.2\r\n", None),
        (
            b"HTTP/1.1 500 Oops\r\ncontent-length: 9\r\n\r\nhalf",
            Some(500),
        ),
        (
            b"HTTP/1.1 404 Gone\r\ntransfer-encoding: chunked\r\n\r\nzz",
            Some(404),
        ),
    ] {
        let url = server(async |mut stream| {
            let _ = stream.write_all(answer).await;
            let _ = stream.shutdown().await;
            let _ = stream.read(&mut [0]).await;
        })
        .await;
        let error = refusal_of(&client(LONG), &url).await;
        assert_eq!(error.class, ErrorClass::Response, "{error}");
        assert_eq!(error.status, status);
        assert!(!error.to_string().contains("secret"), "{error}");
        assert!(!error.to_string().contains("SSH"), "{error}");
    }
}

#[tokio::test]
async fn a_reset_is_said_to_be_one() {
    let url = server(async |stream| {
        // Closes with RST instead of FIN.
        stream.set_zero_linger().unwrap();
    })
    .await;
    let error = refusal_of(&client(LONG), &url).await;
    assert_eq!(error.class, ErrorClass::Response);
    assert!(error.to_string().contains("reset"), "{error}");
}

#[tokio::test]
async fn nobody_listening_is_a_failure_to_connect() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/?token=secret", listener.local_addr().unwrap());
    drop(listener);
    let error = refusal_of(&client(LONG), &url).await;
    assert_eq!(error.class, ErrorClass::Connect);
    assert_eq!(
        error.to_string(),
        "no connection to `127.0.0.1`: refused, reset or not answered"
    );
}

#[tokio::test]
async fn a_name_that_cannot_be_resolved_is_a_failure_of_dns() {
    // A label of more than 63 characters: refused without asking any server.
    let url = format!("http://{}.example/", "x".repeat(64));
    let error = refusal_of(&client(LONG), &url).await;
    assert_eq!(error.class, ErrorClass::Dns, "{error}");
    assert!(error.to_string().contains("cannot be resolved"), "{error}");
}

#[tokio::test]
async fn an_internal_address_is_not_connected_to_by_name_or_number() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let SocketAddr::V4(address) = listener.local_addr().unwrap() else {
        panic!("bound to IPv4");
    };
    let port = address.port();
    let security = SecurityConfig {
        allow_http: true,
        allow_ports: vec![port],
        ..SecurityConfig::default()
    };
    let client = Client::new(&security, &[], LONG, CAP).unwrap();
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "0",
        "[::ffff:127.0.0.1]",
        "localhost",
    ] {
        let error = refusal_of(&client, &format!("http://{host}:{port}/")).await;
        assert_eq!(error.class, ErrorClass::Blocked, "{host}: {error}");
        assert!(error.to_string().contains("not public"), "{error}");
    }
    let nobody = std::future::poll_fn(|context| {
        std::task::Poll::Ready(listener.poll_accept(context).is_pending())
    });
    assert!(nobody.await, "something connected");
}

#[tokio::test]
async fn plain_http_is_refused_at_the_send_too() {
    let url = answering(b"HTTP/1.1 200 OK\r\n\r\n").await;
    let client = Client::new(&SecurityConfig::default(), &[], LONG, CAP).unwrap();
    let error = refusal_of(&client, &url).await;
    assert_eq!(error.class, ErrorClass::Request);
}
