//! Every column that holds what is encrypted. What is not here keeps the key before.

use tokio_postgres::Row;

use crate::api::idempotency;
use crate::event::SubscriptionId;
use crate::subscription::{headers, keys};

pub struct EncryptedColumn {
    pub table: &'static str,
    pub column: &'static str,
    pub(super) holds: Holds,
    /// The columns that say whose it is.
    pub(super) keys: &'static str,
    /// What it is encrypted for.
    pub(super) context: fn(&Row) -> Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    One,
    List,
}

pub const ENCRYPTED: [EncryptedColumn; 7] = [
    of_subscription("secret", Holds::One, secret),
    of_subscription("previous_secrets", Holds::List, secret),
    of_subscription("signing_key", Holds::One, signing_key),
    of_subscription("previous_signing_keys", Holds::List, signing_key),
    of_subscription("headers", Holds::One, |row| {
        headers::context(subscription(row))
    }),
    EncryptedColumn {
        table: "subscription_versions",
        column: "headers",
        holds: Holds::One,
        keys: "subscription_id",
        context: |row| headers::context(SubscriptionId(row.get("subscription_id"))),
    },
    EncryptedColumn {
        table: "idempotency_keys",
        column: "response",
        holds: Holds::One,
        keys: "tenant_id, key",
        context: |row| idempotency::context(row.get("tenant_id"), row.get("key")),
    },
];

const fn of_subscription(
    column: &'static str,
    holds: Holds,
    context: fn(&Row) -> Vec<u8>,
) -> EncryptedColumn {
    EncryptedColumn {
        table: "webhook_subscriptions",
        column,
        holds,
        keys: "id",
        context,
    }
}

fn subscription(row: &Row) -> SubscriptionId {
    SubscriptionId(row.get("id"))
}

fn secret(row: &Row) -> Vec<u8> {
    keys::secret_context(subscription(row))
}

fn signing_key(row: &Row) -> Vec<u8> {
    keys::signing_key_context(subscription(row))
}
