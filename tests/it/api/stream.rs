//! `GET /stream`: what happens is sent to those who follow.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::fixtures::{Api, id};
use crate::harness::pause;

/// A stream that is read message by message.
struct Following {
    response: Response,
    text: String,
}

#[derive(Debug)]
struct Message {
    name: String,
    data: Value,
    id: Option<String>,
}

async fn try_follow(api: &Api, token: &str, query: &str, last: Option<&str>) -> Response {
    let mut request = api.request(Method::GET, &format!("/stream{query}"), token);
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    request.send().await.unwrap()
}

/// Follows from a moment that is over when this returns.
async fn follow(api: &Api, token: &str, query: &str, last: Option<&str>) -> Following {
    let response = try_follow(api, token, query, last).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["cache-control"], "no-store");
    Following {
        response,
        text: String::new(),
    }
}

impl Following {
    /// None: the stream has ended.
    async fn next(&mut self) -> Option<Message> {
        timeout(Duration::from_secs(30), async {
            loop {
                if let Some((message, rest)) = self.text.split_once("\n\n") {
                    let field = |name: &str| {
                        let lines = message.lines();
                        let mut found = lines.filter_map(|line| line.strip_prefix(name));
                        found.next().map(|value| value.trim().to_owned())
                    };
                    let read = Message {
                        name: field("event:").unwrap_or_default(),
                        data: serde_json::from_str(&field("data:").unwrap_or_default())
                            .unwrap_or_default(),
                        id: field("id:"),
                    };
                    self.text = rest.to_owned();
                    if !read.name.is_empty() {
                        return Some(read);
                    }
                    continue;
                }
                let chunk = self.response.chunk().await.ok()??;
                self.text.push_str(std::str::from_utf8(&chunk).unwrap());
            }
        })
        .await
        .expect("nothing was sent for 30 s")
    }

    async fn named(&mut self, name: &str) -> Message {
        loop {
            let message = self.next().await.expect("the stream has ended");
            if message.name == name {
                return message;
            }
        }
    }
}

#[tokio::test]
async fn what_is_new_and_what_changes_is_sent() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    let old = api.delivery_of_now(&subscription, "pending").await;
    let mut all = follow(&api, &token, "", None).await;
    let mut subscriptions = follow(&api, &token, "?topics=subscriptions", None).await;
    all.named("live").await;
    subscriptions.named("live").await;

    let new = api.delivery_of_now(&subscription, "pending").await;
    let event = all.named("event").await;
    assert_eq!(event.data["type"], "payment.received");
    assert!(event.data.get("body").is_none());
    let delivery = all.named("delivery").await;
    assert_eq!(delivery.data["id"], new.to_string());
    assert_eq!(delivery.data["status"], "pending");
    assert_eq!(delivery.data["event_id"], event.data["id"]);
    // Of the looks before: until all of this one is sent, whoever comes back needs it again.
    assert!(delivery.id.is_some() && delivery.id == event.id);

    // One from before, too.
    let delivered = format!(
        "update webhook_deliveries set status = 'delivered', delivered_at = now() where id = '{}';
         delete from delivery_schedule where delivery_id = '{}'",
        old.0, old.0
    );
    api.execute(&delivered).await;
    let delivery = all.named("delivery").await;
    assert_eq!(delivery.data["id"], old.to_string());
    assert_eq!(delivery.data["status"], "delivered");

    let path = format!("/subscriptions/{}", id(&subscription));
    api.patch(&path, &token, json!({"active": false}))
        .await
        .expect(200);
    for following in [&mut all, &mut subscriptions] {
        let changed = following.named("subscription").await;
        assert_eq!(changed.data, json!({"id": subscription["id"]}));
    }
    api.delete(&path, &token).await.expect(204);
    assert_eq!(
        subscriptions.next().await.unwrap().data["id"],
        subscription["id"]
    );
}

