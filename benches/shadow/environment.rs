//! What is measured: a source and a store, each a PostgreSQL of its own that is as
//! durable as in production, and walhook as a child process.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio_postgres::{Client, NoTls};
use walhook::demo::postgres::Postgres;
use walhook::lsn::Lsn;

use crate::process::Cpu;

/// Ten columns and about 220 bytes a row.
const TABLE: &str = "
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
) with (fillfactor = 50)";

const ROWS: &str = "
insert into payments (id, tenant_id, invoice_id, customer_id, amount, currency, status, method, reference)
select id, 'tenant-' || id % 100, 'inv-' || lpad(id::text, 9, '0'), 'cus-' || lpad((id % 10000)::text, 8, '0'),
    (id % 1000000)::numeric / 100, 'EUR', 'pending', 'card', 'order ' || lpad(id::text, 9, '0')
from generate_series(0, $1::bigint - 1) as id";

/// 100 rows a commit, from one end of the table to the other and again. Statuses have
/// one length, so that every backlog writes the same log.
const UPDATE: &str = "
create procedure change(updates bigint, share bigint) language plpgsql as $$
declare
    total bigint := (select count(*) from payments);
begin
    for chunk in 0 .. updates / 100 - 1 loop
        update payments set
            reference = 'order ' || lpad((10 * chunk)::text, 9, '0'),
            status = case
                when id % 100 >= share then status
                when status = 'pending' then 'settled'
                else 'pending'
            end
        where id between chunk * 100 % total and chunk * 100 % total + 99;
        commit;
    end loop;
end $$";

/// A session begins within it, and a backlog is taken.
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) struct Servers {
    source: Postgres,
    store: Postgres,
}

impl Servers {
    pub(crate) fn start() -> anyhow::Result<Self> {
        // fsync and synchronous_commit stay on, which they are by default. On the source
        // nothing writes but the updates, so that its log can be compared to the byte.
        let shared = [
            ("shared_buffers", "256MB"),
            ("max_wal_size", "8GB"),
            ("checkpoint_timeout", "1h"),
        ];
        let quiet = [("full_page_writes", "off"), ("autovacuum", "off")];
        Ok(Servers {
            source: Postgres::start(&[&shared[..], &quiet[..]].concat())?,
            store: Postgres::start(&shared)?,
        })
    }

    /// A table that nobody watches.
    pub(crate) async fn plain(&self, name: &str, rows: u64) -> anyhow::Result<Table> {
        Table::create(&self.source, name, rows).await
    }

    pub(crate) async fn install(
        &self,
        name: &str,
        rows: u64,
        identity: Identity,
        when: &str,
    ) -> anyhow::Result<Installation> {
        let table = self.plain(name, rows).await?;
        if let Identity::Full = identity {
            let alter = "alter table payments replica identity full";
            table.client.batch_execute(alter).await?;
        }
        let admin = connect(&self.store.url("postgres")).await?;
        let create = format!("create database {name}");
        admin.batch_execute(&create).await?;
        let directory = tempfile::tempdir()?;
        let file = write_config(
            directory.path(),
            &self.source.url(name),
            &self.store.url(name),
            name,
            when,
        )?;
        let setup = command(&file).arg("setup").output()?;
        ensure!(
            setup.status.success(),
            "walhook setup failed: {}",
            String::from_utf8_lossy(&setup.stderr)
        );
        let mut installation = Installation {
            table,
            store: connect(&self.store.url(name)).await?,
            file,
            directory,
        };
        if let Identity::Default = identity {
            installation.seed().await?;
        }
        Ok(installation)
    }

    pub(crate) async fn source_wal(&self) -> anyhow::Result<u64> {
        wal(&self.source).await
    }

    pub(crate) async fn store_wal(&self) -> anyhow::Result<u64> {
        wal(&self.store).await
    }

    /// As the source and the store tell it.
    pub(crate) async fn cpu(&self, walhook: u32) -> anyhow::Result<(Cpu, Cpu)> {
        let source = connect(&self.source.url("postgres")).await?;
        let store = connect(&self.store.url("postgres")).await?;
        Ok((
            Cpu::measure(walhook, self.source.pid()?, &source).await?,
            Cpu::measure(walhook, self.store.pid()?, &store).await?,
        ))
    }
}

pub(crate) struct Table {
    client: Client,
}

impl Table {
    async fn create(server: &Postgres, name: &str, rows: u64) -> anyhow::Result<Self> {
        let admin = connect(&server.url("postgres")).await?;
        let create = format!("create database {name}");
        admin.batch_execute(&create).await?;
        let client = connect(&server.url(name)).await?;
        client.batch_execute(TABLE).await?;
        client.execute(ROWS, &[&(rows as i64)]).await?;
        client.batch_execute(UPDATE).await?;
        client.batch_execute("vacuum analyze payments").await?;
        Ok(Table { client })
    }

