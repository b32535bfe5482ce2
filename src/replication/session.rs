//! The receiver's thread: takes the slot, reads and decodes, and keeps the server
//! informed whatever the pipeline does.

use std::thread;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use tokio::sync::oneshot;
use tracing::{debug, warn};

use super::connection::{Connection, Fields, fields, parse, server_error, unexpected};
use super::copy_data::{CopyMessage, Frame, status_update};
use super::error::ReplicationError;
use super::queue::Queue;
use super::receiver::panicked;
use super::slot::{LIST_SLOTS, PLUGIN, SlotState};
use super::socket::TICK;
use super::system::{self, SystemIdentity};
use crate::conninfo::ConnInfo;
use crate::lsn::Lsn;
use crate::pgoutput::{Decoder, Operation, StreamEvent};

const LIST_PUBLICATIONS: &str = include_str!("../../sql/queries/list_publications.sql");

/// The server hears from us at least this often, as from PostgreSQL's own
/// receiver (wal_receiver_status_interval); three times per timeout if that is less.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);

/// Progress is reported at most this often: a pipeline that commits a thousand
/// times a second need not cost a system call on both sides each time.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(20);

/// How long the server may take to end the stream when we ask it to.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The walsender sends each row by itself. While rows come this densely it pays
/// to let some gather: 1.3 µs of CPU a row instead of 5.7, on the server too.
const COALESCE: Duration = Duration::from_micros(200);
const HOT_BYTES: usize = 1024;
const HOT_WINDOW: Duration = Duration::from_millis(1);

/// Decoded events are handed over at least this often in bytes.
const HAND_OVER: usize = 128 * 1024;

pub(super) struct Command {
    pub(super) slot: String,
    pub(super) publication: String,
    pub(super) receive_timeout: Duration,
}

/// The thread's whole life.
pub(super) fn run(
    conninfo: &ConnInfo,
    command: Command,
    queue: &Queue,
    ready: oneshot::Sender<Result<SystemIdentity, ReplicationError>>,
) {
    let mut session = match Session::start(conninfo, command, queue) {
        Ok((session, system)) => {
            if ready.send(Ok(system)).is_err() {
                queue.stop();
            }
            session
        }
        Err(error) => {
            // Nobody waits any more: nothing to tell.
            let _ = ready.send(Err(error));
            return;
        }
    };
    // A panic must not leave the pipeline waiting for ever.
    let _guard = EndOnDrop(queue);
    let end = match session.stream() {
        Ok(()) => session.close(),
        Err(error) => Err(error),
    };
    let position = queue.received();
    queue.finish(end.err().unwrap_or(ReplicationError::Closed { position }));
}

struct EndOnDrop<'a>(&'a Queue);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.finish(panicked());
    }
}

struct Session<'a> {
    connection: Connection,
    command: Command,
    queue: &'a Queue,
    decoder: Decoder,
    status_interval: Duration,
    reported: Lsn,
    reported_at: Instant,
    heard_at: Instant,
    /// A sign of life was asked for since `heard_at`.
    asked: bool,
    pace: Pace,
    out: BytesMut,
}

/// Events on their way to the queue and the memory that they hold.
#[derive(Default)]
struct Pending {
    events: Vec<StreamEvent>,
    bytes: usize,
}

impl<'a> Session<'a> {
    fn start(
        conninfo: &ConnInfo,
        command: Command,
        queue: &'a Queue,
    ) -> Result<(Self, SystemIdentity), ReplicationError> {
        let mut connection = Connection::open(conninfo)?;
        let system = system::identify(&mut connection)?;
        let timeout = connection.show("wal_sender_timeout")?;
        let status_interval = status_interval(&timeout)?;
        find_publication(&mut connection, &command.publication)?;
        let start = start_replication(&command, connection.major_version());
        if let Err(error) = connection.start_copy(&start) {
            return Err(explain(&mut connection, &command.slot, &system, error));
        }
        let now = Instant::now();
        let session = Session {
            connection,
            command,
            queue,
            decoder: Decoder::new(),
            status_interval,
            reported: Lsn::ZERO,
            reported_at: now,
            heard_at: now,
            asked: false,
            pace: Pace::new(now),
            out: BytesMut::new(),
        };
        Ok((session, system))
    }

    /// Streams until told to stop (`Ok`) or until something fails.
    fn stream(&mut self) -> Result<(), ReplicationError> {
        while !self.queue.is_stopping() {
            self.report_if_due()?;
            let Some(read) = self.connection.read()? else {
                self.check_silence()?;
                continue;
            };
            let now = Instant::now();
            self.heard_at = now;
            self.asked = false;
            let hot = self.pace.is_hot(now, read.bytes);
            let mut pending = Pending::default();
            let handled = self.handle_frames(&mut pending);
            // What came before a failure is good.
            self.hand_over(&mut pending)?;
            handled?;
            if hot && read.drained {
                thread::sleep(COALESCE);
            }
        }
        Ok(())
    }

