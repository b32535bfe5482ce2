//! The statement that writes results.

use std::collections::HashSet;

use anyhow::Context;
use tokio_postgres::{Client, GenericClient, Statement};
use uuid::Uuid;

use super::Record;
use super::columns::Columns;
use crate::db::Store;
use crate::delivery::ordering::Ended;

/// The recorder's own connection.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) record_results: Statement,
}

impl Session {
    pub(super) async fn open(store: &Store) -> anyhow::Result<Self> {
        let client = store.connect("walhook recorder").await?;
        let sql = include_str!("../../../sql/queries/record_results.sql");
        let record_results = client
            .prepare(sql)
            .await
            .context("prepare the record of results")?;
        Ok(Session {
            client,
            record_results,
        })
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
    statement: &Statement,
    instance: Uuid,
    records: &[Record],
) -> anyhow::Result<Written> {
    let column = Columns::of(records);
    let rows = client
        .query(
            statement,
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
    let mut written = Written::default();
    for row in &rows {
        let delivery = written.ended.take(row);
        written.deliveries.extend(delivery);
    }
    Ok(written)
}
