//! A 2xx is a success once its headers are here, whatever becomes of its body.

use super::tls::{tls_server, trusting};
use super::*;

/// Writes fixed bytes and closes at once: in order, or by RST where `resets`.
async fn closing(answer: &'static [u8], resets: bool) -> String {
    server(move |mut stream| async move {
        let _ = stream.write_all(answer).await;
        if resets {
            stream.set_zero_linger().unwrap();
        }
    })
    .await
}

#[tokio::test]
async fn a_success_whose_body_is_cut_counts() {
    for (answer, status, excerpt) in [
        (
            &b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"[..],
            200,
            "half",
        ),
        (
            b"HTTP/1.1 202 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n4\r\nha",
            202,
            "halfha",
        ),
        (
            b"HTTP/1.1 299 OK\r\ntransfer-encoding: chunked\r\n\r\nzz",
            299,
            "",
        ),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil closed", 200, "until closed"),
        (b"HTTP/1.1 204 No Content\r\n\r\njunk", 204, ""),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok, and more",
            200,
            "ok",
        ),
    ] {
        for resets in [false, true] {
            let url = closing(answer, resets).await;
            let response = post(&client(LONG), &url).await.unwrap();
            assert_eq!(response.status, status);
            // What a reset leaves of the body is the kernel's to say.
            if !resets {
                assert_eq!(response.excerpt, excerpt);
            }
        }
    }
}

#[tokio::test]
async fn a_success_that_drips_is_left_after_a_moment() {
    for drop in ["", "x"] {
        let (closed, was_closed) = oneshot::channel();
        let closed = std::sync::Mutex::new(Some(closed));
        let url = server(move |mut stream| {
            let closed = closed.lock().unwrap().take();
            async move {
                let head = "HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\nok";
                stream.write_all(head.as_bytes()).await.unwrap();
                while !matches!(stream.try_read(&mut [0]), Ok(0))
                    && stream.write_all(drop.as_bytes()).await.is_ok()
                {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                let _ = closed.unwrap().send(());
            }
        })
        .await;
        let began = Instant::now();
        let response = post(&client(LONG), &url).await.unwrap();
        assert!(began.elapsed() < LONG / 2);
        assert_eq!(response.status, 200);
        assert!(response.excerpt.starts_with("ok"), "{:?}", response.excerpt);
        // The connection is closed rather than kept with half an answer on it.
        was_closed.await.unwrap();
    }
}

#[tokio::test]
async fn the_excerpt_of_a_success_does_not_outlast_the_deadline() {
    let url = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await;
    let began = Instant::now();
    let response = post(&client(SHORT / 4), &url).await.unwrap();
    assert!(began.elapsed() < EXCERPT_TIME, "{:?}", began.elapsed());
    assert_eq!((response.status, &*response.excerpt), (200, "half"));
}

#[tokio::test]
async fn a_success_over_tls_that_is_not_ended_counts() {
    for (answer, expected) in [
        // What Python's http.server behind ssl sends.
        (&b"HTTP/1.0 200 OK\r\nserver: x\r\n\r\nok"[..], Ok("ok")),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
            Ok("half"),
        ),
        (
            b"HTTP/1.1 500 Oops\r\ncontent-length: 9\r\n\r\nhalf",
            Err(500),
        ),
    ] {
        let (address, certificate) = tls_server("http/1.1", answer);
        let result = post(&trusting(certificate), &format!("https://{address}/")).await;
        let result = result.as_ref().map(|response| &*response.excerpt);
        assert_eq!(result.map_err(|error| error.status), expected.map_err(Some));
    }
}

#[tokio::test]
async fn a_success_whose_http2_stream_is_reset_counts() {
    // SETTINGS; HEADERS of stream 1 with `:status`; RST_STREAM of stream 1.
    const OK_THEN_RESET: &[u8] = b"\0\0\0\x04\0\0\0\0\0\
        \0\0\x01\x01\x04\0\0\0\x01\x88\
        \0\0\x04\x03\0\0\0\0\x01\0\0\0\x02";
    const FAILED_THEN_RESET: &[u8] = b"\0\0\0\x04\0\0\0\0\0\
        \0\0\x01\x01\x04\0\0\0\x01\x8e\
        \0\0\x04\x03\0\0\0\0\x01\0\0\0\x02";
    for (answer, expected) in [(OK_THEN_RESET, Ok(200)), (FAILED_THEN_RESET, Err(500))] {
        let (address, certificate) = tls_server("h2", answer);
        let result = post(&trusting(certificate), &format!("https://{address}/")).await;
        let result = result.as_ref().map(|response| response.status);
        assert_eq!(result.map_err(|error| error.status), expected.map_err(Some));
    }
}
