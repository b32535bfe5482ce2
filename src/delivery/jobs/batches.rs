//! Carries out the batches of jobs.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::Notify;
use tokio_postgres::Error;
use tokio_postgres::types::ToSql;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Job, JobState, ReplayRequest, Request, RetryRequest};
use crate::conninfo::Transaction;
use crate::db::{Store, is_transient, tenant_transaction};
use crate::delivery::cause::{Cause, Trigger};
use crate::delivery::listing::IdRange;
use crate::delivery::manual::{BATCH, ManualError, request_probe, retry_batch};
use crate::delivery::replay::Replay;
use crate::episode::Episode;
use crate::event::{JobId, SubscriptionId};
use crate::lsn::Lsn;
use crate::subscription::queries;

/// How often an instance looks for jobs while none is running: who asks for one carries it
/// out at first.
const PERIOD: Duration = Duration::from_secs(2);

/// How often jobs whose rate is limited get their next batch.
const STEP: Duration = Duration::from_millis(250);

/// With so many batches failed in a row, which are twenty minutes, a job has failed.
const MOST_FAILURES: i32 = 12;

/// What fails, for the log.
const CARRY_OUT: &str = "cannot carry out bulk retries and replays";

/// Evaluates a filter's source over an event's body.
pub type Matches = fn(&str, &[u8]) -> Result<bool, String>;

