//! A served API with a store of its own, and rows to ask it about.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;
use walhook::api::stream::hub::Hub;
use walhook::api::{
    self, Caches, Callers, Limits, LimitsConfig, Listeners, PublicUrl, Settings, State, TENANT_PATH,
};
use walhook::conninfo::{ConnInfo, Purpose};
use walhook::console;
use walhook::db::{Store, StoreConfig};
use walhook::delivery::client::SecurityConfig;
use walhook::delivery::{DeliveryConfig, partitions};
use walhook::event::{DeliveryId, EventId};
use walhook::health::Health;
use walhook::secret::EncryptionKey;

use crate::harness::{TestDatabase, http};

pub struct Api {
    pub base: String,
    pub database: TestDatabase,
    pub store: Store,
    pub schedule_changed: Arc<Notify>,
    pub http: reqwest::Client,
    server: JoinHandle<()>,
    /// Stops the server with the test.
    stop: DropGuard,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
    /// Null where the body is no JSON.
    pub json: Value,
}

impl Answer {
    /// The problem's `code`, checked to be one.
    pub fn code(&self) -> &str {
        assert_eq!(
            self.headers["content-type"], "application/problem+json",
            "{}",
            self.text
        );
        assert_eq!(self.json["status"], self.status.as_u16());
        assert!(!self.json["detail"].as_str().unwrap().is_empty());
        self.json["code"].as_str().unwrap()
    }

    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self.json
    }

    pub fn refused(&self, status: u16, code: &str) {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.code(), code, "{}", self.text);
    }
}

