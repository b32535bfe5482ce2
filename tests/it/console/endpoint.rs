//! What an endpoint is asked to take as a test, and what its settings were.

use serde_json::json;

use super::browser::Browser;
use crate::api::fixtures::{Api, id};
use walhook::console::capability::Capability;

#[tokio::test]
async fn the_history_of_an_endpoint_says_who_changed_what() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    let path = format!("/subscriptions/{}", id(&subscription));
    for change in [
        json!({"url": "https://example.com/new?key=geheim"}),
        json!({"headers": {"authorization": "Bearer geheim2"}}),
        json!({"rate_limit": 5, "events": ["payment.*"]}),
    ] {
        api.patch(&path, &token, change).await.expect(200);
    }
    let browser = Browser::signed_in(&api, "acme").await;
    let endpoint = format!("/console/endpoints/{}", id(&subscription));
    let page = browser.get(&endpoint).await.expect(200);
    page.says(&format!("{endpoint}/history"));
    let page = browser
        .get(&format!("{endpoint}/history"))
        .await
        .expect(200);
    page.says(
        "<del>https://example.com/hook</del> → <ins>https://example.com/new?key=geheim</ins>",
    )
    .says("<b>headers</b>")
    .says("<del>none</del> → <ins>5 a second</ins>")
    .says("<del>*</del> → <ins>payment.*</ins>")
    .says("the token test")
    .says("created")
    .says_not("geheim2");
    // Who may not change it does not see what its query may hide.
    let viewer = Browser::with(&api, "acme", &[Capability::View]).await;
    let page = viewer.get(&format!("{endpoint}/history")).await.expect(200);
    page.says("https://example.com/new?…").says_not("geheim");
}

#[tokio::test]
async fn a_test_of_a_type_is_sent_with_the_data_that_was_written() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    let browser = Browser::signed_in(&api, "acme").await;
    let page = browser.get("/console/test?type=payment.received").await;
    page.expect(200)
        .says("There is no example of this type")
        .says("name=\"data\"");
    browser
        .get("/console/test?type=payment.*")
        .await
        .expect(400);
    let data = r#"{"amount":12345678901234567890.10}"#;
    let fields = [
        ("endpoint", id(&subscription)),
        ("type", "payment.received"),
        ("data", data),
    ];
    let sent = browser.post("/console/test", &fields).await.expect(303);
    let client = api.store.get().await.unwrap();
    let row = client
        .query_one("select event_type, rule, body from webhook_events", &[])
        .await
        .unwrap();
    let body: Vec<u8> = row.get("body");
    let body = String::from_utf8(body).unwrap();
    assert!(
        body.contains(&format!(r#""test":true,"data":{data}"#)),
        "{body}"
    );
    assert_eq!(row.get::<_, &str>("rule"), "");
    let page = browser.get(sent.location()).await.expect(200);
    page.says("payment.received");
    let fields = [
        ("endpoint", id(&subscription)),
        ("type", "payment.received"),
        ("data", "{amount: 1}"),
    ];
    let refused = browser.post("/console/test", &fields).await;
    refused.expect(400).says("the data is not JSON");
}
