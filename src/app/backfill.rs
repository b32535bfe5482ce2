//! Runs the backfills that are recorded in the store, one after the other, for as long as
//! this instance holds the slot: reads the rows and hands them to the session.

use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::oneshot;
use tokio_postgres::error::SqlState;

use crate::backfill::job::{Job, Jobs, Status};
use crate::backfill::reader::Reader;
use crate::backfill::table::NoKey;
use crate::backoff::Backoff;
use crate::capture::backfill::{Backfilling, Chunk, Taken};
use crate::capture::watermark::{Bound, Subject, Watermark, emit};
use crate::conninfo::{Client, ConnInfo, Purpose};
use crate::db::Store;
use crate::event::BackfillId;
use crate::source::catalog;

/// How often the store is asked for a backfill: somebody waits for it to begin.
const POLL: Duration = Duration::from_secs(1);

/// Deliveries that are due and not begun while a backfill goes on: what changes now
/// would wait behind more.
const BACKLOG: i64 = 10_000;

/// Before a chunk is read again: the transaction that it may lack becomes visible
/// within microseconds, unless it waits for a synchronous standby.
const READ_AGAIN: Duration = Duration::from_millis(50);

pub(super) struct Runner {
    source: ConnInfo,
    store: Store,
    slot: String,
    backfilling: Backfilling,
    /// Of the last chunk that was begun. Never used twice in a run.
    number: u64,
}

/// Why a backfill does not go on, for now or at all.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("{0}")]
    Permanent(String),
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

enum Ended {
    /// It is done, or was paused or cancelled.
    Job,
    Session,
}

impl Runner {
    pub(super) fn new(
        source: ConnInfo,
        store: Store,
        slot: String,
        backfilling: Backfilling,
    ) -> Self {
        Runner {
            source,
            store,
            slot,
            backfilling,
            number: 0,
        }
    }