impl Api {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut State)) -> Self {
        let database = TestDatabase::create().await;
        let store = database.store().await;
        Self::over(database, store, change).await
    }

    /// As where no address is known at which browsers reach it.
    pub async fn start_without_console() -> Self {
        let database = TestDatabase::create().await;
        let store = database.store().await;
        Self::listening(database, store, 1024, |_| {}, |_| None).await
    }

    /// With so few connections.
    pub async fn start_limited(max_connections: usize, change: impl FnOnce(&mut State)) -> Self {
        let database = TestDatabase::create().await;
        let store = database.store().await;
        Self::listening(database, store, max_connections, change, of_base).await
    }

    pub async fn over(
        database: TestDatabase,
        store: Store,
        change: impl FnOnce(&mut State),
    ) -> Self {
        Self::listening(database, store, 1024, change, of_base).await
    }

    async fn listening(
        database: TestDatabase,
        store: Store,
        max_connections: usize,
        change: impl FnOnce(&mut State),
        public_url: fn(&str) -> Option<PublicUrl>,
    ) -> Self {
        let schedule_changed = Arc::new(Notify::new());
        let stop = CancellationToken::new();
        let mut state = State {
            store: store.clone(),
            probed: store.reopen(Purpose::Api).unwrap(),
            source: ConnInfo::parse(&database.url).unwrap(),
            key: Arc::new(EncryptionKey::generate()),
            security: SecurityConfig::default(),
            event_types: ["payment.received", "payment.failed", "customer.created"]
                .map(str::to_owned)
                .to_vec()
                .into(),
            check_filter: |source, _| match source.contains("!!") {
                true => Err("unexpected `!!`".to_owned()),
                false => Ok(()),
            },
            filter_matches: |source, body| Ok(String::from_utf8_lossy(body).contains(source)),
            health: Arc::new(Health::new(false, Vec::new())),
            schedule_changed: Arc::clone(&schedule_changed),
            jwt: None,
            body_limit: 64 * 1024,
            request_timeout: Duration::from_secs(30),
            limits: Limits::new(LimitsConfig::default(), 8),
            callers: Callers::new(Vec::new()),
            settings: Settings::of(&StoreConfig::default(), &DeliveryConfig::default()),
            hub: Arc::new(Hub::new(stop.clone())),
            caches: Caches::default(),
        };
        change(&mut state);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let listeners = Listeners {
            api: listener,
            ops: None,
            max_connections,
        };
        let state = Arc::new(state);
        let pages = console::router(Arc::clone(&state), public_url(&base));
        let server = tokio::spawn(api::serve(listeners, state, pages, stop.clone()));
        Api {
            base,
            database,
            store,
            schedule_changed,
            http: http(),
            server,
            stop: stop.drop_guard(),
        }
    }

    pub async fn stop(self) -> Result<(), JoinError> {
        drop(self.stop);
        self.server.await
    }

    pub async fn token(&self, tenant: &str) -> String {
        let token = api::tokens::create(&self.store, tenant, "test", None).await;
        token.unwrap().text().to_owned()
    }

    /// A call at the root, without a token.
    pub async fn root(&self, path: &str) -> Answer {
        let response = self.http.get(format!("{}{path}", self.base)).send().await;
        read(response.unwrap()).await
    }

    pub fn request(&self, method: Method, path: &str, token: &str) -> reqwest::RequestBuilder {
        let url = format!("{}{TENANT_PATH}{path}", self.base);
        self.http.request(method, url).bearer_auth(token)
    }

    pub async fn get(&self, path: &str, token: &str) -> Answer {
        send(self.request(Method::GET, path, token)).await
    }

    pub async fn post(&self, path: &str, token: &str, body: Value) -> Answer {
        send(with_json(self.request(Method::POST, path, token), &body)).await
    }

    pub async fn patch(&self, path: &str, token: &str, body: Value) -> Answer {
        send(with_json(self.request(Method::PATCH, path, token), &body)).await
    }

    pub async fn delete(&self, path: &str, token: &str) -> Answer {
        send(self.request(Method::DELETE, path, token)).await
    }

    /// Creates a subscription to everything, and answers its JSON.
    pub async fn subscribe(&self, token: &str) -> Value {
        let body = serde_json::json!({"url": "https://example.com/hook", "event": "*"});
        self.post("/subscriptions", token, body).await.expect(201)
    }

    pub async fn event(&self, tenant: &str, event_type: &str, at: Timestamp) -> EventId {
        let id = walhook::event::id_floor(walhook::event::milliseconds(at)).as_u128()
            | (Uuid::now_v7().as_u128() & u128::from(u64::MAX));
        let id = EventId(Uuid::from_u128(id));
        let client = self.store.get().await.unwrap();
        partitions::ensure(&client, std::iter::once(id.0))
            .await
            .unwrap();
        let body = format!(r#"{{"id":"{id}","type":"{event_type}"}}"#);
        client
            .execute(
                "insert into webhook_events values ($1, $2, $3, 'rule', '0/10', 3, 1, '[1]', $4, $5)",
                &[&id.0, &tenant, &event_type, &at, &body.as_bytes()],
            )
            .await
            .unwrap();
        id
    }

    /// A delivery of acme's in `status`, of an event of now.
    pub async fn delivery_of_now(&self, subscription: &Value, status: &str) -> DeliveryId {
        let now = Timestamp::now();
        let event = self.event("acme", "payment.received", now).await;
        self.delivery("acme", event, id(subscription), status).await
    }

    /// A delivery in `status` (with the schedule's row, where that status waits).
    pub async fn delivery(
        &self,
        tenant: &str,
        event: EventId,
        subscription: &str,
        status: &str,
    ) -> DeliveryId {
        let subscription = Uuid::parse_str(&subscription["sub_".len()..]).unwrap();
        let id = DeliveryId::derive(event, subscription, Uuid::nil());
        let client = self.store.get().await.unwrap();
        client
            .execute(
                "with e as (update webhook_events set has_deliveries = true where id = $2 returning *)
                 insert into webhook_deliveries (id, event_id, subscription_id, tenant_id, event_type,
                     format, status, attempts, delivered_at)
                 select $1, e.id, $3, e.tenant_id, e.event_type, 'standard', $4::text, 1,
                     case when $4 = 'delivered' then now() end
                 from e",
                &[&id.0, &event.0, &subscription, &status],
            )
            .await
            .unwrap();
        if matches!(status, "pending" | "failed") {
            client
                .execute(
                    "insert into delivery_schedule (delivery_id, subscription_id, tenant_id, event_type, status, due_at)
                     select id, subscription_id, $2, event_type, status, now() + interval '1 hour'
                     from webhook_deliveries where id = $1",
                    &[&id.0, &tenant],
                )
                .await
                .unwrap();
        }
        id
    }

    pub async fn execute(&self, sql: &str) {
        self.store
            .get()
            .await
            .unwrap()
            .batch_execute(sql)
            .await
            .unwrap();
    }

    pub async fn count(&self, sql: &str) -> i64 {
        let client = self.store.get().await.unwrap();
        client.query_one(sql, &[]).await.unwrap().get(0)
    }
}

fn of_base(base: &str) -> Option<PublicUrl> {
    PublicUrl::parse(base).ok()
}

pub fn with_json(request: reqwest::RequestBuilder, body: &Value) -> reqwest::RequestBuilder {
    request
        .header("content-type", "application/json")
        .body(body.to_string())
}

pub async fn send(request: reqwest::RequestBuilder) -> Answer {
    read(request.send().await.unwrap()).await
}

async fn read(response: reqwest::Response) -> Answer {
    let status = response.status();
    let headers = response.headers().clone();
    let text = response.text().await.unwrap();
    Answer {
        status,
        headers,
        json: serde_json::from_str(&text).unwrap_or_default(),
        text,
    }
}

pub fn id(json: &Value) -> &str {
    json["id"].as_str().unwrap()
}

/// The ids of a list, page by page.
pub async fn all_pages(api: &Api, path: &str, token: &str) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = api.get(&format!("{path}{cursor}"), token).await.expect(200);
        let rows = page["data"].as_array().unwrap();
        pages.push(rows.iter().map(|row| id(row).to_owned()).collect());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return pages,
        }
    }
}
