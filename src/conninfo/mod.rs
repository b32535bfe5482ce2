//! How to reach a PostgreSQL server: connection strings, the environment,
//! password files and TLS, read as libpq reads them. Shared by the replication
//! connection and the store's pool.

use std::fmt::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rand::seq::SliceRandom;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::mpsc;
use tokio_postgres::config::{
    ChannelBinding, LoadBalanceHosts, SslNegotiation, TargetSessionAttrs,
};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Notification, SimpleQueryMessage};

mod client;
mod defaults;
mod endpoint;
mod monitor;
mod pgpass;
mod primary;
mod purpose;
mod settings;
pub mod sqlstate;
pub mod tls;

pub use client::{Client, Queries, Transaction};
use defaults::{check_ignored, filed_password, tls_settings};
pub use endpoint::Endpoint;
use endpoint::endpoints;
use monitor::Pending;
pub use monitor::{Monitor, Silence};
pub use purpose::{Purpose, quote_identifier};
use settings::{Environment, Settings};
use sqlstate::Nature;
use tls::TlsSettings;
pub use tls::{MakeTls, SslMode, TlsError};

/// Where the URL does not say otherwise. A peer that acknowledges nothing is noticed within
/// half a minute, and one that is gone while nothing is sent too: Linux's own defaults are a
/// quarter of an hour and two hours.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(20);
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_COUNT: u32 = 3;

/// For each address, where the URL does not say otherwise. libpq waits for ever.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where and as whom to connect. Cheap to clone; shows no password.
#[derive(Clone)]
pub struct ConnInfo {
    /// Tried in turn; never empty.
    endpoints: Vec<Endpoint>,
    user: String,
    dbname: String,
    password: Option<SecretString>,
    /// Takes what must be written, while the server itself is a standby.
    primary: Option<Box<ConnInfo>>,
    /// Hears of every connection, in a process that runs.
    monitor: Option<Arc<Monitor>>,
    tls: TlsSettings,
    options: Option<String>,
    application_name: Option<String>,
    shuffled: bool,
    /// For each address. Unlike libpq, which waits for ever unless told.
    pub connect_timeout: Duration,
    pub keepalive: Keepalive,
    /// How long sent bytes may stay unacknowledged (`TCP_USER_TIMEOUT`).
    pub tcp_user_timeout: Option<Duration>,
    pub target_session_attrs: TargetSessionAttrs,
    pub channel_binding: ChannelBinding,
}

/// TCP keepalive, on unless `keepalives=0`; `None` leaves a figure to the system.
#[derive(Clone, Copy, Debug)]
pub struct Keepalive {
    pub enabled: bool,
    pub idle: Option<Duration>,
    pub interval: Option<Duration>,
    pub count: Option<u32>,
}

/// How one connection is tried. `allow` and `prefer` have a second way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    Plain,
    TlsIfOffered,
    Tls,
}

#[derive(Debug, thiserror::Error)]
pub enum ConnInfoError {
    #[error("the connection string cannot be read: {0}")]
    Syntax(&'static str),
    #[error("unknown connection parameter `{name}`: did you mean `{nearest}`?")]
    Unknown { name: String, nearest: &'static str },
    #[error("connection parameter `{name}` is not supported: take it out")]
    Unsupported { name: String },
    #[error("connection parameter `{name}`: expected {expected}")]
    Invalid {
        name: &'static str,
        expected: &'static str,
    },
    #[error("no user to connect as: give one in the URL or in PGUSER")]
    NoUser(#[source] whoami::Error),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("cannot connect as {to}")]
    Connect {
        to: String,
        #[source]
        source: tokio_postgres::Error,
    },
    #[error("cannot connect as {to}: no answer within {limit:?}")]
    NoAnswer { to: String, limit: Duration },
    #[error(
        "{to} is a connection pooler that does not keep a session's settings: give the address of PostgreSQL itself, \
         or of a pool in session mode that passes startup parameters on"
    )]
    Pooler { to: String },
}

impl ConnInfoError {
    /// What may become of another try to connect.
    pub fn nature(&self) -> Nature {
        match self {
            ConnInfoError::NoAnswer { .. } => Nature::Passing,
            ConnInfoError::Connect { source, .. } => sqlstate::nature_of(source),
            ConnInfoError::Tls(_) | ConnInfoError::Pooler { .. } => Nature::Refused,
            ConnInfoError::Syntax(_)
            | ConnInfoError::Unknown { .. }
            | ConnInfoError::Unsupported { .. }
            | ConnInfoError::Invalid { .. }
            | ConnInfoError::NoUser(_) => Nature::Lasting,
        }
    }
}

impl ConnInfo {
    /// Reads `postgres://…` or `host=… user=…`; what it leaves out comes from the
    /// `PG…` environment, then from libpq's defaults. Empty text is all defaults.
    pub fn parse(url: &str) -> Result<Self, ConnInfoError> {
        Self::resolve(url.trim(), &|name| std::env::var(name).ok())
    }

