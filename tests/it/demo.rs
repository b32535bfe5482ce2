//! `walhook demo`, the real binary: it delivers, verifies, and leaves nothing behind.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::console::browser::Browser;
use crate::harness::pause;

/// For all of one demo, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(120);

struct Demo {
    process: Child,
    output: Lines<BufReader<ChildStdout>>,
    started: Instant,
    /// Where the demo puts all that it writes.
    temporary: tempfile::TempDir,
}

impl Demo {
    fn start(arguments: &[&str]) -> Demo {
        let temporary = tempfile::tempdir().unwrap();
        // As root the server runs as another user, who must get through.
        let readable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(temporary.path(), readable).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_walhook"))
            .args(["demo", "--plain"])
            .args(arguments)
            .env("TMPDIR", temporary.path())
            // The demo must never write to the user's database.
            .env("WALHOOK_SOURCE__URL", "postgres://nowhere.invalid/app")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap()).lines();
        Demo {
            process,
            output,
            started: Instant::now(),
            temporary,
        }
    }

    /// The next line that holds `text`.
    async fn line_with(&mut self, text: &str) -> String {
        let found = async {
            while let Some(line) = self.output.next_line().await.unwrap() {
                if line.contains(text) {
                    return line;
                }
            }
            panic!("the demo ended before it said {text}");
        };
        tokio::time::timeout(PATIENCE, found).await.unwrap()
    }

    async fn signal(&self, name: &str) {
        let pid = self.process.id().unwrap().to_string();
        let sent = Command::new("kill").args([name, &pid]).status().await;
        assert!(sent.unwrap().success());
    }

    /// Waits for its end: the exit code, the rest of what it said, and its errors.
    async fn end(mut self) -> (Option<i32>, Vec<String>, String) {
        let ended = async {
            let mut lines = Vec::new();
            while let Some(line) = self.output.next_line().await.unwrap() {
                lines.push(line);
            }
            let mut errors = String::new();
            let mut stderr = self.process.stderr.take().unwrap();
            stderr.read_to_string(&mut errors).await.unwrap();
            (self.process.wait().await.unwrap().code(), lines, errors)
        };
        let ended = tokio::time::timeout(PATIENCE, ended).await.unwrap();
        assert_nothing_left(&self.temporary);
        ended
    }
}

/// What runs that was started with one of the demo's files.
fn running(temporary: &tempfile::TempDir) -> Option<String> {
    let path = temporary.path().to_str().unwrap();
    fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).into_owned();
        command.contains(path).then_some(command)
    })
}

/// No file, and no process that was started with one of the demo's files.
fn assert_nothing_left(temporary: &tempfile::TempDir) {
    let files: Vec<PathBuf> = fs::read_dir(temporary.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(files.is_empty(), "left behind: {files:?}");
    assert_eq!(running(temporary), None, "still runs");
}

#[tokio::test]
async fn it_delivers_verified_webhooks_to_both_tenants_and_ends_by_itself() {
    let demo = Demo::start(&["--duration", "8s", "--port", "0"]);
    let (code, lines, errors) = demo.end().await;
    assert_eq!(code, Some(0), "{errors}\n{}", lines.join("\n"));
    assert!(!lines.iter().any(|line| line.contains("NOT VERIFIED")));
    for tenant in ["acme", "globex"] {
        let delivered = |line: &&String| {
            line.contains(tenant) && line.contains("VERIFIED") && line.contains("  200")
        };
        assert!(lines.iter().any(|line| delivered(&line)), "{tenant}");
    }
    assert!(lines.iter().any(|line| line.contains("rolled back")));
    // On a pipe there is nothing but text.
    assert!(!lines.iter().any(|line| line.contains('\x1b')));
}

/// Of three starts the best, because other tests have the machine's cores meanwhile:
/// alone, it takes 2 s.
#[tokio::test]
async fn the_first_webhook_arrives_within_ten_seconds() {
    let mut durations = Vec::new();
    for _ in 0..3 {
        let mut demo = Demo::start(&["--port", "0"]);
        demo.line_with("VERIFIED").await;
        let first = demo.started.elapsed();
        demo.signal("-INT").await;
        demo.end().await;
        if first < Duration::from_secs(10) {
            return;
        }
        durations.push(first);
    }
    panic!("the first webhook came after {durations:?}");
}

#[tokio::test]
async fn ctrl_c_ends_it_in_order() {
    for (moment, signal) in [
        ("starting PostgreSQL", "-INT"),
        ("Ctrl-C ends", "-TERM"),
        ("VERIFIED", "-INT"),
    ] {
        let mut demo = Demo::start(&["--port", "0"]);
        demo.line_with(moment).await;
        demo.signal(signal).await;
        let (code, _, errors) = demo.end().await;
        assert_eq!(code, Some(0), "{signal} at {moment}: {errors}");
    }
}

#[tokio::test]
async fn killed_it_leaves_no_server_and_no_file_behind() {
    let mut demo = Demo::start(&["--port", "0"]);
    demo.line_with("VERIFIED").await;
    demo.signal("-KILL").await;
    let Demo {
        mut process,
        temporary,
        ..
    } = demo;
    process.wait().await.unwrap();
    let began = Instant::now();
    let is_empty = || fs::read_dir(temporary.path()).unwrap().next().is_none();
    while running(&temporary).is_some() || !is_empty() {
        assert!(began.elapsed() < PATIENCE, "{:?}", running(&temporary));
        pause(began).await;
    }
}

#[tokio::test]
async fn one_webhook_is_shown_whole() {
    let mut demo = Demo::start(&["--port", "0"]);
    demo.line_with("the application commits").await;
    demo.line_with("insert into payments").await;
    demo.line_with("POST /").await;
    demo.line_with("webhook-signature: v1,").await;
    let body = demo.line_with("\"type\":\"payment.received\"").await;
    let body: serde_json::Value = serde_json::from_str(body.trim()).unwrap();
    assert_eq!(body["data"]["amount"], 42.0);
    demo.signal("-INT").await;
    demo.end().await;
}

#[tokio::test]
async fn its_link_signs_in_to_the_console() {
    let mut demo = Demo::start(&["--port", "0"]);
    let link = demo.line_with("/console/enter#").await;
    assert!(link.len() <= 80, "{link}");
    demo.line_with("VERIFIED").await;
    let (base, code) = link.split_once("/console/enter#").unwrap();
    let mut browser = Browser::of(base);
    browser.enter(code).await.expect(303);
    let page = browser.get("/console/deliveries").await.expect(200);
    page.says("payment.received").says("everything");
    demo.signal("-INT").await;
    demo.end().await;
}

#[tokio::test]
async fn a_reader_that_leaves_ends_it_in_order() {
    let mut demo = Demo::start(&["--port", "0"]);
    demo.line_with("VERIFIED").await;
    let Demo {
        mut process,
        output,
        temporary,
        ..
    } = demo;
    drop(output);
    let ended = tokio::time::timeout(PATIENCE, process.wait()).await;
    assert!(ended.unwrap().unwrap().success());
    assert_nothing_left(&temporary);
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_the_way_out() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (code, _, errors) = Demo::start(&["--port", &port]).end().await;
    assert_eq!(code, Some(1));
    assert!(
        errors.contains(&port) && errors.contains("--port 0"),
        "{errors}"
    );
}
