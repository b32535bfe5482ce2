//! What the pages say of deliveries, events and endpoints.

use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};
use walhook::console::capability::Capability;

use super::browser::{Browser, Page, hidden};
use crate::api::fixtures::{Api, id};

/// Gives a delivery an attempt that failed.
async fn attempt(
    api: &Api,
    delivery: &str,
    number: i32,
    class: &str,
    status: Option<i16>,
    answer: &str,
) {
    let client = api.store.get().await.unwrap();
    client
        .execute(
            "insert into webhook_attempts (delivery_id, number, tenant_id, started_at, duration_ms,
                 http_status, error_class, error, response_excerpt)
             select id, $2, tenant_id, now() - make_interval(mins => 10 - $2), 184, $3, $4,
                 'what was wrong', $5
             from webhook_deliveries where id = $1::text::uuid",
            &[
                &delivery.strip_prefix("dlv_").unwrap(),
                &number,
                &status,
                &class,
                &answer,
            ],
        )
        .await
        .unwrap();
    client
        .execute(
            "update webhook_deliveries set attempts = $2, last_http_status = $3, last_error = $4
             where id = $1::text::uuid",
            &[
                &delivery.strip_prefix("dlv_").unwrap(),
                &number,
                &status,
                &format!("{class}: what was wrong"),
            ],
        )
        .await
        .unwrap();
}

/// The hrefs of a page that begin so.
fn links(page: &Page, beginning: &str) -> Vec<String> {
    let hrefs = page.text.split("href=\"").skip(1);
    let hrefs = hrefs.map(|rest| rest.split('"').next().unwrap().replace("&#38;", "&"));
    let mut found: Vec<String> = hrefs.filter(|href| href.starts_with(beginning)).collect();
    found.dedup();
    found
}

#[tokio::test]
async fn deliveries_are_listed_by_what_the_url_asks_for_and_page_by_page() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    let browser = Browser::signed_in(&api, "acme").await;
    let empty = browser.get("/console/deliveries").await.expect(200);
    empty.says("Nothing was sent yet").says("/console/test");
    let now = Timestamp::now();
    let mut ids = Vec::new();
    for number in 0..60 {
        let at = now - (60 - number).minutes();
        let (event_type, status) = match number {
            7 => ("payment.failed", "failed"),
            _ => ("payment.received", "delivered"),
        };
        let event = api.event("acme", event_type, at).await;
        let delivery = api.delivery("acme", event, id(&subscription), status).await;
        ids.push(delivery.to_string());
    }
    let first = browser.get("/console/deliveries").await.expect(200);
    let shown = links(&first, "/console/deliveries/dlv_");
    let newest: Vec<String> = ids
        .iter()
        .rev()
        .take(50)
        .map(|id| format!("/console/deliveries/{id}"))
        .collect();
    assert_eq!(shown, newest);
    let older = links(&first, "/console/deliveries?cursor=");
    let second = browser.get(&older[0]).await.expect(200);
    assert_eq!(links(&second, "/console/deliveries/dlv_").len(), 10);
    assert!(links(&second, "/console/deliveries?cursor=").is_empty());
    for query in [
        "status=failed",
        "type=payment.failed",
        "status=failed&within=24h",
    ] {
        let page = browser
            .get(&format!("/console/deliveries?{query}"))
            .await
            .expect(200);
        let shown = links(&page, "/console/deliveries/dlv_");
        assert_eq!(
            shown,
            [format!("/console/deliveries/{}", ids[7])],
            "{query}"
        );
        page.says("✕").says("failed");
    }
    let none = browser
        .get("/console/deliveries?status=failed&type=payment.received")
        .await;
    none.expect(200).says("Nothing matches all of this");
    let refused = browser
        .get("/console/deliveries?status=broken")
        .await
        .expect(400);
    refused.says("A state is failed");
    let refused = browser
        .get("/console/deliveries?cursor=x")
        .await
        .expect(400);
    refused.says("next_cursor");
    // What came after the first row of a page that is looked at.
    let path = first
        .text
        .split("hx-get=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let path = path.replace("&#38;", "&");
    browser.get(&path).await.expect(200).says_not("new");
    api.delivery_of_now(&subscription, "delivered").await;
    browser.get(&path).await.expect(200).says("1 new · show");
}

