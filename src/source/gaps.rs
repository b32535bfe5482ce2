//! What the store recorded of gaps: changes that were committed and can never be
//! enqueued, because the slot no longer serves them.

use anyhow::Context;
use jiff::Timestamp;

use crate::conninfo::{Client, Queries};
use crate::lsn::Lsn;
use crate::replication::{GapKind, SystemIdentity};

/// The newest gap that an operator accepted, and how many there are.
#[derive(Debug)]
pub struct Accepted {
    pub count: i64,
    pub from: Lsn,
    pub to: Lsn,
    pub reason: String,
    pub age_seconds: f64,
}

/// A gap at which capture is paused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub kind: GapKind,
    pub reason: String,
    /// Only the stream shows it.
    pub wedged: bool,
}

/// A gap that nobody has accepted yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Open {
    pub kind: String,
    /// `schema.table` where it is one table's.
    pub table: Option<String>,
    pub from: Lsn,
    /// Where capture went on; `None`: it has not, or the table is still missing.
    pub to: Option<Lsn>,
    pub reason: String,
    pub age_seconds: f64,
}

impl Open {
    fn read(row: &tokio_postgres::Row) -> Self {
        Open {
            kind: row.get("kind"),
            table: row.get("table_name"),
            from: row.get("from_lsn"),
            to: row.get("to_lsn"),
            reason: row.get("reason"),
            age_seconds: row.get("age_seconds"),
        }
    }
}

/// Records, once, that capture cannot go on. Whether it is news; nothing is recorded, and
/// nothing new, before there is progress.
pub async fn record(store: &Client, slot: &str, gap: &Found) -> anyhow::Result<bool> {
    let query = include_str!("../../sql/queries/source/record_gap.sql");
    let kind = gap.kind.as_str();
    let row = store
        .query_opt(query, &[&slot, &kind, &gap.reason, &gap.wedged])
        .await
        .context("record the gap")?;
    Ok(row.is_some_and(|row| row.get("is_new")))
}

/// The gaps that nobody has accepted yet, in the order in which they were found.
pub async fn open(store: &Client, slot: &str) -> anyhow::Result<Vec<Open>> {
    let query = include_str!("../../sql/queries/source/open_gaps.sql");
    let rows = store.query(query, &[&slot]).await;
    let rows = rows.context("read the open gaps")?;
    Ok(rows.iter().map(Open::read).collect())
}

/// Accepts those that capture has gone on after already.
pub async fn accept_open(store: &impl Queries, slot: &str) -> anyhow::Result<Vec<Open>> {
    let query = include_str!("../../sql/queries/source/accept_open_gaps.sql");
    let rows = store.query(query, &[&slot]).await;
    let rows = rows.context("accept the open gaps")?;
    Ok(rows.iter().map(Open::read).collect())
}

/// Forgets what was recorded and turned out to be no gap. Called where the slot was
/// found to continue the progress.
pub async fn forget_mended(store: &Client, slot: &str) -> anyhow::Result<()> {
    let query = include_str!("../../sql/queries/source/forget_mended_gaps.sql");
    let forgotten = store.execute(query, &[&slot]).await;
    forgotten.map(drop).context("forget the fixed gaps")
}

/// Forgets that the server failed at a transaction, which it decodes by now. Capture takes
/// the slot again.
pub async fn close_readable(store: &Client, slot: &str) -> anyhow::Result<()> {
    let query = include_str!("../../sql/queries/source/close_readable_gap.sql");
    let kind = GapKind::Unreadable.as_str();
    let closed = store.execute(query, &[&slot, &kind]).await;
    closed.map(drop).context("close the gap that is none")
}

/// Why capture could not get past the recorded progress, although slot and catalog
/// look well.
pub async fn wedged(store: &Client, slot: &str) -> anyhow::Result<Option<String>> {
    let query = include_str!("../../sql/queries/source/wedged_gap.sql");
    let row = store.query_opt(query, &[&slot]).await;
    let row = row.context("read the recorded gaps")?;
    Ok(row.map(|row| row.get("reason")))
}

pub async fn newest_accepted(store: &Client, slot: &str) -> anyhow::Result<Option<Accepted>> {
    let query = include_str!("../../sql/queries/source/last_accepted_gap.sql");
    let row = store.query_opt(query, &[&slot]).await;
    let row = row.context("read the accepted gaps")?;
    Ok(row.map(|row| Accepted {
        count: row.get("accepted"),
        from: row.get("from_lsn"),
        to: row.get("to_lsn"),
        reason: row.get("reason"),
        age_seconds: row.get("age_seconds"),
    }))
}

/// A gap that capture goes on after.
pub struct Acceptance<'a> {
    pub slot: &'a str,
    pub system: &'a SystemIdentity,
    /// Where progress stood.
    pub from: Lsn,
    /// Where capture goes on.
    pub to: Lsn,
    pub kind: GapKind,
    pub reason: &'a str,
    /// The operator knows of it; what is shed is accepted later.
    pub accepted: bool,
}

impl Acceptance<'_> {
    /// Begins again at `to`, and records that what lies before it is missing.
    pub async fn record(&self, store: &impl Queries) -> anyhow::Result<()> {
        let query = include_str!("../../sql/queries/source/accept_gap.sql");
        let system_identifier = self.system.system_identifier.to_string();
        let (commit, acknowledged) = super::progress::beginning(self.to);
        store
            .execute(
                query,
                &[
                    &self.slot,
                    &system_identifier,
                    &self.system.timeline,
                    &commit,
                    &acknowledged,
                    &self.from,
                    &self.reason,
                    &self.kind.as_str(),
                    &self.accepted,
                ],
            )
            .await
            .context("record the gap and where capture goes on")?;
        Ok(())
    }
}

/// When the last event up to a position of the WAL was committed.
pub async fn newest_event_before(store: &Client, at: Lsn) -> anyhow::Result<Option<Timestamp>> {
    let query = include_str!("../../sql/queries/source/newest_event_before.sql");
    let row = store.query_one(query, &[&at]).await;
    Ok(row.context("read when the gap began")?.get(0))
}

/// When the newest event was committed; `None` where the store holds none.
pub async fn newest_event(store: &Client) -> anyhow::Result<Option<Timestamp>> {
    let query = include_str!("../../sql/queries/source/newest_event.sql");
    let row = store.query_opt(query, &[]).await;
    let row = row.context("read the newest event's time")?;
    Ok(row.map(|row| row.get("occurred_at")))
}
