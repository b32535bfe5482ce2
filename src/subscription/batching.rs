//! How a subscription wants its events put together into one request.

use std::time::Duration;

use tokio_postgres::Row;

/// No event waits longer for others; the table knows it too.
pub const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A batch closes when it has so many events or bytes, or its oldest has waited so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batching {
    pub max_events: u16,
    /// Of the request's body. An event that is larger goes alone.
    pub max_bytes: u32,
    pub max_wait: Duration,
}

impl Batching {
    /// As the table's rows have it; none where each event is sent by itself.
    pub(super) fn of(row: &Row) -> Option<Self> {
        let max_events: i32 = row.get::<_, Option<i32>>("batch_max_events")?;
        let max_bytes: i32 = row.get::<_, Option<i32>>("batch_max_bytes")?;
        let max_wait: i32 = row.get::<_, Option<i32>>("batch_max_wait_ms")?;
        // The table admits no other numbers.
        Some(Batching {
            max_events: u16::try_from(max_events).ok()?,
            max_bytes: u32::try_from(max_bytes).ok()?,
            max_wait: Duration::from_millis(u64::try_from(max_wait).ok()?),
        })
    }

    /// As the table's columns take it.
    pub(super) fn columns(batching: Option<Self>) -> (Option<i32>, Option<i32>, Option<i32>) {
        let Some(batching) = batching else {
            return (None, None, None);
        };
        let wait = batching.max_wait.as_millis();
        (
            Some(i32::from(batching.max_events)),
            i32::try_from(batching.max_bytes).ok(),
            i32::try_from(wait).ok(),
        )
    }
}
