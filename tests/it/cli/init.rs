//! `walhook init`: what it writes is accepted by `walhook check` as it is, under the roles that
//! `setup --print-sql` makes.

use std::path::PathBuf;

use crate::harness::command::{Answer, answer, walhook};
use crate::harness::process::Process;
use crate::harness::{TestDatabase, connect, server, start_postgres};

use super::check::version;
use super::least_privilege::{psql, psql_at, psql_says, url_as};
use super::{LEADS, PAYMENTS};

/// A directory without a configuration.
struct Empty {
    directory: tempfile::TempDir,
    /// Names of roles and slots are the cluster's, which other tests use too.
    suffix: String,
}

impl Empty {
    fn new(database: &TestDatabase) -> Self {
        Empty {
            directory: tempfile::tempdir().unwrap(),
            suffix: database.name.clone(),
        }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("walhook.toml")
    }

    fn slot(&self) -> String {
        format!("slot_{}", self.suffix)
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.file()).unwrap()
    }

    async fn walhook(&self, arguments: &[&str]) -> Answer {
        let mut command = walhook();
        command
            .current_dir(self.directory.path())
            .args(arguments)
            .env("WALHOOK_SOURCE__SLOT", self.slot());
        answer(command.output().await.unwrap())
    }

    async fn init(&self, url: &str, arguments: &[&str]) -> Answer {
        let arguments = [&["init", url][..], arguments].concat();
        self.walhook(&arguments).await
    }

    /// Gives the roles names that are this test's alone.
    fn rename_roles(&self) {
        let text = self.text();
        let own = |role: &str| format!("postgres://{role}_{}@", self.suffix);
        let renamed = text
            .replace("postgres://walhook@", &own("capture"))
            .replace("postgres://walhook_store@", &own("store"));
        assert_ne!(text, renamed);
        std::fs::write(self.file(), renamed).unwrap();
    }

    /// The script, run twice; then `check` and `setup` under the roles that it makes.
    async fn attaches(&self, administrator: &str) {
        self.rename_roles();
        let script = self.walhook(&["setup", "--print-sql"]).await.exits(0).out;
        psql_at(administrator, &script).await;
        psql_at(administrator, &script).await;
        self.walhook(&["check"]).await.exits(0).says("no failures");
        self.walhook(&["setup"]).await.exits(0);
        self.walhook(&["check"]).await.exits(0).says("no failures");
    }
}

impl Drop for Empty {
    /// A slot that stays would retain the WAL of all tests.
    fn drop(&mut self) {
        let mut teardown = std::process::Command::new(walhook().as_std().get_program());
        let ended = teardown
            .current_dir(self.directory.path())
            .args(["teardown", "--slot", "--yes"])
            .env("WALHOOK_SOURCE__SLOT", self.slot())
            .output();
        // Where nothing was set up there is nothing to tear down.
        drop(ended);
    }
}

#[tokio::test]
async fn init_without_tables_lists_them_and_with_tables_writes_what_check_accepts() {
    let database = TestDatabase::create().await;
    let tables = format!("{PAYMENTS}; {LEADS}; create unlogged table scratch (id int primary key)");
    database.client.batch_execute(&tables).await.unwrap();
    // A login with no right on the tables.
    let role = format!("nobody_{}", database.name);
    let login = format!("create role {role} login");
    database.client.batch_execute(&login).await.unwrap();
    let url = url_as(&database, &role);
    let it = Empty::new(&database);
    let listed = it.init(&url, &[]).await.exits(0);
    assert!(listed.out.contains("  public.payments\n"), "{}", listed.out);
    assert!(!listed.out.contains("scratch"), "{}", listed.out);
    assert!(!it.file().exists());

    let tables = ["--table", "public.payments", "--table", "leads"];
    it.init(&url, &tables)
        .await
        .exits(0)
        .says("Wrote walhook.toml");
    let config: toml::Table = it.text().parse().unwrap();
    assert_eq!(config["defaults"]["tenant"].as_str(), Some("tenant_id"));
    let events = config["events"].as_array().unwrap();
    let types: Vec<_> = events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!(types, ["payment.created", "lead.created"]);
    it.attaches(&database.url).await;
}

