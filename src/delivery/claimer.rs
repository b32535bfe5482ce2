//! Claims what waits in the schedule and has become due: retries, leftovers of dead
//! instances, what did not fit into memory, manual retries.
//!
//! It knows for which subscriptions something is due, and claims for those whose lanes
//! have room: rows of the others, of which there may be millions, are never met.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::Notify;
use tokio_postgres::Row;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::dispatcher::Dispatcher;
use super::lanes::{Claimable, Wanted};
use super::{DeliveryConfig, ordering};
use crate::backoff::Backoff;
use crate::db::Store;
use crate::episode::Episode;
use crate::event::SubscriptionId;
use crate::subscription::{Ordering, directory::Directory};

mod batches;
mod delivery;
mod due;
mod listener;
mod probes;
mod session;

use delivery::Claimed;
use due::{Behind, DueTimes};
pub use listener::listen;
use session::{LIST_DUE, Session};

/// What fails, for the log.
const CLAIM: &str = "cannot claim deliveries";

/// Rows claimed by one statement.
const BATCH: usize = 500;

/// How often the whole schedule is looked at, should a wake-up be missed …
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// … and how soon again where something has changed, so that a stream of changes is
/// answered by few looks.
const LOOK_REST: Duration = Duration::from_millis(50);

/// A look may take this share of the time, those that changes ask for included, and
/// this one without any.
const LOOK_SHARE: u32 = 50;
const IDLE_LOOK_SHARE: u32 = 100;

/// After a claim of few what is due waits so long for others to be claimed with it: for so
/// few the statement takes longer to be planned than to be carried out. (A plan for any
/// number of them was once kept, and read the whole table for a large one.)
const CLAIM_REST: Duration = Duration::from_millis(50);
const FEW: usize = 20;

/// What is due and was not claimed is locked by another: it is asked for again so soon.
const LOCKED: Duration = Duration::from_millis(20);

pub struct Claimer {
    pub store: Store,
    pub instance: Uuid,
    pub config: DeliveryConfig,
    pub dispatcher: Arc<Dispatcher>,
    pub directory: Directory,
    /// Notified when the schedule may hold something that is due sooner.
    pub schedule_changed: Arc<Notify>,
}

impl Claimer {
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut episode = Episode::default();
        let mut backoff = Backoff::reconnect();
        let mut known = Knowledge::default();
        let mut session = None;
        loop {
            // Interest is registered before the store is read, so that a change that
            // comes meanwhile is not slept through.
            let room = self.dispatcher.room.notified();
            let released = self.dispatcher.released.told.notified();
            let changed = self.schedule_changed.notified();
            tokio::pin!(changed);
            if changed.as_mut().enable() {
                known.look_wanted = true;
                changed.set(self.schedule_changed.notified());
            }
            let (sleep, failed) = match self.claim(&mut session, &mut known).await {
                Ok(Found::More) if stop.is_cancelled() => return Ok(()),
                Ok(Found::More) => {
                    backoff.reset();
                    episode.succeeded(CLAIM);
                    continue;
                }
                Ok(Found::NothingUntil(time)) => {
                    backoff.reset();
                    episode.succeeded(CLAIM);
                    (time.saturating_duration_since(Instant::now()), false)
                }
                Err(error) => {
                    episode.failed(CLAIM, &error);
                    known.look_wanted = true;
                    session = None;
                    (backoff.next_delay(), true)
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(sleep) => {}
                () = changed, if !failed => known.look_wanted = true,
                () = room, if !failed => {}
                () = released, if !failed => {}
            }
        }
    }

