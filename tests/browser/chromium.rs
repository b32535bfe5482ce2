//! Chromium, driven over its debugging pipe: messages of JSON, each ended by a NUL.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::npm::notice;

/// For any one thing that a page does.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Chromium {
    _process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    /// Events that came while an answer was waited for.
    events: VecDeque<Value>,
    last_id: u64,
    session: String,
    /// What pages said on the console, and what their policy refused.
    complaints: Vec<String>,
    _profile: tempfile::TempDir,
}

/// Where Debian and others put it.
fn find() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|file| file.exists())
}

impl Chromium {
    /// None, said visibly, where the machine has none.
    pub async fn start() -> Option<Self> {
        let Some(program) = find() else {
            notice("SKIPPED: there is no chromium on the PATH");
            return None;
        };
        let profile = tempfile::tempdir().unwrap();
        // The pipe is descriptors 3 and 4: a shell puts ours there.
        let script = r#"exec "$0" "$@" 3<&0 4>&1 0</dev/null 1>/dev/null 2>/dev/null"#;
        let mut process = Command::new("sh")
            .args(["-c", script])
            .arg(program)
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--disable-background-networking",
                "--remote-debugging-pipe",
                "--window-size=1280,900",
                "--hide-scrollbars",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut chromium = Chromium {
            to: process.stdin.take().unwrap(),
            from: BufReader::new(process.stdout.take().unwrap()),
            _process: process,
            events: VecDeque::new(),
            last_id: 0,
            session: String::new(),
            complaints: Vec::new(),
            _profile: profile,
        };
        chromium.open_page().await;
        Some(chromium)
    }

