//! The stream of committed changes as the pipeline sees it. Behind it, a thread
//! of its own owns the socket (see `session`).

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use tokio::sync::oneshot;
use tracing::error;

use super::connection::Connection;
use super::error::ReplicationError;
use super::queue::Queue;
use super::session;
use super::system::{self, SystemIdentity};
use super::takeover::Command;
use crate::byte_size::ByteSize;
use crate::conninfo::ConnInfo;
use crate::duration::HumanDuration;
use crate::lsn::Lsn;
use crate::pgoutput::StreamEvent;

/// `[source]`: the database whose log is read.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceConfig {
    /// A PostgreSQL URL, or `host=… user=…`; what it leaves out comes from the
    /// `PG…` environment and `~/.pgpass`.
    pub url: SecretString,
    /// The primary, where `url` is a standby: takes what must be written. Empty: `url`.
    pub primary_url: SecretString,
    /// The logical replication slot: `[a-z0-9_]`, at most 63 characters.
    #[serde(deserialize_with = "slot_name")]
    pub slot: String,
    /// The publication that lists the tables: at most 63 bytes.
    #[serde(deserialize_with = "publication_name")]
    pub publication: String,
    /// A server that is silent for this long is given up; after half of it, it is
    /// asked for a reply. It gives up a silent session as early.
    pub receive_timeout: HumanDuration,
    /// Bytes of decoded changes that may wait for the pipeline in memory.
    pub buffer_bytes: usize,
    /// What becomes of the process where the WAL has a gap.
    pub on_gap: OnGap,
    /// How much log the slot may make the server keep; `None`: what the server allows.
    #[serde(deserialize_with = "wal_limit")]
    pub wal_limit: Option<ByteSize>,
    /// What to do when that is nearly used up.
    pub wal_policy: WalPolicy,
    /// Bytes of a row above which its large values are passed over: an event that needs
    /// one of them is parked.
    #[serde(deserialize_with = "row_limit")]
    pub max_row: usize,
    /// While nothing that is published commits, a message is written into the WAL this
    /// often, so that the stream is seen to move; zero: never.
    pub heartbeat: HumanDuration,
}

impl SourceConfig {
    /// The server that takes writes.
    pub fn writable_url(&self) -> &SecretString {
        match self.primary_url.expose_secret() {
            "" => &self.url,
            _ => &self.primary_url,
        }
    }
}

/// What becomes of the process where capture cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnGap {
    /// Capture is paused until the gap is accepted; deliveries and the API go on.
    Wait,
    /// The process ends.
    Stop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WalPolicy {
    /// Keep the slot and raise the alarm.
    Hold,
    /// Skip to the present, with a recorded gap, before the server drops the WAL.
    Shed,
}

impl Default for SourceConfig {
    fn default() -> Self {
        SourceConfig {
            url: SecretString::default(),
            primary_url: SecretString::default(),
            slot: "walhook".to_owned(),
            publication: "walhook".to_owned(),
            // A connection that is silent without an error must not hold the slot for long.
            receive_timeout: HumanDuration::from_secs(15),
            buffer_bytes: 8 * 1024 * 1024,
            on_gap: OnGap::Wait,
            wal_limit: None,
            wal_policy: WalPolicy::Hold,
            // What may wait in memory anyway, and 32 times what is sent as a body.
            max_row: 8 * 1024 * 1024,
            heartbeat: HumanDuration::from_secs(30),
        }
    }
}

/// A running stream. Dropping it ends the session without waiting for the thread;
/// [`shutdown`](Self::shutdown) waits.
pub struct WalStream {
    system: SystemIdentity,
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

/// Connects and takes the slot; returns once it is held. Streams from where the
/// slot stands. [`ReplicationError::SlotActive`] means that another instance leads.
pub async fn start(
    conninfo: &ConnInfo,
    config: &SourceConfig,
) -> Result<WalStream, ReplicationError> {
    let command = Command {
        slot: config.slot.clone(),
        temporary: false,
        publication: config.publication.clone(),
        receive_timeout: config.receive_timeout.0,
        max_row: config.max_row,
    };
    start_session(conninfo, config, command).await
}

/// Streams what commits from now on, through a slot of this stream's own that ends with
/// it. The configured slot is not touched.
pub async fn start_temporary(
    conninfo: &ConnInfo,
    config: &SourceConfig,
) -> Result<WalStream, ReplicationError> {
    let command = Command {
        slot: format!("walhook_explain_{}", uuid::Uuid::now_v7().simple()),
        temporary: true,
        publication: config.publication.clone(),
        receive_timeout: config.receive_timeout.0,
        max_row: config.max_row,
    };
    start_session(conninfo, config, command).await
}

async fn start_session(
    conninfo: &ConnInfo,
    config: &SourceConfig,
    command: Command,
) -> Result<WalStream, ReplicationError> {
    let queue = Arc::new(Queue::new(config.buffer_bytes));
    let (ready, started) = oneshot::channel();
    let thread = {
        let (conninfo, queue) = (conninfo.clone(), Arc::clone(&queue));
        thread::Builder::new()
            .name("wal_receiver".to_owned())
            .spawn(move || session::run(&conninfo, command, &queue, ready))
            .map_err(no_thread)?
    };
    // If this future is dropped the thread finds nobody to report to, and ends.
    let system = started.await.unwrap_or_else(|_| Err(panicked()))?;
    Ok(WalStream {
        system,
        queue,
        thread: Some(thread),
    })
}

/// Asks the server which system it is, its timeline's history included, without
/// touching the slot.
pub async fn identify(conninfo: &ConnInfo) -> Result<SystemIdentity, ReplicationError> {
    let conninfo = conninfo.clone();
    let (answer, asked) = oneshot::channel();
    thread::Builder::new()
        .name("identify_system".to_owned())
        .spawn(move || {
            let identity = Connection::open(&conninfo)
                .and_then(|mut connection| system::identify(&mut connection));
            // Nobody waits any more: nothing to tell.
            let _ = answer.send(identity);
        })
        .map_err(no_thread)?;
    asked.await.unwrap_or_else(|_| Err(panicked()))
}

impl WalStream {
    /// The server behind the stream.
    pub fn system(&self) -> &SystemIdentity {
        &self.system
    }