    /// Returns when the session that takes the chunks has ended. What fails is tried
    /// again: the stream goes on meanwhile.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::reconnect();
        let mut failures = 0;
        loop {
            let before = self.number;
            match self.next().await {
                Ok(None) => {
                    failures = 0;
                    tokio::time::sleep(POLL).await;
                }
                Ok(Some((_, Ok(Ended::Job)))) => failures = 0,
                Ok(Some((_, Ok(Ended::Session)))) => return,
                Ok(Some((id, Err(fault)))) => {
                    if self.number > before + 1 {
                        backoff.reset();
                        failures = 0;
                    }
                    failures += 1;
                    self.judge(id, fault, failures).await;
                    tokio::time::sleep(backoff.next_delay()).await;
                }
                Err(error) => {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "cannot look for backfills; trying again"
                    );
                    tokio::time::sleep(backoff.next_delay()).await;
                }
            }
        }
    }

    /// Runs the backfill whose turn it is.
    async fn next(&mut self) -> anyhow::Result<Option<(BackfillId, Result<Ended, Fault>)>> {
        let job = {
            let client = self.store.get().await?;
            self.jobs(&client).next().await?
        };
        let Some(job) = job else { return Ok(None) };
        let id = job.id;
        tracing::info!(backfill = %id, table = %job.order.table, "backfilling {}", job.order.table);
        Ok(Some((id, self.backfill(job).await)))
    }

    fn jobs<'a>(&'a self, client: &'a Client) -> Jobs<'a> {
        Jobs {
            client,
            slot: &self.slot,
        }
    }

    /// What cannot be fixed by time ends the backfill; its reason is kept with it.
    async fn judge(&self, id: BackfillId, fault: Fault, failures: u32) {
        let (reason, permanent) = match fault {
            Fault::Permanent(reason) => (reason, true),
            Fault::Other(error) => {
                // The table may have been altered behind its description: once more.
                let permanent = failures > 1 && is_permanent(&error);
                (format!("{error:#}"), permanent)
            }
        };
        if !permanent {
            tracing::warn!(backfill = %id, error = reason, "the backfill was interrupted; trying again");
            return;
        }
        tracing::error!(backfill = %id, error = reason, "the backfill has failed");
        let recorded = async {
            let client = self.store.get().await?;
            self.jobs(&client).fail(id, &reason).await
        };
        if let Err(error) = recorded.await {
            tracing::warn!(
                error = format!("{error:#}"),
                "cannot record why the backfill failed"
            );
        }
    }

    async fn backfill(&mut self, mut job: Job) -> Result<Ended, Fault> {
        let client = self
            .source
            .connect_writable(Purpose::Backfill)
            .await
            .map_err(anyhow::Error::from)?;
        let mut reader = describe(&client, &job).await?;
        loop {
            if !self.room(job.id).await? {
                return Ok(Ended::Job);
            }
            let started = Instant::now();
            let (taken, rows, cursor, end) = match self.chunk(&client, &reader, &job).await? {
                Some(taken) => taken,
                None => return Ok(Ended::Session),
            };
            match taken {
                Taken::Durable if end => return self.done(job.id).await,
                Taken::Durable => job.cursor = cursor.or(job.cursor),
                Taken::Stopped => return Ok(Ended::Job),
                Taken::ReadAgain => {
                    tokio::time::sleep(READ_AGAIN).await;
                    reader = describe(&client, &job).await?;
                    continue;
                }
                Taken::UnknownRule(rule) => {
                    return Err(Fault::Permanent(format!(
                        "the walhook that holds the slot has no rule `{rule}`: restart it with \
                         the configuration that has it, then resume"
                    )));
                }
            }
            let pace = f64::from(job.order.rows_per_second);
            let due = Duration::from_secs_f64(rows as f64 / pace);
            tokio::time::sleep(due.saturating_sub(started.elapsed())).await;
        }
    }

    /// Reads a chunk between two watermarks. `None`: the session has ended.
    async fn chunk(
        &mut self,
        client: &Client,
        reader: &Reader,
        job: &Job,
    ) -> anyhow::Result<Option<(Taken, usize, Option<Vec<String>>, bool)>> {
        let after = job.cursor.as_deref();
        let limit = chunk_rows(job);
        let next = reader.next(client, after, limit).await?;
        self.number += 1;
        let watermark = |bound| Watermark {
            run: self.backfilling.run,
            subject: Subject::Backfill(job.id.0),
            chunk: self.number,
            bound,
        };
        emit(client, &watermark(Bound::Low).content()).await?;
        let read = reader.read(client, after, &next, limit).await?;
        let (taken, answer) = oneshot::channel();
        let (rows, cursor, end) = (read.rows.len(), read.cursor.clone(), read.end);
        let chunk = Chunk {
            backfill: job.id.0,
            number: self.number,
            relation: std::sync::Arc::clone(&reader.table().relation),
            rows: read.rows,
            cursor: read.cursor,
            end,
            snapshot: read.snapshot,
            taken,
        };
        // Sent before the second watermark is written: whoever meets that has it.
        if self.backfilling.chunks.send(chunk).await.is_err() {
            return Ok(None);
        }
        emit(client, &watermark(Bound::High).content()).await?;
        let taken = answer.await.ok();
        Ok(taken.map(|taken| (taken, rows, cursor, end)))
    }

    /// Waits until the deliveries that are due are not too many. False where the backfill
    /// was paused or cancelled meanwhile.
    async fn room(&self, id: BackfillId) -> anyhow::Result<bool> {
        let mut waits = false;
        loop {
            {
                let client = self.store.get().await?;
                let jobs = self.jobs(&client);
                let backlog = jobs.backlog(BACKLOG + 1).await?;
                if backlog <= BACKLOG {
                    return Ok(true);
                }
                if !waits {
                    waits = true;
                    let reason = format!("more than {BACKLOG} deliveries are due");
                    tracing::info!(backfill = %id, "the backfill waits: {reason}");
                    jobs.wait(id, Some(&reason)).await?;
                }
                let job = jobs.get(id).await?;
                if job.is_none_or(|job| job.status != Status::Running) {
                    return Ok(false);
                }
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn done(&self, id: BackfillId) -> Result<Ended, Fault> {
        tracing::info!(backfill = %id, "the backfill is done");
        let client = self.store.get().await.map_err(anyhow::Error::from)?;
        self.jobs(&client).forget_streamed().await?;
        Ok(Ended::Job)
    }
}

/// No more than a second's worth, so that the rate is kept smoothly.
fn chunk_rows(job: &Job) -> usize {
    let rows = job.order.chunk_rows.min(job.order.rows_per_second);
    usize::try_from(rows).unwrap_or(1).max(1)
}

/// The table as it is now.
async fn describe(client: &Client, job: &Job) -> Result<Reader, Fault> {
    let name = &job.order.table;
    let described = catalog::describe(client, std::slice::from_ref(name)).await?;
    let Some(found) = described.first() else {
        return Err(Fault::Permanent(format!("{name} does not exist any more")));
    };
    let table = catalog::readable(found);
    let table = table.map_err(|error: NoKey| Fault::Permanent(error.to_string()))?;
    if table.key_names() != job.order.key {
        return Err(Fault::Permanent(format!(
            "the key of {name} is another one than when the backfill began: cancel it, and begin again"
        )));
    }
    let reader = Reader::new(client, table, job.order.wanted.clone()).await?;
    let begun = reader.begin(client).await;
    begun.with_context(|| format!("prepare to read {name}"))?;
    Ok(reader)
}

/// Whether the server refuses what it is asked, as it will the next time: a condition or
/// a table that is not as it was, a right that lacks, a query that takes too long.
fn is_permanent(error: &anyhow::Error) -> bool {
    let code = |cause: &(dyn std::error::Error + 'static)| {
        let error = cause.downcast_ref::<tokio_postgres::Error>()?;
        error.code().cloned()
    };
    error.chain().filter_map(code).any(|code| {
        code == SqlState::QUERY_CANCELED
            || matches!(&code.code()[..2], "22" | "42" | "0A")
            || code == SqlState::READ_ONLY_SQL_TRANSACTION
    })
}
