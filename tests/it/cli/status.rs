//! `walhook status`.

use crate::harness::TestDatabase;
use crate::harness::command::Project;

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
