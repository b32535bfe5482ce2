//! A real HTTP receiver: keeps every request and answers as the test says.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::{Notify, watch};

use super::PATIENCE;

#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub at: Instant,
    /// How many requests its path has had, this one included.
    pub number: usize,
}

impl Request {
    pub fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    pub fn id(&self) -> &str {
        self.header("webhook-id")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What to answer.
type Answer = dyn Fn(&Request) -> Reply + Send + Sync;

#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    /// Answers when it is opened.
    pub gate: Option<Gate>,
    /// How long it takes to answer, from then on.
    pub latency: Duration,
    pub content: Content,
}

#[derive(Clone, Debug, Default)]
pub enum Content {
    #[default]
    Empty,
    /// Headers at once, then a byte now and then, for ever.
    Drip,
    Bytes(Bytes),
    /// So many chunks of [`CHUNK`]; the counter says how many were taken.
    Chunks(usize, Arc<AtomicUsize>),
}

pub const CHUNK: usize = 64 * 1024;

/// Holds answers back until it is opened.
#[derive(Clone, Debug)]
pub struct Gate(watch::Sender<bool>);

impl Gate {
    pub fn closed() -> Self {
        Gate(watch::Sender::new(false))
    }

    pub fn open(&self) {
        self.0.send_replace(true);
    }

    async fn pass(&self) {
        // The sender lives in self: the wait ends by opening alone.
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

impl Reply {
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn behind(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    pub fn taking(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    pub fn with_content(mut self, content: Content) -> Self {
        self.content = content;
        self
    }
}

pub fn status(status: u16) -> Reply {
    Reply {
        status,
        headers: Vec::new(),
        gate: None,
        latency: Duration::ZERO,
        content: Content::Empty,
    }
}

pub struct Receiver {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    server: tokio::task::JoinHandle<()>,
}

struct Shared {
    requests: Mutex<Vec<Request>>,
    counts: Mutex<HashMap<String, usize>>,
    /// Requests in hand and the most that there were at once, by path; all under "".
    in_hand: Mutex<HashMap<String, (usize, usize)>>,
    arrived: Notify,
    answer: Mutex<Arc<Answer>>,
}

impl Receiver {
    pub async fn start() -> Self {
        Self::answering(|_, _| status(200)).await
    }

    /// Answers given the path and how many requests it has had, this one included.
    pub async fn answering(answer: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::judging(move |request| answer(&request.path, request.number)).await
    }

    pub async fn judging(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared {
            requests: Mutex::default(),
            counts: Mutex::default(),
            in_hand: Mutex::default(),
            arrived: Notify::new(),
            answer: Mutex::new(Arc::new(answer)),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .fallback(receive)
            .with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.unwrap();
        });
        Receiver {
            address,
            shared,
            server,
        }
    }

    /// Stops listening: connections to its address are refused from here on.
    pub async fn close(mut self) {
        self.server.abort();
        let _ = (&mut self.server).await;
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn answer(&self, answer: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) {
        self.judge(move |request| answer(&request.path, request.number));
    }

    pub fn judge(&self, answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) {
        *self.shared.answer.lock().unwrap() = Arc::new(answer);
    }

    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    pub fn of(&self, path: &str) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|request| request.path == path);
        requests
    }

    /// The most requests of a path that were in hand at once; of all where it is empty.
    pub fn peak(&self, path: &str) -> usize {
        let in_hand = self.shared.in_hand.lock().unwrap();
        in_hand.get(path).map_or(0, |(_, peak)| *peak)
    }

    /// Waits until `done` holds of the requests so far. `done` must not ask the receiver: it
    /// sees the requests themselves, as a copy for every arrival is what a test of thousands
    /// would spend its time on.
    pub async fn wait_until(&self, done: impl Fn(&[Request]) -> bool) -> Vec<Request> {
        let waited = async {
            loop {
                let arrived = self.shared.arrived.notified();
                tokio::pin!(arrived);
                arrived.as_mut().enable();
                {
                    let requests = self.shared.requests.lock().unwrap();
                    if done(&requests) {
                        return requests.clone();
                    }
                }
                arrived.await;
            }
        };
        match tokio::time::timeout(PATIENCE, waited).await {
            Ok(requests) => requests,
            Err(_) => panic!("waited in vain; received {:?}", self.requests()),
        }
    }

    pub async fn wait_for_of(&self, path: &str, count: usize) -> Vec<Request> {
        let of = |requests: &[Request]| requests.iter().filter(|r| r.path == path).count();
        self.wait_until(|requests| of(requests) >= count).await;
        self.of(path)
    }

    pub async fn wait_for(&self, count: usize) -> Vec<Request> {
        self.wait_until(|requests| requests.len() >= count).await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn receive(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path().to_owned();
    let count = {
        let mut counts = shared.counts.lock().unwrap();
        let count = counts.entry(path.clone()).or_default();
        *count += 1;
        *count
    };
    let request = Request {
        path: path.clone(),
        headers,
        body,
        at: Instant::now(),
        number: count,
    };
    let _in_hand = InHand::take(&shared, &path);
    shared.requests.lock().unwrap().push(request.clone());
    let answer = Arc::clone(&*shared.answer.lock().unwrap());
    shared.arrived.notify_waiters();
    let reply = answer(&request);
    if let Some(gate) = &reply.gate {
        gate.pass().await;
    }
    if !reply.latency.is_zero() {
        tokio::time::sleep(reply.latency).await;
    }
    let status = StatusCode::from_u16(reply.status).unwrap();
    let mut response = (status, content(reply.content)).into_response();
    for (name, value) in reply.headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}

/// Counts a request as in hand until it is answered or broken off.
struct InHand<'a> {
    shared: &'a Shared,
    path: String,
}

impl<'a> InHand<'a> {
    fn take(shared: &'a Shared, path: &str) -> Self {
        let mut in_hand = shared.in_hand.lock().unwrap();
        for key in [path, ""] {
            let (now, peak) = in_hand.entry(key.to_owned()).or_default();
            *now += 1;
            *peak = (*peak).max(*now);
        }
        let path = path.to_owned();
        InHand { shared, path }
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        let mut in_hand = self.shared.in_hand.lock().unwrap();
        for key in [self.path.as_str(), ""] {
            in_hand.get_mut(key).unwrap().0 -= 1;
        }
    }
}

fn content(content: Content) -> Body {
    match content {
        Content::Empty => Body::empty(),
        Content::Bytes(bytes) => Body::from(bytes),
        Content::Drip => Body::from_stream(stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(b".")), ()))
        })),
        Content::Chunks(count, taken) => {
            let chunk = Bytes::from(vec![b'x'; CHUNK]);
            Body::from_stream(stream::iter((0..count).map(move |_| {
                taken.fetch_add(1, Ordering::Relaxed);
                Ok::<_, std::io::Error>(chunk.clone())
            })))
        }
    }
}
