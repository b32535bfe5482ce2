//! Sends stored events again, and tests: new deliveries, due now.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};
use uuid::Uuid;

use super::cause::Cause;
use super::manual::{BATCH, ManualError, limit_statements, notify, took_too_long};
use crate::conninfo::{Queries, Transaction};
use crate::db::{Store, tenant_transaction};
use crate::event::{DeliveryId, EventId, SubscriptionId, id_floor, id_milliseconds, milliseconds};
use crate::lsn::Lsn;
use crate::subscription::ReplayId;
use crate::subscription::queries::StoredSubscription;

mod one;

pub use one::{TestEvent, newest_of_type, send_event, send_test};

/// Where a filter must see the bodies, which may have 256 KiB each.
const BATCH_WITH_BODIES: i64 = 100;

/// Which stored events to send again.
pub struct Replay<'a> {
    pub subscription: &'a StoredSubscription,
    /// Committed from here …
    pub since: Timestamp,
    /// … up to, not including, here; none: all that is stored when it begins, whatever the
    /// source's clock said.
    pub until: Option<Timestamp>,
    /// Committed at or after this position in the WAL …
    pub from_lsn: Option<Lsn>,
    /// … up to, and with, this one.
    pub to_lsn: Option<Lsn>,
    /// Of these types only: exact, `prefix.*` or `*`.
    pub types: &'a [String],
    /// Evaluates a filter's source over an event's body.
    pub matches: fn(&str, &[u8]) -> Result<bool, String>,
}

/// What a batch of a replay found.
#[derive(Default)]
pub(super) struct ReplayedBatch {
    pub(super) events: Vec<EventId>,
    /// Events on which the filter failed: it then never matches.
    pub(super) filter_failures: u64,
    /// The last event that was looked at: the next one is above it.
    pub(super) last: Uuid,
}

/// What a replay would send.
#[derive(Clone, Debug, Default)]
pub struct ReplayEstimate {
    pub matching: u64,
    /// Events on which the filter fails: it then never matches.
    pub filter_failures: u64,
    pub oldest: Option<EventId>,
    /// The newest few.
    pub sample: Vec<EventId>,
}

/// Events that an estimate shows.
const SAMPLE: usize = 5;

impl Replay<'_> {
    /// The ids of the events that it looks at: above the first, below the second. None where
    /// there are no events at all. Wants the owner's connection.
    pub async fn range(&self, client: &impl Queries) -> Result<Option<(Uuid, Uuid)>, Error> {
        let to = match self.until {
            // An id holds whole milliseconds: the bounds to the microsecond are the query's.
            Some(until) => id_floor(milliseconds(until).saturating_add(1)),
            None => {
                let sql = include_str!("../../sql/queries/delivery/newest_event_id.sql");
                let Some(newest) = client.query_opt(sql, &[]).await? else {
                    return Ok(None);
                };
                // To the end of its millisecond, in which its deliveries' ids are too.
                id_floor(id_milliseconds(newest.get(0)).saturating_add(1))
            }
        };
        Ok(Some((id_floor(milliseconds(self.since)), to)))
    }

    /// What there is to send, of the events between two ids (see [`Replay::range`]), however long
    /// it takes.
    pub async fn estimate(
        &self,
        store: &Store,
        tenant: &str,
        range: (Uuid, Uuid),
    ) -> Result<ReplayEstimate, ManualError> {
        let estimate = self.estimate_within(store, tenant, range, Duration::MAX);
        Ok(estimate.await?.unwrap_or_default())
    }

    /// As [`Self::estimate`]; none where it takes longer than that.
    pub async fn estimate_within(
        &self,
        store: &Store,
        tenant: &str,
        (mut after, to): (Uuid, Uuid),
        limit: Duration,
    ) -> Result<Option<ReplayEstimate>, ManualError> {
        let mut estimate = ReplayEstimate::default();
        let mut client = store.get().await?;
        let began = Instant::now();
        loop {
            let transaction = tenant_transaction(&mut client, tenant).await?;
            if limit < Duration::MAX {
                let left = limit.saturating_sub(began.elapsed());
                if left.is_zero() {
                    return Ok(None);
                }
                limit_statements(&transaction, left).await?;
            }
            let found = match self.find(&transaction, after, to, BATCH).await {
                Err(error) if limit < Duration::MAX && took_too_long(&error) => return Ok(None),
                found => found?,
            };
            transaction.rollback().await?;
            let Some((batch, _)) = found else {
                return Ok(Some(estimate));
            };
            after = batch.last;
            estimate.matching += batch.events.len() as u64;
            estimate.filter_failures += batch.filter_failures;
            estimate.oldest = estimate.oldest.or(batch.events.first().copied());
            estimate
                .sample
                .extend(batch.events.iter().rev().take(SAMPLE).rev());
            let surplus = estimate.sample.len().saturating_sub(SAMPLE);
            estimate.sample.drain(..surplus);
        }
    }

    /// Creates the deliveries of the next events, at most so many, due now.
    pub(super) async fn send_batch(
        &self,
        transaction: &Transaction<'_>,
        (schema, tenant): (&str, &str),
        (id, cause): (ReplayId, Cause),
        (after, to): (Uuid, Uuid),
        limit: i64,
    ) -> Result<Option<ReplayedBatch>, Error> {
        let Some((found, deliveries)) = self.find(transaction, after, to, limit).await? else {
            return Ok(None);
        };
        let mut batch = NewDeliveries::default();
        for row in &deliveries {
            let position = Position {
                commit_lsn: row.get("commit_lsn"),
                ordinal: row.get("ordinal"),
                rule_index: row.get("rule_index"),
            };
            batch.push(
                self.subscription.id,
                id,
                EventId(row.get("id")),
                row.get("event_type"),
                &position,
                row.get("row_key"),
            );
            batch.body_bytes.push(row.get("body_bytes"));
        }
        if !batch.ids.is_empty() {
            batch
                .insert(transaction, tenant, self.subscription, Some(id), cause)
                .await?;
            notify(transaction, schema).await?;
        }
        Ok(Some(found))
    }

    /// The next events that match, and their rows; none where there are no more events.
    async fn find(
        &self,
        transaction: &Transaction<'_>,
        after: Uuid,
        to: Uuid,
        limit: i64,
    ) -> Result<Option<(ReplayedBatch, Vec<Row>)>, Error> {
        let filter = self.subscription.filter.as_deref();
        let limit = match filter {
            Some(_) => limit.min(BATCH_WITH_BODIES),
            None => limit,
        };
        let subscribed = like(&self.subscription.events);
        let types = like(self.types);
        let until = self.until.unwrap_or(Timestamp::MAX);
        let rows = transaction
            .query(
                include_str!("../../sql/queries/delivery/list_replayable_events.sql"),
                &[
                    &after as &(dyn ToSql + Sync),
                    &to,
                    &self.since,
                    &until,
                    &subscribed,
                    &types,
                    &filter.is_some(),
                    &limit,
                    &self.from_lsn,
                    &self.to_lsn,
                    &id_floor(id_milliseconds(after)),
                ],
            )
            .await?;
        let Some(last) = rows.last() else {
            return Ok(None);
        };
        let mut found = ReplayedBatch {
            last: last.get("id"),
            ..ReplayedBatch::default()
        };
        let mut wanted = Vec::new();
        for row in rows.into_iter().filter(|row| row.get("wanted")) {
            if let (Some(filter), Some(body)) = (filter, row.get::<_, Option<&[u8]>>("body")) {
                match (self.matches)(filter, body) {
                    Ok(true) => {}
                    Ok(false) => continue,
                    Err(_) => {
                        found.filter_failures += 1;
                        continue;
                    }
                }
            }
            found.events.push(EventId(row.get("id")));
            wanted.push(row);
        }
        Ok(Some((found, wanted)))
    }
}

