//! What one tenant, and whoever has no token, may ask of the API.

use std::num::NonZeroU32;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use walhook::api::{Limits, LimitsConfig, State};
use walhook::conninfo::Purpose;
use walhook::secret::ApiToken;

use super::fixtures::{Api, id, send, with_json};
use crate::harness::{connect, pause};

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

/// As `walhook run` has it: connections of its own.
fn as_run(state: &mut State, change: impl FnOnce(&mut LimitsConfig)) {
    state.store = state.store.reopen(Purpose::Api).unwrap();
    let mut limits = LimitsConfig::default();
    change(&mut limits);
    state.limits = Limits::new(limits, 8);
}

/// Until a statement of this database does.
async fn waits_for_a_lock(api: &Api) {
    let waiting = "select count(*) > 0 from pg_stat_activity
                   where datname = current_database() and wait_event_type = 'Lock'";
    let began = std::time::Instant::now();
    let client = &api.database.client;
    while !client
        .query_one(waiting, &[])
        .await
        .unwrap()
        .get::<_, bool>(0)
    {
        pause(began).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_requests_of_one_tenant_keep_no_other_waiting() {
    let api = Api::start_with(|state| as_run(state, |_| {})).await;
    let (acme, globex) = (api.token("acme").await, api.token("globex").await);
    let subscription = api.subscribe(&acme).await;
    let delivery = api.delivery_of_now(&subscription, "delivered").await;
    let path = format!("/deliveries/{delivery}");
    api.get(&path, &acme).await.expect(200);
    let locked = connect(&api.database.url).await;
    locked
        .batch_execute("begin; lock table walhook.webhook_attempts in access exclusive mode")
        .await
        .unwrap();
    let mut slow = JoinSet::new();
    for _ in 0..12 {
        slow.spawn(send(api.request(Method::GET, &path, &acme)));
    }
    // Those that wait for the others of their tenant are told so after five seconds.
    let mut refused = Vec::new();
    while refused.len() < 8 {
        let answer = slow.join_next().await.unwrap().unwrap();
        answer.refused(429, "too_many_requests");
        assert_eq!(answer.headers["retry-after"], "5");
        assert!(
            answer.text.contains("limits.concurrent_requests"),
            "{}",
            answer.text
        );
        refused.push(answer);
        let asked = timeout(Duration::from_secs(5), api.get("/subscriptions", &globex)).await;
        asked.expect("another tenant waits").expect(200);
    }
    locked.batch_execute("commit").await.unwrap();
    while let Some(answer) = slow.join_next().await {
        answer.unwrap().expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_asks_too_often_is_told_when_to_come_again() {
    let limit = |limits: &mut LimitsConfig| limits.requests_per_second = number(3);
    let api = Api::start_with(|state| as_run(state, limit)).await;
    let (acme, globex) = (api.token("acme").await, api.token("globex").await);
    let mut refused = None;
    for _ in 0..50 {
        let answer = api.get("/event-types", &acme).await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("none of 50 was refused");
    refused.refused(429, "too_many_requests");
    assert_eq!(refused.headers["retry-after"], "1");
    let text = &refused.text;
    assert!(
        text.contains("more than 3 requests a second (limits.requests_per_second)"),
        "{text}"
    );
    api.get("/event-types", &globex).await.expect(200);
    api.root("/readyz").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_as_many_subscriptions_as_it_may_have_also_at_once() {
    let limit = |limits: &mut LimitsConfig| limits.subscriptions = number(3);
    let api = Api::start_with(|state| as_run(state, limit)).await;
    let (acme, globex) = (api.token("acme").await, api.token("globex").await);
    let body = json!({"url": "https://example.com/hook", "event": "*"});
    let mut calls = JoinSet::new();
    for _ in 0..12 {
        let request = api.request(Method::POST, "/subscriptions", &acme);
        calls.spawn(send(with_json(request, &body)));
    }
    let mut created = Vec::new();
    while let Some(answer) = calls.join_next().await {
        let answer = answer.unwrap();
        match answer.status.as_u16() {
            201 => created.push(answer.json),
            _ => {
                answer.refused(429, "too_many_subscriptions");
                assert!(
                    answer.text.contains("limits.subscriptions"),
                    "{}",
                    answer.text
                );
                assert!(answer.headers.contains_key("retry-after"));
            }
        }
    }
    assert_eq!(created.len(), 3);
    api.subscribe(&globex).await;
    let me = api.get("/me", &acme).await.expect(200);
    assert_eq!(me["tenant_id"], "acme");
    assert_eq!(me["subscriptions"], 3);
    assert_eq!(me["limits"]["subscriptions"], 3);
    assert_eq!(me["retention_seconds"], 30 * 24 * 3600);
    assert_eq!(me["retry_schedule_seconds"][0], 5);
    assert_eq!(me["timeout_seconds"], 15.0);
    let path = format!("/subscriptions/{}", id(&created[0]));
    assert_eq!(api.delete(&path, &acme).await.status, 204);
    api.subscribe(&acme).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tests_and_replays_have_limits_of_their_own() {
    let limit = |limits: &mut LimitsConfig| {
        limits.tests_per_minute = number(2);
        limits.replays = number(1);
    };
    let api = Api::start_with(|state| as_run(state, limit)).await;
    let acme = api.token("acme").await;
    let subscription = api.subscribe(&acme).await;
    let path = format!("/subscriptions/{}", id(&subscription));
    let test = format!("{path}/test");
    for _ in 0..2 {
        api.post(&test, &acme, json!({})).await.expect(202);
    }
    let refused = api.post(&test, &acme, json!({})).await;
    refused.refused(429, "too_many_requests");
    assert!(
        refused.text.contains("limits.tests_per_minute"),
        "{}",
        refused.text
    );

    let replay = format!("{path}/replay");
    let slowly = json!({"since": "2020-01-01T00:00:00Z", "max_per_second": 1});
    for _ in 0..3 {
        api.event("acme", "payment.received", Timestamp::now())
            .await;
    }
    let first = api.post(&replay, &acme, slowly.clone()).await.expect(202);
    assert_eq!(
        (&first["state"], &first["total"]),
        (&json!("running"), &json!(3))
    );
    for (path, body) in [
        (replay.as_str(), &slowly),
        ("/deliveries/retry", &json!({})),
    ] {
        let refused = api.post(path, &acme, body.clone()).await;
        refused.refused(429, "too_many_requests");
        assert!(refused.text.contains("limits.replays"), "{}", refused.text);
    }
    let cancel = format!("/jobs/{}/cancel", id(&first));
    let cancelled = api.post(&cancel, &acme, json!({})).await.expect(200);
    assert_eq!(cancelled["state"], "cancelled");
    api.post(&replay, &acme, slowly).await.expect(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_invents_tokens_is_slowed_down_and_a_valid_token_never() {
    let api = Api::start_with(|state| as_run(state, |_| {})).await;
    let mut statuses = Vec::new();
    let began = Instant::now();
    for _ in 0..40 {
        let answer = api.get("/subscriptions", ApiToken::generate().text()).await;
        if answer.status == 429 {
            answer.refused(429, "too_many_requests");
            assert!(answer.headers.contains_key("retry-after"));
        } else {
            answer.refused(401, "unauthorized");
        }
        statuses.push(answer.status.as_u16());
    }
    assert_eq!(statuses[..20], [401; 20]);
    // From then on one a second.
    let admitted = statuses[20..].iter().filter(|one| **one == 401).count();
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap();
    assert!(admitted <= seconds + 1, "{statuses:?} in {seconds} s");
    assert!(statuses.contains(&429), "{statuses:?} in {seconds} s");
    // From the same address, and never seen before.
    let acme = api.token("acme").await;
    api.get("/subscriptions", &acme).await.expect(200);
    // A store that does not answer says nothing of a token: it is admitted again at once.
    let globex = api.token("globex").await;
    let admin = connect(&api.database.url.replace(&api.database.name, "postgres")).await;
    let name = &api.database.name;
    let allow = async |allowed: bool| {
        let allow = format!("alter database {name} allow_connections {allowed}");
        admin.batch_execute(&allow).await.unwrap();
    };
    allow(false).await;
    let end = format!(
        "select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = '{name}'"
    );
    admin.batch_execute(&end).await.unwrap();
    let answer = api.get("/subscriptions", &globex).await;
    answer.refused(503, "store_unavailable");
    allow(true).await;
    api.get("/subscriptions", &globex).await.expect(200);
    // The same again and again is not asked of the store.
    let unknown = ApiToken::generate();
    let began = Instant::now();
    for _ in 0..20 {
        api.get("/subscriptions", unknown.text()).await;
    }
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
}

/// A connection that has sent this much of a request.
async fn slow(api: &Api, sent: &[u8]) -> TcpStream {
    let address = api.base.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(sent).await.unwrap();
    stream
}

/// Whether the server closes it within the time.
async fn closes(stream: &mut TcpStream, within: Duration) -> bool {
    let mut byte = [0];
    // Reset or ended.
    matches!(
        timeout(within, stream.read(&mut byte)).await,
        Ok(Ok(0) | Err(_))
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_ask_for_nothing_make_room_and_those_in_progress_stay() {
    let api = Api::start_limited(8, |state| as_run(state, |_| {})).await;
    let acme = api.token("acme").await;
    let subscription = api.subscribe(&acme).await;
    let delivery = api.delivery_of_now(&subscription, "delivered").await;
    let locked = connect(&api.database.url).await;
    locked
        .batch_execute("begin; lock table walhook.webhook_attempts in access exclusive mode")
        .await
        .unwrap();
    let path = format!("/deliveries/{delivery}");
    let waiting = tokio::spawn(send(api.request(Method::GET, &path, &acme)));
    waits_for_a_lock(&api).await;
    let mut silent = Vec::new();
    for number in 0..60 {
        let sent: &[u8] = match number % 3 {
            0 => b"",
            1 => b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ",
            _ => b"PRI * HT",
        };
        silent.push(slow(&api, sent).await);
    }
    // It comes after them all: by then as many of them are closed as have no room.
    api.root("/healthz").await.expect(200);
    let mut closing = JoinSet::new();
    for mut stream in silent {
        closing.spawn(async move { closes(&mut stream, Duration::from_secs(2)).await });
    }
    let closed = closing
        .join_all()
        .await
        .into_iter()
        .filter(|closed| *closed);
    assert!(closed.count() > 60 - 8);
    api.get("/subscriptions", &acme).await.expect(200);
    locked.batch_execute("commit").await.unwrap();
    waiting.await.unwrap().expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_never_sends_a_whole_request_is_closed() {
    let api = Api::start().await;
    let mut silent = Vec::new();
    for sent in [
        &b""[..],
        b"GET /healthz HTT",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        b"PRI * HTTP/2.0\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        silent.push(slow(&api, sent).await);
    }
    // 15 s, and 5 s more for a farewell.
    let mut waiting = JoinSet::new();
    for mut stream in silent {
        waiting.spawn(async move {
            let mut rest = Vec::new();
            timeout(Duration::from_secs(25), stream.read_to_end(&mut rest)).await
        });
    }
    while let Some(ended) = waiting.join_next().await {
        let _reset_or_ended = ended.unwrap().expect("it is still open after 25 s");
    }
}
