//! However much there is, a page has a size and a request one connection.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::timeout;
use walhook::event::DeliveryId;

use super::browser::Browser;
use crate::api::fixtures::{Api, id};

/// Gives a delivery so many failed attempts, each with an answer of 16 KiB.
async fn attempts(api: &Api, delivery: DeliveryId, number: i32) {
    let client = api.store.get().await.unwrap();
    client
        .execute(
            "insert into webhook_attempts (delivery_id, number, tenant_id, started_at, duration_ms,
                 http_status, error_class, response_body, response_truncated)
             select d.id, n, d.tenant_id, now() - make_interval(mins => $2 - n), 5, 500,
                 'http_status', convert_to('answer ' || n || repeat('<', 16000) || 'end', 'UTF8'),
                 false
             from webhook_deliveries d, generate_series(1, $2) n where d.id = $1",
            &[&delivery.0, &number],
        )
        .await
        .unwrap();
    client
        .execute(
            "update webhook_deliveries set attempts = $2 where id = $1",
            &[&delivery.0, &number],
        )
        .await
        .unwrap();
}

#[tokio::test]
async fn a_delivery_with_very_many_attempts_shows_twenty_and_leads_to_the_older() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    let delivery = api.delivery_of_now(&subscription, "failed").await;
    attempts(&api, delivery, 45).await;
    let browser = Browser::signed_in(&api, "acme").await;
    let path = format!("/console/deliveries/{delivery}");
    let page = browser.get(&path).await.expect(200);
    assert!(page.text.len() < 600_000, "{}", page.text.len());
    let page = page
        .says("id=\"attempt-45\"")
        .says("id=\"attempt-26\"")
        .says_not("id=\"attempt-25\"")
        .says("Failed after 45 attempts in 44 min")
        .says("Attempts 1 to 25, shown on the page of older ones")
        .says_not("end</pre>");
    page.says(&format!("{path}?before=26"));
    let page = browser.get(&format!("{path}?before=26")).await.expect(200);
    page.says("id=\"attempt-25\"")
        .says("id=\"attempt-6\"")
        .says_not("id=\"attempt-26\"")
        .says("Failed after 45 attempts in 44 min")
        .says_not("data-refresh");
    let page = browser.get(&format!("{path}?before=6")).await.expect(200);
    page.says("id=\"attempt-1\"").says_not("Older attempts");
    browser
        .get(&format!("{path}?before=x"))
        .await
        .expect(400)
        .says("number of an attempt");
    let whole = browser.get(&format!("{path}/attempts/7")).await.expect(200);
    whole.says("answer 7").says("end</pre>");
    browser
        .get(&format!("{path}/attempts/46"))
        .await
        .expect(404);
    // The API has a bound too.
    attempts_of_api(&api, &token, delivery).await;
}

async fn attempts_of_api(api: &Api, token: &str, delivery: DeliveryId) {
    api.execute("delete from webhook_attempts").await;
    attempts(api, delivery, 130).await;
    let found = api.get(&format!("/deliveries/{delivery}"), token).await;
    let found = found.expect(200);
    let log = found["attempt_log"].as_array().unwrap();
    assert_eq!(log.len(), 100);
    assert_eq!(
        (&log[0]["number"], &log[99]["number"]),
        (&31.into(), &130.into())
    );
}

