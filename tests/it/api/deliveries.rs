//! Deliveries and events: lists, one alone, retries.

use jiff::{SignedDuration, Timestamp, ToSpan};
use serde_json::{Value, json};

use walhook::event::DeliveryId;

use super::fixtures::{Api, all_pages, id};

#[tokio::test]
async fn deliveries_are_listed_by_every_filter() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let (one, two) = (api.subscribe(&token).await, api.subscribe(&token).await);
    let now = Timestamp::now();
    let hours = |hours: i64| now - hours.hours();
    let mut ids = Vec::new();
    for (subscription, event_type, status, at) in [
        (&one, "payment.received", "delivered", hours(30)),
        (&one, "payment.received", "failed", hours(4)),
        (&one, "payment.failed", "pending", hours(3)),
        (&two, "payment.received", "delivered", hours(2)),
        (&two, "payment.received", "failed", hours(1)),
    ] {
        let event = api.event("acme", event_type, at).await;
        ids.push(
            api.delivery("acme", event, id(subscription), status)
                .await
                .to_string(),
        );
    }
    // What came of the attempts, and which rows the events are of.
    let client = api.store.get().await.unwrap();
    for (at, http_status, class, row_key) in [
        (0, Some(200_i16), None, "public.payments:1"),
        (1, Some(404), Some("http_status"), "public.payments:1"),
        (2, None, Some("timeout"), "public.payments:2"),
        (3, Some(204), None, "public.payments:[\"a:1\",2]"),
        (4, Some(500), Some("http_status"), "public.refunds:1"),
    ] {
        let id: DeliveryId = ids[at].parse().unwrap();
        let answered = "with d as (
                update webhook_deliveries set last_http_status = $2 where id = $1 returning *
            ), e as (
                update webhook_events e set row_key = $4 from d where e.id = d.event_id
            )
            insert into webhook_attempts (delivery_id, number, tenant_id, started_at, duration_ms, error_class)
            select id, number, tenant_id, now(), 1, case number when 2 then $3 else 'dns' end
            from d, generate_series(1, 2) number";
        client
            .execute(answered, &[&id.0, &http_status, &class, &row_key])
            .await
            .unwrap();
    }
    for (query, expected) in [
        ("&http_status=404".into(), vec![1]),
        ("&http_status=2xx".into(), vec![3, 0]),
        ("&http_status=5xx&status=failed".into(), vec![4]),
        ("&error=http_status".into(), vec![4, 1]),
        ("&error=timeout&status=pending".into(), vec![2]),
        // An earlier attempt's.
        ("&error=dns".into(), vec![]),
        ("&row_key=1".into(), vec![4, 1, 0]),
        ("&row_key=public.payments:1".into(), vec![1, 0]),
        ("&row_key=1&http_status=2xx".into(), vec![0]),
        ("&row_key=%5B%22a:1%22,2%5D".into(), vec![3]),
        ("&row_key=public.payments".into(), vec![]),
        ("&event=payment.*".into(), vec![4, 3, 2, 1, 0]),
        ("&event=payment.f*".into(), vec![]),
        ("&event=order.*".into(), vec![]),
        (String::new(), vec![4, 3, 2, 1, 0]),
        ("&status=failed".into(), vec![4, 1]),
        ("&status=pending".into(), vec![2]),
        ("&status=delivered".into(), vec![3, 0]),
        ("&status=in_flight".into(), vec![]),
        ("&status=cancelled".into(), vec![]),
        ("&status=parked".into(), vec![]),
        ("&event=payment.failed".into(), vec![2]),
        ("&event=payment.failed&status=failed".into(), vec![]),
        (format!("&subscription_id={}", id(&one)), vec![2, 1, 0]),
        (
            format!("&subscription_id={}&status=failed", id(&one)),
            vec![1],
        ),
        (format!("&since={}", hours(3)), vec![4, 3, 2]),
        (
            format!("&since={}&until={}", hours(4), hours(2)),
            vec![2, 1],
        ),
        (format!("&until={}&status=failed", hours(2)), vec![1]),
    ] {
        let expected: Vec<_> = expected
            .into_iter()
            .map(|at: usize| ids[at].clone())
            .collect();
        let pages = all_pages(&api, &format!("/deliveries?limit=2{query}"), &token).await;
        assert_eq!(pages.concat(), expected, "{query}");
        assert!(
            pages.iter().rev().skip(1).all(|page| page.len() == 2),
            "{query}"
        );
    }
    for (query, code) in [
        ("http_status=0", "invalid_http_status"),
        ("http_status=5x", "invalid_http_status"),
        ("error=all", "invalid_error_class"),
    ] {
        let refused = api.get(&format!("/deliveries?{query}"), &token).await;
        refused.refused(400, code);
    }
    let keys = [("1", 3), ("public.payments:1", 2), ("7", 0)];
    for (key, events) in keys {
        let path = format!("/events?row_key={key}&type=payment.*");
        let listed = api.get(&path, &token).await.expect(200);
        assert_eq!(listed["data"].as_array().unwrap().len(), events, "{key}");
    }
}

