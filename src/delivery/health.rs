//! Since when endpoints have done nothing but fail, and the end of those that have for
//! too long: five days, unless configured otherwise. The store keeps it, this memory
//! spares asking: nearly every result is a success of an endpoint that is well.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::json;
use tokio_postgres::Row;
use uuid::Uuid;

use super::endpoint_log::EndpointLog;
use super::operational::Notice;
use super::recorder::Record;
use crate::audit::{Caller, Entry};
use crate::conninfo::{Client, Queries};
use crate::event::SubscriptionId;
use crate::metrics::METRICS;
use crate::subscription::directory::Snapshot;
use crate::subscription::queries::{self, Disabled, Disabling};

/// How old the memory may be: other instances send too.
const REFRESH: Duration = Duration::from_secs(60);

#[derive(Default)]
pub struct Health {
    failing: Mutex<Failing>,
    pub log: EndpointLog,
}

#[derive(Default)]
struct Failing {
    since: HashMap<SubscriptionId, Since>,
    /// Have failed, which is not recorded yet, and not succeeded since.
    news: HashSet<SubscriptionId>,
    loaded: Option<Instant>,
}

/// Since when an endpoint fails, by the store's clock: so long before the store was asked.
#[derive(Clone, Copy, Debug)]
pub struct Since {
    age: Duration,
    asked_at: Instant,
}

/// What a batch of results says of its endpoints, where it is news.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Failed now and not before.
    began: HashMap<SubscriptionId, FirstFailure>,
    /// Has failed for too long, as far as this memory knows.
    exhausted: Vec<Uuid>,
    /// Answered 410.
    gone: Vec<Uuid>,
}

#[derive(Debug, PartialEq, Eq)]
struct FirstFailure {
    at: Instant,
    /// The class of the error, and what was wrong.
    reason: String,
}

impl Judgement {
    /// Whether anybody may be disabled by it.
    pub fn is_grave(&self) -> bool {
        !self.exhausted.is_empty() || !self.gone.is_empty()
    }
}

impl Health {
    /// Hears of a result before it is recorded, perhaps long before; answers whether it is
    /// a recovery, to be recorded by [`recovered`].
    pub fn hear(&self, record: &Record) -> bool {
        let id = record.delivery.subscription_id;
        let mut failing = self.failing();
        match &record.outcome {
            Some(outcome) if outcome.is_success() => {
                failing.news.remove(&id) | failing.since.contains_key(&id)
            }
            // Who is gone does not begin to fail: see `judge`.
            Some(outcome)
                if outcome.http_status != Some(410) && !failing.since.contains_key(&id) =>
            {
                failing.news.insert(id);
                false
            }
            _ => false,
        }
    }

    /// Reads who is failing, where this memory is new or old.
    pub async fn refresh(&self, client: &Client) -> anyhow::Result<()> {
        let fresh = |loaded: Instant| loaded.elapsed() < REFRESH;
        if self.failing().loaded.is_some_and(fresh) {
            return Ok(());
        }
        let rows = client
            .query(
                include_str!("../../sql/queries/delivery/list_failing_subscriptions.sql"),
                &[],
            )
            .await
            .context("list the subscriptions whose endpoint fails")?;
        let since = rows
            .iter()
            .map(|row| (SubscriptionId(row.get(0)), Since::of(row)));
        let mut failing = self.failing();
        failing.since = since.collect();
        failing.loaded = Some(Instant::now());
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
                // Otherwise it has succeeded since.
                (None, _) if failing.news.contains(&id) => {
                    let first = || FirstFailure {
                        at: outcome.began,
                        reason: outcome.reason(),
                    };
                    judgement.began.entry(id).or_insert_with(first);
                }
                (Some(since), Some(limit)) if since.lasted(outcome.began) >= limit => {
                    judgement.exhausted.push(id.0);
                }
                _ => {}
            }
        }
        judgement
    }

    /// Takes over what has been noted of a batch, once that is committed.
    pub fn learn(
        &self,
        judgement: &Judgement,
        failing: Vec<(SubscriptionId, Since)>,
        recovered: &[SubscriptionId],
        subscriptions: &Snapshot,
    ) {
        for (id, since) in &failing {
            let first = judgement.began.get(id);
            let first = first.filter(|first| since.began_with(first));
            if let (Some(first), Some(subscription)) = (first, subscriptions.get(*id)) {
                self.log.began_to_fail(subscription, &first.reason);
            }
        }
        let mut known = self.failing();
        known.news.retain(|id| !judgement.began.contains_key(id));
        known.since.extend(failing);
        known.since.retain(|id, _| !recovered.contains(id));
    }

    fn failing(&self) -> MutexGuard<'_, Failing> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes who began to fail; answers since when each fails, by what the store knows.
