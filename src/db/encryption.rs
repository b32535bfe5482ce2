//! Which key the store is encrypted with: what another key encrypts, no other node can read.

use anyhow::Context;
use tokio_postgres::Row;

use super::{Store, StoreRecord};
use crate::conninfo::Queries;
use crate::secret::{EncryptionKey, KeyId};

/// The key that the store has on record.
#[derive(Clone, Debug)]
pub struct StoreKey {
    pub id: KeyId,
    check_value: Vec<u8>,
}

/// This process has another key than the store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the store is encrypted with the key {store_key}, and security.encryption_key_file holds the key {own}. {KEY_REMEDY}"
)]
pub struct OtherKeyError {
    pub store_key: KeyId,
    pub own: KeyId,
}

const KEY_REMEDY: &str = "Give this node the key file that the store was set up with, or that \
    `walhook rotate-key` changed it to. To change the store's key, name the new file as \
    security.encryption_key_file and the old one as security.previous_encryption_key_file on every \
    node, and run `walhook rotate-key`";

impl StoreKey {
    pub(super) fn of(row: &Row) -> Option<Self> {
        let id: Option<Vec<u8>> = row.get("encryption_key_id");
        Some(StoreKey {
            id: KeyId::of_stored(&id?)?,
            check_value: row.get::<_, Option<Vec<u8>>>("encryption_key_check")?,
        })
    }

    /// Lets `key` encrypt with the store's key. Fails where it is another.
    pub fn settle(&self, key: &EncryptionKey) -> Result<(), OtherKeyError> {
        let settled = key.encrypt_with(self.id, &self.check_value);
        settled.map_err(|_| OtherKeyError {
            store_key: self.id,
            own: key.id(),
        })
    }
}

impl Store {
    /// Records the key where the store has none yet, else fails with an [`OtherKeyError`]
    /// where it is another.
    pub async fn agree_on_key(&self, key: &EncryptionKey) -> anyhow::Result<()> {
        let client = self.get().await?;
        let id = key.id();
        client
            .execute(
                include_str!("../../sql/queries/db/record_encryption_key.sql"),
                &[&&id.bytes()[..], &key.check_value()],
            )
            .await
            .context("record the encryption key")?;
        let recorded = StoreRecord::read(&*client).await?.key;
        recorded.context("the store has no key")?.settle(key)?;
        Ok(())
    }

    /// Makes the key of `security.encryption_key_file` the store's. Returns whether it was
    /// another.
    pub async fn replace_key(&self, key: &EncryptionKey) -> anyhow::Result<bool> {
        let client = self.get().await?;
        Self::replace_key_on(&*client, key).await
    }

    /// The same on a connection of the caller's.
    pub async fn replace_key_on(
        client: &impl Queries,
        key: &EncryptionKey,
    ) -> anyhow::Result<bool> {
        let id = key.id();
        let replaced = client
            .execute(
                include_str!("../../sql/queries/db/replace_encryption_key.sql"),
                &[&&id.bytes()[..], &key.check_value()],
            )
            .await
            .context("record the new encryption key")?;
        Ok(replaced > 0)
    }
}
