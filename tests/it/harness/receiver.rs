//! A real HTTP receiver: keeps every request and answers as the test says.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tokio::sync::Notify;

#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
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

/// What to answer, given the path and how many requests it has had, this one included.
type Answer = dyn Fn(&str, usize) -> Reply + Send + Sync;

#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    /// Never answers.
    pub hang: bool,
}

pub fn status(status: u16) -> Reply {
    Reply {
        status,
        headers: Vec::new(),
        hang: false,
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
    arrived: Notify,
    answer: Mutex<Arc<Answer>>,
}

impl Receiver {
    pub async fn start() -> Self {
        Self::answering(|_, _| status(200)).await
    }

    pub async fn answering(answer: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared {
            requests: Mutex::default(),
            counts: Mutex::default(),
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

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn answer(&self, answer: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) {
        *self.shared.answer.lock().unwrap() = Arc::new(answer);
    }

    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Waits until `done` holds of the requests so far; fails after half a minute.
    pub async fn wait_until(&self, done: impl Fn(&[Request]) -> bool) -> Vec<Request> {
        let waited = async {
            loop {
                let arrived = self.shared.arrived.notified();
                tokio::pin!(arrived);
                arrived.as_mut().enable();
                let requests = self.requests();
                if done(&requests) {
                    return requests;
                }
                arrived.await;
            }
        };
        match tokio::time::timeout(Duration::from_secs(30), waited).await {
            Ok(requests) => requests,
            Err(_) => panic!("waited in vain; received {:?}", self.requests()),
        }
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
    };
    shared.requests.lock().unwrap().push(request);
    let answer = Arc::clone(&*shared.answer.lock().unwrap());
    shared.arrived.notify_waiters();
    let reply = answer(&path, count);
    if reply.hang {
        std::future::pending::<()>().await;
    }
    let mut response = StatusCode::from_u16(reply.status).unwrap().into_response();
    for (name, value) in reply.headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}