    fn resolve(text: &str, environment: Environment<'_>) -> Result<Self, ConnInfoError> {
        let settings = Settings::parse(text, environment)?;
        let user = match settings.get("user") {
            Some(user) => user.to_owned(),
            None => whoami::username().map_err(ConnInfoError::NoUser)?,
        };
        let dbname = settings.get("dbname").unwrap_or(&user).to_owned();
        let endpoints = endpoints(&settings)?;
        let home = environment("HOME").filter(|home| !home.is_empty());
        let home = home.map(PathBuf::from);
        let password = match settings.get("password") {
            Some(password) => Some(password.to_owned()),
            None => filed_password(&settings, home.as_deref(), &endpoints, &dbname, &user)?,
        };
        check_ignored(&settings)?;
        let seconds = |name| {
            settings.parsed(name, "a whole number of seconds", |text| {
                text.parse::<u64>().ok()
            })
        };
        let positive = |seconds: Option<u64>| seconds.filter(|s| *s > 0).map(Duration::from_secs);
        let milliseconds =
            settings.parsed("tcp_user_timeout", "a whole number of milliseconds", |t| {
                t.parse::<u64>().ok()
            })?;
        Ok(ConnInfo {
            primary: None,
            monitor: None,
            tls: tls_settings(&settings, home.as_deref())?,
            endpoints,
            user,
            dbname,
            password: password.map(SecretString::from),
            options: settings.get("options").map(str::to_owned),
            application_name: settings
                .get("application_name")
                .or_else(|| settings.get("fallback_application_name"))
                .map(str::to_owned),
            shuffled: settings
                .parsed("load_balance_hosts", "`disable` or `random`", |text| {
                    ["disable", "random"]
                        .contains(&text)
                        .then_some(text == "random")
                })?
                .unwrap_or(false),
            connect_timeout: positive(seconds("connect_timeout")?).unwrap_or(CONNECT_TIMEOUT),
            keepalive: Keepalive {
                enabled: settings
                    .parsed("keepalives", "0 or 1", |text| text.parse::<u8>().ok())?
                    .is_none_or(|flag| flag != 0),
                idle: positive(seconds("keepalives_idle")?),
                interval: positive(seconds("keepalives_interval")?),
                count: settings.parsed("keepalives_count", "a whole number", |text| {
                    text.parse().ok()
                })?,
            },
            tcp_user_timeout: milliseconds.filter(|ms| *ms > 0).map(Duration::from_millis),
            target_session_attrs: settings
                .parsed(
                    "target_session_attrs",
                    "`any`, `read-write`, `primary`, `read-only` or `standby`",
                    |text| {
                        Some(match text {
                            "any" => TargetSessionAttrs::Any,
                            "read-write" | "primary" => TargetSessionAttrs::ReadWrite,
                            "read-only" | "standby" => TargetSessionAttrs::ReadOnly,
                            _ => return None,
                        })
                    },
                )?
                .unwrap_or(TargetSessionAttrs::Any),
            channel_binding: settings
                .parsed(
                    "channel_binding",
                    "`disable`, `prefer` or `require`",
                    |text| {
                        Some(match text {
                            "disable" => ChannelBinding::Disable,
                            "prefer" => ChannelBinding::Prefer,
                            "require" => ChannelBinding::Require,
                            _ => return None,
                        })
                    },
                )?
                .unwrap_or(ChannelBinding::Prefer),
        })
    }

    /// The same servers, with word of every connection to `monitor`.
    pub fn monitored(mut self, monitor: &Arc<Monitor>) -> Self {
        self.monitor = Some(Arc::clone(monitor));
        self.primary = self
            .primary
            .map(|primary| Box::new(primary.monitored(monitor)));
        self
    }

    /// The servers in the order to try them.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        let mut endpoints = self.endpoints.clone();
        if self.shuffled {
            endpoints.shuffle(&mut rand::rng());
        }
        endpoints
    }

    /// The first server's host: a name, an address, or a socket directory.
    pub fn host(&self) -> &str {
        self.endpoints.first().map_or("", |first| &first.host)
    }

    pub fn port(&self) -> u16 {
        self.endpoints.first().map_or(5432, |first| first.port)
    }

    pub fn user(&self) -> &str {
        &self.user
    }

