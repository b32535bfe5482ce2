//! What tells an open page that something has happened, as the API's stream does: ids and states
//! alone. The page asks for what it wants of it.

use std::sync::Arc;

use axum::extract::State as AxumState;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::json;

use super::State;
use super::fault::Fault;
use super::fields::Asked;
use super::markup::mark;
use super::session::{self, Asks};
use super::shell::Visitor;
use crate::api::stream::hub::{Change, News};
use crate::api::stream::{self, Check, Message, Wanted};
use crate::event::DeliveryId;
use crate::subscription::queries::SubscriptionId;

/// Follows the tenant for as long as the session lasts.
pub async fn show(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    Asked(asked): Asked,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    let wanted = Wanted {
        deliveries: true,
        events: true,
        subscriptions: true,
        subscription: None,
        event_type: None,
        named: stream::named(asked.get("watch").unwrap_or_default())?,
        after: stream::after(asked.get("after"), &headers)?,
    };
    let public_url = state.public_url.as_ref();
    let cookie = public_url.and_then(|public_url| session::cookie(&headers, public_url));
    let cookie = cookie.map(Arc::new);
    let of = Arc::clone(&state);
    let check: Check = Box::new(move || {
        let (state, cookie) = (Arc::clone(&of), cookie.clone());
        Box::pin(async move {
            let Some(cookie) = cookie else {
                return false;
            };
            if state.sessions.get(&cookie.hash(), Asks::Page).is_some() {
                return true;
            }
            let store = &state.api.store;
            match session::find(store, &state.sessions, &cookie, Asks::Page).await {
                Ok(found) => found.is_ok(),
                // The store does not answer: what is looked at says so itself.
                Err(_) => true,
            }
        })
    });
    let who = format!("session {}", visitor.session.id);
    let opened = stream::open(&state.api, visitor.tenant(), &who, wanted, check, message);
    opened.map_err(Fault::from)
}

fn message(change: &Change) -> Option<Message> {
    let message = match change {
        Change::Delivery { delivery, news } => {
            Message::default().event("delivery").json_data(json!({
                "id": DeliveryId(delivery.id.0).to_string(),
                "mark": mark(delivery),
                "new": *news == News::IsNew,
            }))
        }
        Change::Event(_) => Message::default().event("event").json_data(json!({})),
        Change::Subscription(id) => Message::default()
            .event("subscription")
            .json_data(json!({ "id": SubscriptionId(*id).to_string() })),
        // Whatever is new: a page shows how many there are.
        Change::Missed => Message::default().event("event").json_data(json!({})),
    };
    message.ok()
}
