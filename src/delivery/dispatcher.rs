//! Sends what the lanes give out, as many at once as the limits allow.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::attempt::{self, Outcome};
use super::client::Client;
use super::health::Health;
use super::lanes::{Asked, Claimable, Lanes, Limits, Load, Signals};
use super::offered::Offered;
use super::ordering::Released;
use super::recorder::{Entry, Record};
use super::state::{self, Transition};
use super::stats::{Ended, Stats};
use super::{Delivery, DeliveryConfig, Hold, ParkedReason};
use crate::clock::Clocks;
use crate::event::{DeliveryId, SubscriptionId};
use crate::metrics::METRICS;
use crate::subscription::{Subscription, directory::Directory};

mod leases;
mod pace;
mod place;
mod tally;
mod workers;

use place::Place;
use workers::Workers;

/// How often waiting deliveries and lanes are looked over.
const SWEEP: Duration = Duration::from_secs(1);

pub struct Dispatcher {
    lanes: Mutex<Lanes>,
    client: Client,
    directory: Directory,
    config: DeliveryConfig,
    records: mpsc::Sender<Entry>,
    /// When the store was last told, and answered, that this instance lives.
    heard: watch::Receiver<Instant>,
    clocks: Arc<Clocks>,
    /// Deliveries that the enqueuer has offered and not written yet.
    pub offered: Arc<Offered>,
    /// Which endpoints keep failing; shared with the recorder.
    pub health: Arc<Health>,
    /// What became of attempts; shared with the recorder.
    pub stats: Arc<Stats>,
    /// For whom the recorder has let something go that was held.
    pub released: Arc<Released>,
    /// Notified when a lane can take more of what is due for it in the store.
    pub room: Notify,
    /// Notified when a lane is to be woken sooner than was known.
    timer: Notify,
    /// Notified when so much is in flight that it may be too much for the machine.
    crowded: Notify,
    /// Attempts that have ended.
    ended: AtomicU64,
    workers: Arc<Workers>,
    /// Notified when a subscription that was let go can be given back.
    pub let_gone: Arc<Notify>,
    tasks: TaskTracker,
    /// Where attempts run, whoever hands a delivery over.
    runtime: Handle,
    /// Ends attempts that are still running at the drain's deadline.
    abort: CancellationToken,
}

impl Dispatcher {
    /// To be called within the runtime in which attempts are to run.
    pub fn new(
        config: &DeliveryConfig,
        client: Client,
        directory: Directory,
        records: mpsc::Sender<Entry>,
        heard: watch::Receiver<Instant>,
        clocks: Arc<Clocks>,
    ) -> Arc<Self> {
        let limits = Limits {
            concurrency: config.concurrency,
            endpoint_concurrency: config.endpoint_concurrency,
            slow_concurrency: config.slow_concurrency,
            at_hand: pace::at_hand(),
        };
        Arc::new(Dispatcher {
            lanes: Mutex::new(Lanes::new(limits)),
            client,
            directory,
            config: config.clone(),
            records,
            heard,
            clocks,
            offered: Arc::default(),
            health: Arc::default(),
            released: Arc::default(),
            stats: Arc::default(),
            room: Notify::new(),
            timer: Notify::new(),
            crowded: Notify::new(),
            ended: AtomicU64::new(0),
            workers: Workers::new(),
            let_gone: Arc::default(),
            tasks: TaskTracker::new(),
            runtime: Handle::current(),
            abort: CancellationToken::new(),
        })
    }

    /// Makes room for deliveries that are about to be enqueued, given each one's lane
    /// and body size; says for each whether there is any.
    pub fn reserve(&self, wanted: impl Iterator<Item = (SubscriptionId, usize)>) -> Vec<bool> {
        let now = Instant::now();
        let may_send = self.may_send();
        let mut lanes = self.lanes();
        wanted
            .map(|(lane, bytes)| may_send && lanes.reserve(lane, bytes, now))
            .collect()
    }

    pub fn unreserve(&self, given_back: impl Iterator<Item = (SubscriptionId, usize)>) {
        let signals = {
            let mut lanes = self.lanes();
            given_back.for_each(|(lane, bytes)| lanes.unreserve(lane, bytes));
            lanes.take_signals()
        };
        self.pass_on(signals);
    }