#[tokio::test]
async fn a_stream_is_of_what_was_asked_for_and_of_its_own_tenant() {
    let api = Api::start().await;
    let (token, other) = (api.token("acme").await, api.token("globex").await);
    let (one, two) = (api.subscribe(&token).await, api.subscribe(&token).await);
    let theirs = api.subscribe(&other).await;
    let query = format!(
        "?topics=deliveries&subscription_id={}&event=payment.*",
        id(&one)
    );
    let mut narrow = follow(&api, &token, &query, None).await;
    let mut foreign = follow(&api, &other, "", None).await;
    narrow.named("live").await;
    foreign.named("live").await;
    let now = Timestamp::now();
    for (event_type, to) in [
        ("payment.failed", &two),
        ("customer.created", &one),
        ("payment.failed", &one),
    ] {
        let event = api.event("acme", event_type, now).await;
        api.delivery("acme", event, id(to), "delivered").await;
    }
    let only = narrow.next().await.unwrap();
    assert_eq!(
        (only.name.as_str(), &only.data["event"]),
        ("delivery", &json!("payment.failed"))
    );
    assert_eq!(only.data["subscription_id"], one["id"]);
    let event = api
        .event("globex", "customer.created", Timestamp::now())
        .await;
    api.delivery("globex", event, id(&theirs), "delivered")
        .await;
    let first = foreign.next().await.unwrap();
    assert_eq!(first.data["id"], event.to_string(), "{first:?}");
    // Another's id names nothing.
    let of_acme = api.delivery_of_now(&one, "pending").await;
    let mut naming = follow(
        &api,
        &other,
        &format!("?topics=subscriptions&watch={of_acme}"),
        None,
    )
    .await;
    assert_eq!(naming.next().await.unwrap().name, "live");
    for (query, code) in [
        ("?topics=deliveries,payments", "invalid_topics"),
        ("?topics=", "invalid_topics"),
        ("?topics=events,events", "invalid_topics"),
        ("?watch=evt_1", "invalid_id"),
        ("?after=dlv_1", "invalid_id"),
        ("?subscription_id=1", "invalid_id"),
        ("?since=2026-01-01T00:00:00Z", "invalid_query"),
    ] {
        let answer = api.get(&format!("/stream{query}"), &token).await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::BAD_REQUEST, code),
            "{query}"
        );
    }
}

#[tokio::test]
async fn whoever_comes_back_gets_what_was_missed_and_what_is_watched() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let subscription = api.subscribe(&token).await;
    let watched = api.delivery_of_now(&subscription, "failed").await;
    let mut first = follow(&api, &token, "", None).await;
    first.named("live").await;
    api.delivery_of_now(&subscription, "delivered").await;
    let last = first.named("delivery").await.id.unwrap();
    drop(first);
    let mut missed = Vec::new();
    for _ in 0..3 {
        missed.push(
            api.delivery_of_now(&subscription, "delivered")
                .await
                .to_string(),
        );
    }
    let query = format!("?topics=deliveries&watch={watched}");
    let mut second = follow(&api, &token, &query, Some(&last)).await;
    let at_once = second.next().await.unwrap();
    assert_eq!(at_once.data["id"], watched.to_string());
    assert_eq!(at_once.data["status"], "failed");
    let mut found = Vec::new();
    loop {
        let message = second.next().await.unwrap();
        if message.name == "live" {
            break;
        }
        found.push(message.data["id"].as_str().unwrap().to_owned());
    }
    // The first may come again.
    assert!(found.ends_with(&missed), "{found:?} {missed:?}");
}

#[tokio::test]
async fn a_token_has_three_streams_and_none_once_it_is_revoked() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(follow(&api, &token, "", None).await);
    }
    let answer = api.get("/stream", &token).await;
    answer.refused(503, "too_many_streams");
    assert_eq!(answer.headers["retry-after"], "30");
    // Another token has its own, and the same one has room again when one of them ends.
    follow(&api, &api.token("acme").await, "", None)
        .await
        .named("live")
        .await;
    drop(streams.pop());
    let began = Instant::now();
    while try_follow(&api, &token, "", None).await.status() != 200 {
        assert!(began.elapsed() < Duration::from_secs(30));
        pause(began).await;
    }
    api.execute("update api_tokens set revoked_at = now()")
        .await;
    let stream = &mut streams[0];
    stream.named("end").await;
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn streams_end_with_the_server_at_once() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let mut stream = follow(&api, &token, "", None).await;
    stream.named("live").await;
    timeout(Duration::from_secs(8), api.stop())
        .await
        .unwrap()
        .unwrap();
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_told() {
    let api = Api::start().await;
    let token = api.token("acme").await;
    let mut stream = follow(&api, &token, "", None).await;
    stream.named("live").await;
    api.execute("alter table webhook_events rename to gone")
        .await;
    stream.named("stopped").await;
    api.execute("alter table gone rename to webhook_events")
        .await;
    assert_eq!(stream.next().await.unwrap().name, "live");
}
