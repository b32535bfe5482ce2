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
use super::session;
use super::shell::Visitor;
use crate::api::stream::hub::{Change, News};
use crate::api::stream::{self, Message, Wanted};
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
    let check = session::check(&state, &headers);
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
