//! Records on subscriptions that their filter failed, for their tenants.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::db::Store;
use crate::episode::Episode;
use crate::event::SubscriptionId;
use crate::log_limit::{Admitted, LogLimit};
use crate::mapping::filter::FilterError;
use crate::metrics::METRICS;
use crate::subscription::Subscription;

/// How soon a failure is on record.
const PERIOD: Duration = Duration::from_secs(1);
/// What fails, for the log.
const RECORD: &str = "cannot record which filters fail";

/// What failed since it was last recorded. What is not recorded when the process ends is
/// only in the log and in the metrics.
#[derive(Default)]
pub struct FilterFailures(Mutex<HashMap<SubscriptionId, Failed>>);

#[derive(Debug)]
pub(super) struct Failed {
    tenant: Arc<str>,
    /// The filter that failed: another one has not.
    source: String,
    pub(super) reason: String,
    count: i64,
}

impl FilterFailures {
    pub(super) fn add(&self, subscription: &Subscription, source: &str, error: &FilterError) {
        METRICS.parked.with_label_values(&["filter"]).inc();
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match failures.get_mut(&subscription.id) {
            Some(failed) if failed.source == source => failed.count += 1,
            _ => {
                let failed = Failed {
                    tenant: Arc::clone(&subscription.tenant_id),
                    source: source.to_owned(),
                    reason: error.to_string(),
                    count: 1,
                };
                failures.insert(subscription.id, failed);
            }
        }
    }

    pub(super) fn take(&self) -> HashMap<SubscriptionId, Failed> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What could not be recorded is tried again with what follows.
    fn put_back(&self, failures: HashMap<SubscriptionId, Failed>) {
        let mut newer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, failed) in failures {
            match newer.get_mut(&id) {
                Some(now) if now.source == failed.source => now.count += failed.count,
                Some(_) => {}
                None => {
                    newer.insert(id, failed);
                }
            }
        }
    }

    /// Keeps the record until `stop`.
    pub async fn record(&self, store: Store, stop: CancellationToken) -> anyhow::Result<()> {
        let mut episode = Episode::default();
        let mut limit = LogLimit::default();
        loop {
            let stopping = stop
                .run_until_cancelled(tokio::time::sleep(PERIOD))
                .await
                .is_none();
            let failures = self.take();
            if !failures.is_empty() {
                log(&failures, &mut limit, Instant::now());
                match write(&store, &failures).await {
                    Ok(()) => episode.succeeded(RECORD),
                    Err(error) => {
                        episode.failed(RECORD, &error);
                        self.put_back(failures);
                    }
                }
            }
            if stopping {
                return Ok(());
            }
        }
    }
}

async fn write(store: &Store, failures: &HashMap<SubscriptionId, Failed>) -> anyhow::Result<()> {
    let mut ids: Vec<Uuid> = Vec::with_capacity(failures.len());
    let mut sources: Vec<&str> = Vec::with_capacity(failures.len());
    let mut reasons: Vec<&str> = Vec::with_capacity(failures.len());
    let mut counts: Vec<i64> = Vec::with_capacity(failures.len());
    for (id, failed) in failures {
        ids.push(id.0);
        sources.push(&failed.source);
        reasons.push(&failed.reason);
        counts.push(failed.count);
    }
    let client = store.get().await.context("connect to the store")?;
    client
        .execute(
            include_str!("../../sql/queries/capture/note_filter_failures.sql"),
            &[&ids, &sources, &reasons, &counts],
        )
        .await
        .context("record which filters fail")?;
    Ok(())
}

fn log(
    failures: &HashMap<SubscriptionId, Failed>,
    limit: &mut LogLimit<SubscriptionId>,
    now: Instant,
) {
    for (id, failed) in failures {
        if let Some(Admitted { repeated, others }) = limit.admit(*id, now) {
            tracing::warn!(
                tenant = &*failed.tenant,
                subscription = %id,
                events = failed.count,
                error = failed.reason,
                repeated,
                others,
                "a subscription's filter failed; these events are not sent to it"
            );
        }
    }
}