/// Carries jobs out until `stop`.
pub async fn run(
    store: Store,
    matches: Matches,
    schedule_changed: Arc<Notify>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut episode = Episode::default();
    loop {
        let pause = match stop.run_until_cancelled(round(&store, matches)).await {
            None => return Ok(()),
            Some(Ok(round)) => {
                episode.succeeded(CARRY_OUT);
                if round.progressed {
                    schedule_changed.notify_one();
                }
                match (round.progressed, round.running) {
                    (true, _) => Duration::ZERO,
                    (false, true) => STEP,
                    (false, false) => PERIOD,
                }
            }
            Some(Err(error)) => {
                episode.failed(CARRY_OUT, &error);
                PERIOD
            }
        };
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

#[derive(Default)]
struct Round {
    running: bool,
    progressed: bool,
}

/// One batch of each job: none waits for the end of another.
async fn round(store: &Store, matches: Matches) -> anyhow::Result<Round> {
    let client = store.get().await.context("connect to the store")?;
    let sql = include_str!("../../../sql/queries/delivery/list_running_jobs.sql");
    let rows = client.query(sql, &[]).await.context("list the jobs")?;
    drop(client);
    let (mut round, mut failed) = (Round::default(), Ok(()));
    for row in rows {
        let (id, tenant) = (JobId(row.get("id")), row.get("tenant_id"));
        match advance(store, tenant, id, matches).await {
            Ok(advanced) => {
                round.running |= advanced.running;
                round.progressed |= advanced.progressed;
            }
            // One job's error is no other's.
            Err(error) => {
                let postponed = postpone(store, id, &error.into()).await;
                failed = failed.and(postponed);
            }
        }
    }
    failed.map(|()| round)
}

/// Has the next batch of a job wait after one that failed, or the job fail.
async fn postpone(store: &Store, id: JobId, error: &anyhow::Error) -> anyhow::Result<()> {
    let lasting = !is_transient(error);
    let of_store = |cause: &(dyn std::error::Error + 'static)| {
        let cause = cause.downcast_ref::<Error>()?;
        Some(cause.code()?.code().to_owned())
    };
    // A message of the store's may hold values.
    let code = error.chain().find_map(of_store);
    let reason = format!(
        "its batches fail in walhook's store (SQLSTATE {}): the operator finds more in the log",
        code.as_deref().unwrap_or("unknown")
    );
    let client = store.get().await.context("connect to the store")?;
    let sql = include_str!("../../../sql/queries/delivery/postpone_job.sql");
    let row = client
        .query_opt(sql, &[&id.0, &lasting, &MOST_FAILURES, &reason])
        .await
        .context("record that a batch of a job failed")?;
    let state = row.map(|row| row.get::<_, String>("state"));
    tracing::warn!(
        job = %id,
        state = state.as_deref().unwrap_or("ended"),
        error = format!("{error:#}"),
        "a batch of a bulk retry or a replay failed"
    );
    Ok(())
}

/// What became of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advanced {
    pub running: bool,
    /// False: its rate admits nothing at this moment.
    pub progressed: bool,
}

/// Carries out the next batch of a job, if it is running.
pub async fn advance(
    store: &Store,
    tenant: &str,
    id: JobId,
    matches: Matches,
) -> Result<Advanced, ManualError> {
    let mut client = store.get().await?;
    let transaction = tenant_transaction(&mut client, tenant).await?;
    let sql = include_str!("../../../sql/queries/delivery/lock_job.sql");
    let row = transaction.query_opt(sql, &[&id.0]).await?;
    let locked = row.as_ref().map(|row| (Job::read(row), row));
    let Some((job, row)) = locked.filter(|(job, _)| job.state == JobState::Running) else {
        return Ok(Advanced {
            running: false,
            progressed: false,
        });
    };
    let limit = match row.get::<_, Option<i64>>("allowed") {
        Some(..=0) => {
            return Ok(Advanced {
                running: true,
                progressed: false,
            });
        }
        Some(allowed) => allowed.min(BATCH),
        None => BATCH,
    };
    let ids = IdRange {
        from: row.get("from_id"),
        to: row.get("to_id"),
    };
    let step = match &job.request {
        None => Step::failed("its request cannot be read", ids),
        Some(Request::Retry(retry)) => {
            let probed: Vec<Uuid> = row.get("probed");
            let cause = Cause {
                trigger: Trigger::RetryMany,
                actor: job.actor,
            };
            let schema = store.schema();
            retry_step(&transaction, schema, retry, (ids, limit), &probed, cause).await?
        }
        Some(Request::Replay(replay)) => {
            let names = (store.schema(), tenant);
            replay_step(&transaction, names, (id, &job), replay, ids, limit, matches).await?
        }
    };
    transaction
        .execute(
            include_str!("../../../sql/queries/delivery/advance_job.sql"),
            &[
                &id.0 as &(dyn ToSql + Sync),
                &step.state.as_str(),
                &step.reason,
                &step.left.from,
                &step.left.to,
                &i64::try_from(step.done).unwrap_or(i64::MAX),
                &i64::try_from(step.filter_failures).unwrap_or(i64::MAX),
                &step.probed,
            ],
        )
        .await?;
    transaction.commit().await?;
    Ok(Advanced {
        running: step.state == JobState::Running,
        progressed: true,
    })
}

/// What a batch changes of its job.
struct Step {
    state: JobState,
    reason: Option<&'static str>,
    left: IdRange,
    done: u64,
    filter_failures: u64,
    probed: Vec<Uuid>,
}

impl Step {
    fn to(state: JobState, left: IdRange) -> Self {
        Step {
            state,
            reason: None,
            left,
            done: 0,
            filter_failures: 0,
            probed: Vec::new(),
        }
    }

    fn failed(reason: &'static str, left: IdRange) -> Self {
        Step {
            reason: Some(reason),
            ..Step::to(JobState::Failed, left)
        }
    }
}

async fn retry_step(
    transaction: &Transaction<'_>,
    schema: &str,
    retry: &RetryRequest,
    (ids, limit): (IdRange, i64),
    probed: &[Uuid],
    cause: Cause,
) -> Result<Step, Error> {
    let filter = retry.filter();
    let retried = retry_batch(transaction, schema, &filter, ids, limit, probed, cause).await?;
    let Some(retried) = retried else {
        return Ok(Step::to(JobState::Done, ids));
    };
    let left = IdRange {
        to: retried.last,
        ..ids
    };
    Ok(Step {
        done: retried.retried,
        probed: retried.probed,
        ..Step::to(JobState::Running, left)
    })
}

async fn replay_step(
    transaction: &Transaction<'_>,
    names: (&str, &str),
    (id, job): (JobId, &Job),
    request: &ReplayRequest,
    ids: IdRange,
    limit: i64,
    matches: Matches,
) -> Result<Step, Error> {
    let subscription = SubscriptionId(request.subscription);
    let Some(stored) = queries::get(transaction, subscription).await? else {
        return Ok(Step::failed("its subscription was deleted", ids));
    };
    if !stored.active {
        // What is sent to it would be parked at once.
        return Ok(Step {
            reason: Some("its subscription is disabled: enable it, then resume the job"),
            ..Step::to(JobState::Paused, ids)
        });
    }
    let replay = Replay {
        subscription: &stored,
        since: request.since,
        until: request.until,
        from_lsn: request.from_lsn.map(Lsn),
        to_lsn: request.to_lsn.map(Lsn),
        types: &request.types,
        matches,
    };
    let range = (ids.from, ids.to);
    let cause = Cause {
        trigger: Trigger::Replay,
        actor: job.actor,
    };
    let sent = replay
        .send_batch(transaction, names, (id.0, cause), range, limit)
        .await?;
    let Some(sent) = sent else {
        return Ok(Step::to(JobState::Done, ids));
    };
    if job.done == 0 && !sent.events.is_empty() {
        request_probe(transaction, subscription).await?;
    }
    let left = IdRange {
        from: sent.last,
        ..ids
    };
    Ok(Step {
        done: sent.events.len() as u64,
        filter_failures: sent.filter_failures,
        ..Step::to(JobState::Running, left)
    })
}
