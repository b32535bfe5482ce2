//! The commands and the SQL of the guide, run against a real installation.

use std::process::Stdio;

use serde_json::json;
use tokio::process::Command;

use super::{blocks, documents, read};
use crate::delivery::{Deployed, text};
use crate::harness::command::{answer, walhook};
use crate::harness::process::Process;
use crate::harness::receiver::{Receiver, status};
use crate::harness::walhook::Installation;
use crate::harness::{PATIENCE, connect, server};

const PAYMENTS: &str = "create table payments (id bigint generated always as identity primary key, \
     tenant_id text, status text not null, amount numeric not null, currency text, \
     created_at timestamptz not null default now(), updated_at timestamptz not null default now()); \
     alter table payments replica identity full";

const RULES: &str = "
[[events]]
type = 'payment.received'
table = 'public.payments'
when = \"became(status = 'succeeded')\"
";

const PAY: &str = "insert into payments (tenant_id, status, amount, currency) values ('acme', 'succeeded', 120.5, 'EUR')";

/// What stands for the ids of the guide.
struct Known {
    api: String,
    token: String,
    ids: Vec<(&'static str, String)>,
}

impl Known {
    fn put_into(&self, block: &str) -> String {
        let mut text = block.replace("http://127.0.0.1:8080", &self.api);
        for (id, known) in &self.ids {
            text = text.replace(id, known);
        }
        text
    }
}

/// Runs each line of a block by itself: each shall succeed.
async fn run(installation: &Installation, known: &Known, document: &str, block: &str) {
    let folder = installation.directory.path();
    let binary = walhook().as_std().get_program().to_owned();
    let lines = known.put_into(block).replace("\\\n", " ");
    // A call whose body stands on several lines is one command.
    let lines = if lines.contains("-d '{") {
        vec![lines.as_str()]
    } else {
        lines.lines().collect()
    };
    for line in lines {
        // It follows the WAL until it is stopped.
        let follows = line.trim() == "walhook explain";
        // No backfill is there to be resumed or cancelled: tests of backfills do that.
        if line.contains("bkf_…") && !line.contains("--list") {
            continue;
        }
        let mut command = Command::new("bash");
        command
            .args(["-euo", "pipefail", "-c"])
            .arg(format!(
                "walhook() {{ {}\"$WALHOOK\" --config walhook.toml \"$@\"; }}\n{line}",
                if follows { "timeout -s INT 3 " } else { "" }
            ))
            .env("WALHOOK", &binary)
            .env("API", format!("{}/api/v1/tenant/webhooks", known.api))
            .env("TOKEN", &known.token)
            .current_dir(folder)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let ended = tokio::time::timeout(PATIENCE, command.output()).await;
        let said = answer(ended.unwrap_or_else(|_| panic!("goes on: {line}")).unwrap());
        let stopped = follows && said.code == 124;
        assert!(
            said.code == 0 || stopped,
            "{document}: `{line}` exits with {}\n{}\n{}",
            said.code,
            said.out,
            said.err
        );
        // curl succeeds whatever the answer is.
        assert!(
            !said.out.contains("\"status\":4") && !said.out.contains("\"code\":"),
            "{document}: `{line}` is answered {}",
            said.out
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guides_commands_and_sql_do_what_they_say() {
    let receiver = Receiver::answering(|_, _| status(200)).await;
    let installation = Installation::create(PAYMENTS, RULES, "").await;
    let deployed = Deployed::of(installation, &[&["run"]]).await;
    let acme = deployed.tenant("acme").await;
    let body = json!({"url": receiver.url("/"), "events": ["payment.*"]});
    let subscription = acme.post("/subscriptions", body).await.expect(201);
    deployed.execute(PAY).await;
    let delivered = |listed: &serde_json::Value| listed["data"][0]["status"] == "delivered";
    let listed = acme.get_until("/deliveries", delivered).await;
    let known = Known {
        api: deployed.base().to_owned(),
        token: acme.token().to_owned(),
        ids: vec![
            ("sub_…", text(&subscription["id"]).to_owned()),
            ("dlv_…", text(&listed["data"][0]["id"]).to_owned()),
            ("evt_…", text(&listed["data"][0]["event_id"]).to_owned()),
            // Endpoints at names of others are refused without a look-up of theirs.
            ("https://example.com/webhooks", receiver.url("/filtered")),
        ],
    };

    for page in ["filters", "operating", "troubleshooting"] {
        let document = format!("src/docs/{page}.md");
        let text = read(&document);
        for block in blocks(&text, "sh") {
            run(&deployed.walhook, &known, &document, block).await;
        }
        for block in blocks(&text, "sql") {
            let done = deployed.walhook.database.client.batch_execute(block).await;
            assert!(done.is_ok(), "{document}: {}\n{block}", done.unwrap_err());
        }
    }

    let Deployed {
        walhook, processes, ..
    } = deployed;
    assert!(
        processes
            .into_iter()
            .all(|process: Process| process.terminate().success())
    );
    let text = read("src/docs/backup.md");
    let teardown = text.split_once("## Teardown").unwrap().1;
    for block in blocks(&text, "sh") {
        // It asks before it does anything, and nobody answers here.
        let block = block.replace("walhook teardown  ", "walhook teardown --yes");
        run(&walhook, &known, "src/docs/backup.md", &block).await;
    }
    teardown_in_sql(&blocks(teardown, "sql")).await;
}

/// The roles and the slot are other tests' too: these go by another name.
async fn teardown_in_sql(blocks: &[&str]) {
    let admin = connect(&server().url("postgres")).await;
    admin
        .batch_execute(
            "create role documented_tenant_app_documented nologin; create role documented; \
             create role documented_store",
        )
        .await
        .unwrap();
    let slot = "select pg_create_logical_replication_slot('documented', 'pgoutput')";
    admin.batch_execute(slot).await.unwrap();
    assert_eq!(blocks.len(), 2);
    for block in blocks {
        let block = block.replace("walhook", "documented");
        admin.batch_execute(&block).await.unwrap();
    }
    let left = "select (select count(*) from pg_roles where rolname like 'documented%')
        + (select count(*) from pg_replication_slots where slot_name = 'documented')";
    let left: i64 = admin.query_one(left, &[]).await.unwrap().get(0);
    assert_eq!(left, 0);
}

/// Commands in the text: what they name is there. None is run: `--help` ends each.
#[tokio::test]
async fn commands_in_the_text_are_those_of_the_program() {
    let mut count = 0;
    for document in documents() {
        let text = read(&document);
        let prose = text.split("```").step_by(2);
        let code = prose.flat_map(|part| part.split('`').skip(1).step_by(2));
        for line in code.filter(|code| code.starts_with("walhook ")) {
            let line = line.replace('\n', " ");
            let line = line.replace("_…", "_019aa8f1-7c00-7000-8000-000000000000");
            let mut command = Command::new("bash");
            command
                .arg("-c")
                .arg(format!(
                    "walhook() {{ \"$WALHOOK\" \"$@\" --help; }}\n{line}"
                ))
                .env("WALHOOK", walhook().as_std().get_program())
                .stdin(Stdio::null());
            let said = answer(command.output().await.unwrap());
            assert_eq!(said.code, 0, "{document}: `{line}`\n{}", said.err);
            count += 1;
        }
    }
    assert!(count > 40, "{count}");
}
