//! What each connection to a database is for, and with which settings its session begins.

use std::time::Duration;

use crate::duration::milliseconds;

/// Why a connection exists. It names the session in `pg_stat_activity`, and decides its
/// settings and how long its statements may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Of the store: writes events, deliveries, results and progress.
    Enqueuer,
    /// … reads subscriptions beside the enqueuer, which waits for the disk.
    Reader,
    /// … writes results of attempts.
    Recorder,
    /// … claims deliveries that are due.
    Claims,
    /// … heartbeats and fencing: what decides whether this instance is alive.
    Membership,
    /// … hears what other instances announce.
    Listen,
    /// … requests of tenants and operators.
    Api,
    /// … retention, leases and whatever else may wait.
    Housekeeping,
    /// Of the source: the walsender that streams the slot.
    Capture,
    /// … looks at the slot, the publication and its tables.
    Watch,
    /// … looks for tables whose publication harms the application.
    HarmWatch,
    /// … reads rows for the shadow.
    Seed,
    /// … reads rows that are to become events.
    Backfill,
    /// … writes messages that move a quiet slot.
    Heartbeat,
    /// … reads the catalog for rules that were changed.
    Reload,
    /// Of either, by the command of this name, which only looks.
    Inspection(&'static str),
    /// … by the command of this name, which writes.
    Command(&'static str),
    /// Plays the application, in the demo and in tests: the session is left as the server
    /// makes it.
    Application,
}

/// Statements of one session are few and short: one that takes longer has met a lock, a
/// dead disk or a dead network, and its task begins again.
const STATEMENT: Duration = Duration::from_secs(15);
/// A silent instance is fenced after 6 s: a heartbeat that takes longer is none.
const MEMBERSHIP_STATEMENT: Duration = Duration::from_secs(3);
/// Below `api.request_timeout`, so that no statement outlives its request for long.
const API_STATEMENT: Duration = Duration::from_secs(20);
/// A watch looks again every few seconds.
const WATCH_STATEMENT: Duration = Duration::from_secs(4);
/// A table of ten thousand partitions takes the server some tenths of a second. A connection
/// that falls silent is replaced before it counts as a fault of the node.
const HARM_STATEMENT: Duration = Duration::from_secs(8);
/// One chunk of a table, the search for rows that a condition admits included.
const CHUNK_STATEMENT: Duration = Duration::from_secs(600);
/// The operator watches a command and can end it.
const COMMAND_STATEMENT: Duration = Duration::from_secs(60);

/// How much later than the server's own limit an answer may come: the way there and back.
pub(super) const GRACE: Duration = Duration::from_secs(3);

/// A transaction of ours waits for nothing but the database: a session that is idle in one
/// for this long belongs to a process that was frozen, and must not keep its locks.
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(5);

impl Purpose {
    /// The session's `application_name`.
    pub fn application_name(self) -> String {
        let name = match self {
            Purpose::Enqueuer => "enqueuer",
            Purpose::Reader => "reader",
            Purpose::Recorder => "recorder",
            Purpose::Claims => "claims",
            Purpose::Membership => "membership",
            Purpose::Listen => "listen",
            Purpose::Api => "api",
            Purpose::Housekeeping => "housekeeping",
            Purpose::Capture => "capture",
            Purpose::Watch => "watch",
            Purpose::HarmWatch => "harm watch",
            Purpose::Seed => "seed",
            Purpose::Backfill => "backfill",
            Purpose::Heartbeat => "heartbeat",
            Purpose::Reload => "reload",
            Purpose::Inspection(name) | Purpose::Command(name) => name,
            Purpose::Application => return "sample application".to_owned(),
        };
        format!("walhook {name}")
    }

    /// The server's limit for a statement; `None`: as the server has it.
    pub fn statement_timeout(self) -> Option<Duration> {
        Some(match self {
            Purpose::Enqueuer
            | Purpose::Reader
            | Purpose::Recorder
            | Purpose::Claims
            | Purpose::Listen
            | Purpose::Housekeeping
            | Purpose::Heartbeat
            | Purpose::Reload => STATEMENT,
            Purpose::Membership => MEMBERSHIP_STATEMENT,
            Purpose::Api => API_STATEMENT,
            Purpose::Watch => WATCH_STATEMENT,
            Purpose::HarmWatch => HARM_STATEMENT,
            Purpose::Seed | Purpose::Backfill => CHUNK_STATEMENT,
            Purpose::Inspection(_) | Purpose::Command(_) => COMMAND_STATEMENT,
            // The walsender's one statement lasts as long as the stream.
            Purpose::Capture => Duration::ZERO,
            Purpose::Application => return None,
        })
    }

    /// Whether a node whose connection is not answered is taken out of service for it. Not
    /// for one that reads rows which exist: what streams goes on.
    pub fn affects_readiness(self) -> bool {
        match self {
            Purpose::Seed | Purpose::Backfill => false,
            Purpose::Enqueuer
            | Purpose::Reader
            | Purpose::Recorder
            | Purpose::Claims
            | Purpose::Membership
            | Purpose::Listen
            | Purpose::Api
            | Purpose::Housekeeping
            | Purpose::Capture
            | Purpose::Watch
            | Purpose::HarmWatch
            | Purpose::Heartbeat
            | Purpose::Reload
            | Purpose::Inspection(_)
            | Purpose::Command(_)
            | Purpose::Application => true,
        }
    }

    /// How long an answer may take before the connection counts as dead. Later than the
    /// server's own limit, so that only a silent connection meets it.
    pub fn deadline(self) -> Duration {
        match self.statement_timeout() {
            Some(limit) if !limit.is_zero() => limit + GRACE,
            Some(_) | None => CHUNK_STATEMENT + GRACE,
        }
    }

    /// The settings that the session begins with, whatever role, database and server say.
    /// They travel in the startup packet: no statement runs without them.
    ///
    /// The search path is empty on the source, as PostgreSQL's own subscriber and `pg_dump`
    /// have it: an operator or function of a schema that others may write to would be
    /// preferred to that of `pg_catalog` where it fits better, and would run as us.
    /// `store`: the schema of ours that the session works in, instead.
    pub fn settings(self, store: Option<&str>) -> Vec<(&'static str, String)> {
        let Some(statement_timeout) = self.statement_timeout() else {
            return Vec::new();
        };
        let mut settings = text_format();
        let mut set = |name, value: &str| settings.push((name, value.to_owned()));
        set("statement_timeout", &milliseconds(statement_timeout));
        set("lock_timeout", "0");
        set("idle_session_timeout", "0");
        // A read that hides rows is an error where rows are the application's, and the
        // tenants' separation where they are ours.
        match store {
            Some(schema) => {
                set("search_path", &quote_identifier(schema));
                set("row_security", "on");
                set(
                    "idle_in_transaction_session_timeout",
                    &milliseconds(IDLE_IN_TRANSACTION),
                );
                // Every statement reads few rows by their keys, from tables that have just
                // been filled and are not analysed yet: an estimate must never turn one
                // into a scan of a day's partition. Nor into a walk of a whole index, which
                // no setting turns off: where a partition was analysed before its first
                // rows were committed, the planner takes it for empty, and walks it rather
                // than looking up each of the keys that another table gives. So rows are
                // joined by `id = any (array[other.id])`, of which it knows no order and no
                // equality: it can only look them up.
                for planner in ["enable_seqscan", "enable_hashjoin", "enable_mergejoin"] {
                    set(planner, "off");
                }
            }
            None => {
                set("search_path", "");
                set("row_security", "off");
                set("idle_in_transaction_session_timeout", "0");
            }
        }
        set("jit", "off");
        set("default_transaction_isolation", "read committed");
        set("default_transaction_deferrable", "off");
        set("default_transaction_read_only", "off");
        settings
    }
}

/// What cannot be in the startup packet: a setting that older servers do not know, one that
/// depends on the server's own, and one that would make a primary look like a standby to
/// `target_session_attrs`.
pub(super) fn late_settings(purpose: Purpose, major_version: u32, of_store: bool) -> String {
    let mut settings = String::new();
    if major_version >= 17 {
        settings.push_str("set transaction_timeout = 0; ");
    }
    let only_looks = matches!(
        purpose,
        Purpose::Watch | Purpose::HarmWatch | Purpose::Inspection(_)
    );
    if only_looks {
        settings.push_str("set default_transaction_read_only = on; ");
    }
    if of_store {
        // What is acknowledged to the slot must be on the disk, whatever the default is; a
        // stricter one, which waits for standbys too, stays.
        settings.push_str(
            "select pg_catalog.set_config('synchronous_commit', 'on', false) \
             where pg_catalog.current_setting('synchronous_commit') = 'off'",
        );
    }
    settings
}

/// How the server writes and reads values: as PostgreSQL's own subscriber sets it
/// (libpqwalreceiver.c), with UTC and hex on top. One text for what the WAL and what a
/// query brings.
fn text_format() -> Vec<(&'static str, String)> {
    [
        ("datestyle", "ISO"),
        ("intervalstyle", "postgres"),
        ("extra_float_digits", "3"),
        ("timezone", "UTC"),
        ("bytea_output", "hex"),
        ("standard_conforming_strings", "on"),
        ("quote_all_identifiers", "off"),
        ("transform_null_equals", "off"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .into()
}

/// Quotes a name for SQL, whatever it holds.
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The settings as the startup packet's `options` take them: `-c name=value`, with a
/// backslash before white space and backslashes (PostgreSQL's `pg_split_opts`).
pub(super) fn as_options(settings: &[(&'static str, String)]) -> String {
    let mut options = String::new();
    for (name, value) in settings {
        options.push_str(" -c ");
        options.push_str(name);
        options.push('=');
        for character in value.chars() {
            if character == '\\' || character.is_ascii_whitespace() {
                options.push('\\');
            }
            options.push(character);
        }
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_keep_what_a_schema_is_called() {
        let settings = [("search_path", quote_identifier(r#"we"i\rd name"#))];
        assert_eq!(
            as_options(&settings),
            r#" -c search_path="we""i\\rd\ name""#
        );
        assert_eq!(
            as_options(&[("search_path", String::new())]),
            " -c search_path="
        );
    }
}