#[tokio::test]
async fn every_page_needs_one_connection_of_the_pool() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    let delivery = api.delivery_of_now(&subscription, "failed").await;
    attempts(&api, delivery, 2).await;
    let event = api.get("/deliveries", &token).await.json["data"][0]["event_id"].clone();
    let event = event.as_str().unwrap();
    let endpoint = id(&subscription);
    let browser = Browser::signed_in(&api, "acme").await;
    // All but one are in use.
    let mut held = Vec::new();
    while let Ok(Ok(one)) = timeout(Duration::from_millis(500), api.store.get()).await {
        held.push(one);
    }
    held.pop();
    let mut paths = vec![
        format!("/console/recover?what=all&within=24h&endpoint={endpoint}"),
        "/console/recover?what=failed".to_owned(),
    ];
    for route in walhook::console::routes() {
        let is_endless = route.path == "/console/stream";
        if route.method == reqwest::Method::GET && !route.path.contains("/jobs/") && !is_endless {
            let id = match route.path {
                path if path.contains("/deliveries/") => delivery.to_string(),
                path if path.contains("/events/") => event.to_owned(),
                _ => endpoint.to_owned(),
            };
            paths.push(route.path.replace("{id}", &id).replace("{number}", "1"));
        }
    }
    for path in paths {
        let page = timeout(Duration::from_secs(4), browser.get(&path)).await;
        let page = page.unwrap_or_else(|_| panic!("{path} waits for a second connection"));
        assert!(page.status < 500, "{path}: {}", page.text);
    }
    for path in [
        format!("/deliveries/{delivery}"),
        format!("/events/{event}"),
        format!("/subscriptions/{endpoint}"),
        "/subscriptions".to_owned(),
        "/deliveries?status=failed".to_owned(),
        "/jobs".to_owned(),
        "/stats".to_owned(),
        "/me".to_owned(),
    ] {
        let answer = timeout(Duration::from_secs(4), api.get(&path, &token)).await;
        let answer = answer.unwrap_or_else(|_| panic!("{path} waits for a second connection"));
        assert!(answer.status.as_u16() < 500, "{path}: {}", answer.text);
    }
}

/// So many failed deliveries of one endpoint, in the store alone.
async fn failed(api: &Api, endpoint: &str, number: i32) {
    let event = api
        .event("acme", "payment.received", Timestamp::now())
        .await;
    let client = api.store.get().await.unwrap();
    // In pieces, each well within what a statement of the store's may take.
    for first in (1..=number).step_by(20_000) {
        client
            .execute(
                "insert into delivery_schedule
                     (delivery_id, subscription_id, tenant_id, event_type, status, due_at)
                 select (left($1::text, 19) || substr(md5(n::text), 1, 4) || '-'
                         || substr(md5(n::text), 5, 12))::uuid,
                     $2::text::uuid, 'acme', 'payment.received', 'failed', now()
                 from generate_series($3, $3 + 19999) n",
                &[&event.0.to_string(), &&endpoint["sub_".len()..], &first],
            )
            .await
            .unwrap();
    }
    client
        .batch_execute("analyze delivery_schedule")
        .await
        .unwrap();
}

#[tokio::test]
async fn an_endpoints_failures_are_found_without_those_of_its_tenants_others() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let (many, few) = (api.subscribe(&token).await, api.subscribe(&token).await);
    failed(&api, id(&many), 200_000).await;
    let delivery = api.delivery_of_now(&few, "failed").await.to_string();
    let browser = Browser::signed_in(&api, "acme").await;
    let read = "select (idx_tup_fetch + seq_tup_read)::bigint from pg_stat_user_tables
        where relname = 'delivery_schedule'";
    let statistics = "select pg_stat_clear_snapshot()";
    let read = async || {
        let client = &api.database.client;
        client.query_one(statistics, &[]).await.unwrap();
        let row = client.query_one(read, &[]).await.unwrap();
        row.get::<_, i64>(0)
    };
    // Sessions report what they read when they are idle, a second later at most.
    let settled = async || {
        let mut before = read().await;
        loop {
            tokio::time::sleep(Duration::from_millis(1_200)).await;
            let now = read().await;
            if now == before {
                return now;
            }
            before = now;
        }
    };
    for path in [
        format!("/console/endpoints/{}", id(&few)),
        format!("/console/deliveries?status=failed&endpoint={}", id(&few)),
        format!("/console/deliveries?status=pending&endpoint={}", id(&few)),
        format!("/console/recover?what=failed&endpoint={}", id(&few)),
        format!("/console/recover?what=pending&endpoint={}", id(&few)),
    ] {
        let before = settled().await;
        let page = browser.get(&path).await.expect(200);
        if path.contains("status=failed") {
            page.says(&delivery);
        } else if path.contains("what=failed") {
            page.says("Send 1 delivery again");
        }
        let rows = settled().await - before;
        // The numbers beside the states count up to a thousand.
        assert!(rows < 5_000, "{path} read {rows} rows");
    }
}

