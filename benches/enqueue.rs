//! What an enqueue sustains: changes in, events, deliveries and progress durable in the
//! store. Against the ceiling of the same run: the same rows inserted by one statement a
//! batch, with nothing else in the transaction.
//!
//! `cargo bench --bench enqueue` · `… -- --rows 200000`

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use uuid::Uuid;
use walhook::capture::{Enqueuer, Filters, OldValueTables, SourceCatalog};
use walhook::config::Config;
use walhook::conninfo::Client;
use walhook::conninfo::Purpose;
use walhook::db::Store;
use walhook::delivery::instance::Instance;
use walhook::delivery::partitions::Partitions;
use walhook::demo::postgres::Postgres;
use walhook::lsn::Lsn;
use walhook::mapping::{Mapped, Mapper};
use walhook::pgoutput::{
    Change, Column, Operation, Relation, ReplicaIdentity, StreamEvent, TransactionHeader,
    TupleValue,
};
use walhook::secret::{EncryptionKey, SigningSecret};
use walhook::subscription::directory::Directory;

const TABLE: &str = "create table orders (id bigint primary key, tenant_id text not null, \
     status text not null, customer text not null, amount numeric(12, 2) not null, \
     currency text not null, created_at timestamptz not null)";

const RULE: &str = "[[events]]\ntype = 'order.created'\ntable = 'public.orders'\non = ['insert']\n";

const TENANTS: usize = 100;

/// Changes that one look at the stream brings: what a busy server sends meanwhile.
const BATCH: usize = 1_000;

fn main() -> anyhow::Result<()> {
    let rows = rows_asked();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(rows))
}

fn rows_asked() -> usize {
    let arguments: Vec<String> = std::env::args().collect();
    let asked = arguments.iter().position(|argument| argument == "--rows");
    asked
        .and_then(|at| arguments.get(at + 1)?.parse().ok())
        .unwrap_or(100_000)
}

async fn run(rows: usize) -> anyhow::Result<()> {
    // fsync and synchronous_commit stay on, as in production.
    let server = Postgres::start(&[("shared_buffers", "256MB"), ("max_wal_size", "4GB")])?;
    let url = server.url("postgres");
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("walhook.toml");
    let key_file = directory.path().join("walhook.key");
    std::fs::write(
        &file,
        format!(
            "[source]\nurl = '{url}'\n[security]\nencryption_key_file = '{}'\n{RULE}",
            key_file.display()
        ),
    )?;
    let config = Config::load(Some(&file))?;
    let client = walhook::conninfo::ConnInfo::parse(&url)?
        .connect(Purpose::Application, None)
        .await?;
    client.batch_execute(TABLE).await?;
    walhook::setup::set_up(&config).await?;
    let store = Store::open(&config.store, &config.source.url, Purpose::Housekeeping)?;
    let key = Arc::new(EncryptionKey::load(&key_file)?);

    let ceiling = ceiling(&store, &config, rows).await?;
    println!(
        "{:<44} {:>9} {:>8} {:>10} {:>8}",
        "", "rows/s", "µs/row", "WAL B/row", "ratio"
    );
    ceiling.print("ceiling: the rows alone, 1,000 a commit", &ceiling);
    for (name, subscribed, per_commit) in [
        ("events, nobody subscribed, 1 row a commit", false, 1),
        ("events, nobody subscribed, 100 rows a commit", false, 100),
        ("events and deliveries, 1 row a commit", true, 1),
        ("events and deliveries, 100 rows a commit", true, 100),
    ] {
        if subscribed {
            subscribe(&store, &key).await?;
        }
        let mut bench = Bench::new(&config, &store, Arc::clone(&key)).await?;
        let measured = bench.enqueue(&client, rows, per_commit).await?;
        measured.print(name, &ceiling);
    }
    Ok(())
}

struct Measured {
    rows: usize,
    elapsed: Duration,
    wal: u64,
}

impl Measured {
    fn rate(&self) -> f64 {
        self.rows as f64 / self.elapsed.as_secs_f64()
    }

