//! Forms that are sent twice, and what is refused of them.

use reqwest::header::{REFERRER_POLICY, RETRY_AFTER};
use walhook::console::capability::Capability;

use super::browser::{Browser, hidden};
use crate::api::fixtures::{Api, id};

#[tokio::test]
async fn a_form_that_is_sent_twice_is_carried_out_once() {
    let api = Api::start().await;
    let browser = Browser::signed_in(&api, "acme").await;
    let page = browser.get("/console/endpoints/new").await.expect(200);
    let form = |url: &'static str| {
        let [token, once] = ["token", "once"].map(|name| hidden(&page.text, name));
        [
            ("token", token),
            ("once", once),
            ("url", url.to_owned()),
            ("events", "*".to_owned()),
        ]
    };
    let post = async |url: &'static str| {
        let form = form(url);
        let fields = form.each_ref().map(|(name, value)| (*name, value.as_str()));
        browser.post_raw("/console/endpoints/new", &fields).await
    };
    // What is refused may be sent again, with what was wrong put right.
    post("http://plain.example").await.expect(400);
    let (one, other) = tokio::join!(
        post("https://example.com/hook"),
        post("https://example.com/hook")
    );
    let (one, other) = (one.expect(200), other.expect(200));
    assert_eq!(one.text, other.text, "the secret is the same");
    assert!(one.text.contains("whsec_"), "{}", one.text);
    let endpoints = "select count(*) from webhook_subscriptions";
    assert_eq!(api.count(endpoints).await, 1);
    post("https://example.com/another").await.expect(200);
    assert_eq!(api.count(endpoints).await, 2);
    // The secret does not stand in the clear.
    let sealed = "select count(*) from idempotency_keys
        where key like 'form:%' and position('whsec_'::bytea in response) = 0";
    assert_eq!(api.count(sealed).await, 2);
}

#[tokio::test]
async fn a_test_that_is_sent_twice_leads_to_one_delivery() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    let browser = Browser::signed_in(&api, "acme").await;
    let path = format!("/console/endpoints/{}", id(&subscription));
    let page = browser.get(&path).await.expect(200);
    let [token, once] = ["token", "once"].map(|name| hidden(&page.text, name));
    let fields = [("token", token.as_str()), ("once", once.as_str())];
    let post = async || browser.post_raw(&format!("{path}/test"), &fields).await;
    let (first, second) = (post().await.expect(303), post().await.expect(303));
    assert_eq!(first.location(), second.location());
    assert_eq!(
        api.count("select count(*) from webhook_deliveries").await,
        1
    );
    // Another rendering of the page is another form.
    let page = browser.get(&path).await.expect(200);
    assert_ne!(hidden(&page.text, "once"), once);
}

#[tokio::test]
async fn a_page_that_answers_a_form_leads_back_to_one_that_can_be_asked_for() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    let browser = Browser::signed_in(&api, "acme").await;
    let path = format!("/console/endpoints/{}/rotate", id(&subscription));
    let page = browser.post(&path, &[]).await.expect(200);
    assert_eq!(hidden(&page.text, "back"), "/console/endpoints");
    assert_eq!(page.headers[REFERRER_POLICY], "same-origin");
}

#[tokio::test]
async fn a_refusal_says_when_to_come_back() {
    let api = Api::start_with(|state| {
        state.limits = walhook::api::Limits::new(
            walhook::api::LimitsConfig {
                requests_per_second: std::num::NonZeroU32::MIN,
                ..walhook::api::LimitsConfig::default()
            },
            8,
        );
    })
    .await;
    let browser = Browser::signed_in(&api, "acme").await;
    for _ in 0..100 {
        let page = browser.get("/console/overview").await;
        if page.status == 429 {
            assert!(page.headers.contains_key(RETRY_AFTER));
            return;
        }
    }
    panic!("no request was refused");
}

#[tokio::test]
async fn a_session_that_may_only_view_sees_no_query_of_a_url_and_tries_no_filter() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let wish = serde_json::json!({"url": "https://example.com/hook?key=s3cret", "events": ["*"]});
    let subscription = api.post("/subscriptions", &token, wish).await.expect(201);
    let delivery = api.delivery_of_now(&subscription, "failed").await;
    api.execute(
        "insert into webhook_attempts (delivery_id, number, tenant_id, started_at, duration_ms,
             http_status, error_class, subscription_version)
         select id, 1, tenant_id, now(), 1, 500, 'http_status', 1 from webhook_deliveries",
    )
    .await;
    let viewer = Browser::with(&api, "acme", &[Capability::View]).await;
    let reader = Browser::with(&api, "acme", &[Capability::View, Capability::Payloads]).await;
    let endpoint = id(&subscription);
    for path in [
        format!("/console/deliveries/{delivery}"),
        format!("/console/endpoints/{endpoint}"),
        "/console/endpoints".to_owned(),
        "/console/test".to_owned(),
    ] {
        viewer.get(&path).await.expect(200).says_not("s3cret");
    }
    let page = reader.get(&format!("/console/deliveries/{delivery}")).await;
    page.expect(200).says("key=s3cret");
    let manager = Browser::with(&api, "acme", &[Capability::View, Capability::Manage]).await;
    let page = manager.get("/console/endpoints/new").await.expect(200);
    let page = page.says_not("Try it on the last events");
    let token = hidden(&page.text, "token");
    let fields = [
        ("token", token.as_str()),
        ("url", "https://example.com/"),
        ("events", "*"),
        ("filter", "data.amount > 1"),
        ("try", "1"),
    ];
    let page = manager.post_raw("/console/endpoints/new", &fields).await;
    page.expect(400).says("`payloads`");
}