    fn handle_frames(&mut self, pending: &mut Pending) -> Result<(), ReplicationError> {
        while let Some(frame) = self.connection.next_frame()? {
            self.handle(&frame, pending)?;
            if pending.bytes >= HAND_OVER {
                self.hand_over(pending)?;
            }
        }
        Ok(())
    }

    fn handle(&mut self, frame: &Frame, pending: &mut Pending) -> Result<(), ReplicationError> {
        match frame.tag() {
            b'd' => self.handle_copy_data(frame, pending),
            b'E' => Err(self.stream_error(server_error(frame))),
            b'N' => self.handle_notice(frame),
            b'S' => Ok(()),
            // CopyDone, CommandComplete: the server shuts down, all sent.
            b'c' | b'C' | b'Z' => Err(ReplicationError::Closed {
                position: self.queue.received(),
            }),
            _ => Err(unexpected("the stream")),
        }
    }

    fn handle_copy_data(
        &mut self,
        frame: &Frame,
        pending: &mut Pending,
    ) -> Result<(), ReplicationError> {
        match CopyMessage::parse(frame.body()).map_err(ReplicationError::Protocol)? {
            CopyMessage::XLogData { wal_start, payload } => {
                let before = pending.events.len();
                let bytes = payload.len();
                self.decoder.decode(wal_start, payload, &mut pending.events);
                let new = &pending.events[before..];
                pending.bytes += bytes + new.iter().map(overhead).sum::<usize>();
                match new.last() {
                    Some(StreamEvent::Undecodable { lsn, error, .. }) if error.is_fatal() => {
                        Err(ReplicationError::Protocol(format!(
                            "the stream cannot be followed behind {lsn}: {error}"
                        )))
                    }
                    _ => Ok(()),
                }
            }
            CopyMessage::Keepalive {
                wal_end,
                reply_requested,
            } => {
                pending.events.push(StreamEvent::Keepalive { wal_end });
                pending.bytes += size_of::<StreamEvent>();
                if reply_requested {
                    self.report(false)?;
                }
                Ok(())
            }
        }
    }

    /// PostgreSQL 18 passes a missing publication over with a warning and leaves
    /// its rows out; names are not translated, so that ours is found in any language.
    fn handle_notice(&mut self, frame: &Frame) -> Result<(), ReplicationError> {
        let Message::NoticeResponse(body) = parse(frame)? else {
            return Ok(());
        };
        let Fields { sqlstate, message } = fields(body.fields());
        let publication = format!("\"{}\"", self.command.publication);
        if sqlstate == "55000" && message.contains(&publication) {
            return Err(self.publication_missing(message));
        }
        warn!(%sqlstate, "PostgreSQL says: {message}");
        Ok(())
    }

    fn publication_missing(&self, message: String) -> ReplicationError {
        ReplicationError::PublicationMissing {
            publication: self.command.publication.clone(),
            message,
            position: Some(self.queue.received()),
        }
    }

    fn stream_error(&self, error: ReplicationError) -> ReplicationError {
        match error {
            // Undefined object: the slot exists, since we hold it.
            ReplicationError::Server {
                sqlstate, message, ..
            } if sqlstate == "42704" => self.publication_missing(message),
            ReplicationError::Server {
                sqlstate, message, ..
            } => ReplicationError::Server {
                sqlstate,
                message,
                position: Some(self.queue.received()),
            },
            other => other,
        }
    }

    /// Waits for room in the queue. The server is not read meanwhile, but hears
    /// from us: silence would cost the session.
    fn hand_over(&mut self, pending: &mut Pending) -> Result<(), ReplicationError> {
        if pending.events.is_empty() {
            return Ok(());
        }
        while !self.queue.offer(&mut pending.events, pending.bytes, TICK) {
            if self.queue.is_stopping() {
                // Not acknowledged, so it comes again.
                pending.events.clear();
                break;
            }
            self.report_if_due()?;
            // It is us who do not listen.
            self.heard_at = Instant::now();
        }
        pending.bytes = 0;
        Ok(())
    }

    fn report_if_due(&mut self) -> Result<(), ReplicationError> {
        let since = self.reported_at.elapsed();
        let progress = self.queue.acknowledged() > self.reported;
        if since >= self.status_interval || (progress && since >= PROGRESS_INTERVAL) {
            self.report(false)?;
        }
        Ok(())
    }

    /// Never says more than was acknowledged.
    fn report(&mut self, reply_requested: bool) -> Result<(), ReplicationError> {
        let acknowledged = self.queue.acknowledged();
        self.out.clear();
        status_update(acknowledged, reply_requested, &mut self.out);
        self.connection.send(&self.out)?;
        self.reported = acknowledged;
        self.reported_at = Instant::now();
        Ok(())
    }

