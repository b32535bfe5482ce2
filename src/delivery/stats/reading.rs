//! Statistics as users ask for them. Every function wants a transaction of
//! [`crate::db::tenant_transaction`].

use std::collections::HashMap;

use jiff::Timestamp;
use tokio_postgres::{Error, Row};
use uuid::Uuid;

use super::{BUCKETS, CLASSES};
use crate::conninfo::Transaction;
use crate::event::SubscriptionId;

/// How long each of the intervals is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Minute,
    Hour,
    /// A quarter of a day.
    SixHours,
    Day,
}

impl Step {
    pub fn minutes(self) -> i32 {
        match self {
            Step::Minute => 1,
            Step::Hour => 60,
            Step::SixHours => 6 * 60,
            Step::Day => 24 * 60,
        }
    }

    /// The beginning of the interval that a time is in: intervals begin as UTC's do.
    pub fn floor(self, at: Timestamp) -> Timestamp {
        let seconds = i64::from(self.minutes()) * 60;
        let floor = at.as_second().div_euclid(seconds).saturating_mul(seconds);
        Timestamp::from_second(floor).unwrap_or(at)
    }
}

/// From when until when, and in which steps.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    pub from: Timestamp,
    pub to: Timestamp,
    pub step: Step,
}

/// What became of the attempts of an interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// When it begins.
    pub at: Timestamp,
    pub delivered: i64,
    /// At the first attempt.
    pub first_try: i64,
    /// Dead letters.
    pub dead: i64,
    /// Failed attempts by [`super::ErrorClass::ALL`]'s order.
    pub failed: Vec<i64>,
    /// By [`super::latency`]'s buckets.
    pub latency: Vec<i64>,
}

impl Counts {
    fn of(row: &Row) -> Self {
        let counts = |name, length| {
            let counts: Vec<i64> = row.get(name);
            // The table admits no other lengths.
            let mut counts: Vec<i64> = counts;
            counts.resize(length, 0);
            counts
        };
        Counts {
            at: row.get("at"),
            delivered: row.get("delivered"),
            first_try: row.get("first_try"),
            dead: row.get("dead"),
            failed: counts("failed", CLASSES),
            latency: counts("latency", BUCKETS),
        }
    }

    /// Failed attempts of all classes.
    pub fn all_failed(&self) -> i64 {
        self.failed.iter().sum()
    }
}

/// Of each of the subscriptions, the oldest first; nothing for an interval without attempts.
pub async fn of_subscriptions(
    transaction: &Transaction<'_>,
    subscriptions: &[Uuid],
    range: Range,
) -> Result<HashMap<SubscriptionId, Vec<Counts>>, Error> {
    let rows = transaction
        .query(
            include_str!("../../../sql/queries/delivery/list_stats.sql"),
            &[
                &subscriptions,
                &range.step.floor(range.from),
                &range.to,
                &range.step.minutes(),
            ],
        )
        .await?;
    let mut found: HashMap<SubscriptionId, Vec<Counts>> = HashMap::new();
    for row in &rows {
        let id = SubscriptionId(row.get("subscription_id"));
        found.entry(id).or_default().push(Counts::of(row));
    }
    Ok(found)
}

/// Of all subscriptions of the tenant together, deleted ones included.
pub async fn of_tenant(transaction: &Transaction<'_>, range: Range) -> Result<Vec<Counts>, Error> {
    let rows = transaction
        .query(
            include_str!("../../../sql/queries/delivery/list_tenant_stats.sql"),
            &[
                &range.step.floor(range.from),
                &range.to,
                &range.step.minutes(),
            ],
        )
        .await?;
    Ok(rows.iter().map(Counts::of).collect())
}

/// When an endpoint last took something, and when and how it last failed.
#[derive(Clone, Debug, Default)]
pub struct Last {
    pub success_at: Option<Timestamp>,
    pub failure_at: Option<Timestamp>,
    pub failure_class: Option<String>,
    pub failure_http_status: Option<i16>,
}

pub async fn last(
    transaction: &Transaction<'_>,
    subscriptions: &[Uuid],
) -> Result<HashMap<SubscriptionId, Last>, Error> {
    let sql = include_str!("../../../sql/queries/delivery/last_results.sql");
    let rows = transaction.query(sql, &[&subscriptions]).await?;
    let found = rows.iter().map(|row| {
        let last = Last {
            success_at: row.get("last_success_at"),
            failure_at: row.get("last_failure_at"),
            failure_class: row.get("last_failure_class"),
            failure_http_status: row.get("last_failure_status"),
        };
        (SubscriptionId(row.get("subscription_id")), last)
    });
    Ok(found.collect())
}

/// Deliveries that wait in the schedule, counted up to a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    pub pending: i64,
    pub parked: i64,
}

/// Of each of the subscriptions, none of which is counted further than `limit`.
pub async fn pending(
    transaction: &Transaction<'_>,
    subscriptions: &[Uuid],
    limit: i64,
) -> Result<HashMap<SubscriptionId, Pending>, Error> {
    let sql = include_str!("../../../sql/queries/delivery/count_waiting.sql");
    let rows = transaction.query(sql, &[&subscriptions, &limit]).await?;
    let found = rows.iter().map(|row| {
        let pending = Pending {
            pending: row.get::<_, i64>("pending").min(limit),
            parked: row.get::<_, i64>("parked").min(limit),
        };
        (SubscriptionId(row.get("subscription_id")), pending)
    });
    Ok(found.collect())
}
