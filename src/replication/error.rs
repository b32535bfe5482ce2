//! Why a session with the source could not begin, or ended.

use std::io;
use std::time::Duration;

use super::slot::{REMEDY, without_remedy};
use crate::conninfo::ConnInfoError;
use crate::conninfo::sqlstate::{self, Nature};
use crate::lsn::Lsn;

#[derive(Debug, thiserror::Error)]
pub enum ReplicationError {
    #[error(
        "replication slot `{slot}` does not exist: run `walhook setup`; if changes were taken from it before, setup names what is missing, and `walhook setup --accept-gap` goes on after that"
    )]
    SlotMissing { slot: String },
    /// Another instance leads: wait, and try again.
    #[error("replication slot `{slot}` is in use{}: another instance is the leader; this one waits", of_process(*.pid))]
    SlotActive { slot: String, pid: Option<i32> },
    /// The server is a standby that only keeps a copy of the slot: wait for its promotion.
    #[error(
        "the server is a standby, whose copy of the replication slot `{slot}` nobody can read before its promotion"
    )]
    SlotSynchronized { slot: String },
    #[error(
        "replication slot `{slot}` is lost ({reason}): the server no longer holds the WAL after {confirmed}. {REMEDY}"
    )]
    SlotLost {
        slot: String,
        /// What the catalog says: `wal_status`, and since PostgreSQL 17 why.
        reason: String,
        confirmed: Lsn,
    },
    #[error(
        "replication slot `{slot}` {fault}: drop it or set source.slot to another name, then run `walhook setup`"
    )]
    SlotUnusable { slot: String, fault: String },
    #[error("publication `{publication}` does not exist{} ({message}): it was never created, or created after the slot, or dropped since. Creating it now does not help for what was written before. {REMEDY}", after(*.position))]
    PublicationMissing {
        publication: String,
        message: String,
        /// How far the stream had come; `None` where it did not begin.
        position: Option<Lsn>,
    },
    #[error("{user} was not let in: {message}")]
    Auth { user: String, message: String },
    /// Any other error of the server's. `position`: how far the stream had come.
    #[error("PostgreSQL says: {message} (SQLSTATE {sqlstate}{})", after(*.position))]
    Server {
        sqlstate: String,
        message: String,
        position: Option<Lsn>,
    },
    #[error("cannot {doing}")]
    Io {
        doing: String,
        #[source]
        source: io::Error,
    },
    #[error("{0} offers no TLS, which sslmode demands: set ssl = on there, or sslmode=prefer")]
    NoTls(String),
    #[error("the TLS handshake with {with} failed")]
    Tls {
        with: String,
        #[source]
        source: io::Error,
    },
    /// Bytes that no PostgreSQL server sends.
    #[error("{0}")]
    Protocol(String),
    #[error("{doing} took longer than {limit:?}: the server or the network is stuck")]
    Timeout {
        doing: &'static str,
        limit: Duration,
    },
    /// The server ended the stream in order, as it does when it shuts down.
    #[error("the server ended the stream at {position}")]
    Closed { position: Lsn },
    #[error(transparent)]
    ConnInfo(#[from] ConnInfoError),
    #[error("cannot {doing}")]
    Query {
        doing: &'static str,
        #[source]
        source: tokio_postgres::Error,
    },
}

impl ReplicationError {
    /// What is wrong without the way out, for the record of a gap.
    pub fn state(&self) -> String {
        without_remedy(&self.to_string())
    }

    /// What may become of another session, begun where this one stood.
    pub fn nature(&self) -> Nature {
        match self {
            ReplicationError::SlotActive { .. }
            | ReplicationError::SlotSynchronized { .. }
            | ReplicationError::Io { .. }
            | ReplicationError::Timeout { .. }
            | ReplicationError::Closed { .. } => Nature::Passing,
            ReplicationError::Server { sqlstate, .. } => sqlstate::nature(sqlstate),
            ReplicationError::Query { source, .. } => sqlstate::nature_of(source),
            ReplicationError::ConnInfo(error) => error.nature(),
            ReplicationError::Auth { .. }
            | ReplicationError::NoTls(_)
            | ReplicationError::Tls { .. } => Nature::Refused,
            ReplicationError::SlotMissing { .. }
            | ReplicationError::SlotLost { .. }
            | ReplicationError::SlotUnusable { .. }
            | ReplicationError::PublicationMissing { .. }
            | ReplicationError::Protocol(_) => Nature::Lasting,
        }
    }

    /// Whether the server may be unable to decode the WAL where the stream stood: known
    /// once it has failed there again and again.
    pub fn is_of_decoding(&self) -> bool {
        match self {
            ReplicationError::Server { position, .. } => {
                position.is_some() && matches!(self.nature(), Nature::Internal | Nature::Lasting)
            }
            ReplicationError::PublicationMissing { position, .. } => position.is_some(),
            _ => false,
        }
    }

    /// Whether to connect again may help by itself, without an operator.
    pub fn is_transient(&self) -> bool {
        match self.nature() {
            Nature::Passing => true,
            Nature::Internal => !self.is_of_decoding(),
            Nature::Refused | Nature::Lasting => false,
        }
    }
}

fn of_process(pid: Option<i32>) -> String {
    pid.map_or_else(String::new, |pid| {
        format!(" by the walsender with pid {pid}")
    })
}

fn after(position: Option<Lsn>) -> String {
    position.map_or_else(String::new, |lsn| format!(", after {lsn} in the WAL"))
}
