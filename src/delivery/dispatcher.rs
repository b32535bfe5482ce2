//! Sends what the lanes give out, as many at once as the limits allow.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::attempt::{self, Outcome};
use super::breaker::StateChange;
use super::client::Client;
use super::health::Health;
use super::lanes::{Claimable, Lanes, Limits, Load, Picked};
use super::recorder::{Entry, Record};
use super::state::{self, Transition};
use super::unwritten::Unwritten;
use super::{Delivery, DeliveryConfig, ParkedReason};
use crate::event::{DeliveryId, SubscriptionId};
use crate::metrics::METRICS;
use crate::subscription::{Subscription, directory::Directory};

/// An attempt that takes longer is slow: it leaves the common budget.
const SLOW: Duration = Duration::from_secs(1);

/// How often waiting deliveries and lanes are looked over.
const SWEEP: Duration = Duration::from_secs(1);

pub struct Dispatcher {
    lanes: Mutex<Lanes>,
    client: Client,
    directory: Directory,
    config: DeliveryConfig,
    records: mpsc::Sender<Entry>,
    /// Deliveries that the enqueuer has handed over and not written yet.
    pub unwritten: Arc<Unwritten>,
    /// Which endpoints keep failing; shared with the recorder.
    pub health: Arc<Health>,
    /// Told when a lane that took no claims may take them again.
    pub room: Notify,
    tasks: TaskTracker,
    /// Ends attempts that are still running at the drain's deadline.
    abort: CancellationToken,
}

impl Dispatcher {
    pub fn new(
        config: &DeliveryConfig,
        client: Client,
        directory: Directory,
        records: mpsc::Sender<Entry>,
    ) -> Arc<Self> {
        let limits = Limits {
            concurrency: config.concurrency,
            endpoint_concurrency: config.endpoint_concurrency,
            slow_concurrency: config.slow_concurrency,
        };
        Arc::new(Dispatcher {
            lanes: Mutex::new(Lanes::new(limits)),
            client,
            directory,
            config: config.clone(),
            records,
            unwritten: Arc::default(),
            health: Arc::default(),
            room: Notify::new(),
            tasks: TaskTracker::new(),
            abort: CancellationToken::new(),
        })
    }

    /// Makes room for deliveries that are about to be enqueued, given each one's lane
    /// and body size; says for each whether there is any.
    pub fn reserve(&self, wanted: impl Iterator<Item = (SubscriptionId, usize)>) -> Vec<bool> {
        let now = Instant::now();
        let mut lanes = self.lanes();
        wanted
            .map(|(lane, bytes)| lanes.reserve(lane, bytes, now))
            .collect()
    }

    pub fn unreserve(&self, given_back: impl Iterator<Item = (SubscriptionId, usize)>) {
        let mut lanes = self.lanes();
        given_back.for_each(|(lane, bytes)| lanes.unreserve(lane, bytes));
    }

    /// Takes deliveries that have a reservation, and are in the store or [`Unwritten`].
    pub fn hand_off(self: &Arc<Self>, deliveries: Vec<Delivery>) {
        let mut lanes = self.lanes();
        deliveries
            .into_iter()
            .for_each(|delivery| lanes.push(delivery));
        drop(lanes);
        self.pump();
    }

    /// Takes claimed deliveries. Those that do not fit, as an enqueue was faster, go back:
    /// under their lease they would wait for a minute.
    pub fn take_claimed(self: &Arc<Self>, deliveries: Vec<Delivery>) {
        let now = Instant::now();
        let mut lanes = self.lanes();
        let refused: Vec<(Delivery, Duration)> = deliveries
            .into_iter()
            .filter_map(|delivery| lanes.push_leased(delivery, now))
            .map(|delivery| (delivery, Duration::ZERO))
            .collect();
        drop(lanes);
        self.release(refused);
        self.pump();
    }

