//! How a subscription's endpoint does: its state in one word, and what is known of its attempts.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::State;
use super::error::Problem;
use super::stats::StatsCounts;
use super::subscription_view::Subscription;
use crate::conninfo::Transaction;
use crate::delivery::stats::{self, Counts, Last, Pending, Range, Step};
use crate::secret::EncryptionKey;
use crate::subscription::queries::{BY_REQUEST, StoredSubscription, SubscriptionId};

/// Deliveries that are counted of what waits.
const COUNTED: i64 = 1_000;

/// Hours of `stats_24h`, the present one included.
const HOURS: i64 = 24;

#[derive(Serialize, ToSchema)]
pub struct SubscriptionWithHealth {
    #[serde(flatten)]
    subscription: Subscription,
    #[serde(flatten)]
    health: SubscriptionHealth,
}

/// How the endpoint does. What is counted is some ten seconds old.
#[derive(Serialize, ToSchema)]
pub struct SubscriptionHealth {
    /// `ok`, `new` (nothing was sent yet), `failing` (nothing has succeeded since the last
    /// failures), `probing` (its circuit breaker is open or half-open), `unreadable` (nothing can be
    /// sent, as the field of that name says), `paused` (disabled by request) or `disabled` (by
    /// walhook, as `disabled_reason` says).
    #[schema(examples("ok"))]
    state: &'static str,
    /// The first failed attempt after the last success; null: it does not fail.
    failing_since: Option<Timestamp>,
    /// When it is disabled, unless something succeeds before.
    disables_at: Option<Timestamp>,
    last_success_at: Option<Timestamp>,
    last_failure: Option<LastFailure>,
    /// Deliveries that wait in the store for an attempt.
    pending: CappedCount,
    /// Deliveries that are kept without being sent.
    parked: CappedCount,
    stats_24h: DayStats,
}

#[derive(Serialize, ToSchema)]
pub struct LastFailure {
    at: Timestamp,
    /// Such as `timeout` or `http_status`.
    class: Option<String>,
    http_status: Option<i16>,
}

/// A count that ends at 1,000.
#[derive(Serialize, ToSchema)]
pub struct CappedCount {
    count: i64,
    /// There are more.
    more: bool,
}

/// Of the last 24 hours, the present one included.
#[derive(Serialize, ToSchema)]
pub struct DayStats {
    #[serde(flatten)]
    counts: StatsCounts,
    /// Hour by hour, the oldest first: 24 of them.
    spark: Vec<SparkHour>,
}

#[derive(Clone, Copy, Default, Serialize, ToSchema)]
pub struct SparkHour {
    delivered: i64,
    /// Failed attempts.
    failed: i64,
}

/// What is known of some subscriptions of a tenant.
pub struct Known {
    now: Timestamp,
    disable_after: Option<Duration>,
    last: HashMap<SubscriptionId, Last>,
    pending: HashMap<SubscriptionId, Pending>,
    counts: HashMap<SubscriptionId, Vec<Counts>>,
}

impl Known {
    /// Reads it in the transaction of the tenant.
    pub async fn read(
        transaction: &Transaction<'_>,
        state: &State,
        subscriptions: &[StoredSubscription],
    ) -> Result<Self, Problem> {
        let ids: Vec<Uuid> = subscriptions.iter().map(|one| one.id.0).collect();
        let now = Timestamp::now();
        let range = Range {
            from: day_begins(now),
            to: Timestamp::MAX,
            step: Step::Hour,
        };
        // Counts are written with the last results: what is counted has its last result by then.
        let counts = stats::of_subscriptions(transaction, &ids, range).await?;
        Ok(Known {
            now,
            disable_after: state.settings.disable_after,
            last: stats::last(transaction, &ids).await?,
            pending: stats::pending(transaction, &ids, COUNTED + 1).await?,
            counts,
        })
    }

    pub fn show(&self, stored: StoredSubscription, key: &EncryptionKey) -> SubscriptionWithHealth {
        SubscriptionWithHealth {
            health: self.health(&stored),
            subscription: Subscription::masked(stored, key),
        }
    }

