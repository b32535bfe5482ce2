//! Watches how much log the slot makes the source keep.

use std::time::Duration;

use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use crate::conninfo::ConnInfo;
use crate::metrics::METRICS;
use crate::replication::slot;

const PERIOD: Duration = Duration::from_secs(5);

/// Sets the gauges of the slot until `stop`. A source that is away is no fault of
/// this task: capture reports it.
pub(super) async fn run(
    source: ConnInfo,
    slot: String,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut client: Option<Client> = None;
    loop {
        if client.as_ref().is_none_or(Client::is_closed) {
            client = source.connect("walhook watch").await.ok();
        }
        if let Some(client) = &client
            && let Err(error) = look(client, &slot).await
        {
            tracing::debug!(error = format!("{error:#}"), "cannot look at the slot");
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

async fn look(client: &Client, name: &str) -> anyhow::Result<()> {
    let Some(state) = slot::inspect(client, name).await? else {
        return Ok(());
    };
    let now = slot::current_wal_insert_lsn(client).await?;
    let behind = |lsn: Option<crate::lsn::Lsn>| {
        let bytes = lsn.map_or(0, |lsn| now.0.saturating_sub(lsn.0));
        i64::try_from(bytes).unwrap_or(i64::MAX)
    };
    METRICS.slot_retained_bytes.set(behind(state.restart_lsn));
    METRICS.lag_bytes.set(behind(state.confirmed_flush_lsn));
    METRICS
        .slot_safe_wal_bytes
        .set(state.safe_wal_size.unwrap_or(-1));
    Ok(())
}
