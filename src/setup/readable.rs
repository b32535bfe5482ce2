//! Where a slot can be read again, after a transaction at which the server fails each
//! time: a row that has no place in our encoding, one too large, a change from a time
//! without the publication. Everything after that transaction is still to be had.

use anyhow::Context;
use tokio_postgres::types::ToSql;

use crate::conninfo::sqlstate::{self, Nature};
use crate::conninfo::{Client, column};
use crate::db::quote_identifier;
use crate::lsn::Lsn;
use crate::replication::slot;

/// The first step from where the stream failed; it doubles until something can be read.
const FIRST_STEP: u64 = 64;

pub(super) struct Reader<'a> {
    pub(super) client: &'a Client,
    pub(super) slot: &'a str,
    pub(super) publication: &'a str,
}

impl Reader<'_> {
    /// The first position after `from` where decoding succeeds; `None` where it does at
    /// `from` itself, so that what is wrong lies elsewhere.
    ///
    /// Tried on copies of the slot. A transaction is skipped as soon as the slot stands
    /// after the start of its commit record: the position found is just that, and the
    /// transactions after it are kept.
    pub(super) async fn first_readable(
        &self,
        from: Lsn,
        until: Lsn,
    ) -> anyhow::Result<Option<Lsn>> {
        if self.is_readable(from).await? {
            return Ok(None);
        }
        let (mut bad, mut step) = (from, FIRST_STEP);
        let mut good = loop {
            let next = Lsn(from.0.saturating_add(step)).min(until);
            if next == until || self.is_readable(next).await? {
                break next;
            }
            (bad, step) = (next, step.saturating_mul(2));
        };
        while good.0 - bad.0 > 1 {
            let middle = Lsn(bad.0 + (good.0 - bad.0) / 2);
            match self.is_readable(middle).await? {
                true => good = middle,
                false => bad = middle,
            }
        }
        Ok(Some(good))
    }

    /// Whether the first transaction after `at` can be decoded, or there is none.
    async fn is_readable(&self, at: Lsn) -> anyhow::Result<bool> {
        let copy = format!("walhook_probe_{}", uuid::Uuid::now_v7().simple());
        let query = include_str!("../../sql/queries/setup/copy_slot.sql");
        let copied = self.client.execute(query, &[&self.slot, &copy]).await;
        copied.with_context(|| format!("copy the slot `{}`", self.slot))?;
        let readable = self.try_at(&copy, at).await;
        let query = include_str!("../../sql/queries/setup/drop_probe.sql");
        let dropped = self.client.execute(query, &[&copy]).await;
        dropped.with_context(|| format!("drop the slot `{copy}`"))?;
        readable
    }

    async fn try_at(&self, copy: &str, at: Lsn) -> anyhow::Result<bool> {
        let advanced = slot::advance(self.client, copy, Some(at)).await;
        advanced.with_context(|| format!("advance the slot `{copy}` to {at}"))?;
        let publication = quote_identifier(self.publication);
        let query = include_str!("../../sql/queries/setup/peek_transaction.sql");
        // Empty transactions tell nothing: the first that is not, or the end, decides.
        let mut wanted: i32 = 1;
        loop {
            let of: [&(dyn ToSql + Sync); 3] = [&copy, &publication, &wanted];
            match self.client.query_one(query, &of).await {
                Ok(row) => {
                    let (messages, telling): (i64, i64) = (column(&row, 0)?, column(&row, 1)?);
                    if telling > 0 || messages < i64::from(wanted) {
                        return Ok(true);
                    }
                    let further = messages.saturating_mul(2);
                    wanted = i32::try_from(further).unwrap_or(i32::MAX);
                }
                Err(error) => {
                    // A pg_cancel_backend says nothing of the WAL.
                    let passes = sqlstate::nature_of(&error) == Nature::Passing;
                    if passes || error.code().is_none() || self.client.is_closed() {
                        let trying = "decode the WAL through a copy of the slot: run setup again";
                        return Err(error).context(trying);
                    }
                    return Ok(false);
                }
            }
        }
    }
}
