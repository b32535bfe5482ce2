//! `walhook teardown`.

use secrecy::SecretString;
use walhook::conninfo::ConnInfo;
use walhook::replication::{self, SourceConfig};

use crate::harness::TestDatabase;
use crate::harness::command::Project;

use super::{PAYMENT_RULE, PAYMENTS};

/// What is there: slots, publications, progress rows, schemas.
async fn there(database: &TestDatabase) -> [bool; 4] {
    let row = database
        .client
        .query_one(
            "select exists (select from pg_replication_slots where slot_name = $1),
                exists (select from pg_publication where pubname = 'walhook'),
                to_regclass('walhook.replication_progress') is not null,
                to_regnamespace('walhook') is not null",
            &[&database.slot()],
        )
        .await
        .unwrap();
    let mut there = [row.get(0), row.get(1), row.get(2), row.get(3)];
    if there[2] {
        let progress = "select exists (select from walhook.replication_progress)";
        there[2] = database
            .client
            .query_one(progress, &[])
            .await
            .unwrap()
            .get(0);
    }
    there
}

#[tokio::test]
async fn it_keeps_the_store_unless_told_otherwise() {
    let database = TestDatabase::create().await;
    database.client.batch_execute(PAYMENTS).await.unwrap();
    let project = Project::of(&database, PAYMENT_RULE);
    project.walhook(&["setup"]).await.exits(0);
    // Nobody can be asked.
    project.walhook(&["teardown"]).await.exits(2).says("--yes");
    assert_eq!(there(&database).await, [true; 4]);
    // The slot needs its publication.
    project
        .walhook(&["teardown", "--publication", "--yes"])
        .await
        .exits(1)
        .says("--slot");

    project
        .walhook(&["teardown", "--slot", "--yes"])
        .await
        .exits(0);
    assert_eq!(there(&database).await, [false, true, false, true]);
    project.walhook(&["teardown", "--yes"]).await.exits(0);
    assert_eq!(there(&database).await, [false, false, false, true]);
    project
        .walhook(&["teardown", "--yes"])
        .await
        .exits(0)
        .says("nothing to remove");

    project
        .walhook(&["setup"])
        .await
        .exits(0)
        .says("kept     the store");
    assert_eq!(there(&database).await, [true; 4]);
    project
        .walhook(&["teardown", "--store", "--yes"])
        .await
        .exits(0);
    assert_eq!(there(&database).await, [false; 4]);
}

#[tokio::test]
async fn it_refuses_while_the_slot_is_in_use() {
    let database = TestDatabase::create().await;
    database.client.batch_execute(PAYMENTS).await.unwrap();
    let project = Project::of(&database, PAYMENT_RULE);
    project.walhook(&["setup"]).await.exits(0);
    let source = SourceConfig {
        url: SecretString::from(database.url.as_str()),
        slot: database.slot(),
        ..SourceConfig::default()
    };
    let conninfo = ConnInfo::parse(&database.url).unwrap();
    let stream = replication::start(&conninfo, &source).await.unwrap();
    project
        .walhook(&["teardown", "--yes"])
        .await
        .exits(1)
        .says("pid")
        .says("walhook run");
    assert_eq!(there(&database).await, [true; 4]);
    let dropped = "drop publication walhook";
    database.client.batch_execute(dropped).await.unwrap();
    project
        .walhook(&["setup", "--accept-gap"])
        .await
        .exits(1)
        .says("in use");
    assert_eq!(there(&database).await, [true, false, true, true]);
    stream.shutdown().await;
}