/// Types (exact, `prefix.*` or `*`) as patterns of SQL's LIKE.
fn like(types: &[String]) -> Vec<String> {
    let escape = |text: &str| {
        let text = text.replace('\\', r"\\");
        text.replace('%', r"\%").replace('_', r"\_")
    };
    let pattern = |one: &String| match one.strip_suffix('*') {
        Some(prefix) if prefix.is_empty() || prefix.ends_with('.') => escape(prefix) + "%",
        _ => escape(one),
    };
    types.iter().map(pattern).collect()
}

#[derive(Default)]
struct Position {
    commit_lsn: Lsn,
    ordinal: i64,
    rule_index: i16,
}

/// Rows to insert, as the columns that `unnest` takes.
#[derive(Default)]
struct NewDeliveries {
    ids: Vec<Uuid>,
    events: Vec<Uuid>,
    types: Vec<String>,
    commit_lsns: Vec<Lsn>,
    ordinals: Vec<i64>,
    rule_indexes: Vec<i16>,
    row_keys: Vec<String>,
    /// Pushed apart.
    body_bytes: Vec<i32>,
    /// How long they count as having waited for their batch.
    age: Duration,
}

impl NewDeliveries {
    fn push(
        &mut self,
        subscription: SubscriptionId,
        replay: ReplayId,
        event: EventId,
        event_type: &str,
        position: &Position,
        row_key: &str,
    ) {
        self.ids
            .push(DeliveryId::derive(event, subscription.0, replay).0);
        self.events.push(event.0);
        self.types.push(event_type.to_owned());
        self.commit_lsns.push(position.commit_lsn);
        self.ordinals.push(position.ordinal);
        self.rule_indexes.push(position.rule_index);
        self.row_keys.push(row_key.to_owned());
    }

    /// Inserts the deliveries and schedules them, due now or in the next batch.
    async fn insert(
        &self,
        transaction: &Transaction<'_>,
        tenant: &str,
        subscription: &StoredSubscription,
        replay: Option<ReplayId>,
        cause: Cause,
    ) -> Result<(), Error> {
        transaction
            .execute(
                include_str!("../../sql/queries/delivery/insert_replayed_deliveries.sql"),
                &[
                    &self.ids,
                    &self.events,
                    &self.types,
                    &subscription.id.0,
                    &tenant,
                    &subscription.format,
                    &replay,
                ],
            )
            .await?;
        let batched = subscription.batching.is_some();
        let body_bytes = self
            .body_bytes
            .iter()
            .map(|bytes| batched.then_some(*bytes));
        transaction
            .execute(
                include_str!("../../sql/queries/delivery/schedule_replayed_deliveries.sql"),
                &[
                    &self.ids,
                    &self.types,
                    &self.commit_lsns,
                    &self.ordinals,
                    &self.rule_indexes,
                    &self.row_keys,
                    &subscription.id.0,
                    &tenant,
                    &body_bytes.collect::<Vec<_>>(),
                    &self.age.as_secs_f64(),
                    &cause.trigger.stored(),
                    &cause.actor,
                ],
            )
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_patterns_in_which_nothing_else_is_a_wildcard() {
        let types = ["*", "sales_order.*", "a%b.c_d", r"a\b", "a*"].map(str::to_owned);
        let patterns = like(&types);
        assert_eq!(
            patterns,
            ["%", r"sales\_order.%", r"a\%b.c\_d", r"a\\b", "a*"]
        );
    }
}
