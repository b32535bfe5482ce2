//! Since when endpoints have done nothing but fail, and the end of those that have for
//! too long: five days, unless configured otherwise. The store keeps it, this memory
//! spares asking: nearly every result is a success of an endpoint that is well.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use tokio_postgres::{Client, GenericClient};
use uuid::Uuid;

use super::operational::Notice;
use super::recorder::Record;
use crate::event::SubscriptionId;
use crate::metrics::METRICS;

/// How old the memory may be: other instances send too.
const REFRESH: Duration = Duration::from_secs(60);

#[derive(Default)]
pub struct Health {
    failing: Mutex<Failing>,
}

#[derive(Default)]
struct Failing {
    since: HashMap<SubscriptionId, Timestamp>,
    loaded: Option<Instant>,
}

/// What a batch of results says of its endpoints, where it is news.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Failed now and not before.
    began: HashMap<SubscriptionId, Timestamp>,
    /// Has failed for too long, as far as this memory knows.
    exhausted: Vec<Uuid>,
    /// Answered 410.
    gone: Vec<Uuid>,
}

impl Judgement {
    /// Whether anybody may be disabled by it.
    pub fn is_grave(&self) -> bool {
        !self.exhausted.is_empty() || !self.gone.is_empty()
    }
}

impl Health {
    /// Whether a success of this endpoint is news, to be recorded by [`Health::recovered`].
    pub fn is_failing(&self, id: SubscriptionId) -> bool {
        self.failing().since.contains_key(&id)
    }

    /// Reads who is failing, where this memory is new or old.
    pub async fn refresh(&self, client: &Client) -> anyhow::Result<()> {
        let fresh = |loaded: Instant| loaded.elapsed() < REFRESH;
        if self.failing().loaded.is_some_and(fresh) {
            return Ok(());
        }
        let rows = client
            .query(
                include_str!("../../sql/queries/list_failing_subscriptions.sql"),
                &[],
            )
            .await
            .context("list the subscriptions whose endpoint fails")?;
        let since = rows
            .iter()
            .map(|row| (SubscriptionId(row.get(0)), row.get(1)));
        *self.failing() = Failing {
            since: since.collect(),
            loaded: Some(Instant::now()),
        };
        Ok(())
    }

    /// Judges the failures among results; `disable_after` is none where failing ends nobody.
    pub fn judge(&self, records: &[Record], disable_after: Option<Duration>) -> Judgement {
        let mut judgement = Judgement::default();
        let failing = self.failing();
        for record in records {
            let id = record.delivery.subscription_id;
            let Some(outcome) = record.outcome.as_ref().filter(|one| !one.is_success()) else {
                continue;
            };
            if outcome.http_status == Some(410) {
                judgement.gone.push(id.0);
                continue;
            }
            match (failing.since.get(&id), disable_after) {
                (None, _) => {
                    judgement.began.entry(id).or_insert(outcome.started_at);
                }
                (Some(since), Some(limit)) if lasted(*since, outcome.started_at) >= limit => {
                    judgement.exhausted.push(id.0);
                }
                (Some(_), _) => {}
            }
        }
        judgement
    }

    /// Notes who began to fail.
    pub async fn note(&self, client: &Client, judgement: &Judgement) -> anyhow::Result<()> {
        if judgement.began.is_empty() {
            return Ok(());
        }
        let (ids, since): (Vec<Uuid>, Vec<Timestamp>) =
            judgement.began.iter().map(|(id, at)| (id.0, *at)).unzip();
        let rows = client
            .query(
                include_str!("../../sql/queries/mark_failing_subscriptions.sql"),
                &[&ids, &since],
            )
            .await
            .context("note whose endpoint fails")?;
        let noted = rows
            .iter()
            .map(|row| (SubscriptionId(row.get(0)), row.get(1)));
        self.failing().since.extend(noted);
        Ok(())
    }

    /// Notes who has succeeded after having failed.
    pub async fn recovered(&self, client: &Client, ids: &[SubscriptionId]) -> anyhow::Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let uuids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        client
            .execute(
                include_str!("../../sql/queries/clear_failing_subscriptions.sql"),
                &[&uuids],
            )
            .await
            .context("note whose endpoint has recovered")?;
        let mut failing = self.failing();
        failing.since.retain(|id, _| !ids.contains(id));
        Ok(())
    }

    fn failing(&self) -> MutexGuard<'_, Failing> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Disables the subscriptions that are gone or have failed for too long, parks their
/// deliveries, and says what their tenants are to be told.
pub async fn disable(
    client: &impl GenericClient,
    judgement: &Judgement,
    disable_after: Option<Duration>,
    now: Timestamp,
) -> anyhow::Result<Vec<Notice>> {
    let mut disabled = Vec::new();
    if !judgement.gone.is_empty() {
        let sql = include_str!("../../sql/queries/disable_gone_subscriptions.sql");
        let rows = client.query(sql, &[&judgement.gone]).await;
        let rows = rows.context("disable subscriptions whose endpoint is gone")?;
        disabled.extend(rows.into_iter().map(|row| ("gone", row)));
    }
    if let (false, Some(limit)) = (judgement.exhausted.is_empty(), disable_after) {
        let before = now.saturating_sub(SignedDuration::try_from(limit).unwrap_or_default());
        let before = before.unwrap_or(Timestamp::MIN);
        let sql = include_str!("../../sql/queries/disable_failing_subscriptions.sql");
        let rows = client.query(sql, &[&judgement.exhausted, &before]).await;
        let rows = rows.context("disable subscriptions whose endpoint keeps failing")?;
        disabled.extend(rows.into_iter().map(|row| ("failing", row)));
    }
    let ids: Vec<Uuid> = disabled.iter().map(|(_, row)| row.get(0)).collect();
    client
        .execute(include_str!("../../sql/queries/park_disabled.sql"), &[&ids])
        .await
        .context("park the deliveries of disabled subscriptions")?;
    let notices = disabled.iter().map(|(cause, row)| {
        let subscription = SubscriptionId(row.get(0));
        let reason: &str = row.get(2);
        tracing::warn!(%subscription, reason, "disabled a subscription");
        METRICS
            .subscriptions_disabled
            .with_label_values(&[*cause])
            .inc();
        Notice::disabled(row.get(1), subscription, reason)
    });
    Ok(notices.collect())
}

fn lasted(since: Timestamp, now: Timestamp) -> Duration {
    now.duration_since(since).try_into().unwrap_or_default()
}
