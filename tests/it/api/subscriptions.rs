//! Subscriptions: create, read, change, rotate, disable, enable, delete.

use std::io::Write;
use std::sync::{Mutex, Once};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use walhook::conninfo::ConnInfo;
use walhook::delivery::parking;
use walhook::lsn::Lsn;

use super::fixtures::{Api, all_pages, id};
use crate::harness::connect;

/// Everything that any test of this process logs, at every level.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn record_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_writer(|| Log)
            .try_init()
            .unwrap();
    });
}

#[tokio::test]
async fn the_secret_is_shown_once_and_never_again_anywhere() {
    record_log();
    let api = Api::start().await;
    let token = api.token("acme").await;
    let given = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let body = json!({
        "url": "https://example.com/hook", "events": ["payment.*"], "secret": given,
        "signing_key": "generate",
        "headers": {"Authorization": "Bearer of-the-receiver-1", "X-Region": "eu"},
    });
    let created = api.post("/subscriptions", &token, body).await.expect(201);
    assert_eq!(created["secret"], given);
    assert_eq!(created.get("secret_hint"), None);
    let first_key = created["signing_key"].as_str().unwrap();
    let path = format!("/subscriptions/{}", id(&created));
    let rotated = api
        .post(&format!("{path}/rotate-secret"), &token, json!({}))
        .await
        .expect(200);
    let generated = rotated["secret"].as_str().unwrap();
    assert!(generated.starts_with("whsec_") && generated != given);
    assert!(rotated["previous_secret_expires_at"].is_string());
    let rekeyed = api
        .post(&format!("{path}/rotate-signing-key"), &token, json!({}))
        .await
        .expect(200);
    let second_key = rekeyed["signing_key"].as_str().unwrap();
    let public_key = rekeyed["public_key"].as_str().unwrap();
    assert!(second_key.starts_with("whsk_") && second_key != first_key);
    assert!(rekeyed["previous_signing_key_expires_at"].is_string());
    assert_eq!(rekeyed.get("secret"), None);

    let read = [
        api.get(&path, &token).await.text,
        api.get("/subscriptions", &token).await.text,
        api.patch(&path, &token, json!({"description": "x"}))
            .await
            .text,
        api.post(&format!("{path}/enable"), &token, json!({}))
            .await
            .text,
    ];
    for text in &read {
        assert!(text.contains("secret_hint"), "{text}");
        assert!(text.contains(&generated[generated.len() - 4..]), "{text}");
        assert!(text.contains(public_key), "{text}");
        assert!(
            text.contains("X-Region") && !text.contains("of-the-receiver"),
            "{text}"
        );
    }
    let stored: String = api
        .database
        .client
        .query_one(
            "select string_agg(s::text, '') || encode(string_agg(secret || previous_secrets[1] || signing_key || previous_signing_keys[1] || headers, ''), 'escape')
             from walhook.webhook_subscriptions s",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    for hidden in ["of-the-receiver", "X-Region"] {
        let hex: String = hidden.bytes().map(|byte| format!("{byte:02x}")).collect();
        assert!(!stored.contains(hidden) && !stored.contains(&hex));
    }
    let log = String::from_utf8_lossy(&LOG.lock().unwrap()).into_owned();
    assert!(!log.contains("of-the-receiver"));
    assert!(log.contains("walhook"), "the log is recorded");
    for secret in [given, generated, first_key, second_key] {
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        for (place, text) in read
            .iter()
            .map(|text| ("answer", text))
            .chain([("store", &stored), ("log", &log)])
        {
            assert!(
                !text.contains(secret) && !text.contains(secret.split_once('_').unwrap().1),
                "{place}"
            );
            assert!(!text.contains(&hex), "{place}");
        }
    }
    assert!(!log.contains(&token), "the token is logged");
}

