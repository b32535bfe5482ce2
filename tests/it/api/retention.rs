//! What the store keeps, and for how long.

use jiff::{Timestamp, ToSpan};
use walhook::db::StoreConfig;
use walhook::delivery::partitions::{self, Day};
use walhook::delivery::pruner::prune;

use super::fixtures::{Api, all_pages, id};

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
