//! The store's connections, a pool for each purpose that shares them, and its schema.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use deadpool::Runtime;
use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use secrecy::{ExposeSecret, SecretString};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_postgres::Notification;
use tokio_util::context::TokioContext;

use crate::conninfo::sqlstate::{self, Nature};
use crate::conninfo::{Client, ConnInfo, ConnInfoError, Monitor, Purpose, Transaction};
use crate::duration::HumanDuration;

mod encryption;
mod failure;
mod identity;
mod schema;
pub(crate) mod sql_text;
mod tenant_role;

pub use encryption::{OtherKeyError, StoreKey};
pub use failure::{is_refusal, is_refused, is_transient};
pub use identity::{IdentityError, StoreComparison, StoreIdentity, StoreRecord};
pub use schema::{SchemaError, SchemaState};
pub use tenant_role::{NAME_BYTES, tenant_role_name};

/// `[store]`: where walhook keeps its own tables.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// A PostgreSQL URL; empty: the source database.
    pub url: SecretString,
    /// The schema that holds the tables.
    pub schema: String,
    /// The role that the API's queries run as, for `setup` to create or take; empty: one named
    /// for database and schema. The store keeps it.
    pub tenant_role: String,
    /// How long events, deliveries and attempts are kept.
    #[serde(deserialize_with = "retention")]
    pub retention: HumanDuration,
    /// How long entries of the audit log are kept.
    #[serde(deserialize_with = "retention")]
    pub audit_retention: HumanDuration,
    /// Connections that the API of one process opens at most.
    pub connections: usize,
}

/// A century: from much longer ago than that the server has no times.
const LONGEST_RETENTION: HumanDuration = HumanDuration::from_secs(36_500 * 86_400);

fn retention<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HumanDuration, D::Error> {
    let retention = HumanDuration::deserialize(deserializer)?;
    if retention > LONGEST_RETENTION {
        return Err(D::Error::custom(format!(
            "is {retention}: use {LONGEST_RETENTION} or less"
        )));
    }
    Ok(retention)
}

impl Default for StoreConfig {
    fn default() -> Self {
        StoreConfig {
            url: SecretString::default(),
            schema: "walhook".to_owned(),
            tenant_role: String::new(),
            retention: HumanDuration::from_secs(30 * 86_400),
            // A year, and what it takes to look back at its end.
            audit_retention: HumanDuration::from_secs(400 * 86_400),
            connections: 8,
        }
    }
}

/// The store, reached for one purpose: its connections are no other's, so that none can
/// keep another waiting. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pool: managed::Pool<Sessions>,
    connections: usize,
    /// In which it was opened: its connections are shared, and must not end with the runtime
    /// of the caller that asked for them first.
    runtime: Option<Handle>,
    schema: String,
    /// `store.tenant_role`; empty: whatever the store keeps.
    configured_tenant_role: String,
    conninfo: ConnInfo,
    /// The store that answered at first, once it was found to be ours.
    began_with: BeganWith,
}

/// Shared by all that open sessions of a process's store.
type BeganWith = Arc<OnceLock<StoreIdentity>>;

/// A session of the pool's, which takes it back.
pub type Connection = managed::Object<Sessions>;

/// There is no connection to be had.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    #[error(transparent)]
    Connect(SessionError),
    #[error(
        "all connections of `{purpose}` to the store are in use, and none came free within {} s",
        POOL_WAIT.as_secs()
    )]
    Exhausted { purpose: String },
}

/// A session of the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error(transparent)]
    Connect(#[from] ConnInfoError),
    #[error("compare the store's identity")]
    Compare(#[from] tokio_postgres::Error),
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl SessionError {
    /// What may become of another try.
    fn nature(&self) -> Nature {
        match self {
            SessionError::Connect(error) => error.nature(),
            SessionError::Compare(error) => sqlstate::nature_of(error),
            SessionError::Identity(_) => Nature::Lasting,
        }
    }
}

/// Makes the pool's sessions.
#[derive(Debug)]
pub struct Sessions {
    conninfo: ConnInfo,
    purpose: Purpose,
    schema: String,
    began_with: BeganWith,
    /// When one was found silent. What was not used since may be silent too.
    suspected: Mutex<Option<Instant>>,
}

/// A session that was idle for so long is asked whether it still answers before it is handed
/// out: its connection may have fallen silent without an error …
const IDLE: Duration = Duration::from_secs(1);
/// … for as long as a server under load may take for an empty statement.
const STILL_ANSWERS: Duration = Duration::from_secs(3);

impl managed::Manager for Sessions {
    type Type = Client;
    type Error = SessionError;

    async fn create(&self) -> Result<Client, SessionError> {
        let client = self
            .conninfo
            .connect(self.purpose, Some(&self.schema))
            .await?;
        compared(client, &self.began_with).await
    }

    async fn recycle(&self, client: &mut Client, used: &Metrics) -> RecycleResult<SessionError> {
        if client.is_closed() {
            return Err(RecycleError::message("the connection has ended"));
        }
        let used = used.recycled.unwrap_or(used.created);
        if used.elapsed() < IDLE {
            return Ok(());
        }
        if self.suspected().is_some_and(|since| used < since) {
            return Err(RecycleError::message("others of its age do not answer"));
        }
        let mut asking = Asking(Some(self));
        if client.still_answers(STILL_ANSWERS).await {
            asking.0 = None;
            return Ok(());
        }
        Err(RecycleError::message("it does not answer any more"))
    }
}

/// Suspects the sessions of its age unless the one that is asked answers: also where the
/// caller, such as a probe of `/readyz`, waits for less long.
struct Asking<'a>(Option<&'a Sessions>);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(sessions) = self.0 {
            *sessions.suspected() = Some(Instant::now());
        }
    }
}

