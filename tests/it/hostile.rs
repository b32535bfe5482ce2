//! A database in which another login has shadowed all that our SQL names runs none of it with our
//! rights.

use std::collections::BTreeSet;
use std::path::Path;

use crate::cli::least_privilege::{psql, url_as};
use crate::harness::command::{Project, answer, walhook};
use crate::harness::process::Process;
use crate::harness::receiver::Receiver;
use crate::harness::walhook::Installation;
use crate::harness::{TestDatabase, connect, server};

/// The application's. Types of its own are its own to make casts of, and checks: of an enum
/// and a domain in a key, of a value that is long.
const TABLES: &str = "
    set search_path = ''; set test.application = 'yes';
    create schema app;
    create type app.mood as enum ('sad', 'ok', 'happy');
    create type app.details as (size integer, note text);
    create domain app.code as varchar(20);
    create table app.things (mood app.mood, code app.code, id bigint, tenant_id text not null,
        status text, details app.details, primary key (mood, code, id));
    create function app.cast_of(text) returns app.mood language plpgsql as
        $$ begin perform public.planted('cast to mood'); return null; end $$;
    create function app.cast_of(app.details) returns text language plpgsql as
        $$ begin perform public.planted('cast of details'); return null; end $$;
    create function app.checks(varchar) returns boolean language plpgsql as
        $$ begin return pg_catalog.current_setting('test.application', true) = 'yes'
            or public.planted('check of code'); end $$;
    alter domain app.code add check (app.checks(value));
    create cast (text as app.mood) with function app.cast_of(text) as implicit;
    create cast (app.details as text) with function app.cast_of(app.details) as implicit;
    insert into app.things select 'ok'::app.mood, 'c' || n, n, 'acme', 'new',
            row(n, (select string_agg(md5(n::text || m::text), '') from generate_series(1, 50) m))::app.details
        from generate_series(1, 30) n;
";

const RULES: &str = "
[[events]]
type = 'thing.created'
table = 'app.things'
on = ['insert']
[events.data]
id = 'id'

[[events]]
type = 'thing.done'
table = 'app.things'
when = \"became(status = 'done') or changed(details)\"
[events.data]
id = 'id'
";

/// Everything that could be a name or an operator in SQL of ours.
fn tokens(is_part: fn(char) -> bool) -> String {
    let mut tokens = BTreeSet::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut directories = vec![root.join("sql"), root.join("src")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            // Pictures hold no SQL.
            if path.extension().is_some_and(|extension| extension == "png") {
                continue;
            }
            let text = std::fs::read_to_string(path).unwrap();
            let found = text.split(|character| !is_part(character));
            tokens.extend(found.filter(|token| !token.is_empty()).map(str::to_owned));
        }
    }
    tokens.into_iter().collect::<Vec<_>>().join(" ")
}