    fn print(&self, name: &str, ceiling: &Measured) {
        let micros = self.elapsed.as_secs_f64() * 1e6 / self.rows as f64;
        let wal = self.wal / self.rows as u64;
        let ratio = self.rate() / ceiling.rate();
        println!(
            "{name:<44} {:>9.0} {micros:>8.1} {wal:>10} {ratio:>8.2}",
            self.rate()
        );
    }
}

async fn wal(client: &Client) -> anyhow::Result<u64> {
    let row = client
        .query_one("select pg_current_wal_insert_lsn()", &[])
        .await?;
    Ok(row.get::<_, Lsn>(0).0)
}

/// The same bodies and keys into a table with one index, a thousand rows a commit.
async fn ceiling(store: &Store, config: &Config, rows: usize) -> anyhow::Result<Measured> {
    let client = store.connect(Purpose::Housekeeping).await?;
    client
        .batch_execute(
            "create table bare (id uuid primary key, tenant_id text, at timestamptz, body bytea)",
        )
        .await?;
    let insert = client
        .prepare("insert into bare select * from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::bytea[])")
        .await?;
    let mut mapper = Mapper::new(Arc::new(config.rules()?), 1);
    let mut events = Vec::new();
    for event in stream(rows, 100) {
        if let StreamEvent::Change(change) = event {
            let header = TransactionHeader {
                xid: 1,
                commit_lsn: Lsn(change.ordinal + events.len() as u64),
                committed_at: Timestamp::now(),
            };
            mapper.map(&header, &change, &mut events);
        }
    }
    let events: Vec<_> = events
        .into_iter()
        .filter_map(|mapped| match mapped {
            Mapped::Event(event) => Some(event),
            Mapped::Parked(_) => None,
        })
        .collect();
    anyhow::ensure!(
        events.len() == rows,
        "the rule made {} events of {rows} rows",
        events.len()
    );
    let before = wal(&client).await?;
    let started = Instant::now();
    for batch in events.chunks(BATCH) {
        let id: Vec<Uuid> = batch.iter().map(|event| event.id.0).collect();
        let tenant: Vec<&str> = batch.iter().map(|event| &*event.tenant_id).collect();
        let at: Vec<Timestamp> = batch.iter().map(|event| event.occurred_at).collect();
        let body: Vec<&[u8]> = batch.iter().map(|event| &event.body[..]).collect();
        client.execute(&insert, &[&id, &tenant, &at, &body]).await?;
    }
    Ok(Measured {
        rows,
        elapsed: started.elapsed(),
        wal: wal(&client).await? - before,
    })
}

async fn subscribe(store: &Store, key: &EncryptionKey) -> anyhow::Result<()> {
    let client = store.get().await?;
    client
        .batch_execute("delete from webhook_subscriptions")
        .await?;
    for tenant in 0..TENANTS {
        let id = Uuid::now_v7();
        let secret = SigningSecret::generate();
        let encrypted = key.encrypt(secret.text().as_bytes(), id.as_bytes());
        client
            .execute(
                "insert into webhook_subscriptions (id, tenant_id, url, events, secret, secret_hint, from_lsn)
                 values ($1, $2, 'https://example.com', '{*}', $3, 'x', '0/0')",
                &[&id, &format!("tenant {tenant}"), &encrypted],
            )
            .await?;
    }
    Ok(())
}

struct Bench {
    enqueuer: Enqueuer,
    mapper: Option<Mapper>,
}

impl Bench {
    async fn new(config: &Config, store: &Store, key: Arc<EncryptionKey>) -> anyhow::Result<Self> {
        let instance = Instance::register(store, &["capture".to_owned()]).await?;
        let enqueuer = Enqueuer {
            store: store.clone(),
            slot: config.source.slot.clone(),
            instance: Arc::new(instance),
            directory: Directory::new(key),
            partitions: Arc::new(Partitions::default()),
            dispatcher: None,
            max_body: config.delivery.max_body,
            filters: Filters::default(),
            unknown_tenants: Arc::default(),
            tallies: Arc::default(),
            unconfirmed: Vec::new(),
            ready: None,
            recorded: walhook::capture::Recorded::default(),
            catalog: SourceCatalog {
                source: walhook::conninfo::ConnInfo::parse(config.source.url.expose_secret())?,
                publication: config.source.publication.clone(),
                slot: config.source.slot.clone(),
            },
            answered: walhook::capture::Answered::default(),
        };
        let mapper = Mapper::new(Arc::new(config.rules()?), 1);
        Ok(Bench {
            enqueuer,
            mapper: Some(mapper),
        })
    }

