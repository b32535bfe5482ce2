//! A table that was harmless when it was published, and is not any more.

use std::fs::File;
use std::process::Stdio;
use std::time::Instant;

use tokio::process::Child;

use crate::harness::command::{Project, walhook};
use crate::harness::{PATIENCE, TestDatabase, http, pause};

const LEDGER: &str = "
    create table ledger (id bigint not null, tenant_id text) partition by range (id);
    create table ledger_1 partition of ledger (primary key (id)) for values from (0) to (10)";

const LEDGER_RULE: &str = "
[[events]]
type = 'entry.made'
table = 'public.ledger'
on = ['insert']
key = ['id']
";

/// Where the process that logs beside `project`'s file serves its API.
async fn address(project: &Project) -> String {
    let log = project.file().with_file_name("walhook.log");
    until("the API listens", || async {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let (_, rest) = text.split_once("API at ")?;
        Some(rest.split("/docs").next()?.to_owned())
    })
    .await
}

/// `walhook run` in the project's directory, its log in a file there.
fn start(project: &Project) -> Child {
    let log = File::create(project.file().with_file_name("walhook.log")).unwrap();
    let mut run = walhook();
    run.arg("run").current_dir(project.directory.path());
    run.stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

async fn harmed_tables(address: &str) -> Option<String> {
    let text = http().get(format!("{address}/metrics")).send().await.ok()?;
    let text = text.text().await.ok()?;
    let line = text
        .lines()
        .find(|line| line.starts_with("walhook_harmed_tables "))?;
    line.split(' ').nth(1).map(str::to_owned)
}

/// What `look` finds, as soon as it finds it; a state announces itself to nobody.
async fn until<T, F: Future<Output = Option<T>>>(what: &str, look: impl Fn() -> F) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        pause(began).await;
    }
}

#[tokio::test]
async fn a_partition_attached_without_a_key_raises_the_alarm_until_it_is_mended() {
    let database = TestDatabase::create().await;
    database.client.batch_execute(LEDGER).await.unwrap();
    let project = Project::of(&database, LEDGER_RULE);
    project.walhook(&["setup"]).await.exits(0);
    let mut running = start(&project);
    let address = address(&project).await;
    let is = |expected: &'static str| {
        let address = &address;
        move || async move { (harmed_tables(address).await? == expected).then_some(()) }
    };
    until("nothing is harmed", is("0")).await;

    let attached = "
        create table ledger_2 (id bigint not null, tenant_id text);
        alter table ledger attach partition ledger_2 for values from (10) to (20);
        insert into ledger values (11, 'a')";
    database.client.batch_execute(attached).await.unwrap();
    let refused = database.client.batch_execute("delete from ledger").await;
    assert!(refused.is_err(), "the harm is real");
    until("the partition is counted", is("1")).await;
    let mend = "alter table \"public\".\"ledger_2\" replica identity full;";
    let log = std::fs::read_to_string(project.file().with_file_name("walhook.log")).unwrap();
    assert!(
        log.contains("must not be published as it is") && log.contains("replica identity full")
    );
    project.walhook(&["status"]).await.exits(1).says(mend);
    project.walhook(&["check"]).await.exits(1).says(mend);

    database.client.batch_execute(mend).await.unwrap();
    database
        .client
        .batch_execute("delete from ledger")
        .await
        .unwrap();
    until("it is over", is("0")).await;
    project.walhook(&["status"]).await.exits(0);
    // A key that is dropped does the same.
    let dropped = "alter table ledger_1 drop constraint ledger_1_pkey";
    database.client.batch_execute(dropped).await.unwrap();
    until("the table without its key is counted", is("1")).await;
    running.kill().await.unwrap();
}
