//! Accepts connections and serves them. Connections without requests cannot keep others out.
//!
//! A connection without a request is closed after a while. At the limit of connections the one
//! that has been without a request for the longest time is closed, and only then a new one is
//! served: each holds a descriptor, which the store and endpoints need. A connection with a
//! request in progress stays, unless its peer takes nothing more of the answer.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

mod activity;

use activity::Activity;

use crate::episode::Episode;
use crate::metrics::METRICS;

/// A connection that is to close and does not is dropped.
const CLOSING: Duration = Duration::from_secs(5);
/// How long a new connection waits for one that is closed for it.
const ROOM: Duration = Duration::from_secs(1);
/// HTTP/2: a peer that is gone is noticed.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// HTTP/2: requests at once on one connection.
const STREAMS: u32 = 64;
/// How long to wait where the process can accept nothing: it has no descriptors left.
const EXHAUSTED: Duration = Duration::from_millis(200);
/// How long requests in progress may take once the process is asked to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// Who connected.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Serves at most `limit` connections at once until `shutdown`, then finishes what is in
/// progress.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    limit: usize,
    shutdown: CancellationToken,
) {
    const ACCEPT: &str = "the API cannot accept connections";
    let open = Arc::new(Open::new(limit));
    let tasks = TaskTracker::new();
    let mut episode = Episode::default();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                episode.succeeded(ACCEPT);
                if let Some(connection) = open.admit().await {
                    let stop = shutdown.clone();
                    tasks.spawn(connection.serve(stream, peer, router.clone(), stop));
                }
            }
            // Of one connection, which is gone already.
            Err(error) if is_of_the_peer(&error) => {}
            Err(error) => {
                episode.failed(ACCEPT, &error.into());
                sleep(EXHAUSTED).await;
            }
        }
    }
    tasks.close();
    let _late = timeout(DRAIN, tasks.wait()).await;
}

fn is_of_the_peer(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

/// The connections that are open.
struct Open {
    /// A permit for each that there may be.
    room: Arc<Semaphore>,
    /// Without those that are closed to make room.
    connections: Mutex<HashMap<u64, Arc<Activity>>>,
    next: AtomicU64,
}

/// One of the open connections, until it is dropped.
struct Connection {
    id: u64,
    open: Arc<Open>,
    activity: Arc<Activity>,
    _permit: OwnedSemaphorePermit,
}

impl Open {
    fn new(limit: usize) -> Self {
        Open {
            room: Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS))),
            connections: Mutex::default(),
            next: AtomicU64::new(0),
        }
    }

    /// None where there are too many, and a request is in progress on each.
    async fn admit(self: &Arc<Self>) -> Option<Connection> {
        let permit = match Arc::clone(&self.room).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_full) => {
                METRICS
                    .api_refused
                    .with_label_values(&["connections"])
                    .inc();
                self.make_room()?;
                let room = Arc::clone(&self.room).acquire_owned();
                timeout(ROOM, room).await.ok()?.ok()?
            }
        };
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let activity = Activity::new();
        self.connections().insert(id, Arc::clone(&activity));
        METRICS.api_connections.inc();
        Some(Connection {
            id,
            open: Arc::clone(self),
            activity,
            _permit: permit,
        })
    }

    /// Closes the connection that has been without a request for the longest time.
    fn make_room(&self) -> Option<()> {
        let mut connections = self.connections();
        let idle = connections
            .iter()
            .filter_map(|(id, activity)| Some((activity.asks_nothing_since()?, *id)));
        let (_, longest) = idle.min()?;
        connections.remove(&longest)?.close.cancel();
        Some(())
    }

    fn connections(&self) -> MutexGuard<'_, HashMap<u64, Arc<Activity>>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.connections().remove(&self.id);
        METRICS.api_connections.dec();
    }
}

impl Connection {
    async fn serve(
        self,
        stream: TcpStream,
        peer: SocketAddr,
        router: Router,
        shutdown: CancellationToken,
    ) {
        let _unsupported = stream.set_nodelay(true);
        let activity = Arc::clone(&self.activity);
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            let activity = Arc::clone(&activity);
            let asked = activity.ask();
            let answer = router.clone().oneshot(request);
            async move {
                let answer = answer.await?;
                let answer = answer.map(|body| activity.answer(body));
                drop(asked);
                Ok::<_, Infallible>(answer)
            }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        // hyper's own limit, 30 s, would end idle connections before IDLE.
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(None);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .max_concurrent_streams(STREAMS);
        let serving = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(serving);
        // Cancel safe: the connection is polled on below.
        tokio::select! {
            _ended = serving.as_mut() => return,
            () = self.activity.is_over() => {}
            () = shutdown.cancelled() => {}
        }
        let is_idle = self.activity.asks_nothing_since().is_some();
        if is_idle && self.activity.close.is_cancelled() {
            // At once, whatever part of a request has come: its place is waited for.
            return;
        }
        serving.as_mut().graceful_shutdown();
        let until = Instant::now() + if is_idle { CLOSING } else { DRAIN };
        tokio::select! {
            _ended = serving => {}
            () = sleep_until(until) => {}
        }
    }
}
