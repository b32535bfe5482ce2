//! The statements that write results: of deliveries that were sent by themselves, and of
//! batches, each on all that is in it.

use anyhow::Context;
use tokio_postgres::{Client, Error, GenericClient, Statement};
use uuid::Uuid;

use super::Record;
use super::columns::Columns;

/// Deliveries whose results one statement writes; one batch may exceed them.
const MEMBERS: usize = 2_000;

/// Prepared once a session.
pub(super) struct Statements {
    alone: Statement,
    batches: Statement,
}

impl Statements {
    pub(super) async fn prepare(client: &Client) -> anyhow::Result<Self> {
        let alone = include_str!("../../../sql/queries/record_results.sql");
        let batches = include_str!("../../../sql/queries/record_batch_results.sql");
        let prepared = async {
            Ok::<_, Error>(Statements {
                alone: client.prepare(alone).await?,
                batches: client.prepare(batches).await?,
            })
        };
        prepared.await.context("prepare the record of results")
    }
}

/// Writes results and answers which of their deliveries were still ours.
pub(super) async fn write_results(
    client: &impl GenericClient,
    statements: &Statements,
    instance: Uuid,
    records: &[Record],
) -> anyhow::Result<Vec<Uuid>> {
    let of_batches = write_batches(client, &statements.batches, instance, records).await?;
    let alone = records
        .iter()
        .filter(|record| record.delivery.batch.is_none());
    let column = Columns::of(alone);
    if column.id.is_empty() {
        return Ok(of_batches);
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
    let written = rows.iter().map(|row| row.get(0));
    Ok(written.chain(of_batches).collect())
}

/// Writes the results of those that are batches, and answers which of their deliveries
/// were still ours.
async fn write_batches(
    client: &impl GenericClient,
    statement: &Statement,
    instance: Uuid,
    records: &[Record],
) -> anyhow::Result<Vec<Uuid>> {
    let mut written = Vec::new();
    let batches = records
        .iter()
        .filter(|record| record.delivery.batch.is_some());
    let mut batches: Vec<&Record> = batches.collect();
    while !batches.is_empty() {
        let mut members = 0;
        let fitting = batches.iter().take_while(|record| {
            let fits = members < MEMBERS;
            members += record.delivery.letters().count();
            fits
        });
        let rest = batches.split_off(fitting.count());
        written.extend(write_few(client, statement, instance, &batches).await?);
        batches = rest;
    }
    Ok(written)
}

async fn write_few(
    client: &impl GenericClient,
    statement: &Statement,
    instance: Uuid,
    batches: &[&Record],
) -> anyhow::Result<Vec<Uuid>> {
    let column = Columns::of(batches.iter().copied());
    let members = batches.iter().flat_map(|record| {
        let letters = record.delivery.letters();
        letters.map(|letter| (letter.id.0, record.delivery.id.0))
    });
    let (member, member_of): (Vec<Uuid>, Vec<Uuid>) = members.unzip();
    let rows = client
        .query(
            statement,
            &[
                &instance,
                &column.id,
                &column.status,
                &column.parked_reason,
                &column.http_status,
                &column.error,
                &column.due_at,
                &column.delivered_at,
                &column.started_at,
                &column.duration_ms,
                &column.error_class,
                &column.response_excerpt,
                &member,
                &member_of,
            ],
        )
        .await
        .context("record the results of batches")?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