pub async fn note(
    client: &impl Queries,
    judgement: &Judgement,
) -> anyhow::Result<Vec<(SubscriptionId, Since)>> {
    if judgement.began.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Uuid> = judgement.began.keys().map(|id| id.0).collect();
    let first = || judgement.began.values();
    let ago: Vec<f64> = first().map(|one| one.at.elapsed().as_secs_f64()).collect();
    let reasons: Vec<&str> = first().map(|one| one.reason.as_str()).collect();
    let rows = client
        .query(
            include_str!("../../sql/queries/delivery/mark_failing_subscriptions.sql"),
            &[&ids, &ago, &reasons],
        )
        .await
        .context("note whose endpoint fails")?;
    let noted = rows
        .iter()
        .map(|row| (SubscriptionId(row.get(0)), Since::of(row)));
    Ok(noted.collect())
}

/// Notes who has succeeded after having failed.
pub async fn recovered(client: &impl Queries, ids: &[SubscriptionId]) -> anyhow::Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let uuids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    client
        .execute(
            include_str!("../../sql/queries/delivery/clear_failing_subscriptions.sql"),
            &[&uuids],
        )
        .await
        .context("note whose endpoint has recovered")?;
    Ok(())
}

/// Disables the subscriptions that are gone or have failed for too long, and says what their
/// tenants are to be notified of. Their pending deliveries are parked soon after.
pub async fn disable(
    client: &impl Queries,
    judgement: &Judgement,
    disable_after: Option<Duration>,
) -> anyhow::Result<Vec<Notice>> {
    let gone = Disabling::Because("the endpoint answered 410 Gone");
    let causes = [
        ("gone", &judgement.gone, Some(gone)),
        (
            "failing",
            &judgement.exhausted,
            disable_after.map(Disabling::FailingFor),
        ),
    ];
    let mut disabled = Vec::new();
    for (cause, ids, disabling) in causes {
        if let Some(disabling) = disabling.filter(|_| !ids.is_empty()) {
            let found = queries::disable(client, ids, disabling).await;
            let found = found.with_context(|| format!("disable subscriptions: {cause}"))?;
            for one in &found {
                enter(client, one).await?;
            }
            disabled.extend(found.into_iter().map(|one| (cause, one)));
        }
    }
    let notices = disabled.into_iter().map(|(cause, one)| {
        let (subscription, reason) = (one.id, one.reason.as_str());
        tracing::warn!(%subscription, reason, "disabled a subscription");
        METRICS
            .subscriptions_disabled
            .with_label_values(&[cause])
            .inc();
        Notice::disabled(one.tenant_id, subscription, reason)
    });
    Ok(notices.collect())
}

/// That walhook has disabled it, in the audit log.
async fn enter(client: &impl Queries, disabled: &Disabled) -> anyhow::Result<()> {
    let entry = Entry {
        tenant: Some(&disabled.tenant_id),
        action: "subscription.disable",
        object: Some(disabled.id.to_string()),
        before: Some(json!({"active": true})),
        after: Some(json!({"active": false, "disabled_reason": disabled.reason})),
        ..Entry::default()
    };
    let entered = Caller::walhook().change().enter(client, &entry).await;
    entered.context("write the audit log")
}