#[tokio::test]
async fn init_never_overwrites_a_file() {
    let database = TestDatabase::create().await;
    database.client.batch_execute(PAYMENTS).await.unwrap();
    let it = Empty::new(&database);
    std::fs::write(it.file(), "mine").unwrap();
    let tables = ["--table", "payments"];
    it.init(&database.url, &tables)
        .await
        .exits(2)
        .says("walhook.toml exists already and was not changed");
    assert_eq!(it.text(), "mine");
    let printed = ["--table", "payments", "--output", "-"];
    let printed = it.init(&database.url, &printed).await.exits(0).out;
    assert!(printed.contains("[[events]]"), "{printed}");
    assert_eq!(it.text(), "mine");
    let elsewhere = ["--table", "payments", "--output", "other.toml"];
    it.init(&database.url, &elsewhere).await.exits(0);
    let other = std::fs::read_to_string(it.directory.path().join("other.toml")).unwrap();
    assert_eq!(other, printed);
    let absent = ["--table", "payments", "--output", "absent/walhook.toml"];
    it.init(&database.url, &absent)
        .await
        .exits(1)
        .says("write absent/walhook.toml");
}

#[tokio::test]
async fn init_of_a_table_that_cannot_be_watched_says_why_and_names_the_nearest() {
    let database = TestDatabase::create().await;
    let tables = format!(
        "{PAYMENTS}; create schema app; create table app.\"Orders\" (id int primary key);
         create view paid as select * from payments"
    );
    database.client.batch_execute(&tables).await.unwrap();
    let it = Empty::new(&database);
    for (named, says) in [
        (
            "paymnets",
            "public.paymnets: it does not exist; did you mean `public.payments`?",
        ),
        ("app.payments", "did you mean `public.payments`?"),
        ("app.orders", "did you mean `app.Orders`?"),
        ("Orders", "did you mean `app.Orders`?"),
        ("pubic.payments", "did you mean `public.payments`?"),
        ("something.quite.else", "is not a table's name"),
        ("else", "`walhook init URL` lists the tables"),
        ("paid", "it is a view"),
        ("pg_catalog.pg_class", "a table of PostgreSQL's own"),
    ] {
        let tables = ["--table", "payments", "--table", named];
        it.init(&database.url, &tables).await.exits(2).says(says);
    }
    // All that is wrong, a line each.
    let tables = ["--table", "paymnets", "--table", "paid"];
    let said = it.init(&database.url, &tables).await.exits(2).err;
    assert_eq!(said.lines().count(), 2, "{said}");
    // All at once.
    let both = ["--table", "nope", "--table", "paid"];
    let both = it.init(&database.url, &both).await.exits(2);
    both.says("public.nope").says("public.paid");
    let url = "host=127.0.0.1 dbname=app";
    it.init(url, &["--table", "a"])
        .await
        .exits(2)
        .says("expected a URL");
    assert!(!it.file().exists());
}

