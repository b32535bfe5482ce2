//! What each rule has made, counted by the hour: events, and changes that were parked. Written in
//! transactions that write events anyway, every ten seconds at most, so that a rule costs none of
//! its events anything. A crash loses the counts since.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::group::Group;
use crate::conninfo::Queries;

/// How old counts become in memory while events come.
const PERIOD: Duration = Duration::from_secs(10);

/// Counts of what is durable that are not in the store yet.
#[derive(Default)]
pub(crate) struct RuleCounts(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    counts: HashMap<String, Count>,
    written_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    events: i64,
    parked: i64,
}

/// Counts that a transaction writes.
#[derive(Default)]
pub(crate) struct Due(HashMap<String, Count>);

impl RuleCounts {
    /// What is to be written with these groups; none where that was a moment ago.
    pub(crate) fn due(&self, groups: &[Group], now: Instant) -> Option<Due> {
        let memory = self.lock();
        let recently = |at: Instant| now.saturating_duration_since(at) < PERIOD;
        if memory.written_at.is_some_and(recently) {
            return None;
        }
        let mut counts = memory.counts.clone();
        drop(memory);
        add(&mut counts, groups);
        (!counts.is_empty()).then_some(Due(counts))
    }

    /// The groups have committed, and what was due with them.
    pub(crate) fn committed(&self, groups: &[Group], due: Option<&Due>, now: Instant) {
        let mut memory = self.lock();
        match due {
            Some(_) => {
                memory.counts.clear();
                memory.written_at = Some(now);
            }
            None => add(&mut memory.counts, groups),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Due {
    pub(crate) async fn write(&self, client: &impl Queries, slot: &str) -> anyhow::Result<()> {
        // In one order, so that two that write never wait for each other.
        let mut rules: Vec<(&String, &Count)> = self.0.iter().collect();
        rules.sort_unstable_by_key(|(rule, _)| *rule);
        let names: Vec<&str> = rules.iter().map(|(rule, _)| rule.as_str()).collect();
        let events: Vec<i64> = rules.iter().map(|(_, count)| count.events).collect();
        let parked: Vec<i64> = rules.iter().map(|(_, count)| count.parked).collect();
        let sql = include_str!("../../sql/queries/handoff/add_rule_stats.sql");
        let written = client
            .execute(sql, &[&slot, &names, &events, &parked])
            .await;
        written.map(drop).context("write what rules have made")
    }
}

fn add(counts: &mut HashMap<String, Count>, groups: &[Group]) {
    for group in groups {
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
                counts.entry(rule.to_owned()).or_default().events += events;
            }
        }
        for change in &group.batch.parked {
            counts.entry(change.rule.to_string()).or_default().parked += 1;
        }
    }
}
