//! What a subscription missed while it was disabled.
//!
//! No delivery is created for a disabled subscription, and what decides is when an
//! event is enqueued, not when its change was committed: the WAL may have lagged by
//! hours when the subscription was disabled. The position up to which all was enqueued
//! was noted then, and tells the events that it got from those that it missed. No clock
//! has a say in it, for the source's may differ from the store's.

use jiff::{SignedDuration, Timestamp};
use tokio_postgres::{Error, Row};
use uuid::Uuid;

use crate::clock;
use crate::conninfo::{Queries, Transaction};
use crate::event::{id_floor, milliseconds};
use crate::lsn::Lsn;

/// A commit takes its time before its position in the WAL, so that two that are
/// simultaneous may swap them: by how long a process may be held up in between.
const SWAP: SignedDuration = SignedDuration::from_secs(60);

/// A time during which a subscription was disabled.
#[derive(Clone, Copy, Debug)]
pub struct Pause {
    disabled_at: Timestamp,
    /// Commit and ordinal up to which all was enqueued; none where nothing is captured.
    enqueued: Option<(Lsn, i64)>,
    from_lsn: Lsn,
}

/// Events committed in this time were missed. A few that were not may be among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed {
    pub since: Timestamp,
    /// Exclusive.
    pub until: Timestamp,
}

impl Pause {
    /// Of a locked subscription's row; none where it is active.
    pub(super) fn of(row: &Row) -> Option<Self> {
        let enqueued: (Option<Lsn>, Option<i64>) = (
            row.get("disabled_after_lsn"),
            row.get("disabled_after_ordinal"),
        );
        Some(Pause {
            disabled_at: row.get::<_, Option<Timestamp>>("disabled_at")?,
            enqueued: enqueued.0.zip(enqueued.1),
            from_lsn: row.get("from_lsn"),
        })
    }

    /// Asked after the subscription was enabled and [`await_enqueue`] has returned:
    /// all that it missed is then in the store. Wants a transaction of the tenant.
    pub async fn missed(&self, transaction: &Transaction<'_>) -> Result<Missed, Error> {
        let disabled = id_floor(milliseconds(self.disabled_at).saturating_add(1));
        let mut since = self.disabled_at;
        if let Some(enqueued) = self.enqueued {
            let newest = newest_enqueued(transaction, disabled, enqueued).await?;
            let from = newest.map_or(Uuid::nil(), |newest| {
                let from = newest.saturating_sub(SWAP).unwrap_or(Timestamp::MIN);
                id_floor(milliseconds(from))
            });
            let (lsn, ordinal) = enqueued;
            let first = transaction
                .query_one(
                    include_str!("../../sql/queries/subscription/first_event_behind.sql"),
                    &[&from, &disabled, &self.from_lsn, &lsn, &ordinal],
                )
                .await?;
            since = first
                .get::<_, Option<Timestamp>>(0)
                .unwrap_or(since)
                .min(since);
        }
        // The source's clock may be ahead of the store's.
        let now = clock::read(transaction).await?.now();
        let newest = newest_enqueued(transaction, Uuid::max(), (Lsn(u64::MAX), i64::MAX)).await?;
        let behind = newest.map(|newest| {
            let next = newest.saturating_add(SignedDuration::from_micros(1));
            next.unwrap_or(Timestamp::MAX)
        });
        Ok(Missed {
            since,
            until: behind.map_or(now, |behind| behind.max(now)),
        })
    }
}

/// Waits for the enqueue that is under way: it may have read the subscription as still
/// disabled. Wants the owner's connection.
pub async fn await_enqueue(client: &impl Queries) -> Result<(), Error> {
    client
        .execute(
            include_str!("../../sql/queries/subscription/await_enqueue.sql"),
            &[],
        )
        .await?;
    Ok(())
}

/// When the tenant's newest event below `before`, at or below this position, was committed.
async fn newest_enqueued(
    transaction: &Transaction<'_>,
    before: Uuid,
    (lsn, ordinal): (Lsn, i64),
) -> Result<Option<Timestamp>, Error> {
    let row = transaction
        .query_opt(
            include_str!("../../sql/queries/subscription/newest_enqueued_before.sql"),
            &[&before, &lsn, &ordinal],
        )
        .await?;
    Ok(row.map(|row| row.get(0)))
}
