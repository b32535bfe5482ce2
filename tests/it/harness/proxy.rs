//! A network between walhook and PostgreSQL that can fall silent without a reset.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ::walhook::demo::postgres::Postgres;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub struct Proxy {
    port: u16,
    silent: Arc<AtomicBool>,
}

impl Proxy {
    pub async fn to(server: &Postgres) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let silent = Arc::new(AtomicBool::new(false));
        tokio::spawn(serve(listener, server.port(), Arc::clone(&silent)));
        Proxy { port, silent }
    }

    pub fn url(&self, database: &str) -> String {
        let port = self.port;
        format!("postgres://postgres@127.0.0.1:{port}/{database}?sslmode=disable")
    }

    /// From now on it accepts connections and takes bytes, and passes nothing on. A
    /// connection that lost a byte is lost for good; its other end never learns of it.
    pub fn fall_silent(&self) {
        self.silent.store(true, Ordering::SeqCst);
    }

    /// New connections pass again.
    pub fn recover(&self) {
        self.silent.store(false, Ordering::SeqCst);
    }
}

async fn serve(listener: TcpListener, port: u16, silent: Arc<AtomicBool>) {
    while let Ok((client, _)) = listener.accept().await {
        let silent = Arc::clone(&silent);
        tokio::spawn(async move {
            let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            let lost = AtomicBool::new(false);
            tokio::join!(
                pass(from_client, to_server, &silent, &lost),
                pass(from_server, to_client, &silent, &lost),
            );
        });
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    silent: &AtomicBool,
    lost: &AtomicBool,
) {
    let mut bytes = [0; 16 * 1024];
    loop {
        let read = from.read(&mut bytes).await.unwrap_or(0);
        if silent.load(Ordering::SeqCst) {
            lost.store(true, Ordering::SeqCst);
        }
        match (read, lost.load(Ordering::SeqCst)) {
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
