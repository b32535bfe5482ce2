//! The shadow after something was lost: it is made again, and answers nothing that it
//! does not know.

use std::sync::Arc;

use jiff::Timestamp;
use walhook::app::old_values;
use walhook::capture::{Answered, Enqueuer, Filters, Redefined, SourceCatalog};
use walhook::conninfo::ConnInfo;
use walhook::delivery::instance::Instance;
use walhook::delivery::partitions::Partitions;
use walhook::lsn::Lsn;
use walhook::mapping::{Mapper, TableName};
use walhook::pgoutput::{DecodeError, MessageKind, StreamEvent, TransactionHeader};
use walhook::source::catalog;
use walhook::subscription::directory::Directory;

use super::{COMPLETE, WATCHED, caught_up, live, of, shadow, with_rows};
use crate::harness::command::{answer, walhook as command};
use crate::harness::connect;
use crate::harness::process::Process;
use crate::harness::receiver::Receiver;
use crate::harness::walhook::Installation;
use crate::refusals::drop_slot;

/// Gives an enqueuer, in the place of walhook, the transaction that has just committed,
/// in a state that cannot be read.
async fn take_undecodable(walhook: &Installation) -> anyhow::Error {
    let config = walhook.config();
    let rules = Arc::new(config.rules().unwrap());
    let client = &walhook.database.client;
    let catalog = SourceCatalog {
        source: ConnInfo::parse(&walhook.database.url).unwrap(),
        publication: config.source.publication.clone(),
        slot: config.source.slot.clone(),
    };
    let names: Vec<TableName> = rules.tables().cloned().collect();
    let tables = catalog::describe(client, &names).await.unwrap();
    for table in &tables {
        assert_eq!(rules.check_table(&table.description()), []);
    }
    let roles = ["capture".to_owned()];
    let instance = Instance::register(&walhook.store, &roles);
    let mut enqueuer = Enqueuer {
        store: walhook.store.clone(),
        slot: config.source.slot.clone(),
        instance: Arc::new(instance.await.unwrap()),
        directory: Directory::new(Arc::new(
            walhook::secret::EncryptionKey::load(&config.security.encryption_key_file).unwrap(),
        )),
        partitions: Arc::new(Partitions::default()),
        dispatcher: None,
        max_body: config.delivery.max_body,
        filters: Filters::default(),
        unknown_tenants: Arc::default(),
        tallies: Arc::default(),
        unconfirmed: Vec::new(),
        ready: None,
        recorded: ::walhook::capture::Recorded::default(),
        catalog: catalog.clone(),
        answered: Answered::default(),
    };
    let (session, leadership) = enqueuer.lead().await.unwrap();
    let mapper = Mapper::new(Arc::clone(&rules), leadership.system_identifier);
    let old_values = old_values::sources(&rules, &tables, Lsn::ZERO);
    let mut source = connect(&walhook.database.url).await;
    let old_values = old_values::define(old_values, &catalog, &mut source)
        .await
        .unwrap();
    let mut session = enqueuer
        .begin(session, &leadership, mapper, old_values)
        .await
        .unwrap();
    let end: Lsn = client
        .query_one("select pg_current_wal_insert_lsn()", &[])
        .await
        .unwrap()
        .get(0);
    let header = TransactionHeader {
        xid: 7,
        commit_lsn: end,
        committed_at: Timestamp::now(),
    };
    let received = vec![
        StreamEvent::Begin(header),
        StreamEvent::Undecodable {
            lsn: end,
            ordinal: Some(0),
            relation: Some("public.orders".to_owned()),
            error: DecodeError::ColumnCount {
                message: MessageKind::Update,
                expected: 5,
                found: 4,
            },
            payload: bytes::Bytes::new(),
        },
        StreamEvent::Commit {
            commit_lsn: end,
            end_lsn: end,
        },
    ];
    session.enqueue(received).await.unwrap_err()
}

