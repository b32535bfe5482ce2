//! How to reach a PostgreSQL server: connection strings, the environment,
//! password files and TLS, read as libpq reads them. Shared by the replication
//! connection and the store's pool.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rand::seq::SliceRandom;
use secrecy::SecretString;
use tokio_postgres::config::{ChannelBinding, TargetSessionAttrs};

mod answer;
mod client;
mod connect;
mod defaults;
mod endpoint;
mod line;
mod monitor;
mod pgpass;
mod primary;
mod purpose;
mod settings;
pub mod sqlstate;
pub mod tls;
pub(crate) mod url;

pub use answer::column;
pub use client::{Client, Queries, Transaction};
use defaults::{check_ignored, filed_password, tls_settings};
pub use endpoint::Endpoint;
use endpoint::endpoints;
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
    #[error("cannot connect as {to}{}", connect::hint(source))]
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

    /// Each of the servers by itself, whatever role it has, with its address.
    pub fn each_server(&self) -> Vec<(String, ConnInfo)> {
        let alone = |endpoint: &Endpoint| {
            let server = ConnInfo {
                endpoints: vec![endpoint.clone()],
                target_session_attrs: TargetSessionAttrs::Any,
                primary: None,
                ..self.clone()
            };
            (endpoint.to_string(), server)
        };
        self.endpoints.iter().map(alone).collect()
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

    /// The name that a session for `purpose` goes by. One that the URL gives stands before
    /// it.
    pub fn application_name(&self, purpose: Purpose) -> String {
        let name = purpose.application_name();
        match &self.application_name {
            Some(prefix) => format!("{prefix} {name}"),
            None => name,
        }
    }
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

#[cfg(test)]
mod tests;
