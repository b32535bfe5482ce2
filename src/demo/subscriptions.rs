//! Subscribes the demo's tenants, through the API that its user will call.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;

use super::receiver::{Endpoint, StatusCode};
use super::traffic::TENANTS;
use crate::delivery::client::{
    Client, HeaderMap, HeaderName, HeaderValue, OutgoingRequest, SecurityConfig,
};
use crate::secret::{ApiToken, SigningSecret};

/// A tenant's wish, before it has been told to the API.
pub(super) struct Wish {
    pub(super) tenant: &'static str,
    pub(super) events: &'static str,
    pub(super) description: &'static str,
    pub(super) endpoint: Endpoint,
}

/// One endpoint for everything of each tenant, and one that fails now and then.
pub(super) fn wishes() -> Vec<Wish> {
    let [acme, globex] = TENANTS;
    let wish = |tenant, path: &str, events, description, failing| Wish {
        tenant,
        events,
        description,
        endpoint: Endpoint {
            path: Some(path.to_owned()),
            secrets: vec![SigningSecret::generate()],
            public_keys: Vec::new(),
            status: StatusCode::OK,
            failing,
            delay: Duration::ZERO,
        },
    };
    vec![
        wish(acme, "/acme", "*", "everything", 0),
        wish(acme, "/acme/flaky", "payment.*", "fails now and then", 25),
        wish(globex, "/globex", "*", "everything", 0),
    ]
}

/// walhook needs a moment to listen and to reach its store.
const API_START: Duration = Duration::from_secs(30);

/// Creates the subscription, as soon as the API answers.
pub(super) async fn subscribe(
    client: &Client,
    api: SocketAddr,
    receiver: SocketAddr,
    token: &ApiToken,
    wish: &Wish,
) -> anyhow::Result<()> {
    let path = wish.endpoint.path.as_deref().unwrap_or("/");
    let secret = wish.endpoint.secrets.first();
    let body = serde_json::json!({
        "url": format!("http://{receiver}{path}"),
        "event": wish.events,
        "description": wish.description,
        "secret": secret.map(SigningSecret::text),
    });
    let body = Bytes::from(serde_json::to_vec(&body)?);
    let mut authorization = HeaderValue::from_str(&format!("Bearer {}", token.text()))?;
    authorization.set_sensitive(true);
    let headers = HeaderMap::from_iter([
        (HeaderName::from_static("authorization"), authorization),
        (
            HeaderName::from_static("content-type"),
            HeaderValue::from_static("application/json"),
        ),
    ]);

    let url = format!("http://{api}/api/v1/tenant/webhooks/subscriptions");
    let deadline = Instant::now() + API_START;
    loop {
        let request = OutgoingRequest {
            url: &url,
            headers: headers.clone(),
            body: body.clone(),
        };
        let refused = match client.post(request, || {}).await {
            Ok(answer) if answer.status == StatusCode::CREATED => return Ok(()),
            // The API is up and says that its database is not.
            Ok(answer) if answer.status == StatusCode::SERVICE_UNAVAILABLE => answer.excerpt,
            Ok(answer) => bail!(
                "the API answered {} when {} was subscribed: {}",
                answer.status,
                wish.tenant,
                answer.excerpt
            ),
            Err(error) => error.to_string(),
        };
        ensure!(
            Instant::now() < deadline,
            "the API did not answer within {} s: {refused}",
            API_START.as_secs()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A client that talks to the API of this machine.
pub(super) fn client(security: &SecurityConfig) -> anyhow::Result<Client> {
    // Creating a subscription asks the database for its position, which is quick.
    Client::new(security, &[], Duration::from_secs(10), 64 * 1024).context("make the API's client")
}
