//! Listens for changes that other processes and the API announce.

use std::sync::Arc;

use anyhow::Context;
use tokio::sync::Notify;
use tokio_postgres::AsyncMessage;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::db::Store;
use crate::subscription::directory::Directory;

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
        .batch_execute(include_str!("../../../sql/queries/listen.sql"))
        .await
        .context("listen")?;
    backoff.reset();
    // What was announced while nobody listened.
    directory.refresh(&*store.get().await?).await?;
    told.schedule_changed.notify_one();
    told.leases_changed.notify_one();
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
                told.schedule_changed.notify_one();
                told.leases_changed.notify_one();
            }
            "walhook_leases" => told.leases_changed.notify_one(),
            _ => told.schedule_changed.notify_one(),
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
