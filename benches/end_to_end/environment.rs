//! What is measured: a PostgreSQL of its own that is as durable as in production,
//! walhook as a child process, a subscription for each tenant.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use reqwest::StatusCode;
use tokio_postgres::{Client, NoTls};
use walhook::config::Config;
use walhook::conninfo::Purpose;
use walhook::db::Store;
use walhook::demo::postgres::Postgres;

/// Tenants, endpoints and subscriptions: one of each for each other.
pub(crate) const TENANTS: usize = 100;

/// Ten columns and about 220 bytes a row, which make a body of about 400.
const SCHEMA: &str = "
create table payments (
    id bigint primary key,
    tenant_id text not null,
    invoice_id text not null,
    customer_id text not null,
    amount numeric(12, 2) not null,
    currency text not null,
    status text not null,
    method text not null,
    reference text not null,
    created_at timestamptz not null default now()
)";

const SERVER_START: Duration = Duration::from_secs(60);

pub(crate) struct Environment {
    pub(crate) walhook: Walhook,
    api: SocketAddr,
    pub(crate) server: Postgres,
    _directory: tempfile::TempDir,
}

impl Environment {
    pub(crate) async fn start(endpoints: &[SocketAddr]) -> anyhow::Result<Self> {
        // fsync and synchronous_commit stay on, which they are by default.
        let server = Postgres::start(&[
            ("shared_buffers", "256MB"),
            ("max_wal_size", "4GB"),
            ("max_connections", "200"),
        ])?;
        let url = url(&server);
        let client = connect(&url, "bench").await?;
        client.batch_execute(SCHEMA).await?;

        let directory = tempfile::tempdir()?;
        let api = free_address()?;
        let file = write_config(directory.path(), &url, api)?;
        let walhook = PathBuf::from(env!("CARGO_BIN_EXE_walhook"));
        let setup = command(&walhook, &file).arg("setup").output()?;
        ensure!(
            setup.status.success(),
            "walhook setup failed: {}",
            String::from_utf8_lossy(&setup.stderr)
        );
        let walhook = Walhook::start(&walhook, &file, directory.path())?;
        walhook.ready(api).await?;
        subscribe(&file, api, endpoints).await?;
        Ok(Environment {
            walhook,
            api,
            server,
            _directory: directory,
        })
    }
}

/// By the Unix socket, as on one machine it is done.
fn url(server: &Postgres) -> String {
    let directory = server.socket_directory().display();
    let port = server.port();
    format!("postgres://postgres@/postgres?host={directory}&port={port}")
}

impl Environment {
    /// What the application and walhook connect by.
    pub(crate) fn url(&self) -> String {
        url(&self.server)
    }

    /// What walhook says of itself at this moment.
    pub(crate) async fn metrics(&self) -> anyhow::Result<String> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        let answer = client.get(format!("http://{}/metrics", self.api)).send();
        Ok(answer.await?.error_for_status()?.text().await?)
    }
}

/// The child process; killed when it is dropped.
pub(crate) struct Walhook {
    child: Child,
    log: PathBuf,
}

impl Walhook {
    fn start(program: &Path, config: &Path, directory: &Path) -> anyhow::Result<Self> {
        let log = directory.join("walhook.log");
        let child = command(program, config)
            .arg("run")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()?;
        Ok(Walhook { child, log })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The end of its log, to say why something failed.
    pub(crate) fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    async fn ready(&self, api: SocketAddr) -> anyhow::Result<()> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        let deadline = Instant::now() + SERVER_START;
        loop {
            let answer = client.get(format!("http://{api}/readyz")).send().await;
            if answer.is_ok_and(|answer| answer.status() == StatusCode::OK) {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "walhook did not become ready; its log ends:\n{}",
                self.last_words()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Walhook {
    fn drop(&mut self) {
        // An error means that it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub(crate) async fn connect(url: &str, application: &str) -> anyhow::Result<Client> {
    let mut config: tokio_postgres::Config = url.parse()?;
    config.application_name(application);
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// `walhook` with this configuration only: settings in our own environment must not count.
fn command(program: &Path, config: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("--config").arg(config).env("RUST_LOG", "warn");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WALHOOK_") {
            command.env_remove(name);
        }
    }
    command
}

fn write_config(directory: &Path, url: &str, api: SocketAddr) -> anyhow::Result<PathBuf> {
    let file = directory.join("walhook.toml");
    let text = format!(
        r#"
[source]
url = "{url}"

[security]
allow_http = true
allow_networks = ["127.0.0.0/8"]
encryption_key_file = "{key}"

[api]
listen = "{api}"

[[events]]
type = "payment.received"
table = "public.payments"
on = ["insert"]
when = "status = 'succeeded'"
"#,
        key = directory.join("walhook.key").display()
    );
    fs::write(&file, text)?;
    Ok(file)
}

async fn subscribe(config: &Path, api: SocketAddr, endpoints: &[SocketAddr]) -> anyhow::Result<()> {
    let config = Config::load(Some(config))?;
    let store = Store::open(&config.store, &config.source.url, Purpose::Housekeeping)?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    for (number, endpoint) in endpoints.iter().enumerate() {
        let tenant = tenant(number);
        let token = walhook::api::tokens::create(&store, &tenant, "bench", None).await?;
        let answer = client
            .post(format!("http://{api}/api/v1/tenant/webhooks/subscriptions"))
            .header("authorization", format!("Bearer {}", token.text()))
            .header("content-type", "application/json")
            .body(format!(
                r#"{{"url":"http://{endpoint}/{tenant}","event":"payment.received"}}"#
            ))
            .send()
            .await
            .with_context(|| format!("subscribe {tenant}"))?;
        let status = answer.status();
        let body = answer.text().await?;
        ensure!(
            status == StatusCode::CREATED,
            "subscribe {tenant}: {status} {body}"
        );
    }
    Ok(())
}

pub(crate) fn tenant(number: usize) -> String {
    format!("tenant-{number:03}")
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