    /// Whether both name one database of one server, by the names that they use.
    pub fn is_same_database(&self, other: &ConnInfo) -> bool {
        (self.host(), self.port(), self.dbname()) == (other.host(), other.port(), other.dbname())
    }

    pub fn dbname(&self) -> &str {
        &self.dbname
    }

    pub fn password(&self) -> Option<&SecretString> {
        self.password.as_ref()
    }

    /// The startup packet's `options`: those of the URL, then ours. Of a setting that is
    /// given twice the later one counts.
    pub fn startup_options(&self, purpose: Purpose, store: Option<&str>) -> String {
        let options = self.options.as_deref().unwrap_or_default();
        format!("{options}{}", purpose::as_options(&purpose.settings(store)))
    }

    pub fn ssl_mode(&self) -> SslMode {
        self.tls.mode
    }

    /// Whether TLS begins without asking first (`sslnegotiation=direct`).
    pub fn direct_tls(&self) -> bool {
        self.tls.direct
    }

    pub fn tls_config(&self) -> Result<rustls::ClientConfig, ConnInfoError> {
        Ok(self.tls.client_config()?)
    }

    /// `user@host:port/dbname`, for messages.
    pub fn describe(&self) -> String {
        let hosts: Vec<_> = self.endpoints.iter().map(Endpoint::to_string).collect();
        format!("{}@{}/{}", self.user, hosts.join(","), self.dbname)
    }

    /// The ways to try one server, best first. A Unix socket never takes TLS.
    pub fn attempts(&self, endpoint: &Endpoint) -> &'static [Attempt] {
        match self.tls.mode {
            _ if endpoint.unix_socket().is_some() => &[Attempt::Plain],
            SslMode::Disable => &[Attempt::Plain],
            SslMode::Allow => &[Attempt::Plain, Attempt::Tls],
            SslMode::Prefer => &[Attempt::TlsIfOffered, Attempt::Plain],
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => &[Attempt::Tls],
        }
    }

    /// Connects for `purpose`, with its settings. `store`: the schema that the session works
    /// in, where it is one of the store's.
    pub async fn connect(
        &self,
        purpose: Purpose,
        store: Option<&str>,
    ) -> Result<Client, ConnInfoError> {
        let connected = self.connect_listening(purpose, store).await;
        connected.map(|(client, _)| client)
    }

    /// The same, and what the session hears after a LISTEN.
    pub async fn connect_listening(
        &self,
        purpose: Purpose,
        store: Option<&str>,
    ) -> Result<(Client, mpsc::Receiver<Notification>), ConnInfoError> {
        let connected = self.try_endpoints(purpose, store).await;
        if let (Err(error), Some(monitor)) = (&connected, &self.monitor) {
            let why = error_chain(error);
            monitor.failed(&purpose.application_name(), &why);
        }
        connected
    }

    async fn try_endpoints(
        &self,
        purpose: Purpose,
        store: Option<&str>,
    ) -> Result<(Client, mpsc::Receiver<Notification>), ConnInfoError> {
        let (base, make_tls) = self.base(purpose, store)?;
        let mut failure = None;
        for endpoint in self.endpoints() {
            for attempt in self.attempts(&endpoint) {
                let mut config = base.clone();
                add_endpoint(&mut config, &endpoint);
                config.ssl_mode(match attempt {
                    Attempt::Plain => tokio_postgres::config::SslMode::Disable,
                    Attempt::TlsIfOffered => tokio_postgres::config::SslMode::Prefer,
                    Attempt::Tls => tokio_postgres::config::SslMode::Require,
                });
                // tokio_postgres limits each address's socket; this is for a server
                // that accepts and never answers.
                let limit = self.connect_timeout * 2;
                let connecting = self.open(&config, &make_tls, purpose, store);
                let Ok(connected) = tokio::time::timeout(limit, connecting).await else {
                    let to = self.describe();
                    failure.get_or_insert(ConnInfoError::NoAnswer { to, limit });
                    break;
                };
                match connected {
                    Ok((client, _)) if !holds_settings(&client, purpose, store).await => {
                        let to = self.describe();
                        failure.get_or_insert(ConnInfoError::Pooler { to });
                        break;
                    }
                    Ok(connected) => return Ok(connected),
                    // PgBouncer's words for a startup parameter that it does not know.
                    Err(source) if is_unsupported_parameter(&source) => {
                        let to = self.describe();
                        failure.get_or_insert(ConnInfoError::Pooler { to });
                        break;
                    }
                    Err(source) => {
                        let other_way = tls::is_tls_failure(&source)
                            || source.code()
                                == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
                        // The first failure of a server says more than its second.
                        let to = self.describe();
                        failure.get_or_insert(ConnInfoError::Connect { to, source });
                        if !other_way {
                            break;
                        }
                    }
                }
            }
        }
        Err(failure.unwrap_or(ConnInfoError::Syntax("it names no host")))
    }

    async fn open(
        &self,
        config: &tokio_postgres::Config,
        make_tls: &MakeTls,
        purpose: Purpose,
        store: Option<&str>,
    ) -> Result<(Client, mpsc::Receiver<Notification>), tokio_postgres::Error> {
        let (session, connection) = config.connect(make_tls.clone()).await?;
        let version = connection.parameter("server_version");
        let version = version.map_or(0, major_version);
        let (to, deadline) = (self.describe(), purpose.deadline());
        let pending = Pending::new(self.monitor.clone(), purpose);
        let (client, notifications) =
            Client::start(session, connection, to, deadline, make_tls.clone(), pending);
        if purpose != Purpose::Application {
            let settings = purpose::late_settings(purpose, version, store.is_some());
            if !settings.is_empty() {
                client.batch_execute(&settings).await?;
            }
        }
        Ok((client, notifications))
    }

    /// The name that a session for `purpose` goes by. One that the URL gives stands before
    /// it.
    pub fn application_name(&self, purpose: Purpose) -> String {
        let name = purpose.application_name();
        match &self.application_name {
            Some(prefix) => format!("{prefix} {name}"),
            None => name,
        }
    }

    /// All but hosts and TLS mode.
    fn base(
        &self,
        purpose: Purpose,
        store: Option<&str>,
    ) -> Result<(tokio_postgres::Config, MakeTls), ConnInfoError> {
        let mut config = tokio_postgres::Config::new();
        config
            .user(&self.user)
            .dbname(&self.dbname)
            .application_name(self.application_name(purpose))
            .connect_timeout(self.connect_timeout)
            .keepalives(self.keepalive.enabled)
            .target_session_attrs(self.target_session_attrs)
            .channel_binding(self.channel_binding);
        if let Some(password) = &self.password {
            config.password(password.expose_secret());
        }
        config.options(self.startup_options(purpose, store));
        if self.tls.direct {
            config.ssl_negotiation(SslNegotiation::Direct);
        }
        if self.shuffled {
            config.load_balance_hosts(LoadBalanceHosts::Random);
        }
        let keepalive = self.keepalive;
        config
            .tcp_user_timeout(self.tcp_user_timeout.unwrap_or(TCP_USER_TIMEOUT))
            .keepalives_idle(keepalive.idle.unwrap_or(KEEPALIVE_IDLE))
            .keepalives_interval(keepalive.interval.unwrap_or(KEEPALIVE_INTERVAL))
            .keepalives_retries(keepalive.count.unwrap_or(KEEPALIVE_COUNT));
        Ok((config, MakeTls::new(self.tls_config()?)))
    }
}