    pub fn claimable(&self) -> Claimable {
        self.lanes().claimable(Instant::now())
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
        let mut tick = tokio::time::interval(SWEEP);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = tick.tick() => {}
            }
            let stale = self.lanes().sweep(Instant::now());
            for delivery in stale {
                let due_at = Timestamp::now();
                self.record(Record::unattempted(
                    delivery,
                    Transition::Released { due_at },
                ))
                .await;
            }
            let changes = self.lanes().breaker_changes();
            if !changes.is_empty() {
                self.record(Entry::Breakers(changes)).await;
            }
            let snapshot = self.directory.snapshot();
            self.lanes().retain(|id| snapshot.get(id).is_some());
            let load = self.load();
            set_gauges(load);
            self.pump();
            self.room.notify_one();
        }
    }

    /// Stops: nothing new is sent, what waits goes back to the store, what is in
    /// flight has until `deadline` and is then given up without counting an attempt.
    pub async fn drain(&self, deadline: Duration) {
        let waiting = self.lanes().drain();
        for delivery in waiting {
            let due_at = Timestamp::now();
            self.record(Record::unattempted(
                delivery,
                Transition::Released { due_at },
            ))
            .await;
        }
        self.tasks.close();
        if tokio::time::timeout(deadline, self.tasks.wait())
            .await
            .is_err()
        {
            self.abort.cancel();
            self.tasks.wait().await;
        }
    }

    /// Starts attempts until the lanes give out no more.
    fn pump(self: &Arc<Self>) {
        while let Some(delivery) = self.pick() {
            let dispatcher = Arc::clone(self);
            self.tasks.spawn(dispatcher.work(delivery));
        }
    }

    fn pick(self: &Arc<Self>) -> Option<Delivery> {
        let Picked { next, refused } = self.lanes().pick(Instant::now());
        self.release(refused);
        next
    }

    /// Puts deliveries back into the schedule, each due after its time.
    fn release(self: &Arc<Self>, refused: Vec<(Delivery, Duration)>) {
        if refused.is_empty() {
            return;
        }
        let dispatcher = Arc::clone(self);
        self.tasks.spawn(async move {
            for (delivery, wait) in refused {
                let due_at = state::after(Timestamp::now(), wait);
                let transition = Transition::Released { due_at };
                dispatcher
                    .record(Record::unattempted(delivery, transition))
                    .await;
            }
        });
    }

    /// Sends a delivery, and then whatever the lanes give out next.
    async fn work(self: Arc<Self>, first: Delivery) {
        let mut next = Some(first);
        while let Some(delivery) = next {
            let record = self.send(delivery).await;
            let endpoint = record.delivery.subscription_id;
            let recovered =
                record.transition == Transition::Delivered && self.health.is_failing(endpoint);
            self.record(record).await;
            if recovered {
                self.record(Entry::Recovered(endpoint)).await;
            }
            next = self.pick();
        }
    }

    async fn send(self: &Arc<Self>, delivery: Delivery) -> Record {
        let mut place = Place {
            dispatcher: self,
            lane: delivery.subscription_id,
            slow: false,
            success: None,
        };
        let snapshot = self.directory.snapshot();
        let Some(subscription) = snapshot.get(delivery.subscription_id) else {
            return Record::unattempted(delivery, Transition::Cancelled);
        };
        if !subscription.active {
            return Record::unattempted(delivery, Transition::Parked(ParkedReason::Disabled));
        }
        METRICS
            .latency
            .with_label_values(&["queue"])
            .observe(delivery.queued_at.elapsed().as_secs_f64());
        let outcome = tokio::select! {
            outcome = self.exchange(subscription, &delivery, &mut place.slow) => outcome,
            () = self.abort.cancelled() => {
                let due_at = Timestamp::now();
                return Record::unattempted(delivery, Transition::Released { due_at });
            }
        };
        place.success = Some(outcome.is_success());
        self.judge(delivery, outcome)
    }

    /// The attempt itself. One that turns out slow leaves its place in the common
    /// budget to another.
    async fn exchange(
        self: &Arc<Self>,
        subscription: &Subscription,
        delivery: &Delivery,
        slow: &mut bool,
    ) -> Outcome {
        let id = delivery.event_id.to_string();
        let attempt = attempt::attempt(
            &self.client,
            subscription,
            &id,
            &delivery.event_type,
            delivery.format,
            &delivery.body,
        );
        tokio::pin!(attempt);
        tokio::select! {
            outcome = &mut attempt => return outcome,
            () = tokio::time::sleep(SLOW) => {}
        }
        *slow = self.lanes().slow_down();
        self.pump();
        attempt.await
    }

    fn judge(&self, mut delivery: Delivery, outcome: Outcome) -> Record {
        delivery.attempts += 1;
        let now = Timestamp::now();
        let transition = state::after_attempt(
            &outcome,
            delivery.attempts,
            &self.config.retry_schedule,
            now,
            rand::random(),
        );
        count(&delivery, &outcome, &transition, now);
        Record {
            delivery,
            transition,
            outcome: Some(outcome),
        }
    }

    /// The recorder outlives the dispatcher; while the store is away this waits, and
    /// with it the attempts: nothing is sent whose result has no place to go.
    async fn record(&self, entry: impl Into<Entry>) {
        let entry = match entry.into() {
            Entry::Result(record) => match self.unwritten.keep(record) {
                Some(record) => Entry::Result(record),
                None => return,
            },
            other @ (Entry::Breakers(_) | Entry::Recovered(_)) => other,
        };
        self.pass_on(entry).await;
    }

    /// To the recorder: the delivery has its row.
    pub async fn pass_on(&self, entry: impl Into<Entry>) {
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

/// A delivery's place among those in flight; given back however its attempt ends.
struct Place<'a> {
    dispatcher: &'a Dispatcher,
    lane: SubscriptionId,
    slow: bool,
    /// None where nothing was learnt about the endpoint.
    success: Option<bool>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut lanes = self.dispatcher.lanes();
        let change = lanes.finish(self.lane, self.slow, self.success, Instant::now());
        drop(lanes);
        match change {
            Some(StateChange::Opened(wait)) => {
                tracing::warn!(subscription = %self.lane, seconds = wait.as_secs(), "circuit breaker opened: the endpoint keeps failing");
            }
            Some(StateChange::Closed) => {
                tracing::info!(subscription = %self.lane, "circuit breaker closed");
                self.dispatcher.room.notify_one();
            }
            None => {}
        }
    }
}

