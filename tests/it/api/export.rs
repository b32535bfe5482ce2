//! `/deliveries.ndjson` and `/events.ndjson`: a list as one answer.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::fixtures::{Api, id};

fn lines(text: &str) -> Vec<Value> {
    assert!(text.ends_with('\n'), "{text}");
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().unwrap()
}

/// Deliveries of events of their own to one subscription, a millisecond apart.
async fn fill(api: &Api, tenant: &str, subscription: &str, number: i64) {
    let began = jiff::Timestamp::now().as_millisecond();
    for index in 0..number {
        let at = jiff::Timestamp::from_millisecond(began - index).unwrap();
        let event = api.event(tenant, "payment.received", at).await;
        let state = if index % 2 == 0 {
            "failed"
        } else {
            "delivered"
        };
        api.delivery(tenant, event, subscription, state).await;
    }
}

#[tokio::test]
async fn an_export_has_all_that_the_list_has_and_says_where_it_ends() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    fill(&api, "acme", id(&subscription), 450).await;
    let theirs = api.token("globex").await;
    let answer = api.get("/deliveries.ndjson", &token).await;
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    let exported = lines(&answer.text);
    assert_eq!(exported.len(), 451);
    let end = serde_json::json!({"end": {"rows": 450, "next_cursor": null}});
    assert_eq!(exported[450], end);
    let page = api.get("/deliveries?limit=200", &token).await.expect(200);
    assert_eq!(exported[..200], page["data"].as_array().unwrap()[..]);
    let cursor = page["next_cursor"].as_str().unwrap();
    let path = format!("/deliveries.ndjson?status=failed&cursor={cursor}");
    let rest = lines(&api.get(&path, &token).await.text);
    assert_eq!(rest.len(), 126);
    assert!(rest[..125].iter().all(|row| row["status"] == "failed"));
    let events = lines(&api.get("/events.ndjson?type=payment.*", &token).await.text);
    assert_eq!(events.len(), 451);
    assert!(events[0]["body"].is_null());
    let none = lines(&api.get("/events.ndjson", &theirs).await.text);
    assert_eq!(none.len(), 1);
    let refused = api.get("/events.ndjson?limit=5", &token).await;
    refused.refused(400, "invalid_limit");
    let refused = api.get("/deliveries.ndjson?status=lost", &token).await;
    refused.refused(400, "invalid_status");
}

#[tokio::test]
async fn a_client_that_reads_nothing_holds_a_place_and_no_connection() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    fill(&api, "acme", id(&subscription), 2).await;
    // So many rows that they stay neither in sockets nor in memory.
    api.execute(
        "insert into webhook_events
         select (jsonb_populate_record(e, jsonb_build_object('has_deliveries', false, 'id',
             overlay(e.id::text placing lpad(to_hex(n), 12, '0') from 25 for 12)))).*
         from webhook_events e, generate_series(1, 40000) n",
    )
    .await;
    let start = || {
        api.request(reqwest::Method::GET, "/events.ndjson", &token)
            .send()
    };
    let slow = [start().await.unwrap(), start().await.unwrap()];
    assert!(slow.iter().all(|answer| answer.status() == 200));
    let refused = api.get("/events.ndjson", &token).await;
    refused.refused(429, "too_many_requests");
    // Everything else goes on, and nothing is open in the store.
    for _ in 0..20 {
        api.get("/deliveries", &token).await.expect(200);
    }
    let began = Instant::now();
    let open = "select count(*) from pg_stat_activity
        where datname = current_database() and state = 'idle in transaction'";
    while api.count(open).await > 0 {
        assert!(began.elapsed() < Duration::from_secs(60));
        crate::harness::pause(began).await;
    }
    drop(slow);
    let began = Instant::now();
    while api.get("/events.ndjson", &token).await.status != 200 {
        assert!(began.elapsed() < Duration::from_secs(60));
        crate::harness::pause(began).await;
    }
}

#[tokio::test]
async fn an_events_deliveries_go_on_where_they_were_cut() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    let event = api
        .event("acme", "payment.received", jiff::Timestamp::now())
        .await;
    api.delivery("acme", event, id(&subscription), "delivered")
        .await;
    // As replays make them.
    api.execute(
        "insert into webhook_deliveries
         select (jsonb_populate_record(d, jsonb_build_object('id',
             overlay(d.id::text placing lpad(to_hex(n), 12, '0') from 25 for 12)))).*
         from webhook_deliveries d, generate_series(1, 200) n",
    )
    .await;
    let path = format!("/events/{event}");
    let first = api.get(&path, &token).await.expect(200);
    let cursor = first["deliveries_next_cursor"].as_str().unwrap();
    let path = format!("{path}?deliveries_cursor={cursor}");
    let rest = api.get(&path, &token).await.expect(200);
    let (all, rest_of) = (&first["deliveries"], &rest["deliveries"]);
    let ids = |of: &Value| -> Vec<String> {
        let of = of.as_array().unwrap().iter();
        of.map(|one| one["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!((ids(all).len(), ids(rest_of).len()), (200, 1));
    assert!(!ids(all).contains(&ids(rest_of)[0]));
    assert!(rest["deliveries_next_cursor"].is_null());
}