impl Sessions {
    fn suspected(&self) -> MutexGuard<'_, Option<Instant>> {
        self.suspected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a task waits for one of the pool's connections before it reports that
/// the store is overloaded.
const POOL_WAIT: Duration = Duration::from_secs(10);

/// Connections of a process for work that may wait its turn.
pub const HOUSEKEEPING_CONNECTIONS: usize = 3;

impl Store {
    /// Opens the store for `purpose`; `source_url` stands in where the store has no URL of
    /// its own. Connects lazily: the first query says whether the server is there.
    pub fn open(
        config: &StoreConfig,
        source_url: &SecretString,
        purpose: Purpose,
    ) -> anyhow::Result<Self> {
        let url = match config.url.expose_secret() {
            "" => source_url.expose_secret(),
            own => own,
        };
        let conninfo = ConnInfo::parse(url).context("read store.url")?;
        Self::pooled(
            conninfo,
            config.schema.clone(),
            config.tenant_role.clone(),
            config.connections,
            purpose,
            BeganWith::default(),
        )
    }

    /// The same store for another purpose, over connections of its own.
    pub fn reopen(&self, purpose: Purpose) -> anyhow::Result<Self> {
        Self::pooled(
            self.conninfo.clone(),
            self.schema.clone(),
            self.configured_tenant_role.clone(),
            self.connections,
            purpose,
            Arc::clone(&self.began_with),
        )
    }

    fn pooled(
        conninfo: ConnInfo,
        schema: String,
        configured_tenant_role: String,
        connections: usize,
        purpose: Purpose,
        began_with: BeganWith,
    ) -> anyhow::Result<Self> {
        let sessions = Sessions {
            began_with: Arc::clone(&began_with),
            conninfo: conninfo.clone(),
            purpose,
            schema: schema.clone(),
            suspected: Mutex::default(),
        };
        let size = match purpose {
            Purpose::Housekeeping => HOUSEKEEPING_CONNECTIONS.min(connections),
            // A heartbeat that is not answered must not keep the next one waiting.
            Purpose::Membership => 2,
            Purpose::Api
            | Purpose::Enqueuer
            | Purpose::Reader
            | Purpose::Recorder
            | Purpose::Claims
            | Purpose::Listen
            | Purpose::Capture
            | Purpose::Watch
            | Purpose::HarmWatch
            | Purpose::Seed
            | Purpose::Backfill
            | Purpose::Heartbeat
            | Purpose::Reload
            | Purpose::Inspection(_)
            | Purpose::Command(_)
            | Purpose::Application => connections,
        };
        let pool = managed::Pool::builder(sessions)
            .max_size(size)
            .runtime(Runtime::Tokio1)
            // To make one has a limit of its own, which names the server that is silent.
            .wait_timeout(Some(POOL_WAIT))
            .build()
            .context("build the store's pool")?;
        Ok(Store {
            pool,
            connections,
            runtime: Handle::try_current().ok(),
            schema,
            configured_tenant_role,
            conninfo,
            began_with,
        })
    }

    pub async fn get(&self) -> Result<Connection, PoolError> {
        let got = Box::pin(self.pool.get());
        let got = match &self.runtime {
            Some(runtime) => TokioContext::new(got, runtime.clone()).await,
            None => got.await,
        };
        got.map_err(|error| match error {
            managed::PoolError::Backend(error) => PoolError::Connect(error),
            // The other failures are of hooks and runtimes, which are there.
            _ => PoolError::Exhausted {
                purpose: self.pool.manager().purpose.application_name(),
            },
        })
    }

    /// A connection of its own, outside the pool.
    pub async fn connect(&self, purpose: Purpose) -> anyhow::Result<Client> {
        let connected = self.conninfo.connect(purpose, Some(&self.schema)).await;
        let connected =
            connected.with_context(|| format!("connect to the store {}", self.describe()))?;
        Ok(compared(connected, &self.began_with).await?)
    }

    /// A connection that listens for what other instances announce, and what it hears.
    pub async fn connect_listening(
        &self,
    ) -> anyhow::Result<(Client, mpsc::Receiver<Notification>)> {
        let schema = Some(self.schema.as_str());
        let connected = self
            .conninfo
            .connect_listening(Purpose::Listen, schema)
            .await;
        let (client, heard) =
            connected.with_context(|| format!("connect to the store {}", self.describe()))?;
        Ok((compared(client, &self.began_with).await?, heard))
    }

    /// The same store, with word of every connection to `monitor`.
    pub fn monitored(mut self, monitor: &Arc<Monitor>, purpose: Purpose) -> anyhow::Result<Self> {
        self.conninfo = self.conninfo.monitored(monitor);
        self.reopen(purpose)
    }

    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// `user@host:port/database`, for messages.
    pub fn describe(&self) -> String {
        self.conninfo.describe()
    }

    pub fn conninfo(&self) -> &ConnInfo {
        &self.conninfo
    }
}

/// Compares the store behind a new session with the one that the process began with.
async fn compared(client: Client, began_with: &BeganWith) -> Result<Client, SessionError> {
    if let Some(began_with) = began_with.get() {
        identity::check_session(&client, began_with).await?;
    }
    Ok(client)
}

/// Begins a transaction that sees, and can write, the rows of `tenant` alone:
/// PostgreSQL's row-level security decides, not the queries.
pub async fn tenant_transaction<'a>(
    client: &'a mut Connection,
    tenant: &str,
) -> Result<Transaction<'a>, tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    // A store without its row must not leave the transaction with the login's own rights.
    transaction
        .query_one(
            include_str!("../sql/queries/db/begin_tenant.sql"),
            &[&tenant],
        )
        .await?;
    Ok(transaction)
}

pub use crate::conninfo::quote_identifier;
