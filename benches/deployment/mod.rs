//! What `isolation`, `backlog`, `nodes` and `application` measure: a PostgreSQL that is as durable as in
//! production, walhook as a child process, many subscriptions, a cheap receiver.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;
use walhook::config::Config;
use walhook::conninfo::Purpose;
use walhook::db::Store;
use walhook::delivery::partitions;
use walhook::demo::postgres::Postgres;
use walhook::secret::{EncryptionKey, SigningSecret};

pub(crate) mod receiver;

const TABLE: &str =
    "create table orders (id bigint primary key, tenant_id text not null, note text)";

const WAIT: Duration = Duration::from_secs(900);

pub(crate) struct Deployment {
    pub(crate) admin: Client,
    pub(crate) store: Store,
    pub(crate) url: String,
    /// Asked for the addresses of endpoints, where it is set, instead of the system's.
    pub(crate) name_server: Option<SocketAddr>,
    /// Where its API listens, if it has that role.
    #[allow(dead_code, reason = "not every bench calls it")]
    pub(crate) api: SocketAddr,
    /// How many files walhook may open; `None`: as many as the bench.
    pub(crate) descriptors: Option<u32>,
    key: EncryptionKey,
    directory: tempfile::TempDir,
    server: Postgres,
    /// Of the store: the same server, where there is no other.
    store_admin: Client,
    /// Stops with the bench.
    _store_server: Option<Postgres>,
}

