//! Watches how much log the slot makes the source keep.

use std::time::Duration;

use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use crate::conninfo::ConnInfo;
use crate::lsn::Lsn;
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
    let mut alarm = Alarm::None;
    loop {
        if client.as_ref().is_none_or(Client::is_closed) {
            client = source.connect("walhook watch").await.ok();
        }
        if let Some(client) = &client {
            match look(client, &slot).await {
                Ok(state) => alarm = alarm.after(&slot, state),
                Err(error) => {
                    tracing::debug!(error = format!("{error:#}"), "cannot look at the slot");
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

/// How much log the slot keeps, and how much more it may; none without a limit.
#[derive(Clone, Copy, Debug)]
struct Retained {
    bytes: u64,
    safe: Option<i64>,
}

async fn look(client: &Client, name: &str) -> anyhow::Result<Retained> {
    let state = slot::inspect(client, name).await?.unwrap_or_default();
    let now = slot::current_wal_insert_lsn(client).await?;
    let behind = |lsn: Option<Lsn>| lsn.map_or(0, |lsn| now.0.saturating_sub(lsn.0));
    let gauge = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let bytes = behind(state.restart_lsn);
    METRICS.slot_retained_bytes.set(gauge(bytes));
    METRICS
        .lag_bytes
        .set(gauge(behind(state.confirmed_flush_lsn)));
    METRICS
        .slot_safe_wal_bytes
        .set(state.safe_wal_size.unwrap_or(-1));
    Ok(Retained {
        bytes,
        safe: state.safe_wal_size,
    })
}

/// How near the slot is to being lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    None,
    /// Half of what the server may keep for the slot is used.
    Half,
    /// Four fifths of it.
    Near,
}

impl Alarm {
    fn of(Retained { bytes, safe }: Retained) -> Self {
        let Some(safe) = safe else { return Alarm::None };
        let safe = u64::try_from(safe).unwrap_or(0);
        let limit = bytes.saturating_add(safe);
        // Below a segment's size the shares say nothing: PostgreSQL keeps whole segments.
        if limit == 0 || bytes < 16 * 1024 * 1024 {
            Alarm::None
        } else if bytes / 4 >= limit / 5 {
            Alarm::Near
        } else if bytes >= limit / 2 {
            Alarm::Half
        } else {
            Alarm::None
        }
    }

    /// Says it once when the alarm rises, and once when it is over.
    fn after(self, slot: &str, retained: Retained) -> Self {
        let now = Alarm::of(retained);
        let (bytes, safe) = (retained.bytes, retained.safe.unwrap_or(-1));
        match now {
            Alarm::Near if self < Alarm::Near => tracing::error!(
                slot,
                bytes,
                safe,
                "the slot keeps over 80 % of the log that the server allows it: when the rest is \
                 written it is lost. Find out what holds walhook up, or raise max_slot_wal_keep_size"
            ),
            Alarm::Half if self < Alarm::Half => tracing::warn!(
                slot,
                bytes,
                safe,
                "the slot keeps over half of the log that the server allows it"
            ),
            Alarm::None if self > Alarm::None => {
                tracing::info!(
                    slot,
                    bytes,
                    safe,
                    "the slot keeps less than half of the log again"
                );
            }
            Alarm::None | Alarm::Half | Alarm::Near => {}
        }
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alarm_follows_the_share_that_is_used() {
        const GIB: u64 = 1 << 30;
        for (gib, safe, expected) in [
            (1, Some(9), Alarm::None),
            (5, Some(5), Alarm::Half),
            (79, Some(21), Alarm::Half),
            (80, Some(20), Alarm::Near),
            (5, Some(-1), Alarm::Near),
            (500, None, Alarm::None),
        ] {
            let safe = safe.map(|safe: i64| safe * (GIB as i64));
            let retained = Retained {
                bytes: gib * GIB,
                safe,
            };
            assert_eq!(Alarm::of(retained), expected, "{retained:?}");
        }
    }
}
