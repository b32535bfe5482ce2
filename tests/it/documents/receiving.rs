//! The snippets of receiving.md verify what walhook really sends, where their runtime is on
//! the machine.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;

use super::{blocks, read, receive};
use crate::delivery::{Deployed, text};
use crate::harness::PATIENCE;
use crate::harness::receiver::{Receiver, Request, status};

/// Whether `program` can be run here; says so where it cannot.
async fn is_there(program: &str) -> bool {
    let mut command = Command::new(program);
    command
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let there = command.status().await.is_ok_and(|status| status.success());
    if !there {
        eprintln!("{program} is not on this machine: its snippets are not run");
    }
    there
}

/// What the program prints.
async fn run(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = output.expect("it goes on").unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// A request as walhook sends it, to a subscription with both kinds of key.
async fn sent() -> (Value, Request) {
    let deployed = Deployed::start("").await;
    let receiver = Receiver::answering(|_, _| status(200)).await;
    let acme = deployed.tenant("acme").await;
    let more = json!({"signing_key": "generate"});
    let subscription = acme.subscribe_with(&receiver.url("/"), more).await;
    deployed.orders("acme", 1).await;
    let request = receiver.wait_for(1).await.remove(0);
    deployed.stop();
    (subscription, request)
}

fn headers(request: &Request) -> String {
    let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let headers = names.map(|name| (name.to_owned(), json!(request.header(name))));
    Value::Object(headers.into_iter().collect()).to_string()
}

fn block(language: &str, part: &str) -> String {
    let page = read("src/docs/receiving.md");
    let found = blocks(&page, language);
    let found = found.into_iter().find(|block| block.contains(part));
    found
        .unwrap_or_else(|| panic!("no {language} with {part}"))
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_snippets_verify_what_is_sent_and_refuse_what_is_not() {
    let (subscription, request) = sent().await;
    let body = String::from_utf8(request.body.to_vec()).unwrap();
    let altered = body.replace("new", "old");
    assert_ne!(body, altered);
    let environment = [
        ("HEADERS", headers(&request)),
        ("BODY", body),
        ("ALTERED", altered),
        ("WEBHOOK_SECRET", text(&subscription["secret"]).to_owned()),
        (
            "WEBHOOK_PUBLIC_KEY",
            text(&subscription["public_key"]).to_owned(),
        ),
    ];
    let environment: Vec<_> = environment
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();

    if is_there("python3").await {
        let script = block("python", "hashlib")
            + "\nimport json, os\n\
               for body in ('BODY', 'ALTERED'):\n    \
               print(verifies(os.environ['WEBHOOK_SECRET'], json.loads(os.environ['HEADERS']), os.environ[body].encode()))\n";
        let said = run("python3", &["-c", &script], &environment).await;
        assert_eq!(said, "True\nFalse\n");
    }
    if is_there("node").await {
        let script = block("js", "createPublicKey")
            + "\nfor (const body of ['BODY', 'ALTERED'])\n  \
               console.log(verifies(JSON.parse(process.env.HEADERS), Buffer.from(process.env[body])));\n";
        let arguments = ["--input-type=module", "--eval", &script];
        let said = run("node", &arguments, &environment).await;
        assert_eq!(said, "true\nfalse\n");
    }
}

/// Those that need packages are at least what their language takes for a program.
#[tokio::test]
async fn the_snippets_that_need_packages_can_be_parsed() {
    let directory = tempfile::tempdir().unwrap();
    if is_there("python3").await {
        let file = directory.path().join("receive.py");
        std::fs::write(&file, block("python", "flask")).unwrap();
        run(
            "python3",
            &["-m", "py_compile", file.to_str().unwrap()],
            &[],
        )
        .await;
    }
    if is_there("node").await {
        let file = directory.path().join("receive.mjs");
        std::fs::write(&file, block("js", "express")).unwrap();
        run("node", &["--check", file.to_str().unwrap()], &[]).await;
    }
}

/// The one in Rust is a file of the tests: it receives here what walhook sends.
#[tokio::test(flavor = "multi_thread")]
async fn the_snippet_in_rust_takes_what_is_signed_with_its_secret_and_nothing_else() {
    assert_eq!(
        block("rust", "standardwebhooks"),
        include_str!("receive.rs")
    );
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/webhooks", listener.local_addr().unwrap());
    let serving = tokio::spawn(axum::serve(listener, receive::receiver(secret)).into_future());

    let deployed = Deployed::start("").await;
    let acme = deployed.tenant("acme").await;
    let right = acme.subscribe_with(&url, json!({"secret": secret})).await;
    let wrong = acme.subscribe(&url).await;
    deployed.orders("acme", 1).await;
    for (subscription, answered) in [(right, 204), (wrong, 401)] {
        let path = format!("/deliveries?subscription_id={}", text(&subscription["id"]));
        let attempted = |listed: &Value| listed["data"][0]["attempts"] == 1;
        let listed = acme.get_until(&path, attempted).await;
        assert_eq!(listed["data"][0]["last_http_status"], answered, "{listed}");
    }
    deployed.stop();
    serving.abort();
}