/// A search that finds little among much answers in time with how far it came, and its cursor
/// goes on from there.
#[tokio::test]
async fn a_search_says_how_far_it_looked() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    let now = Timestamp::now();
    let oldest = api.event("acme", "customer.created", now - 2.hours()).await;
    let oldest = api
        .delivery("acme", oldest, id(&subscription), "delivered")
        .await;
    let event = api
        .event("acme", "payment.received", now - 1.minutes())
        .await;
    let template = api
        .delivery("acme", event, id(&subscription), "delivered")
        .await;
    let client = api.store.get().await.unwrap();
    // As many again, each of an event of its own.
    let copies = "with e as (
            insert into webhook_events
            select overlay(id::text placing lpad(to_hex(n), 6, '0') from 31 for 6)::uuid, tenant_id,
                event_type, rule, commit_lsn, ordinal + n, rule_index, row_key, occurred_at, body, true
            from webhook_events, generate_series(1, 30000) n
            where id = $1
            returning id
        )
        insert into webhook_deliveries (id, event_id, subscription_id, tenant_id, event_type, format,
            status, attempts, delivered_at)
        select overlay(d.id::text placing right(e.id::text, 6) from 31 for 6)::uuid, e.id,
            subscription_id, tenant_id, event_type, format, status, attempts, delivered_at
        from e, webhook_deliveries d
        where d.id = $2";
    client
        .execute(copies, &[&event.0, &template.0])
        .await
        .unwrap();
    for path in ["/deliveries?event=customer.*", "/events?type=customer.*"] {
        let (mut found, mut cursor, mut pages) = (0, String::new(), 0);
        loop {
            let page = api
                .get(&format!("{path}{cursor}"), &token)
                .await
                .expect(200);
            found += page["data"].as_array().unwrap().len();
            pages += 1;
            let Some(next) = page["next_cursor"].as_str() else {
                assert_eq!(page.get("searched_to"), None);
                break;
            };
            let to: Timestamp = page["searched_to"].as_str().unwrap().parse().unwrap();
            assert!(to > now - 2.hours() && to < now, "{to}");
            cursor = format!("&cursor={next}");
        }
        assert_eq!(found, 1, "{path}");
        assert!(pages > 1, "{path}");
    }
    let whole = api
        .get("/deliveries?event=payment.*", &token)
        .await
        .expect(200);
    assert_eq!(whole["data"].as_array().unwrap().len(), 50);
    assert_eq!(whole.get("searched_to"), None);
    let until = format!(
        "/deliveries?event=customer.created&until={}",
        now - 1.hours()
    );
    let listed = api.get(&until, &token).await.expect(200);
    assert_eq!(listed["data"][0]["id"], oldest.to_string());
    assert_eq!(listed["next_cursor"], Value::Null);
}

#[tokio::test]
async fn what_an_instance_holds_is_in_flight_and_cannot_be_retried() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let event = api
            .event("acme", "payment.received", Timestamp::now())
            .await;
        ids.push(
            api.delivery("acme", event, id(&subscription), "pending")
                .await,
        );
    }
    // One in an instance's memory, one leased, one whose lease has ended.
    api.execute(&format!(
        "insert into instances (id, hostname, version, roles, low_water)
         values ('00000000-0000-0000-0000-000000000001', 'h', '1', '{{deliver}}', '{0}');
         update webhook_deliveries set owner = '00000000-0000-0000-0000-000000000001' where id = '{0}';
         delete from delivery_schedule where delivery_id = '{0}';
         update delivery_schedule set lease_owner = gen_random_uuid(), leased_until = now() + interval '1 minute'
         where delivery_id = '{1}';
         update delivery_schedule set lease_owner = gen_random_uuid(), leased_until = now() - interval '1 minute'
         where delivery_id = '{2}'",
        ids[0].0, ids[1].0, ids[2].0
    ))
    .await;
    let text = |at: usize| ids[at].to_string();
    let listed = all_pages(&api, "/deliveries?status=in_flight&limit=1", &token)
        .await
        .concat();
    let mut expected = vec![text(0), text(1)];
    expected.sort_by(|a, b| b.cmp(a));
    assert_eq!(listed, expected);
    let pending = all_pages(&api, "/deliveries?status=pending&limit=1", &token)
        .await
        .concat();
    assert_eq!(pending, [text(2)]);
    for at in [0, 1] {
        let retry = api
            .post(&format!("/deliveries/{}/retry", ids[at]), &token, json!({}))
            .await;
        retry.refused(409, "in_flight");
        assert_eq!(
            api.get(&format!("/deliveries/{}", ids[at]), &token)
                .await
                .json["status"],
            "in_flight"
        );
    }
    let bulk = api
        .post("/deliveries/retry", &token, json!({"status": "pending"}))
        .await
        .expect(202);
    assert_eq!(bulk["done"], 1);
}

