//! This process among the others that share the store: it says that it lives, and
//! takes over what a silent one held.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::clock::{ClockReading, Clocks};
use crate::conninfo::Purpose;
use crate::db::{Store, is_refusal};
use crate::episode::Episode;
use crate::event::{id_floor, milliseconds};
use crate::secret::EncryptionKey;
use crate::subscription::pause::await_enqueue;

mod adoption;
mod comparison;
mod process;

use adoption::{Owned, disown, remove};
use process::Process;

/// What fails, for the log.
const BEAT: &str = "cannot record a heartbeat in the store";

/// How often an instance says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// An instance that is silent for this long is fenced: three heartbeats. Its leases of
/// subscriptions hold as long, reckoned on its own side from when it began to speak.
pub const SILENCE: Duration = Duration::from_secs(6);

/// How soon a heartbeat that was not answered is tried again: nothing is sent under a
/// lease that has run out.
const BEAT_AGAIN: Duration = Duration::from_millis(500);

/// The ids of the deliveries that this instance owns and has not recorded, and the
/// low water that the store knows of them: at or below every one.
pub struct Outstanding {
    ids: Mutex<BTreeSet<Uuid>>,
    /// Held while the low water is being written. An enqueue that must lower it and a
    /// heartbeat that raises it would otherwise overtake each other.
    low_water: tokio::sync::Mutex<Uuid>,
}

impl Outstanding {
    fn new(low_water: Uuid) -> Self {
        Outstanding {
            ids: Mutex::default(),
            low_water: tokio::sync::Mutex::new(low_water),
        }
    }

    /// Registers ids before their enqueue's transaction begins, so that no heartbeat
    /// raises the low water above them meanwhile.
    pub fn insert(&self, ids: impl Iterator<Item = Uuid>) {
        self.ids
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(ids);
    }

    pub fn remove(&self, ids: impl Iterator<Item = Uuid>) {
        let mut own = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        for id in ids {
            own.remove(&id);
        }
    }

    pub fn len(&self) -> usize {
        self.ids
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The low water as the store knows it, locked against being written by another.
    pub async fn low_water(&self) -> tokio::sync::MutexGuard<'_, Uuid> {
        self.low_water.lock().await
    }

    /// What the low water may be raised to now: the smallest id that is owned, or what
    /// an event that commits now would get. Where our clock is ahead of the source's, by which
    /// ids are made, that is too high: an enqueue lowers it before its deliveries are there.
    fn rise(&self) -> Uuid {
        let now = id_floor(milliseconds(Timestamp::now()));
        let ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.first().copied().unwrap_or(now)
    }
}

/// A registered instance; its id is new with every start of the process.
pub struct Instance {
    pub id: Uuid,
    pub outstanding: Arc<Outstanding>,
    /// The store's clock is read with every heartbeat.
    pub clocks: Arc<Clocks>,
    /// When it last began to say that it lives, and was heard.
    heard: watch::Sender<Instant>,
    /// The last of its heartbeats that is known to be committed.
    counted: AtomicI64,
    /// What this process encrypts with, if it does.
    key: Option<Arc<EncryptionKey>>,
    store: Store,
    /// For heartbeats alone: whatever else waits for the store, these do not wait for it.
    membership: Store,
}

impl Instance {
    pub async fn register(store: &Store, roles: &[String]) -> anyhow::Result<Self> {
        let id = Uuid::now_v7();
        let low_water = id_floor(milliseconds(Timestamp::now()));
        let hostname = whoami::hostname().unwrap_or_default();
        let client = store.get().await.context("connect to the store")?;
        let began = Instant::now();
        let registered = client
            .query_one(
                include_str!("../../sql/queries/delivery/register_instance.sql"),
                &[
                    &id,
                    &hostname,
                    &env!("CARGO_PKG_VERSION"),
                    &roles,
                    &low_water,
                    &Process::own().map(|own| own.to_string()),
                ],
            )
            .await
            .context("register this instance")?;
        let clocks = Arc::new(Clocks::default());
        clocks.observe_store(ClockReading::between(
            began,
            Instant::now(),
            registered.get(0),
        ));
        let outstanding = Arc::new(Outstanding::new(low_water));
        Ok(Instance {
            id,
            outstanding,
            clocks,
            heard: watch::Sender::new(began),
            counted: AtomicI64::new(0),
            key: None,
            store: store.clone(),
            membership: store.reopen(Purpose::Membership)?,
        })
    }

    /// Tells the others which keys this process has, and lets it encrypt with the one that
    /// the store has on record.
    pub fn with_key(mut self, key: Arc<EncryptionKey>) -> Self {
        self.key = Some(key);
        self
    }

    pub fn heard(&self) -> watch::Receiver<Instant> {
        self.heard.subscribe()
    }

    /// Whether others may take over what this instance holds: its last confirmed heartbeat
    /// is too old.
    pub fn is_silent(&self) -> bool {
        self.heard.borrow().elapsed() >= SILENCE
    }

