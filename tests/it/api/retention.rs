//! What the store keeps, and for how long.

use jiff::{Timestamp, ToSpan};
use serde_json::json;
use walhook::db::StoreConfig;
use walhook::delivery::partitions::{self, Day};
use walhook::delivery::pruner::prune;

use super::fixtures::{Api, all_pages, id};
use crate::harness::{connect, pause};

#[tokio::test]
async fn days_are_made_ahead_and_dropped_behind_but_none_that_waits() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    let now = Timestamp::now();
    let days_ago = |days: i64| now - (24 * days).hours();
    let day = |days: i64| Day::of(days_ago(days));
    for (days, status) in [
        (45, "delivered"),
        (40, "pending"),
        (35, "failed"),
        (10, "delivered"),
    ] {
        let event = api.event("acme", "payment.received", days_ago(days)).await;
        api.delivery("acme", event, id(&subscription), status).await;
    }
    // Of 30 days.
    let config = StoreConfig::default();
    let prune_at = async |now| prune(&api.store, &config, now).await.unwrap();
    let existing = async || {
        let client = api.store.get().await.unwrap();
        partitions::existing(&client).await.unwrap()
    };
    assert_eq!(prune_at(now).await, [day(45), day(35)]);
    let ahead = (0..=4).map(|days| Day(Day::of(now).0 + days));
    let expected: Vec<Day> = [day(40), day(10)].into_iter().chain(ahead).collect();
    assert_eq!(existing().await, expected);
    let waiting = "select count(*) from delivery_schedule";
    assert_eq!(
        api.count(waiting).await,
        1,
        "the failed one went with its day"
    );
    assert_eq!(prune_at(now).await, []);

    // In somebody's memory it waits, too.
    api.execute(
        "delete from delivery_schedule;
         update webhook_deliveries set owner = gen_random_uuid() where status = 'pending'",
    )
    .await;
    assert_eq!(prune_at(now).await, []);
    api.execute(
        "update webhook_deliveries set owner = null, status = 'cancelled' where status = 'pending'",
    )
    .await;
    assert_eq!(prune_at(now).await, [day(40)]);

    let later = now + (24 * 25).hours();
    let dropped = prune_at(later).await;
    assert_eq!(dropped, [day(10)]);
    assert_eq!(existing().await.last(), Some(&Day(Day::of(later).0 + 4)));
}

#[tokio::test]
async fn what_was_sent_to_a_deleted_subscription_is_listed_until_retention() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let (kept, deleted) = (api.subscribe(&token).await, api.subscribe(&token).await);
    let now = Timestamp::now();
    let mut expected = Vec::new();
    for minutes in 0..6 {
        let subscription = if minutes % 2 == 0 { &kept } else { &deleted };
        let event = api
            .event("acme", "payment.received", now - minutes.minutes())
            .await;
        let delivery = api
            .delivery("acme", event, id(subscription), "delivered")
            .await;
        expected.push(delivery.to_string());
    }
    let all = async || {
        all_pages(&api, "/deliveries?limit=4", &token)
            .await
            .concat()
    };
    assert_eq!(all().await, expected);
    let path = format!("/subscriptions/{}", id(&deleted));
    api.delete(&path, &token).await.expect(204);
    assert_eq!(all().await, expected);
    let of_deleted = format!("/deliveries?limit=2&subscription_id={}", id(&deleted));
    let of_deleted = all_pages(&api, &of_deleted, &token).await.concat();
    let odd = expected.iter().skip(1).step_by(2).cloned();
    assert_eq!(of_deleted, odd.collect::<Vec<_>>());
    let stranger = api.token("globex").await;
    let theirs = all_pages(&api, "/deliveries", &stranger).await.concat();
    assert!(theirs.is_empty(), "{theirs:?}");

    let remembered = "select count(*) from deleted_subscriptions";
    let config = StoreConfig::default();
    for (days, left) in [(20, 1), (40, 0)] {
        let later = now + (24 * days).hours();
        prune(&api.store, &config, later).await.unwrap();
        assert_eq!(api.count(remembered).await, left, "after {days} days");
    }
}

