use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{Router, post};
use standardwebhooks::Webhook;

pub fn receiver(secret: &str) -> Router {
    let webhook = Webhook::new(secret).expect("the secret is whsec_ and base64");
    let receiver = Router::new().route("/webhooks", post(receive));
    receiver.with_state(Arc::new(webhook))
}

async fn receive(
    State(webhook): State<Arc<Webhook>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    match webhook.verify(&body, &headers) {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::UNAUTHORIZED,
    }
}
