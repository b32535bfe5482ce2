//! A walsender connection up to START_REPLICATION: startup, commands, errors.
//! Blocking; lives on the receiver's thread.

use std::io;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::{DataRowBody, ErrorFields, Message};
use postgres_protocol::message::frontend;
use tokio_postgres::config::TargetSessionAttrs;

use super::authentication::authenticate;
use super::copy_data::{Frame, FrameReader};
use super::error::ReplicationError;
use super::socket::Socket;
use crate::conninfo::{Attempt, ConnInfo, Endpoint, Purpose, major_version};

/// How long the server may take to answer a command. START_REPLICATION reads log
/// from disk before it answers, so this is generous.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A row of a command's answer: text, or null.
pub(super) type Row = Vec<Option<Bytes>>;

pub(super) struct Connection {
    socket: Socket,
    frames: FrameReader,
    /// How long an answer may take.
    patience: Duration,
    /// What the server reported: 15 for `15.18 (Debian …)`.
    major_version: u32,
}

/// How much a read brought.
pub(super) struct Read {
    pub(super) bytes: usize,
    /// Nothing more was waiting.
    pub(super) drained: bool,
}

impl Connection {
    /// Connects to the first server that lets us in.
    pub(super) fn open(conninfo: &ConnInfo) -> Result<Self, ReplicationError> {
        let mut failure = None;
        for endpoint in conninfo.endpoints() {
            match Self::open_endpoint(conninfo, &endpoint).map_err(|e| as_auth(e, conninfo)) {
                Ok(connection) => return Ok(connection),
                // A wrong password is wrong everywhere.
                Err(error @ ReplicationError::Auth { .. }) => return Err(error),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(failure.unwrap_or_else(|| {
            ReplicationError::Protocol("the connection string names no host".to_owned())
        }))
    }

    fn open_endpoint(conninfo: &ConnInfo, endpoint: &Endpoint) -> Result<Self, ReplicationError> {
        let attempts = conninfo.attempts(endpoint);
        let (first, second) = (attempts.first(), attempts.get(1));
        let failed = match Self::open_once(conninfo, endpoint, *first.unwrap_or(&Attempt::Tls)) {
            Ok(connection) => return Ok(connection),
            Err(failed) => failed,
        };
        // pg_hba.conf (28000) may admit with TLS only, or only without it.
        let other_way = match &failed {
            ReplicationError::Tls { .. } => true,
            ReplicationError::Server { sqlstate, .. } => sqlstate == "28000",
            _ => false,
        };
        match second.filter(|_| other_way) {
            // The first failure says more than the second.
            Some(attempt) => Self::open_once(conninfo, endpoint, *attempt).map_err(|_| failed),
            None => Err(failed),
        }
    }

    fn open_once(
        conninfo: &ConnInfo,
        endpoint: &Endpoint,
        attempt: Attempt,
    ) -> Result<Self, ReplicationError> {
        let mut connection = Connection {
            socket: Socket::connect(conninfo, endpoint, attempt)?,
            frames: FrameReader::new(),
            patience: conninfo.connect_timeout,
            major_version: 0,
        };
        let options = conninfo.startup_options(Purpose::Capture, None);
        let name = conninfo.application_name(Purpose::Capture);
        let parameters = [
            ("user", conninfo.user()),
            ("database", conninfo.dbname()),
            ("application_name", &name),
            ("client_encoding", "UTF8"),
            ("replication", "database"),
            ("options", &options),
        ];
        connection.send_with(|out| frontend::startup_message(parameters, out))?;
        authenticate(&mut connection, conninfo)?;
        loop {
            match connection.receive_message()? {
                Message::ReadyForQuery(_) => break,
                Message::BackendKeyData(_) => {}
                _ => return Err(unexpected("startup")),
            }
        }
        connection.patience = ANSWER_TIMEOUT;
        // A role's limit would end the stream inside a large transaction.
        if connection.major_version >= 17 {
            connection.query("SET transaction_timeout = 0")?;
        }
        connection.check_target(conninfo, endpoint)?;
        Ok(connection)
    }

    fn check_target(
        &mut self,
        conninfo: &ConnInfo,
        endpoint: &Endpoint,
    ) -> Result<(), ReplicationError> {
        let wanted = match conninfo.target_session_attrs {
            TargetSessionAttrs::ReadWrite => "off",
            TargetSessionAttrs::ReadOnly => "on",
            _ => return Ok(()),
        };
        if self.show("transaction_read_only")? == wanted {
            return Ok(());
        }
        Err(ReplicationError::Io {
            doing: format!("use {endpoint}: it is not what target_session_attrs asks for"),
            source: io::ErrorKind::Unsupported.into(),
        })
    }

    pub(super) fn major_version(&self) -> u32 {
        self.major_version
    }

    pub(super) fn server_end_point(&self) -> Option<Vec<u8>> {
        self.socket.server_end_point()
    }

    /// A setting's value, as `SHOW` writes it.
    pub(super) fn show(&mut self, setting: &str) -> Result<String, ReplicationError> {
        let rows = self.query(&format!("SHOW {setting}"))?;
        let value = rows.first().and_then(|row| row.first()?.as_ref());
        value
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .ok_or_else(|| unexpected("SHOW"))
    }

    /// Runs a command that returns rows, or none.
    pub(super) fn query(&mut self, command: &str) -> Result<Vec<Row>, ReplicationError> {
        self.send_with(|out| frontend::query(command, out))?;
        let mut rows = Vec::new();
        let mut failure = None;
        loop {
            match self.receive_message() {
                Ok(Message::DataRow(body)) => rows.push(row(&body)?),
                Ok(Message::ReadyForQuery(_)) => return failure.map_or(Ok(rows), Err),
                Ok(Message::RowDescription(_) | Message::CommandComplete(_)) => {}
                Ok(_) => return Err(unexpected("a command")),
                // Read on to ReadyForQuery: the connection stays usable.
                Err(error @ ReplicationError::Server { .. }) => failure = Some(error),
                // A FATAL error closes the connection behind itself: it says more
                // than the end of the connection does.
                Err(error) => return Err(failure.unwrap_or(error)),
            }
        }
    }

    /// Sends START_REPLICATION; returns when the server has switched to CopyBoth.
    pub(super) fn start_copy(&mut self, command: &str) -> Result<(), ReplicationError> {
        self.send_with(|out| frontend::query(command, out))?;
        let mut failure = None;
        loop {
            let frame = match self.receive_frame() {
                Ok(frame) => frame,
                Err(error) => return Err(failure.unwrap_or(error)),
            };
            match frame.tag() {
                b'W' => return Ok(()),
                b'E' => failure = Some(server_error(&frame)),
                b'Z' => return Err(failure.unwrap_or_else(|| unexpected("START_REPLICATION"))),
                // Notices and parameters; what else comes before is of no consequence.
                _ => {}
            }
        }
    }

    /// Messages of the WAL that are larger lose their large values as they arrive.
    pub(super) fn hold_at_most(&mut self, bytes: usize) {
        self.frames.hold_at_most(bytes);
    }

    /// Reads once, waiting a tick at most; `None` when nothing came.
    pub(super) fn read(&mut self) -> Result<Option<Read>, ReplicationError> {
        let spare = self.frames.spare();
        let room = spare.len();
        let read = self
            .socket
            .read(spare)
            .map_err(|source| ReplicationError::Io {
                doing: "read from PostgreSQL".to_owned(),
                source,
            })?;
        let Some(bytes) = read else {
            return Ok(None);
        };
        self.frames.advance(bytes);
        let drained = self.socket.is_drained(bytes, room);
        Ok(Some(Read { bytes, drained }))
    }

    pub(super) fn next_frame(&mut self) -> Result<Option<Frame>, ReplicationError> {
        self.frames.next_frame().map_err(ReplicationError::Protocol)
    }

    /// The next frame, waited for.
    pub(super) fn receive_frame(&mut self) -> Result<Frame, ReplicationError> {
        let deadline = Instant::now() + self.patience;
        loop {
            if let Some(frame) = self.next_frame()? {
                return Ok(frame);
            }
            self.read()?;
            if Instant::now() > deadline {
                return Err(ReplicationError::Timeout {
                    doing: "waiting for an answer of PostgreSQL's",
                    limit: self.patience,
                });
            }
        }
    }

    /// The next message that is not a parameter or a notice; an error of the
    /// server's as `Err`.
    pub(super) fn receive_message(&mut self) -> Result<Message, ReplicationError> {
        loop {
            let frame = self.receive_frame()?;
            match frame.tag() {
                b'E' => return Err(server_error(&frame)),
                b'N' => continue,
                _ => {}
            }
            match parse(&frame)? {
                Message::ParameterStatus(parameter) => {
                    if parameter.name().is_ok_and(|name| name == "server_version") {
                        self.major_version = parameter.value().map_or(0, major_version);
                    }
                }
                message => return Ok(message),
            }
        }
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), ReplicationError> {
        self.socket
            .write_all(bytes)
            .map_err(|source| ReplicationError::Io {
                doing: "write to PostgreSQL".to_owned(),
                source,
            })
    }

    /// Writes a message that `build` appends to an empty buffer.
    pub(super) fn send_with(
        &mut self,
        build: impl FnOnce(&mut BytesMut) -> io::Result<()>,
    ) -> Result<(), ReplicationError> {
        let mut out = BytesMut::new();
        build(&mut out)
            .and_then(|()| self.socket.write_all(&out))
            .map_err(|source| ReplicationError::Io {
                doing: "write to PostgreSQL".to_owned(),
                source,
            })
    }
}

/// Says good-bye, so that the server frees the slot at once and logs no broken
/// connection.
impl Drop for Connection {
    fn drop(&mut self) {
        // On a broken connection there is nobody to tell.
        let _ = self.send_with(|out| {
            frontend::terminate(out);
            Ok(())
        });
    }
}

/// What an ErrorResponse or NoticeResponse says.
pub(super) struct Fields {
    pub(super) sqlstate: String,
    pub(super) message: String,
}

/// Reads sqlstate, message and hint. The detail is left out: it may quote a row.
pub(super) fn fields(mut fields: ErrorFields<'_>) -> Fields {
    let mut read = Fields {
        sqlstate: String::new(),
        message: String::new(),
    };
    let mut hint = None;
    while let Ok(Some(field)) = fields.next() {
        let value = String::from_utf8_lossy(field.value_bytes()).into_owned();
        match field.type_() {
            b'C' => read.sqlstate = value,
            b'M' => read.message = value,
            b'H' => hint = Some(value),
            _ => {}
        }
    }
    if let Some(hint) = hint {
        read.message = format!("{}; hint: {hint}", read.message);
    }
    read
}

/// The ErrorResponse in `frame`.
pub(super) fn server_error(frame: &Frame) -> ReplicationError {
    match parse(frame) {
        Ok(Message::ErrorResponse(body)) => {
            let Fields { sqlstate, message } = fields(body.fields());
            ReplicationError::Server {
                sqlstate,
                message,
                position: None,
            }
        }
        Ok(_) => unexpected("an error"),
        Err(error) => error,
    }
}

pub(super) fn parse(frame: &Frame) -> Result<Message, ReplicationError> {
    let malformed = |why: String| {
        let tag = frame.tag().escape_ascii();
        ReplicationError::Protocol(format!(
            "the server sent a message `{tag}` that cannot be read: {why}"
        ))
    };
    Message::parse(&mut BytesMut::from(frame.whole()))
        .map_err(|error| malformed(error.to_string()))?
        .ok_or_else(|| malformed("it is cut short".to_owned()))
}

fn row(body: &DataRowBody) -> Result<Row, ReplicationError> {
    body.ranges()
        .map(|range| Ok(range.map(|range| body.buffer_bytes().slice(range))))
        .collect()
        .map_err(|_| unexpected("a row"))
}

/// Class 28: authorization.
fn as_auth(error: ReplicationError, conninfo: &ConnInfo) -> ReplicationError {
    match error {
        ReplicationError::Server {
            sqlstate, message, ..
        } if sqlstate.starts_with("28") => ReplicationError::Auth {
            user: conninfo.describe(),
            message,
        },
        other => other,
    }
}

pub(super) fn unexpected(during: &str) -> ReplicationError {
    ReplicationError::Protocol(format!(
        "the server sent something out of turn during {during}: is it a PostgreSQL server?"
    ))
}
