//! `/stats` and `/subscriptions/{id}/stats`: what became of attempts, by intervals.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State as AxumState;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::State;
use super::error::Problem;
use super::extract::{PathId, Query, Tenant};
use crate::db::tenant_transaction;
use crate::delivery::client::ErrorClass;
use crate::delivery::stats::{self, BUCKETS, Counts, Range, Step};
use crate::subscription::queries::{self, SubscriptionId};

/// Intervals in one answer: a year of days, or half a day of minutes.
const MAX_INTERVALS: i64 = 750;

/// What became of the attempts of one interval.
#[derive(Serialize, ToSchema)]
pub struct StatsInterval {
    /// When it begins.
    at: Timestamp,
    #[serde(flatten)]
    counts: StatsCounts,
}

#[derive(Serialize, ToSchema)]
pub struct StatsCounts {
    /// Deliveries that succeeded.
    pub delivered: i64,
    /// … at the first attempt.
    pub first_try: i64,
    /// Failed attempts. One delivery may have several, and succeed after all.
    pub failed: i64,
    /// The same by the class of the error, such as `timeout`; those without any are left out.
    pub failed_by_class: BTreeMap<&'static str, i64>,
    /// Deliveries that failed for good.
    pub dead: i64,
    /// How long half of the attempts took at most, in milliseconds; null without attempts.
    pub p50_ms: Option<f64>,
    /// … and 95 of 100.
    pub p95_ms: Option<f64>,
}

impl StatsCounts {
    /// Of all of these together.
    pub fn of(all: &[Counts]) -> Self {
        let sum = |read: fn(&Counts) -> i64| all.iter().map(read).sum();
        let classes = ErrorClass::ALL.iter().enumerate();
        let failed_by_class = classes.filter_map(|(place, class)| {
            let of_class = all.iter().filter_map(|counts| counts.failed.get(place));
            let failed: i64 = of_class.sum();
            (failed > 0).then_some((class.as_str(), failed))
        });
        let mut latency = [0_i64; BUCKETS];
        for counts in all {
            for (total, count) in latency.iter_mut().zip(&counts.latency) {
                *total += count;
            }
        }
        StatsCounts {
            delivered: sum(|counts| counts.delivered),
            first_try: sum(|counts| counts.first_try),
            failed: sum(Counts::all_failed),
            failed_by_class: failed_by_class.collect(),
            dead: sum(|counts| counts.dead),
            p50_ms: stats::quantile(&latency, 0.5),
            p95_ms: stats::quantile(&latency, 0.95),
        }
    }
}

/// Statistics of attempts. They are some ten seconds old.
#[derive(Serialize, ToSchema)]
pub struct AttemptStats {
    from: Timestamp,
    to: Timestamp,
    /// `minute`, `hour` or `day`. Minutes are kept for an hour or two and hours for fifteen days:
    /// before, an interval stands at its hour or its day.
    step: &'static str,
    /// Of all intervals together.
    total: StatsCounts,
    /// The oldest first; those without attempts are left out.
    data: Vec<StatsInterval>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AskStats {
    /// From then on (RFC 3339); a day ago if absent.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Up to then; now if absent.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// `minute`, `hour` (if absent) or `day`, as UTC has them.
    step: Option<String>,
}

impl AskStats {
    fn range(&self) -> Result<(Range, &'static str), Problem> {
        let (step, name) = match self.step.as_deref() {
            Some("minute") => (Step::Minute, "minute"),
            None | Some("hour") => (Step::Hour, "hour"),
            Some("day") => (Step::Day, "day"),
            Some(_) => {
                return Err(Problem::invalid(
                    "invalid_step",
                    "`step` is minute, hour or day",
                ));
            }
        };
        let to = self.to.unwrap_or_else(Timestamp::now);
        let day = SignedDuration::from_hours(24);
        let day_before = to.checked_sub(day).unwrap_or(Timestamp::MIN);
        let from = self.from.unwrap_or(day_before);
        let seconds = to.as_second().saturating_sub(from.as_second());
        if seconds <= 0 {
            return Err(Problem::invalid(
                "invalid_range",
                "`from` is not before `to`",
            ));
        }
        if seconds / (i64::from(step.minutes()) * 60) > MAX_INTERVALS {
            return Err(Problem::invalid(
                "invalid_range",
                format!(
                    "there are more than {MAX_INTERVALS} intervals: use a longer `step`, or a shorter time"
                ),
            ));
        }
        Ok((Range { from, to, step }, name))
    }
}

fn answer(range: Range, step: &'static str, counts: &[Counts]) -> Json<AttemptStats> {
    let interval = |counts: &Counts| StatsInterval {
        at: counts.at,
        counts: StatsCounts::of(std::slice::from_ref(counts)),
    };
    Json(AttemptStats {
        from: range.step.floor(range.from),
        to: range.to,
        step,
        total: StatsCounts::of(counts),
        data: counts.iter().map(interval).collect(),
    })
}

/// Statistics of a subscription's attempts
#[utoipa::path(get, path = "/subscriptions/{id}/stats", tag = "Subscriptions",
    params(("id" = String, Path, description = "`sub_…`"), AskStats),
    responses((status = 200, description = "Counts and durations by intervals", body = AttemptStats)))]
