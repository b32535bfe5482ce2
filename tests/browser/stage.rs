//! A tenant with something to look at: endpoints that are well, failing and paused, and what was
//! sent to them.

use jiff::{Timestamp, ToSpan};
use serde_json::json;

use crate::chromium::Chromium;
use crate::fixtures::{Api, id};
use crate::links::{mint, new_link};
use walhook::console::capability::Capability;

pub struct Stage {
    pub api: Api,
    pub chromium: Chromium,
    /// A delivery that has failed, with attempts.
    pub failed: String,
    /// Its event.
    pub event: String,
    pub endpoint: String,
    /// A bulk retry that is on its way.
    pub job: String,
}

/// As receivers and tenants write it.
pub const HOSTILE: &str =
    "<img src=x onerror=alert(1)><a hx-get='/console/sign-out' hx-trigger='load'>x</a>";

impl Stage {
    /// None where there is no browser.
    pub async fn set() -> Option<Self> {
        let mut chromium = Chromium::start().await?;
        let api = Api::start_with(|_| {}).await;
        let token = api.token("acme").await;
        let create = async |name: &str, url: &str, events: &[&str]| {
            let body = json!({"url": url, "description": name, "events": events});
            api.post("/subscriptions", &token, body).await.expect(201)
        };
        let billing = create("Billing", "https://billing.acme.example/hooks", &["*"]).await;
        let crm = create("CRM", "https://crm.acme.example/in", &["customer.created"]).await;
        let hostile = create(HOSTILE, "https://example.com/x", &["payment.received"]).await;
        let paused = create("Old data warehouse", "https://dwh.acme.example/", &["*"]).await;
        api.execute("update webhook_subscriptions set from_lsn = '0/0'")
            .await;
        let now = Timestamp::now();
        let mut failed = None;
        for number in 0..24 {
            let at = now - (3 * number + 1).minutes();
            let (event_type, status) = match number % 6 {
                0 => ("payment.received", "failed"),
                1 => ("customer.created", "pending"),
                _ => ("payment.received", "delivered"),
            };
            let event = api.event("acme", event_type, at).await;
            let delivery = api.delivery("acme", event, id(&billing), status).await;
            if event_type == "customer.created" {
                api.delivery("acme", event, id(&crm), "delivered").await;
            }
            if number == 0 {
                failed = Some((delivery, event));
                api.delivery("acme", event, id(&hostile), "delivered").await;
            }
        }
        let (failed, event) = failed.unwrap();
        let client = api.store.get().await.unwrap();
        for (attempt, status, class, answer) in [
            (
                1,
                Some(500_i16),
                "http_status",
                "Internal error: out of memory",
            ),
            (2, None, "timeout", ""),
            (3, Some(401), "http_status", HOSTILE),
        ] {
            client
                .execute(
                    "insert into webhook_attempts (delivery_id, number, tenant_id, started_at,
                         duration_ms, http_status, error_class, error, response_excerpt)
                     values ($1, $2, 'acme', now() - make_interval(secs => 50 - 15 * $2), 184 * $2, $3, $4,
                         'the endpoint did not take it', nullif($5, ''))",
                    &[&failed.0, &attempt, &status, &class, &answer],
                )
                .await
                .unwrap();
        }
        let body = format!(
            r#"{{"id":"{event}","type":"payment.received","timestamp":"2026-11-23T12:00:00.123456Z","tenant_id":"acme","data":{{"payment_id":4711,"amount":12345678901234567890.10,"note":"{HOSTILE}"}}}}"#
        );
        client
            .execute(
                "update webhook_events set body = $2 where id = $1",
                &[&event.0, &body.as_bytes()],
            )
            .await
            .unwrap();
        client
            .batch_execute(
                "update webhook_deliveries set last_http_status = 500,
                     last_error = 'http_status: the endpoint answered 500' where status <> 'delivered';
                 update webhook_deliveries set last_http_status = 200 where status = 'delivered'",
            )
            .await
            .unwrap();
        client
            .execute(
                "update webhook_deliveries set attempts = 3, last_http_status = 401 where id = $1",
                &[&failed.0],
            )
            .await
            .unwrap();
        // What was counted in 40 days, with a bad hour of today.
        for (name, delivered, failed) in [("Billing", 40_i64, 3_i64), ("CRM", 90, 0)] {
            client
                .execute(
                    "insert into delivery_stats
                     select s.id, date_bin('1 hour', now() - make_interval(hours => h), '2000-01-01 00:00Z'), 60,
                         s.tenant_id, n.delivered, n.delivered * 9 / 10, 0, n.failed, n.failed * (h % 3), 0, 0, 0, 0, 0, 0,
                         0, 0, 0, n.delivered, n.delivered / 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n.failed
                     from webhook_subscriptions s, generate_series(0, 960) h,
                         lateral (select case when h between 3 and 4 then 1 else $2::int8 + h % 7 end as delivered,
                             case when h between 3 and 4 then $3::int8 * 20 else $3::int8 * (h % 2) end as failed) n
                     where s.description = $1",
                    &[&name, &delivered, &failed],
                )
                .await
                .unwrap();
        }
        drop(client);
        let path = format!("/subscriptions/{}", id(&paused));
        api.patch(&path, &token, json!({"active": false}))
            .await
            .expect(200);
        let order = json!({"status": "pending", "max_per_second": 1});
        let job = api
            .post("/deliveries/retry", &token, order)
            .await
            .expect(202);
        chromium.size(1280, 900).await;
        let endpoint = id(&billing).to_owned();
        Some(Stage {
            failed: failed.to_string(),
            event: event.to_string(),
            job: id(&job).to_owned(),
            endpoint,
            api,
            chromium,
        })
    }

    /// A link that leads to the deliveries.
    pub async fn link(&self) -> String {
        let link = new_link("acme", &Capability::ALL);
        mint(&self.api.store, &self.api.base, &link).await.url
    }

    pub async fn sign_in(&mut self) {
        let link = self.link().await;
        self.chromium.open(&link).await;
        self.chromium
            .until(
                "location.pathname === '/console/deliveries' && document.readyState === 'complete'",
            )
            .await;
    }

    /// Something is delivered to the first endpoint.
    pub async fn deliver(&self) {
        let endpoint = json!({ "id": self.endpoint });
        self.api.delivery_of_now(&endpoint, "delivered").await;
    }

    pub async fn open(&mut self, path: &str) {
        let url = format!("{}{path}", self.api.base);
        self.chromium.open(&url).await;
    }

    /// No page has said anything, and no policy refused anything.
    #[track_caller]
    pub fn assert_quiet(&mut self, what: &str) {
        let complaints = self.chromium.complaints();
        assert!(complaints.is_empty(), "{what}: {complaints:#?}");
    }
}
