//! Counts events whose tenant has neither a subscription nor an API token, and records some of
//! these tenants for the operator. An event of a tenant that is spelt otherwise than in its
//! subscription is not sent, and nothing else shows that.
//!
//! In most applications most tenants use no webhooks. Their number is not bounded; what is
//! remembered of them is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::db::Store;
use crate::episode::Episode;
use crate::event::Event;
use crate::log_limit::{Admitted, LogLimit};
use crate::metrics::METRICS;
use crate::subscription::directory::{Directory, Snapshot};
use crate::subscription::spellings::Spellings;

/// How often they are recorded. Each time is a transaction of the store, also where every
/// second event is of a tenant without a subscription.
const PERIOD: Duration = Duration::from_secs(5);

/// Tenants that are told apart until they are recorded: the store is asked for a token of
/// each. The events of others are counted together. As many again that resemble a tenant with
/// a subscription, as none of these should be missed.
const NAMED: usize = 1_000;

/// What fails, for the log.
const RECORD: &str = "cannot record tenants without subscriptions";

/// Of events that are durable. What is not recorded when the process ends is lost.
#[derive(Default)]
pub struct UnknownTenants(Mutex<Noted>);

#[derive(Default)]
struct Noted {
    named: HashMap<Arc<str>, Unknown>,
    others: Option<Unknown>,
    /// Of the tenants that have subscriptions.
    spellings: Arc<Spellings>,
    /// Of the subscriptions that the spellings are of.
    generation: i64,
}

/// Events of one tenant, or of all for which there was no room.
struct Unknown {
    /// A tenant with a subscription whose spelling alone differs.
    resembles: Option<Arc<str>>,
    /// Of the last event.
    event_type: Arc<str>,
    events: i64,
}

impl UnknownTenants {
    /// Where every tenant has a subscription this costs one look-up for each event.
    pub(crate) fn note(&self, events: &[Event], snapshot: &Snapshot) {
        let mut unknown = events
            .iter()
            .filter(|event| !snapshot.has_tenant(&event.tenant_id))
            .peekable();
        if unknown.peek().is_some() {
            let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            unknown.for_each(|event| noted.add(&event.tenant_id, &event.event_type, 1));
        }
    }

    /// Keeps the record until `stop`.
    pub async fn record(
        &self,
        store: Store,
        directory: Directory,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut episode = Episode::default();
        let mut limit = LogLimit::default();
        loop {
            let stopping = stop
                .run_until_cancelled(tokio::time::sleep(PERIOD))
                .await
                .is_none();
            let noted = self.take(&directory.snapshot());
            if noted.others.is_some() || !noted.named.is_empty() {
                log(&noted, &mut limit, Instant::now());
                match write(&store, &noted).await {
                    Ok(events) => {
                        episode.succeeded(RECORD);
                        METRICS.unknown_tenant_events.inc_by(events);
                    }
                    Err(error) => {
                        episode.failed(RECORD, &error);
                        self.put_back(noted);
                    }
                }
            }
            if stopping {
                return Ok(());
            }
        }
    }

    /// What was noted, compared with the tenants that have subscriptions by now.
    fn take(&self, snapshot: &Snapshot) -> Noted {
        let (spellings, generation) = {
            let noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            (Arc::clone(&noted.spellings), noted.generation)
        };
        let spellings = match generation == snapshot.generation {
            true => spellings,
            // Apart from the lock, which capture waits for.
            false => Arc::new(Spellings::of(snapshot.tenants().cloned())),
        };
        let empty = Noted {
            spellings: Arc::clone(&spellings),
            generation: snapshot.generation,
            ..Noted::default()
        };
        let mut noted = std::mem::replace(
            &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner),
            empty,
        );
        for (tenant, unknown) in &mut noted.named {
            unknown.resembles = spellings.similar(tenant).cloned();
        }
        noted
    }

    /// What could not be recorded is tried again with what follows.
    fn put_back(&self, noted: Noted) {
        let mut newer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (tenant, unknown) in &noted.named {
            newer.add(tenant, &unknown.event_type, unknown.events);
        }
        if let Some(others) = &noted.others {
            newer.add_other(&others.event_type, others.events);
        }
    }
}