impl Since {
    /// Of a row that says it second, in seconds.
    fn of(row: &Row) -> Self {
        let seconds: f64 = row.get(1);
        Since {
            age: Duration::try_from_secs_f64(seconds).unwrap_or_default(),
            asked_at: Instant::now(),
        }
    }

    /// Whether it is the failure that it began with: another instance may have seen one before.
    fn began_with(&self, first: &FirstFailure) -> bool {
        const ROUNDING: Duration = Duration::from_millis(100);
        self.age <= self.asked_at.saturating_duration_since(first.at) + ROUNDING
    }

    fn lasted(&self, until: Instant) -> Duration {
        self.age + until.saturating_duration_since(self.asked_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::attempt::Outcome;
    use crate::delivery::client::{Answer, ErrorClass};
    use crate::delivery::lanes::tests::delivery;
    use crate::delivery::state::Transition;

    fn result(id: SubscriptionId, error: Option<ErrorClass>) -> Record {
        let outcome = Outcome {
            began: Instant::now(),
            duration: Duration::ZERO,
            http_status: error.is_none().then_some(200),
            error: error.map(|class| (class, String::new())),
            retry_after: None,
            excerpt: None,
            answer: Answer::default(),
            subscription_version: 1,
        };
        let transition = match outcome.is_success() {
            true => Transition::Delivered,
            false => Transition::Retry {
                delay: Duration::ZERO,
            },
        };
        Record {
            delivery: delivery(id, Instant::now()),
            transition,
            decided_at: Instant::now(),
            outcome: Some(outcome),
        }
    }

    fn learn(health: &Health, judgement: &Judgement, recovered: &[SubscriptionId]) {
        let since = |first: &FirstFailure| Since {
            age: Duration::ZERO,
            asked_at: first.at,
        };
        let noted = judgement.began.iter();
        let noted = noted.map(|(id, first)| (*id, since(first)));
        let none = Snapshot::default();
        health.learn(judgement, noted.collect(), recovered, &none);
    }

    #[test]
    fn who_has_succeeded_before_its_failure_is_recorded_does_not_begin_to_fail() {
        let (health, id) = (Health::default(), SubscriptionId(Uuid::now_v7()));
        let (failed, well) = (result(id, Some(ErrorClass::Connect)), result(id, None));
        assert!(!health.hear(&failed));
        assert!(health.hear(&well));
        assert!(!health.hear(&well));
        assert_eq!(health.judge(&[failed], None), Judgement::default());
    }

    #[test]
    fn who_succeeds_while_its_failure_is_recorded_has_recovered() {
        let (health, id) = (Health::default(), SubscriptionId(Uuid::now_v7()));
        let (failed, well) = (result(id, Some(ErrorClass::Connect)), result(id, None));
        health.hear(&failed);
        let judgement = health.judge(&[failed], None);
        assert!(judgement.began.contains_key(&id));
        assert!(health.hear(&well));
        learn(&health, &judgement, &[]);
        assert!(health.hear(&well));
        learn(&health, &Judgement::default(), &[id]);
        assert!(!health.hear(&well));
    }

    #[test]
    fn who_is_gone_does_not_begin_to_fail() {
        let (health, id) = (Health::default(), SubscriptionId(Uuid::now_v7()));
        let mut gone = result(id, Some(ErrorClass::HttpStatus));
        gone.outcome.as_mut().unwrap().http_status = Some(410);
        assert!(!health.hear(&gone));
        let judgement = health.judge(&[gone], None);
        assert_eq!((judgement.began.len(), judgement.gone), (0, vec![id.0]));
        assert!(!health.hear(&result(id, None)));
    }

    #[test]
    fn who_goes_on_failing_began_once() {
        let (health, id) = (Health::default(), SubscriptionId(Uuid::now_v7()));
        let failed = [result(id, Some(ErrorClass::Connect))];
        health.hear(&failed[0]);
        let judgement = health.judge(&failed, None);
        learn(&health, &judgement, &[]);
        health.hear(&failed[0]);
        assert_eq!(health.judge(&failed, None), Judgement::default());
        let judgement = health.judge(&failed, Some(Duration::ZERO));
        assert!(judgement.is_grave());
    }
}
