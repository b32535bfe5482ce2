//! A delivery as a command for a terminal: signed for the moment, without the secret.

use std::sync::Arc;

use askama::Template;
use axum::extract::State as AxumState;
use axum::response::Response;
use jiff::Timestamp;

use super::{Found, content_type};
use crate::api::error::Problem;
use crate::api::extract::PathId;
use crate::conninfo::Transaction;
use crate::console::State;
use crate::console::fault::{Fault, retention_days};
use crate::console::shell::{Place, Shell, Visitor, page};
use crate::db::tenant_transaction;
use crate::delivery::listing::DeliveryId;
use crate::delivery::signature::sign;
use crate::event::SubscriptionId;
use crate::secret::{EncryptionKey, SigningSecret};
use crate::subscription::keys::secret_context;

#[derive(Template)]
#[template(path = "curl.html")]
struct Page {
    shell: Shell,
    id: String,
    command: String,
    custom_headers: bool,
}

/// The page with the command.
pub async fn curl(
    AxumState(state): AxumState<Arc<State>>,
    visitor: Visitor,
    id: PathId,
) -> Result<Response, Fault> {
    let days = retention_days(state.api.settings.retention());
    let not_found = || Fault::not_found("delivery", &id.0, days);
    let delivery: DeliveryId = id.0.parse().map_err(|_| not_found())?;
    let mut client = state.api.store.get().await?;
    let transaction = tenant_transaction(&mut client, visitor.tenant()).await?;
    let found = Found::read(&transaction, delivery, None).await?;
    let found = found.ok_or_else(not_found)?;
    let gone = |detail: &str| {
        let status = axum::http::StatusCode::CONFLICT;
        Fault::new(status, "not_sendable", "There is nothing to copy", detail)
            .with_next(format!("/console/deliveries/{delivery}"), "Back to it")
    };
    let Some(endpoint) = &found.endpoint else {
        return Err(gone("Its endpoint is deleted, and the secret with it."));
    };
    let Some(body) = &found.body else {
        return Err(gone("Its event's retention has ended."));
    };
    let secret = secret(&transaction, &state.api.key, endpoint.id).await?;
    let now = Timestamp::now().as_second();
    let event = found.delivery.event_id.to_string();
    let signed = sign(&event, now, body, &[&secret], &[]);
    let custom = endpoint.headers.open(&state.api.key, endpoint.id);
    let custom: Vec<String> = custom.map_or_else(
        |_| Vec::new(),
        |headers| {
            headers
                .into_keys()
                .map(|name| format!("{name}: …"))
                .collect()
        },
    );
    let ours = [
        format!("content-type: {}", content_type(&found.delivery.format)),
        format!("webhook-id: {event}"),
        format!("webhook-timestamp: {now}"),
        format!("webhook-signature: {}", signed.webhook_signature),
        format!("x-webhook-signature: {}", signed.x_webhook_signature),
    ];
    let mut command = format!("curl -i {}", quoted(&endpoint.url));
    for header in ours.iter().chain(&custom) {
        command.push_str(&format!(" \\\n  -H {}", quoted(header)));
    }
    let body = String::from_utf8_lossy(body);
    command.push_str(&format!(" \\\n  --data-binary {}", quoted(&body)));
    let shell = visitor.shell(Place::Deliveries, "Copy as curl");
    page(&Page {
        shell,
        id: delivery.to_string(),
        command,
        custom_headers: !custom.is_empty(),
    })
}

/// The newest secret of an endpoint of the transaction's tenant.
async fn secret(
    transaction: &Transaction<'_>,
    key: &EncryptionKey,
    id: SubscriptionId,
) -> Result<SigningSecret, Fault> {
    let unreadable = || {
        Fault::from(Problem::conflict(
            "unreadable_secret",
            "the endpoint's secret cannot be decrypted: rotate it",
        ))
    };
    let row = transaction
        .query_one(
            include_str!("../../../sql/queries/console/get_secret.sql"),
            &[&id.0],
        )
        .await?;
    let opened = key.decrypt(row.get("secret"), &secret_context(id));
    let opened = secrecy::zeroize::Zeroizing::new(opened.map_err(|_| unreadable())?);
    let text = std::str::from_utf8(&opened).map_err(|_| unreadable())?;
    SigningSecret::parse(text).map_err(|_| unreadable())
}

/// A word of a POSIX shell that stands for exactly this.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_stays_one_word() {
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's $(rm -rf /)"), r"'it'\''s $(rm -rf /)'");
    }
}