#[tokio::test]
async fn init_proposes_the_tenant_that_most_tables_name() {
    let database = TestDatabase::create().await;
    let tables = "
        create table accounts (id bigint primary key, name text, customer_id text);
        create table invoices (id bigint primary key, \"accountId\" bigint not null, customer_id text);
        create table payments (id bigint primary key, \"accountId\" bigint not null);
        create table rates (currency text primary key, rate numeric)";
    database.client.batch_execute(tables).await.unwrap();
    let it = Empty::new(&database);
    let all = ["accounts", "invoices", "payments", "rates"];
    let all = all.map(|table| ["--table", table]).concat();
    it.init(&database.url, &all)
        .await
        .exits(0)
        .says("stand in comments, each with the reason: public.rates");
    let text = it.text();
    let config: toml::Table = text.parse().unwrap();
    assert_eq!(config["defaults"]["tenant"].as_str(), Some("\"accountId\""));
    let events = config["events"].as_array().unwrap();
    assert_eq!(events.len(), 3, "{text}");
    assert_eq!(
        events[0]["tenant"].as_str(),
        Some("id"),
        "an account is a tenant"
    );
    assert!(text.contains("# public.rates has no column `accountId`: write whose its rows are"));
    it.attaches(&database.url).await;

    let other = Empty::new(&database);
    let rates = ["--table", "rates"];
    other
        .init(&database.url, &rates)
        .await
        .exits(2)
        .says("--tenant COLUMN")
        .says("There are: currency, rate");
    let named = ["--table", "rates", "--tenant", "curency"];
    let named = other.init(&database.url, &named).await.exits(2);
    named.says("did you mean `currency`?");
    let one = ["--table", "rates", "--one-tenant", "ac\"me"];
    other.init(&database.url, &one).await.exits(0);
    let config: toml::Table = other.text().parse().unwrap();
    assert_eq!(
        config["defaults"]["tenant"]["value"].as_str(),
        Some("ac\"me")
    );
}

#[tokio::test]
async fn what_check_would_refuse_stands_in_comments_with_the_reason() {
    let database = TestDatabase::create().await;
    let tables = "
        create table keyless (tenant_id text);
        create table whole (tenant_id text, note text);
        alter table whole replica identity full;
        create unlogged table scratch (id int primary key, tenant_id text);
        create table parts (id int, tenant_id text, primary key (id)) partition by range (id);
        create table parts_1 partition of parts for values from (0) to (10);
        create table parts_2 partition of parts for values from (10) to (20);
        create table parent (id int primary key, tenant_id text);
        create table child (primary key (id)) inherits (parent);
        create table generated (id int primary key, tenant_id text, net int,
            gross int generated always as (net * 2) stored);
        create table owned (id int primary key, note text, tenant_id text generated always as (note) stored)";
    database.client.batch_execute(tables).await.unwrap();
    let it = Empty::new(&database);
    let named = [
        "keyless",
        "whole",
        "scratch",
        "parts",
        "parts_1",
        "parent",
        "generated",
        "owned",
    ];
    let named = named.map(|table| ["--table", table]).concat();
    it.init(&database.url, &named).await.exits(0).says(
        "the reason: public.keyless, public.whole, public.scratch, public.parts_1, public.owned",
    );
    let text = it.text();
    for said in [
        "public.keyless must not be published as it is: it has no primary key",
        "#     alter table \"public\".\"keyless\" replica identity full;",
        "# `key`: table `public.whole` has no primary key",
        "public.scratch must not be published as it is: it is unlogged or temporary",
        "# public.parts_1 is a partition of public.parts, whose rule sees its changes",
        "# gross = \"gross\"  # generated: PostgreSQL leaves it out of the WAL",
        "# `tenant`: column `tenant_id` is generated",
    ] {
        assert!(text.contains(said), "no `{said}` in\n{text}");
    }
    let config: toml::Table = text.parse().unwrap();
    let events = config["events"].as_array().unwrap();
    assert_eq!(events.len(), 3, "{text}");
    it.attaches(&database.url).await;

    // What is left after the advice was taken and the `#` off is accepted too.
    database
        .client
        .batch_execute("alter table keyless add id int primary key")
        .await
        .unwrap();
    let (_, keyless) = text.split_once("take the `#` off:\n").unwrap();
    let keyless = keyless.split("\n\n").next().unwrap().replace("# ", "");
    let keyless = keyless.replace("key = [\"…\"]", "key = [\"id\"]");
    std::fs::write(it.file(), format!("{}\n{keyless}\n", it.text())).unwrap();
    let script = it.walhook(&["setup", "--print-sql"]).await.exits(0).out;
    psql(&database, &script).await;
    it.walhook(&["check"]).await.exits(0).says("no failures");

    let only = Empty::new(&database);
    let keyless = ["--table", "whole"];
    only.init(&database.url, &keyless).await.exits(1);
    only.walhook(&["check"]).await.exits(2).says("[[events]]");
}

#[tokio::test]
async fn odd_names_stay_in_their_strings() {
    let database = TestDatabase::create().await;
    let name = r#""Odd ""tab'le""
[store] \ # """"""""#;
    let create = format!(
        "create schema \"S.x\"; create table \"S.x\".{name} (id int primary key, tenant_id text not null,
            \"a \"\"b\"\"\nurl = \"\"x\"\" '\" text, \"select\" text, \"x.y\" text, \"PassWord\" text,
            \"\\\" text, status text, blob bytea, \"old\" text, tg_op text, \"日本\" text)"
    );
    database.client.batch_execute(&create).await.unwrap();
    let it = Empty::new(&database);
    let table = format!("\"S.x\".{name}");
    it.init(&database.url, &["--table", &table]).await.exits(0);
    let written = it.text();
    let config: toml::Table = written.parse().unwrap();
    let sections: Vec<&str> = config.keys().map(String::as_str).collect();
    assert_eq!(
        sections,
        ["source", "store", "defaults", "events"],
        "{written}"
    );
    let events = config["events"].as_array().unwrap();
    let data = events[0]["data"].as_table().unwrap();
    for (column, is_there) in [
        ("a \"b\"\nurl = \"x\" '", true),
        ("select", true),
        ("x.y", true),
        ("\\", true),
        ("old", true),
        ("tg_op", true),
        ("日本", true),
        ("PassWord", false),
        ("blob", false),
    ] {
        assert_eq!(data.contains_key(column), is_there, "{column}: {written}");
    }
    it.attaches(&database.url).await;
}

#[tokio::test]
async fn the_store_may_be_in_another_database_of_the_same_server() {
    let database = TestDatabase::create().await;
    database.client.batch_execute(PAYMENTS).await.unwrap();
    let it = Empty::new(&database);
    // It is made by the script.
    let store = format!("The store's of {}", database.name);
    let url = server().url(&store.replace(' ', "%20").replace('\'', "%27"));
    let tables = ["--table", "payments", "--store", &url];
    it.init(&database.url, &tables).await.exits(0);
    it.attaches(&database.url).await;
    let schema = "select exists (select from pg_namespace where nspname = 'walhook')";
    let made: bool = connect(&url)
        .await
        .query_one(schema, &[])
        .await
        .unwrap()
        .get(0);
    assert!(made);
    let beside: bool = database.client.query_one(schema, &[]).await.unwrap().get(0);
    assert!(!beside);

    // `run` and `backfill` have the rights that they need.
    let row = "insert into payments (tenant_id, status) values ('acme', 'new')";
    database.client.batch_execute(row).await.unwrap();
    let environment = [
        ("WALHOOK_SOURCE__SLOT", it.slot().into()),
        ("WALHOOK_API__LISTEN", "127.0.0.1:0".into()),
    ];
    let process = Process::start_under(&it.file(), &["run"], &environment);
    process.api().await;
    let backfill = ["backfill", "--table", "payments"];
    it.walhook(&backfill).await.exits(0);
    let events = "select count(*) from walhook.webhook_events";
    let events: i64 = connect(&url)
        .await
        .query_one(events, &[])
        .await
        .unwrap()
        .get(0);
    assert!(events > 0);
    assert!(process.terminate().success());
}

#[tokio::test]
async fn a_slot_of_another_database_is_not_taken() {
    let server = start_postgres(&[]).unwrap();
    let first = TestDatabase::create_on(&server).await;
    let second = TestDatabase::create_on(&server).await;
    for database in [&first, &second] {
        database.client.batch_execute(PAYMENTS).await.unwrap();
    }
    let taken = "select pg_create_logical_replication_slot('walhook', 'pgoutput')";
    first.client.batch_execute(taken).await.unwrap();
    let it = Empty::new(&second);
    let printed = ["--table", "payments", "--output", "-"];
    let of_first = it.init(&first.url, &printed).await.exits(0).out;
    assert!(!of_first.contains("slot = "), "{of_first}");
    let of_second = it.init(&second.url, &printed).await.exits(0).out;
    let slot = format!("slot = \"walhook_{}\"", second.name);
    assert!(of_second.contains(&slot), "{of_second}");
}

/// No superuser, as on managed services: it owns the database and the tables, and may make roles.
#[tokio::test]
async fn an_administrator_without_superuser_runs_the_script() {
    let server = start_postgres(&[]).unwrap();
    let database = TestDatabase::create_on(&server).await;
    let administrator = format!(
        "create role rds_replication; create role master login createrole createdb;
         alter database {0} owner to master",
        database.name
    );
    database.client.batch_execute(&administrator).await.unwrap();
    let grant = match version(&database).await >= 160_000 {
        true => "grant rds_replication to master with admin option, inherit false, set false",
        false => "grant rds_replication to master with admin option",
    };
    // From 16 on the right to grant a role has to be given.
    database.client.batch_execute(grant).await.unwrap();
    let master = url_as(&database, "master");
    connect(&master)
        .await
        .batch_execute(
            "create schema app; create table app.things (id int primary key, tenant_id text)",
        )
        .await
        .unwrap();
    let it = Empty::new(&database);
    it.init(&master, &["--table", "app.things"]).await.exits(0);
    it.rename_roles();
    let script = it.walhook(&["setup", "--print-sql"]).await.exits(0).out;
    psql_at(&master, &script).await;
    let state = || async {
        let query = "select concat_ws(' ',
            (select string_agg(member::regrole::text || '<' || roleid::regrole, ',' order by oid)
                from (select distinct member, roleid, 0 as oid from pg_auth_members) as granted),
            (select nspowner::regrole from pg_namespace where nspname = 'walhook'),
            (select relacl from pg_class where oid = 'app.things'::regclass))";
        let row = database.client.query_one(query, &[]).await.unwrap();
        row.get::<_, String>(0)
    };
    let made = state().await;
    let (capture, store) = (
        format!("capture_{}", database.name),
        format!("store_{}", database.name),
    );
    assert!(
        made.contains(&format!("{capture}<rds_replication")),
        "{made}"
    );
    assert!(
        made.contains(&format!(" {store} ")),
        "the schema's owner: {made}"
    );
    psql_at(&master, &script).await;
    assert_eq!(state().await, made);
    let may = format!("select pg_has_role('master', '{store}', 'usage')");
    let may: bool = database.client.query_one(&may, &[]).await.unwrap().get(0);
    assert!(!may, "the administrator is no member of the store's role");
    // Here a walsender serves none but those with the attribute, which `check` cannot know.
    let check = it.walhook(&["check"]).await;
    check.says(&format!("the role `{capture}` may read"));
    let revoke = format!("revoke rds_replication from {capture}");
    connect(&master).await.batch_execute(&revoke).await.unwrap();
    it.walhook(&["check"])
        .await
        .exits(1)
        .says(&format!("grant rds_replication to \"{capture}\";"));
}

#[tokio::test]
async fn the_script_lets_every_row_be_read_where_policies_hide_some() {
    let database = TestDatabase::create().await;
    let policy = format!("{PAYMENTS}; alter table payments enable row level security");
    database.client.batch_execute(&policy).await.unwrap();
    let it = Empty::new(&database);
    it.init(&database.url, &["--table", "payments"])
        .await
        .exits(0);
    let became = it
        .text()
        .replace("on = [\"insert\"]", "when = \"became(status = 'paid')\"");
    std::fs::write(it.file(), became).unwrap();
    it.attaches(&database.url).await;
}

/// `check` is not run before it: the script itself looks.
#[tokio::test]
async fn the_script_publishes_no_table_whose_writes_would_fail() {
    let database = TestDatabase::create().await;
    let tables = "
        create table whole (id int primary key, tenant_id text) partition by range (id);
        create table part partition of whole for values from (0) to (10);
        create table \"key$walhook$less\" (id int, tenant_id text);
        create table deferred (id int primary key deferrable, tenant_id text);
        create table nothing (id int primary key, tenant_id text);
        alter table nothing replica identity nothing;
        create table indexed (id int not null, tenant_id text);
        create unique index indexed_id on indexed (id);
        alter table indexed replica identity using index indexed_id";
    database.client.batch_execute(tables).await.unwrap();
    let it = Empty::new(&database);
    let named = [
        "whole",
        "key$walhook$less",
        "deferred",
        "nothing",
        "indexed",
    ];
    let arguments = named.map(|table| ["--table", table]).concat();
    it.init(&database.url, &arguments).await.exits(0);
    // Rules as a user writes them who does not read what init says.
    let rules = named.map(|table| {
        format!(
            "[[events]]\ntype = \"x.y\"\ntable = '\"public\".\"{table}\"'\nkey = [\"id\"]\non = [\"insert\"]\n"
        )
    });
    let (sections, _) = it
        .text()
        .split_once("[[events]]")
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    std::fs::write(it.file(), sections + &rules.concat()).unwrap();
    it.rename_roles();
    let script = it.walhook(&["setup", "--print-sql"]).await.exits(0).out;
    let refused = psql_says(&database.url, &script).await.exits(3);
    refused.says(
        "UPDATE and DELETE would fail once these tables are published: public.\"key$walhook$less\", public.deferred, \
         public.nothing",
    );
    let published = "select exists (select from pg_publication)";
    let published: bool = database
        .client
        .query_one(published, &[])
        .await
        .unwrap()
        .get(0);
    assert!(!published);
    // The partition's own identity counts.
    let given = "
        alter table \"key$walhook$less\" replica identity full; alter table deferred replica identity full;
        alter table nothing replica identity default; alter table part replica identity nothing";
    database.client.batch_execute(given).await.unwrap();
    let refused = psql_says(&database.url, &script).await.exits(3);
    refused.says("published: public.part");
    let given = "alter table part replica identity default";
    database.client.batch_execute(given).await.unwrap();
    psql(&database, &script).await;
    psql(&database, &script).await;
    it.walhook(&["check"]).await.exits(0);
}

#[tokio::test]
async fn the_script_publishes_generated_columns_where_postgresql_18_needs_them() {
    let database = TestDatabase::create().await;
    let tables = "
        create table sums (id int primary key, tenant_id text, net int,
            gross int generated always as (net * 2) stored);
        alter table sums replica identity full;
        insert into sums values (1, 'acme', 2)";
    database.client.batch_execute(tables).await.unwrap();
    let it = Empty::new(&database);
    it.init(&database.url, &["--table", "sums"]).await.exits(0);
    it.attaches(&database.url).await;
    let write = "update sums set net = 3";
    database.client.batch_execute(write).await.unwrap();
}