#[tokio::test]
async fn what_is_newer_is_counted_to_a_hundred() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    let browser = Browser::signed_in(&api, "acme").await;
    api.delivery_of_now(&subscription, "failed").await;
    let top = api.get("/deliveries", &token).await.json["data"][0]["event_id"].clone();
    let top = top.as_str().unwrap()["evt_".len()..].to_owned();
    for status in ["", "&status=failed", "&status=pending", "&status=in_flight"] {
        let path = format!("/console/deliveries/newer?top={top}{status}");
        browser.get(&path).await.expect(200).says_not("new");
    }
    for _ in 0..101 {
        api.delivery_of_now(&subscription, "failed").await;
    }
    for status in ["", "&status=failed", "&status=failed&type=payment.received"] {
        let path = format!("/console/deliveries/newer?top={top}{status}");
        browser.get(&path).await.expect(200).says("100+ new");
    }
}

#[tokio::test]
async fn of_an_event_each_endpoint_says_what_it_got_however_many_there_are() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    let event = api
        .event("acme", "payment.received", Timestamp::now())
        .await;
    let endpoint = id(&subscription);
    api.delivery("acme", event, endpoint, "delivered").await;
    // 250 more endpoints, each with a delivery of the event, and one of them with seven.
    api.execute(
        "insert into webhook_subscriptions
         select (jsonb_populate_record(s, jsonb_build_object('id',
             left(s.id::text, 24) || lpad(to_hex(n), 12, '0')))).*
         from webhook_subscriptions s, generate_series(1, 250) n",
    )
    .await;
    api.execute(
        "insert into webhook_deliveries (id, event_id, subscription_id, tenant_id, event_type, format,
             status, attempts, delivered_at)
         select (left(d.id::text, 24) || lpad(to_hex(row_number() over ()), 12, '0'))::uuid,
             d.event_id, s.id, d.tenant_id, d.event_type, d.format, d.status, 1, now()
         from webhook_deliveries d, webhook_subscriptions s, generate_series(1, 7) n
         where s.id <> d.subscription_id and (n = 1 or s.id::text like '%000000000003')",
    )
    .await;
    let browser = Browser::signed_in(&api, "acme").await;
    let path = format!("/console/events/{event}");
    let page = browser.get(&path).await.expect(200);
    let page = page
        .says("All 251 endpoints that were to get it have it.")
        .says_not("No delivery was made")
        .says("More endpoints");
    let next = page.text.split(&format!("{path}?cursor=")).nth(1).unwrap();
    let cursor = next.split('"').next().unwrap();
    let last = browser.get(&format!("{path}?cursor={cursor}")).await;
    let last = last.expect(200).says_not("More endpoints");
    let last = last.says_not("No delivery was made").says("and older ones");
    assert_eq!(last.text.matches("class=\"verdict\"").count(), 51);
}

#[tokio::test]
async fn of_very_many_endpoints_the_overview_shows_a_few_and_the_list_pages() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    for _ in 0..60 {
        api.subscribe(&token).await;
    }
    // One of the oldest needs attention, and so comes first.
    api.execute(
        "update webhook_subscriptions set active = false, disabled_at = now(),
             disabled_reason = 'it is gone', description = 'Old one'
         where id = (select min(id::text)::uuid from webhook_subscriptions)",
    )
    .await;
    let browser = Browser::signed_in(&api, "acme").await;
    let overview = browser.get("/console/overview").await.expect(200);
    let listed = |text: &str| text.matches("class=\"verdict\"").count();
    assert_eq!(listed(&overview.text), 20);
    let overview = overview.says("40 more").says("Old one");
    overview.says("1 of 60 endpoints need attention");
    let rows = |text: &str| text.matches("<tr data-row>").count();
    let first = browser.get("/console/endpoints").await.expect(200);
    assert_eq!(rows(&first.text), 50);
    let first = first.says("/console/endpoints?from=50");
    first.says_not("Old one");
    let second = browser.get("/console/endpoints?from=50").await.expect(200);
    assert_eq!(rows(&second.text), 10);
    second.says("Old one").says_not("Older");
    browser.get("/console/endpoints?from=x").await.expect(400);
}
