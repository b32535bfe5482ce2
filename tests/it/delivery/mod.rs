//! What endpoints, tenants and operators see of deliveries: the real binary, the real
//! API, a real receiver.

mod answers;
mod backlog;
mod batches;
mod breaker;
mod disabling;
mod endpoints;
mod failures;
mod foreign;
mod isolation;
mod lifecycle;
mod limits;
mod names;
mod nodes;
mod ordering;
mod overflow;
mod rate_limit;
mod roles;
mod signing;
mod statistics;
mod tests;

use std::path::PathBuf;
use std::time::Instant;

use reqwest::Method;
use serde_json::{Value, json};
use walhook::api::{TENANT_PATH, tokens};

use crate::api::fixtures::{Answer, send, with_json};
use crate::harness::process::Process;
use crate::harness::receiver::Request;
use crate::harness::walhook::{Installation, ORDER_RULES, ORDERS};
use crate::harness::{PATIENCE, http, pause};

/// An installation whose binary is run and whose API is called.
pub struct Deployed {
    pub walhook: Installation,
    pub processes: Vec<Process>,
    api: Api,
}

impl Deployed {
    /// One process with every role. `settings` are further lines of TOML, beginning
    /// with a section.
    pub async fn start(settings: &str) -> Self {
        let walhook = Installation::create(ORDERS, ORDER_RULES, settings).await;
        Self::of(walhook, &[&["run"]]).await
    }

    /// A process for each list of arguments, of which one serves the API.
    pub async fn of(walhook: Installation, commands: &[&[&str]]) -> Self {
        let start = |arguments: &&[&str]| Process::start(&walhook.config_file(), arguments);
        let processes = commands.iter().map(start).collect();
        let base = api_address(&walhook).await;
        Deployed {
            walhook,
            processes,
            api: Api { base, http: http() },
        }
    }

    pub async fn tenant(&self, tenant: &str) -> Tenant {
        let token = tokens::create(&self.walhook.store, tenant, "test", None).await;
        Tenant {
            token: token.unwrap().text().to_owned(),
            api: self.api.clone(),
        }
    }

    /// Where the API is.
    pub fn base(&self) -> &str {
        &self.api.base
    }

    /// Orders of a tenant, committed in one transaction.
    pub async fn orders(&self, tenant: &str, count: usize) {
        self.execute(&format!(
            "insert into orders (tenant_id, status) select '{tenant}', 'new' from generate_series(1, {count})"
        ))
        .await;
    }

    /// What the application does.
    pub async fn execute(&self, sql: &str) {
        let application = &self.walhook.database.client;
        application.batch_execute(sql).await.unwrap();
    }

    /// The value of a series as it stands in `/metrics`.
    pub async fn metric(&self, series: &str) -> Option<f64> {
        let url = format!("{}/metrics", self.api.base);
        let text = self.api.http.get(url).send().await.unwrap();
        let text = text.text().await.unwrap();
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }

    pub fn log(&self) -> String {
        let log = self.walhook.directory.path().join("walhook.log");
        std::fs::read_to_string(log).unwrap_or_default()
    }

    pub fn stop(self) {
        for process in self.processes {
            assert!(process.terminate().success());
        }
    }
}

#[derive(Clone)]
struct Api {
    base: String,
    http: reqwest::Client,
}

/// A tenant as the API knows it.
pub struct Tenant {
    token: String,
    api: Api,
}

impl Tenant {
    pub fn token(&self) -> &str {
        &self.token
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let url = format!("{}{TENANT_PATH}{path}", self.api.base);
        self.api.http.request(method, url).bearer_auth(&self.token)
    }

    pub async fn get(&self, path: &str) -> Value {
        send(self.request(Method::GET, path)).await.expect(200)
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        send(with_json(self.request(Method::POST, path), &body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Value {
        let request = with_json(self.request(Method::PATCH, path), &body);
        send(request).await.expect(200)
    }

    pub async fn patch_refused(&self, path: &str, body: Value) -> Answer {
        send(with_json(self.request(Method::PATCH, path), &body)).await
    }

    pub async fn delete(&self, path: &str) {
        assert_eq!(send(self.request(Method::DELETE, path)).await.status, 204);
    }

    /// Subscribes to everything.
    pub async fn subscribe(&self, url: &str) -> Value {
        self.subscribe_with(url, json!({})).await
    }

    pub async fn subscribe_with(&self, url: &str, more: Value) -> Value {
        let mut body = json!({"url": url, "event": "order.*"});
        let more = more.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(more);
        self.post("/subscriptions", body).await.expect(201)
    }

    /// The only delivery of a subscription, with its attempts.
    pub async fn only_delivery(&self, subscription: &Value) -> Value {
        let path = format!("/deliveries?subscription_id={}", text(&subscription["id"]));
        let listed = self.get(&path).await;
        let [only] = &listed["data"].as_array().unwrap()[..] else {
            panic!("not one delivery: {listed}");
        };
        self.get(&format!("/deliveries/{}", text(&only["id"])))
            .await
    }

    /// Asks until `done` holds of the answer.
    pub async fn get_until(&self, path: &str, done: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let answer = self.get(path).await;
            if done(&answer) {
                return answer;
            }
            assert!(began.elapsed() < PATIENCE, "in vain: {answer}");
            pause(began).await;
        }
    }
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// Verifies a request as a subscriber with this secret does.
pub fn verifies(secret: &Value, request: &Request) -> bool {
    let webhook = standardwebhooks::Webhook::new(text(secret)).unwrap();
    webhook.verify(&request.body, &request.headers).is_ok()
}

/// Where the API listens, as the log says.
async fn api_address(walhook: &Installation) -> String {
    let log: PathBuf = walhook.directory.path().join("walhook.log");
    let began = Instant::now();
    loop {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        if let Some((_, behind)) = text.split_once("API at ")
            && let Some((base, _)) = behind.split_once("/docs")
        {
            return base.to_owned();
        }
        assert!(began.elapsed() < PATIENCE, "no API:\n{text}");
        pause(began).await;
    }
}

/// Until what waits for subscriptions that were disabled or enabled is parked, or due again.
pub async fn settled(deployed: &Deployed) {
    deployed
        .walhook
        .wait_for("select bool_and(deliveries_settled) from webhook_subscriptions")
        .await;
}
