//! The replication slot: what the catalog says of it, and whether it still
//! continues what was recorded.

use tokio_postgres::SimpleQueryMessage;

use super::error::ReplicationError;
use super::system::SystemIdentity;
use crate::conninfo::Client;
use crate::lsn::Lsn;

mod budget;
mod kind;
mod verify;

pub use budget::{Budget, CRITICAL, CatchingUp};
pub use kind::GapKind;
pub(super) use verify::without_remedy;
pub use verify::{Gap, REMEDY, RecordedProgress, verify};

pub(super) const LIST_SLOTS: &str = include_str!("../../sql/queries/replication/list_slots.sql");

/// The output plugin whose messages we decode.
pub const PLUGIN: &str = "pgoutput";

/// A row of `pg_replication_slots`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotState {
    /// `None`: a physical slot.
    pub plugin: Option<String>,
    pub database: Option<String>,
    pub active_pid: Option<i32>,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: Option<String>,
    /// Bytes of log that may still be written before the slot is in danger;
    /// `None` where the server sets no limit (`max_slot_wal_keep_size = -1`).
    pub safe_wal_size: Option<i64>,
    pub restart_lsn: Option<Lsn>,
    pub confirmed_flush_lsn: Option<Lsn>,
    pub temporary: bool,
    pub two_phase: bool,
    /// Why the slot is lost, where the server says (16 and later).
    pub invalidation_reason: Option<String>,
    /// A standby's copy of the primary's slot, which nobody can read before the standby
    /// is promoted (17 and later). A promoted server's slots keep the mark.
    pub synced: bool,
    /// Standbys may keep copies of it (17 and later).
    pub failover: bool,
}

impl SlotState {
    /// Why nothing can be streamed from this slot ever again.
    pub fn lost(&self) -> Option<String> {
        if let Some(reason) = &self.invalidation_reason {
            return Some(format!("invalidated: {reason}"));
        }
        let lost = self.wal_status.as_deref() == Some("lost");
        lost.then(|| "wal_status is lost: max_slot_wal_keep_size was exceeded".to_owned())
    }

    /// Reads a row of `list_slots.sql`; `text` gives a column.
    pub fn read<'a>(text: impl Fn(usize) -> Option<&'a str>) -> Self {
        let owned = |index| text(index).map(str::to_owned);
        SlotState {
            plugin: owned(2),
            database: owned(3),
            active_pid: text(4).and_then(|pid| pid.parse().ok()),
            wal_status: owned(5),
            safe_wal_size: text(6).and_then(|size| size.parse().ok()),
            restart_lsn: text(7).and_then(|lsn| lsn.parse().ok()),
            confirmed_flush_lsn: text(8).and_then(|lsn| lsn.parse().ok()),
            temporary: text(9) == Some("t"),
            two_phase: text(10) == Some("t"),
            invalidation_reason: owned(11),
            synced: text(12) == Some("true"),
            failover: text(13) == Some("true"),
        }
    }
}

/// The slot's state; `None` if there is no such slot.
pub async fn inspect(client: &Client, slot: &str) -> Result<Option<SlotState>, ReplicationError> {
    let rows = client.simple_query(LIST_SLOTS).await;
    let rows = rows.map_err(failed("read pg_replication_slots"))?;
    Ok(rows.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) if row.get(0) == Some(slot) => {
            Some(SlotState::read(|index| row.try_get(index).ok().flatten()))
        }
        _ => None,
    }))
}

/// Creates the slot and says from where it will stream. With `failover`, which
/// needs PostgreSQL 17, it is synchronised to standbys. Waits for every
/// transaction that is running; create the publication first.
pub async fn create(client: &Client, slot: &str, failover: bool) -> Result<Lsn, ReplicationError> {
    let query = if failover {
        include_str!("../../sql/queries/replication/create_failover_slot.sql")
    } else {
        include_str!("../../sql/queries/replication/create_slot.sql")
    };
    let row = client.query_one(query, &[&slot]).await;
    let created = row.and_then(|row| row.try_get(0));
    created.map_err(failed("create the replication slot"))
}

/// Lets the server write down which transactions are running. Until it does, by itself
/// every 15 s at best, the slot cannot let go of the WAL that it has read. Waits for
/// open transactions: the session should have a statement timeout.
pub async fn log_running_transactions(client: &Client) -> Result<(), ReplicationError> {
    let query = include_str!("../../sql/queries/replication/log_running_transactions.sql");
    let name = format!("walhook_point_{}", uuid::Uuid::now_v7().simple());
    let done = client.execute(query, &[&name]).await;
    done.map(|_| ())
        .map_err(failed("log which transactions are running"))
}

/// Advances the slot to this position, or to the present, and returns where it is then.
pub async fn advance(
    client: &Client,
    slot: &str,
    to: Option<Lsn>,
) -> Result<Lsn, ReplicationError> {
    let query = include_str!("../../sql/queries/replication/advance_slot.sql");
    let row = client.query_one(query, &[&slot, &to]).await;
    let advanced = row.and_then(|row| row.try_get(0));
    advanced.map_err(failed("advance the replication slot"))
}

/// Drops the slot, and with it the server's promise to keep the WAL.
pub async fn drop(client: &Client, slot: &str) -> Result<(), ReplicationError> {
    let query = include_str!("../../sql/queries/replication/drop_slot.sql");
    let done = client.execute(query, &[&slot]).await;
    done.map(|_| ())
        .map_err(failed("drop the replication slot"))
}

/// The system over plain SQL. Its history is left empty: ask
/// [`identify`](super::identify) where that matters.
pub async fn identify_system(client: &Client) -> Result<SystemIdentity, ReplicationError> {
    let query = include_str!("../../sql/queries/replication/identify_system.sql");
    let row = client.query_one(query, &[]).await;
    let row = row.map_err(failed("identify the system"))?;
    let read = || {
        let identifier: String = row.try_get(0)?;
        let version: i32 = row.try_get(4)?;
        Ok((
            identifier,
            row.try_get(1)?,
            row.try_get(2)?,
            row.try_get(3)?,
            version,
        ))
    };
    let (identifier, timeline, flushed_lsn, dbname, version) =
        read().map_err(failed("identify the system"))?;
    Ok(SystemIdentity {
        // A bigint in SQL, unsigned in the protocol and in the control file.
        system_identifier: identifier.parse::<i64>().unwrap_or(0).cast_unsigned(),
        timeline,
        flushed_lsn,
        dbname,
        major_version: version.unsigned_abs() / 10_000,
        history: Vec::new(),
    })
}

/// Where the next record of the WAL will stand: every transaction that commits
/// from now on commits at or after it.
pub async fn current_wal_insert_lsn(client: &Client) -> Result<Lsn, ReplicationError> {
    let query = include_str!("../../sql/queries/replication/current_wal_insert_lsn.sql");
    let row = client.query_one(query, &[]).await;
    let position = row.and_then(|row| row.try_get(0));
    position.map_err(failed("read the WAL's position"))
}

fn failed(doing: &'static str) -> impl FnOnce(tokio_postgres::Error) -> ReplicationError {
    move |source| ReplicationError::Query { doing, source }
}
