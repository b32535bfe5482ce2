//! What an error's SQLSTATE says of trying again. The messages say nothing: they differ by
//! version and language.

use std::error::Error;
use std::io;

use super::tls::is_tls_failure;

/// What may become of the same request, made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// It may succeed: the server stops, starts, lacks room or is a standby, or the statement
    /// or the session was ended from outside.
    Passing,
    /// The server failed in itself: at its disk or memory, which passes, or at the data,
    /// which does not.
    Internal,
    /// It does not let us in: the password, the user, the database or `pg_hba.conf` is at
    /// fault.
    Refused,
    /// It fails again until the request, or what it concerns, is changed.
    Lasting,
}

/// Decides by the class, and in one class by the code.
pub fn nature(sqlstate: &str) -> Nature {
    match (sqlstate.get(..2).unwrap_or_default(), sqlstate) {
        // Connection exceptions, serialization failures and deadlocks, insufficient resources
        // (the disk is full among them), and what is wrong outside of PostgreSQL: a disk's
        // error, a file that is not there.
        ("08" | "40" | "53" | "58", _) => Nature::Passing,
        // A statement cancelled, a session ended, a server that stops or starts.
        ("57", _) => Nature::Passing,
        // A transaction that idled or lasted too long, or met a standby.
        ("25", _) => Nature::Passing,
        // An object in use, a lock not to be had; a slot in the wrong state, of which the
        // next start of the stream says more.
        ("55", _) => Nature::Passing,
        ("XX", _) => Nature::Internal,
        ("28" | "3D", _) => Nature::Refused,
        _ => Nature::Lasting,
    }
}

/// That of an error of a SQL session's. One without a SQLSTATE is of the connection, which
/// may be made again, or of the values that we gave or took.
pub fn nature_of(error: &tokio_postgres::Error) -> Nature {
    if let Some(code) = error.code() {
        return nature(code.code());
    }
    // tokio-postgres says which error it is by its text alone.
    let text = error.to_string();
    let is = |starts: &[&str]| starts.iter().any(|start| text.starts_with(start));
    let by_network = error.source().is_some_and(|cause| cause.is::<io::Error>());
    let of_tls = is(&["error performing TLS handshake"]) && !by_network;
    if of_tls || is_tls_failure(error) || is(&["authentication error", "invalid configuration"]) {
        return Nature::Refused;
    }
    match is(&["error serializing", "error deserializing", "query returned"]) {
        true => Nature::Lasting,
        false => Nature::Passing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nature_of_each_state_is_known() {
        for (states, expected) in [
            // Ended from outside or by a limit of time.
            (
                &["57014", "57P01", "57P05", "25P03", "25P04"][..],
                Nature::Passing,
            ),
            // The server stops, starts, or has crashed.
            (&["57P02", "57P03", "08006", "08P01"], Nature::Passing),
            // No room: connections, memory, disk.
            (&["53300", "53200", "53100", "53000"], Nature::Passing),
            // The server's disk.
            (&["58000", "58030", "58P01"], Nature::Passing),
            (
                &["40001", "40P01", "55006", "55P03", "55000", "25006"],
                Nature::Passing,
            ),
            // "could not write init file" as much as "invalid memory alloc request size".
            (&["XX000", "XX001", "XX002"], Nature::Internal),
            (&["28000", "28P01", "3D000"], Nature::Refused),
            // An undefined publication, a value that has no place in the encoding, too large
            // a row, a statement that does not fit the schema.
            (
                &[
                    "42704", "22021", "22P05", "54000", "42P01", "42601", "42501", "23505",
                    "0A000", "",
                ],
                Nature::Lasting,
            ),
        ] {
            for state in states {
                assert_eq!(nature(state), expected, "{state}");
            }
        }
    }
}
