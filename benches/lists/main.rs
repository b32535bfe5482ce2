//! How long every list of the API and every page of the console takes in a store with many
//! deliveries, over HTTP, beside an indexed keyset select of the same run.
//!
//! `cargo bench --bench lists` · `… -- --rows 100000 --seconds 1` · `… -- --help`

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;
use walhook::api::tokens;
use walhook::config::Config;
use walhook::conninfo::Purpose;
use walhook::db::Store;
use walhook::demo::postgres::Postgres;
use walhook::secret::EncryptionKey;

mod fill;
mod pages;

use pages::Visitor;

const HELP: &str = "\
Measures every list of the API and every page of the console, over HTTP.

  cargo bench --bench lists -- [OPTIONS]

  --rows N       deliveries in the store (10000000: 5 GB on the disk, 7 minutes to fill)
  --tenants N    … of so many tenants (1000)
  --seconds N    each page is asked for so long at most (2), and 200 times at most
  --store URL    a PostgreSQL (wal_level = logical) that is filled where it has no store yet, and
                 kept: the next run measures at once. Without it one is started and removed
  --only TEXT    only pages with this in their names
  --tenant N     only of this tenant: 0 has 30 % of the deliveries, 1 has 10 %, 2 has 1,000
                 subscriptions, the last fewest (by default these and one in between)

  Small first:   cargo bench --bench lists -- --rows 100000 --seconds 1

The ceiling is a select of 50 rows of one subscription by its index, with tokio-postgres. A page
is to take 50 ms at most, in 95 of 100 cases; * marks those above. The last line is JSON.";

/// In 95 of 100 cases.
const BAR: f64 = 50.0;
/// Of one page.
const MOST: usize = 200;
const START: Duration = Duration::from_secs(60);

fn main() -> anyhow::Result<()> {
    if std::env::args().any(|argument| argument == "--help") {
        println!("{HELP}");
        return Ok(());
    }
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?
        .block_on(run())
}

async fn run() -> anyhow::Result<()> {
    let tenants: u64 = number("tenants", 1_000).max(4);
    let duration = Duration::from_secs(number("seconds", 2));
    let (server, url) = match argument("store") {
        Some(url) => (None, url),
        None => {
            let server = Postgres::start(&[
                ("shared_buffers", "512MB"),
                ("max_wal_size", "4GB"),
                ("max_connections", "100"),
            ])?;
            let url = server.url("postgres");
            (Some(server), url)
        }
    };
    let deployment = Deployment::of(&url).await?;
    let client = &deployment.admin;
    let filled = "select exists (select from walhook.webhook_deliveries)";
    if client
        .query_one(filled, &[])
        .await?
        .get::<_, bool>("exists")
    {
        println!("the store is filled already");
    } else {
        let rows = number("rows", 10_000_000);
        fill::fill(client, &deployment.store, &deployment.key, rows, tenants).await?;
    }
    let walhook = deployment.walhook().await?;
    let ceiling = ceiling(&deployment.admin, duration).await?;
    println!(
        "\nceiling  p50 {:.2} ms  p95 {:.2} ms",
        ceiling.0, ceiling.1
    );
    let mut results = serde_json::Map::new();
    let all = [0, 1, 2, tenants / 10, tenants - 1];
    let chosen: Vec<u64> = match argument("tenant") {
        Some(one) => vec![one.parse().context("--tenant takes a number")?],
        None => all.to_vec(),
    };
    let only = argument("only").unwrap_or_default();
    for tenant in chosen {
        let visitor = deployment.visitor(tenant).await?;
        println!(
            "\n{}, {} subscriptions{:<18} {:>8} {:>8} {:>8} {:>7}",
            fill::name(tenant),
            fill::subscriptions_of(tenant),
            "",
            "p50 ms",
            "p95 ms",
            "p99 ms",
            "ratio"
        );
        for asked in pages::all(&visitor, tenant).await? {
            if !asked.name.contains(&only) {
                continue;
            }
            let mut took = Vec::new();
            // The first fills caches that hold for hours in production.
            visitor.ask(&asked).await?;
            let began = Instant::now();
            while took.len() < MOST && (took.len() < 3 || began.elapsed() < duration) {
                took.push(visitor.ask(&asked).await?.0);
            }
            let of = |share| quantile(&mut took.clone(), share);
            let (p50, p95, p99) = (of(0.5), of(0.95), of(0.99));
            let mark = if p95 > BAR { "*" } else { "" };
            println!(
                "  {:<34} {p50:>8.1} {p95:>8.1} {p99:>8.1} {:>7.1} {mark}",
                asked.name,
                p50 / ceiling.0
            );
            results.insert(format!("t{tenant} {}", asked.name), p95.into());
        }
    }
    println!("{}", serde_json::Value::Object(results));
    drop(walhook);
    drop(server);
    Ok(())
}

