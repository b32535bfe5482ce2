//! `walhook listen`, the real binary: says of each request whether it verifies.

use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signer as _;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use crate::harness::http;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const BODY: &str = r#"{"id":"evt_1","type":"payment.received","timestamp":"2026-11-23T12:00:00Z","tenant_id":"acme","data":{}}"#;
const PATIENCE: Duration = Duration::from_secs(60);

struct Listening {
    process: Child,
    output: Lines<BufReader<ChildStdout>>,
    errors: Lines<BufReader<ChildStderr>>,
    url: String,
}

impl Listening {
    async fn start(arguments: &[&str], secret: Option<&str>) -> Listening {
        let mut command = Command::new(env!("CARGO_BIN_EXE_walhook"));
        command.args(["listen", "--port", "0"]).args(arguments);
        command.env_remove("WALHOOK_LISTEN_SECRET");
        if let Some(secret) = secret {
            command.env("WALHOOK_LISTEN_SECRET", secret);
        }
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut errors = BufReader::new(process.stderr.take().unwrap()).lines();
        let line = errors.next_line().await.unwrap().unwrap();
        let url = line.strip_prefix("listening on ").unwrap().to_owned();
        Listening {
            process,
            output,
            errors,
            url,
        }
    }

    /// Posts `body` under the signature of [`BODY`] and answers the status.
    async fn post(&self, body: &'static str) -> u16 {
        self.post_under(BODY, body).await
    }

    /// Posts `body` under its own signature and answers the status.
    async fn post_signed(&self, body: &'static str) -> u16 {
        self.post_under(body, body).await
    }

    async fn post_under(&self, signed: &str, body: &'static str) -> u16 {
        let now = jiff::Timestamp::now().as_second();
        let signature = standardwebhooks::Webhook::new(SECRET)
            .unwrap()
            .sign("evt_1", now, signed.as_bytes())
            .unwrap();
        let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        let asymmetric = key.sign(format!("evt_1.{now}.{signed}").as_bytes());
        let asymmetric = STANDARD.encode(asymmetric.to_bytes());
        let signature = format!("{signature} v1a,{asymmetric}");
        let answer = http()
            .post(&self.url)
            .header("webhook-id", "evt_1")
            .header("webhook-timestamp", now)
            .header("webhook-signature", signature)
            .body(body)
            .send();
        answer.await.unwrap().status().as_u16()
    }

    async fn line(&mut self) -> String {
        let line = tokio::time::timeout(PATIENCE, self.output.next_line()).await;
        line.unwrap().unwrap().unwrap()
    }

    /// Ctrl-C: its exit code and its last words.
    async fn interrupt(mut self) -> (Option<i32>, String) {
        let pid = self.process.id().unwrap().to_string();
        let sent = Command::new("kill").args(["-INT", &pid]).status().await;
        assert!(sent.unwrap().success());
        let mut last_words = String::new();
        self.errors
            .get_mut()
            .read_to_string(&mut last_words)
            .await
            .unwrap();
        (self.process.wait().await.unwrap().code(), last_words)
    }
}

#[tokio::test]
async fn what_verifies_and_what_does_not_is_said_and_answered() {
    let mut listening = Listening::start(&["--json", "--print-body"], Some(SECRET)).await;
    assert_eq!(listening.post(BODY).await, 200);
    let request: Value = serde_json::from_str(&listening.line().await).unwrap();
    assert_eq!(request["verified"], true);
    assert_eq!(request["type"], "payment.received");
    assert_eq!(request["tenant_id"], "acme");
    assert_eq!(request["webhook_id"], "evt_1");
    assert_eq!(request["body"], BODY);

    assert_eq!(listening.post("{}").await, 401);
    let request: Value = serde_json::from_str(&listening.line().await).unwrap();
    assert_eq!(request["verified"], false);
    assert_eq!(request["status"], 401);

    let (code, last_words) = listening.interrupt().await;
    assert_eq!(code, Some(1));
    assert_eq!(last_words, "2 requests: 1 verified, 1 not verified\n");
}