    fn check_silence(&mut self) -> Result<(), ReplicationError> {
        let limit = self.command.receive_timeout;
        let silence = self.heard_at.elapsed();
        if silence >= limit {
            let doing = "silence of the server's";
            return Err(ReplicationError::Timeout { doing, limit });
        }
        if silence >= limit / 2 && !self.asked {
            self.asked = true;
            self.report(true)?;
        }
        Ok(())
    }

    /// Says the last position and ends the stream in order.
    fn close(&mut self) -> Result<(), ReplicationError> {
        self.report(false)?;
        self.connection.send_with(|out| {
            frontend::copy_done(out);
            Ok(())
        })?;
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        // Data that was on its way is passed over: it comes again.
        'closing: while Instant::now() < deadline {
            while let Some(frame) = self.connection.next_frame()? {
                if matches!(frame.tag(), b'Z' | b'E') {
                    break 'closing;
                }
            }
            self.connection.read()?;
        }
        debug!(acknowledged = %self.reported, "ended the stream");
        self.connection.send_with(|out| {
            frontend::terminate(out);
            Ok(())
        })
    }
}

/// Whether rows come densely enough to let them gather.
struct Pace {
    since: Instant,
    bytes: usize,
    hot: bool,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Pace {
            since: now,
            bytes: 0,
            hot: false,
        }
    }

    fn is_hot(&mut self, now: Instant, bytes: usize) -> bool {
        let window = now.saturating_duration_since(self.since);
        if window >= HOT_WINDOW {
            // Judged as a rate: a long pause makes cold whatever came before it.
            let windows = window.as_secs_f64() / HOT_WINDOW.as_secs_f64();
            self.hot = self.bytes as f64 / windows >= HOT_BYTES as f64;
            self.since = now;
            self.bytes = 0;
        }
        self.bytes += bytes;
        self.hot
    }
}

/// Memory of an event beyond the bytes of its message.
fn overhead(event: &StreamEvent) -> usize {
    let values = match event {
        StreamEvent::Change(change) => match &change.operation {
            Operation::Insert { new } | Operation::Update { old: None, new } => new.len(),
            Operation::Update { old: Some(_), new } => 2 * new.len(),
            Operation::Delete { .. } => change.relation.columns.len(),
            Operation::Truncate => 0,
        },
        _ => 0,
    };
    size_of::<StreamEvent>() + values * size_of::<crate::pgoutput::TupleValue>()
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

/// A third of `wal_sender_timeout` as SHOW writes it (`1min`, `1500ms`, `0`), at
/// most [`STATUS_INTERVAL`].
fn status_interval(timeout: &str) -> Result<Duration, ReplicationError> {
    let digits = timeout.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = timeout.split_at(digits);
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
    Ok(
        match Duration::from_millis(number.saturating_mul(milliseconds)) {
            Duration::ZERO => STATUS_INTERVAL,
            timeout => STATUS_INTERVAL.min(timeout / 3),
        },
    )
}

/// Fails early where the publication is missing now; one that is missing further
/// back in the log only the stream can tell.
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
        "55006" => {
            let state = look_up(connection, &slot).ok().flatten();
            let pid = state.and_then(|state| state.active_pid);
            ReplicationError::SlotActive { slot, pid }
        }
        "55000" => match look_up(connection, &slot) {
            Ok(Some(state)) => unusable(slot, &state, system).unwrap_or(error),
            Ok(None) => ReplicationError::SlotMissing { slot },
            Err(_) => error,
        },
        _ => error,
    }
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
    let text = |row: &super::connection::Row, index: usize| {
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
        let interval = |text| status_interval(text).ok();
        let seconds = |s| Some(Duration::from_secs(s));
        assert_eq!(interval("1min"), seconds(10));
        assert_eq!(interval("15s"), seconds(5));
        assert_eq!(interval("1500ms"), Some(Duration::from_millis(500)));
        assert_eq!(interval("2h"), seconds(10));
        assert_eq!(interval("0"), seconds(10));
        assert_eq!(interval("soon"), None);
    }

    #[test]
    fn names_are_quoted_for_the_server() {
        let command = Command {
            slot: "walhook".to_owned(),
            publication: "it's \"ours\"".to_owned(),
            receive_timeout: Duration::ZERO,
        };
        assert_eq!(
            start_replication(&command, 15),
            r#"START_REPLICATION SLOT "walhook" LOGICAL 0/0 (proto_version '1', publication_names '"it''s ""ours"""', messages 'true')"#
        );
    }

    #[test]
    fn dense_rows_are_hot_and_a_trickle_is_not() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let at = |micros| start + Duration::from_micros(micros);
        let dense = (1..100).map(|n| pace.is_hot(at(n * 10), 400)).last();
        assert_eq!(dense, Some(false), "the first window is not over");
        assert!(pace.is_hot(at(1_100), 400));
        assert!(!pace.is_hot(at(900_000), 400), "a pause cools");
        let trickle = (1..100).map(|n| pace.is_hot(at(900_000 + n * 1_000), 400));
        assert!(!trickle.fold(false, |any, hot| any | hot));
    }
}
