//! Writes results down, many at a time. They commit synchronously, though a result that
//! is lost would only be sent again: the store can crash and come back under a process
//! that goes on, has forgotten the delivery with its result, and still owns its row.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use jiff::Timestamp;
use tokio::sync::{Notify, mpsc};
use uuid::Uuid;

use super::attempt::Outcome;
use super::breaker::BreakerState;
use super::client::Answer;
use super::dispatcher::Dispatcher;
use super::health::{self, Health, Judgement};
use super::instance::Outstanding;
use super::operational::{Announcement, Notice};
use super::ordering::Released;
use super::state::Transition;
use super::stats::{self, Stats};
use super::{Delivery, Hold, partitions};
use crate::backoff::Backoff;
use crate::clock;
use crate::conninfo::{Queries, Transaction};
use crate::db::{Store, is_transient};
use crate::duration::interval_seconds;
use crate::episode::Episode;
use crate::event::{EventId, SubscriptionId};
use crate::metrics::METRICS;
use crate::subscription::directory::Directory;

mod batches;
mod columns;
mod dead_letters;
mod entries;
mod others;
mod session;

use dead_letters::{announced, is_announced};
pub use entries::Entry;
use entries::gather;
use others::waits;
use session::{Session, Written, write_results};

/// What fails, for the log.
const RECORD: &str = "cannot record results";

/// A delivery's next state, and the attempt that led to it.
#[derive(Clone)]
pub struct Record {
    pub delivery: Delivery,
    pub transition: Transition,
    /// The end of the attempt, or when it was decided that there is to be none: the
    /// transition's delay counts from here.
    pub decided_at: Instant,
    pub outcome: Option<Outcome>,
}

impl Record {
    /// A delivery that leaves memory without an attempt that counts.
    pub fn unattempted(delivery: Delivery, transition: Transition) -> Self {
        Record {
            delivery,
            transition,
            decided_at: Instant::now(),
            outcome: None,
        }
    }

    /// A delivery that leaves memory unsent, and is due at once.
    pub fn released(delivery: Delivery) -> Self {
        let delay = Duration::ZERO;
        Record::unattempted(delivery, Transition::Released { delay })
    }

    /// Seconds until it is due; negative where that time has passed on its way here. None
    /// where it is not to be tried.
    fn due_in(&self) -> Option<f64> {
        match self.transition {
            Transition::Retry { delay } | Transition::Released { delay } => {
                Some(interval_seconds(delay) - self.decided_at.elapsed().as_secs_f64())
            }
            Transition::Delivered
            | Transition::Failed
            | Transition::Gone
            | Transition::Parked(_)
            | Transition::Cancelled => None,
        }
    }

    /// Leaves out what the receiver said; false where that is done already.
    fn forget_words(&mut self) -> bool {
        self.outcome.as_mut().is_some_and(|outcome| {
            let excerpt = outcome.excerpt.take();
            let answer = std::mem::take(&mut outcome.answer);
            let message = outcome.error.as_mut().map(|(_, message)| message);
            let message = message.map(std::mem::take).unwrap_or_default();
            excerpt.is_some() || answer != Answer::default() || !message.is_empty()
        })
    }
}

/// Results that wait to be written; when it is full, attempts wait.
pub const QUEUE: usize = 4_096;

/// Results written by one statement. Measured, more of them make a result no cheaper, and the
/// arrays stay small.
const BATCH: usize = 500;

pub struct Recorder {
    pub store: Store,
    pub instance: Uuid,
    pub outstanding: Arc<Outstanding>,
    pub directory: Directory,
    pub health: Arc<Health>,
    pub released: Arc<Released>,
    pub stats: Arc<Stats>,
    /// Endpoints that fail for so long are disabled; none: never.
    pub disable_after: Option<Duration>,
    /// Notified when the schedule has got a new row.
    pub schedule_changed: Arc<Notify>,
}