#[tokio::test]
async fn a_public_key_verifies_without_the_secret() {
    let public_key = |private| {
        let key = ed25519_dalek::SigningKey::from_bytes(&[private; 32]);
        format!("whpk_{}", STANDARD.encode(key.verifying_key().to_bytes()))
    };
    let own = public_key(7);
    let mut listening = Listening::start(&["--json", "--public-key", &own], None).await;
    assert_eq!(listening.post(BODY).await, 200);
    let request: Value = serde_json::from_str(&listening.line().await).unwrap();
    assert_eq!(request["verified"], true);
    assert_eq!(listening.post("{}").await, 401);
    assert_eq!(listening.interrupt().await.0, Some(1));

    let other = public_key(8);
    let mut listening = Listening::start(&["--json", "--public-key", &other], None).await;
    assert_eq!(listening.post(BODY).await, 401);
    let request: Value = serde_json::from_str(&listening.line().await).unwrap();
    assert_eq!(request["verified"], false);
    assert_eq!(listening.interrupt().await.0, Some(1));
}

#[tokio::test]
async fn a_batch_verifies_and_says_how_many_are_in_it() {
    let mut listening = Listening::start(&["--json"], Some(SECRET)).await;
    let batch = r#"{"id":"evt_1","type":"webhook.batch","timestamp":"2026-11-23T12:00:00Z","tenant_id":"acme","data":[{"id":"evt_2"},{"id":"evt_3"}]}"#;
    assert_eq!(listening.post_signed(batch).await, 200);
    let request: Value = serde_json::from_str(&listening.line().await).unwrap();
    assert_eq!(request["verified"], true);
    assert_eq!(request["type"], "webhook.batch");
    assert_eq!(request["events"], 2);
    assert_eq!(listening.interrupt().await.0, Some(0));

    let mut listening = Listening::start(&[], Some(SECRET)).await;
    assert_eq!(listening.post_signed(batch).await, 200);
    let line = listening.line().await;
    assert!(
        line.contains("VERIFIED") && line.contains("2 events"),
        "{line}"
    );
    assert_eq!(listening.interrupt().await.0, Some(0));
}

#[tokio::test]
async fn it_can_refuse_everything_so_that_retries_show() {
    let mut listening = Listening::start(&["--status", "500"], Some(SECRET)).await;
    assert_eq!(listening.post(BODY).await, 500);
    let line = listening.line().await;
    assert!(line.contains("VERIFIED") && line.contains("500"), "{line}");
    assert_eq!(listening.post(BODY).await, 500);
    let line = listening.line().await;
    assert!(line.contains("attempt 2"), "{line}");
    let (code, _) = listening.interrupt().await;
    assert_eq!(code, Some(0));
}

#[tokio::test]
async fn without_a_secret_nothing_is_claimed() {
    let mut listening = Listening::start(&[], None).await;
    let warning = listening.errors.next_line().await.unwrap().unwrap();
    assert!(warning.contains("not checked"), "{warning}");
    assert_eq!(listening.post("not JSON\x1b[2J").await, 200);
    let line = listening.line().await;
    assert!(
        line.contains("not checked") && !line.contains('\x1b'),
        "{line}"
    );
    let (code, last_words) = listening.interrupt().await;
    assert_eq!(code, Some(0));
    assert_eq!(last_words, "1 requests, not checked\n");
}

#[tokio::test]
async fn a_bad_secret_is_refused_and_not_repeated() {
    for (argument, value, reason) in [
        ("--secret", "whsec_notbase64!", "base64"),
        ("--secret", " whsec_notbase64!", "blank"),
        ("--secret", "whsk_notbase64!", "`signing_key`"),
        ("--public-key", "whsk_notbase64!", "public key"),
        ("--public-key", "'whpk_notbase64!'", "quotation mark"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_walhook"))
            .args(["listen", "--port", "0", argument, value])
            .output()
            .await
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{value}");
        assert!(errors.contains(reason), "{errors}");
        assert!(!errors.contains("notbase64!"), "{errors}");
    }
}
