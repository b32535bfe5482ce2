//! A receiver that is as many endpoints as one likes: each address of the loopback
//! network is one. Every twentieth can be told to behave badly.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// One endpoint in so many is bad: five per cent.
const BAD: usize = 20;

/// How the bad endpoints behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Well,
    Hanging,
    Dripping,
    /// Nobody listens at their port: see [`Receiver::url`].
    Refusing,
    Failing,
    /// All of them answer after [`PAUSE`].
    Slow,
}

/// Connections that may wait to be accepted: one that finds no room comes again a second
/// later, which would count as walhook's.
const BACKLOG: u32 = 4096;

const PAUSE: Duration = Duration::from_millis(500);

const MANNERS: [Manner; 6] = [
    Manner::Well,
    Manner::Hanging,
    Manner::Dripping,
    Manner::Refusing,
    Manner::Failing,
    Manner::Slow,
];

pub(crate) struct Receiver {
    port: u16,
    /// Bound, and nobody listens there.
    refusing: TcpSocket,
    refusing_port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    manner: AtomicU8,
    /// Requests to endpoints that are never bad.
    healthy: AtomicU64,
    measuring: AtomicBool,
    /// Of these, microseconds from the commit's timestamp to the arrival.
    latencies: Mutex<Vec<u32>>,
}

impl Receiver {
    /// On a thread of its own, so that its work can be told from the bench's.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let shared = Arc::new(Shared::default());
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(([0, 0, 0, 0], 0)))?;
        let port = socket.local_addr()?.port();
        let refusing = TcpSocket::new_v4()?;
        refusing.bind(SocketAddr::from(([0, 0, 0, 0], 0)))?;
        let refusing_port = refusing.local_addr()?.port();
        let serving = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("receiver".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                runtime.block_on(async {
                    accept(socket.listen(BACKLOG)?, serving).await;
                    std::io::Result::Ok(())
                })
            })?;
        Ok(Receiver {
            port,
            refusing,
            refusing_port,
            shared,
        })
    }

    /// The URL of an endpoint, given how the bad ones are to behave.
    pub(crate) fn url(&self, number: usize, manner: Manner) -> String {
        let port = match manner {
            Manner::Refusing if is_bad(number) => self.refusing_port,
            _ => self.port,
        };
        format!("http://{}:{port}/", address(number))
    }

    pub(crate) fn behave(&self, manner: Manner) {
        debug_assert!(self.refusing.local_addr().is_ok());
        let index = MANNERS.iter().position(|one| *one == manner);
        let index = index.and_then(|index| u8::try_from(index).ok());
        self.shared
            .manner
            .store(index.unwrap_or(0), Ordering::Relaxed);
    }

    /// Requests so far to endpoints that are never bad.
    pub(crate) fn healthy(&self) -> u64 {
        self.shared.healthy.load(Ordering::Relaxed)
    }

    pub(crate) fn measure(&self, on: bool) {
        self.shared.measuring.store(on, Ordering::Relaxed);
    }

    /// The latencies since this was last asked, in microseconds.
    pub(crate) fn take_latencies(&self) -> Vec<u32> {
        let mut latencies = self
            .shared
            .latencies
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut latencies)
    }
}

pub(crate) fn is_bad(number: usize) -> bool {
    number.is_multiple_of(BAD)
}

/// 250 addresses in the last byte, 250 in the one before, and so on.
fn address(number: usize) -> Ipv4Addr {
    let byte = |value: usize| u8::try_from(value).unwrap_or(u8::MAX);
    Ipv4Addr::new(
        127,
        byte(1 + number / 62_500),
        byte(number / 250 % 250),
        byte(1 + number % 250),
    )
}

fn number(address: SocketAddr) -> usize {
    let IpAddr::V4(address) = address.ip() else {
        return 1;
    };
    let [_, high, middle, low] = address.octets().map(usize::from);
    high.saturating_sub(1) * 62_500 + middle * 250 + low.saturating_sub(1)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        // What cannot be accepted, the sender sees.
        if let Ok((stream, _)) = listener.accept().await {
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                let _ = serve(stream, &shared).await;
            });
        }
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let bad = is_bad(number(stream.local_addr()?));
    let mut buffer = BytesMut::with_capacity(2048);
    loop {
        while let Some(length) = request_length(&buffer) {
            let manner =
                MANNERS[usize::from(shared.manner.load(Ordering::Relaxed)) % MANNERS.len()];
            if !bad {
                shared.count(&buffer[..length]);
            }
            match manner {
                Manner::Hanging if bad => std::future::pending().await,
                Manner::Dripping if bad => return drip(stream).await,
                Manner::Failing if bad => {
                    stream
                        .write_all(
                            b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n",
                        )
                        .await?
                }
                other => {
                    if other == Manner::Slow {
                        tokio::time::sleep(PAUSE).await;
                    }
                    stream
                        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                        .await?;
                }
            }
            buffer.advance(length);
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

async fn drip(mut stream: TcpStream) -> std::io::Result<()> {
    stream
        .write_all(b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 100000\r\n\r\n")
        .await?;
    loop {
        stream.write_all(b".").await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

impl Shared {
    fn count(&self, request: &[u8]) {
        self.healthy.fetch_add(1, Ordering::Relaxed);
        if !self.measuring.load(Ordering::Relaxed) {
            return;
        }
        let committed = after(request, b"\"timestamp\":\"")
            .and_then(|rest| std::str::from_utf8(rest.get(..27)?).ok())
            .and_then(|text| text.parse::<Timestamp>().ok());
        if let Some(committed) = committed {
            let latency = Timestamp::now().as_microsecond() - committed.as_microsecond();
            let latency = u32::try_from(latency).unwrap_or(0);
            let mut latencies = self
                .latencies
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            latencies.push(latency);
        }
    }
}

/// Bytes of the first request, once it is whole.
fn request_length(buffer: &[u8]) -> Option<usize> {
    let head = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let length = after(&buffer[..head], b"content-length: ")?;
    let digits = length.iter().take_while(|byte| byte.is_ascii_digit());
    let body = digits.fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
    (buffer.len() >= head + body).then_some(head + body)
}

fn after<'a>(text: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let at = text.windows(name.len()).position(|window| window == name)?;
    Some(&text[at + name.len()..])
}
