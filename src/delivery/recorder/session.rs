//! The statements that write results: of deliveries that were sent by themselves, and of
//! batches, each on all that is in it.

use std::collections::HashSet;

use anyhow::Context;
use tokio_postgres::{Error, Row, Statement};
use uuid::Uuid;

use super::Record;
use super::batches::write_batches;
use super::columns::Columns;
use crate::conninfo::{Client, Purpose, Queries};
use crate::db::Store;
use crate::delivery::Hold;
use crate::delivery::ordering::Ended;
use crate::delivery::state::Transition;

/// The recorder's own connection.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) statements: Statements,
}

/// Prepared once a session.
pub(super) struct Statements {
    alone: Statement,
    successes: Statement,
    pub(super) batches: Statement,
}

impl Session {
    pub(super) async fn open(store: &Store) -> anyhow::Result<Self> {
        let client = store.connect(Purpose::Recorder).await?;
        let alone = include_str!("../../../sql/queries/delivery/record_results.sql");
        let successes = include_str!("../../../sql/queries/delivery/record_leased_successes.sql");
        let batches = include_str!("../../../sql/queries/delivery/record_batch_results.sql");
        let prepared = async {
            Ok::<_, Error>(Statements {
                alone: client.prepare(alone).await?,
                successes: client.prepare(successes).await?,
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
    client: &impl Queries,
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
    let (successes, others): (Vec<&Record>, Vec<&Record>) = alone.partition(|record| {
        let is_leased = record.delivery.hold == Hold::Leased;
        is_leased && record.transition == Transition::Delivered
    });
    let mut rows = Vec::new();
    if !successes.is_empty() {
        rows = write_successes(client, &statements.successes, instance, successes).await?;
    }
    if !others.is_empty() {
        rows.extend(write_others(client, &statements.alone, instance, others).await?);
    }
    for row in &rows {
        let delivery = written.ended.take(row);
        written.deliveries.extend(delivery);
    }
    Ok(written)
}

/// What was claimed and is delivered.
async fn write_successes(
    client: &impl Queries,
    statement: &Statement,
    instance: Uuid,
    mut records: Vec<&Record>,
) -> anyhow::Result<Vec<Row>> {
    records.sort_unstable_by_key(|record| record.delivery.id);
    let column = Columns::of(records.into_iter());
    let rows = client
        .query(
            statement,
            &[
                &instance,
                &column.id,
                &column.attempts,
                &column.http_status,
                &column.started_ago,
                &column.ended_ago,
                &column.duration_ms,
                &column.response_excerpt,
                &column.content_type,
                &column.trigger,
                &column.actor,
                &column.subscription_version,
            ],
        )
        .await;
    rows.context("record successes")
}

/// Any other result, and those of what the instance owns.
async fn write_others(
    client: &impl Queries,
    statement: &Statement,
    instance: Uuid,
    records: Vec<&Record>,
) -> anyhow::Result<Vec<Row>> {
    let column = Columns::of(records.into_iter());
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
                &column.due_in,
                &column.started_ago,
                &column.ended_ago,
                &column.duration_ms,
                &column.error_class,
                &column.response_excerpt,
                &column.content_type,
                &column.response_headers,
                &column.response_body,
                &column.response_truncated,
                &column.trigger,
                &column.actor,
                &column.subscription_version,
            ],
        )
        .await;
    rows.context("record results")
}