impl Deployment {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        Self::start_with(None).await
    }

    /// With the store in another cluster.
    #[allow(dead_code, reason = "not every bench calls it")]
    pub(crate) async fn start_apart() -> anyhow::Result<Self> {
        let server = Postgres::start(&[("shared_buffers", "512MB"), ("max_wal_size", "4GB")])?;
        Self::start_with(Some(server)).await
    }

    async fn start_with(store_server: Option<Postgres>) -> anyhow::Result<Self> {
        // fsync and synchronous_commit stay on, which they are by default.
        let server = Postgres::start(&[
            ("shared_buffers", "512MB"),
            ("max_wal_size", "4GB"),
            ("max_connections", "100"),
        ])?;
        let url = server.url("postgres");
        let admin = connect(&url).await?;
        admin.batch_execute(TABLE).await?;
        let directory = tempfile::tempdir()?;
        let key_file = directory.path().join("walhook.key");
        let file = directory.path().join("walhook.toml");
        // Free now; the next to be given away are others.
        let api = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let (store_url, store) = match &store_server {
            Some(store) => {
                let url = store.url("postgres");
                (url.clone(), format!("[store]\nurl = '{url}'\n"))
            }
            None => (url.clone(), String::new()),
        };
        let text = format!(
            "[source]\nurl = '{url}'\n{store}[api]\nlisten = '{api}'\n\
             [security]\nallow_http = true\nallow_networks = ['127.0.0.0/8']\nencryption_key_file = '{}'\n\
             [[events]]\ntype = 'order.created'\ntable = 'public.orders'\non = ['insert']\n",
            key_file.display()
        );
        fs::write(&file, text)?;
        let config = Config::load(Some(&file))?;
        walhook::setup::set_up(&config).await?;
        Ok(Deployment {
            admin,
            store: Store::open(&config.store, &config.source.url, Purpose::Housekeeping)?,
            url,
            name_server: None,
            api,
            descriptors: None,
            key: EncryptionKey::load(&key_file)?,
            directory,
            server,
            store_admin: connect(&store_url).await?,
            _store_server: store_server,
        })
    }

    /// A subscription to everything for each tenant `t0`, `t1` …, in place of all others.
    pub(crate) async fn subscribe(&self, urls: &[String]) -> anyhow::Result<Vec<Uuid>> {
        let client = self.store.get().await?;
        client
            .batch_execute("delete from webhook_subscriptions")
            .await?;
        let tenants: Vec<String> = (0..urls.len()).map(|number| format!("t{number}")).collect();
        self.subscribe_also(&tenants, urls).await
    }

    /// A further subscription to everything for each of the tenants, which may repeat.
    pub(crate) async fn subscribe_also(
        &self,
        tenants: &[String],
        urls: &[String],
    ) -> anyhow::Result<Vec<Uuid>> {
        let client = self.store.get().await?;
        let ids: Vec<Uuid> = urls.iter().map(|_| Uuid::now_v7()).collect();
        let secret = SigningSecret::generate();
        let sealed = |id: &Uuid| self.key.encrypt(secret.text().as_bytes(), id.as_bytes());
        let secrets: Vec<Vec<u8>> = ids.iter().map(sealed).collect();
        client
            .execute(
                "insert into webhook_subscriptions
                     (id, tenant_id, url, events, secret, secret_hint, from_lsn)
                 select id, tenant, url, '{*}', secret, 'x', '0/0'
                 from unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[])
                     as s (id, tenant, url, secret)",
                &[&ids, &tenants, &urls, &secrets],
            )
            .await?;
        Ok(ids)
    }

    /// Deliveries that have been due for an hour, spread over these subscriptions.
    #[allow(dead_code, reason = "not every bench has a backlog")]
    pub(crate) async fn add_pending(&self, lanes: &[Uuid], count: usize) -> anyhow::Result<()> {
        let client = self.store.get().await?;
        let first = Uuid::now_v7();
        partitions::ensure(&client, [first].into_iter()).await?;
        let (count, prefix) = (i32::try_from(count)?, first.to_string());
        client
        .execute(
            "with made as (
                 select (left($1::text, 18) || '-8000-' || lpad(to_hex(n), 12, '0'))::uuid as id, n,
                     s.id as lane, s.tenant_id
                 from generate_series(1, $3) n
                 join webhook_subscriptions s on s.id = ($2::uuid[])[1 + n % cardinality($2)]
             ), events as (
                 insert into webhook_events (id, tenant_id, event_type, rule, commit_lsn, ordinal,
                     rule_index, row_key, occurred_at, body)
                 select id, tenant_id, 'order.created', 'r', '0/1', n, 0, '', now(),
                     convert_to('{\"timestamp\":\"2026-01-01T00:00:00.000000Z\",\"note\":\"' || repeat('x', 350) || '\"}', 'UTF8')
                 from made
             ), deliveries as (
                 insert into webhook_deliveries (id, event_id, subscription_id, tenant_id,
                     event_type, format)
                 select id, id, lane, tenant_id, 'order.created', 'standard' from made
             )
             insert into delivery_schedule (delivery_id, subscription_id, tenant_id, event_type,
                 status, due_at)
             select id, lane, tenant_id, 'order.created', 'pending', now() - interval '1 hour' from made",
            &[&prefix, &lanes, &count],
        )
        .await
        .context("fill the schedule")?;
        for statement in ["vacuum analyze delivery_schedule", "checkpoint"] {
            client.batch_execute(statement).await?;
        }
        Ok(())
    }

    /// Forgets all events and deliveries. walhook must not run.
    pub(crate) async fn clear(&self) -> anyhow::Result<()> {
        self.admin.batch_execute("truncate orders").await?;
        self.store_admin
            .batch_execute(
                "set search_path = walhook;
                 truncate webhook_events, webhook_deliveries, webhook_attempts, delivery_schedule, instances, subscription_leases;
                 update webhook_subscriptions set breaker = 'closed', breaker_instance = null
                 where breaker <> 'closed';
                 reset search_path",
            )
            .await
            .context("clear the store")
    }

    /// Starts walhook and waits until it has registered itself.
    pub(crate) async fn walhook(&self, roles: &str) -> anyhow::Result<Walhook> {
        let binary = env!("CARGO_BIN_EXE_walhook");
        let mut command = match self.descriptors {
            None => Command::new(binary),
            Some(most) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", "ulimit -n \"$1\"; shift; exec \"$@\"", "sh"]);
                shell.args([most.to_string().as_str(), binary]);
                shell
            }
        };
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("WALHOOK_") {
                command.env_remove(name);
            }
        }
        if let Some(address) = self.name_server {
            command.env("WALHOOK_DELIVERY__NAME_SERVERS", address.to_string());
        }
        let log = self.directory.path().join("walhook.log");
        let child = command
            .arg("--config")
            .arg(self.directory.path().join("walhook.toml"))
            .args(["run", "--roles", roles])
            .env("RUST_LOG", "walhook=error")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::options().create(true).append(true).open(&log)?)
            .spawn()?;
        let walhook = Walhook { child, log };
        let registered = "select exists (select from walhook.instances)";
        until(&self.store_admin, registered)
            .await
            .with_context(|| walhook.last_words())?;
        Ok(walhook)
    }

    /// Kills walhook and waits until the slot is free again.
    pub(crate) async fn kill(&self, walhook: Walhook) -> anyhow::Result<()> {
        drop(walhook);
        self.until("select not exists (select from pg_replication_slots where active)")
            .await
    }

    pub(crate) async fn until(&self, condition: &str) -> anyhow::Result<()> {
        until(&self.admin, condition).await
    }

    /// The event of the order with this id is in the store.
    #[allow(dead_code, reason = "not every bench calls it")]
    pub(crate) async fn until_enqueued(&self, id: i64) -> anyhow::Result<()> {
        let stored = format!(
            "select exists (select from walhook.webhook_events where row_key like '%:{id}')"
        );
        until(&self.store_admin, &stored).await
    }

    #[allow(dead_code, reason = "not every bench calls it")]
    pub(crate) fn server_pid(&self) -> anyhow::Result<u32> {
        self.server.pid().context("PostgreSQL has no pid")
    }

    /// CPU time that the server and its backends have used.
    pub(crate) fn server_cpu(&self) -> anyhow::Result<Duration> {
        let postmaster = self.server.pid().context("PostgreSQL has no pid")?;
        let mut ticks = 0;
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(fields) = stat(&entry.path()) else {
                continue;
            };
            let own = entry.file_name().to_string_lossy() == postmaster.to_string();
            if own || fields.get(1) == Some(&u64::from(postmaster)) {
                ticks += cpu_ticks(&fields);
            }
        }
        Ok(duration(ticks))
    }
}

