//! The limits of each tenant at the API, so that no tenant's calls delay another's. Each
//! process counts for itself.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Request, State as AxumState};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use utoipa::ToSchema;

use super::State;
use super::error::Problem;
use super::extract::Tenant;
use crate::metrics::METRICS;

/// `[limits]`: of each tenant.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Subscriptions.
    #[schema(value_type = u32)]
    pub subscriptions: NonZeroU32,
    /// Requests a second; as many more at once after a second without any.
    #[schema(value_type = u32)]
    pub requests_per_second: NonZeroU32,
    /// Requests in progress; others wait, for at most five seconds.
    #[schema(value_type = u32)]
    pub concurrent_requests: NonZeroU32,
    /// Replays and bulk retries that have not ended.
    #[schema(value_type = u32)]
    pub replays: NonZeroU32,
    /// Test events a minute.
    #[schema(value_type = u32)]
    pub tests_per_minute: NonZeroU32,
    /// Tokens of the API that are valid, where the tenant makes one itself.
    #[schema(value_type = u32)]
    pub tokens: NonZeroU32,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        let number = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        LimitsConfig {
            subscriptions: number(1000),
            requests_per_second: number(100),
            concurrent_requests: number(4),
            replays: number(2),
            tests_per_minute: number(60),
            tokens: number(100),
        }
    }
}

/// How long a request waits for others of its tenant to end.
const PATIENCE: Duration = Duration::from_secs(5);
/// Exports of one tenant at once: each waits for its client.
const EXPORTS: usize = 2;
/// Tenants in memory: beyond, those that have asked for nothing lately are forgotten.
const TENANTS: usize = 10_000;

/// The limits, and what each tenant has used of them.
pub struct Limits {
    pub config: LimitsConfig,
    tenants: Mutex<HashMap<Arc<str>, Share>>,
}

struct Share {
    requests: Bucket,
    tests: Bucket,
    running: Arc<Semaphore>,
    exports: Arc<Semaphore>,
}

impl Limits {
    /// `connections`: those to the store that all tenants share, of which one tenant may
    /// use half.
    pub fn new(mut config: LimitsConfig, connections: usize) -> Self {
        let half = u32::try_from(connections / 2).unwrap_or(u32::MAX);
        let half = NonZeroU32::new(half).unwrap_or(NonZeroU32::MIN);
        config.concurrent_requests = config.concurrent_requests.min(half);
        Limits {
            config,
            tenants: Mutex::default(),
        }
    }

    fn of<T>(&self, tenant: &Arc<str>, take: impl FnOnce(&mut Share) -> T) -> T {
        let now = Instant::now();
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if !tenants.contains_key(tenant) && tenants.len() >= TENANTS {
            tenants.retain(|_, share| share.is_used(&self.config, now));
        }
        let share = tenants
            .entry(Arc::clone(tenant))
            .or_insert_with(|| Share::whole(&self.config, now));
        take(share)
    }

    fn admit(&self, tenant: &Arc<str>) -> Result<Arc<Semaphore>, Problem> {
        let limit = self.config.requests_per_second;
        let taken = self.of(tenant, |share| {
            let taken = share.requests.take(Instant::now());
            taken.map(|()| Arc::clone(&share.running))
        });
        taken.map_err(|wait| {
            refused(
                "requests",
                wait,
                format!(
                    "the tenant sends more than {limit} requests a second \
                     (limits.requests_per_second)"
                ),
            )
        })
    }

    /// For a test event.
    pub fn take_test(&self, tenant: &Arc<str>) -> Result<(), Problem> {
        let limit = self.config.tests_per_minute;
        let taken = self.of(tenant, |share| share.tests.take(Instant::now()));
        taken.map_err(|wait| {
            refused(
                "tests",
                wait,
                format!(
                    "the tenant sends more than {limit} test events a minute \
                     (limits.tests_per_minute)"
                ),
            )
        })
    }

    /// Requests of the tenant that may be in progress.
    pub(super) fn running(&self, tenant: &Arc<str>) -> Arc<Semaphore> {
        self.of(tenant, |share| Arc::clone(&share.running))
    }

    /// For one more export, which holds its place until it ends.
    pub(super) fn begin_export(&self, tenant: &Arc<str>) -> Result<OwnedSemaphorePermit, Problem> {
        let exports = self.of(tenant, |share| Arc::clone(&share.exports));
        exports.try_acquire_owned().map_err(|_| {
            refused(
                "exports",
                PATIENCE,
                format!("{EXPORTS} exports of the tenant are in progress: wait until one ends"),
            )
        })
    }

    /// For one more replay or bulk retry where so many have not ended.
    pub fn admit_replay(&self, unfinished: i64) -> Result<(), Problem> {
        let limit = self.config.replays;
        if unfinished < i64::from(limit.get()) {
            return Ok(());
        }
        Err(refused(
            "replays",
            Duration::from_secs(5),
            format!(
                "{limit} replays or bulk retries of the tenant have not ended (limits.replays): \
                 wait for one, or cancel it: GET /jobs lists them"
            ),
        ))
    }

