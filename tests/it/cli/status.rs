//! `walhook status`.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::Child;

use crate::harness::TestDatabase;
use crate::harness::command::{Project, answer, walhook};

use super::{PAYMENT_RULE, PAYMENTS};

#[tokio::test]
async fn it_says_what_is_wrong_and_exits_with_1() {
    let database = TestDatabase::create().await;
    database.client.batch_execute(PAYMENTS).await.unwrap();
    let project = Project::of(&database, PAYMENT_RULE);
    project
        .walhook(&["status"])
        .await
        .exits(1)
        .says("run `walhook setup`");
    project.walhook(&["setup"]).await.exits(0);
    let answer = project.walhook(&["status"]).await.exits(1);
    answer
        .says("nobody reads the slot")
        .says("no instance delivers");

    database
        .client
        .batch_execute(
            "insert into walhook.parked_changes (commit_lsn, ordinal, rule, relation, reason, detail)
                values ('0/1', 3, 'r', 'public.payments', 'unroutable', 'the tenant is null');
             insert into walhook.delivery_schedule
                (delivery_id, subscription_id, tenant_id, event_type, status, due_at)
                select gen_random_uuid(), gen_random_uuid(), 'a', 'payment.received', 'pending', now() - interval '1 hour'",
        )
        .await
        .unwrap();
    let answer = project.walhook(&["status"]).await.exits(1);
    answer
        .says("the tenant is null")
        .says("has been due for 60 min");
    let status = project.walhook(&["status", "--json"]).await.exits(1).json();
    assert_eq!(status["parked"]["newest"][0]["reason"], "unroutable");
    assert_eq!(status["queue"]["pending"], 1);
    assert_eq!(status["slot"]["wal_status"], "reserved");
    assert!(status["slot"]["lag_bytes"].as_u64().is_some());
    assert_eq!(
        status["problems"].as_array().unwrap().len(),
        4,
        "{status:#}"
    );
}

/// `walhook run`, in the project's directory.
fn start(project: &Project) -> Child {
    let mut run = walhook();
    run.arg("run").current_dir(project.directory.path());
    run.stdout(Stdio::null()).stderr(Stdio::piped());
    run.spawn().unwrap()
}

fn signal(child: &Child, name: &str) {
    let pid = child.id().unwrap().to_string();
    let sent = std::process::Command::new("kill")
        .args([name, &pid])
        .status();
    assert!(sent.unwrap().success());
}

#[tokio::test]
async fn all_is_well_while_it_runs_and_it_ends_in_order() {
    let database = TestDatabase::create().await;
    database.client.batch_execute(PAYMENTS).await.unwrap();
    let project = Project::of(&database, PAYMENT_RULE);
    project
        .walhook(&["run"])
        .await
        .exits(1)
        .says("walhook setup");
    project.walhook(&["setup"]).await.exits(0);
    let running = start(&project);
    let deadline = Instant::now() + Duration::from_secs(30);
    // The slot is held a moment before the leader is recorded.
    loop {
        let answer = project.walhook(&["status"]).await;
        let settled = answer.code == 0 && answer.out.contains("holds the slot");
        if settled || Instant::now() > deadline {
            answer.exits(0).says("All is well").says("holds the slot");
            break;
        }
    }
    project.walhook(&["check"]).await.exits(0).says("serves it");
    // Setup may run beside it.
    project.walhook(&["setup"]).await.exits(0);

    signal(&running, "-TERM");
    let ended = answer(running.wait_with_output().await.unwrap());
    ended.exits(0);
    project
        .walhook(&["status"])
        .await
        .exits(1)
        .says("nobody reads");
}
