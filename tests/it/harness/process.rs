//! The real binary as a child process, to be killed.

use std::ffi::OsString;
use std::fs::{DirEntry, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::{PATIENCE, http, pause};

pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// `walhook --config FILE ARGUMENTS…`, its log appended to `walhook.log` beside the file.
    pub fn start(config: &Path, arguments: &[&str]) -> Self {
        Self::start_under(config, arguments, &[])
    }

    /// The same, with more in its environment.
    pub fn start_under(
        config: &Path,
        arguments: &[&str],
        environment: &[(&str, OsString)],
    ) -> Self {
        let path = config.with_file_name("walhook.log");
        let log = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_walhook"))
            .arg("--config")
            .arg(config)
            .args(arguments)
            .env("RUST_LOG", "walhook=debug")
            // It would connect in walhook's place, past the guard: nothing may go there.
            .env("http_proxy", "http://127.0.0.1:9")
            .env("https_proxy", "http://127.0.0.1:9")
            .envs(environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Process { child, log: path }
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// SIGSTOP, and waits until it has effect: the signal only wakes one thread, and until
    /// that one runs the others go on.
    pub async fn freeze(&self) {
        self.signal("STOP");
        let tasks = format!("/proc/{}/task", self.child.id());
        let is_running = |task: std::io::Result<DirEntry>| {
            let status = std::fs::read_to_string(task.unwrap().path().join("status"));
            !status.unwrap().contains("State:\tT")
        };
        while std::fs::read_dir(&tasks).unwrap().any(is_running) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// kill -9, as a power cut or the kernel's out-of-memory killer would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and what it exits with.
    pub fn terminate(mut self) -> ExitStatus {
        self.signal("TERM");
        self.child.wait().unwrap()
    }

    /// Waits until it has ended by itself.
    pub async fn ends(&mut self) -> ExitStatus {
        let began = Instant::now();
        let ended = async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                pause(began).await;
            }
        };
        let ended = tokio::time::timeout(PATIENCE, ended).await;
        ended.unwrap_or_else(|_| panic!("it has not ended:\n{}", self.log()))
    }

    /// What this process and those before it beside the same file have said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until the log has said this so many times.
    pub async fn says(&self, text: &str, times: usize) {
        let began = Instant::now();
        let waited = async {
            while self.log().matches(text).count() < times {
                pause(began).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waited).await;
        assert!(waited.is_ok(), "does not say `{text}`:\n{}", self.log());
    }

    /// Where the API of the first process beside this file listens.
    pub async fn api(&self) -> String {
        self.says("API at ", 1).await;
        let log = self.log();
        let (_, address) = log.split_once("API at ").unwrap();
        address.split_once("/docs").unwrap().0.to_owned()
    }

    /// A gauge of `/metrics`.
    pub async fn gauge(&self, name: &str) -> f64 {
        let url = format!("{}/metrics", self.api().await);
        let response = http().get(url).send().await;
        let text = response.unwrap().text().await.unwrap();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap().parse().unwrap()
    }

    /// The most memory that it has held so far, in MiB.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: u64 = peak
            .unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap();
        kib / 1024
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.has_ended() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
