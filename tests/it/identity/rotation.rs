//! The key is changed while nodes run.

use std::path::PathBuf;

use ::walhook::secret::EncryptionKey;

use super::{Subscriptions, columns_of_bytes, is_refused, order, wait_for_heartbeats, with_keys};
use crate::harness::command::Project;
use crate::harness::process::Process;
use crate::harness::receiver::Receiver;
use crate::harness::walhook::{Installation, ORDER_RULES, ORDERS};

struct Rotated {
    installation: Installation,
    old: PathBuf,
    new: PathBuf,
    old_key: EncryptionKey,
}

impl Rotated {
    async fn begin() -> Self {
        // Not the section itself: the harness has written it.
        let installation =
            Installation::create(ORDERS, ORDER_RULES, "request_timeout = '5s'").await;
        let old = installation.directory.path().join("walhook.key");
        let new = installation.directory.path().join("new.key");
        drop(EncryptionKey::create(&new).unwrap());
        let old_key = EncryptionKey::load(&old).unwrap();
        Rotated {
            installation,
            old,
            new,
            old_key,
        }
    }

    fn both(&self) -> Project {
        with_keys(&self.installation, &self.new, Some(&self.old))
    }

    /// Values of any column of the store that the old key encrypted.
    async fn left(&self) -> i64 {
        let client = self.installation.store.get().await.unwrap();
        let mut prefix = vec![2];
        prefix.extend(self.old_key.id().bytes());
        let mut left = 0;
        for one in columns_of_bytes(&self.installation).await {
            // These hold ids and a check value of keys.
            if ["instances", "store"].contains(&one.table.as_str()) {
                continue;
            }
            let (table, column) = (one.table, one.column);
            let value = match one.is_list {
                true => format!("unnest({column})"),
                false => column,
            };
            let count = format!(
                "select count(*) from (select {value} as value from {table}) one
                 where substring(value from 1 for 9) = $1"
            );
            left += client
                .query_one(&count, &[&prefix])
                .await
                .unwrap()
                .get::<_, i64>(0);
        }
        left
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_changed_while_two_nodes_run() {
    let rotated = Rotated::begin().await;
    let installation = &rotated.installation;
    let receiver = Receiver::start().await;
    let subscribed = installation
        .subscribe("acme", &receiver.url("/"), &["*"])
        .await;
    let both = rotated.both();

    // A node that has only the old key is named, and nothing changes.
    let old_only = with_keys(installation, &rotated.old, None);
    let node = Process::start(&old_only.file(), &["run", "--roles", "deliver"]);
    wait_for_heartbeats(installation, 2).await;
    let instance: uuid::Uuid = {
        let client = installation.store.get().await.unwrap();
        client
            .query_one("select id from instances", &[])
            .await
            .unwrap()
            .get(0)
    };
    both.walhook(&["rotate-key"])
        .await
        .exits(1)
        .says("nothing was changed")
        .says(&instance.to_string());
    assert!(node.terminate().success());

    let first = Process::start(&both.file(), &["run"]);
    let other = rotated.both();
    let second = Process::start(&other.file(), &["run", "--roles", "deliver,api"]);
    let subscriptions = Subscriptions::at(&both, &first).await;
    let subscription = serde_json::json!({
        "url": receiver.url("/api"), "event": "*", "headers": {"authorization": "Bearer 1"}
    });
    assert_eq!(subscriptions.create(&subscription).await, 201);
    installation
        .wait_for("(select count(*) from instances where heartbeats > 0) = 2")
        .await;
    // Both go on with the old key until it is changed: a node may not have the new one yet.
    // Two secrets, the headers with their version, and a kept answer.
    assert_eq!(rotated.left().await, 5);
    let versions = "select count(*) from subscription_versions";
    assert_eq!(installation.count(versions).await, 2);

    let answer = both.walhook(&["rotate-key"]).await.exits(0);
    answer.says("may be removed");
    assert_eq!(rotated.left().await, 0);
    assert_eq!(
        installation.count(versions).await,
        2,
        "no setting has changed"
    );
    let entered = "select count(*) from audit_log where action = 'store.rotate_key'
        and principal_kind = 'command' and principal like '%@%'";
    assert_eq!(installation.count(entered).await, 1);
    both.walhook(&["rotate-key"]).await.exits(0);

    order(installation).await;
    receiver.wait_for_of("/", 1).await;
    let sent = receiver.wait_for_of("/api", 1).await;
    assert_eq!(sent[0].header("authorization"), "Bearer 1");
    assert!(first.terminate().success());
    assert!(second.terminate().success());

    is_refused(&old_only, &["Give this node the key file"]).await;
    let new_only = with_keys(installation, &rotated.new, None);
    new_only
        .walhook(&["check"])
        .await
        .says("holds the store's key");
    let node = Process::start(&new_only.file(), &["run"]);
    order(installation).await;
    let requests = receiver.wait_for_of("/", 2).await;
    subscribed.verify(&requests[1]);
    assert!(node.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_was_cut_short_is_taken_up_again_past_what_cannot_be_read() {
    let rotated = Rotated::begin().await;
    let installation = &rotated.installation;
    for _ in 0..3 {
        installation
            .subscribe("acme", "https://example.com/", &["*"])
            .await;
    }
    // It ended after the key was on record, and before anything was encrypted with it.
    let new = EncryptionKey::load(&rotated.new).unwrap();
    assert!(installation.store.replace_key(&new).await.unwrap());
    rotated.both().walhook(&["rotate-key"]).await.exits(0);
    assert_eq!(rotated.left().await, 0);

    // Without the old key only --lost goes on, and says what it leaves.
    let third = installation.directory.path().join("third.key");
    drop(EncryptionKey::create(&third).unwrap());
    let lost = with_keys(installation, &third, None);
    lost.walhook(&["rotate-key"]).await.exits(2).says("--lost");
    lost.walhook(&["rotate-key", "--lost"])
        .await
        .exits(0)
        .says("3 in webhook_subscriptions.secret");
}
