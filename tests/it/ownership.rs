//! Who owns a delivery, and that no change of hands leaves one with nobody.

use std::sync::Arc;
use std::time::Duration;

use ::walhook::conninfo::{Client, Purpose};
use ::walhook::delivery::attempt::Outcome;
use ::walhook::delivery::cause::Cause;
use ::walhook::delivery::client::Answer;
use ::walhook::delivery::instance::Instance;
use ::walhook::delivery::partitions;
use ::walhook::delivery::recorder::{Entry, Record, Recorder};
use ::walhook::delivery::state::Transition;
use ::walhook::delivery::{Delivery, Hold, ParkedReason};
use ::walhook::event::{DeliveryId, EventId, SubscriptionId, id_floor, milliseconds};
use ::walhook::subscription::Format;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::harness::TestDatabase;
use crate::harness::walhook::Installation;

/// Waits until a session of this database waits for a lock, or until none does.
async fn wait_for_lock(database: &TestDatabase, waits: bool) {
    let waiting = "select count(*) > 0 from pg_stat_activity
                   where datname = current_database() and wait_event_type = 'Lock'";
    while database
        .client
        .query_one(waiting, &[])
        .await
        .unwrap()
        .get::<_, bool>(0)
        != waits
    {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_heartbeat_that_was_given_up_does_not_rise_above_a_later_enqueue() {
    let database = TestDatabase::create().await;
    let store = database.store().await;
    let instance = Arc::new(Instance::register(&store, &[]).await.unwrap());
    let registered: Uuid = {
        let client = store.get().await.unwrap();
        let low_water = "select low_water from instances";
        client.query_one(low_water, &[]).await.unwrap().get(0)
    };
    // Of the moment of the registration; the heartbeat comes later by the clock.
    let delivery = Uuid::from_u128(registered.as_u128() + 1);
    while id_floor(milliseconds(jiff::Timestamp::now())) <= delivery {
        tokio::task::yield_now().await;
    }
    // A lock without a transaction id: the other tests create slots, which wait for those.
    let blocker = store.connect(Purpose::Housekeeping).await.unwrap();
    blocker
        .batch_execute(
            "set idle_in_transaction_session_timeout = 0; begin; lock table instances in exclusive mode",
        )
        .await
        .unwrap();
    let stop = CancellationToken::new();
    let beating = {
        let (instance, stop) = (Arc::clone(&instance), stop.clone());
        tokio::spawn(async move { instance.run(Arc::new(Notify::new()), stop).await })
    };
    wait_for_lock(&database, true).await;
    stop.cancel();
    // It ends by giving up its heartbeat; the server still has it.
    beating.await.unwrap().unwrap();

    instance.outstanding.insert([delivery].into_iter());
    let lowers = delivery < *instance.outstanding.low_water().await;
    blocker.batch_execute("commit").await.unwrap();
    wait_for_lock(&database, false).await;
    if lowers {
        let lower = include_str!("../../sql/queries/handoff/lower_low_water.sql");
        blocker
            .execute(lower, &[&instance.id, &delivery])
            .await
            .unwrap();
    }
    // Behind whatever still holds the row.
    let settled = "select low_water from instances for update";
    let low_water: Uuid = blocker.query_one(settled, &[]).await.unwrap().get(0);
    assert!(
        low_water <= delivery,
        "{low_water}: whoever adopts begins above {delivery}"
    );
}

#[tokio::test]
async fn a_fenced_instance_leads_no_more() {
    let walhook = Installation::of_orders().await;
    let instance = Instance::register(&walhook.store, &[]).await.unwrap();
    let client = walhook.store.get().await.unwrap();
    let lead = include_str!("../../sql/queries/capture/take_leadership.sql");
    let slot = walhook.database.slot();
    assert_eq!(
        client.execute(lead, &[&slot, &instance.id]).await.unwrap(),
        1
    );
    client
        .batch_execute("update instances set fenced_at = now()")
        .await
        .unwrap();
    assert_eq!(
        client.execute(lead, &[&slot, &instance.id]).await.unwrap(),
        0
    );
}

#[tokio::test]
async fn an_enqueue_whose_commit_was_not_answered_is_given_up_once_it_has_ended() {
    let walhook = Installation::of_orders().await;
    let subscribed = walhook
        .subscribe("acme", "http://127.0.0.1:9/", &["*"])
        .await;
    let instance = Arc::new(Instance::register(&walhook.store, &[]).await.unwrap());
    // The server is still at it.
    let enqueue = walhook.store.connect(Purpose::Enqueuer).await.unwrap();
    enqueue
        .batch_execute("begin; update replication_progress set updated_at = now()")
        .await
        .unwrap();
    let id = Uuid::now_v7();
    partitions::ensure(&walhook.store.get().await.unwrap(), [id].into_iter())
        .await
        .unwrap();
    insert_delivery(&enqueue, id, instance.id, subscribed.id).await;
    instance.outstanding.insert([id].into_iter());
    let giving_up = {
        let instance = Arc::clone(&instance);
        tokio::spawn(async move { instance.give_up(&[id]).await })
    };
    wait_for_lock(&walhook.database, true).await;
    enqueue.batch_execute("commit").await.unwrap();
    assert_eq!(giving_up.await.unwrap().unwrap(), 1);
    assert!(instance.outstanding.is_empty());
    let due = "select count(*) from delivery_schedule where status = 'pending'";
    assert_eq!(walhook.count(due).await, 1);
}

/// A delivery that `owner` has in memory, its rows in the store.
async fn owned_delivery(walhook: &Installation, owner: Uuid, subscription: Uuid) -> Delivery {
    let id = Uuid::now_v7();
    let client = walhook.store.get().await.unwrap();
    partitions::ensure(&client, [id].into_iter()).await.unwrap();
    insert_delivery(&client, id, owner, subscription).await;
    Delivery {
        id: DeliveryId(id),
        event_id: EventId(id),
        subscription_id: SubscriptionId(subscription),
        event_type: Arc::from("order.created"),
        format: Format::Standard,
        body: bytes::Bytes::from_static(b"{}"),
        attempts: 0,
        occurred_at: jiff::Timestamp::now(),
        queued_at: std::time::Instant::now(),
        hold: Hold::Owned,
        of_stream: true,
        cause: Cause::default(),
        batch: None,
    }
}

async fn insert_delivery(client: &Client, id: Uuid, owner: Uuid, subscription: Uuid) {
    client
        .execute(
            "insert into webhook_deliveries (id, event_id, subscription_id, tenant_id, event_type,
                 format, owner)
             values ($1, $1, $2, 'acme', 'order.created', 'standard', $3)",
            &[&id, &subscription, &owner],
        )
        .await
        .unwrap();
}

fn recorder(walhook: &Installation, instance: &Instance) -> Recorder {
    Recorder {
        store: walhook.store.clone(),
        instance: instance.id,
        outstanding: Arc::clone(&instance.outstanding),
        directory: walhook.directory_of_subscriptions(),
        health: Arc::default(),
        released: Arc::default(),
        stats: Arc::default(),
        disable_after: None,
        schedule_changed: Arc::new(Notify::new()),
    }
}

async fn record(walhook: &Installation, instance: &Instance, record: Record) {
    let (entries, received) = mpsc::channel(1);
    entries.send(Entry::from(record)).await.unwrap();
    drop(entries);
    recorder(walhook, instance)
        .run(received, std::sync::Weak::new())
        .await
        .unwrap();
}

#[tokio::test]
async fn what_is_parked_behind_an_enable_is_due_and_not_parked_for_ever() {
    let walhook = Installation::of_orders().await;
    let subscribed = walhook
        .subscribe("acme", "http://127.0.0.1:9/", &["*"])
        .await;
    let instance = Instance::register(&walhook.store, &[]).await.unwrap();
    // The sender saw the subscription disabled; by the time it says so it is enabled.
    let delivery = owned_delivery(&walhook, instance.id, subscribed.id).await;
    let parked = Transition::Parked(ParkedReason::Disabled);
    record(&walhook, &instance, Record::unattempted(delivery, parked)).await;
    let due = "select count(*) from delivery_schedule where status = 'pending' and due_at <= now()";
    assert_eq!(walhook.count(due).await, 1);

    let disable = "update webhook_subscriptions set active = false, disabled_at = now(), disabled_reason = 'test'";
    walhook
        .store
        .get()
        .await
        .unwrap()
        .batch_execute(disable)
        .await
        .unwrap();
    let delivery = owned_delivery(&walhook, instance.id, subscribed.id).await;
    let parked = Transition::Parked(ParkedReason::Disabled);
    record(&walhook, &instance, Record::unattempted(delivery, parked)).await;
    let parked = "select count(*) from delivery_schedule where status = 'parked'";
    assert_eq!(walhook.count(parked).await, 1);
}

#[tokio::test]
async fn a_result_that_the_store_refuses_does_not_keep_the_others_from_it() {
    let walhook = Installation::of_orders().await;
    let subscribed = walhook
        .subscribe("acme", "http://127.0.0.1:9/", &["*"])
        .await;
    let instance = Instance::register(&walhook.store, &[]).await.unwrap();
    let (entries, received) = mpsc::channel(9);
    for number in 0..9 {
        let mut delivery = owned_delivery(&walhook, instance.id, subscribed.id).await;
        delivery.attempts = 1;
        let outcome = Outcome {
            began: std::time::Instant::now(),
            duration: Duration::from_millis(3),
            http_status: Some(200),
            error: None,
            retry_after: None,
            // What no text of PostgreSQL can hold.
            excerpt: (number == 5).then(|| "thanks\0".to_owned()),
            answer: Answer::default(),
            subscription_version: 1,
        };
        let record = Record {
            delivery,
            transition: Transition::Delivered,
            decided_at: std::time::Instant::now(),
            outcome: Some(outcome),
        };
        entries.send(Entry::from(record)).await.unwrap();
    }
    drop(entries);
    let recorder = recorder(&walhook, &instance);
    let recording = recorder.run(received, std::sync::Weak::new());
    let recorded = tokio::time::timeout(Duration::from_secs(60), recording).await;
    recorded.expect("it tries for ever").unwrap();
    let delivered = "select count(*) from webhook_deliveries where status = 'delivered' and first_http_status = 200";
    assert_eq!(walhook.count(delivered).await, 9);
}

#[tokio::test]
async fn a_recorder_whose_statement_fails_for_good_ends_and_says_of_what() {
    let walhook = Installation::of_orders().await;
    let subscribed = walhook
        .subscribe("acme", "http://127.0.0.1:9/", &["*"])
        .await;
    let instance = Instance::register(&walhook.store, &[]).await.unwrap();
    let delivery = owned_delivery(&walhook, instance.id, subscribed.id).await;
    let id = delivery.id;
    walhook
        .store
        .get()
        .await
        .unwrap()
        .batch_execute("alter table webhook_deliveries drop column last_error")
        .await
        .unwrap();
    let (entries, received) = mpsc::channel(1);
    let record = Record::unattempted(delivery, Transition::Cancelled);
    entries.send(Entry::from(record)).await.unwrap();
    drop(entries);
    let recorder = recorder(&walhook, &instance);
    let recording = recorder.run(received, std::sync::Weak::new());
    let ended = tokio::time::timeout(Duration::from_secs(60), recording).await;
    let error = ended.expect("it tries for ever").unwrap_err();
    assert!(format!("{error:#}").contains(&id.to_string()), "{error:#}");
}
