//! The statements that write results: of deliveries that were sent by themselves, and of
//! batches, each on all that is in it.

use std::collections::HashSet;

use anyhow::Context;
use tokio_postgres::{Client, Error, GenericClient, Statement};
use uuid::Uuid;

use super::Record;
use super::batches::write_batches;
use super::columns::Columns;
use crate::db::Store;
use crate::delivery::ordering::Ended;

/// The recorder's own connection.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) statements: Statements,
}

/// Prepared once a session.
pub(super) struct Statements {
    alone: Statement,
    pub(super) batches: Statement,
}

impl Session {
    pub(super) async fn open(store: &Store) -> anyhow::Result<Self> {
        let client = store.connect("walhook recorder").await?;
        let alone = include_str!("../../../sql/queries/record_results.sql");
        let batches = include_str!("../../../sql/queries/record_batch_results.sql");
        let prepared = async {
            Ok::<_, Error>(Statements {
                alone: client.prepare(alone).await?,
                batches: client.prepare(batches).await?,
            })
        };
        let statements = prepared.await.context("prepare the record of results")?;
        Ok(Session { client, statements })
    }
}

/// What a batch of results has changed.
#[derive(Default)]
pub(super) struct Written {
    /// Those that were still ours.
    pub(super) deliveries: HashSet<Uuid>,
    pub(super) ended: Ended,
}

/// Writes the batch.
pub(super) async fn write_results(
    client: &impl GenericClient,
    statements: &Statements,
    instance: Uuid,
    records: &[Record],
) -> anyhow::Result<Written> {
    let mut written = Written::default();
    let of_batches = write_batches(client, &statements.batches, instance, records).await?;
    written.deliveries.extend(of_batches);
    let alone = records
        .iter()
        .filter(|record| record.delivery.batch.is_none());
    let column = Columns::of(alone);
    if column.id.is_empty() {
        return Ok(written);
    }
    let rows = client
        .query(
            &statements.alone,
            &[
                &instance,
                &column.id,
                &column.leased,
                &column.status,
                &column.parked_reason,
                &column.attempts,
                &column.http_status,
                &column.error,
                &column.due_at,
                &column.delivered_at,
                &column.started_at,
                &column.duration_ms,
                &column.error_class,
                &column.response_excerpt,
            ],
        )
        .await
        .context("record results")?;
    for row in &rows {
        let delivery = written.ended.take(row);
        written.deliveries.extend(delivery);
    }
    Ok(written)
}
