//! What the store recorded of gaps: changes that were committed and can never be
//! enqueued, because the slot no longer serves them.

use anyhow::Context;
use jiff::Timestamp;
use tokio_postgres::Client;

use crate::lsn::Lsn;
use crate::replication::SystemIdentity;

/// The newest gap that an operator accepted, and how many there are.
#[derive(Debug)]
pub struct Accepted {
    pub count: i64,
    pub from: Lsn,
    pub to: Lsn,
    pub reason: String,
    pub age_seconds: f64,
}

/// Records, once, that capture cannot go on. `wedged`: only the stream shows it.
pub async fn record(store: &Client, slot: &str, reason: &str, wedged: bool) -> anyhow::Result<()> {
    let query = include_str!("../../sql/queries/record_gap.sql");
    let recorded = store.execute(query, &[&slot, &reason, &wedged]).await;
    recorded.map(drop).context("record the gap")
}

/// Forgets what was recorded and turned out to be no gap. Called where the slot was
/// found to continue the progress.
pub async fn forget_mended(store: &Client, slot: &str) -> anyhow::Result<()> {
    let query = include_str!("../../sql/queries/forget_mended_gaps.sql");
    let forgotten = store.execute(query, &[&slot]).await;
    forgotten.map(drop).context("forget the mended gaps")
}

/// Why capture could not get past the recorded progress, although slot and catalog
/// look well.
pub async fn wedged(store: &Client, slot: &str) -> anyhow::Result<Option<String>> {
    let query = include_str!("../../sql/queries/wedged_gap.sql");
    let row = store.query_opt(query, &[&slot]).await;
    let row = row.context("read the recorded gaps")?;
    Ok(row.map(|row| row.get("reason")))
}

pub async fn newest_accepted(store: &Client, slot: &str) -> anyhow::Result<Option<Accepted>> {
    let query = include_str!("../../sql/queries/status_gaps.sql");
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

/// A gap on its way to being accepted.
pub struct Acceptance<'a> {
    pub slot: &'a str,
    pub system: &'a SystemIdentity,
    /// Where progress stood.
    pub from: Lsn,
    /// Where capture goes on.
    pub to: Lsn,
    pub reason: &'a str,
}

impl Acceptance<'_> {
    /// Begins anew at `to`, and records that what lies before it is missing.
    pub async fn record(&self, store: &Client) -> anyhow::Result<()> {
        let query = include_str!("../../sql/queries/accept_gap.sql");
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
                ],
            )
            .await
            .context("record the gap and where capture goes on")?;
        Ok(())
    }
}

/// When the newest event was committed; `None` where the store holds none.
pub async fn newest_event(store: &Client) -> anyhow::Result<Option<Timestamp>> {
    let query = include_str!("../../sql/queries/newest_event.sql");
    let row = store.query_opt(query, &[]).await;
    let row = row.context("read the newest event's time")?;
    Ok(row.map(|row| row.get("occurred_at")))
}