#[tokio::test]
async fn a_step_that_fails_keeps_no_other_from_its_work() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    let now = Timestamp::now();
    let event = api
        .event("acme", "payment.received", now - (24 * 40).hours())
        .await;
    api.delivery("acme", event, id(&subscription), "delivered")
        .await;
    // More of them than one statement deletes.
    api.execute(
        "insert into audit_log (id, at, principal_kind, principal, action)
         select gen_random_uuid(), now() - interval '500 days', 'walhook', 'walhook', 'x'
         from generate_series(1, 11000);
         insert into idempotency_keys
         values ('acme', 'k', '', '', 200, now() - interval '2 days');
         alter table delivery_stats rename to delivery_stats_away;
         alter table jobs rename to jobs_away",
    )
    .await;
    let config = StoreConfig::default();
    let failed = prune(&api.store, &config, now).await.unwrap_err();
    let failed = format!("{failed:#}");
    assert!(failed.contains("fold statistics"), "{failed}");
    assert!(failed.contains("ended bulk retries"), "{failed}");
    for (left, count) in [
        ("select count(*) from audit_log where action = 'x'", 0),
        ("select count(*) from idempotency_keys", 0),
        ("select count(*) from webhook_events", 0),
    ] {
        assert_eq!(api.count(left).await, count, "{left}");
    }
}

#[tokio::test]
async fn versions_of_settings_are_forgotten_with_the_attempts_that_they_were_of() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    let path = format!("/subscriptions/{}", id(&subscription));
    for limit in 1..=4 {
        let change = json!({"rate_limit": limit, "headers": {"x-key": "one"}});
        api.patch(&path, &token, change).await.expect(200);
    }
    // The same settings again are no version.
    let same = json!({"rate_limit": 4, "headers": {"x-key": "one"}});
    let patched = api.patch(&path, &token, same).await.expect(200);
    assert_eq!(patched["version"], 5);
    api.execute(
        "update subscription_versions
         set changed_at = now() - make_interval(days => (array[90, 50, 40, 20, 10])[version])",
    )
    .await;
    let config = StoreConfig::default();
    prune(&api.store, &config, Timestamp::now()).await.unwrap();
    // The third was in force until 20 days ago.
    let left = "select min(version)::int8 from subscription_versions";
    assert_eq!(api.count(left).await, 3);
    let later = Timestamp::now() + (24 * 400).hours();
    prune(&api.store, &config, later).await.unwrap();
    assert_eq!(api.count(left).await, 5, "the newest stays");
}

/// The answer said that it is queued.
#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_is_being_retried_keeps_its_day() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    let now = Timestamp::now();
    let old = now - (24 * 45).hours();
    let event = api.event("acme", "payment.received", old).await;
    let delivery = api
        .delivery("acme", event, id(&subscription), "failed")
        .await;
    // As a retry does it, between its first statement and its commit.
    let retrying = connect(&api.database.url).await;
    retrying
        .batch_execute(
            "begin; set local search_path = walhook;
             select from delivery_schedule for update;
             update webhook_deliveries set status = 'pending', next_attempt_at = now();
             update delivery_schedule set status = 'pending', due_at = now()",
        )
        .await
        .unwrap();
    let store = api.store.clone();
    let pruning = tokio::spawn(async move { prune(&store, &StoreConfig::default(), now).await });
    let began = std::time::Instant::now();
    let waits = "select count(*) > 0 from pg_stat_activity
                 where datname = current_database() and wait_event_type = 'Lock'";
    while !api
        .database
        .client
        .query_one(waits, &[])
        .await
        .unwrap()
        .get::<_, bool>(0)
    {
        assert!(!pruning.is_finished(), "it did not wait for the retry");
        pause(began).await;
    }
    retrying.batch_execute("commit").await.unwrap();
    assert_eq!(pruning.await.unwrap().unwrap(), []);
    let kept = api.get(&format!("/deliveries/{delivery}"), &token).await;
    assert_eq!(kept.expect(200)["status"], "pending");
    assert_eq!(
        api.count("select count(*) from delivery_schedule where status = 'pending'")
            .await,
        1
    );
}