#[tokio::test]
async fn one_delivery_shows_its_attempts_and_its_body() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    let event = api
        .event("acme", "payment.received", Timestamp::now())
        .await;
    let delivery = api
        .delivery("acme", event, id(&subscription), "failed")
        .await;
    api.execute(&format!(
        "insert into webhook_attempts values
             ('{0}', 2, 'acme', now(), 7, null, 'timeout', 'no answer', null),
             ('{0}', 1, 'acme', now(), 5, 500, 'http_status', 'answered 500', 'oops');
         update webhook_deliveries set attempts = 2, last_error = 'no answer', last_http_status = 500",
        delivery.0
    ))
    .await;
    let read = api
        .get(&format!("/deliveries/{delivery}"), &token)
        .await
        .expect(200);
    assert_eq!(read["id"], delivery.to_string());
    assert_eq!(read["event_id"], event.to_string());
    assert_eq!(read["event"], "payment.received");
    assert_eq!(read["subscription_id"], subscription["id"]);
    assert_eq!(
        (&read["attempts"], &read["last_http_status"]),
        (&json!(2), &json!(500))
    );
    let log: Vec<&Value> = read["attempt_log"].as_array().unwrap().iter().collect();
    assert_eq!(
        (
            log.len(),
            &log[0]["response_excerpt"],
            &log[1]["error_class"]
        ),
        (2, &json!("oops"), &json!("timeout"))
    );
    let body = format!(r#"{{"id":"{event}","type":"payment.received"}}"#);
    assert_eq!(read["body"], body);

    let read = api
        .get(&format!("/events/{event}"), &token)
        .await
        .expect(200);
    assert_eq!(
        (&read["body"], &read["type"]),
        (&json!(body), &json!("payment.received"))
    );
    assert_eq!(read["sequence"], "0000000000000010-0000000003");
    assert_eq!(read["deliveries"][0]["id"], delivery.to_string());
    assert_eq!(read["deliveries"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_retry_is_due_now_whatever_became_of_the_delivery() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    for status in ["failed", "delivered", "pending"] {
        let event = api
            .event("acme", "payment.received", Timestamp::now())
            .await;
        let delivery = api.delivery("acme", event, id(&subscription), status).await;
        let retried = api
            .post(&format!("/deliveries/{delivery}/retry"), &token, json!({}))
            .await
            .expect(202);
        assert_eq!(retried["status"], "pending", "{status}");
        assert!(retried["next_attempt_at"].is_string(), "{status}");
        assert_eq!(retried["attempts"], 1, "{status}");
        // The permit says that the claimer was woken.
        api.schedule_changed.notified().await;
        let due = format!(
            "select count(*) from delivery_schedule where delivery_id = '{}' and status = 'pending' and due_at <= now()",
            delivery.0
        );
        assert_eq!(api.count(&due).await, 1, "{status}");
    }
}

#[tokio::test]
async fn a_bulk_retry_takes_what_matches_and_wakes_every_node() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let (one, two) = (api.subscribe(&token).await, api.subscribe(&token).await);
    let now = Timestamp::now();
    for (subscription, event_type, hours) in [
        (&one, "payment.received", 5),
        (&one, "payment.failed", 4),
        (&two, "payment.received", 3),
        (&two, "payment.received", 2),
    ] {
        let event = api
            .event("acme", event_type, now - i64::from(hours).hours())
            .await;
        api.delivery("acme", event, id(subscription), "failed")
            .await;
    }
    for (body, expected) in [
        (json!({"event": "payment.failed"}), 1),
        (json!({"event": "payment.failed"}), 0),
        (json!({"subscription_id": one["id"]}), 1),
        (json!({"since": (now - 150.minutes()).to_string()}), 1),
        (json!({"status": "pending"}), 3),
    ] {
        let retried = api
            .post("/deliveries/retry", &token, body.clone())
            .await
            .expect(202);
        assert_eq!(retried["done"], expected, "{body}");
    }
    api.patch(
        &format!("/subscriptions/{}", id(&two)),
        &token,
        json!({"active": false}),
    )
    .await
    .expect(200);
    let retried = api
        .post("/deliveries/retry", &token, json!({}))
        .await
        .expect(202);
    assert_eq!(
        retried["done"], 0,
        "a disabled subscription's are left aside"
    );
    let delivered = api
        .post("/deliveries/retry", &token, json!({"status": "delivered"}))
        .await;
    delivered.refused(400, "invalid_status");
}

#[tokio::test]
async fn a_bulk_retry_goes_on_past_one_batch() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    let event = api
        .event("acme", "payment.received", Timestamp::now())
        .await;
    let first = api
        .delivery("acme", event, id(&subscription), "failed")
        .await;
    // 2,500 more of the same millisecond, told apart by their last bits.
    api.execute(&format!(
        "create temporary table more as
             select (substr('{0}', 1, 24) || lpad(to_hex(n), 12, '0'))::uuid as id from generate_series(1, 2500) n;
         insert into webhook_deliveries (id, event_id, subscription_id, tenant_id, event_type, format,
             status)
         select m.id, event_id, subscription_id, tenant_id, event_type, format, status
         from webhook_deliveries d, more m where d.id = '{0}';
         insert into delivery_schedule (delivery_id, subscription_id, tenant_id, event_type, status, due_at)
         select m.id, subscription_id, tenant_id, event_type, status, due_at
         from delivery_schedule s, more m where s.delivery_id = '{0}';
         drop table more",
        first.0
    ))
    .await;
    let retried = api
        .post("/deliveries/retry", &token, json!({}))
        .await
        .expect(202);
    assert_eq!(retried["done"], 2501);
    let due = api
        .count(
            "select count(*) from delivery_schedule where status = 'pending' and due_at <= now()",
        )
        .await;
    assert_eq!(due, 2501);
    let pages = all_pages(&api, "/deliveries?status=pending&limit=200", &token).await;
    assert_eq!(pages.concat().len(), 2501);
}

