//! The socket of a walsender connection: TCP, Unix or TLS, read and written by
//! blocking calls with short timeouts.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use socket2::{SockRef, TcpKeepalive};

use super::error::ReplicationError;
use crate::conninfo::{Attempt, ConnInfo, Endpoint, tls};

/// A read gives up after this long and comes back to what else is to do: the
/// longest that an acknowledgement waits on a silent stream.
pub(super) const TICK: Duration = Duration::from_millis(40);

/// A write of a few bytes that takes longer has no living server behind it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Dead peers are noticed by the receive timeout too; this also ends sessions
/// through middleboxes that forget idle connections.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);

pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<StreamOwned<ClientConnection, Buffered>>),
}

impl Socket {
    /// Connects to `endpoint` in the way that `attempt` says, TLS included.
    pub(super) fn connect(
        conninfo: &ConnInfo,
        endpoint: &Endpoint,
        attempt: Attempt,
    ) -> Result<Self, ReplicationError> {
        let failed = |source| ReplicationError::Io {
            doing: format!("connect to PostgreSQL at {endpoint}"),
            source,
        };
        if let Some(path) = endpoint.unix_socket() {
            let stream = UnixStream::connect(path).map_err(failed)?;
            stream.set_read_timeout(Some(TICK)).map_err(failed)?;
            stream
                .set_write_timeout(Some(WRITE_TIMEOUT))
                .map_err(failed)?;
            return Ok(Socket::Unix(stream));
        }
        let stream = connect_tcp(conninfo, endpoint).map_err(failed)?;
        match attempt {
            Attempt::Plain => Ok(Socket::Tcp(stream)),
            Attempt::TlsIfOffered | Attempt::Tls => {
                negotiate(conninfo, endpoint, stream, attempt == Attempt::Tls)
            }
        }
    }

    /// Reads what has come, waiting at most [`TICK`]; `None` when nothing came.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let read = match self {
            Socket::Tcp(stream) => stream.read(buffer),
            Socket::Unix(stream) => stream.read(buffer),
            Socket::Tls(stream) => stream.read(buffer),
        };
        match read {
            Ok(0) => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the server closed the connection",
            )),
            Ok(read) => Ok(Some(read)),
            Err(error) if is_tick(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether a read of `read` bytes into room for `room` took all that had come.
    pub(super) fn is_drained(&self, read: usize, room: usize) -> bool {
        match self {
            Socket::Tcp(_) | Socket::Unix(_) => read < room,
            // rustls hands out a few KiB at a time of what was read.
            Socket::Tls(stream) => stream.sock.reader.buffer().is_empty(),
        }
    }

    pub(super) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => stream.write_all(bytes),
            Socket::Unix(stream) => stream.write_all(bytes),
            Socket::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }

    /// The data that SCRAM binds to this TLS connection.
    pub(super) fn server_end_point(&self) -> Option<Vec<u8>> {
        let Socket::Tls(stream) = self else {
            return None;
        };
        tls::server_end_point(stream.conn.peer_certificates()?.first()?)
    }
}

fn is_tick(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

fn connect_tcp(conninfo: &ConnInfo, endpoint: &Endpoint) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = match endpoint.hostaddr {
        Some(address) => vec![(address, endpoint.port).into()],
        None => (endpoint.host.as_str(), endpoint.port)
            .to_socket_addrs()?
            .collect(),
    };
    let mut failure = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, conninfo.connect_timeout) {
            Ok(stream) => {
                configure(conninfo, &stream)?;
                return Ok(stream);
            }
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| io::Error::other("the host name has no address")))
}

fn configure(conninfo: &ConnInfo, stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TICK))?;
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    let socket = SockRef::from(stream);
    if conninfo.keepalive.enabled {
        let settings = conninfo.keepalive;
        let mut keepalive = TcpKeepalive::new()
            .with_time(settings.idle.unwrap_or(KEEPALIVE_IDLE))
            .with_interval(settings.interval.unwrap_or(Duration::from_secs(10)));
        if let Some(count) = settings.count {
            keepalive = keepalive.with_retries(count);
        }
        socket.set_tcp_keepalive(&keepalive)?;
    }
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(
        conninfo.tcp_user_timeout.unwrap_or(2 * KEEPALIVE_IDLE),
    ))?;
    Ok(())
}

/// Asks for TLS and shakes hands. Reads the one-byte answer alone: anything that
/// somebody slipped in behind it before encryption began goes to TLS and fails
/// there (CVE-2021-23222).
fn negotiate(
    conninfo: &ConnInfo,
    endpoint: &Endpoint,
    mut stream: TcpStream,
    required: bool,
) -> Result<Socket, ReplicationError> {
    let deadline = Instant::now() + conninfo.connect_timeout;
    let failed = |source: io::Error| {
        // A reset during the handshake is the network's fault, not a certificate's.
        if source
            .get_ref()
            .is_some_and(|inner| inner.is::<rustls::Error>())
        {
            let with = endpoint.to_string();
            return ReplicationError::Tls { with, source };
        }
        let doing = format!("shake hands with {endpoint} by TLS");
        ReplicationError::Io { doing, source }
    };
    if !conninfo.direct_tls() {
        let asking = |source| ReplicationError::Io {
            doing: format!("ask {endpoint} for TLS"),
            source,
        };
        let mut request = BytesMut::new();
        frontend::ssl_request(&mut request);
        stream.write_all(&request).map_err(asking)?;
        let mut answer = [0];
        patiently(deadline, || stream.read_exact(&mut answer)).map_err(asking)?;
        match answer[0] {
            b'S' => {}
            b'N' if required => return Err(ReplicationError::NoTls(endpoint.to_string())),
            b'N' => return Ok(Socket::Tcp(stream)),
            // An error from before encryption may be anybody's: not shown.
            _ => {
                return Err(ReplicationError::Protocol(format!(
                    "{endpoint} did not answer a request for TLS as PostgreSQL does: is it a PostgreSQL server?"
                )));
            }
        }
    }
    let name =
        ServerName::try_from(endpoint.host.clone()).map_err(|error| ReplicationError::Tls {
            with: endpoint.to_string(),
            source: io::Error::new(io::ErrorKind::InvalidInput, error),
        })?;
    let config = Arc::new(conninfo.tls_config()?);
    let mut connection =
        ClientConnection::new(config, name).map_err(|error| failed(io::Error::other(error)))?;
    let mut socket = Buffered::new(stream);
    while connection.is_handshaking() {
        patiently(deadline, || connection.complete_io(&mut socket).map(drop)).map_err(failed)?;
    }
    Ok(Socket::Tls(Box::new(StreamOwned::new(connection, socket))))
}

/// Repeats a call that the read timeout interrupts, until `deadline`.
fn patiently(deadline: Instant, mut call: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    loop {
        match call() {
            Err(error) if is_tick(&error) => {
                if Instant::now() >= deadline {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
            done => return done,
        }
    }
}

/// Reads 64 KiB at a time: rustls asks for 4 KiB, a system call each.
pub(super) struct Buffered {
    reader: BufReader<TcpStream>,
}

impl Buffered {
    fn new(stream: TcpStream) -> Self {
        Buffered {
            reader: BufReader::with_capacity(64 * 1024, stream),
        }
    }
}

impl Read for Buffered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.reader.fill_buf()?;
        let length = available.len().min(buffer.len());
        buffer[..length].copy_from_slice(&available[..length]);
        self.reader.consume(length);
        Ok(length)
    }
}

impl Write for Buffered {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.reader.get_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.reader.get_mut().flush()
    }
}
