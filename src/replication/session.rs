//! The receiver's thread: takes the slot, reads and decodes, and keeps the server
//! informed whatever the pipeline does.

use std::thread;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use tokio::sync::oneshot;
use tracing::warn;

use super::connection::{Connection, Fields, fields, parse, server_error, unexpected};
use super::copy_data::{CopyMessage, Frame, status_update};
use super::error::ReplicationError;
use super::queue::Queue;
use super::receiver::panicked;
use super::socket::TICK;
use super::system::SystemIdentity;
use super::takeover::{Command, Taken, take};
use crate::conninfo::ConnInfo;
use crate::lsn::Lsn;
use crate::pgoutput::{Decoder, Operation, StreamEvent};

/// Progress is reported at most this often: a pipeline that commits a thousand
/// times a second need not cost a system call on both sides each time.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(20);

/// How long the server may take to end the stream when we ask it to.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The walsender sends each row by itself. While rows come this densely it pays
/// to let some gather: 1.3 µs of CPU a row instead of 5.7, on the server too.
const COALESCE: Duration = Duration::from_micros(500);
const HOT_BYTES: usize = 1024;
const HOT_WINDOW: Duration = Duration::from_millis(1);

/// Decoded events are handed over at least this often in bytes.
const HAND_OVER: usize = 128 * 1024;

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
    /// A reply was asked for since `heard_at`.
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
        let Taken {
            connection,
            system,
            status_interval,
        } = take(conninfo, &command)?;
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
        // The first frames may have come in one read with the answer to
        // START_REPLICATION, and nothing more may follow them.
        self.pass_frames_on()?;
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
            self.pass_frames_on()?;
            if hot && read.drained {
                thread::sleep(COALESCE);
            }
        }
        Ok(())
    }

    fn pass_frames_on(&mut self) -> Result<(), ReplicationError> {
        let mut pending = Pending::default();
        let handled = self.handle_frames(&mut pending);
        // What came before a failure is good.
        self.hand_over(&mut pending)?;
        handled
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
                            "the stream cannot be followed after {lsn}: {error}"
                        )))
                    }
                    _ => Ok(()),
                }
            }
            CopyMessage::Keepalive {
                wal_end,
                reply_requested,
            } => {
                pending.events.push(StreamEvent::Keepalive {
                    wal_end,
                    reply_requested,
                });
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
            let doing = "waiting for a reply of PostgreSQL's";
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
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

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