#[tokio::test]
async fn events_are_listed_with_or_without_subscribers() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let now = Timestamp::now();
    let mut ids = Vec::new();
    for (event_type, hours) in [
        ("payment.received", 3),
        ("customer.created", 2),
        ("payment.received", 1),
    ] {
        ids.push(
            api.event("acme", event_type, now - i64::from(hours).hours())
                .await
                .to_string(),
        );
    }
    let listed = all_pages(&api, "/events?limit=2", &token).await;
    assert_eq!(
        listed,
        [vec![ids[2].clone(), ids[1].clone()], vec![ids[0].clone()]]
    );
    let payments = all_pages(&api, "/events?limit=1&type=payment.received", &token)
        .await
        .concat();
    assert_eq!(payments, [ids[2].clone(), ids[0].clone()]);
    let types = api.get("/event-types", &token).await.expect(200);
    let types = types["data"].as_array().unwrap().iter();
    let names: Vec<&Value> = types.map(|one| &one["name"]).collect();
    assert_eq!(
        names,
        ["customer.created", "payment.failed", "payment.received"]
    );
}

#[tokio::test]
async fn what_one_millisecond_brought_is_listed_once_and_in_one_order() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let (kept, deleted) = (api.subscribe(&token).await, api.subscribe(&token).await);
    let at = Timestamp::now();
    let (mut events, mut deliveries) = (Vec::new(), Vec::new());
    for number in 0..40 {
        let event = api.event("acme", "payment.received", at).await;
        events.push(event.to_string());
        for (nth, subscription) in [&kept, &deleted].into_iter().enumerate() {
            // To nobody, the one, the other, or both.
            if number & (1 << nth) != 0 {
                let delivery = api.delivery("acme", event, id(subscription), "delivered");
                deliveries.push((event.to_string(), delivery.await.to_string()));
            }
        }
    }
    api.event("globex", "payment.received", at).await;
    // More deliveries of one event than a page has.
    let (event, replayed) = deliveries[7].clone();
    let replayed = &replayed["dlv_".len()..];
    for number in 0..10 {
        let replay = format!("{}{number:012}", &replayed[..24]);
        api.execute(&format!(
            "insert into webhook_deliveries (id, event_id, subscription_id, tenant_id, event_type,
                 format, replay_id)
             select '{replay}', event_id, subscription_id, tenant_id, event_type, format, id
             from webhook_deliveries d
             where d.id = '{replayed}'"
        ))
        .await;
        deliveries.push((event.clone(), format!("dlv_{replay}")));
    }
    let path = format!("/subscriptions/{}", id(&deleted));
    api.delete(&path, &token).await.expect(204);

    events.sort();
    events.reverse();
    for limit in [3, 7, 40] {
        let path = format!("/events?limit={limit}");
        let listed = all_pages(&api, &path, &token).await.concat();
        assert_eq!(listed, events, "pages of {limit}");
    }
    for limit in [3, 7, 50] {
        let path = format!("/deliveries?limit={limit}");
        let listed = all_pages(&api, &path, &token).await.concat();
        deliveries.sort();
        deliveries.reverse();
        let expected: Vec<&String> = deliveries.iter().map(|(_, delivery)| delivery).collect();
        assert_eq!(
            listed.iter().collect::<Vec<_>>(),
            expected,
            "pages of {limit}"
        );
    }
    let (event, delivery) = &deliveries[0];
    let shown = api
        .get(&format!("/events/{event}"), &token)
        .await
        .expect(200);
    assert_eq!(id(&shown["deliveries"][0]), delivery);
    let of_event = deliveries.iter().filter(|(one, _)| one == event).count();
    assert_eq!(shown["deliveries"].as_array().unwrap().len(), of_event);
}