/// Whether the session has the search path that it was begun with: a pooler that ignores
/// startup parameters, or gives each statement another session, loses it. A session that
/// breaks off is its caller's to meet.
async fn holds_settings(client: &Client, purpose: Purpose, store: Option<&str>) -> bool {
    if purpose == Purpose::Application {
        return true;
    }
    let expected = store.map(quote_identifier).unwrap_or_default();
    let sql = "select pg_catalog.current_setting('search_path')";
    match client.simple_query(sql).await {
        Ok(answer) => answer.iter().any(|message| {
            matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some(&expected))
        }),
        Err(_) => true,
    }
}

fn is_unsupported_parameter(error: &tokio_postgres::Error) -> bool {
    let database = error.as_db_error();
    database.is_some_and(|error| error.message().contains("unsupported startup parameter"))
}

/// The error and its causes, for the log.
fn error_chain(error: &ConnInfoError) -> anyhow::Error {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    anyhow::Error::msg(text)
}

/// Shows where it leads, never the password.
impl fmt::Debug for ConnInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnInfo({}, {:?})", self.describe(), self.tls.mode)
    }
}

/// `15.18 (Debian …)`, `18beta1`, `16devel`.
pub fn major_version(text: &str) -> u32 {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    text[..digits].parse().unwrap_or(0)
}

fn add_endpoint(config: &mut tokio_postgres::Config, endpoint: &Endpoint) {
    if endpoint.unix_socket().is_some() {
        config.host_path(&endpoint.host);
    } else {
        config.host(&endpoint.host);
    }
    if let Some(address) = endpoint.hostaddr {
        config.hostaddr(address);
    }
    config.port(endpoint.port);
}

#[cfg(test)]
mod tests;