    /// For one more token where so many are valid.
    pub fn admit_token(&self, valid: i64) -> Result<(), Problem> {
        let limit = self.config.tokens;
        if valid < i64::from(limit.get()) {
            return Ok(());
        }
        METRICS.api_refused.with_label_values(&["tokens"]).inc();
        Err(Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_tokens",
            format!(
                "the tenant has {valid} valid tokens, and makes no more than {limit} \
                 (limits.tokens): revoke one first"
            ),
        )
        .with_header(header::RETRY_AFTER, HeaderValue::from_static("60")))
    }

    /// That the tenant has as many subscriptions as it may have.
    pub fn subscriptions_full(&self) -> Problem {
        METRICS
            .api_refused
            .with_label_values(&["subscriptions"])
            .inc();
        let limit = self.config.subscriptions;
        Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_subscriptions",
            format!(
                "the tenant has {limit} subscriptions, as many as it may have \
                 (limits.subscriptions): delete one first"
            ),
        )
        .with_header(header::RETRY_AFTER, HeaderValue::from_static("60"))
    }
}

pub(super) fn refused(reason: &'static str, wait: Duration, detail: String) -> Problem {
    METRICS.api_refused.with_label_values(&[reason]).inc();
    let seconds = wait.as_secs_f64().ceil().max(1.0);
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail)
        .with_header(header::RETRY_AFTER, HeaderValue::from(seconds as u64))
}

/// Middleware after the authentication: holds a tenant to its share.
pub async fn admit(
    AxumState(state): AxumState<Arc<State>>,
    Tenant(tenant): Tenant,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let running = state.limits.admit(&tenant)?;
    let Ok(Ok(_running)) = tokio::time::timeout(PATIENCE, running.acquire_owned()).await else {
        let limit = state.limits.config.concurrent_requests;
        return Err(refused(
            "concurrent",
            PATIENCE,
            format!(
                "{limit} requests of the tenant are in progress (limits.concurrent_requests), \
                 and none ended within {} s",
                PATIENCE.as_secs()
            ),
        ));
    };
    Ok(next.run(request).await)
}

impl Share {
    fn whole(config: &LimitsConfig, now: Instant) -> Self {
        let semaphore = |limit| Arc::new(Semaphore::new(permits(limit)));
        Share {
            requests: Bucket::full(
                f64::from(config.requests_per_second.get()),
                2.0 * f64::from(config.requests_per_second.get()),
                now,
            ),
            tests: Bucket::full(
                f64::from(config.tests_per_minute.get()) / 60.0,
                f64::from(config.tests_per_minute.get()),
                now,
            ),
            running: semaphore(config.concurrent_requests),
            exports: Arc::new(Semaphore::new(EXPORTS)),
        }
    }

    /// Whether forgetting it would give the tenant more than its share.
    fn is_used(&self, config: &LimitsConfig, now: Instant) -> bool {
        let busy = |of: &Semaphore, limit| of.available_permits() < permits(limit);
        !self.requests.is_full(now)
            || !self.tests.is_full(now)
            || busy(&self.running, config.concurrent_requests)
            || self.exports.available_permits() < EXPORTS
    }
}

fn permits(limit: NonZeroU32) -> usize {
    let limit = usize::try_from(limit.get()).unwrap_or(usize::MAX);
    limit.min(Semaphore::MAX_PERMITS)
}

/// A token bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    /// Tokens that are added a second.
    rate: f64,
    /// Tokens that it holds at most.
    burst: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    pub(super) fn full(rate: f64, burst: f64, now: Instant) -> Self {
        Bucket {
            rate,
            burst,
            level: burst,
            at: now,
        }
    }

    fn level(&self, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        (self.level + since * self.rate).min(self.burst)
    }

    pub(super) fn is_full(&self, now: Instant) -> bool {
        self.level(now) >= self.burst
    }

    /// Takes one, or says how long it takes until there is one.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        if let Some(wait) = self.wait(now) {
            return Err(wait);
        }
        self.level = self.level(now) - 1.0;
        self.at = now;
        Ok(())
    }

    /// How long it takes until there is one; none where there is.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        let lacking = 1.0 - self.level(now);
        let wait = Duration::try_from_secs_f64(lacking / self.rate);
        (lacking > 0.0).then(|| wait.unwrap_or(Duration::from_secs(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut bucket = Bucket::full(10.0, 3.0, start);
        for _ in 0..3 {
            assert_eq!(bucket.take(at(0)), Ok(()));
        }
        let wait = bucket.take(at(0)).unwrap_err();
        assert!((99..=100).contains(&wait.as_millis()), "{wait:?}");
        assert_eq!(bucket.take(at(150)), Ok(()));
        assert!(bucket.take(at(150)).is_err());
        assert!(!bucket.is_full(at(300)));
        assert!(bucket.is_full(at(500)));
        // A clock that does not advance, or goes back, adds none.
        assert_eq!(bucket.take(at(1000)), Ok(()));
        assert!(bucket.level(at(900)) <= 2.0);
    }

    #[test]
    fn tenants_without_recent_requests_are_forgotten_and_others_are_not() {
        let limits = Limits::new(
            LimitsConfig {
                requests_per_second: NonZeroU32::MIN,
                ..LimitsConfig::default()
            },
            8,
        );
        let busy: Arc<str> = "busy".into();
        assert!(limits.admit(&busy).is_ok());
        assert!(limits.admit(&busy).is_ok());
        for number in 0..TENANTS {
            limits.of(&format!("tenant {number}").into(), |_| ());
        }
        let known = limits.tenants.lock().unwrap().len();
        assert!(known < TENANTS, "{known}");
        assert!(limits.admit(&busy).is_err());
    }
}
