//! A network between walhook and PostgreSQL that can fall silent without a reset: it goes on
//! reading, so that each side's TCP is acknowledged, and passes nothing on.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use ::walhook::demo::postgres::Postgres;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::{PATIENCE, pause};

/// URLs must say `sslmode=disable`: the proxy reads each connection's startup packet.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// New connections are swallowed too.
    silent: AtomicBool,
    /// Those of these names.
    silent_names: Mutex<BTreeSet<String>>,
    open: Mutex<Vec<Arc<Line>>>,
}

/// One connection.
struct Line {
    /// Its `application_name`; empty for a request to cancel.
    name: String,
    /// For good: it lost bytes, and neither end ever learns of the other's.
    swallowed: AtomicBool,
    failing: Notify,
    /// The server's last message.
    failure: OnceLock<Vec<u8>>,
}

impl Proxy {
    pub async fn to(server: &Postgres) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        tokio::spawn(serve(listener, server.port(), Arc::clone(&shared)));
        Proxy { port, shared }
    }

    pub fn url(&self, database: &str) -> String {
        let port = self.port;
        format!("postgres://postgres@127.0.0.1:{port}/{database}?sslmode=disable")
    }

    /// The names of the connections that pass.
    pub fn names(&self) -> BTreeSet<String> {
        let open = self.shared.open.lock().unwrap();
        let passing = open.iter().filter(|line| !line.is_swallowed());
        let mut names: BTreeSet<_> = passing.map(|line| line.name.clone()).collect();
        names.remove("");
        names
    }

    /// Waits until connections of all these names pass.
    pub async fn carries<'a>(&self, names: impl IntoIterator<Item = &'a str> + Clone) {
        let began = Instant::now();
        loop {
            let open = self.names();
            if names.clone().into_iter().all(|name| open.contains(name)) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "only {open:?} pass");
            pause(began).await;
        }
    }

    /// Swallows what the connections of this name say from now on. New ones pass.
    pub fn swallow(&self, name: &str) {
        self.swallow_those(|line| line.name == name);
    }

    /// Ends the connections of this name, over which nothing is on its way, with an error that
    /// seems to be the server's.
    pub fn fail(&self, name: &str, sqlstate: &str) {
        let open = self.shared.open.lock().unwrap();
        for line in open.iter().filter(|line| line.name == name) {
            let _ = line.failure.set(error_response(sqlstate));
            line.failing.notify_one();
        }
    }

    /// Swallows all connections and accepts new ones, whose startup packets it swallows too.
    pub fn fall_silent(&self) {
        self.shared.silent.store(true, Ordering::SeqCst);
        self.swallow_those(|_| true);
    }

    /// Swallows the connections of this name, new ones too.
    pub fn fall_silent_for(&self, name: &str) {
        let mut names = self.shared.silent_names.lock().unwrap();
        names.insert(name.to_owned());
        drop(names);
        self.swallow(name);
    }

    /// New connections pass again.
    pub fn recover(&self) {
        self.shared.silent.store(false, Ordering::SeqCst);
        self.shared.silent_names.lock().unwrap().clear();
    }

    fn swallow_those(&self, are_meant: impl Fn(&Line) -> bool) {
        let open = self.shared.open.lock().unwrap();
        for line in open.iter().filter(|line| are_meant(line)) {
            line.swallowed.store(true, Ordering::SeqCst);
        }
    }
}

impl Line {
    fn is_swallowed(&self) -> bool {
        self.swallowed.load(Ordering::SeqCst)
    }
}

async fn serve(listener: TcpListener, port: u16, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let mut client = client;
            let Some(startup) = startup_packet(&mut client).await else {
                return;
            };
            let line = Arc::new(Line {
                name: application_name(&startup),
                swallowed: AtomicBool::new(false),
                failing: Notify::new(),
                failure: OnceLock::new(),
            });
            shared.open.lock().unwrap().push(Arc::clone(&line));
            let is_silent = shared.silent.load(Ordering::SeqCst)
                || shared.silent_names.lock().unwrap().contains(&line.name);
            if is_silent {
                line.swallowed.store(true, Ordering::SeqCst);
            }
            Box::pin(carry(client, &startup, port, &line)).await;
            let mut open = shared.open.lock().unwrap();
            open.retain(|other| !Arc::ptr_eq(other, &line));
        });
    }
}

async fn carry(client: TcpStream, startup: &[u8], port: u16, line: &Line) {
    let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    if !line.is_swallowed() && server.write_all(startup).await.is_err() {
        return;
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut to_client = to_client;
    let passing = async {
        tokio::join!(
            pass(from_client, to_server, line),
            pass(from_server, &mut to_client, line),
        )
    };
    tokio::select! {
        _ = passing => {}
        () = line.failing.notified() => {
            let failure = line.failure.get().unwrap();
            let _ = to_client.write_all(failure).await;
        }
    }
}

/// PostgreSQL's ErrorResponse: fields of a letter and a text, each with a zero after it.
fn error_response(sqlstate: &str) -> Vec<u8> {
    let fields = format!("SERROR\0VERROR\0C{sqlstate}\0Mthe proxy says so\0\0");
    let length = u32::try_from(4 + fields.len()).unwrap();
    [b"E", &length.to_be_bytes()[..], fields.as_bytes()].concat()
}

async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, line: &Line) {
    let mut bytes = [0; 16 * 1024];
    loop {
        let read = from.read(&mut bytes).await.unwrap_or(0);
        match (read, line.is_swallowed()) {
            // Not even the end is passed on.
            (0, true) => return std::future::pending().await,
            (_, true) => {}
            (0, false) => {
                let _ = to.shutdown().await;
                return;
            }
            (_, false) => {
                if to.write_all(&bytes[..read]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Its length, which counts itself, and what follows.
async fn startup_packet(client: &mut TcpStream) -> Option<Vec<u8>> {
    let length = client.read_u32().await.ok()?;
    let mut packet = length.to_be_bytes().to_vec();
    packet.resize(usize::try_from(length).ok()?, 0);
    client.read_exact(packet.get_mut(4..)?).await.ok()?;
    Some(packet)
}

/// Of the parameters after length and version: a name and a value in turn, each with a zero
/// after it.
fn application_name(startup: &[u8]) -> String {
    let mut texts = startup[8..].split(|byte| *byte == 0);
    while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
        if name == b"application_name" {
            return String::from_utf8_lossy(value).into_owned();
        }
    }
    String::new()
}
