//! The phases: what one can reach without walhook, how many it sustains, and how
//! late each event is at a steady rate.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_postgres::{Client, Statement};
use tokio_util::sync::CancellationToken;

use crate::environment::{TENANTS, connect, tenant};
use crate::receiver::Log;

/// Rows of one commit while throughput is measured.
pub(crate) const ROWS_PER_COMMIT: u64 = 100;

/// After the last commit, everything must have arrived by then.
const DRAIN: Duration = Duration::from_secs(60);

/// What walhook sends for a row of the bench, the row's number aside.
const SAMPLE_BODY: &str = r#"{"id":"evt_019ab0c2-1f7b-7c3e-9d57-b7d6f3a1c0de","type":"payment.received","timestamp":"2026-11-23T12:00:00.123456Z","tenant_id":"tenant-042","sequence":"00000000016B3748-0000000003","data":{"number":1234567,"tenant_id":"tenant-042","invoice_id":"inv-001234567","customer_id":"cus-00004567","amount":1234.56,"currency":"EUR","status":"succeeded","method":"card","reference":"order 001234567","created_at":"2026-11-23T12:00:00.123456Z"}}"#;

/// … and beside it: the receiver reads them too.
const SAMPLE_HEADERS: [(&str, &str); 7] = [
    ("webhook-id", "evt_019ab0c2-1f7b-7c3e-9d57-b7d6f3a1c0de"),
    ("webhook-timestamp", "1763899200"),
    (
        "webhook-signature",
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    ),
    (
        "x-webhook-signature",
        "sha256=80ec8a89ce3cd22133a1066caecb4d04fea7467657c8514d717ec42c38a5c94c",
    ),
    ("content-type", "application/json"),
    ("user-agent", "walhook/0.1.0"),
    ("accept", "*/*"),
];

const INSERT_MANY: &str = "
insert into payments (id, tenant_id, invoice_id, customer_id, amount, currency, status, method, reference)
select id, tenant, 'inv-' || lpad(id::text, 9, '0'), 'cus-' || lpad((id % 10000)::text, 8, '0'),
    (id % 1000000)::numeric / 100, 'EUR', 'succeeded', 'card', 'order ' || lpad(id::text, 9, '0')
from unnest($1::bigint[], $2::text[]) as row (id, tenant)";

const INSERT_ONE: &str = "
insert into payments (id, tenant_id, invoice_id, customer_id, amount, currency, status, method, reference)
values ($1, $2, 'inv-' || lpad($1::bigint::text, 9, '0'), 'cus-' || lpad(($1 % 10000)::text, 8, '0'),
    ($1 % 1000000)::numeric / 100, 'EUR', 'succeeded', 'card', 'order ' || lpad($1::text, 9, '0'))";

/// Requests a second of a bare POST loop on the same body and receiver.
#[derive(serde::Serialize)]
pub(crate) struct Ceiling {
    pub(crate) in_flight: usize,
    pub(crate) requests_per_second: f64,
}

/// By reqwest, which walhook sends with.
pub(crate) async fn ceiling(
    endpoints: &[SocketAddr],
    log: &Log,
    duration: Duration,
) -> anyhow::Result<Vec<Ceiling>> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let post = move |endpoint| {
        let mut request = client.post(format!("http://{endpoint}/ceiling"));
        for (name, value) in SAMPLE_HEADERS {
            request = request.header(name, value);
        }
        async move {
            request.body(SAMPLE_BODY).send().await?.bytes().await?;
            anyhow::Ok(())
        }
    };
    let mut results = Vec::new();
    for in_flight in [16, 64, 256] {
        let posted = post_in_turn(endpoints, log, duration, in_flight, post.clone());
        results.push(posted.await.context("POST by reqwest without walhook")?);
    }
    Ok(results)
}

/// The same by the client that reqwest stands on: what its comfort costs.
pub(crate) async fn ceiling_of_hyper_util(
    endpoints: &[SocketAddr],
    log: &Log,
    duration: Duration,
) -> anyhow::Result<Ceiling> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .build(connector);
    let post = move |endpoint| {
        let client = client.clone();
        async move {
            let mut request = http::Request::post(format!("http://{endpoint}/ceiling"));
            for (name, value) in SAMPLE_HEADERS {
                request = request.header(name, value);
            }
            let request = request.body(Full::new(Bytes::from_static(SAMPLE_BODY.as_bytes())))?;
            client.request(request).await?.into_body().collect().await?;
            anyhow::Ok(())
        }
    };
    let posted = post_in_turn(endpoints, log, duration, 64, post);
    posted.await.context("POST by hyper-util without walhook")
}