fn set_gauges(load: Load) {
    let depth = |state, deliveries| {
        let depth = METRICS.queue_depth.with_label_values(&[state]);
        depth.set(deliveries as f64);
    };
    depth("memory", load.queued);
    depth("in_flight", load.in_flight);
    METRICS
        .breakers_open
        .set(i64::try_from(load.breakers_open).unwrap_or(i64::MAX));
}

fn count(delivery: &Delivery, outcome: &Outcome, transition: &Transition, now: Timestamp) {
    let status = match transition {
        Transition::Delivered => "delivered",
        Transition::Retry { .. } | Transition::Released { .. } => "retrying",
        Transition::Failed | Transition::Gone => "failed",
        Transition::Parked(_) => "parked",
        Transition::Cancelled => "cancelled",
    };
    METRICS
        .deliveries
        .with_label_values(&[status, &delivery.event_type])
        .inc();
    let code = outcome
        .http_status
        .map_or_else(|| "none".to_owned(), |code| code.to_string());
    METRICS.http_status.with_label_values(&[&code]).inc();
    let seconds = outcome.duration.as_secs_f64();
    METRICS.delivery_duration.observe(seconds);
    METRICS
        .latency
        .with_label_values(&["http"])
        .observe(seconds);
    if delivery.attempts > 1 {
        METRICS.retries.inc();
    }
    if *transition == Transition::Delivered {
        let total = now.duration_since(delivery.occurred_at).as_secs_f64();
        METRICS
            .latency
            .with_label_values(&["total"])
            .observe(total.max(0.0));
    }
}
