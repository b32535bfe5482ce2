//! Listens for changes that other processes and the API announce.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::conninfo::Client;
use crate::db::Store;
use crate::subscription::directory::Directory;

/// How often a connection that only listens asks for an answer.
const STILL_THERE: Duration = Duration::from_secs(5);

/// Listens until `stop`. Without it the claimer would notice changes after its longest
/// sleep.
pub async fn listen(
    store: Store,
    directory: Directory,
    schedule_changed: Arc<Notify>,
    leases_changed: Arc<Notify>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut backoff = Backoff::reconnect();
    let told = Told {
        schedule_changed,
        leases_changed,
    };
    loop {
        let session = listen_once(&store, &directory, &told, &mut backoff);
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

/// Who is told of what is heard.
struct Told {
    schedule_changed: Arc<Notify>,
    leases_changed: Arc<Notify>,
}

async fn listen_once(
    store: &Store,
    directory: &Directory,
    told: &Told,
    backoff: &mut Backoff,
) -> anyhow::Result<()> {
    let (client, mut heard) = store.connect_listening().await?;
    client
        .batch_execute(include_str!("../../../sql/queries/delivery/listen.sql"))
        .await
        .context("listen")?;
    // What was announced while nobody listened.
    directory.refresh(&*store.get().await?).await?;
    backoff.reset();
    told.schedule_changed.notify_one();
    told.leases_changed.notify_one();
    let mut alive = pin!(stay_alive(&client));
    loop {
        let notification = tokio::select! {
            ended = &mut alive => return ended,
            notification = heard.recv() => notification.context("the connection ended")?,
        };
        if notification.payload() != store.schema() {
            continue;
        }
        match notification.channel() {
            "walhook_subscriptions" => {
                let client = store.get().await?;
                directory.refresh(&client).await?;
                told.schedule_changed.notify_one();
                told.leases_changed.notify_one();
            }
            "walhook_leases" => told.leases_changed.notify_one(),
            _ => told.schedule_changed.notify_one(),
        }
    }
}

/// A connection that only listens would not notice that nothing can come any more.
async fn stay_alive(client: &Client) -> anyhow::Result<()> {
    loop {
        tokio::time::sleep(STILL_THERE).await;
        client
            .batch_execute("")
            .await
            .context("ask whether the store is still there")?;
    }
}