pub async fn subscription_stats(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    id: PathId,
    Query(query): Query<AskStats>,
) -> Result<Json<AttemptStats>, Problem> {
    let subscription: SubscriptionId = id.parse("subscription")?;
    let (range, step) = query.range()?;
    let mut client = state.store.get().await?;
    let transaction = tenant_transaction(&mut client, &tenant).await?;
    let found = queries::get(&transaction, subscription).await?;
    found.ok_or_else(|| Problem::not_found("subscription", &id.0))?;
    let mut counts = stats::of_subscriptions(&transaction, &[subscription.0], range).await?;
    let counts = counts.remove(&subscription).unwrap_or_default();
    Ok(answer(range, step, &counts))
}

/// Statistics of all attempts
///
/// Those to subscriptions that are deleted included, while their deliveries are listed.
#[utoipa::path(get, path = "/stats", tag = "Deliveries", params(AskStats),
    responses((status = 200, description = "Counts and durations by intervals", body = AttemptStats)))]
pub async fn tenant_stats(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    Query(query): Query<AskStats>,
) -> Result<Json<AttemptStats>, Problem> {
    let (range, step) = query.range()?;
    let mut client = state.store.get().await?;
    let transaction = tenant_transaction(&mut client, &tenant).await?;
    let counts = stats::of_tenant(&transaction, range).await?;
    Ok(answer(range, step, &counts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(from: &str, to: &str, step: &str) -> Result<Range, Problem> {
        let asked = AskStats {
            from: Some(from.parse().unwrap()),
            to: Some(to.parse().unwrap()),
            step: Some(step.to_owned()),
        };
        asked.range().map(|(range, _)| range)
    }

    #[test]
    fn a_range_has_a_length_and_not_too_many_intervals() {
        let (begin, end) = ("2026-11-30T00:00:00Z", "2026-11-30T12:00:00Z");
        assert!(asked(begin, end, "minute").is_ok());
        assert!(asked(end, begin, "hour").is_err());
        assert!(asked(begin, begin, "hour").is_err());
        assert!(asked("2026-11-29T00:00:00Z", end, "minute").is_err());
        assert!(asked("2025-11-29T00:00:00Z", end, "day").is_ok());
        assert!(asked(begin, end, "week").is_err());
    }

    #[test]
    fn counts_of_intervals_add_up() {
        let counts = |delivered, timeouts| Counts {
            at: Timestamp::UNIX_EPOCH,
            delivered,
            first_try: delivered,
            dead: 0,
            failed: vec![0, timeouts, 0, 0, 0, 0, 0, 0],
            latency: vec![delivered; BUCKETS],
        };
        let total = StatsCounts::of(&[counts(3, 0), counts(4, 2)]);
        assert_eq!((total.delivered, total.failed, total.dead), (7, 2, 0));
        assert_eq!(total.failed_by_class, BTreeMap::from([("timeout", 2)]));
        assert!(total.p50_ms < total.p95_ms);
    }
}
