//! The table, the slots and what is to be drained.

use std::path::{Path, PathBuf};

use anyhow::Context;
use walhook::config::Config;
use walhook::conninfo::Client;
use walhook::conninfo::{ConnInfo, Purpose};
use walhook::demo::postgres::Postgres;
use walhook::lsn::Lsn;

const TABLE: &str = "create table payments (id bigint generated always as identity primary key, \
     tenant_id text not null, customer_id bigint not null, status text not null, \
     amount numeric(12, 2) not null, currency text not null, reference text not null, \
     note text not null, created_at timestamptz not null, updated_at timestamptz not null)";

/// Where a backlog ends.
#[derive(Clone, Copy)]
pub(crate) struct End {
    /// Before the transaction of the last row, which every rule matches.
    pub(crate) before_last: Lsn,
    pub(crate) behind: Lsn,
}

pub(crate) struct Backlog {
    pub(crate) source: String,
    /// `pg_recvlogical` of the server's version.
    pub(crate) recvlogical: PathBuf,
    pub(crate) client: Client,
    pub(crate) store: Client,
    store_url: String,
    directory: tempfile::TempDir,
}

/// One slot for each drainer, all at the same place of the WAL.
pub(crate) struct Slots {
    pub(crate) recvlogical: String,
    pub(crate) no_event: PathBuf,
    pub(crate) mapped: PathBuf,
    pub(crate) stored: PathBuf,
}

impl Backlog {
    pub(crate) async fn new(source: &Postgres, store: &Postgres) -> anyhow::Result<Self> {
        let (source_url, store_url) = (source.url("postgres"), store.url("postgres"));
        let client = ConnInfo::parse(&source_url)?
            .connect(Purpose::Application, None)
            .await?;
        client.batch_execute(TABLE).await?;
        Ok(Backlog {
            source: source_url,
            recvlogical: beside(&source.binaries().join("initdb"))?,
            client,
            store: ConnInfo::parse(&store_url)?
                .connect(Purpose::Application, None)
                .await?,
            store_url,
            directory: tempfile::tempdir()?,
        })
    }

    pub(crate) async fn slots(&self) -> anyhow::Result<Slots> {
        let name = format!("bench_{}", uuid::Uuid::now_v7().simple());
        let no_event = self
            .set_up(&name, "no_event", "status = 'succeeded'")
            .await?;
        let mapped = self.set_up(&name, "mapped", "status != 'failed'").await?;
        let stored = self.set_up(&name, "stored", "status != 'failed'").await?;
        let recvlogical = format!("{name}_recvlogical");
        self.client
            .execute(
                "select pg_create_logical_replication_slot($1, 'pgoutput')",
                &[&recvlogical],
            )
            .await
            .context("create a slot for pg_recvlogical")?;
        Ok(Slots {
            recvlogical,
            no_event,
            mapped,
            stored,
        })
    }

    /// walhook's own slot and store schema. The backlog's last row matches every rule.
    async fn set_up(&self, name: &str, kind: &str, when: &str) -> anyhow::Result<PathBuf> {
        let file = self.directory.path().join(format!("{name}_{kind}.toml"));
        let text = format!(
            "[source]\nurl = '{}'\nslot = '{name}_{kind}'\n[store]\nurl = '{}'\nschema = '{name}_{kind}'\n\
             [security]\nencryption_key_file = '{}'\n\
             [[events]]\ntype = 'payment.received'\ntable = 'public.payments'\non = ['insert']\n\
             when = \"{when} and amount >= 0\"\n",
            self.source,
            self.store_url,
            self.directory.path().join("walhook.key").display(),
        );
        std::fs::write(&file, text)?;
        walhook::setup::set_up(&load(&file)?).await?;
        Ok(file)
    }

    /// Writes the rows and answers where they end.
    pub(crate) async fn write(&self, rows: u64, per_commit: u64) -> anyhow::Result<End> {
        let row = |status: &str| {
            format!(
                "'tenant-' || n % 100, n % 10000, '{status}', n % 100000 / 100.0, 'EUR', md5(n::text), \
                 repeat('a note of ordinary length; ', 6), now(), now()"
            )
        };
        let insert = "insert into payments (tenant_id, customer_id, status, amount, currency, \
                      reference, note, created_at, updated_at)";
        let (many, last) = (row("pending"), row("succeeded"));
        self.client
            .batch_execute(&format!(
                "do $$ begin for t in 1 .. {} loop \
                   {insert} select {many} from generate_series(1, {per_commit}) n; commit; \
                 end loop; end $$",
                rows / per_commit
            ))
            .await?;
        let before_last = self.position().await?;
        self.client
            .batch_execute(&format!(
                "{insert} select {last} from generate_series(1, 1) n"
            ))
            .await?;
        Ok(End {
            before_last,
            behind: self.position().await?,
        })
    }

    async fn position(&self) -> anyhow::Result<Lsn> {
        let position = "select pg_current_wal_lsn()";
        Ok(self.client.query_one(position, &[]).await?.get(0))
    }
}

/// The client program, where the server's own program really stands: not every
/// installation links it to the same place.
fn beside(server_program: &Path) -> anyhow::Result<PathBuf> {
    let real = server_program.canonicalize()?;
    let found = real.with_file_name("pg_recvlogical");
    anyhow::ensure!(
        found.is_file(),
        "there is no {}: install PostgreSQL's client programs",
        found.display()
    );
    Ok(found)
}

pub(crate) fn load(file: &Path) -> anyhow::Result<Config> {
    Config::load_with(Some(file), std::iter::empty()).map_err(Into::into)
}
