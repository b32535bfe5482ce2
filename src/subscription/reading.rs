//! Rows of subscriptions, read one by one: what is wrong with one concerns that one alone.
//!
//! A subscription that cannot be read is not left out. It goes on to match events, so that
//! nothing that it should get is lost, and what it is to get waits in the schedule until the
//! row can be read.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use jiff::Timestamp;
use tokio_postgres::Row;
use url::Url;

use super::directory::Snapshot;
use super::headers::SealedHeaders;
use super::{Batching, Format, Ordering, Subscription, keys};
use crate::event::SubscriptionId;
use crate::lsn::Lsn;
use crate::secret::EncryptionKey;

/// Says why a filter does not compile.
pub type CheckFilter = fn(&str) -> Result<(), String>;

pub(super) struct Reader<'a> {
    pub(super) key: &'a EncryptionKey,
    pub(super) check_filter: CheckFilter,
    /// What was read before: a text that has not changed is not parsed again.
    pub(super) before: &'a Snapshot,
}

impl Reader<'_> {
    pub(super) fn read(&self, row: &Row, id: SubscriptionId, tenant_id: Arc<str>) -> Subscription {
        let known = self.before.get(id);
        let mut faults = Faults::of(id, known.and_then(|known| known.unreadable.as_deref()));
        let url: String = faults.take(row.try_get("url").context("read the URL"));
        let filter: Option<String> = faults.take(row.try_get("filter").context("read the filter"));
        let events: Vec<Option<String>> =
            faults.take(row.try_get("events").context("read the events"));
        if events.iter().any(Option::is_none) {
            faults.add(&anyhow!("one of the events is null"));
        }
        let sound = known.filter(|known| known.unreadable.is_none());
        if sound.is_none_or(|known| known.url != url) {
            faults.take(Url::parse(&url).map(drop).context("read the URL"));
        }
        let filter = match &filter {
            Some(text) if sound.is_none_or(|known| known.filter != filter) => {
                let compiled = (self.check_filter)(text);
                let compiled = compiled.map_err(|error| anyhow!("compile the filter: {error}"));
                // What it does not admit is not known: all waits.
                faults.take(compiled.map(|()| filter))
            }
            Some(_) | None => filter,
        };
        let secrets = keys::open_secrets(row, self.key, id);
        let secrets =
            faults.take(secrets.context("decrypt the secret; rotating it gives it a new one"));
        let signing_keys = keys::open_signing_keys(row, self.key, id);
        let signing_keys = faults.take(signing_keys.context("decrypt the signing key"));
        let headers: BTreeMap<String, String> = faults.take(self.headers(row, id));
        let format: Option<Format> = faults.take(format(row).map(Some));
        let ordering = faults.take(ordering(row));
        // Of when it was created only people want to know.
        let created_at = row.try_get("created_at").unwrap_or(Timestamp::UNIX_EPOCH);
        // Where it cannot be told from when on it receives, it receives.
        let from_lsn: Lsn = faults.take(row.try_get("from_lsn").context("read from_lsn"));
        Subscription {
            id,
            row_version: row.get("row_version"),
            version: row.get("version"),
            tenant_id,
            url,
            events: events.into_iter().flatten().collect(),
            filter,
            headers,
            format: format.unwrap_or(Format::Standard),
            rate_limit: rate_limit(row.get("rate_limit")),
            batching: Batching::of(row),
            ordering,
            ordering_settled: row.get("ordering_settled"),
            active: row.get("active"),
            secrets,
            signing_keys,
            from_lsn,
            created_at,
            unreadable: faults.reason.map(Arc::from),
        }
    }

    fn headers(&self, row: &Row, id: SubscriptionId) -> anyhow::Result<BTreeMap<String, String>> {
        let headers = SealedHeaders::from_stored(row.try_get("headers")?);
        headers
            .open(self.key, id)
            .context("read the headers; setting them again replaces them")
    }
}

fn format(row: &Row) -> anyhow::Result<Format> {
    let text: &str = row.try_get("format")?;
    Format::parse(text).with_context(|| format!("`{text}` is not a format"))
}

fn ordering(row: &Row) -> anyhow::Result<Ordering> {
    let text: &str = row.try_get("ordering")?;
    Ordering::parse(text).with_context(|| format!("`{text}` is not an ordering"))
}

/// The table admits no other numbers.
fn rate_limit(per_second: Option<i32>) -> Option<NonZeroU32> {
    NonZeroU32::new(u32::try_from(per_second?).ok()?)
}

/// What is wrong with a row: the first of it.
struct Faults<'a> {
    id: SubscriptionId,
    /// What was wrong with it before: it is logged once.
    before: Option<&'a str>,
    reason: Option<String>,
}

impl<'a> Faults<'a> {
    fn of(id: SubscriptionId, before: Option<&'a str>) -> Self {
        Faults {
            id,
            before,
            reason: None,
        }
    }

    fn take<T: Default>(&mut self, read: anyhow::Result<T>) -> T {
        read.unwrap_or_else(|error| {
            self.add(&error);
            T::default()
        })
    }

    fn add(&mut self, error: &anyhow::Error) {
        if self.reason.is_some() {
            return;
        }
        let reason = format!("{error:#}");
        if self.before != Some(&reason) {
            tracing::error!(
                subscription = %self.id,
                reason,
                "a subscription cannot be read: its deliveries wait until it can"
            );
        }
        self.reason = Some(reason);
    }
}