    async fn enqueue(
        &mut self,
        client: &Client,
        rows: usize,
        per_commit: usize,
    ) -> anyhow::Result<Measured> {
        let (session_client, leadership) = self.enqueuer.lead().await?;
        let base = leadership.progress.commit_lsn.0;
        let mapper = self.mapper.take().expect("a bench enqueues once");
        let mut session = self
            .enqueuer
            .begin(
                session_client,
                &leadership,
                mapper,
                OldValueTables::default(),
            )
            .await?;
        let mut received = Vec::new();
        let mut batches = Vec::new();
        let mut changes = 0;
        for event in stream(rows, per_commit) {
            changes += usize::from(matches!(event, StreamEvent::Change(_)));
            received.push(above(event, base));
            if changes == BATCH {
                batches.push(std::mem::take(&mut received));
                changes = 0;
            }
        }
        batches.push(received);
        let before = wal(client).await?;
        let started = Instant::now();
        for batch in batches {
            session.enqueue(batch).await?;
        }
        session.end().await?;
        Ok(Measured {
            rows,
            elapsed: started.elapsed(),
            wal: wal(client).await? - before,
        })
    }
}

/// Places an event of the stream after what has been enqueued before.
fn above(event: StreamEvent, base: u64) -> StreamEvent {
    match event {
        StreamEvent::Begin(header) => StreamEvent::Begin(TransactionHeader {
            commit_lsn: Lsn(header.commit_lsn.0 + base),
            ..header
        }),
        StreamEvent::Commit {
            commit_lsn,
            end_lsn,
        } => StreamEvent::Commit {
            commit_lsn: Lsn(commit_lsn.0 + base),
            end_lsn: Lsn(end_lsn.0 + base),
        },
        other => other,
    }
}

/// What the server would send for so many inserted rows.
fn stream(rows: usize, per_commit: usize) -> impl Iterator<Item = StreamEvent> {
    let names = [
        "id",
        "tenant_id",
        "status",
        "customer",
        "amount",
        "currency",
        "created_at",
    ];
    let types = [20, 25, 25, 25, 1700, 25, 1184];
    let columns = names.iter().zip(types).map(|(name, type_oid)| Column {
        name: (*name).to_owned(),
        identity: *name == "id",
        type_oid,
        type_modifier: -1,
    });
    let relation = Arc::new(Relation {
        oid: 1,
        namespace: "public".to_owned(),
        name: "orders".to_owned(),
        replica_identity: ReplicaIdentity::Default,
        columns: columns.collect(),
    });
    (0..rows.div_ceil(per_commit)).flat_map(move |commit| {
        let commit_lsn = Lsn(commit as u64 * 1_000 + 1_000);
        let committed_at = Timestamp::now();
        let relation = Arc::clone(&relation);
        let first = commit * per_commit;
        let of_commit = per_commit.min(rows - first);
        let changes = (0..of_commit).map(move |index| {
            let row = first + index;
            let text = |text: String| TupleValue::Text(Bytes::from(text));
            StreamEvent::Change(Change {
                relation: Arc::clone(&relation),
                ordinal: index as u64,
                operation: Operation::Insert {
                    new: vec![
                        text(row.to_string()),
                        text(format!("tenant {}", row % TENANTS)),
                        text("confirmed".to_owned()),
                        text(format!("customer-{row}@example.com")),
                        text("1234.50".to_owned()),
                        text("EUR".to_owned()),
                        text("2026-11-23 12:00:00.123456+00".to_owned()),
                    ],
                },
            })
        });
        std::iter::once(StreamEvent::Begin(TransactionHeader {
            xid: 1,
            commit_lsn,
            committed_at,
        }))
        .chain(changes)
        .chain(std::iter::once(StreamEvent::Commit {
            commit_lsn,
            end_lsn: Lsn(commit_lsn.0 + 500),
        }))
    })
}