struct Deployment {
    admin: Client,
    store: Store,
    key: EncryptionKey,
    file: PathBuf,
    base: String,
    _directory: tempfile::TempDir,
}

impl Deployment {
    async fn of(url: &str) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("walhook.toml");
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        // A store that is kept is opened by the next run.
        let key_file = match argument("store") {
            Some(_) => PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("lists.key"),
            None => directory.path().join("walhook.key"),
        };
        let base = format!("http://127.0.0.1:{port}");
        let text = format!(
            "[source]\nurl = '{url}'\n[api]\nlisten = '127.0.0.1:{port}'\npublic_url = '{base}'\n\
             [limits]\nrequests_per_second = 100000\n\
             [security]\nallow_http = true\nallow_networks = ['127.0.0.0/8']\nencryption_key_file = '{}'\n\
             [[events]]\ntype = 'order.created'\ntable = 'public.orders'\non = ['insert']\n",
            key_file.display()
        );
        fs::write(&file, text)?;
        let (admin, connection) = tokio_postgres::connect(url, NoTls).await?;
        tokio::spawn(connection);
        admin
            .batch_execute(
                "create table if not exists orders (id bigint primary key, tenant_id text not null)",
            )
            .await?;
        let config = Config::load(Some(&file))?;
        walhook::setup::set_up(&config).await?;
        Ok(Deployment {
            store: Store::open(&config.store, &config.source.url, Purpose::Housekeeping)?,
            key: EncryptionKey::load(&key_file)?,
            admin,
            file,
            base,
            _directory: directory,
        })
    }

    /// Serves the API and the console, and waits until it does.
    async fn walhook(&self) -> anyhow::Result<Walhook> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_walhook"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("WALHOOK_") {
                command.env_remove(name);
            }
        }
        let child = command
            .arg("--config")
            .arg(&self.file)
            .args(["run", "--roles", "api"])
            .env("RUST_LOG", "walhook=error")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let walhook = Walhook(child);
        let began = Instant::now();
        while reqwest::get(format!("{}/healthz", self.base))
            .await
            .is_err()
        {
            ensure!(began.elapsed() < START, "walhook does not serve");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(walhook)
    }

    /// With a token for the API and a session of the console.
    async fn visitor(&self, tenant: u64) -> anyhow::Result<Visitor> {
        let name = fill::name(tenant);
        let token = tokens::create(&self.store, &name, "bench", None).await?;
        let cookie = format!("{:A<43}", Uuid::now_v7().simple().to_string());
        self.admin
            .execute(
                "insert into walhook.portal_sessions
                     (id, link_id, tenant_id, cookie_hash, actor, capabilities, expires_at)
                 values ($1, $1, $2, sha256(convert_to($3, 'UTF8')), 'bench',
                     '{view,payloads,manage,secrets,resend,test}', now() + interval '8 hours')",
                &[&Uuid::now_v7(), &name, &cookie],
            )
            .await?;
        Ok(Visitor {
            base: self.base.clone(),
            token: token.text().to_owned(),
            cookie,
            client: reqwest::Client::new(),
        })
    }
}

/// The child process; killed when it is dropped.
struct Walhook(Child);

impl Drop for Walhook {
    fn drop(&mut self) {
        // An error means that it has ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A page of one subscription's newest of today by the index, as the owner.
async fn ceiling(client: &Client, duration: Duration) -> anyhow::Result<(f64, f64)> {
    let select = client
        .prepare(
            "select * from walhook.webhook_deliveries
             where subscription_id = $1 and id >= $2 and event_id < $3
             order by event_id desc limit 50",
        )
        .await?;
    let newest = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24);
    let from = walhook::event::id_floor(walhook::event::milliseconds(newest));
    let subscription = fill::subscription(0, 1);
    let mut took = Vec::new();
    let began = Instant::now();
    while took.len() < 1_000 && (took.len() < 3 || began.elapsed() < duration) {
        let began = Instant::now();
        client
            .query(&select, &[&subscription, &from, &Uuid::max()])
            .await?;
        took.push(began.elapsed());
    }
    Ok((quantile(&mut took, 0.5), quantile(&mut took, 0.95)))
}

/// In milliseconds.
fn quantile(took: &mut [Duration], share: f64) -> f64 {
    took.sort_unstable();
    let rank = (took.len() as f64 * share).ceil() as usize;
    let found = took.get(rank.saturating_sub(1)).copied();
    found.unwrap_or_default().as_secs_f64() * 1e3
}

/// The value of `--name VALUE` among the arguments.
fn argument(name: &str) -> Option<String> {
    let mut arguments = std::env::args();
    arguments.find(|one| one.strip_prefix("--") == Some(name))?;
    arguments.next()
}

fn number(name: &str, default: u64) -> u64 {
    argument(name)
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}
