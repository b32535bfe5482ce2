//! Claims what waits in the schedule and has become due: retries, leftovers of dead
//! instances, what did not fit into memory, manual retries.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::Notify;
use tokio_postgres::{AsyncMessage, Row};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::dispatcher::Dispatcher;
use super::lanes::Claimable;
use super::{Delivery, DeliveryConfig, Hold};
use crate::backoff::Backoff;
use crate::db::Store;
use crate::event::{DeliveryId, EventId, SubscriptionId};
use crate::subscription::{Format, directory::Directory};

/// Rows claimed by one statement.
const BATCH: usize = 500;

/// The longest sleep, should a wake-up be missed.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

pub struct Claimer {
    pub store: Store,
    pub instance: Uuid,
    pub config: DeliveryConfig,
    pub dispatcher: Arc<Dispatcher>,
    pub directory: Directory,
    /// Told when the schedule may hold something that is due sooner.
    pub schedule_changed: Arc<Notify>,
}

impl Claimer {
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut backoff = Backoff::reconnect();
        loop {
            // Interest is registered before the store is read, so that a change that
            // comes meanwhile is not slept through.
            let changed = self.schedule_changed.notified();
            let room = self.dispatcher.room.notified();
            let (sleep, may_take) = match self.claim().await {
                Ok(Found::More) => {
                    backoff.reset();
                    if stop.is_cancelled() {
                        return Ok(());
                    }
                    continue;
                }
                Ok(Found::NothingFor(sleep)) => {
                    backoff.reset();
                    (sleep, true)
                }
                Ok(Found::NoRoom) => (LONGEST_SLEEP, false),
                Err(error) => {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "cannot claim deliveries; trying again"
                    );
                    (backoff.next_delay(), false)
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(sleep) => {}
                () = changed, if may_take => {}
                () = room => {}
            }
        }
    }

    async fn claim(&self) -> anyhow::Result<Found> {
        let client = self.store.get().await.context("connect to the store")?;
        self.directory.refresh(&client).await?;
        let Claimable { room, bytes, full } = self.dispatcher.claimable();
        let full: Vec<Uuid> = full.iter().map(|id| id.0).collect();
        let limit = room.min(BATCH);
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        if limit == 0 {
            return Ok(Found::NoRoom);
        }
        let sql = include_str!("../../sql/queries/claim_due.sql");
        let statement = client
            .prepare_cached(sql)
            .await
            .context("prepare the claim")?;
        let lease = self.config.lease().as_secs_f64();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = client
            .query(&statement, &[&self.instance, &limit, &full, &lease, &bytes])
            .await
            .context("claim due deliveries")?;
        if !rows.is_empty() {
            tracing::debug!(deliveries = rows.len(), "claimed");
            // What was claimed may be of a subscription that was created or enabled since
            // the last look: judged by that, it would be cancelled or parked.
            self.directory.refresh(&client).await?;
            self.dispatcher
                .take_claimed(rows.iter().filter_map(claimed).collect());
            return Ok(Found::More);
        }
        let sql = include_str!("../../sql/queries/next_due.sql");
        let statement = client.prepare_cached(sql).await?;
        let next = client
            .query_opt(&statement, &[&full])
            .await
            .context("ask for the next due time")?;
        let milliseconds = next.and_then(|row| row.get::<_, Option<i64>>(0));
        let sleep = milliseconds.map_or(LONGEST_SLEEP, |milliseconds| {
            // At least a little: what is due and not claimed is locked by another.
            Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0).max(20))
        });
        Ok(Found::NothingFor(sleep.min(LONGEST_SLEEP)))
    }
}

enum Found {
    More,
    NothingFor(Duration),
    NoRoom,
}

fn claimed(row: &Row) -> Option<Delivery> {
    let attempts: i32 = row.get("attempts");
    Some(Delivery {
        id: DeliveryId(row.get("id")),
        event_id: EventId(row.get("event_id")),
        subscription_id: SubscriptionId(row.get("subscription_id")),
        event_type: Arc::from(row.get::<_, &str>("event_type")),
        format: Format::parse(row.get("format"))?,
        body: row.get::<_, Vec<u8>>("body").into(),
        attempts: u32::try_from(attempts).ok()?,
        occurred_at: row.get("occurred_at"),
        queued_at: Instant::now(),
        hold: Hold::Leased,
    })
}

/// Listens for changes that other processes and the API announce. Without it the
/// claimer would notice them after its longest sleep.
pub async fn listen(
    store: Store,
    directory: Directory,
    schedule_changed: Arc<Notify>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut backoff = Backoff::reconnect();
    loop {
        let session = listen_once(&store, &directory, &schedule_changed);
        let ended = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            ended = session => ended,
        };
        if let Err(error) = ended {
            tracing::debug!(
                error = format!("{error:#}"),
                "the connection that listens for changes ended"
            );
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(backoff.next_delay()) => {}
        }
    }
}

async fn listen_once(
    store: &Store,
    directory: &Directory,
    schedule_changed: &Notify,
) -> anyhow::Result<()> {
    let (mut config, tls) = store.conninfo().tokio_postgres()?;
    config.application_name("walhook listen");
    let (client, mut connection) = config.connect(tls).await.context("connect to listen")?;
    let (messages, mut received) = tokio::sync::mpsc::channel(64);
    let driver = tokio::spawn(async move {
        while let Some(message) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            if messages.send(message).await.is_err() {
                return;
            }
        }
    });
    let _driver = AbortOnDrop(driver);
    client
        .batch_execute(include_str!("../../sql/queries/listen.sql"))
        .await
        .context("listen")?;
    while let Some(message) = received.recv().await {
        let AsyncMessage::Notification(notification) = message? else {
            continue;
        };
        if notification.payload() != store.schema() {
            continue;
        }
        match notification.channel() {
            "walhook_subscriptions" => {
                let client = store.get().await?;
                directory.refresh(&client).await?;
                schedule_changed.notify_one();
            }
            _ => schedule_changed.notify_one(),
        }
    }
    Ok(())
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
