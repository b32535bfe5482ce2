//! Subscriptions: which tenant wants which events, where, and signed with what.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use url::Url;
use uuid::Uuid;

use crate::event::SubscriptionId;
use crate::lsn::Lsn;
use crate::secret::{SigningKey, SigningSecret};

pub use batching::Batching;

pub mod batching;
pub mod directory;
pub mod headers;
pub mod history;
pub mod keys;
pub mod pause;
pub mod queries;
pub mod reading;
pub mod spellings;
pub mod wish;

/// A tenant's wish to receive events, with its secrets in the clear: lives in
/// memory only, and prints nothing of them.
#[derive(Clone)]
pub struct Subscription {
    pub id: SubscriptionId,
    /// Of its row: another one says that something of it has changed.
    pub row_version: i64,
    /// Of its settings, as `subscription_versions` counts them: kept with each attempt.
    pub version: i32,
    pub tenant_id: Arc<str>,
    pub url: String,
    /// Exact types, `prefix.*` or `*`.
    pub events: Vec<String>,
    pub filter: Option<String>,
    /// Sent along; they often hold credentials.
    pub headers: BTreeMap<String, String>,
    pub format: Format,
    /// Attempts in a second, at most.
    pub rate_limit: Option<NonZeroU32>,
    /// None where each event is sent by itself.
    pub batching: Option<Batching>,
    pub ordering: Ordering,
    /// It became ordered, and what was sent to it before has not all got its place yet.
    pub ordering_settled: bool,
    pub active: bool,
    /// Newest first; more than one while rotations overlap.
    pub secrets: Vec<Active<SigningSecret>>,
    /// Likewise; none where nothing but the secrets signs.
    pub signing_keys: Vec<Active<SigningKey>>,
    /// Receives what committed at or after this position.
    pub from_lsn: Lsn,
    pub created_at: Timestamp,
    /// Why nothing can be sent to it; its deliveries wait in the schedule.
    pub unreadable: Option<Arc<str>>,
}

/// Of headers the names alone: their values are credentials.
impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("id", &self.id)
            .field("tenant_id", &self.tenant_id)
            .field("url", &self.url)
            .field("events", &self.events)
            .field("filter", &self.filter)
            .field("headers", &self.headers.keys())
            .field("format", &self.format)
            .field("rate_limit", &self.rate_limit)
            .field("batching", &self.batching)
            .field("ordering", &self.ordering)
            .field("active", &self.active)
            .field("secrets", &self.secrets)
            .field("signing_keys", &self.signing_keys)
            .field("from_lsn", &self.from_lsn)
            .field("created_at", &self.created_at)
            .field("unreadable", &self.unreadable)
            .finish()
    }
}

impl Subscription {
    /// Whether its deliveries are never handed over in memory: which is to be sent next
    /// is decided in the store.
    pub fn goes_through_the_schedule(&self) -> bool {
        self.ordering == Ordering::Row || self.batching.is_some()
    }
}

/// The host of an endpoint, alone of its URL: path and query are often secret.
pub fn host(url: &str) -> String {
    let url = Url::parse(url).ok();
    let host = url.as_ref().and_then(Url::host_str);
    host.unwrap_or("(no URL)").to_owned()
}

/// A secret or a key that signs.
#[derive(Clone, Debug)]
pub struct Active<T> {
    pub key: T,
    /// Of a rotated one.
    pub expires_at: Option<Instant>,
}

impl<T> Active<T> {
    /// Those that sign at a time, in their order.
    pub fn at(keys: &[Self], now: Instant) -> Vec<&T> {
        let signs = |key: &&Self| key.expires_at.is_none_or(|expires| expires > now);
        keys.iter().filter(signs).map(|key| &key.key).collect()
    }
}

/// The shape of what is sent, fixed on the delivery when it is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Standard,
    /// CloudEvents 1.0, structured JSON.
    CloudEvents,
}

impl Format {
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Standard => "standard",
            Format::CloudEvents => "cloudevents",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "standard" => Some(Format::Standard),
            "cloudevents" => Some(Format::CloudEvents),
            _ => None,
        }
    }
}

/// What waits for what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ordering {
    #[default]
    None,
    /// A row's event for the row's earlier ones: until each has succeeded or was given up.
    Row,
}

impl Ordering {
    pub fn as_str(self) -> &'static str {
        match self {
            Ordering::None => "none",
            Ordering::Row => "row",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "none" => Some(Ordering::None),
            "row" => Some(Ordering::Row),
            _ => None,
        }
    }
}

/// The id of a replay; nil for the first delivery of an event.
pub type ReplayId = Uuid;
