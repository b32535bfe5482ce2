//! One way to attach: README's own blocks, in their order, under the roles that they make.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use tokio::process::{Child, Command};

use ::walhook::conninfo::Client;
use ::walhook::demo::postgres::Postgres;

use crate::harness::command::{Answer, answer, walhook};
use crate::harness::receiver::{Receiver, status};
use crate::harness::{PATIENCE, connect, http, pause, start_postgres, stop_at_exit, try_connect};

const README: &str = include_str!("../../../README.md");
const BACKUP: &str = include_str!("../../../src/docs/backup.md");

/// A section's fenced blocks: language and text.
fn blocks(heading: &str) -> Vec<(&'static str, &'static str)> {
    let (_, section) = README.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let fenced = section.split("```").skip(1).step_by(2);
    fenced
        .map(|block| block.split_once('\n').unwrap())
        .collect()
}

/// A server whose roles are this test's alone. It asks walhook's roles for their passwords.
async fn server() -> Postgres {
    let server = start_postgres(&[]).unwrap();
    stop_at_exit(&server);
    let hba = server.data_directory().join("pg_hba.conf");
    let lines = std::fs::read_to_string(&hba).unwrap();
    let asked = "host all walhook,walhook_store 127.0.0.1/32 scram-sha-256\n";
    std::fs::write(&hba, format!("{asked}{lines}")).unwrap();
    let administrator = connect(&server.url("postgres")).await;
    for statement in ["select pg_reload_conf()", "create database app"] {
        administrator.batch_execute(statement).await.unwrap();
    }
    server
}

/// Runs blocks in one directory, which is the account's home too.
struct Shell<'a> {
    directory: &'a Path,
    server: &'a Postgres,
    api: String,
    receiver: String,
}

impl Shell<'_> {
    /// Only where things are is another: host, port, TLS, the receiver; and the passwords.
    fn substituted(&self, text: &str) -> String {
        let port = self.server.port();
        text.replace("db.example.com:5432", &format!("127.0.0.1:{port}"))
            .replace("db.example.com", &format!("127.0.0.1:{port}"))
            .replace("sslmode=verify-full", "sslmode=disable")
            .replace("127.0.0.1:8080", &self.api)
            .replace("https://example.com/webhooks", &self.receiver)
            .replace('…', "secret")
    }

    fn bash(&self, block: &str) -> Child {
        let binaries = self.directory.join("bin");
        let mut bash = Command::new("bash");
        for (name, value) in walhook().as_std().get_envs() {
            if value.is_none() {
                bash.env_remove(name);
            }
        }
        let path = format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap());
        bash.args(["-e", "-o", "pipefail", "-c", &self.substituted(block)])
            .current_dir(self.directory)
            .env("PATH", path)
            .env("HOME", self.directory)
            .env("WALHOOK_API__LISTEN", &self.api)
            .env("WALHOOK_SECURITY__ALLOW_HTTP", "true")
            .env("WALHOOK_SECURITY__ALLOW_NETWORKS", "127.0.0.0/8")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    async fn ends(&self, block: &str) -> Answer {
        let ended = tokio::time::timeout(PATIENCE, self.bash(block).wait_with_output()).await;
        let ended = ended.unwrap_or_else(|_| panic!("goes on: {block}"));
        answer(ended.unwrap()).exits(0)
    }

    /// Runs a block whose last command is `walhook run`, and gives that once it is ready.
    async fn runs(&self, block: &str) -> Child {
        let (before, rest) = block.split_once("walhook run").unwrap();
        assert_eq!(rest.trim(), "", "`walhook run` goes on");
        self.ends(before).await;
        let running = self.bash("exec walhook run");
        let url = format!("http://{}/readyz?wait=rules", self.api);
        let began = Instant::now();
        loop {
            let ready = http().get(&url).send().await;
            if ready.is_ok_and(|answer| answer.status().is_success()) {
                return running;
            }
            if began.elapsed() > PATIENCE {
                let ended = terminated(running).await;
                panic!("it is not ready:\n{}", ended.err);
            }
            pause(began).await;
        }
    }
}

/// SIGTERM, and what it said.
async fn terminated(running: Child) -> Answer {
    let pid = running.id().unwrap().to_string();
    let sent = Command::new("kill").args(["-TERM", &pid]).status().await;
    assert!(sent.unwrap().success());
    let ended = tokio::time::timeout(PATIENCE, running.wait_with_output()).await;
    answer(ended.expect("it goes on").unwrap())
}

/// What README speaks of, with a column that no receiver should see and a row from before.
const PAYMENTS: &str = "
    create table payments (id bigint generated always as identity primary key,
        tenant_id text not null, amount numeric not null, status text not null,
        customer_id bigint, email text, card_token text);
    insert into payments (tenant_id, amount, status) values ('acme', 1, 'before')";

