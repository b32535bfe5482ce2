//! Sending many again, with the number known before.

use jiff::{Timestamp, ToSpan};

use super::browser::{Browser, hidden};
use crate::api::fixtures::{Api, id};

#[tokio::test]
async fn what_failed_is_counted_first_and_then_all_of_it_is_due() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let (one, two) = (api.subscribe(&token).await, api.subscribe(&token).await);
    let now = Timestamp::now();
    for (subscription, status, age) in [
        (&one, "failed", 1),
        (&one, "failed", 2),
        (&one, "failed", 30),
        (&one, "delivered", 3),
        (&two, "failed", 4),
        (&two, "pending", 5),
    ] {
        let event = api
            .event("acme", "payment.received", now - age.hours())
            .await;
        api.delivery("acme", event, id(subscription), status).await;
    }
    let browser = Browser::signed_in(&api, "acme").await;
    let page = browser.get("/console/recover").await.expect(200);
    page.says("Count them").says_not("class=\"preview\"");
    let query = format!(
        "/console/recover?what=failed&endpoint={}&within=24h",
        id(&one)
    );
    let page = browser.get(&query).await.expect(200);
    let page = page
        .says("<h2>2 deliveries</h2>")
        .says("Send 2 deliveries again");
    let fields = ["token", "what", "endpoint", "since", "until"];
    let values = fields.map(|name| hidden_of_order(&page.text, name));
    let form: Vec<(&str, &str)> = fields
        .iter()
        .zip(&values)
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    // Looking sends nothing.
    let due = "select count(*) from delivery_schedule where status = 'pending' and due_at <= now()";
    assert_eq!(api.count(due).await, 0);
    let sent = browser
        .post_raw("/console/recover", &form)
        .await
        .expect(303);
    assert!(sent.location().starts_with("/console/jobs/job_"));
    let page = browser.get(sent.location()).await.expect(200);
    page.says("2 deliveries are due: sent as their endpoints take them.");
    assert_eq!(api.count(due).await, 2);
    // The same order once more finds nothing.
    let again = browser
        .post_raw("/console/recover", &form)
        .await
        .expect(303);
    let page = browser.get(again.location()).await.expect(200);
    page.says("There was nothing left to send again.");
    let page = browser
        .get("/console/recover?what=failed")
        .await
        .expect(200);
    page.says("<h2>2 deliveries</h2>").says("Sent again lately");
}

/// Of the form that orders, which stands after the others.
fn hidden_of_order(page: &str, name: &str) -> String {
    let (_, order) = page.split_once("class=\"preview\"").unwrap();
    hidden(order, name)
}

#[tokio::test]
async fn what_disabled_endpoints_wait_for_is_told_apart() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    api.delivery_of_now(&subscription, "failed").await;
    let path = format!("/subscriptions/{}", id(&subscription));
    api.patch(&path, &token, serde_json::json!({"active": false}))
        .await
        .expect(200);
    let browser = Browser::signed_in(&api, "acme").await;
    let page = browser
        .get("/console/recover?what=failed")
        .await
        .expect(200);
    page.says("<h2>0 deliveries</h2>")
        .says("no: its endpoint is disabled");
    let path = format!(
        "/console/recover?what=all&within=24h&endpoint={}",
        id(&subscription)
    );
    let refused = browser.get(&path).await.expect(200);
    refused.says("This endpoint is disabled: enable it first.");
}

#[tokio::test]
async fn every_event_of_a_time_is_counted_and_sent_to_one_endpoint() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    let now = Timestamp::now();
    for age in [1, 2, 50] {
        let event = api
            .event("acme", "payment.received", now - age.hours())
            .await;
        api.delivery("acme", event, id(&subscription), "delivered")
            .await;
    }
    let browser = Browser::signed_in(&api, "acme").await;
    let page = browser
        .get("/console/recover?what=all&within=24h")
        .await
        .expect(200);
    page.says("Choose the endpoint");
    let endpoint = id(&subscription);
    let page = browser
        .get(&format!("/console/recover?what=all&endpoint={endpoint}"))
        .await;
    page.expect(200).says("Choose from when on");
    let page = browser
        .get(&format!(
            "/console/recover?what=all&within=24h&endpoint={endpoint}"
        ))
        .await
        .expect(200)
        .says("Send 2 deliveries again");
    assert_eq!(
        api.count("select count(*) from webhook_deliveries").await,
        3
    );
    let fields = ["token", "what", "endpoint", "since", "until"];
    let values = fields.map(|name| hidden_of_order(&page.text, name));
    let form: Vec<(&str, &str)> = fields
        .iter()
        .copied()
        .zip(values.iter().map(String::as_str))
        .collect();
    let sent = browser
        .post_raw("/console/recover", &form)
        .await
        .expect(303);
    browser
        .get(sent.location())
        .await
        .expect(200)
        .says("2 deliveries are due");
    assert_eq!(
        api.count("select count(*) from webhook_deliveries").await,
        5
    );
}

#[tokio::test]
async fn a_job_says_how_far_it_is_and_is_paused_resumed_and_cancelled() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    for _ in 0..40 {
        api.delivery_of_now(&subscription, "failed").await;
    }
    let browser = Browser::signed_in(&api, "acme").await;
    let refused = [("what", "failed"), ("rate", "many")];
    let page = browser.post("/console/recover", &refused).await;
    page.expect(400).says("a whole number");
    let order = [("what", "failed"), ("rate", "1")];
    let begun = browser.post("/console/recover", &order).await.expect(303);
    let path = begun.location().to_owned();
    let page = browser.get(&path).await.expect(200);
    page.says("running")
        .says("of 40")
        .says("It goes on by itself.");
    let paused = browser
        .post(&format!("{path}/pause"), &[])
        .await
        .expect(303);
    assert_eq!(paused.location(), path);
    browser
        .get(&path)
        .await
        .expect(200)
        .says("Paused:")
        .says("Go on");
    browser
        .post(&format!("{path}/resume"), &[])
        .await
        .expect(303);
    browser.get(&path).await.expect(200).says("running");
    browser
        .post(&format!("{path}/cancel"), &[])
        .await
        .expect(303);
    browser
        .get(&path)
        .await
        .expect(200)
        .says("Cancelled:")
        .says_not("Go on");
    browser
        .post(&format!("{path}/resume"), &[])
        .await
        .expect(409);
}