#[tokio::test]
async fn a_search_leads_to_an_ids_page_or_to_a_list() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    let delivery = api
        .delivery_of_now(&subscription, "failed")
        .await
        .to_string();
    let browser = Browser::signed_in(&api, "acme").await;
    let found = browser
        .get(&format!("/console/search?q={delivery}"))
        .await
        .expect(303);
    assert_eq!(found.location(), format!("/console/deliveries/{delivery}"));
    let found = browser
        .get("/console/search?q=status:failed+type:payment.received")
        .await;
    assert_eq!(
        found.expect(303).location(),
        "/console/deliveries?status=failed&type=payment.received"
    );
    browser
        .get("/console/search?q=all+nonsense")
        .await
        .expect(400)
        .says("is not a term");
}

#[tokio::test]
async fn a_failed_delivery_says_what_happened_what_it_means_and_what_to_do() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    let delivery = api
        .delivery_of_now(&subscription, "failed")
        .await
        .to_string();
    attempt(
        &api,
        &delivery,
        1,
        "http_status",
        Some(500),
        "out of memory",
    )
    .await;
    attempt(
        &api,
        &delivery,
        2,
        "http_status",
        Some(401),
        "bad signature",
    )
    .await;
    api.execute(
        "update webhook_attempts set response_body = '{\"why\":\n \"expired\"}', trigger = 1,
             response_truncated = true, response_headers = '{\"x-trace\": \"abc123\"}' where number = 2",
    )
    .await;
    let browser = Browser::signed_in(&api, "acme").await;
    let path = format!("/console/deliveries/{delivery}");
    let page = browser.get(&path).await.expect(200);
    let page = page
        .says("{&#34;why&#34;:\n &#34;expired&#34;}")
        .says("There was more of it.")
        .says("x-trace: abc123")
        .says("retried by hand");
    let page = page
        .says("Failed after 2 attempts in 1 min 0 s: example.com answered 401 Unauthorized in 184 ms.")
        .says("changed: 500 Internal Server Error → 401 Unauthorized")
        .says("The receiver refused the signature")
        .says("https://example.com/hook")
        .says("Committed in the database")
        .says("&#34;type&#34;:&#34;payment.received&#34;");
    let token = hidden(&page.text, "token");
    let retried = browser
        .post_raw(&format!("{path}/retry"), &[("token", &token)])
        .await
        .expect(303);
    assert_eq!(retried.location(), format!("{path}?done=retry"));
    let page = browser.get(retried.location()).await.expect(200);
    page.says("It is due now").says("pending");
    let due = "select count(*) from delivery_schedule where status = 'pending' and due_at <= now()";
    assert_eq!(api.count(due).await, 1);
    // What its endpoint's state forbids is said instead of offered.
    let token = api.token("acme").await;
    let subscribed = format!("/subscriptions/{}", id(&subscription));
    let pause = json!({"active": false});
    api.patch(&subscribed, &token, pause).await.expect(200);
    let page = browser.get(&path).await.expect(200);
    page.says("Its endpoint is disabled")
        .says_not("Send it again");
    let refused = browser
        .post(&format!("{path}/retry"), &[])
        .await
        .expect(409);
    refused.says("Its endpoint is disabled");
}

#[tokio::test]
async fn without_the_capability_no_body_and_no_answer_is_shown() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    let delivery = api
        .delivery_of_now(&subscription, "failed")
        .await
        .to_string();
    attempt(
        &api,
        &delivery,
        1,
        "http_status",
        Some(500),
        "out of memory",
    )
    .await;
    let browser = Browser::with(&api, "acme", &[Capability::View]).await;
    let page = browser
        .get(&format!("/console/deliveries/{delivery}"))
        .await
        .expect(200);
    let event = links(&page, "/console/events/evt_").remove(0);
    page.says("Your session may not see bodies")
        .says_not("out of memory")
        .says_not("&#34;type&#34;")
        .says_not("Retry")
        .says_not("curl");
    let page = browser.get(&event).await.expect(200);
    page.says("Your session may not see bodies")
        .says_not("&#34;type&#34;");
}