#[tokio::test]
async fn a_subscription_has_the_documented_shape() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let before: Lsn = api
        .database
        .client
        .query_one("select pg_current_wal_insert_lsn()", &[])
        .await
        .unwrap()
        .get(0);
    let body = json!({"url": "https://example.com/hook", "event": "payment.received",
        "description": "books", "filter": "data.amount > 1", "format": "cloudevents"});
    let created = api.post("/subscriptions", &token, body).await.expect(201);
    for (key, value) in [
        ("url", json!("https://example.com/hook")),
        ("events", json!(["payment.received"])),
        ("description", json!("books")),
        ("active", json!(true)),
        ("filter", json!("data.amount > 1")),
        ("headers", json!({})),
        ("ordering", json!("none")),
        ("batch", json!(null)),
        ("rate_limit", json!(null)),
        ("format", json!("cloudevents")),
        ("breaker", json!("closed")),
    ] {
        assert_eq!(created[key], value, "{key}");
    }
    assert!(created.as_object().unwrap().contains_key("batch"));
    assert!(id(&created).starts_with("sub_"));
    let client = api.store.get().await.unwrap();
    let row = client
        .query_one(
            "select from_lsn, pg_current_wal_insert_lsn() from webhook_subscriptions",
            &[],
        )
        .await
        .unwrap();
    let (from, after): (Lsn, Lsn) = (row.get(0), row.get(1));
    assert!(before <= from && from < after);

    let path = format!("/subscriptions/{}", id(&created));
    let changed = api
        .patch(&path, &token, json!({"filter": null, "events": ["*"], "headers": {"X-A": "b"}, "url": "https://example.org/", "rate_limit": 50}))
        .await
        .expect(200);
    assert_eq!(changed["rate_limit"], 50);
    assert_eq!(changed["filter"], json!(null));
    assert_eq!(changed["description"], "books");
    assert_eq!(changed["events"], json!(["*"]));
    assert_eq!(changed["headers"], json!({"X-A": "…"}));
    let read = api.get(&path, &token).await.json;
    for (name, value) in changed.as_object().unwrap() {
        assert_eq!(read[name], *value, "{name}");
    }
    let unchanged = api.patch(&path, &token, json!({"description": "b"})).await;
    assert_eq!(unchanged.expect(200)["rate_limit"], 50);
    let unlimited = api.patch(&path, &token, json!({"rate_limit": null})).await;
    assert_eq!(unlimited.expect(200)["rate_limit"], json!(null));
    let ordered = api.patch(&path, &token, json!({"ordering": "row"})).await;
    assert_eq!(ordered.expect(200)["ordering"], "row");
    let unchanged = api.patch(&path, &token, json!({"description": "c"})).await;
    assert_eq!(unchanged.expect(200)["ordering"], "row");
    let body = json!({"url": "https://example.com/hook", "event": "*", "ordering": "row"});
    let ordered = api.post("/subscriptions", &token, body).await.expect(201);
    assert_eq!(ordered["ordering"], "row");
    assert_eq!(api.delete(&path, &token).await.status, 204);
    api.get(&path, &token).await.refused(404, "not_found");
    api.delete(&path, &token).await.refused(404, "not_found");
}

#[tokio::test]
async fn subscriptions_come_in_pages_newest_first() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.insert(0, id(&api.subscribe(&token).await).to_owned());
    }
    let pages = all_pages(&api, "/subscriptions?limit=2", &token).await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    assert_eq!(pages.concat(), ids);
}

#[tokio::test]
async fn disabling_parks_what_waits_and_enabling_sends_it_and_offers_the_rest() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    let path = format!("/subscriptions/{}", id(&subscription));
    let delivery = api.delivery_of_now(&subscription, "pending").await;

    let disabled = api
        .patch(&path, &token, json!({"active": false}))
        .await
        .expect(200);
    assert_eq!(
        (&disabled["active"], &disabled["disabled_reason"]),
        (&json!(false), &json!("by request"))
    );
    assert_eq!(parking::settle(&api.store).await.unwrap(), 0);
    let parked = api
        .get(&format!("/deliveries/{delivery}"), &token)
        .await
        .expect(200);
    assert_eq!(
        (&parked["status"], &parked["parked_reason"]),
        (&json!("parked"), &json!("disabled"))
    );
    assert_eq!(parked["next_attempt_at"], json!(null));
    let since = json!({"since": "2026-01-01T00:00:00Z"});
    for (action, body) in [("test", json!({})), ("replay", since)] {
        api.post(&format!("{path}/{action}"), &token, body)
            .await
            .refused(409, "subscription_disabled");
    }
    api.post(&format!("/deliveries/{delivery}/retry"), &token, json!({}))
        .await
        .refused(409, "subscription_disabled");

    let enabled = api
        .post(&format!("{path}/enable"), &token, json!({}))
        .await
        .expect(200);
    assert_eq!(enabled["active"], true);
    assert_eq!(enabled["replay"]["since"], disabled["disabled_at"]);
    assert_eq!(parking::settle(&api.store).await.unwrap(), 1);
    assert_eq!(
        api.count(
            "select count(*) from delivery_schedule where status = 'pending' and due_at <= now()"
        )
        .await,
        1
    );
    let again = api
        .post(&format!("{path}/enable"), &token, json!({}))
        .await
        .expect(200);
    assert_eq!(again["replay"], json!(null));
}