    /// The session is opened when it is needed.
    async fn claim(
        &self,
        session: &mut Option<Session>,
        known: &mut Knowledge,
    ) -> anyhow::Result<Found> {
        if known.next_look() <= Instant::now() {
            self.look(known).await?;
        }
        let probe_of_open = self.close_batches(known).await?;
        let now = Instant::now();
        let released = self.dispatcher.released.take();
        match known.rests_until {
            // Whoever waits for others of its row has waited long enough.
            Some(until) if released.is_empty() && until > now => {
                return Ok(Found::NothingUntil(until));
            }
            _ => {}
        }
        for lane in released {
            known.due.bring_forward(lane, now);
        }
        let claimable = self.dispatcher.claimable(known.due.due(now), BATCH);
        if claimable.wanted.is_empty() {
            let probes = [claimable.next_probe, probe_of_open];
            let probe = probes.into_iter().flatten().min().map(|wait| now + wait);
            let due = [known.due.next(now), known.open.next(now)];
            let times = due.into_iter().chain([probe, Some(known.next_look())]);
            let first = times.flatten().min();
            return Ok(Found::NothingUntil(first.unwrap_or(now + LOOK_INTERVAL)));
        }
        // A lease that ends stands where it was claimed: before what is claimed next.
        if known
            .began_at
            .is_none_or(|at| at.elapsed() >= self.config.lease())
        {
            known.began_at = Some(now);
            known.due.begin_at_the_front();
        }
        if session.as_ref().is_some_and(|open| open.client.is_closed()) {
            *session = None;
        }
        let session = match session {
            Some(session) => session,
            None => session.insert(Session::open(&self.store).await?),
        };
        let mut rows = self.lease(session, known, &claimable).await?;
        known.rests_until = (rows.len() < FEW).then(|| now + CLAIM_REST);
        tracing::debug!(
            lanes = claimable.wanted.len(),
            deliveries = rows.len(),
            "claimed"
        );
        if !rows.is_empty() {
            // What was claimed may be of a subscription that was created or enabled since
            // the last look: judged by that, it would be cancelled or parked.
            self.directory.refresh(&session.client).await?;
            let deliveries = self.claimed(session, &mut rows).await?;
            self.dispatcher.take_claimed(deliveries);
        }
        let exhausted = known.settle(&claimable, &rows, Instant::now());
        self.ask_when(session, known, &exhausted).await?;
        Ok(Found::More)
    }

    /// Looks for whom something waits in the whole schedule.
    async fn look(&self, known: &mut Knowledge) -> anyhow::Result<()> {
        let mut client = self.store.get().await.context("connect to the store")?;
        let subscriptions = self.directory.refresh(&client).await?;
        // Of no concern to the others that wait.
        if let Err(error) = ordering::settle(&mut client, &subscriptions).await {
            tracing::warn!(
                error = format!("{error:#}"),
                "cannot settle an order; trying again"
            );
        }
        known.look_wanted = false;
        let began = Instant::now();
        self.look_at_open(&client, known, &subscriptions).await?;
        let statement = client.prepare_cached(LIST_DUE).await?;
        let rows = client
            .query(
                &statement,
                &[&[Uuid::nil()].as_slice(), &[Uuid::max()].as_slice()],
            )
            .await
            .context("ask for whom something is due")?;
        let now = Instant::now();
        let found: HashMap<_, _> = rows.iter().map(|row| due_time(row, now)).collect();
        let gone = known.due.replace(&found, now);
        self.dispatcher
            .drained(known.without_open(gone).into_iter());
        self.ask_probes(&client, known).await?;
        known.looked_at = Some(now);
        known.look_took = now - began;
        Ok(())
    }

    async fn lease(
        &self,
        session: &Session,
        known: &Knowledge,
        claimable: &Claimable,
    ) -> anyhow::Result<Vec<Claimed>> {
        let wanted = || claimable.wanted.iter();
        let lanes: Vec<Uuid> = wanted().map(|one| one.lane.0).collect();
        let counts: Vec<i32> = wanted()
            .map(|one| i32::try_from(one.count).unwrap_or(i32::MAX))
            .collect();
        let behind: Vec<_> = wanted().map(|one| known.due.behind(one.lane)).collect();
        let subscriptions = self.directory.snapshot();
        let is_unordered = |lane| {
            let subscription = subscriptions.get(lane);
            subscription.is_some_and(|one| one.ordering == Ordering::None)
        };
        // At the front of a lane stands what may have kept its order from before.
        let plain =
            behind.iter().all(Option::is_some) && wanted().all(|one| is_unordered(one.lane));
        let due: Vec<_> = behind.iter().map(|row| row.map(|row| row.due_at)).collect();
        let ids: Vec<_> = behind.iter().map(|row| row.map(|row| row.id)).collect();
        let bytes = i64::try_from(claimable.bytes).unwrap_or(i64::MAX);
        let lane_bytes = i64::try_from(claimable.lane_bytes).unwrap_or(i64::MAX);
        let statement = match plain {
            true => &session.claim_unordered,
            false => &session.claim,
        };
        let rows = session
            .client
            .query(
                statement,
                &[
                    &self.instance,
                    &self.config.lease().as_secs_f64(),
                    &lanes,
                    &counts,
                    &due,
                    &ids,
                    &bytes,
                    &lane_bytes,
                ],
            )
            .await
            .context("claim due deliveries")?;
        let mut claimed: Vec<Claimed> = rows.iter().map(Claimed::from_row).collect();
        claimed.sort_by_key(|claimed| claimed.place);
        Ok(claimed)
    }

