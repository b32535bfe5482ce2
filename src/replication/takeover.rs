//! Takes the slot: what is asked before START_REPLICATION, and what a refusal means.

use std::time::Duration;

use super::connection::{Connection, Row, unexpected};
use super::error::ReplicationError;
use super::slot::{LIST_SLOTS, PLUGIN, SlotState};
use super::system::{self, SystemIdentity};
use crate::conninfo::ConnInfo;
use crate::duration::milliseconds;
use crate::lsn::Lsn;

const LIST_PUBLICATIONS: &str = include_str!("../../sql/queries/replication/list_publications.sql");

/// The server hears from us at least this often, as from PostgreSQL's own
/// receiver (wal_receiver_status_interval); three times per timeout if that is less.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);

/// Which slot to take, and what to stream from it.
pub(super) struct Command {
    pub(super) slot: String,
    /// The slot is made for this session and ends with it.
    pub(super) temporary: bool,
    pub(super) publication: String,
    pub(super) receive_timeout: Duration,
    /// Bytes of a message above which its large values are passed over.
    pub(super) max_row: usize,
}

/// A connection in CopyBoth, which holds the slot.
pub(super) struct Taken {
    pub(super) connection: Connection,
    pub(super) system: SystemIdentity,
    /// How often the server must hear from us.
    pub(super) status_interval: Duration,
}

pub(super) fn take(conninfo: &ConnInfo, command: &Command) -> Result<Taken, ReplicationError> {
    let mut connection = Connection::open(conninfo)?;
    let system = system::identify(&mut connection)?;
    let timeout = sender_timeout(&mut connection, command.receive_timeout)?;
    take_any_bytes(&mut connection)?;
    find_publication(&mut connection, &command.publication)?;
    if command.temporary {
        connection.query(&create_temporary_slot(&command.slot))?;
    }
    connection.hold_at_most(command.max_row);
    let start = start_replication(command, connection.major_version());
    if let Err(error) = connection.start_copy(&start) {
        return Err(explain(&mut connection, &command.slot, &system, error));
    }
    Ok(Taken {
        connection,
        system,
        status_interval: STATUS_INTERVAL.min(timeout / 3),
    })
}

/// After how much silence the server ends the session. A connection can fall silent for both
/// sides: the server must free the slot as early as we ask for it again.
fn sender_timeout(
    connection: &mut Connection,
    receive_timeout: Duration,
) -> Result<Duration, ReplicationError> {
    let shown = connection.show("wal_sender_timeout")?;
    let timeout = read_timeout(&shown)?;
    if !timeout.is_zero() && timeout <= receive_timeout {
        return Ok(timeout);
    }
    let set = milliseconds(receive_timeout);
    connection.query(&format!("SET wal_sender_timeout = '{set}'"))?;
    Ok(receive_timeout)
}

/// Waits for every transaction that is running. The old spelling of NOEXPORT_SNAPSHOT
/// is the one that 14 and later all take.
fn create_temporary_slot(slot: &str) -> String {
    let slot = slot.replace('"', "\"\"");
    format!("CREATE_REPLICATION_SLOT \"{slot}\" TEMPORARY LOGICAL {PLUGIN} NOEXPORT_SNAPSHOT")
}

fn start_replication(command: &Command, major_version: u32) -> String {
    // A list of identifiers inside a string literal.
    let publication = command.publication.replace('"', "\"\"").replace('\'', "''");
    let slot = command.slot.replace('"', "\"\"");
    let messages = if major_version >= 14 {
        ", messages 'true'"
    } else {
        ""
    };
    format!(
        "START_REPLICATION SLOT \"{slot}\" LOGICAL 0/0 (proto_version '1', publication_names '\"{publication}\"'{messages})"
    )
}

/// `wal_sender_timeout` as SHOW writes it: `1min`, `1500ms`, `0`.
fn read_timeout(shown: &str) -> Result<Duration, ReplicationError> {
    let digits = shown.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = shown.split_at(digits);
    let milliseconds = match unit.trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(unexpected("SHOW wal_sender_timeout")),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| unexpected("SHOW wal_sender_timeout"))?;
    Ok(Duration::from_millis(number.saturating_mul(milliseconds)))
}

/// A database in SQL_ASCII takes any bytes. Asked for UTF-8, the server refuses to send
/// a value that is none (22021), and the slot stands at that row for ever; unconverted,
/// the value arrives, and only its change is parked.
fn take_any_bytes(connection: &mut Connection) -> Result<(), ReplicationError> {
    if connection.show("server_encoding")? == "SQL_ASCII" {
        connection.query("SET client_encoding = 'SQL_ASCII'")?;
    }
    Ok(())
}