impl Recorder {
    /// Records until every sender is gone. A store that is away is waited for.
    pub async fn run(
        self,
        mut entries: mpsc::Receiver<Entry>,
        dispatcher: std::sync::Weak<Dispatcher>,
    ) -> anyhow::Result<()> {
        let mut session = None;
        let mut batch = Vec::with_capacity(BATCH);
        while entries.recv_many(&mut batch, BATCH).await > 0 {
            gather(&mut entries, &mut batch).await;
            let mut records = Vec::with_capacity(batch.len());
            let mut news = News::default();
            for entry in batch.drain(..) {
                match entry {
                    Entry::Result(record) => records.push(record),
                    Entry::Breakers(changes) => news.breakers.extend(changes),
                    Entry::Recovered(id) => news.recovered.push(id),
                    Entry::Stats => news.stats.append(self.stats.take()),
                }
            }
            self.write_all(&mut session, &mut records, &news).await?;
            self.settle(&records, &dispatcher);
            self.tell_others(&session, &records, &dispatcher).await;
        }
        Ok(())
    }

    /// Writes the batch. What the store refuses for good is looked for by halving: one
    /// result must not keep the others from being written.
    async fn write_all(
        &self,
        session: &mut Option<Session>,
        records: &mut [Record],
        news: &News,
    ) -> anyhow::Result<()> {
        let written = self.write_or_refuse(session, records, news).await;
        if written.is_ok() || records.is_empty() {
            return written;
        }
        let none = News::default();
        let whole = 0..records.len();
        let mut parts = vec![whole];
        while let Some(part) = parts.pop() {
            let refused = &mut records[part.clone()];
            let Err(error) = self.write_or_refuse(session, refused, &none).await else {
                continue;
            };
            match refused {
                [record] => {
                    let delivery = record.delivery.id;
                    if !record.forget_words() {
                        return Err(error.context(format!(
                            "the store refuses the result of the delivery {delivery}"
                        )));
                    }
                    tracing::error!(
                        %delivery,
                        error = format!("{error:#}"),
                        "the store refuses the result of a delivery; it is recorded without the receiver's words"
                    );
                    parts.push(part);
                }
                _ => {
                    let middle = part.start + part.len() / 2;
                    parts.push(middle..part.end);
                    parts.push(part.start..middle);
                }
            }
        }
        self.write_or_refuse(session, &[], news).await
    }

