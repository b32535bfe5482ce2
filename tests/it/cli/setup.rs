//! `walhook setup`: what it makes, keeps, changes and refuses.

use secrecy::SecretString;
use walhook::conninfo::ConnInfo;
use walhook::pgoutput::StreamEvent;
use walhook::replication::{self, SourceConfig};

use crate::harness::TestDatabase;
use crate::harness::command::Project;

use super::{LEAD_RULE, LEADS, PAYMENT_RULE, PAYMENTS};

async fn published(database: &TestDatabase) -> Vec<String> {
    let query =
        "select tablename::text from pg_publication_tables where pubname = 'walhook' order by 1";
    let rows = database.client.query(query, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// The relations of the changes that the slot serves, until `count` have come.
async fn stream(database: &TestDatabase, count: usize) -> Vec<String> {
    let source = SourceConfig {
        url: SecretString::from(database.url.as_str()),
        slot: database.slot(),
        ..SourceConfig::default()
    };
    let conninfo = ConnInfo::parse(&database.url).unwrap();
    let mut stream = replication::start(&conninfo, &source).await.unwrap();
    let mut relations = Vec::new();
    while relations.len() < count {
        for event in stream.next_batch().await.unwrap() {
            if let StreamEvent::Change(change) = event {
                relations.push(change.relation.name.clone());
            }
        }
    }
    stream.shutdown().await;
    relations
}

#[tokio::test]
async fn setup_makes_everything_once() {
    let database = TestDatabase::create().await;
    database.client.batch_execute(PAYMENTS).await.unwrap();
    let project = Project::of(&database, PAYMENT_RULE);
    let first = project.walhook(&["setup"]).await.exits(0);
    assert_eq!(first.out.matches("made   ").count(), 5, "{}", first.out);
    let key = std::fs::read(project.directory.path().join("walhook.key")).unwrap();
    let second = project.walhook(&["setup"]).await.exits(0);
    assert_eq!(second.out.matches("kept   ").count(), 5, "{}", second.out);
    assert_eq!(
        std::fs::read(project.directory.path().join("walhook.key")).unwrap(),
        key
    );

    // The slot was made after the publication, and progress stands where it begins.
    let sound = database
        .client
        .query_one(
            "select slot.plugin = 'pgoutput'
                and progress.acknowledged_lsn = slot.confirmed_flush_lsn
                and progress.commit_lsn < progress.acknowledged_lsn
                and progress.complete
                and progress.system_identifier = (select system_identifier::text from pg_control_system())
             from walhook.replication_progress as progress
             join pg_replication_slots as slot on slot.slot_name = progress.slot",
            &[],
        )
        .await
        .unwrap();
    assert!(sound.get::<_, bool>(0));
    database
        .client
        .batch_execute("insert into payments (tenant_id, status) values ('a', 'new')")
        .await
        .unwrap();
    assert_eq!(stream(&database, 1).await, ["payments"]);
}

#[tokio::test]
async fn the_publication_follows_the_rules_and_is_never_dropped() {
    let database = TestDatabase::create().await;
    database
        .client
        .batch_execute(&format!("{PAYMENTS}; {LEADS}"))
        .await
        .unwrap();
    let project = Project::of(&database, PAYMENT_RULE);
    project.walhook(&["setup"]).await.exits(0);
    assert_eq!(published(&database).await, ["payments"]);
    let oid = "select oid from pg_publication where pubname = 'walhook'";
    let before: u32 = database.client.query_one(oid, &[]).await.unwrap().get(0);

    let both = format!("{PAYMENT_RULE}{LEAD_RULE}");
    project.write(&Project::config(&database, &database.url, &both));
    project
        .walhook(&["check"])
        .await
        .exits(1)
        .says("does not publish public.leads");
    project
        .walhook(&["setup"])
        .await
        .exits(0)
        .says("changed  the publication");
    assert_eq!(published(&database).await, ["leads", "payments"]);

    // A table that no rule watches any more is named, and stays until that is asked for.
    project.write(&Project::config(&database, &database.url, LEAD_RULE));
    project
        .walhook(&["check"])
        .await
        .says("publishes public.payments, which no rule watches");
    project
        .walhook(&["setup"])
        .await
        .exits(0)
        .says("public.payments in the publication `walhook`")
        .says("walhook setup --remove-tables");
    assert_eq!(published(&database).await, ["leads", "payments"]);
    project
        .walhook(&["setup", "--remove-tables"])
        .await
        .exits(0)
        .says("public.payments taken out");
    assert_eq!(published(&database).await, ["leads"]);
    let after: u32 = database.client.query_one(oid, &[]).await.unwrap().get(0);
    assert_eq!(before, after);
}

#[tokio::test]
async fn a_table_that_a_running_instance_watches_is_not_taken_out() {
    let database = TestDatabase::create().await;
    database
        .client
        .batch_execute(&format!("{PAYMENTS}; {LEADS}"))
        .await
        .unwrap();
    let both = format!("{PAYMENT_RULE}{LEAD_RULE}");
    let project = Project::of(&database, &both);
    project.walhook(&["setup"]).await.exits(0);
    // Elsewhere, with the rules of before.
    let running = "insert into walhook.instances (id, hostname, version, roles, low_water)
         values (gen_random_uuid(), 'node-7', '0', '{capture}', gen_random_uuid())";
    database.client.batch_execute(running).await.unwrap();
    project.write(&Project::config(&database, &database.url, LEAD_RULE));
    project
        .walhook(&["setup", "--remove-tables"])
        .await
        .exits(1)
        .says("public.payments stays")
        .says("node-7");
    assert_eq!(published(&database).await, ["leads", "payments"]);
    // What is missing is still added.
    let drop = "alter publication walhook drop table leads";
    database.client.batch_execute(drop).await.unwrap();
    project.walhook(&["setup"]).await.exits(0);
    assert_eq!(published(&database).await, ["leads", "payments"]);
    let gone = "update walhook.instances set heartbeat_at = now() - interval '1 minute'";
    database.client.batch_execute(gone).await.unwrap();
    project
        .walhook(&["setup", "--remove-tables"])
        .await
        .exits(0);
    assert_eq!(published(&database).await, ["leads"]);
}

#[tokio::test]
async fn a_slot_older_than_the_publication_does_not_jam() {
    let database = TestDatabase::create().await;
    database.client.batch_execute(PAYMENTS).await.unwrap();
    let made = format!(
        "select pg_create_logical_replication_slot('{}', 'pgoutput')",
        database.slot()
    );
    database.client.batch_execute(&made).await.unwrap();
    let insert = "insert into payments (tenant_id, status) values ('a', 'new')";
    database.client.batch_execute(insert).await.unwrap();
    let project = Project::of(&database, PAYMENT_RULE);
    project
        .walhook(&["setup"])
        .await
        .exits(0)
        .says("changed  the slot");
    database.client.batch_execute(insert).await.unwrap();
    assert_eq!(stream(&database, 1).await, ["payments"]);
}

#[tokio::test]
async fn a_slot_of_another_plugin_is_refused() {
    let database = TestDatabase::create().await;
    database.client.batch_execute(PAYMENTS).await.unwrap();
    let slot = database.slot();
    let made = format!("select pg_create_logical_replication_slot('{slot}', 'test_decoding')");
    database.client.batch_execute(&made).await.unwrap();
    let project = Project::of(&database, PAYMENT_RULE);
    project
        .walhook(&["check"])
        .await
        .exits(1)
        .says("test_decoding");
    project
        .walhook(&["setup"])
        .await
        .exits(1)
        .says("test_decoding");
    assert!(published(&database).await.is_empty());
    database
        .client
        .execute("select pg_drop_replication_slot($1)", &[&slot])
        .await
        .unwrap();
}

#[tokio::test]
async fn a_dropped_slot_or_publication_is_named_and_made_anew_only_when_told() {
    let database = TestDatabase::create().await;
    database.client.batch_execute(PAYMENTS).await.unwrap();
    let project = Project::of(&database, PAYMENT_RULE);
    project.walhook(&["setup"]).await.exits(0);
    let epoch = "update walhook.replication_progress set epoch = 7, leader = gen_random_uuid()";
    database.client.batch_execute(epoch).await.unwrap();
    database
        .client
        .execute("select pg_drop_replication_slot($1)", &[&database.slot()])
        .await
        .unwrap();

    for command in ["check", "setup", "status"] {
        project
            .walhook(&[command])
            .await
            .exits(1)
            .says("does not exist")
            .says("--accept-gap");
    }
    let again = project.walhook(&["setup", "--accept-gap"]).await.exits(0);
    again
        .says("NOT delivered")
        .says("payment.received: insert of public.payments")
        .says("walhook backfill --table public.payments --event payment.received");
    project.walhook(&["check"]).await.exits(0);
    // A leader from before can write nothing any more.
    let row = database
        .client
        .query_one(
            "select epoch, leader is null from walhook.replication_progress",
            &[],
        )
        .await
        .unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, bool>(1)), (8, true));

    // The same for a publication that was dropped after the slot.
    database
        .client
        .batch_execute("drop publication walhook")
        .await
        .unwrap();
    for command in ["check", "setup"] {
        project
            .walhook(&[command])
            .await
            .exits(1)
            .says("--accept-gap");
    }
    assert!(published(&database).await.is_empty());
    project.walhook(&["setup", "--accept-gap"]).await.exits(0);
    database
        .client
        .batch_execute("insert into payments (tenant_id, status) values ('a', 'new')")
        .await
        .unwrap();
    assert_eq!(stream(&database, 1).await, ["payments"]);
}