#[tokio::test]
async fn a_delivery_is_copied_as_curl_with_a_signature_that_verifies_and_no_secret() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let body = json!({
        "url": "https://example.com/hook?a='b'", "event": "*",
        "headers": {"Authorization": "Bearer 0123456789abcdef"},
    });
    let subscription = api.post("/subscriptions", &token, body).await.expect(201);
    let delivery = api
        .delivery_of_now(&subscription, "failed")
        .await
        .to_string();
    let browser = Browser::signed_in(&api, "acme").await;
    let page = browser
        .get(&format!("/console/deliveries/{delivery}/curl"))
        .await
        .expect(200);
    let secret = subscription["secret"].as_str().unwrap();
    let page = page
        .says_not(secret)
        .says_not("0123456789abcdef")
        .says("Authorization: …");
    let text = page.text.replace("&#39;", "'").replace("&#34;", "\"");
    let header = |name: &str| {
        let (_, rest) = text.split_once(&format!("-H '{name}: ")).unwrap();
        rest.split('\'').next().unwrap().to_owned()
    };
    let (_, body) = text.split_once("--data-binary '").unwrap();
    let body = body.split('\'').next().unwrap();
    let mut headers = reqwest::header::HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        headers.insert(name, header(name).parse().unwrap());
    }
    let webhook = standardwebhooks::Webhook::new(secret).unwrap();
    webhook.verify(body.as_bytes(), &headers).unwrap();
}

#[tokio::test]
async fn an_event_says_of_every_endpoint_whether_it_got_it_and_why_not() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let create = async |name: &str, more: Value| {
        let mut body = json!({"url": "https://example.com/hook", "description": name});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        api.post("/subscriptions", &token, body).await.expect(201)
    };
    let got = create("got it", json!({"event": "*"})).await;
    create("other types", json!({"event": "customer.created"})).await;
    create(
        "filtered",
        json!({"event": "*", "filter": "type = 'x' and data.amount > 100"}),
    )
    .await;
    let paused = create("paused", json!({"event": "*"})).await;
    create("too late", json!({"event": "*"})).await;
    api.execute(
        "update webhook_subscriptions set from_lsn = '0/0' where description <> 'too late'",
    )
    .await;
    let path = format!("/subscriptions/{}", id(&paused));
    api.patch(&path, &token, json!({"active": false}))
        .await
        .expect(200);
    let event = api
        .event("acme", "payment.received", Timestamp::now())
        .await;
    let delivery = api.delivery("acme", event, id(&got), "delivered").await;
    let browser = Browser::signed_in(&api, "acme").await;
    let page = browser
        .get(&format!("/console/events/{event}"))
        .await
        .expect(200);
    let page = page
        .says("The one endpoint that was to get it has it.")
        .says(&format!("/console/deliveries/{delivery}"))
        .says("not subscribed to this type")
        .says("It asks for customer.created.")
        .says("filter refused")
        .says("type was &#34;payment.received&#34;")
        .says("<code>type = &#39;x&#39;</code>")
        .says("disabled at the time")
        .says("created later");
    // The order: who was to get it comes first.
    let names: Vec<usize> = ["got it", "too late", "paused", "filtered", "other types"]
        .map(|name| page.text.find(&format!(">{name}<")).unwrap())
        .to_vec();
    assert!(names.is_sorted(), "{names:?}");
    let list = browser.get("/console/events").await.expect(200);
    list.says("delivered");
    // Sent there now, though it does not ask for it.
    let other = links(&page, "/console/endpoints/sub_");
    let sent = browser
        .post(
            &format!("/console/events/{event}/send"),
            &[("endpoint", other[4].rsplit('/').next().unwrap())],
        )
        .await
        .expect(303);
    let page = browser.get(sent.location()).await.expect(200);
    page.says("on its way").says("Asked for again");
    let refused = browser
        .post(
            &format!("/console/events/{event}/send"),
            &[("endpoint", id(&paused))],
        )
        .await;
    refused.expect(409).says("The endpoint is disabled");
}