/// Lets a login with CREATE on public plant, and the database's owner, who is no superuser,
/// set the search path of every session to come.
async fn plant(database: &TestDatabase) {
    let (intruder, owner) = (
        format!("intruder_{}", database.name),
        format!("owner_{}", database.name),
    );
    let words = tokens(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let operators = tokens(|c| "+-*/<>=~!@#%^&|`?".contains(c));
    let made = format!(
        "create role {intruder} login; create role {owner} login;
         grant create on schema public to {intruder};
         alter database {name} owner to {owner};
         set test.words = '{words}'; set test.operators = '{operators}';
         set session authorization {intruder}",
        name = database.name
    );
    let client = connect(&database.url).await;
    client.batch_execute(&made).await.unwrap();
    client
        .batch_execute(include_str!("hostile/plant.sql"))
        .await
        .unwrap();
    let rows = client
        .query("select what, made from public.planting", &[])
        .await
        .unwrap();
    for (what, least) in [
        ("functions", 1000),
        ("operators", 1000),
        ("relations", 20),
        ("types", 20),
    ] {
        let row = rows.iter().find(|row| row.get::<_, &str>(0) == what);
        let made: i64 = row.unwrap().get(1);
        assert!(made >= least, "only {made} {what}");
    }
    let tables = format!("reset session authorization; {TABLES}");
    client.batch_execute(&tables).await.unwrap();
    let path = format!(
        "set session authorization {owner};
         alter database {} set search_path = public, pg_catalog",
        database.name
    );
    client.batch_execute(&path).await.unwrap();
}

/// What was called in this database, by the server's own log.
fn called(database: &TestDatabase) -> Vec<String> {
    // Databases of other encodings write to it too.
    let log = std::fs::read(server().log_file()).unwrap();
    let log = String::from_utf8_lossy(&log);
    let of_us = format!("planted in {}: ", database.name);
    let calls = log.lines().filter(|line| line.contains(&of_us));
    calls.map(str::to_owned).collect()
}

/// A session that begins as the server has it does call what was planted.
async fn the_trap_works(database: &TestDatabase) {
    let shadowed = connect(&database.url).await;
    for (sql, what) in [
        ("select pg_is_in_recovery()", "function pg_is_in_recovery"),
        ("select from pg_class", "relation pg_class"),
        ("select 'x'::text", "type text"),
        ("select 1 < 2", "operator of integer and integer"),
    ] {
        let error = shadowed.batch_execute(sql).await.unwrap_err();
        let error = error.as_db_error().unwrap().message().to_owned();
        assert_eq!(error, format!("planted: {what}"));
    }
    // PostgreSQL's own path, which looks into pg_catalog first.
    let fitting = connect(&database.url).await;
    let sql = "set search_path = \"$user\", public; select 1::oid < 2::int4";
    let error = fitting.batch_execute(sql).await.unwrap_err();
    let error = error.as_db_error().unwrap().message();
    assert_eq!(error, "planted: operator of oid and integer");
    assert_eq!(called(database).len(), 5);
}

async fn all_commands(mut database: TestDatabase, role: Option<&str>) {
    plant(&database).await;
    the_trap_works(&database).await;
    if let Some(role) = role {
        let url = url_as(&database, role);
        let project = Project::new(&Project::config(&database, &url, RULES));
        let printed = project.walhook(&["setup", "--print-sql"]).await.exits(0);
        psql(&database, &printed.out).await;
        let more = format!(
            "alter role {role} set search_path = public, pg_catalog; grant select on app.things to {role}"
        );
        database.client.batch_execute(&more).await.unwrap();
        database.url = url;
    }
    let installation = Installation::create_in(database, "select", RULES, "").await;
    let run = |arguments: &[&str]| {
        let mut command = walhook();
        command
            .arg("--config")
            .arg(installation.config_file())
            .args(arguments);
        async move { answer(command.output().await.unwrap()) }
    };
    run(&["setup"]).await.exits(0);
    run(&["check"]).await.exits(0).says("no failures");
    let receiver = Receiver::start().await;
    installation
        .subscribe("acme", &receiver.url("/"), &["*"])
        .await;
    let process = Process::start(&installation.config_file(), &["run"]);
    installation
        .wait_for("exists (select from shadow_rules where active_from_lsn > '0/0')")
        .await;
    let client = &installation.database.client;
    client
        .batch_execute(
            "set search_path = ''; set test.application = 'yes';
             insert into app.things values ('sad', 'new', 31, 'acme', 'new', null);
             update app.things set status = 'done' where id <= 5",
        )
        .await
        .unwrap();
    receiver.wait_for(6).await;
    let backfill = ["backfill", "--table", "app.things", "--chunk", "7"];
    run(&backfill).await.exits(0);
    receiver.wait_for(6 + 31).await;
    let some = ["--where", "status = 'new' and id % 2 = 0 and code <> 'x'"];
    run(&[&backfill[..], &some].concat()).await.exits(0);
    run(&[&backfill[..], &["--dry-run"]].concat())
        .await
        .exits(0);
    receiver.wait_for(6 + 31 + 13).await;
    run(&["explain", "--for", "1ms"]).await.exits(0);
    run(&["explain", "--since", "1h"]).await.exits(0);
    run(&["status"]).await.exits(0);
    assert!(process.terminate().success());
    run(&["teardown", "--slot", "--yes"]).await.exits(0);
    let calls = called(&installation.database).split_off(5);
    assert_eq!(calls, [""; 0]);
}

#[tokio::test]
async fn nothing_planted_runs_as_administrator() {
    all_commands(TestDatabase::create().await, None).await;
}

#[tokio::test]
async fn nothing_planted_runs_as_walhook() {
    let database = TestDatabase::create().await;
    let role = format!("walhook_{}", database.name);
    all_commands(database, Some(&role)).await;
}
