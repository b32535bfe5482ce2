//! With every heartbeat the store is compared with what it was: it may be replaced below a
//! running process, restored in place, or failed over to a server that lacks its last commits.

use std::sync::atomic::Ordering;

use anyhow::Context;

use super::Instance;
use crate::conninfo::Transaction;
use crate::db::{IdentityError, StoreRecord};

impl Instance {
    /// The ids of this process's encryption keys, as its row tells them to the others: that
    /// which it encrypts with is the first.
    pub(super) fn key_ids(&self) -> Vec<Vec<u8>> {
        let Some(key) = &self.key else {
            return Vec::new();
        };
        let first = key.encrypts_with();
        let others = key.ids().filter(|id| *id != first);
        [first]
            .into_iter()
            .chain(others)
            .map(|id| id.bytes().to_vec())
            .collect()
    }

    /// Fails where the store is not the one that this process may use. `heartbeat` is what
    /// the store counts this one as. From here on what is encrypted is so with the key that
    /// the store has on record.
    pub(super) async fn compare<'a>(
        &self,
        transaction: Transaction<'a>,
        heartbeat: i64,
    ) -> anyhow::Result<Transaction<'a>> {
        // One that was not answered may have been counted; one that was has been.
        if heartbeat <= self.counted.load(Ordering::Relaxed) {
            transaction
                .execute(
                    include_str!("../../../sql/queries/delivery/note_branch.sql"),
                    &[],
                )
                .await
                .context("record that the store lacks commits")?;
            transaction.commit().await?;
            return Err(IdentityError::Branched.into());
        }
        let StoreRecord { identity, key } = StoreRecord::read(&transaction).await?;
        identity.judge()?;
        identity.note_timeline(&transaction).await?;
        if let (Some(own), Some(recorded)) = (&self.key, key) {
            recorded.settle(own)?;
        }
        Ok(transaction)
    }
}