    /// Answers where the WAL stood before and where it stands now.
    pub(crate) async fn update(&self, updates: u64, share: u64) -> anyhow::Result<(u64, u64)> {
        // Each backlog begins on pages that have room.
        self.client.batch_execute("vacuum payments").await?;
        let before = position(&self.client).await?;
        let change = format!("call change({updates}, {share})");
        self.client.batch_execute(&change).await?;
        Ok((before, position(&self.client).await?))
    }
}

pub(crate) enum Identity {
    Default,
    Full,
}

pub(crate) struct Installation {
    pub(crate) table: Table,
    store: Client,
    file: PathBuf,
    directory: tempfile::TempDir,
}

impl Installation {
    async fn seed(&mut self) -> anyhow::Result<()> {
        let walhook = self.start().await?;
        let complete = "coalesce((select state = 'complete' from shadow_tables), false)";
        self.wait_for(complete).await?;
        walhook.stop()
    }

    /// Runs walhook; it has the slot and begins to stream.
    pub(crate) async fn start(&mut self) -> anyhow::Result<Walhook> {
        let row = "select epoch from replication_progress";
        let epoch: i64 = self.store.query_one(row, &[]).await?.get(0);
        let log = self.directory.path().join("walhook.log");
        let child = command(&self.file)
            .args(["run", "--roles", "capture"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()?;
        let walhook = Walhook { child };
        self.wait_for(&format!(
            "(select epoch from replication_progress) > {epoch}"
        ))
        .await?;
        Ok(walhook)
    }

    /// Waits until everything up to there is durable.
    pub(crate) async fn reached(&self, position: u64) -> anyhow::Result<()> {
        // The last commit ends there; what is stored is where its record begins.
        let last = Lsn(position - 200);
        self.wait_for(&format!(
            "(select commit_lsn from replication_progress) >= '{last}'"
        ))
        .await
    }

    async fn wait_for(&self, condition: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let query = self.store.prepare(&format!("select {condition}")).await?;
        while !self.store.query_one(&query, &[]).await?.get::<_, bool>(0) {
            let log = self.directory.path().join("walhook.log");
            ensure!(
                Instant::now() < deadline,
                "waited in vain for {condition}; walhook says {}",
                fs::read_to_string(log).unwrap_or_default()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// What is measured has happened: so many events came, and nothing was set aside.
    pub(crate) async fn check(&self, expected: u64) -> anyhow::Result<()> {
        let query =
            "select (select count(*) from parked_changes), (select count(*) from webhook_events)";
        let row = self.store.query_one(query, &[]).await?;
        let (parked, events): (i64, i64) = (row.get(0), row.get(1));
        ensure!(parked == 0, "{parked} changes were parked");
        ensure!(
            events as u64 == expected,
            "{events} events came of {expected}"
        );
        Ok(())
    }
}

/// The child process; killed when it is dropped.
pub(crate) struct Walhook {
    child: Child,
}

impl Walhook {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status()?;
        let ended = self.child.wait()?;
        ensure!(ended.success(), "walhook ended with {ended}");
        Ok(())
    }
}

impl Drop for Walhook {
    fn drop(&mut self) {
        // An error means that it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

async fn wal(server: &Postgres) -> anyhow::Result<u64> {
    let client = connect(&server.url("postgres")).await?;
    position(&client).await
}

async fn position(client: &Client) -> anyhow::Result<u64> {
    let query = "select pg_current_wal_insert_lsn()";
    let row = client.query_one(query, &[]).await?;
    Ok(row.get::<_, Lsn>(0).0)
}

async fn connect(url: &str) -> anyhow::Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .context("connect")?;
    tokio::spawn(connection);
    let path = "set search_path to walhook, public";
    client.batch_execute(path).await?;
    Ok(client)
}

/// `walhook` with this configuration only: settings in our own environment must not count.
fn command(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_walhook"));
    command.arg("--config").arg(config).env("RUST_LOG", "warn");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WALHOOK_") {
            command.env_remove(name);
        }
    }
    command
}

fn write_config(
    directory: &Path,
    source: &str,
    store: &str,
    slot: &str,
    when: &str,
) -> anyhow::Result<PathBuf> {
    let file = directory.join("walhook.toml");
    let key = directory.join("walhook.key");
    let text = format!(
        r#"
[source]
url = "{source}"
slot = "{slot}"

[store]
url = "{store}"

[security]
encryption_key_file = "{key}"

[[events]]
type = "payment.changed"
table = "public.payments"
on = ["update"]
when = "{when}"
[events.data]
payment_id = "id"
status = "status"
"#,
        key = key.display()
    );
    fs::write(&file, text)?;
    Ok(file)
}