/// The child process; killed when it is dropped.
pub(crate) struct Walhook {
    child: Child,
    log: PathBuf,
}

impl Walhook {
    pub(crate) fn last_words(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let path = PathBuf::from(format!("/proc/{}", self.child.id()));
        let fields = stat(&path).context("walhook has ended")?;
        Ok(duration(cpu_ticks(&fields)))
    }

    /// The most memory that it has held so far, in MiB.
    pub(crate) fn peak_rss(&self) -> anyhow::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: f64 = line
            .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
            .context("/proc/PID/status has no VmHWM")?;
        Ok(kib / 1024.0)
    }
}

impl Drop for Walhook {
    fn drop(&mut self) {
        // An error means that it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

async fn until(client: &Client, condition: &str) -> anyhow::Result<()> {
    let began = Instant::now();
    while !client.query_one(condition, &[]).await?.get::<_, bool>(0) {
        ensure!(began.elapsed() < WAIT, "waited in vain for: {condition}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

pub(crate) async fn connect(url: &str) -> anyhow::Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Runs a bench, which leaves the cores to what it measures.
pub(crate) fn run(bench: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(bench)
}

/// The value of `--name VALUE` among the arguments.
pub(crate) fn argument(name: &str, default: usize) -> usize {
    let arguments: Vec<String> = std::env::args().collect();
    let at = arguments
        .iter()
        .position(|one| one.strip_prefix("--") == Some(name));
    at.and_then(|at| arguments.get(at + 1)?.parse().ok())
        .unwrap_or(default)
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Numeric fields of /proc/PID/stat from the third on; see proc(5). The state is 0.
fn stat(path: &std::path::Path) -> Option<Vec<u64>> {
    let text = fs::read_to_string(path.join("stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    let fields = rest.split(' ');
    Some(
        fields
            .map(|field| field.trim().parse().unwrap_or(0))
            .collect(),
    )
}

/// Own, and of children that have ended and were waited for.
fn cpu_ticks(fields: &[u64]) -> u64 {
    fields.get(11..15).unwrap_or_default().iter().sum()
}

/// What Linux has on every common architecture: a hundred ticks a second.
fn duration(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 10)
}
