//! What each rule has made, by the hour, and which tenants were met: noted in memory once the
//! events are durable, and written every few seconds apart from the transactions that write
//! events, so that these wait for no lock on its tables. A crash loses what was noted since.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::group::Group;
use crate::db::Store;
use crate::episode::Episode;
use crate::tenant::{self, Seen};

/// How often they are written. Each time is a transaction of the store.
const PERIOD: Duration = Duration::from_secs(5);

/// What fails, for the log.
const RECORD: &str = "cannot record what rules have made and which tenants were met";

/// Of all sessions in which events are written.
#[derive(Default)]
pub struct Tallies {
    counts: Mutex<HashMap<Key, Count>>,
    tenants: Seen,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    rule: String,
    /// Unix hours, by the store's clock.
    hour: i64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    events: i64,
    parked: i64,
    last_event_at: Option<Timestamp>,
}

impl Tallies {
    /// The groups have committed, at this time of the store's clock.
    pub(crate) fn note(&self, groups: &[Group], at: Timestamp) {
        let mut counts = self.counts();
        for group in groups {
            add(&mut counts, group, at);
        }
        drop(counts);
        let events = groups.iter().flat_map(|group| &group.batch.events);
        self.tenants
            .meet(events.map(|event| &event.tenant_id), Instant::now());
    }

    /// Keeps the record until `stop`. What is noted afterwards, of events that were handed over
    /// already, is written by who hands them over.
    pub async fn record(
        &self,
        store: Store,
        slot: String,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut episode = Episode::default();
        loop {
            let sleeping = stop.run_until_cancelled(tokio::time::sleep(PERIOD));
            let stopping = sleeping.await.is_none();
            match self.write(&store, &slot).await {
                Ok(()) => episode.succeeded(RECORD),
                Err(error) => episode.failed(RECORD, &error),
            }
            if stopping {
                return Ok(());
            }
        }
    }

    /// Writes what there is. Each of them, whatever becomes of the other.
    pub(crate) async fn write(&self, store: &Store, slot: &str) -> anyhow::Result<()> {
        let counted = self.write_counts(store, slot).await;
        let met = self.write_tenants(store).await;
        counted.and(met)
    }

    async fn write_counts(&self, store: &Store, slot: &str) -> anyhow::Result<()> {
        let counts = std::mem::take(&mut *self.counts());
        if counts.is_empty() {
            return Ok(());
        }
        let written = write_counts(store, slot, &counts).await;
        if written.is_err() {
            self.put_back(counts);
        }
        written
    }

    async fn write_tenants(&self, store: &Store) -> anyhow::Result<()> {
        let met = self.tenants.met();
        if met.is_empty() {
            return Ok(());
        }
        let client = store.get().await.context("connect to the store")?;
        let tenants: Vec<&str> = met.iter().map(|tenant| &**tenant).collect();
        let seen = tenant::see(&*client, &tenants).await;
        seen.context("note tenants that are new")?;
        self.tenants.note(&met, Instant::now());
        Ok(())
    }

    /// What could not be written is tried again with what follows.
    fn put_back(&self, older: HashMap<Key, Count>) {
        let mut counts = self.counts();
        for (key, count) in older {
            counts.entry(key).or_default().add(count);
        }
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Key, Count>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Count {
    fn add(&mut self, more: Count) {
        self.events += more.events;
        self.parked += more.parked;
        self.last_event_at = self.last_event_at.max(more.last_event_at);
    }
}

async fn write_counts(
    store: &Store,
    slot: &str,
    counts: &HashMap<Key, Count>,
) -> anyhow::Result<()> {
    // In one order, so that two that write never wait for each other.
    let mut counts: Vec<(&Key, &Count)> = counts.iter().collect();
    counts.sort_unstable_by_key(|(key, _)| *key);
    let hour = |key: &Key| Timestamp::from_second(key.hour.saturating_mul(3600));
    let hours: Result<Vec<Timestamp>, _> = counts.iter().map(|(key, _)| hour(key)).collect();
    let rules: Vec<&str> = counts.iter().map(|(key, _)| key.rule.as_str()).collect();
    let events: Vec<i64> = counts.iter().map(|(_, count)| count.events).collect();
    let parked: Vec<i64> = counts.iter().map(|(_, count)| count.parked).collect();
    let last: Vec<Option<Timestamp>> = counts
        .iter()
        .map(|(_, count)| count.last_event_at)
        .collect();
    let hours = hours.context("read the hours")?;
    let client = store.get().await.context("connect to the store")?;
    let sql = include_str!("../../sql/queries/handoff/add_rule_stats.sql");
    let written = client
        .execute(sql, &[&slot, &rules, &hours, &events, &parked, &last])
        .await;
    written.map(drop).context("write what rules have made")
}

fn add(counts: &mut HashMap<Key, Count>, group: &Group, at: Timestamp) {
    let hour = at.as_second().div_euclid(3600);
    let key = |rule: &str| Key {
        rule: rule.to_owned(),
        hour,
    };
    // By the rules' places first: most groups have many events of few rules.
    let mut by_place: Vec<i64> = Vec::new();
    for event in &group.batch.events {
        let place = usize::from(event.position.rule_index);
        if by_place.len() <= place {
            by_place.resize(place + 1, 0);
        }
        by_place[place] += 1;
    }
    for (place, events) in by_place.into_iter().enumerate().filter(|(_, of)| *of > 0) {
        let place = u16::try_from(place).ok();
        if let Some(rule) = place.and_then(|place| group.rules.rule_name(place)) {
            counts.entry(key(rule)).or_default().add(Count {
                events,
                parked: 0,
                last_event_at: Some(at),
            });
        }
    }
    for change in &group.batch.parked {
        counts.entry(key(&change.rule)).or_default().parked += 1;
    }
}
