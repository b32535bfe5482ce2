//! What is read before anything is handed over.

use std::sync::Arc;

use anyhow::Context;
use tokio_postgres::Statement;

use super::Enqueuer;
use crate::conninfo::{Client, Purpose};
use crate::db::Store;
use crate::handoff::Interrupted;
use crate::subscription::directory::Snapshot;

/// Reads beside the connection that writes, which waits for the disk.
pub(super) struct Reader {
    pub(super) client: Client,
    generation: Statement,
}

impl Reader {
    pub(super) async fn open(store: &Store) -> anyhow::Result<Self> {
        let client = store.connect(Purpose::Reader).await?;
        let sql = include_str!("../../sql/queries/capture/read_generation_as_leader.sql");
        let generation = client.prepare(sql).await;
        Ok(Reader {
            generation: generation.context("prepare the look at the subscriptions")?,
            client,
        })
    }

    /// The subscriptions as they stand after the last change was received, and so after
    /// its commit; an error where another leads by now.
    pub(super) async fn subscriptions(
        &self,
        enqueuer: &Enqueuer,
        epoch: i64,
    ) -> anyhow::Result<Arc<Snapshot>> {
        let generation = self
            .client
            .query_opt(&self.generation, &[&enqueuer.slot, &epoch])
            .await
            .context("read the subscriptions' generation")?;
        let Some(generation) = generation else {
            let slot = enqueuer.slot.clone();
            return Err(Interrupted::Deposed { slot }.into());
        };
        let directory = &enqueuer.directory;
        directory
            .at_generation(&self.client, generation.get(0))
            .await
    }
}