    /// Takes deliveries that have a reservation, and are in the store or [`Offered`].
    pub fn hand_off(self: &Arc<Self>, deliveries: Vec<Delivery>) {
        let now = Instant::now();
        let mut lanes = self.lanes();
        lanes.follow(&self.directory.snapshot(), now);
        for delivery in deliveries {
            lanes.push(delivery, now);
        }
        drop(lanes);
        self.pump();
    }

    /// Takes claimed deliveries.
    pub fn take_claimed(self: &Arc<Self>, deliveries: Vec<Delivery>) {
        let now = Instant::now();
        let mut lanes = self.lanes();
        lanes.follow(&self.directory.snapshot(), now);
        for delivery in deliveries {
            lanes.push_leased(delivery, now);
        }
        drop(lanes);
        self.pump();
    }

    /// What to claim for those for whom something is due; see [`Lanes::claimable`].
    pub fn claimable(&self, due: impl Iterator<Item = SubscriptionId>, limit: usize) -> Claimable {
        let now = Instant::now();
        let limit = if self.may_send() { limit } else { 0 };
        let mut lanes = self.lanes();
        lanes.follow(&self.directory.snapshot(), now);
        lanes.claimable(due, limit, now)
    }

    /// Takes requests for probes; returns those that it took: see [`Lanes::ask_probes`].
    pub fn ask_probes(self: &Arc<Self>, asked: Vec<SubscriptionId>) -> Vec<SubscriptionId> {
        let Asked { own, refused } = self.lanes().ask_probes(asked, Instant::now());
        self.release(refused);
        own
    }

    /// Nothing more is due in the store for these.
    pub fn drained(&self, lanes: impl Iterator<Item = SubscriptionId>) {
        self.lanes().drained(lanes);
    }

    pub fn forget_leased(&self, ids: &[DeliveryId]) {
        let mut lanes = self.lanes();
        ids.iter().for_each(|id| lanes.forget_leased(*id));
    }

    pub fn load(&self) -> Load {
        self.lanes().load()
    }

