//! Results of batches, each on all that is in it.

use anyhow::Context;
use tokio_postgres::Statement;
use uuid::Uuid;

use super::Record;
use super::columns::Columns;
use crate::conninfo::Queries;

/// Deliveries whose results one statement writes; one batch may exceed them.
const MEMBERS: usize = 2_000;

/// Writes the results of those that are batches, and answers which of their deliveries
/// were still ours.
pub(super) async fn write_batches(
    client: &impl Queries,
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
    client: &impl Queries,
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
                &member,
                &member_of,
            ],
        )
        .await
        .context("record the results of batches")?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