    /// The next events in the WAL's order, at least one. `Err` says why the session
    /// ended; everything received before it has been returned by then. Cancel-safe.
    pub async fn next_batch(&mut self) -> Result<Vec<StreamEvent>, ReplicationError> {
        self.queue.next().await
    }

    /// Says that everything up to `lsn` is durable: a commit's `end_lsn`, or a
    /// keepalive's `wal_end` when nothing is in flight. Never moves back, nor beyond
    /// what was received. Reported within 100 ms.
    pub fn acknowledge(&self, lsn: Lsn) {
        self.queue.acknowledge(lsn);
    }

    /// The furthest position of a commit or keepalive that was received.
    pub fn received(&self) -> Lsn {
        self.queue.received()
    }

    /// Releases the slot: the same as [`shutdown`](Self::shutdown), without waiting for it.
    pub fn release(&self) {
        self.queue.stop();
    }

    /// Reports the acknowledged position for the last time, ends the stream in
    /// order, which frees the slot, and waits for the thread. Takes 2 s at most
    /// from a server that answers no more.
    pub async fn shutdown(mut self) {
        self.queue.stop();
        let Some(thread) = self.thread.take() else {
            return;
        };
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            error!("the thread that reads the WAL panicked");
        }
    }
}

impl Drop for WalStream {
    fn drop(&mut self) {
        self.queue.stop();
    }
}

fn no_thread(source: std::io::Error) -> ReplicationError {
    let doing = "start a thread".to_owned();
    ReplicationError::Io { doing, source }
}

pub(super) fn panicked() -> ReplicationError {
    ReplicationError::Protocol("the thread that reads the WAL panicked".to_owned())
}

fn slot_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if (1..=63).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(name);
    }
    Err(serde::de::Error::custom(format!(
        "`{name}` cannot name a replication slot: expected 1 to 63 of a-z, 0-9 and _"
    )))
}

fn publication_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    if (1..=63).contains(&name.len()) && !name.contains('\0') {
        return Ok(name);
    }
    Err(serde::de::Error::custom(format!(
        "`{name}` cannot name a publication: expected 1 to 63 bytes"
    )))
}

/// PostgreSQL keeps whole segments of 16 MB: of less than a few of them no share says
/// anything.
const SMALLEST_WAL_LIMIT: ByteSize = ByteSize(64 << 20);

fn wal_limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ByteSize>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    let limit: ByteSize = text.parse().map_err(serde::de::Error::custom)?;
    if limit < SMALLEST_WAL_LIMIT {
        return Err(serde::de::Error::custom(format!(
            "`{text}` is too little: expected at least {SMALLEST_WAL_LIMIT}, as PostgreSQL keeps whole segments of 16MB"
        )));
    }
    Ok(Some(limit))
}

fn row_limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let bytes = usize::deserialize(deserializer)?;
    if MAX_ROW.contains(&bytes) {
        return Ok(bytes);
    }
    Err(serde::de::Error::custom(format!(
        "{bytes} bytes cannot be the limit of a row: expected {} to {}",
        MAX_ROW.start(),
        MAX_ROW.end()
    )))
}

/// Below, ordinary rows would lose values; above, memory is no longer bounded: while a
/// row becomes an event it is held some five times.
const MAX_ROW: std::ops::RangeInclusive<usize> = 64 * 1024..=64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_section_has_defaults_and_refuses_bad_names() {
        let read = |text: &str| toml::from_str::<SourceConfig>(text);
        let config = read("url = 'postgres://u:hunter2@db/app'").unwrap();
        assert_eq!(
            (&*config.slot, &*config.publication),
            ("walhook", "walhook")
        );
        assert!(!format!("{config:?}").contains("hunter2"));
        assert!(read("publication = 'Any \"name\"'").is_ok());
        for text in [
            "slot = 'Upper'",
            "slot = ''",
            "slot = 'a-b'",
            "publication = ''",
            "slto = 'x'",
            "wal_limit = '1MB'",
            "wal_limit = '10'",
            "wal_policy = 'drop'",
            "on_gap = 'ignore'",
            "max_row = 1000",
            "max_row = 100000000",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
