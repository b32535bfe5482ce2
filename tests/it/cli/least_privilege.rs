//! Everything works under exactly the roles that `setup --print-sql` prints.

use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::harness::command::{Answer, Project, answer};
use crate::harness::{TestDatabase, connect};

use super::{PAYMENT_RULE, PAYMENTS};

/// Runs statements as a DBA does: through psql, as the superuser.
pub async fn psql(database: &TestDatabase, sql: &str) {
    psql_at(&database.url, sql).await;
}

/// The same as another login, or in another database.
pub async fn psql_at(url: &str, sql: &str) {
    psql_says(url, sql).await.exits(0);
}

pub async fn psql_says(url: &str, sql: &str) -> Answer {
    let mut psql = Command::new("psql")
        .args([
            "--no-psqlrc",
            "--set=ON_ERROR_STOP=1",
            "--quiet",
            "--dbname",
            url,
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = psql.stdin.take().unwrap();
    stdin.write_all(sql.as_bytes()).await.unwrap();
    drop(stdin);
    answer(psql.wait_with_output().await.unwrap())
}

/// The database's URL under another role.
pub fn url_as(database: &TestDatabase, role: &str) -> String {
    database
        .url
        .replace("postgres://postgres@", &format!("postgres://{role}@"))
}

async fn works_as(capture: &str, store: &str) {
    let database = TestDatabase::create().await;
    // The tables belong to the application, whose role is neither superuser nor ours.
    let application = format!("app_{}", database.name);
    let owned = format!(
        "create role {application} login; {PAYMENTS}; alter table payments owner to {application}"
    );
    database.client.batch_execute(&owned).await.unwrap();
    let (capture, store) = (
        format!("{capture}_{}", database.name),
        format!("{store}_{}", database.name),
    );
    let config = format!(
        "{}[store]\nurl = '{}'\n",
        Project::config(&database, &url_as(&database, &capture), PAYMENT_RULE),
        url_as(&database, &store)
    );
    let project = Project::new(&config);
    let printed = project
        .walhook(&["setup", "--print-sql"])
        .await
        .exits(0)
        .out;
    psql(&database, &printed).await;

    let check = project.walhook(&["check", "--json"]).await.exits(0).json();
    let warnings: Vec<_> = check["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["level"] == "warning")
        .filter(|finding| {
            !finding["what"]
                .as_str()
                .unwrap()
                .contains("max_slot_wal_keep_size")
        })
        .collect();
    assert!(warnings.is_empty(), "{warnings:#?}");
    project.walhook(&["setup"]).await.exits(0);
    let again = project.walhook(&["setup"]).await.exits(0);
    assert_eq!(again.out.matches("kept   ").count(), 5, "{}", again.out);
    project
        .walhook(&["check"])
        .await
        .exits(0)
        .says("no failures");
    project
        .walhook(&["token", "create", "--tenant", "acme"])
        .await
        .exits(0);
    project
        .walhook(&["status"])
        .await
        .exits(1)
        .says("no instance delivers");

    // The application goes on writing, and ours cannot. What reads the WAL may read its table.
    let app = connect(&url_as(&database, &application)).await;
    let writes = "insert into payments (tenant_id, status) values ('a', 'new'); update payments set status = 'x'; delete from payments";
    app.batch_execute(writes).await.unwrap();
    for role in [&capture, &store] {
        let ours = connect(&url_as(&database, role)).await;
        let written = ours.batch_execute("delete from payments").await;
        assert!(written.is_err(), "{role}");
        let read = ours.batch_execute("select from payments").await;
        assert_eq!(read.is_ok(), *role == capture, "{role}");
    }
    // The publication is the DBA's, who is told what to run when rules change.
    database
        .client
        .batch_execute("alter publication walhook set (publish = 'insert')")
        .await
        .unwrap();
    project
        .walhook(&["setup"])
        .await
        .exits(1)
        .says("alter publication \"walhook\"");
    project
        .walhook(&["teardown", "--slot", "--yes"])
        .await
        .exits(0);
}

#[tokio::test]
async fn one_role_for_each_of_source_and_store() {
    works_as("walhook_capture", "walhook_store").await;
}

#[tokio::test]
async fn one_role_for_both() {
    works_as("walhook_both", "walhook_both").await;
}

#[tokio::test]
async fn roles_with_less_are_told_what_they_lack() {
    let database = TestDatabase::create().await;
    database.client.batch_execute(PAYMENTS).await.unwrap();
    let role = format!("poor_{}", database.name);
    database
        .client
        .batch_execute(&format!("create role {role} login"))
        .await
        .unwrap();
    let project = Project::new(&Project::config(
        &database,
        &url_as(&database, &role),
        PAYMENT_RULE,
    ));
    let answer = project.walhook(&["check"]).await.exits(1);
    answer
        .says(&format!("alter role \"{role}\" with replication;"))
        .says("create publication \"walhook\"")
        .says(&format!(
            "create schema \"walhook\" authorization \"{role}\";"
        ));
    project
        .walhook(&["setup"])
        .await
        .exits(1)
        .says("nothing was changed");
}

#[tokio::test]
async fn a_role_that_may_create_roles_sets_up_all_by_itself() {
    let database = TestDatabase::create().await;
    let role = format!("creator_{}", database.name);
    let made = format!(
        "create role {role} login replication createrole;
         grant create on database {} to {role}; {PAYMENTS}; alter table payments owner to {role}",
        database.name
    );
    database.client.batch_execute(&made).await.unwrap();
    let url = url_as(&database, &role);
    let project = Project::new(&Project::config(&database, &url, PAYMENT_RULE));
    project.walhook(&["check"]).await.exits(0);
    project.walhook(&["setup"]).await.exits(0);
    project
        .walhook(&["check"])
        .await
        .exits(0)
        .says("no failures");
    // From 16 on, who creates a role is its member without the right to become it.
    let creator = connect(&url).await;
    creator
        .batch_execute(&format!("set role {}", database.tenant_role()))
        .await
        .unwrap();
    project
        .walhook(&["teardown", "--store", "--yes"])
        .await
        .exits(0);
}

/// A rule that needs old values, on a table whose log does not carry them.
const PAID_RULE: &str = "
[[events]]
type = 'payment.paid'
table = 'public.payments'
on = ['update']
when = \"became(status = 'paid')\"
[events.data]
status = 'status'
";

#[tokio::test]
async fn the_shadow_is_seeded_under_the_right_to_read_its_tables() {
    let database = TestDatabase::create().await;
    let application = format!("shadowed_{}", database.name);
    let owned = format!(
        "create role {application} login; create schema {application}; {PAYMENTS};
         insert into payments (tenant_id, status) values ('acme', 'new');
         alter table payments set schema {application}; alter table {application}.payments owner to {application}"
    );
    database.client.batch_execute(&owned).await.unwrap();
    let rule = PAID_RULE.replace("public.", &format!("{application}."));
    let capture = format!("seed_{}", database.name);
    let store = format!("seed_store_{}", database.name);
    let config = format!(
        "{}[store]\nurl = '{}'\n",
        Project::config(&database, &url_as(&database, &capture), &rule),
        url_as(&database, &store)
    );
    let project = Project::new(&config);
    let printed = project
        .walhook(&["setup", "--print-sql"])
        .await
        .exits(0)
        .out;
    let grants = |line: &&str| line.starts_with("grant select") || line.starts_with("grant usage");
    assert_eq!(printed.lines().filter(grants).count(), 2, "{printed}");
    let without: String = printed
        .lines()
        .filter(|line| !grants(line))
        .map(|line| format!("{line}\n"))
        .collect();
    psql(&database, &without).await;
    let check = project.walhook(&["check", "--json"]).await.exits(1).json();
    let failures: Vec<_> = check["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["level"] == "failure")
        .collect();
    assert_eq!(failures.len(), 1, "{failures:#?}");
    for statement in failures[0]["mend"].as_array().unwrap() {
        let statement = statement.as_str().unwrap();
        database.client.batch_execute(statement).await.unwrap();
    }
    project
        .walhook(&["check"])
        .await
        .exits(0)
        .says("walhook keeps the old values");
    // Rows that a policy would hide are missed in silence by nobody.
    let policy = format!("alter table {application}.payments enable row level security");
    database.client.batch_execute(&policy).await.unwrap();
    project
        .walhook(&["check"])
        .await
        .exits(1)
        .says("row-level security hides rows");
    let no_policy = policy.replace("enable", "disable");
    database.client.batch_execute(&no_policy).await.unwrap();
    project.walhook(&["setup"]).await.exits(0);

    let mut run = crate::harness::command::walhook();
    run.arg("run").current_dir(project.directory.path());
    let mut run = run.spawn().unwrap();
    let complete = "select exists (select from walhook.shadow_tables where state = 'complete' and seeded_rows = 1)";
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !database
        .client
        .query_one(complete, &[])
        .await
        .unwrap()
        .get::<_, bool>(0)
    {
        assert!(std::time::Instant::now() < deadline, "it is never complete");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let status = project.walhook(&["status", "--json"]).await.json();
    assert_eq!(
        status["shadow"][0]["columns"],
        serde_json::json!(["tenant_id", "status"])
    );
    assert_eq!(status["shadow_rules"].as_array().unwrap().len(), 1);
    project.walhook(&["status"]).await.says("complete since");
    run.kill().await.unwrap();
    // Nothing of the shadow outlives the progress that it belongs to.
    project.walhook(&["setup"]).await.exits(0);
    let mut torn = project.walhook(&["teardown", "--slot", "--yes"]).await;
    for _ in 0..50 {
        if torn.code == 0 {
            break;
        }
        // The killed process's walsender ends when it notices.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        torn = project.walhook(&["teardown", "--slot", "--yes"]).await;
    }
    torn.exits(0);
    let left: i64 = database
        .client
        .query_one(
            "select (select count(*) from walhook.row_shadow) + (select count(*) from walhook.shadow_tables)
                + (select count(*) from walhook.shadow_rules)",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    assert_eq!(left, 0);
}
