//! What endpoints answer wrong, and what is never sent.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Deployed, text};
use crate::harness::receiver::{CHUNK, Content, Receiver, status};
use crate::harness::walhook::{Installation, ORDER_RULES, ORDERS};

const ONE_RETRY: &str = "[delivery]\nretry_schedule = ['100ms']\n";

/// What an attempt is recorded as.
fn recorded(delivery: &Value, attempt: usize) -> (&Value, &str, &str) {
    let attempt = &delivery["attempt_log"][attempt];
    let class = attempt["error_class"].as_str().unwrap_or_default();
    let error = attempt["error"].as_str().unwrap_or_default();
    (&attempt["http_status"], class, error)
}

async fn wait_for_status(deployed: &Deployed, status: &str) {
    let condition = format!("select bool_and(status = '{status}') from webhook_deliveries");
    deployed.walhook.wait_for(&condition).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_delays_the_next_attempt() {
    let deployed = Deployed::start("[delivery]\nretry_schedule = ['100ms']\n").await;
    let receiver = Receiver::answering(|_, count| match count {
        1 => status(503).with_header("retry-after", "2"),
        _ => status(200),
    })
    .await;
    let acme = deployed.tenant("acme").await;
    acme.subscribe(&receiver.url("/")).await;
    deployed.orders("acme", 1).await;
    let requests = receiver.wait_for(2).await;
    let waited = requests[1].at - requests[0].at;
    assert!(waited >= Duration::from_secs(2), "{waited:?}");
    wait_for_status(&deployed, "delivered").await;
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_a_failure_and_not_followed() {
    let deployed = Deployed::start(ONE_RETRY).await;
    let receiver = Receiver::answering(|path, _| match path {
        "/moved" => status(302).with_header("location", "/elsewhere"),
        _ => status(200),
    })
    .await;
    let acme = deployed.tenant("acme").await;
    let subscription = acme.subscribe(&receiver.url("/moved")).await;
    deployed.orders("acme", 1).await;
    wait_for_status(&deployed, "failed").await;
    let delivery = acme.only_delivery(&subscription).await;
    let (code, class, error) = recorded(&delivery, 0);
    assert_eq!((code, class), (&json!(302), "http_status"));
    assert!(error.contains("not followed"), "{error}");
    assert_eq!(receiver.of("/moved").len(), 2);
    assert_eq!(receiver.requests().len(), 2, "nothing went elsewhere");
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_huge_answer_only_the_beginning_is_read() {
    const CHUNKS: usize = 10 * 1024 * 1024 / CHUNK;
    let deployed = Deployed::start(ONE_RETRY).await;
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&taken);
    let receiver = Receiver::answering(move |_, _| {
        status(200).with_content(Content::Chunks(CHUNKS, Arc::clone(&counter)))
    })
    .await;
    let acme = deployed.tenant("acme").await;
    let subscription = acme.subscribe(&receiver.url("/")).await;
    deployed.orders("acme", 1).await;
    wait_for_status(&deployed, "delivered").await;
    let delivery = acme.only_delivery(&subscription).await;
    let excerpt = text(&delivery["attempt_log"][0]["response_excerpt"]);
    assert_eq!(excerpt, "x".repeat(1024));
    // The rest was never asked for: what was taken fills buffers of the kernel.
    deployed.stop();
    let taken = taken.load(Ordering::Relaxed);
    assert!(taken < CHUNKS, "all {CHUNKS} chunks were read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_is_retried_and_says_so() {
    let deployed = Deployed::start(ONE_RETRY).await;
    let receiver = Receiver::start().await;
    let url = receiver.url("/");
    // Nobody listens there any more.
    receiver.close().await;
    let acme = deployed.tenant("acme").await;
    let subscription = acme.subscribe(&url).await;
    deployed.orders("acme", 1).await;
    wait_for_status(&deployed, "failed").await;
    let delivery = acme.only_delivery(&subscription).await;
    assert_eq!(delivery["attempts"], 2);
    assert_eq!(delivery["last_http_status"], json!(null));
    for attempt in 0..2 {
        let (code, class, error) = recorded(&delivery, attempt);
        assert_eq!((code, class), (&json!(null), "connect"), "{error}");
        assert!(!error.is_empty());
    }
    assert_eq!(deployed.metric("webhook_retries_total").await, Some(1.0));
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_internal_address_is_blocked_at_the_send_and_never_connected_to() {
    let mut walhook = Installation::create(ORDERS, ORDER_RULES, ONE_RETRY).await;
    walhook.edit("allow_networks = ['127.0.0.0/8']", "allow_networks = []");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    // Past the API, which refuses them; by address and by a name that resolves to it.
    let hosts = ["127.0.0.1", "localhost"];
    for host in hosts {
        walhook
            .subscribe("acme", &format!("http://{host}:{port}/"), &["*"])
            .await;
    }
    let deployed = Deployed::of(walhook, &[&["run"]]).await;
    deployed.orders("acme", 1).await;
    wait_for_status(&deployed, "failed").await;
    let classes = "select count(*) from webhook_attempts where error_class = 'blocked' and http_status is null";
    assert_eq!(deployed.walhook.count(classes).await, 4);
    let connected = listener.accept().map(|_| ());
    assert_eq!(connected.unwrap_err().kind(), ErrorKind::WouldBlock);

    let acme = deployed.tenant("acme").await;
    let body = json!({"url": format!("http://127.0.0.1:{port}/"), "event": "*"});
    acme.post("/subscriptions", body)
        .await
        .refused(400, "invalid_url");
    deployed.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_body_is_parked_listed_and_counted() {
    let deployed = Deployed::start("[delivery]\nmax_body = 2000\n").await;
    let receiver = Receiver::start().await;
    let acme = deployed.tenant("acme").await;
    acme.subscribe(&receiver.url("/")).await;
    deployed
        .execute(
            "insert into orders (tenant_id, status, note) values ('acme', 'new', repeat('x', 5000));
             insert into orders (tenant_id, status, note) values ('acme', 'new', 'small')",
        )
        .await;
    receiver.wait_for(1).await;
    deployed
        .walhook
        .wait_for("select count(*) = 1 from webhook_deliveries where status = 'delivered'")
        .await;
    let listed = acme.get("/deliveries?status=parked").await;
    let [parked] = &listed["data"].as_array().unwrap()[..] else {
        panic!("not one: {listed}");
    };
    assert_eq!(parked["status"], "parked");
    assert_eq!(parked["parked_reason"], "oversized");
    let pending = acme.get("/deliveries?status=pending").await;
    assert_eq!(pending["data"], json!([]));
    assert_eq!(
        (&parked["attempts"], &parked["next_attempt_at"]),
        (&json!(0), &json!(null))
    );
    let counted = deployed.metric(r#"walhook_parked_total{reason="oversized"}"#);
    assert_eq!(counted.await, Some(1.0));
    let depth = deployed.metric(r#"walhook_queue_depth{state="parked"}"#);
    assert_eq!(depth.await, Some(1.0));
    let requests = receiver.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].json()["data"]["note"], "small");
    deployed.stop();
}
