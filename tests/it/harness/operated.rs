//! walhook as its operator sees it: the real binary with its API, asked over HTTP.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::command::{Answer, answer, walhook};
use super::http;
use super::process::Process;
use super::walhook::Installation;

pub struct Operated {
    pub installation: Installation,
    pub process: Process,
    base: String,
    http: reqwest::Client,
}

/// How long what walhook is to notice may take, and as much again on a loaded machine.
const NOTICED: Duration = Duration::from_secs(20);

impl Operated {
    pub fn start(mut installation: Installation) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = port.local_addr().unwrap().to_string();
        drop(port);
        installation.edit("'127.0.0.1:0'", &format!("'{address}'"));
        let process = Process::start(&installation.config_file(), &["run"]);
        Operated {
            installation,
            process,
            base: format!("http://{address}"),
            http: http(),
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Status and body; `None` while nobody listens.
    pub async fn get(&self, path: &str) -> Option<(u16, String)> {
        let response = self.http.get(self.url(path)).send().await.ok()?;
        Some((response.status().as_u16(), response.text().await.ok()?))
    }

    /// Waits until `/readyz` answers so, and says each of these.
    pub async fn wait_ready(&self, status: u16, says: &[&str]) -> String {
        let deadline = Instant::now() + NOTICED;
        let mut last = None;
        while Instant::now() < deadline {
            last = self.get("/readyz").await;
            if let Some((found, text)) = &last
                && *found == status
                && says.iter().all(|part| text.contains(part))
            {
                return text.clone();
            }
            // Nothing tells when a probe's answer changes: it is asked for.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("/readyz is not {status} with {says:?}: {last:?}");
    }

    pub async fn metric(&self, line: &str) -> Option<f64> {
        let (_, text) = self.get("/metrics").await?;
        let of = |text: &str| text.strip_prefix(line)?.trim().parse().ok();
        text.lines().find_map(of)
    }

    pub async fn wait_metric(&self, line: &str, holds: impl Fn(f64) -> bool) {
        let deadline = Instant::now() + NOTICED;
        loop {
            let value = self.metric(line).await;
            if value.is_some_and(&holds) {
                return;
            }
            assert!(Instant::now() < deadline, "{line}: {value:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub async fn walhook(&self, arguments: &[&str]) -> Answer {
        let mut command = walhook();
        command
            .arg("--config")
            .arg(self.installation.config_file())
            .args(arguments);
        answer(command.output().await.unwrap())
    }

    pub async fn sql(&self, sql: &str) {
        let client = &self.installation.database.client;
        client.batch_execute(sql).await.unwrap();
    }

    pub fn log(&self) -> String {
        let file = self.installation.directory.path().join("walhook.log");
        std::fs::read_to_string(file).unwrap()
    }

    /// Waits until the log says this.
    pub async fn wait_logged(&self, text: &str) {
        let deadline = Instant::now() + NOTICED;
        while !self.log().contains(text) {
            assert!(
                Instant::now() < deadline,
                "not logged: {text}\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