    fn health(&self, stored: &StoredSubscription) -> SubscriptionHealth {
        let id = stored.id;
        let last = self.last.get(&id).cloned().unwrap_or_default();
        let pending = self.pending.get(&id).copied().unwrap_or_default();
        let counts = self.counts.get(&id).map_or(&[][..], Vec::as_slice);
        let disables_at = self.disable_after.and_then(|limit| {
            let limit = SignedDuration::try_from(limit).ok()?;
            stored.failing_since?.checked_add(limit).ok()
        });
        SubscriptionHealth {
            state: Condition::of(stored, &last).as_str(),
            failing_since: stored.failing_since,
            disables_at: disables_at.filter(|_| stored.active),
            last_success_at: last.success_at,
            last_failure: last.failure_at.map(|at| LastFailure {
                at,
                class: last.failure_class,
                http_status: last.failure_http_status,
            }),
            pending: CappedCount::of(pending.pending),
            parked: CappedCount::of(pending.parked),
            stats_24h: DayStats {
                counts: StatsCounts::of(counts),
                spark: spark(counts, self.now),
            },
        }
    }
}

impl CappedCount {
    fn of(counted: i64) -> Self {
        CappedCount {
            count: counted.min(COUNTED),
            more: counted > COUNTED,
        }
    }
}

/// How an endpoint does: the API and the console show the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Ok,
    /// Nothing was sent yet.
    New,
    /// Nothing has succeeded since the last failures.
    Failing,
    /// Its circuit breaker is open or half-open.
    Probing,
    /// Its secret or headers cannot be decrypted.
    Unreadable,
    /// Disabled by request.
    Paused,
    /// Disabled by walhook.
    Disabled,
}

impl Condition {
    pub fn of(stored: &StoredSubscription, last: &Last) -> Self {
        let by_request = stored.disabled_reason.as_deref() == Some(BY_REQUEST);
        let is_unreadable = stored.unreadable_reason.is_some();
        match (stored.active, stored.breaker.as_str(), stored.failing_since) {
            (false, _, _) if by_request => Condition::Paused,
            (false, _, _) => Condition::Disabled,
            (true, _, _) if is_unreadable => Condition::Unreadable,
            (true, "open" | "half_open", _) => Condition::Probing,
            (true, _, Some(_)) => Condition::Failing,
            (true, _, None) if last.success_at.is_none() && last.failure_at.is_none() => {
                Condition::New
            }
            (true, _, None) => Condition::Ok,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Condition::Ok => "ok",
            Condition::New => "new",
            Condition::Failing => "failing",
            Condition::Probing => "probing",
            Condition::Unreadable => "unreadable",
            Condition::Paused => "paused",
            Condition::Disabled => "disabled",
        }
    }
}

fn day_begins(now: Timestamp) -> Timestamp {
    let hours = SignedDuration::from_hours(HOURS - 1);
    let begins = Step::Hour.floor(now).checked_sub(hours);
    begins.unwrap_or(Timestamp::MIN)
}

fn spark(counts: &[Counts], now: Timestamp) -> Vec<SparkHour> {
    let begins = day_begins(now).as_second();
    let mut hours = vec![SparkHour::default(); usize::try_from(HOURS).unwrap_or_default()];
    for counts in counts {
        let hour = counts
            .at
            .as_second()
            .saturating_sub(begins)
            .div_euclid(3_600);
        let place = usize::try_from(hour).ok();
        if let Some(hour) = place.and_then(|place| hours.get_mut(place)) {
            hour.delivered += counts.delivered;
            hour.failed += counts.all_failed();
        }
    }
    hours
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spark_has_the_present_hour_last() {
        let now: Timestamp = "2026-11-30T12:34:56Z".parse().unwrap();
        let counts = |at: &str, delivered| Counts {
            at: at.parse().unwrap(),
            delivered,
            first_try: 0,
            dead: 0,
            failed: vec![1; 8],
            latency: vec![0; 16],
        };
        let all = [
            counts("2026-11-29T12:00:00Z", 1),
            counts("2026-11-29T13:00:00Z", 2),
            counts("2026-11-30T12:00:00Z", 3),
        ];
        let hours = spark(&all, now);
        assert_eq!(hours.len(), 24);
        assert_eq!((hours[0].delivered, hours[23].delivered), (2, 3));
        assert_eq!(hours[23].failed, 8);
        assert_eq!(hours.iter().map(|hour| hour.delivered).sum::<i64>(), 5);
    }
}
