//! Makes sessions: over the first server that lets us in, with the settings of their purpose.

use std::fmt::Write as _;
use std::time::Instant;

use secrecy::ExposeSecret;
use tokio::sync::mpsc;
use tokio_postgres::config::{LoadBalanceHosts, SslNegotiation};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Notification, SimpleQueryMessage};

use super::line::Line;
use super::monitor::Pending;
use super::{
    Attempt, Client, ConnInfo, ConnInfoError, Endpoint, KEEPALIVE_COUNT, KEEPALIVE_IDLE,
    KEEPALIVE_INTERVAL, MakeTls, Purpose, TCP_USER_TIMEOUT, major_version, purpose,
    quote_identifier, tls,
};

impl ConnInfo {
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
        let began = Instant::now();
        let connected = self.try_endpoints(purpose, store).await;
        if let (Err(error), Some(monitor)) = (&connected, &self.monitor) {
            let why = error_chain(error);
            monitor.failed(purpose, began, &why);
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
                // that accepts and never answers. Also the first statement must not take as
                // long as those that the session is for.
                let limit = self.connect_timeout * 2;
                let connecting = async {
                    let opened = self.open(&config, &make_tls, purpose, store).await?;
                    let is_whole = holds_settings(&opened.0, purpose, store).await;
                    Ok::<_, tokio_postgres::Error>((opened, is_whole))
                };
                let Ok(connected) = tokio::time::timeout(limit, connecting).await else {
                    let to = self.describe();
                    failure.get_or_insert(ConnInfoError::NoAnswer { to, limit });
                    break;
                };
                match connected {
                    Ok((connected, true)) => return Ok(connected),
                    Ok((_, false)) => {
                        let to = self.describe();
                        failure.get_or_insert(ConnInfoError::Pooler { to });
                        break;
                    }
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
        let tls = make_tls.clone();
        let (line, notifications) = Line::start(&session, connection, to, deadline, tls, pending);
        let client = Client::over(session, line);
        if purpose != Purpose::Application {
            let settings = purpose::late_settings(purpose, version, store.is_some());
            if !settings.is_empty() {
                client.batch_execute(&settings).await?;
            }
        }
        Ok((client, notifications))
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

/// What helps where the driver's words do not say it, in those of the walsender's connection.
pub(super) fn hint(error: &tokio_postgres::Error) -> &'static str {
    let words = error.to_string();
    let cause = std::error::Error::source(error).map_or(String::new(), ToString::to_string);
    if words.contains("password missing") || cause.contains("password missing") {
        ": the server asks for a password: give one in the URL, PGPASSWORD or ~/.pgpass"
    } else if cause.contains("does not support TLS") {
        ": it offers no TLS, which sslmode demands: set ssl = on there, or sslmode=prefer"
    } else {
        ""
    }
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
