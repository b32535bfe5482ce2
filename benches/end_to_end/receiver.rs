//! A receiver as cheap as one can be, so that it takes little from what is measured:
//! HTTP/1.1 with keep-alive, no parsing beyond the length, the id and the timestamp.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use bytes::{Buf, BytesMut};
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Every row that was received, by the row's number.
#[derive(Default)]
pub(crate) struct Log {
    rows: Mutex<Vec<Row>>,
    /// Rows received at least once.
    distinct: AtomicU64,
    /// Requests in all, the ceiling's included.
    requests: AtomicU64,
}

#[derive(Clone, Copy, Default)]
pub(crate) struct Row {
    /// 0: not received.
    pub(crate) times: u32,
    /// The row came under two different ids, which must never be.
    pub(crate) ids_differ: bool,
    webhook_id: u64,
    /// Unix microseconds.
    pub(crate) committed_at: i64,
    pub(crate) received_at: i64,
}

impl Log {
    pub(crate) fn distinct(&self) -> u64 {
        self.distinct.load(Ordering::Relaxed)
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// The rows numbered `from` up to `to`; one that was not received has `times` 0.
    pub(crate) fn rows(&self, from: u64, to: u64) -> Vec<Row> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        (from..to)
            .map(|number| rows.get(number as usize).copied().unwrap_or_default())
            .collect()
    }

    fn record(&self, webhook_id: &[u8], body: &[u8]) {
        let received_at = Timestamp::now().as_microsecond();
        self.requests.fetch_add(1, Ordering::Relaxed);
        // The ceiling's requests hold no row.
        let Some((number, committed_at)) = row_of(body) else {
            return;
        };
        let mut hasher = DefaultHasher::new();
        webhook_id.hash(&mut hasher);
        let id = hasher.finish();
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if rows.len() <= number {
            rows.resize(number + 1, Row::default());
        }
        let row = &mut rows[number];
        if row.times == 0 {
            *row = Row {
                times: 1,
                ids_differ: false,
                webhook_id: id,
                committed_at,
                received_at,
            };
            self.distinct.fetch_add(1, Ordering::Relaxed);
        } else {
            row.times += 1;
            row.ids_differ |= row.webhook_id != id;
        }
    }
}

/// The row's number and its commit's Unix microseconds, from walhook's fixed layout.
fn row_of(body: &[u8]) -> Option<(usize, i64)> {
    let timestamp = after(body, b"\"timestamp\":\"")?;
    let end = timestamp.iter().position(|byte| *byte == b'"')?;
    let committed_at: Timestamp = std::str::from_utf8(&timestamp[..end]).ok()?.parse().ok()?;
    let number = after(timestamp, b"\"data\":{\"id\":")?;
    let digits = number.iter().take_while(|byte| byte.is_ascii_digit());
    let number = digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0'));
    // Beyond any run: a body that is not ours must not make us allocate without bound.
    (number < 100_000_000).then_some((number, committed_at.as_microsecond()))
}

fn after<'a>(text: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let at = text.windows(name.len()).position(|window| window == name)?;
    Some(&text[at + name.len()..])
}

/// Listens on `count` ports of the loopback, each an endpoint of its own. The tasks
/// end with the runtime that this is called in.
pub(crate) async fn start(count: usize, log: &Arc<Log>) -> anyhow::Result<Vec<SocketAddr>> {
    let mut addresses = Vec::with_capacity(count);
    for _ in 0..count {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        addresses.push(listener.local_addr()?);
        let log = Arc::clone(log);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let log = Arc::clone(&log);
                tokio::spawn(async move {
                    // A connection that breaks is the sender's to see.
                    if let Err(error) = serve(stream, &log).await {
                        eprintln!("receiver: {error:#}");
                    }
                });
            }
        });
    }
    Ok(addresses)
}

async fn serve(mut stream: TcpStream, log: &Log) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = BytesMut::with_capacity(4096);
    loop {
        while let Some(head) = head(&buffer)? {
            if buffer.len() < head.length + head.content_length {
                break;
            }
            let body = &buffer[head.length..head.length + head.content_length];
            log.record(&buffer[head.webhook_id], body);
            buffer.advance(head.length + head.content_length);
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .await?;
        }
        // A reset between requests is how an idle pool may end its connections.
        match stream.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return Ok(()),
            Ok(_) => {}
        }
    }
}

struct Head {
    /// Up to where the body begins.
    length: usize,
    content_length: usize,
    webhook_id: std::ops::Range<usize>,
}

fn head(buffer: &[u8]) -> anyhow::Result<Option<Head>> {
    let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let mut head = Head {
        length: end + 4,
        content_length: 0,
        webhook_id: 0..0,
    };
    let mut start = 0;
    for line in buffer[..end].split(|byte| *byte == b'\n') {
        let line_start = start;
        start += line.len() + 1;
        let line = line.trim_ascii_end();
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii_start());
        if name.eq_ignore_ascii_case(b"content-length") {
            head.content_length = std::str::from_utf8(value)?
                .parse()
                .context("read content-length")?;
        } else if name.eq_ignore_ascii_case(b"webhook-id") {
            let value_end = line_start + line.len();
            head.webhook_id = value_end - value.len()..value_end;
        }
    }
    Ok(Some(head))
}