#[tokio::test]
async fn a_subscription_with_many_deliveries_is_disabled_and_enabled_in_batches() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    let path = format!("/subscriptions/{}", id(&subscription));
    api.execute(
        "insert into delivery_schedule (delivery_id, subscription_id, tenant_id, event_type, status, due_at)
         select gen_random_uuid(), id, tenant_id, 'payment.received', 'pending', now()
         from webhook_subscriptions, generate_series(1, 2500)",
    )
    .await;
    let count = async |status: &str| {
        let sql = format!("select count(*) from delivery_schedule where status = '{status}'");
        api.count(&sql).await
    };
    // Somebody else's lock on one row keeps neither call waiting.
    let other = connect(&api.database.url).await;
    let lock = "begin; select from walhook.delivery_schedule limit 1 for update";
    other.batch_execute(lock).await.unwrap();
    api.patch(&path, &token, json!({"active": false}))
        .await
        .expect(200);
    assert_eq!(
        count("pending").await,
        2500,
        "the call itself parks nothing"
    );
    api.patch(&path, &token, json!({"active": true}))
        .await
        .expect(200);
    other.batch_execute("commit").await.unwrap();
    assert_eq!(parking::settle(&api.store).await.unwrap(), 0);
    assert_eq!(count("pending").await, 2500, "it is active again");

    api.patch(&path, &token, json!({"active": false}))
        .await
        .expect(200);
    assert_eq!(parking::settle(&api.store).await.unwrap(), 0);
    assert_eq!(count("parked").await, 2500);
    api.patch(&path, &token, json!({"active": true}))
        .await
        .expect(200);
    assert_eq!(parking::settle(&api.store).await.unwrap(), 2500);
    assert_eq!(count("pending").await, 2500);
    let unsettled = "select count(*) from webhook_subscriptions where not deliveries_settled";
    assert_eq!(api.count(unsettled).await, 0);
}

#[tokio::test]
async fn deleting_cancels_what_waits_and_keeps_what_failed() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    let now = jiff::Timestamp::now();
    let mut ids = Vec::new();
    for status in ["pending", "failed", "delivered"] {
        let event = api.event("acme", "payment.received", now).await;
        ids.push(api.delivery("acme", event, id(&subscription), status).await);
    }
    api.delete(&format!("/subscriptions/{}", id(&subscription)), &token)
        .await;
    for (delivery, status) in ids.iter().zip(["cancelled", "failed", "delivered"]) {
        let read = api
            .get(&format!("/deliveries/{delivery}"), &token)
            .await
            .expect(200);
        assert_eq!(read["status"], status);
        let retry = api
            .post(&format!("/deliveries/{delivery}/retry"), &token, json!({}))
            .await;
        retry.refused(409, "subscription_deleted");
    }
    assert_eq!(api.count("select count(*) from delivery_schedule").await, 1);
}

#[tokio::test]
async fn a_deletion_that_is_broken_off_by_a_deadlock_is_carried_out_again() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    let delivery = api.delivery_of_now(&subscription, "pending").await;
    // It takes the two rows in the other order, and leaves it to others to give way.
    let other = api.store.get().await.unwrap();
    let lock = |table: &str, column: &str| {
        format!(
            "select from {table} where {column} = '{}' for update",
            delivery.0
        )
    };
    let first = lock("webhook_deliveries", "id");
    let begin = format!("begin; set local deadlock_timeout = '60s'; {first}");
    other.batch_execute(&begin).await.unwrap();
    let path = format!("/subscriptions/{}", id(&subscription));
    let delete = async { api.delete(&path, &token).await };
    let hold = async {
        let waiting = "select count(*) from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock'";
        while api.count(waiting).await == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let second = lock("delivery_schedule", "delivery_id");
        other.batch_execute(&second).await.unwrap();
        other.batch_execute("commit").await.unwrap();
    };
    let (deleted, ()) = tokio::join!(delete, hold);
    assert_eq!(deleted.status, 204, "{}", deleted.text);
    let read = api.get(&format!("/deliveries/{delivery}"), &token).await;
    assert_eq!(read.expect(200)["status"], "cancelled");
}

#[tokio::test]
async fn without_the_source_none_is_created() {
    // A port that was free a moment ago: nobody listens.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let url = format!("postgres://nobody@127.0.0.1:{port}/none?sslmode=disable");
    let api = Api::start_with(|state| state.source = ConnInfo::parse(&url).unwrap()).await;
    let token = api.token("acme").await;
    let body = json!({"url": "https://example.com/hook", "event": "*"});
    let answer = api.post("/subscriptions", &token, body).await;
    answer.refused(503, "source_unavailable");
    assert_eq!(answer.headers["retry-after"], "5");
    assert_eq!(
        api.count("select count(*) from webhook_subscriptions")
            .await,
        0
    );
}

#[tokio::test]
async fn a_subscription_whose_deliveries_cannot_be_parked_keeps_no_other_waiting() {
    let api = Api::start().await;
    for tenant in ["acme", "globex"] {
        let token = api.token(tenant).await;
        let subscription = api.subscribe(&token).await;
        let event = api
            .event(tenant, "payment.received", Timestamp::now())
            .await;
        api.delivery(tenant, event, id(&subscription), "pending")
            .await;
        let path = format!("/subscriptions/{}", id(&subscription));
        api.patch(&path, &token, json!({"active": false}))
            .await
            .expect(200);
    }
    // The one that is listed first.
    super::jobs::break_schedule(&api, "acme", "22012").await;
    parking::settle(&api.store).await.unwrap_err();
    let parked = "select count(*) from delivery_schedule
                  where status = 'parked' and tenant_id = 'globex'";
    assert_eq!(api.count(parked).await, 1);
}