    /// Asks when something is due for those of whom all that is due is claimed.
    async fn ask_when(
        &self,
        session: &Session,
        known: &mut Knowledge,
        exhausted: &[SubscriptionId],
    ) -> anyhow::Result<()> {
        if exhausted.is_empty() {
            return Ok(());
        }
        let ids: Vec<Uuid> = exhausted.iter().map(|lane| lane.0).collect();
        let rows = session
            .client
            .query(&session.list_due, &[&ids, &ids])
            .await
            .context("ask for the next due time")?;
        let now = Instant::now();
        for lane in exhausted {
            known.due.remove(*lane);
        }
        for row in &rows {
            let (lane, at) = due_time(row, now);
            known.due.set(lane, at.max(now + LOCKED), None);
        }
        let drained = known.without_open(exhausted.to_vec());
        self.dispatcher.drained(drained.into_iter());
        Ok(())
    }
}

/// What the claimer knows of the schedule.
#[derive(Default)]
struct Knowledge {
    due: DueTimes,
    /// Of batches that are not closed.
    open: DueTimes,
    open_looked_at: Option<Instant>,
    /// There is, or was, a subscription that wants batches.
    has_batches: bool,
    rests_until: Option<Instant>,
    /// When all lanes were last claimed of from their front.
    began_at: Option<Instant>,
    looked_at: Option<Instant>,
    look_took: Duration,
    look_wanted: bool,
}

impl Knowledge {
    fn next_look(&self) -> Instant {
        let Some(looked_at) = self.looked_at else {
            return Instant::now();
        };
        looked_at
            + match self.look_wanted {
                true => LOOK_REST.max(self.look_took * LOOK_SHARE),
                false => LOOK_INTERVAL.max(self.look_took * IDLE_LOOK_SHARE),
            }
    }

    /// Those for whom no batch is open either.
    fn without_open(&self, mut lanes: Vec<SubscriptionId>) -> Vec<SubscriptionId> {
        lanes.retain(|lane| !self.open.knows(*lane));
        lanes
    }

    /// Notes what a claim has found. Answers of whom all that is due is claimed.
    fn settle(
        &mut self,
        claimable: &Claimable,
        rows: &[Claimed],
        now: Instant,
    ) -> Vec<SubscriptionId> {
        let mut bytes = 0;
        let mut last: HashMap<SubscriptionId, (usize, Behind)> = HashMap::new();
        let mut holds = HashSet::new();
        for row in rows {
            bytes += row.bytes;
            if row.held {
                holds.insert(row.lane);
                continue;
            }
            let (count, newest) = last.entry(row.lane).or_insert((0, row.at));
            *count += 1;
            if (newest.due_at, newest.id) < (row.at.due_at, row.at.id) {
                *newest = row.at;
            }
        }
        let all_fitted = bytes < claimable.lane_bytes;
        let mut exhausted = Vec::new();
        for Wanted { lane, count } in &claimable.wanted {
            match last.get(lane) {
                Some((found, behind)) if found == count || !all_fitted => {
                    self.due.set(*lane, now, Some(*behind));
                }
                // Those that it has held were in the way of others.
                _ if holds.contains(lane) => self.due.set(*lane, now, None),
                // Perhaps not all that was before: another may have had it locked.
                _ if self.due.behind(*lane).is_some() => self.due.set(*lane, now, None),
                _ => exhausted.push(*lane),
            }
        }
        exhausted
    }
}

enum Found {
    More,
    NothingUntil(Instant),
}

fn due_time(row: &Row, now: Instant) -> (SubscriptionId, Instant) {
    let milliseconds: i64 = row.get("milliseconds");
    let wait = Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0));
    // At the end of time it is asked for again with the next look.
    let at = now.checked_add(wait).unwrap_or(now + LOOK_INTERVAL);
    (SubscriptionId(row.get("subscription_id")), at)
}
