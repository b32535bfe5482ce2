//! The store's connections: a pool whose sessions stand in the store's schema,
//! and that schema.

use std::time::Duration;

use anyhow::Context;
use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::runtime::Handle;
use tokio_postgres::Client;
use tokio_util::context::TokioContext;

use crate::conninfo::{ConnInfo, ConnInfoError};
use crate::duration::HumanDuration;

mod schema;

pub use schema::{SchemaError, SchemaState};

/// `[store]`: where walhook keeps its own tables.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// A PostgreSQL URL; empty: the source database.
    pub url: SecretString,
    /// The schema that holds the tables.
    pub schema: String,
    /// How long events, deliveries and attempts are kept.
    pub retention: HumanDuration,
    /// Connections that one process opens at most.
    pub connections: usize,
}

impl Default for StoreConfig {
    fn default() -> Self {
        StoreConfig {
            url: SecretString::default(),
            schema: "walhook".to_owned(),
            retention: HumanDuration::from_secs(30 * 86_400),
            connections: 8,
        }
    }
}

/// The store's pool. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pool: Pool,
    /// In which it was opened: its connections are shared, and must not stand and fall with
    /// whoever asked for them first.
    runtime: Option<Handle>,
    schema: String,
    conninfo: ConnInfo,
}

pub type Connection = deadpool_postgres::Object;

pub use deadpool_postgres::PoolError;

/// A transaction of ours never waits for anything but the database: a session that
/// is idle in one for this long belongs to a process that was frozen, and must not
/// hold its locks any longer.
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(5);

/// How long a task waits for one of the pool's connections before it reports that
/// the store is overloaded.
const POOL_WAIT: Duration = Duration::from_secs(10);

/// Whether the store may answer otherwise later: it was unreachable, stopped,
/// overloaded, or ended our session.
pub fn is_transient(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        if let Some(PoolError::Timeout(_)) = cause.downcast_ref() {
            return true;
        }
        if let Some(ConnInfoError::NoAnswer { .. }) = cause.downcast_ref() {
            return true;
        }
        let code = cause.downcast_ref::<tokio_postgres::Error>();
        code.is_some_and(|error| match error.code() {
            None => true,
            Some(code) => matches!(&code.code()[..2], "08" | "53" | "57" | "40" | "55" | "25"),
        })
    })
}

impl Store {
    /// Opens the pool; `source_url` stands in where the store has no URL of its own.
    /// Connects lazily: the first query says whether the server is there.
    pub fn open(config: &StoreConfig, source_url: &SecretString) -> anyhow::Result<Self> {
        let url = match config.url.expose_secret() {
            "" => source_url.expose_secret(),
            own => own,
        };
        let conninfo = ConnInfo::parse(url).context("read store.url")?;
        let (mut postgres, tls) = conninfo.tokio_postgres().context("read store.url")?;
        postgres.application_name("walhook store");
        let manager = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = Manager::from_config(postgres, tls, manager);
        let settings = session_settings(&config.schema);
        let pool = Pool::builder(manager)
            .max_size(config.connections)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(POOL_WAIT))
            .create_timeout(Some(POOL_WAIT))
            .post_create(Hook::async_fn(move |client, _| {
                let settings = settings.clone();
                Box::pin(async move {
                    let set = client.batch_execute(&settings).await;
                    set.map_err(HookError::Backend)
                })
            }))
            .build()
            .context("build the store's pool")?;
        Ok(Store {
            pool,
            runtime: Handle::try_current().ok(),
            schema: config.schema.clone(),
            conninfo,
        })
    }

    pub async fn get(&self) -> Result<Connection, deadpool_postgres::PoolError> {
        let got = self.pool.get();
        match &self.runtime {
            Some(runtime) => TokioContext::new(got, runtime.clone()).await,
            None => got.await,
        }
    }

    /// A connection of its own, outside the pool, with the pool's session settings.
    pub async fn connect(&self, application_name: &str) -> anyhow::Result<Client> {
        let connected = self.conninfo.connect(application_name).await;
        let client =
            connected.with_context(|| format!("connect to the store {}", self.describe()))?;
        client
            .batch_execute(&session_settings(&self.schema))
            .await?;
        Ok(client)
    }

    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// `user@host:port/database`, for messages.
    pub fn describe(&self) -> String {
        self.conninfo.describe()
    }

    /// A connection outside the pool, for LISTEN.
    pub fn conninfo(&self) -> &ConnInfo {
        &self.conninfo
    }
}

/// Begins a transaction that sees, and can write, the rows of `tenant` alone:
/// PostgreSQL's row-level security decides, not the queries.
pub async fn tenant_transaction<'a>(
    client: &'a mut Connection,
    tenant: &str,
) -> Result<deadpool_postgres::Transaction<'a>, tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    transaction
        .execute(include_str!("../sql/queries/begin_tenant.sql"), &[&tenant])
        .await?;
    Ok(transaction)
}

/// The statements that every session of the store starts with. Every statement of
/// ours reads few rows by their keys, from tables that have just been filled and not
/// yet analysed: an estimate must never turn one into a scan of a day's partition.
///
/// Nor into a walk of a whole index, which no setting turns off: where a partition was
/// analysed before its first rows were committed, the planner takes it for empty, and
/// walks it rather than looking up each of the keys that another table gives. So rows are
/// joined by `id = any (array[other.id])`, of which it knows no order and no equality: it
/// can only look them up.
///
/// What is acknowledged to the slot must be on the disk, whatever the server's default
/// is; a stricter one, which waits for standbys too, stays.
fn session_settings(schema: &str) -> String {
    format!(
        "set search_path = {}; set timezone = 'UTC'; set jit = off; \
         set enable_seqscan = off; set enable_hashjoin = off; set enable_mergejoin = off; \
         set idle_in_transaction_session_timeout = {}; \
         select set_config('synchronous_commit', 'on', false)
             where current_setting('synchronous_commit') = 'off'",
        quote_identifier(schema),
        IDLE_IN_TRANSACTION.as_millis()
    )
}

/// Quotes a name for SQL, whatever it holds.
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