#[tokio::test(flavor = "multi_thread")]
async fn the_readme_attaches_block_by_block() {
    let server = server().await;
    let application = connect(&server.url("app")).await;
    application.batch_execute(PAYMENTS).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let binary = walhook().as_std().get_program().to_owned();
    std::fs::create_dir(directory.path().join("bin")).unwrap();
    symlink(binary, directory.path().join("bin/walhook")).unwrap();
    let receiver = Receiver::answering(|_, _| status(200)).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let api = free.local_addr().unwrap().to_string();
    drop(free);
    let shell = Shell {
        directory: directory.path(),
        server: &server,
        api,
        receiver: receiver.url("/webhooks"),
    };

    let (mut running, mut languages) = (None, Vec::new());
    for (language, block) in blocks("Attach to your own database") {
        languages.push(language);
        match language {
            "sql" => {
                for statement in shell.substituted(block).lines() {
                    application.batch_execute(statement).await.unwrap();
                }
            }
            "sh" if block.contains("walhook run") => running = Some(shell.runs(block).await),
            "sh" => {
                shell.ends(block).await;
            }
            other => panic!("a block of {other}"),
        }
    }
    assert_eq!(languages, ["sql", "sh", "sh", "sql", "sh", "sh", "sh"]);
    // The passwords were asked for.
    let without = format!("postgres://walhook@127.0.0.1:{}/app", server.port());
    assert!(try_connect(&without).await.is_err());

    let change = "insert into payments (tenant_id, amount, status, card_token) values ('acme', 12.50, 'new', 'tok')";
    application.batch_execute(change).await.unwrap();
    let requests = receiver.wait_for(1).await;
    let body = requests[0].json();
    assert_eq!(body["type"], "payment.created", "{body}");
    assert_eq!(body["data"]["status"], "new", "{body}");
    assert!(body["data"].get("card_token").is_none(), "{body}");
    let users = "select string_agg(distinct usename::text, ' ' order by usename::text)
        from pg_stat_activity where application_name like 'walhook%'";
    let users: String = application.query_one(users, &[]).await.unwrap().get(0);
    assert_eq!(users, "walhook walhook_store");

    // Rows that exist already are read under the same rights.
    shell
        .ends("walhook backfill --table public.payments --where \"status = 'before'\"")
        .await;
    let requests = receiver.wait_for(2).await;
    assert_eq!(requests[1].json()["data"]["status"], "before");
    terminated(running.unwrap()).await.exits(0);

    // README's next rule needs old values: the script, run again, gives what that takes.
    let [("toml", rule), ..] = blocks("A rule")[..] else {
        panic!("README's first block of rules is another");
    };
    let file = directory.path().join("walhook.toml");
    let config = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{config}\n{rule}")).unwrap();
    shell.runs_the_script_again(&application).await;
    let running = shell
        .runs("walhook check\nwalhook setup\nwalhook run")
        .await;
    let change =
        "update payments set status = 'succeeded', email = 'Ada@Example.com' where status = 'new'";
    application.batch_execute(change).await.unwrap();
    let requests = receiver.wait_for(3).await;
    let body = requests[2].json();
    assert_eq!(body["type"], "payment.received", "{body}");
    assert_eq!(
        body["data"]["customer"]["email"], "ada@example.com",
        "{body}"
    );
    terminated(running).await.exits(0);

    // The guide takes all of it away again. The publication is the administrator's.
    let teardown = shell
        .bash("walhook teardown --store --yes")
        .wait_with_output()
        .await;
    answer(teardown.unwrap())
        .exits(1)
        .says("drop publication \"walhook\";");
    let (_, teardown) = BACKUP.split_once("## Teardown").unwrap();
    let (_, sql) = teardown.split_once("```sql\n").unwrap();
    let sql = sql.split("```").next().unwrap();
    application.batch_execute(sql).await.unwrap();
    let left = "select (select count(*) from pg_roles where rolname like 'walhook%')
        + (select count(*) from pg_publication) + (select count(*) from pg_replication_slots)
        + (select count(*) from pg_namespace where nspname = 'walhook')";
    let left: i64 = application.query_one(left, &[]).await.unwrap().get(0);
    assert_eq!(left, 0);
}

impl Shell<'_> {
    /// What is there already stays as it is.
    async fn runs_the_script_again(&self, application: &Client) {
        let state = || async {
            let row = application.query_one(RIGHTS, &[]).await.unwrap();
            row.get::<_, String>(0)
        };
        let before = state().await;
        let script = blocks("Attach to your own database")[2].1;
        self.ends(script).await;
        assert_eq!(state().await, before);
    }
}

/// Everything that the script makes or grants.
const RIGHTS: &str = "
select concat_ws(E'\\n',
    (select string_agg(role.oid || role.xmin::text || role.rolname, ',' order by role.oid) from pg_authid as role),
    (select string_agg(member::text || roleid || admin_option, ',' order by roleid, member) from pg_auth_members),
    (select string_agg(nspname || nspowner || coalesce(nspacl::text, ''), ',' order by oid) from pg_namespace
        where nspname !~ '^pg_'),
    (select coalesce(relacl::text, '') from pg_class where oid = 'payments'::regclass),
    (select string_agg(oid || xmin::text || pubname, ',' order by oid) from pg_publication),
    (select string_agg(oid || xmin::text, ',' order by oid) from pg_publication_rel))";