    /// Waits until it is. Cancel-safe.
    pub async fn silent(&self) {
        let mut heard = self.heard();
        loop {
            let until = *heard.borrow_and_update() + SILENCE;
            tokio::select! {
                () = tokio::time::sleep_until(until.into()) => return,
                // The sender is ours: it does not go away.
                _ = heard.changed() => {}
            }
        }
    }

    /// Heartbeats until `stop`, fences silent instances and adopts what they held.
    /// Ends with an error when this instance has itself been fenced.
    pub async fn run(
        &self,
        schedule_changed: Arc<Notify>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut tick = tokio::time::interval(HEARTBEAT);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // While the store was away nobody could be heard: only one who has himself been
        // heard for long enough may call another silent.
        let (heard, hearing) = watch::channel(None);
        let mut episode = Episode::default();
        let adopting = self.adopt_when_heard(hearing, schedule_changed);
        tokio::pin!(adopting);
        loop {
            // A dropped adoption is rolled back, and taken up by whoever is next.
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = &mut adopting => {}
                _ = tick.tick() => {}
            }
            // Adoption goes on while the store is told that we live: it may take longer
            // than an instance may be silent.
            let began = Instant::now();
            let beating = tokio::time::timeout(SILENCE / 2, self.beat());
            let beat = tokio::select! {
                beat = beating => beat,
                () = &mut adopting => continue,
            };
            match beat.context("the store did not answer in time").flatten() {
                Ok(true) => {
                    self.heard.send_replace(began);
                    episode.succeeded(BEAT);
                    heard.send_modify(|since| {
                        since.get_or_insert_with(Instant::now);
                    });
                }
                Ok(false) => bail!(
                    "another instance has fenced this one, as it was silent for {} s, and has its \
                     deliveries; start it again",
                    SILENCE.as_secs()
                ),
                // The store is another, or lost what it had: nothing may be sent any more.
                Err(error) if is_refusal(&error) => return Err(error),
                Err(error) => {
                    heard.send_replace(None);
                    tick.reset_after(BEAT_AGAIN);
                    episode.failed(BEAT, &error);
                }
            }
        }
    }

    async fn beat(&self) -> anyhow::Result<bool> {
        let mut client = self
            .membership
            .get()
            .await
            .context("connect to the store")?;
        let mut low_water = self.outstanding.low_water().await;
        let transaction = client.transaction().await.context("begin the heartbeat")?;
        // The row is ours before the rise is decided on. A heartbeat that we give up
        // waiting for is then rolled back, or ends before an enqueue's lower low water;
        // a single statement might still come after it and rise above its deliveries.
        let sql = include_str!("../../sql/queries/delivery/lock_instance.sql");
        let statement = transaction.prepare_cached(sql).await?;
        let alive = transaction
            .query_opt(&statement, &[&self.id, &self.key_ids()])
            .await;
        let Some(alive) = alive.context("lock this instance's row")? else {
            return Ok(false);
        };
        let heartbeat: i64 = alive.get("heartbeats");
        let transaction = self.compare(transaction, heartbeat).await?;
        let rise = self.outstanding.rise();
        // Until the answer is here the store may know the one or the other.
        *low_water = rise.max(*low_water);
        let sql = include_str!("../../sql/queries/delivery/heartbeat.sql");
        let statement = transaction.prepare_cached(sql).await?;
        let skew = self.clocks.store().skew().0;
        let asked = Instant::now();
        let beaten = transaction
            .query_one(&statement, &[&self.id, &rise, &skew])
            .await
            .context("heartbeat")?;
        let reading = ClockReading::between(asked, Instant::now(), beaten.get(0));
        self.clocks.observe_store(reading);
        transaction.commit().await.context("commit the heartbeat")?;
        *low_water = rise;
        self.counted.store(heartbeat, Ordering::Relaxed);
        Ok(true)
    }

    /// Moves into the schedule those of `ids` that this instance owns: an enqueue whose
    /// commit was not answered may have left them in the store and not in memory.
    pub async fn give_up(&self, ids: &[Uuid]) -> anyhow::Result<u64> {
        let mut client = self.store.get().await.context("connect to the store")?;
        let transaction = client.transaction().await?;
        // An enqueue holds the slot's progress until it has ended, one way or the other.
        await_enqueue(&transaction)
            .await
            .context("wait for the end of an unconfirmed enqueue")?;
        let moved = disown(&transaction, self.id, Owned::These(ids))
            .await
            .context("move deliveries of an unconfirmed enqueue into the schedule")?;
        transaction.commit().await?;
        self.outstanding.remove(ids.iter().copied());
        Ok(moved)
    }

    /// The last word of a drained instance.
    pub async fn deregister(&self) -> anyhow::Result<()> {
        let client = self.store.get().await?;
        let low_water = client
            .query_opt(
                include_str!("../../sql/queries/delivery/read_low_water.sql"),
                &[&self.id],
            )
            .await?;
        let Some(low_water) = low_water else {
            // Another has fenced this instance and taken over what it held.
            return Ok(());
        };
        remove(&*client, self.id, low_water.get(0)).await?;
        Ok(())
    }
}
