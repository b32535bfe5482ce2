//! The store's connections: a pool whose sessions stand in the store's schema,
//! and the migrations.

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

/// Every migration, in its order: `sql/migrations/000N_name.sql`. Forward only.
fn migrations() -> Result<Vec<refinery::Migration>, refinery::Error> {
    [
        (
            "V1__store",
            include_str!("../sql/migrations/0001_store.sql"),
        ),
        (
            "V2__row_shadow",
            include_str!("../sql/migrations/0002_row_shadow.sql"),
        ),
        ("V5__gaps", include_str!("../sql/migrations/0005_gaps.sql")),
        (
            "V4__backfills",
            include_str!("../sql/migrations/0004_backfills.sql"),
        ),
        (
            "V6__parked_rows",
            include_str!("../sql/migrations/0006_parked_rows.sql"),
        ),
        (
            "V7__rules_generation",
            include_str!("../sql/migrations/0007_rules_generation.sql"),
        ),
        (
            "V8__lanes",
            include_str!("../sql/migrations/0008_lanes.sql"),
        ),
        (
            "V10__failing_since",
            include_str!("../sql/migrations/0010_failing_since.sql"),
        ),
        (
            "V11__ordering",
            include_str!("../sql/migrations/0011_ordering.sql"),
        ),
        (
            "V12__subscription_leases",
            include_str!("../sql/migrations/0012_subscription_leases.sql"),
        ),
        (
            "V13__batches",
            include_str!("../sql/migrations/0013_batches.sql"),
        ),
        (
            "V14__first_attempts",
            include_str!("../sql/migrations/0014_first_attempts.sql"),
        ),
        (
            "V15__listing",
            include_str!("../sql/migrations/0015_listing.sql"),
        ),
        (
            "V16__leases_in_place",
            include_str!("../sql/migrations/0016_leases_in_place.sql"),
        ),
        (
            "V17__events_by_deliveries",
            include_str!("../sql/migrations/0017_events_by_deliveries.sql"),
        ),
        (
            "V18__places_of_events",
            include_str!("../sql/migrations/0018_places_of_events.sql"),
        ),
    ]
    .iter()
    .map(|(name, sql)| refinery::Migration::unapplied(name, sql))
    .collect()
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

    /// Creates the schema and applies the migrations that it lacks, under an advisory
    /// lock: two processes that start at once do it one after the other.
    /// Answers the names of those applied.
    pub async fn migrate(&self) -> anyhow::Result<Vec<String>> {
        let mut client = self
            .get()
            .await
            .with_context(|| format!("connect to the store {}", self.describe()))?;
        let client: &mut Client = &mut client;
        client
            .execute(include_str!("../sql/queries/lock_migrations.sql"), &[])
            .await?;
        let schema = quote_identifier(&self.schema);
        let migrated = async {
            // `create schema if not exists` asks for the right to create even where the
            // schema exists, and a role that was given its schema need not have it.
            let exists: bool = client
                .query_one(
                    include_str!("../sql/queries/schema_exists.sql"),
                    &[&self.schema],
                )
                .await?
                .get(0);
            if !exists {
                client
                    .batch_execute(&format!("create schema if not exists {schema}"))
                    .await
                    .with_context(|| format!("create the store's schema {schema}"))?;
            }
            let report = refinery::Runner::new(&migrations()?)
                .run_async(client)
                .await
                .context("apply the store's migrations")?;
            Ok(report
                .applied_migrations()
                .iter()
                .map(ToString::to_string)
                .collect())
        }
        .await;
        client
            .execute(include_str!("../sql/queries/unlock_migrations.sql"), &[])
            .await?;
        migrated
    }

    /// Whether every migration that this binary knows has been applied.
    /// False where the schema or its tables do not exist.
    pub async fn is_migrated(&self) -> anyhow::Result<bool> {
        let client = self.get().await?;
        let newest = migrations()?
            .iter()
            .map(refinery::Migration::version)
            .max()
            .unwrap_or(0);
        let exists: bool = client
            .query_one(
                include_str!("../sql/queries/store_exists.sql"),
                &[&self.schema],
            )
            .await?
            .get(0);
        if !exists {
            return Ok(false);
        }
        let applied = client
            .query_one(include_str!("../sql/queries/store_version.sql"), &[])
            .await?;
        let applied: Option<i64> = applied.get(0);
        Ok(applied.unwrap_or(0) >= newest as i64)
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