#[tokio::test]
async fn pages_go_through_the_days_once_and_in_order() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    let now = Timestamp::now();
    let (mut events, mut deliveries) = (Vec::new(), Vec::new());
    // The first by a clock that is ahead; both sides of each span that a page looks into.
    for minutes in [
        -10, 1, 14, 16, 40, 134, 136, 300, 1_090, 1_100, 3_000, 8_770, 8_780, 70_195, 70_205,
    ] {
        let at = now - SignedDuration::from_mins(minutes);
        for sent in [true, false] {
            let event = api.event("acme", "payment.received", at).await;
            events.push(event.to_string());
            if sent {
                let delivery = api.delivery("acme", event, id(&subscription), "delivered");
                deliveries.push((event.to_string(), delivery.await.to_string()));
            }
        }
    }
    events.sort();
    events.reverse();
    deliveries.sort();
    deliveries.reverse();
    let deliveries: Vec<String> = deliveries.into_iter().map(|(_, one)| one).collect();
    for limit in [1, 4, 100] {
        for (path, expected) in [("/events", &events), ("/deliveries", &deliveries)] {
            let path = format!("{path}?limit={limit}");
            let listed = all_pages(&api, &path, &token).await.concat();
            assert_eq!(&listed, expected, "{path}");
        }
    }
    let path = format!("/deliveries?limit=4&subscription_id={}", id(&subscription));
    assert_eq!(all_pages(&api, &path, &token).await.concat(), deliveries);
}

#[tokio::test]
async fn what_waits_for_one_endpoint_is_listed_among_more_of_others() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let (few, many) = (api.subscribe(&token).await, api.subscribe(&token).await);
    let at = Timestamp::now() - SignedDuration::from_mins(1);
    api.event("acme", "payment.received", at).await;
    // More of the other endpoint, and newer, than are looked at for a page.
    for (subscription, first, rows) in [(&few, 1, 30), (&many, 1_000, 2_100)] {
        let subscription = id(subscription).replace("sub_", "");
        api.execute(&format!(
            "with made as (
                 insert into webhook_deliveries (id, event_id, subscription_id, tenant_id,
                     event_type, format)
                 select (left(e.id::text, 18) || '-8000-' || lpad(to_hex(n), 12, '0'))::uuid, e.id,
                     '{subscription}', e.tenant_id, e.event_type, 'standard'
                 from webhook_events e, generate_series({first}, {first} + {rows} - 1) n
                 returning id, subscription_id, tenant_id, event_type)
             insert into delivery_schedule
                 (delivery_id, subscription_id, tenant_id, event_type, status, due_at)
             select id, subscription_id, tenant_id, event_type, 'pending',
                 now() + interval '1 hour' from made"
        ))
        .await;
    }
    for (subscription, rows, limit) in [(&few, 30, 7), (&many, 2_100, 200)] {
        let path = format!(
            "/deliveries?limit={limit}&status=pending&subscription_id={}",
            id(subscription)
        );
        let listed = all_pages(&api, &path, &token).await.concat();
        assert_eq!(listed.len(), rows);
        assert!(listed.is_sorted_by(|one, next| one > next), "{path}");
    }
}