#[tokio::test]
async fn a_change_that_cannot_be_decoded_voids_what_the_shadow_holds_of_its_table() {
    let walhook =
        with_rows("insert into orders values (1, 'acme', 'new'), (2, 'acme', 'new')").await;
    let receiver = Receiver::start().await;
    walhook.subscribe("acme", &receiver.url("/"), &["*"]).await;
    let running = walhook.start();
    walhook.wait_for(COMPLETE).await;
    running.stop().await;

    let application = &walhook.database.client;
    let paid = "update orders set status = 'paid' where id = 1";
    application.batch_execute(paid).await.unwrap();
    let error = take_undecodable(&walhook).await;
    assert!(error.is::<Redefined>(), "{error:#}");
    let undecodable = "select count(*) from parked_changes where reason = 'undecodable'";
    assert_eq!(walhook.count(undecodable).await, 1);
    assert_eq!(walhook.count("select count(*) from row_shadow").await, 0);

    let running = walhook.start();
    walhook.wait_for(COMPLETE).await;
    // 1 was paid by what could not be read: it does not become so again.
    application
        .batch_execute(
            "update orders set note = 'x' where id = 1; update orders set status = 'paid' where id = 2",
        )
        .await
        .unwrap();
    let requests = receiver.wait_for(1).await;
    caught_up(&walhook).await;
    let shadow = shadow(&walhook).await;
    running.stop().await;
    let paid = of(&requests, "order.paid");
    assert_eq!((paid.len(), &paid[0]["data"]["id"]), (1, &2.into()));
    assert_eq!(shadow, live(&walhook, WATCHED).await);
}

#[tokio::test]
async fn behind_an_accepted_gap_nothing_is_answered_from_before_it() {
    let walhook =
        with_rows("insert into orders select n, 'acme', 'new' from generate_series(1, 3) n").await;
    let receiver = Receiver::start().await;
    let types = ["order.paid"];
    walhook.subscribe("acme", &receiver.url("/"), &types).await;
    let running = walhook.start();
    walhook.wait_for(COMPLETE).await;
    running.stop().await;
    drop_slot(&walhook).await;
    let application = &walhook.database.client;
    // Lost with the slot.
    application
        .batch_execute(
            "update orders set status = 'paid' where id = 1; delete from orders where id = 2",
        )
        .await
        .unwrap();
    let setup = command()
        .arg("--config")
        .arg(walhook.config_file())
        .args(["setup", "--accept-gap"])
        .output()
        .await;
    answer(setup.unwrap()).exits(0);
    assert_eq!(walhook.count("select count(*) from row_shadow").await, 0);

    // Committed while it is not known what 1 was: set aside, and not passed over.
    application
        .batch_execute("update orders set note = 'early' where id = 1")
        .await
        .unwrap();
    let running = walhook.start();
    walhook
        .wait_for("select count(*) = 1 from parked_changes where detail like '%no old value%'")
        .await;
    walhook.wait_for(COMPLETE).await;
    application
        .batch_execute(
            "update orders set note = 'x' where id = 1;
             insert into orders values (2, 'acme', 'new');
             update orders set status = 'paid' where id > 1",
        )
        .await
        .unwrap();
    let requests = receiver.wait_for(2).await;
    caught_up(&walhook).await;
    let shadow = shadow(&walhook).await;
    running.stop().await;
    let paid = of(&requests, "order.paid");
    let mut ids: Vec<_> = paid
        .iter()
        .map(|event| event["data"]["id"].as_i64().unwrap())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, [2, 3]);
    assert_eq!(shadow, live(&walhook, WATCHED).await);
}

#[tokio::test]
async fn kill_9_in_the_middle_leaves_the_shadow_where_the_progress_stands() {
    let walhook =
        with_rows("insert into orders select n, 'acme', 'new' from generate_series(1, 500) n")
            .await;
    let running = walhook.start();
    walhook.wait_for(COMPLETE).await;
    running.stop().await;
    let mut process = Process::start(&walhook.config_file(), &["run"]);
    for round in 1..=5 {
        // Two transactions of many batches each: every row becomes paid once a round,
        // from this round's status.
        for change in [
            format!("update orders set status = 'r{round}', note = repeat('n', 900)"),
            "update orders set status = 'paid'".to_owned(),
        ] {
            let client = &walhook.database.client;
            client.batch_execute(&change).await.unwrap();
        }
        // As soon as it has come to it.
        let some = format!(
            "select exists (select from webhook_events where convert_from(body, 'UTF8') like '%\"r{round}\"%')"
        );
        walhook.wait_for(&some).await;
        process.kill();
        process = Process::start(&walhook.config_file(), &["run"]);
    }
    let all = "select count(*) = 2500 from webhook_events where event_type = 'order.paid'";
    walhook.wait_for(all).await;
    caught_up(&walhook).await;
    let shadow = shadow(&walhook).await;
    assert!(process.terminate().success());
    assert_eq!(shadow, live(&walhook, WATCHED).await);
    let parked = "select count(*) from parked_changes";
    assert_eq!(walhook.count(parked).await, 0);
    let wrong = "select count(*) from (
        select convert_from(body, 'UTF8')::json -> 'previous' ->> 'status' as was, count(*) as n
        from webhook_events where event_type = 'order.paid' group by 1
    ) as rounds where was !~ '^r[1-5]$' or n <> 500";
    assert_eq!(walhook.count(wrong).await, 0);
}