#[tokio::test]
async fn an_endpoint_is_created_changed_paused_enabled_rotated_and_deleted() {
    let api = Api::start().await;
    let browser = Browser::signed_in(&api, "acme").await;
    let overview = browser.get("/console/overview").await.expect(200);
    overview.says("You have no endpoint yet");
    let refused = browser
        .post(
            "/console/endpoints/new",
            &[
                ("url", "http://example.com"),
                ("description", "mine"),
                ("events", "*"),
            ],
        )
        .await
        .expect(400);
    // The form keeps what was written.
    refused
        .says("https")
        .says("value=\"http://example.com\"")
        .says("value=\"mine\"");
    let created = browser
        .post(
            "/console/endpoints/new",
            &[
                ("url", "https://example.com/a"),
                ("description", "mine"),
                ("events", "payment.received"),
                ("others", "customer.*"),
                ("headers", "X-Key: secret-value-of-mine"),
            ],
        )
        .await
        .expect(200);
    let created = created.says("whsec_").says("shown once");
    let path = links(&created, "/console/endpoints/sub_").remove(0);
    let page = browser.get(&path).await.expect(200);
    page.says("mine")
        .says("<code>customer.*</code>")
        .says("X-Key: …")
        .says_not("secret-value-of-mine")
        .says_not("whsec_");
    let form = browser.get(&format!("{path}/edit")).await.expect(200);
    form.says("value=\"https://example.com/a\"")
        .says_not("secret-value-of-mine");
    let saved = browser
        .post(
            &format!("{path}/edit"),
            &[
                ("url", "https://example.com/b"),
                ("events", "*"),
                ("rate_limit", "5"),
            ],
        )
        .await
        .expect(303);
    let page = browser.get(saved.location()).await.expect(200);
    page.says("https://example.com/b")
        .says("5 a second")
        .says("X-Key: …")
        .says("Saved");
    let paused = browser
        .post(&format!("{path}/pause"), &[])
        .await
        .expect(303);
    browser
        .get(paused.location())
        .await
        .expect(200)
        .says("Paused by hand");
    let refused = browser.post(&format!("{path}/test"), &[]).await.expect(409);
    refused.says("disabled");
    let enabled = browser
        .post(&format!("{path}/enable"), &[])
        .await
        .expect(303);
    let page = browser.get(enabled.location()).await.expect(200);
    let recover = links(&page, "/console/recover?what=all");
    page.says("Enabled")
        .says("New: nothing was sent to it yet.");
    browser
        .get(&recover[0])
        .await
        .expect(200)
        .says("0 deliveries");
    let tested = browser.post(&format!("{path}/test"), &[]).await.expect(303);
    browser
        .get(tested.location())
        .await
        .expect(200)
        .says("ping")
        .says("on its way");
    // Who it was is known afterwards.
    let by_anna = "select count(distinct action) from audit_log
        where principal_kind = 'portal' and actor = 'Anna' and tenant_id = 'acme'";
    assert!(api.count(by_anna).await >= 3);
    let rotated = browser
        .post(&format!("{path}/rotate"), &[])
        .await
        .expect(200);
    rotated.says("whsec_").says("both secrets sign");
    let kept = browser
        .post(&format!("{path}/delete"), &[("host", "example.org")])
        .await;
    kept.expect(400).says("Nothing was deleted");
    browser
        .post(&format!("{path}/delete"), &[("host", "example.com")])
        .await
        .expect(303);
    browser
        .get(&path)
        .await
        .expect(404)
        .says("There is no such endpoint");
}

#[tokio::test]
async fn a_filter_is_tried_on_the_last_events_before_it_is_saved() {
    let api = Api::start().await;
    for event_type in ["payment.received", "payment.failed", "payment.failed"] {
        api.event("acme", event_type, Timestamp::now()).await;
    }
    let browser = Browser::signed_in(&api, "acme").await;
    let tried = async |filter: &str| {
        let fields = [
            ("events", "*"),
            ("filter", filter),
            ("url", "kept"),
            ("try", "1"),
        ];
        browser.post("/console/endpoints/new", &fields).await
    };
    let page = tried("type = 'payment.received'").await.expect(200);
    page.says("1 of the last 3 events would be sent.")
        .says("type was &#34;payment.failed&#34;")
        .says("value=\"kept\"");
    tried("type = ").await.expect(400).says("id=\"fault\"");
    tried("")
        .await
        .expect(400)
        .says("There is no filter to test");
    let count = api
        .count("select count(*) from webhook_subscriptions")
        .await;
    assert_eq!(count, 0);
}