    /// Looks the lanes over until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) -> anyhow::Result<()> {
        tokio::select! {
            ended = self.look_after(stop) => ended,
            never = self.keep_pace() => never,
        }
    }

    async fn look_after(self: &Arc<Self>, stop: CancellationToken) -> anyhow::Result<()> {
        let mut tick = tokio::time::interval(SWEEP);
        let mut could_send = true;
        loop {
            // Interest is registered before the next time is read.
            let sooner = self.timer.notified();
            let next = self.lanes().next_wake();
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = tick.tick() => {}
                () = sooner => continue,
                () = sleep_until(next) => {
                    self.lanes().wake(Instant::now());
                    self.pump();
                    continue;
                }
            }
            let stale = self.lanes().sweep(Instant::now());
            for delivery in stale {
                self.record(Record::released(delivery)).await;
            }
            let changes = self.lanes().breaker_changes();
            if !changes.is_empty() {
                self.record(Entry::Breakers(changes)).await;
            }
            if self.stats.is_due(Instant::now()) {
                self.record(Entry::Stats).await;
            }
            let load = {
                let mut lanes = self.lanes();
                lanes.follow(&self.directory.snapshot(), Instant::now());
                lanes.retain();
                lanes.load()
            };
            tally::set_gauges(load);
            let may_send = self.may_send();
            if may_send && !could_send {
                // What is due waited for it.
                self.room.notify_one();
            }
            could_send = may_send;
            self.pump();
        }
    }

    /// Stops: nothing new is sent, what waits goes back to the store, what is in
    /// flight has until `deadline` and is then given up without counting an attempt.
    pub async fn drain(&self, deadline: Duration) {
        let waiting = self.lanes().drain();
        for delivery in waiting {
            self.record(Record::released(delivery)).await;
        }
        self.workers.close();
        self.tasks.close();
        if tokio::time::timeout(deadline, self.tasks.wait())
            .await
            .is_err()
        {
            self.abort.cancel();
            self.tasks.wait().await;
        }
        self.record(Entry::Stats).await;
    }

    fn pass_on(&self, signals: Signals) {
        if signals.room {
            self.room.notify_one();
        }
        if signals.timer {
            self.timer.notify_one();
        }
        if signals.crowded {
            self.crowded.notify_one();
        }
        if signals.let_gone {
            self.let_gone.notify_one();
        }
    }

    async fn send(self: &Arc<Self>, delivery: Delivery, place: &mut Place) -> Record {
        let snapshot = self.directory.snapshot();
        let Some(subscription) = snapshot.get(delivery.subscription_id) else {
            return Record::unattempted(delivery, Transition::Cancelled);
        };
        // One that was claimed has its row: it is this instance's, whoever wrote it.
        if delivery.hold == Hold::Owned && self.offered.is_disowned(delivery.id) {
            return Record::released(delivery);
        }
        if !subscription.active {
            return Record::unattempted(delivery, Transition::Parked(ParkedReason::Disabled));
        }
        // It became so while the delivery was in memory.
        if subscription.unreadable.is_some() {
            return Record::released(delivery);
        }
        let queued = delivery.queued_at.elapsed();
        METRICS.stages.queue.observe(queued.as_secs_f64());
        let outcome = tokio::select! {
            outcome = self.exchange(subscription, &delivery, place) => outcome,
            () = self.abort.cancelled() => {
                return Record::released(delivery);
            }
        };
        place.success = Some(outcome.is_success());
        place.reason = outcome.reason();
        self.judge(delivery, outcome, &subscription.tenant_id)
    }

    /// The attempt itself. One that turns out slow leaves its place in the common
    /// budget to another.
    async fn exchange(
        self: &Arc<Self>,
        subscription: &Subscription,
        delivery: &Delivery,
        place: &mut Place,
    ) -> Outcome {
        let id = delivery.webhook_id();
        let slow_down = || {
            if let Some(ticket) = &mut place.ticket {
                self.lanes().slow_down(ticket, Instant::now());
            }
            self.pump();
        };
        let message = attempt::Message {
            webhook_id: &id,
            event_type: &delivery.event_type,
            format: delivery.format,
            body: &delivery.body,
            is_batch: delivery.batch.is_some(),
        };
        attempt::attempt(&self.client, subscription, &message, slow_down).await
    }

    fn judge(&self, mut delivery: Delivery, outcome: Outcome, tenant: &Arc<str>) -> Record {
        let decided_at = Instant::now();
        self.ended.fetch_add(1, Ordering::Relaxed);
        delivery.attempts += 1;
        let transition = state::after_attempt(
            &outcome,
            delivery.attempts,
            &self.config.retry_schedule,
            rand::random(),
        );
        tally::count(&delivery, &outcome, &transition, &self.clocks);
        self.stats.count(&Ended {
            subscription: delivery.subscription_id,
            tenant,
            deliveries: delivery.letters().count(),
            attempts: delivery.attempts,
            at: self.clocks.store().time_at(outcome.ended()),
            outcome: &outcome,
            transition: &transition,
        });
        Record {
            delivery,
            transition,
            decided_at,
            outcome: Some(outcome),
        }
    }

    /// The recorder outlives the dispatcher; while the store is away this waits, and
    /// with it the attempts: nothing is sent whose result has no place to go.
    async fn record(&self, entry: impl Into<Entry>) {
        let entry = match entry.into() {
            Entry::Result(record) => match self.offered.settle(record) {
                Some(record) => Entry::Result(record),
                None => return,
            },
            other @ (Entry::Breakers(_) | Entry::Recovered(_) | Entry::Stats) => other,
        };
        self.record_written(entry).await;
    }

    /// To the recorder: the delivery has its row.
    pub async fn record_written(&self, entry: impl Into<Entry>) {
        if self.records.send(entry.into()).await.is_err() {
            tracing::error!(
                "a result was lost: the recorder has ended; the delivery will be sent again"
            );
        }
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        self.workers.close();
    }
}

/// Never, where there is no time to sleep until.
async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