impl Noted {
    fn add(&mut self, tenant: &Arc<str>, event_type: &Arc<str>, events: i64) {
        if let Some(unknown) = self.named.get_mut(tenant) {
            unknown.add(event_type, events);
            return;
        }
        let has_room = self.named.len() < NAMED
            || self.named.len() < 2 * NAMED && self.spellings.similar(tenant).is_some();
        match has_room {
            true => {
                let unknown = Unknown::of(event_type, events);
                self.named.insert(Arc::clone(tenant), unknown);
            }
            false => self.add_other(event_type, events),
        }
    }

    fn add_other(&mut self, event_type: &Arc<str>, events: i64) {
        match &mut self.others {
            Some(others) => others.add(event_type, events),
            None => self.others = Some(Unknown::of(event_type, events)),
        }
    }
}

impl Unknown {
    fn of(event_type: &Arc<str>, events: i64) -> Self {
        Unknown {
            resembles: None,
            event_type: Arc::clone(event_type),
            events,
        }
    }

    fn add(&mut self, event_type: &Arc<str>, events: i64) {
        self.events += events;
        if *event_type != self.event_type {
            self.event_type = Arc::clone(event_type);
        }
    }
}

/// Returns how many of the events are of tenants that have no token either.
async fn write(store: &Store, noted: &Noted) -> anyhow::Result<u64> {
    let mut tenants: Vec<&str> = Vec::with_capacity(noted.named.len());
    let mut resembles: Vec<Option<&str>> = Vec::with_capacity(noted.named.len());
    let mut types: Vec<&str> = Vec::with_capacity(noted.named.len());
    let mut events: Vec<i64> = Vec::with_capacity(noted.named.len());
    for (tenant, unknown) in &noted.named {
        tenants.push(tenant);
        resembles.push(unknown.resembles.as_deref());
        types.push(&unknown.event_type);
        events.push(unknown.events);
    }
    let others = noted.others.as_ref();
    let others_type = others.map(|others| &*others.event_type);
    let others = others.map_or(0, |others| others.events);
    let client = store.get().await.context("connect to the store")?;
    client
        .execute(
            include_str!("../../sql/queries/handoff/forget_unknown_tenants.sql"),
            &[],
        )
        .await
        .context("forget tenants that are known by now")?;
    let row = client
        .query_one(
            include_str!("../../sql/queries/handoff/note_unknown_tenants.sql"),
            &[&tenants, &resembles, &types, &events, &others, &others_type],
        )
        .await
        .context("record tenants without subscriptions")?;
    let events: i64 = row.try_get("events").context("count their events")?;
    Ok(u64::try_from(events).unwrap_or(0))
}

/// Only of what is most likely a mistake: that a tenant uses no webhooks is none.
fn log(noted: &Noted, limit: &mut LogLimit<Arc<str>>, now: Instant) {
    for (tenant, unknown) in &noted.named {
        if let Some(resembles) = &unknown.resembles
            && let Some(Admitted { repeated, others }) = limit.admit(Arc::clone(tenant), now)
        {
            tracing::warn!(
                tenant = &**tenant,
                subscribed_tenant = &**resembles,
                event_type = &*unknown.event_type,
                events = unknown.events,
                repeated,
                others,
                "events were not sent: their tenant differs in its spelling from one with a subscription"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_of_tenants_is_bounded_and_one_that_resembles_another_has_room() {
        let mut noted = Noted {
            spellings: Arc::new(Spellings::of([Arc::from("acme")].into_iter())),
            ..Noted::default()
        };
        let created: Arc<str> = Arc::from("order.created");
        for number in 0..3 * NAMED {
            noted.add(&Arc::from(number.to_string()), &created, 2);
        }
        assert_eq!(noted.named.len(), NAMED);
        let others = noted.others.as_ref().unwrap().events;
        assert_eq!(others, i64::try_from(4 * NAMED).unwrap());
        for _ in 0..2 {
            noted.add(&Arc::from("ACME"), &created, 1);
        }
        assert_eq!(noted.named["ACME"].events, 2);
        let spelt = |number: usize| format!("{}acme", " ".repeat(number));
        for number in 1..2 * NAMED {
            noted.add(&Arc::from(spelt(number)), &created, 1);
        }
        assert_eq!(noted.named.len(), 2 * NAMED);
    }
}
