//! A source that was put back to an older copy of itself under a running walhook: events
//! of what it no longer knows are out, and its log will say other things where it said them.

use std::fs;
use std::process::Command;

use ::walhook::demo::postgres::Postgres;

use super::quiet_server;
use super::running::{ORDER, is_closed_by_accepting, subscribed};
use crate::harness::operated::Operated;
use crate::harness::receiver::Receiver;
use crate::harness::walhook::{Installation, ORDER_RULES, ORDERS};
use crate::harness::{TestDatabase, connect, start_postgres, stop_at_exit};

/// A source of its own whose copy has one order; two are delivered since. The store is
/// elsewhere and knows of all three.
struct Restored {
    walhook: Operated,
    receiver: Receiver,
    source: Postgres,
}

impl Restored {
    /// Puts the source back to the copy, in which `prepare` may change files.
    async fn to_a_copy(prepare: impl FnOnce(&Postgres)) -> Self {
        let source = start_postgres(&[]).unwrap();
        stop_at_exit(&source);
        let store = TestDatabase::create_on(quiet_server()).await;
        let settings = format!("[store]\nurl = '{}'\n", store.url);
        let database = TestDatabase::create_on(&source).await;
        let installation = Installation::create_in(database, ORDERS, ORDER_RULES, &settings).await;
        let walhook = Operated::start(installation);
        let receiver = subscribed(&walhook.installation).await;
        walhook.wait_ready(200, &["ready"]).await;
        walhook.sql(ORDER).await;
        receiver.wait_for(1).await;

        let copy = tokio::task::block_in_place(|| source.copy(&[])).unwrap();
        let restored = Restored {
            walhook,
            receiver,
            source,
        };
        restored.order().await;
        restored.order().await;
        restored.receiver.wait_for(3).await;
        tokio::task::block_in_place(|| put_back(&restored.source, &copy, prepare));
        restored
    }

    /// The application connects again.
    async fn order(&self) {
        let database = &self.walhook.installation.database;
        let application = connect(&self.source.url(&database.name)).await;
        application.batch_execute(ORDER).await.unwrap();
    }

    /// What was delivered stays so, what comes afterwards is delivered once.
    async fn goes_on(self) {
        self.order().await;
        self.receiver.wait_for(4).await;
        assert!(self.walhook.process.terminate().success());
        let requests = self.receiver.requests();
        let ids: std::collections::BTreeSet<_> = requests.iter().map(|one| one.id()).collect();
        assert_eq!((requests.len(), ids.len()), (4, 4));
    }
}

fn put_back(source: &Postgres, copy: &Postgres, prepare: impl FnOnce(&Postgres)) {
    source.stop().unwrap();
    let data = source.data_directory();
    let settings = fs::read(data.join("postgresql.conf")).unwrap();
    fs::remove_dir_all(&data).unwrap();
    let copied = Command::new("cp")
        .arg("-a")
        .args([&copy.data_directory(), &data])
        .status();
    assert!(copied.unwrap().success());
    fs::write(data.join("postgresql.conf"), settings).unwrap();
    prepare(source);
    source.boot().unwrap();
    // The shell that stops the server at the end knows another pid.
    stop_at_exit(source);
}

/// A snapshot of the volume: the same system on the same timeline, whose log ends before
/// what was taken.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_the_source_put_back_is_a_gap() {
    let restored = Restored::to_a_copy(|_| {}).await;
    let said = "restored from an older copy";
    let walhook = &restored.walhook;
    walhook.wait_ready(503, &[said, "--accept-gap"]).await;
    is_closed_by_accepting(walhook, "log_behind", said).await;
    restored.goes_on().await;
}

/// Recovery to a point in time: a timeline of its own, which left the old one before what
/// was taken.
#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_to_a_point_in_time_is_a_gap() {
    let restored = Restored::to_a_copy(|server| {
        let data = server.data_directory();
        fs::write(data.join("recovery.signal"), "").unwrap();
        let file = data.join("postgresql.conf");
        let settings = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{settings}restore_command = 'false'\n")).unwrap();
    })
    .await;
    let said = "left timeline 1";
    let walhook = &restored.walhook;
    walhook.wait_ready(503, &[said, "--accept-gap"]).await;
    is_closed_by_accepting(walhook, "timeline_branched", said).await;
    restored.goes_on().await;
}
