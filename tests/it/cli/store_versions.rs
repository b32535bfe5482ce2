//! Every command that opens the store refuses one that it did not make, and says what to do.

use std::collections::BTreeSet;
use std::process::Stdio;

use ::walhook::secret::EncryptionKey;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::harness::command::{Answer, Project, walhook};
use crate::harness::{PATIENCE, TestDatabase};

use super::{PAYMENT_RULE, PAYMENTS};

/// What each command is called with; `None`: it opens no store.
const COMMANDS: [(&str, Option<&[&str]>); 19] = [
    ("run", Some(&["run"])),
    ("init", None),
    ("check", Some(&["check"])),
    ("setup", Some(&["setup"])),
    ("teardown", Some(&["teardown", "--store", "--yes"])),
    ("token", Some(&["token", "create", "--tenant", "acme"])),
    ("tenant", Some(&["tenant", "list"])),
    ("portal-link", Some(&["portal-link", "acme"])),
    ("portal-session", Some(&["portal-session", "list"])),
    ("demo", None),
    ("listen", None),
    ("status", Some(&["status"])),
    ("explain", Some(&["explain", "--since", "1h"])),
    ("backfill", Some(&["backfill", "--list"])),
    (
        "replay",
        Some(&[
            "replay",
            "--since",
            "1h",
            "--subscription",
            "sub_019acb4e-6c5e-7c4f-9a52-5a8c3a4c7d10",
        ]),
    ),
    ("parked", Some(&["parked", "list"])),
    ("rotate-key", Some(&["rotate-key"])),
    ("adopt-store", Some(&["adopt-store"])),
    ("help", None),
];

struct Versions {
    database: TestDatabase,
    project: Project,
}

impl Versions {
    async fn create() -> Self {
        let database = TestDatabase::create().await;
        database.client.batch_execute(PAYMENTS).await.unwrap();
        // Without an address for browsers `portal-link` ends before it opens the store.
        let rules = format!("public_url = 'https://hooks.example.com'\n{PAYMENT_RULE}");
        let project = Project::of(&database, &rules);
        let key = EncryptionKey::create(project.directory.path().join("walhook.key"));
        key.unwrap();
        Versions { database, project }
    }

    /// Of every command that opens the store but `teardown`, which removes any.
    async fn answers(&self) -> Vec<(&'static str, Answer)> {
        let mut answers = Vec::new();
        for (name, arguments) in COMMANDS {
            if let (Some(arguments), false) = (arguments, name == "teardown") {
                answers.push((name, self.project.walhook(arguments).await));
            }
        }
        answers
    }

    async fn refused(&self) {
        for (_, answer) in self.answers().await {
            answer
                .exits(1)
                .says("made by another version of walhook")
                .says("drop schema \"walhook\" cascade")
                .says("store.schema")
                .says("subscriptions");
        }
    }
}

#[tokio::test]
async fn every_command_is_known_to_open_the_store_or_not() {
    let it = Versions::create().await;
    let help = it.project.walhook(&["--help"]).await.exits(0).out;
    let listed = help
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  "))
        .filter_map(|line| line.split(' ').next())
        .filter(|name| !name.is_empty());
    let listed: BTreeSet<&str> = listed.collect();
    let tested: BTreeSet<&str> = COMMANDS.iter().map(|(name, _)| *name).collect();
    assert_eq!(listed, tested);
}

#[tokio::test]
async fn an_absent_store_is_to_be_set_up() {
    let it = Versions::create().await;
    // What is another's by its name is none of ours.
    let application = "create schema walhook; create table walhook.store (id bigint)";
    for made in ["", application] {
        it.database.client.batch_execute(made).await.unwrap();
        for (name, arguments) in COMMANDS {
            let Some(arguments) = arguments else { continue };
            let expected = match name {
                // `setup` makes it, `teardown` finds nothing to remove; `explain` says that
                // nothing is stored.
                "setup" | "teardown" | "explain" => continue,
                "check" => 0,
                _ => 1,
            };
            let answer = it.project.walhook(arguments).await;
            answer.exits(expected).says("`walhook setup`");
        }
    }
    let taken = it.project.walhook(&["setup"]).await.exits(1);
    taken.says("create the store's tables");
    let dropped = "drop schema walhook cascade";
    it.database.client.batch_execute(dropped).await.unwrap();
    it.project.walhook(&["setup"]).await.exits(0);
}

#[tokio::test]
async fn a_store_with_another_fingerprint_is_refused_by_every_command() {
    let it = Versions::create().await;
    it.project.walhook(&["setup"]).await.exits(0);
    let others = [
        "update walhook.store set schema_sha256 = sha256('another')",
        "delete from walhook.store",
        "alter table walhook.store rename column schema_sha256 to fingerprint",
    ];
    for other in others {
        it.database.client.batch_execute(other).await.unwrap();
        it.refused().await;
    }
    it.project
        .walhook(&["teardown", "--store", "--yes"])
        .await
        .exits(0);
    it.project.walhook(&["setup"]).await.exits(0);
    it.project
        .walhook(&["check"])
        .await
        .exits(0)
        .says("is set up for this version");
}

#[tokio::test]
async fn a_store_from_before_fingerprints_is_refused_by_every_command() {
    let it = Versions::create().await;
    let refinery = "create schema walhook;
        create table walhook.refinery_schema_history (version int4 primary key, name varchar(255),
            applied_on varchar(255), checksum varchar(255));
        insert into walhook.refinery_schema_history values (1, 'store', '', '');
        create table walhook.webhook_subscriptions (id uuid primary key);
        create table walhook.replication_progress (slot text primary key)";
    it.database.client.batch_execute(refinery).await.unwrap();
    it.refused().await;
}

#[tokio::test]
async fn processes_that_set_up_at_once_make_one_store() {
    let it = Versions::create().await;
    let others: Vec<Project> = (0..3)
        .map(|_| Project::of(&it.database, PAYMENT_RULE))
        .collect();
    // As on the nodes of one installation.
    let key = it.project.directory.path().join("walhook.key");
    for other in &others {
        std::fs::copy(&key, other.directory.path().join("walhook.key")).unwrap();
    }
    let setups = others.iter().map(|other| other.walhook(&["setup"]));
    // Each but the first finds what the one before made: none fails half way.
    for answer in futures_util::future::join_all(setups).await {
        answer.exits(0);
    }
    let row = "select count(*) from walhook.store";
    let rows = it.database.client.query_one(row, &[]).await.unwrap();
    assert_eq!(rows.get::<_, i64>(0), 1);
}

#[tokio::test]
async fn setup_says_which_session_it_waits_for() {
    let it = Versions::create().await;
    let client = &it.database.client;
    // What another setup holds while it works.
    client
        .batch_execute("select pg_advisory_lock(7823724)")
        .await
        .unwrap();
    let pid: i32 = client
        .query_one("select pg_backend_pid()", &[])
        .await
        .unwrap()
        .get(0);
    let mut setup = walhook()
        .current_dir(it.project.directory.path())
        .arg("setup")
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(setup.stderr.take().unwrap()).lines();
    let line = tokio::time::timeout(PATIENCE, said.next_line());
    let line = line.await.unwrap().unwrap().unwrap();
    let expected =
        format!("waiting for another `walhook setup` or `walhook teardown` (session {pid}) to end");
    assert_eq!(line, expected);
    client
        .batch_execute("select pg_advisory_unlock(7823724)")
        .await
        .unwrap();
    let ended = tokio::time::timeout(PATIENCE, setup.wait()).await;
    assert!(ended.unwrap().unwrap().success());
}