#[tokio::test]
async fn the_colours_are_chosen_for_good() {
    let api = Api::start().await;
    let browser = Browser::signed_in(&api, "acme").await;
    let page = browser.get("/console/events").await.expect(200);
    page.says("data-theme=\"auto\"");
    let chosen = browser
        .post(
            "/console/theme",
            &[("theme", "dark"), ("back", "/console/events")],
        )
        .await
        .expect(303);
    assert_eq!(chosen.location(), "/console/events");
    let cookie = chosen.headers["set-cookie"].to_str().unwrap().to_owned();
    let cookie = cookie.split(';').next().unwrap();
    let page = browser
        .request(reqwest::Method::GET, "/console/enter")
        .header("cookie", cookie)
        .send()
        .await
        .unwrap();
    assert!(page.text().await.unwrap().contains("data-theme=\"dark\""));
    let away = browser
        .post(
            "/console/theme",
            &[("theme", "dark"), ("back", "//evil.example/console/")],
        )
        .await
        .expect(303);
    assert_eq!(away.location(), "/console/overview");
}

#[tokio::test]
async fn a_list_is_a_file_of_what_its_page_asks_for() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    let failed = api
        .delivery_of_now(&subscription, "failed")
        .await
        .to_string();
    api.delivery_of_now(&subscription, "delivered").await;
    let browser = Browser::signed_in(&api, "acme").await;
    for (list, rows) in [
        ("deliveries?status=failed", 1),
        ("deliveries", 2),
        ("events", 2),
    ] {
        let page = browser.get(&format!("/console/{list}")).await.expect(200);
        let (name, query) = list.split_once('?').unwrap_or((list, ""));
        let path = links(&page, &format!("/console/{name}.ndjson")).remove(0);
        assert!(path.ends_with(query), "{path}");
        let file = browser.get(&path).await.expect(200);
        let disposition = file.headers["content-disposition"].to_str().unwrap();
        assert_eq!(
            disposition,
            format!("attachment; filename=\"{name}.ndjson\"")
        );
        let lines: Vec<Value> = file
            .text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), rows + 1, "{}", file.text);
        assert_eq!(
            lines[rows]["end"],
            json!({"rows": rows, "next_cursor": null})
        );
        if rows == 1 {
            assert_eq!(lines[0]["id"], failed);
        }
        // Another tenant's is empty.
        let other = Browser::signed_in(&api, "globex").await;
        let file = other.get(&path).await.expect(200);
        assert_eq!(file.text.lines().count(), 1);
    }
}

#[tokio::test]
async fn pages_are_compressed_and_their_forms_are_never_the_same() {
    let api = Api::start().await;
    let browser = Browser::signed_in(&api, "acme").await;
    let asked = async |path: &str| {
        let request = browser.request(reqwest::Method::GET, path);
        let request = request.header("accept-encoding", "gzip");
        request.send().await.unwrap()
    };
    let page = asked("/console/deliveries").await;
    assert_eq!(page.headers()["content-encoding"], "gzip");
    let length = page.bytes().await.unwrap().len();
    let plain = browser.get("/console/deliveries").await.expect(200);
    assert!(length * 2 < plain.text.len(), "{length}");
    assert_ne!(browser.token().await, browser.token().await);
    // What is compressed already stays as it is, and a stream is sent as it comes.
    let style = links(&plain, "/console/assets/").remove(0);
    assert_eq!(asked(&style).await.headers()["content-encoding"], "gzip");
    let mut stream = asked("/console/stream").await;
    assert!(stream.headers().get("content-encoding").is_none());
    let first = stream.chunk().await.unwrap().unwrap();
    assert!(first.starts_with(b"retry: "), "{first:?}");
}

#[tokio::test]
async fn assets_are_cached_for_ever_under_the_names_of_their_content() {
    let api = Api::start().await;
    let browser = Browser::of(&api.base);
    let page = browser.get("/console/enter").await.expect(200);
    let style = links(&page, "/console/assets/").remove(0);
    let found = browser.get(&style).await.expect(200);
    assert_eq!(
        found.headers["cache-control"],
        "public, max-age=31536000, immutable"
    );
    assert_eq!(found.headers["content-type"], "text/css; charset=utf-8");
    assert!(found.text.len() > 1000);
    browser.get("/console/assets/console.css").await.expect(404);
    browser
        .get("/console/nowhere")
        .await
        .expect(404)
        .says("There is no such page");
}