async fn post_in_turn<F: Future<Output = anyhow::Result<()>> + Send>(
    endpoints: &[SocketAddr],
    log: &Log,
    duration: Duration,
    in_flight: usize,
    post: impl Fn(SocketAddr) -> F + Clone + Send + 'static,
) -> anyhow::Result<Ceiling> {
    let before = log.requests();
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for worker in 0..in_flight {
        let (endpoints, post) = (endpoints.to_vec(), post.clone());
        tasks.spawn(async move {
            for turn in 0.. {
                if start.elapsed() >= duration {
                    break;
                }
                post(endpoints[(worker + turn * in_flight) % endpoints.len()]).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let requests = log.requests() - before;
    Ok(Ceiling {
        in_flight,
        requests_per_second: requests as f64 / start.elapsed().as_secs_f64(),
    })
}

/// Rows committed so far and the next row's number, shared by the writers.
#[derive(Default)]
pub(crate) struct Rows {
    next: AtomicU64,
    committed: AtomicU64,
}

impl Rows {
    /// The number that the next row will have.
    pub(crate) fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    pub(crate) fn committed(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }
}

/// A connection of the application.
struct Writer {
    client: Client,
    insert_many: Statement,
    insert_one: Statement,
    rows: Arc<Rows>,
}

impl Writer {
    async fn connect(url: &str, rows: &Arc<Rows>) -> anyhow::Result<Self> {
        let client = connect(url, "load").await?;
        let insert_many = client.prepare(INSERT_MANY).await?;
        let insert_one = client.prepare(INSERT_ONE).await?;
        Ok(Writer {
            client,
            insert_many,
            insert_one,
            rows: Arc::clone(rows),
        })
    }

    /// Commits the rows numbered `first` and on, each of another tenant.
    async fn commit(&self, first: u64, count: u64) -> anyhow::Result<()> {
        let numbers = first..first + count;
        let ids: Vec<i64> = numbers.clone().map(|id| id as i64).collect();
        let tenants: Vec<String> = numbers.map(|id| tenant(id as usize % TENANTS)).collect();
        let insert = &self.insert_many;
        self.client.execute(insert, &[&ids, &tenants]).await?;
        self.rows.committed.fetch_add(count, Ordering::Relaxed);
        Ok(())
    }

    async fn commit_one(&self, id: u64) -> anyhow::Result<()> {
        let (insert, tenant) = (&self.insert_one, tenant(id as usize % TENANTS));
        self.client
            .execute(insert, &[&(id as i64), &tenant])
            .await?;
        self.rows.committed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Two writers, as fast as they can, that stay at most `lead` rows ahead of what has
/// been received. They finish their commits and end at `stop`.
pub(crate) async fn write_ahead(
    url: &str,
    rows: &Arc<Rows>,
    log: &Arc<Log>,
    lead: u64,
    stop: &CancellationToken,
) -> anyhow::Result<JoinSet<anyhow::Result<()>>> {
    let mut writers = JoinSet::new();
    for _ in 0..2 {
        let writer = Writer::connect(url, rows).await?;
        let log = Arc::clone(log);
        let stop = stop.clone();
        writers.spawn(async move {
            while !stop.is_cancelled() {
                // What is being written counts as written, or two writers would overshoot.
                if writer.rows.next() >= log.distinct() + lead {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    continue;
                }
                let next = &writer.rows.next;
                let first = next.fetch_add(ROWS_PER_COMMIT, Ordering::Relaxed);
                writer.commit(first, ROWS_PER_COMMIT).await?;
            }
            Ok(())
        });
    }
    Ok(writers)
}

/// What [`write_steadily`] wrote.
pub(crate) struct Written {
    /// When each row was due, in Unix microseconds.
    pub(crate) due: Vec<i64>,
    /// Rows a second that were really committed.
    pub(crate) per_second: f64,
}

/// Commits of one row each at `per_second`, by the clock: a commit that is late delays
/// no other, and every one is made. As in an application's pool, the connection that came
/// back last is taken first.
pub(crate) async fn write_steadily(
    url: &str,
    rows: &Arc<Rows>,
    per_second: u64,
    duration: Duration,
) -> anyhow::Result<Written> {
    // So many that commits of 30 ms each, on a slow disk, still keep the rate.
    let connections = (per_second * 30 / 1000).clamp(16, 150);
    let count = per_second * duration.as_secs();
    let first = rows.next.fetch_add(count, Ordering::Relaxed);
    let mut idle = Vec::new();
    for _ in 0..connections {
        idle.push(Writer::connect(url, rows).await?);
    }
    let free = Arc::new(Semaphore::new(idle.len()));
    let idle = Arc::new(Mutex::new(idle));
    let period = Duration::from_secs(1) / u32::try_from(per_second)?;
    // A moment ahead, so that the first commits are not late.
    let start = tokio::time::Instant::now() + Duration::from_millis(100);
    let start_wall = Timestamp::now().as_microsecond() + 100_000;
    let mut tasks = JoinSet::new();
    for index in 0..count {
        tokio::time::sleep_until(start + period * index as u32).await;
        let permit = Arc::clone(&free).acquire_owned().await?;
        let idle = Arc::clone(&idle);
        tasks.spawn(async move {
            let lock = || idle.lock().unwrap_or_else(PoisonError::into_inner);
            let writer = lock().pop().context("take a connection")?;
            let committed = writer.commit_one(first + index).await;
            lock().push(writer);
            drop(permit);
            committed
        });
        while let Some(ended) = tasks.try_join_next() {
            ended??;
        }
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let due = |index| start_wall + (period.as_nanos() * u128::from(index) / 1000) as i64;
    Ok(Written {
        due: (0..count).map(due).collect(),
        per_second: count as f64 / start.elapsed().as_secs_f64(),
    })
}

/// Waits until every committed row has arrived.
pub(crate) async fn drained(rows: &Rows, log: &Log) -> anyhow::Result<()> {
    let deadline = Instant::now() + DRAIN;
    while log.distinct() < rows.committed() {
        ensure!(
            Instant::now() < deadline,
            "{} of {} committed rows had not arrived {} s after the last commit",
            rows.committed() - log.distinct(),
            rows.committed(),
            DRAIN.as_secs()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