#[tokio::test]
async fn without_a_gap_there_is_nothing_to_accept() {
    let database = TestDatabase::create().await;
    database.client.batch_execute(PAYMENTS).await.unwrap();
    let project = Project::of(&database, PAYMENT_RULE);
    // Before the first setup, and after it: no slot is dropped, nothing is passed over.
    project.walhook(&["setup", "--accept-gap"]).await.exits(0);
    let insert = "insert into payments (tenant_id, status) values ('a', 'new')";
    database.client.batch_execute(insert).await.unwrap();
    let again = project.walhook(&["setup", "--accept-gap"]).await.exits(0);
    assert_eq!(again.out.matches("kept   ").count(), 5, "{}", again.out);
    assert!(!again.out.contains("NOT delivered"), "{}", again.out);
    let gaps = "select count(*) from walhook.gaps";
    let gaps: i64 = database.client.query_one(gaps, &[]).await.unwrap().get(0);
    assert_eq!(gaps, 0);
    assert_eq!(stream(&database, 1).await, ["payments"]);
}

#[tokio::test]
async fn a_moved_slot_is_a_gap() {
    let database = TestDatabase::create().await;
    database.client.batch_execute(PAYMENTS).await.unwrap();
    let project = Project::of(&database, PAYMENT_RULE);
    project.walhook(&["setup"]).await.exits(0);
    let slot = database.slot();
    let moved = "insert into payments (tenant_id, status) values ('a', 'new')";
    database.client.batch_execute(moved).await.unwrap();
    let advance = "select pg_replication_slot_advance($1, pg_current_wal_lsn())";
    database.client.execute(advance, &[&slot]).await.unwrap();
    for command in ["check", "setup", "status"] {
        project
            .walhook(&[command])
            .await
            .exits(1)
            .says("moved ahead");
    }
    // The slot serves what is after the gap: it is kept, so that no more is lost.
    let insert = "insert into payments (tenant_id, status) values ('a', 'after')";
    database.client.batch_execute(insert).await.unwrap();
    project
        .walhook(&["setup", "--accept-gap"])
        .await
        .exits(0)
        .says("kept     the slot")
        .says("NOT delivered");
    project.walhook(&["check"]).await.exits(0);
    assert_eq!(stream(&database, 1).await, ["payments"]);
}