    /// Writes, and waits for a store that is away; an error is the store's last word.
    async fn write_or_refuse(
        &self,
        session: &mut Option<Session>,
        records: &[Record],
        news: &News,
    ) -> anyhow::Result<()> {
        let mut backoff = Backoff::reconnect();
        let mut episode = Episode::default();
        loop {
            let Err(error) = self.write(session, records, news).await else {
                episode.succeeded(RECORD);
                return Ok(());
            };
            *session = None;
            if !is_transient(&error) {
                return Err(error);
            }
            episode.failed(RECORD, &error);
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    /// One transaction for all. What of it is said of subscriptions comes first: whoever
    /// changes one locks it before its deliveries.
    async fn write(
        &self,
        session: &mut Option<Session>,
        records: &[Record],
        news: &News,
    ) -> anyhow::Result<()> {
        if records.is_empty() && news.is_empty() {
            return Ok(());
        }
        let session = match session {
            Some(session) => session,
            None => session.insert(Session::open(&self.store).await?),
        };
        let Session { client, statements } = session;
        self.health.refresh(client).await?;
        let judgement = self.health.judge(records, self.disable_after);
        let announces = judgement.is_grave() || records.iter().any(is_announced);
        let mut announced_at = None;
        if announces {
            self.directory.refresh(client).await?;
            let clock = clock::read(client)
                .await
                .context("read the store's clock")?;
            let now = clock.now();
            partitions::ensure(client, std::iter::once(EventId::random(now).0)).await?;
            announced_at = Some(now);
        }
        let transaction = client.transaction().await;
        let transaction = transaction.context("begin to record results")?;
        let failing = health::note(&transaction, &judgement).await?;
        health::recovered(&transaction, &news.recovered).await?;
        self.write_breakers(&transaction, &news.breakers).await?;
        let Written { deliveries, ended } =
            write_results(&transaction, statements, self.instance, records).await?;
        let announced = match announced_at {
            Some(now) => {
                self.announce(&transaction, records, &judgement, &deliveries, now)
                    .await?
            }
            None => false,
        };
        news.stats.write(&transaction).await?;
        // What is leased may be ordered: then the next of its row follows from its end.
        let released = ended.release_next(&transaction).await?;
        transaction.commit().await.context("commit results")?;

        let subscriptions = self.directory.snapshot();
        let recovered = &news.recovered;
        self.health
            .learn(&judgement, failing, recovered, &subscriptions);
        self.log_dead_letters(records, &deliveries, &subscriptions);
        self.released.tell(released);
        if announced {
            self.schedule_changed.notify_one();
        }
        let letters = records
            .iter()
            .map(|record| record.delivery.letters().count());
        if deliveries.len() < letters.sum() {
            tracing::debug!(
                results = records.len(),
                written = deliveries.len(),
                "some deliveries were no longer ours; their results were left out"
            );
        }
        Ok(())
    }

    /// Results that end a delivery or a subscription: what follows from them is in the
    /// same transaction, so that nothing ends without its tenant being told. Answers
    /// whether there was something to tell.
    async fn announce(
        &self,
        transaction: &Transaction<'_>,
        records: &[Record],
        judgement: &Judgement,
        written: &HashSet<Uuid>,
        now: Timestamp,
    ) -> anyhow::Result<bool> {
        let subscriptions = self.directory.snapshot();
        let mut notices = health::disable(transaction, judgement, self.disable_after).await?;
        let failed = records
            .iter()
            .flat_map(|record| announced(record).map(move |letter| (record, letter)))
            .filter(|(_, letter)| written.contains(&letter.id.0));
        notices.extend(failed.filter_map(|(record, letter)| {
            let subscription = subscriptions.get(record.delivery.subscription_id)?;
            Some(Notice::failed(&subscription.tenant_id, record, &letter))
        }));
        let announcement = Announcement::of(&notices, &subscriptions, now);
        if announcement.is_empty() {
            return Ok(false);
        }
        announcement
            .insert(transaction, self.store.schema())
            .await
            .context("store operational events")?;
        Ok(true)
    }

    async fn write_breakers(
        &self,
        client: &impl Queries,
        breakers: &HashMap<SubscriptionId, BreakerState>,
    ) -> anyhow::Result<()> {
        if breakers.is_empty() {
            return Ok(());
        }
        let ids: Vec<Uuid> = breakers.keys().map(|id| id.0).collect();
        let states: Vec<&str> = breakers.values().map(|state| state.as_str()).collect();
        client
            .execute(
                include_str!("../../sql/queries/delivery/record_breakers.sql"),
                &[&ids, &states, &self.instance],
            )
            .await
            .context("record breakers")?;
        Ok(())
    }

    /// The batch is in the store: memory may forget it.
    fn settle(&self, records: &[Record], dispatcher: &std::sync::Weak<Dispatcher>) {
        let held = |hold| {
            let of_hold = records
                .iter()
                .filter(move |record| record.delivery.hold == hold);
            of_hold.map(|record| record.delivery.id)
        };
        self.outstanding.remove(held(Hold::Owned).map(|id| id.0));
        if let Some(dispatcher) = dispatcher.upgrade() {
            dispatcher.forget_leased(&held(Hold::Leased).collect::<Vec<_>>());
        }
        if records.iter().any(waits) {
            self.schedule_changed.notify_one();
        }
        for record in records {
            if let Transition::Parked(reason) = record.transition {
                let parked = METRICS.parked.with_label_values(&[reason.as_str()]);
                parked.inc_by(record.delivery.letters().count() as u64);
            }
        }
    }
}

/// What is recorded beside results.
#[derive(Default)]
struct News {
    /// The last state of each.
    breakers: HashMap<SubscriptionId, BreakerState>,
    recovered: Vec<SubscriptionId>,
    stats: stats::Taken,
}

impl News {
    fn is_empty(&self) -> bool {
        self.breakers.is_empty() && self.recovered.is_empty() && self.stats.is_empty()
    }
}