    async fn open_page(&mut self) {
        let target = self
            .call("Target.createTarget", json!({"url": "about:blank"}))
            .await;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = self.call("Target.attachToTarget", attach).await;
        self.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log", "Network", "Audits"] {
            self.call(&format!("{domain}.enable"), json!({})).await;
        }
    }

    /// A command of the protocol, and its result.
    pub async fn call(&mut self, method: &str, parameters: Value) -> Value {
        let answer = self.ask(method, parameters).await;
        answer.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// A command of the protocol, and its result or its error.
    async fn ask(&mut self, method: &str, parameters: Value) -> Result<Value, Value> {
        self.last_id += 1;
        let id = self.last_id;
        let mut message = json!({"id": id, "method": method, "params": parameters});
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).await.unwrap();
        self.to.flush().await.unwrap();
        loop {
            let message = self.read().await;
            if message["id"] == id {
                return match &message["error"] {
                    Value::Null => Ok(message["result"].clone()),
                    error => Err(error.clone()),
                };
            }
            self.events.push_back(message);
        }
    }

    async fn read(&mut self) -> Value {
        let mut bytes = Vec::new();
        let read = self.from.read_until(0, &mut bytes);
        let read = tokio::time::timeout(PATIENCE, read).await;
        read.expect("chromium does not answer").unwrap();
        assert_eq!(bytes.pop(), Some(0), "chromium has ended");
        let message: Value = serde_json::from_slice(&bytes).unwrap();
        self.complaints.extend(complaint(&message));
        message
    }

    /// Waits for an event of the page.
    async fn event(&mut self, method: &str) {
        loop {
            let message = match self.events.pop_front() {
                Some(message) => message,
                None => self.read().await,
            };
            if message["method"] == method {
                return;
            }
        }
    }

    /// Opens an address, and waits until all of the page is there.
    pub async fn open(&mut self, url: &str) {
        self.events.clear();
        self.call("Page.navigate", json!({"url": url})).await;
        self.event("Page.loadEventFired").await;
    }

    /// What leads to another page, and waits until all of that is there.
    pub async fn follow(&mut self, script: &str) {
        self.events.clear();
        self.run(script).await;
        self.event("Page.loadEventFired").await;
    }

    /// A key that leads to another page.
    pub async fn follow_key(&mut self, key: &str) {
        self.events.clear();
        self.press(key).await;
        self.event("Page.loadEventFired").await;
    }

    /// The value of an expression in the page. Runs beside the page's own policy.
    pub async fn run(&mut self, script: &str) -> Value {
        let value = self.evaluate(script).await;
        value.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// An error is the protocol's: what the script throws fails the test.
    async fn evaluate(&mut self, script: &str) -> Result<Value, Value> {
        let parameters = json!({
            "expression": script, "returnByValue": true, "awaitPromise": true, "userGesture": true,
        });
        let result = self.ask("Runtime.evaluate", parameters).await?;
        let thrown = &result["exceptionDetails"];
        assert!(thrown.is_null(), "{script}: {thrown}");
        Ok(result["result"]["value"].clone())
    }

    /// Whether it is so in the page that is there; not yet, where that is on its way to another.
    async fn is_so(&mut self, script: &str) -> bool {
        match self.evaluate(script).await {
            Ok(value) => value == json!(true),
            Err(error) => {
                let message = error["message"].as_str().unwrap_or_default();
                assert!(message.contains("navigated"), "{script}: {error}");
                false
            }
        }
    }

    pub async fn text(&mut self) -> String {
        let text = self.run("document.body.innerText").await;
        text.as_str().unwrap_or_default().to_owned()
    }

    pub async fn path(&mut self) -> String {
        let path = self.run("location.pathname + location.search").await;
        path.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an expression is true.
    pub async fn until(&mut self, script: &str) {
        let began = Instant::now();
        while !self.is_so(script).await {
            assert!(
                began.elapsed() < PATIENCE,
                "waited in vain for {script} at {}:\n{}",
                self.path().await,
                self.text().await
            );
            crate::harness::pause(began).await;
        }
    }

    /// A key as a keyboard sends it.
    pub async fn press(&mut self, key: &str) {
        let code = key.chars().next().filter(|_| key.len() == 1);
        let code = code.map_or(13, |c| u32::from(c.to_ascii_uppercase()));
        let text = if key == "Enter" { "\r" } else { key };
        for kind in ["keyDown", "keyUp"] {
            let mut parameters = json!({"type": kind, "key": key, "windowsVirtualKeyCode": code});
            if kind == "keyDown" {
                parameters["text"] = json!(text);
            }
            self.call("Input.dispatchKeyEvent", parameters).await;
        }
    }

    pub async fn size(&mut self, width: u32, height: u32) {
        let metrics = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600,
        });
        self.call("Emulation.setDeviceMetricsOverride", metrics)
            .await;
    }

    pub async fn prefers(&mut self, scheme: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", features).await;
    }

    pub async fn scripts(&mut self, on: bool) {
        self.call(
            "Emulation.setScriptExecutionDisabled",
            json!({"value": !on}),
        )
        .await;
    }

    /// Writes what is seen where somebody wants to look at it.
    pub async fn screenshot(&mut self, name: &str) {
        let Some(folder) = std::env::var_os("WALHOOK_SCREENSHOTS") else {
            return;
        };
        let parameters = json!({"format": "png", "captureBeyondViewport": true});
        let shot = self.call("Page.captureScreenshot", parameters).await;
        let bytes = STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        let file = PathBuf::from(folder).join(format!("{name}.png"));
        std::fs::write(file, bytes).unwrap();
    }

    /// What is seen at this moment, as a PNG.
    pub async fn picture(&mut self) -> Vec<u8> {
        let shot = self
            .call("Page.captureScreenshot", json!({"format": "png"}))
            .await;
        STANDARD.decode(shot["data"].as_str().unwrap()).unwrap()
    }

    /// What pages complained of since the last time.
    pub fn complaints(&mut self) -> Vec<String> {
        std::mem::take(&mut self.complaints)
    }
}

/// A message on the console, an exception, or what a policy refused.
fn complaint(message: &Value) -> Option<String> {
    let parameters = &message["params"];
    match message["method"].as_str()? {
        "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" => Some(parameters.to_string()),
        "Log.entryAdded" => {
            let text = parameters["entry"]["text"].as_str().unwrap_or_default();
            // Chromium notes every answer of 4xx, which tests ask for.
            let is_answer = text.starts_with("Failed to load resource");
            (!is_answer).then(|| parameters.to_string())
        }
        "Audits.issueAdded" => {
            let code = parameters["issue"]["code"].as_str().unwrap_or_default();
            (code == "ContentSecurityPolicyIssue").then(|| parameters.to_string())
        }
        _ => None,
    }
}