/// Fails early where the publication is missing now; one that is missing further
/// back in the WAL only the stream can tell.
fn find_publication(connection: &mut Connection, name: &str) -> Result<(), ReplicationError> {
    let rows = connection.query(LIST_PUBLICATIONS)?;
    let found = rows
        .iter()
        .any(|row| matches!(row.first(), Some(Some(found)) if *found == name.as_bytes()));
    if found {
        return Ok(());
    }
    Err(ReplicationError::PublicationMissing {
        publication: name.to_owned(),
        message: "it is not in pg_publication".to_owned(),
        position: None,
    })
}

/// Says what the slot's state makes of a refused START_REPLICATION. Decided by
/// SQLSTATE and catalog: the texts differ by version and language.
fn explain(
    connection: &mut Connection,
    slot: &str,
    system: &SystemIdentity,
    error: ReplicationError,
) -> ReplicationError {
    let ReplicationError::Server { sqlstate, .. } = &error else {
        return error;
    };
    let slot = slot.to_owned();
    match sqlstate.as_str() {
        "42704" => ReplicationError::SlotMissing { slot },
        "55006" => match look_up(connection, &slot).ok().flatten() {
            Some(state) if state.synced && is_standby(connection) => {
                ReplicationError::SlotSynchronized { slot }
            }
            state => {
                let pid = state.and_then(|state| state.active_pid);
                ReplicationError::SlotActive { slot, pid }
            }
        },
        "55000" => match look_up(connection, &slot) {
            Ok(Some(state)) if state.synced && state.lost().is_none() => {
                ReplicationError::SlotSynchronized { slot }
            }
            Ok(Some(state)) => unusable(slot, &state, system).unwrap_or(error),
            Ok(None) => ReplicationError::SlotMissing { slot },
            Err(_) => error,
        },
        _ => error,
    }
}

fn is_standby(connection: &mut Connection) -> bool {
    connection
        .show("in_hot_standby")
        .is_ok_and(|value| value == "on")
}

fn unusable(slot: String, state: &SlotState, system: &SystemIdentity) -> Option<ReplicationError> {
    if let Some(reason) = state.lost() {
        return Some(ReplicationError::SlotLost {
            slot,
            reason,
            confirmed: state.confirmed_flush_lsn.unwrap_or(Lsn::ZERO),
        });
    }
    let fault = match (&state.plugin, &state.database) {
        (None, _) => "is a physical slot".to_owned(),
        (Some(plugin), _) if plugin != PLUGIN => format!("decodes with `{plugin}`"),
        (_, Some(database)) if *database != system.dbname => {
            format!("belongs to database `{database}`, not `{}`", system.dbname)
        }
        _ => return None,
    };
    Some(ReplicationError::SlotUnusable { slot, fault })
}

fn look_up(connection: &mut Connection, slot: &str) -> Result<Option<SlotState>, ReplicationError> {
    let rows = connection.query(LIST_SLOTS)?;
    let text = |row: &Row, index: usize| {
        let value = row.get(index)?.as_ref()?;
        std::str::from_utf8(value).ok().map(str::to_owned)
    };
    let row = rows
        .iter()
        .find(|row| text(row, 0).as_deref() == Some(slot));
    Ok(row.map(|row| {
        SlotState::read(|index| {
            row.get(index)?
                .as_deref()
                .and_then(|v| std::str::from_utf8(v).ok())
        })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_unit_of_a_timeout() {
        let timeout = |text| read_timeout(text).ok();
        let seconds = |s| Some(Duration::from_secs(s));
        assert_eq!(timeout("1min"), seconds(60));
        assert_eq!(timeout("15s"), seconds(15));
        assert_eq!(timeout("1500ms"), Some(Duration::from_millis(1500)));
        assert_eq!(timeout("2h"), seconds(7200));
        assert_eq!(timeout("0"), seconds(0));
        assert_eq!(timeout("soon"), None);
    }

    #[test]
    fn names_are_quoted_for_the_server() {
        let command = Command {
            slot: "walhook".to_owned(),
            temporary: false,
            publication: "it's \"ours\"".to_owned(),
            receive_timeout: Duration::ZERO,
            max_row: 0,
        };
        assert_eq!(
            start_replication(&command, 15),
            r#"START_REPLICATION SLOT "walhook" LOGICAL 0/0 (proto_version '1', publication_names '"it''s ""ours"""', messages 'true')"#
        );
    }
}
