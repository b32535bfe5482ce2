//! Reads the rows that exist into the shadow of old values, while the stream goes on:
//! chunk by chunk in the order of the key, each between two messages in the WAL.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::backfill::key::KeyOrder;
use crate::backoff::Backoff;
use crate::capture::seeding::{Chunk, LONGEST_VALUE, SeedRow, SeedTable, Seeding, Taken};
use crate::capture::watermark::{Bound, Snapshot, Subject, Watermark, emit};
use crate::conninfo::{Client, ConnInfo, Purpose, column};
use crate::db::quote_identifier;
use crate::episode::Episode;
use crate::pgoutput::TupleValue;
use crate::source::catalog;

/// Rows of one chunk: each chunk waits until the stream has come to it, and this many
/// make that wait small beside the reading.
const CHUNK_ROWS: usize = 2_000;

/// Bytes of one chunk, more or less: bounds the memory where rows are wide.
const CHUNK_BYTES: usize = 4 * 1024 * 1024;

/// Rows asked for at once, all of which are in memory: fewer than a chunk, as rows may
/// be wide.
const FETCH_ROWS: usize = 100;

/// Bytes in which no value is stored that is longer than [`LONGEST_VALUE`]: compression
/// makes at best one byte of 255.
const SHORT: usize = 1_000;

/// Before a chunk is read again: the transaction that it may lack becomes visible
/// within microseconds, unless it waits for a synchronous standby.
const READ_AGAIN: Duration = Duration::from_millis(50);

/// Seeds every table, one after the other. Returns when all are complete, or when the
/// session that takes the chunks has ended. What fails is tried again: the rules that
/// do not wait for it go on meanwhile.
pub(super) async fn run(source: ConnInfo, seeding: Seeding) {
    for table in seeding.tables {
        tracing::info!(table = %table.table, "seeding the shadow of old values");
        let mut seed = Seed {
            run: seeding.run,
            chunks: seeding.chunks.clone(),
            number: 0,
            table,
        };
        let mut backoff = Backoff::reconnect();
        let mut episode = Episode::default();
        let what = format!(
            "cannot seed the shadow of old values of {}, which rules wait for",
            seed.table.table
        );
        loop {
            let before = seed.number;
            match seed.read(&source).await {
                Ok(Ended::Complete) => break,
                Ok(Ended::SessionEnded) => return,
                Err(error) => episode.failed(&what, &error),
            }
            if seed.number > before + 1 {
                backoff.reset();
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }
}

enum Ended {
    Complete,
    SessionEnded,
}

/// One table on its way.
struct Seed {
    run: Uuid,
    chunks: mpsc::Sender<Chunk>,
    /// Of the last chunk that was begun. Never used twice in a run.
    number: u64,
    table: SeedTable,
}

/// What was read between two watermarks.
struct Read {
    rows: Vec<SeedRow>,
    last: Option<Vec<String>>,
    end: bool,
    snapshot: Snapshot,
}

impl Seed {
    async fn read(&mut self, source: &ConnInfo) -> anyhow::Result<Ended> {
        let client = source.connect_writable(Purpose::Seed).await?;
        let encoding = encoding(&client).await?;
        let order = KeyOrder::read(&client, &self.table.table, &self.table.key).await?;
        loop {
            self.number += 1;
            emit(&client, &self.watermark(Bound::Low).content()).await?;
            let read = self.read_chunk(&client, &order, encoding).await?;
            let (taken, answer) = oneshot::channel();
            let (last, end) = (read.last.clone(), read.end);
            let chunk = Chunk {
                table: self.table.id,
                number: self.number,
                rows: read.rows,
                last: read.last,
                end,
                snapshot: read.snapshot,
                taken,
            };
            // Sent before the second watermark is written: whoever meets that has it.
            if self.chunks.send(chunk).await.is_err() {
                return Ok(Ended::SessionEnded);
            }
            emit(&client, &self.watermark(Bound::High).content()).await?;
            match answer.await {
                Err(_) => return Ok(Ended::SessionEnded),
                Ok(Taken::ReadAgain) => tokio::time::sleep(READ_AGAIN).await,
                Ok(Taken::Durable) if end => return Ok(Ended::Complete),
                Ok(Taken::Durable) => self.table.after = last,
            }
        }
    }

    fn watermark(&self, bound: Bound) -> Watermark {
        Watermark {
            run: self.run,
            subject: Subject::Shadow(self.table.id),
            chunk: self.number,
            bound,
        }
    }

    async fn read_chunk(
        &self,
        client: &Client,
        order: &KeyOrder,
        encoding: &str,
    ) -> anyhow::Result<Read> {
        client
            .batch_execute("begin transaction isolation level repeatable read, read only")
            .await?;
        let read = self.read_rows(client, order, encoding).await;
        let ended = client.batch_execute("rollback").await;
        let read = read?;
        ended?;
        Ok(read)
    }

    async fn read_rows(
        &self,
        client: &Client,
        order: &KeyOrder,
        encoding: &str,
    ) -> anyhow::Result<Read> {
        let snapshot = Snapshot::read(client).await?;
        let select = select(&self.table, order, encoding);
        let declare = format!("declare rows no scroll cursor for {select}");
        client.batch_execute(&declare).await.with_context(|| {
            format!(
                "read {} (it needs SELECT on the table: `walhook check` says how to grant it)",
                self.table.table
            )
        })?;
        let fetch = client
            .prepare(&format!("fetch {FETCH_ROWS} from rows"))
            .await?;
        let mut read = Read {
            rows: Vec::new(),
            last: None,
            end: false,
            snapshot,
        };
        let mut bytes = 0;
        while read.rows.len() < CHUNK_ROWS && bytes < CHUNK_BYTES {
            let fetched = client.query(&fetch, &[]).await?;
            for row in &fetched {
                let (row, key) = self.row(row)?;
                bytes += size(&row);
                read.rows.push(row);
                read.last = Some(key);
            }
            if fetched.len() < FETCH_ROWS {
                read.end = true;
                break;
            }
        }
        Ok(read)
    }

    /// The row, and its key as the next chunk's query takes it.
    fn row(&self, row: &Row) -> anyhow::Result<(SeedRow, Vec<String>)> {
        let table = &self.table.table;
        let keys = self.table.key.len();
        let mut key = Vec::with_capacity(keys);
        for index in 0..keys {
            let bytes: Option<&[u8]> = row.try_get(index).context("read a row's key")?;
            let Some(bytes) = bytes else {
                bail!("a row of {table} has a key that is null");
            };
            let Ok(text) = std::str::from_utf8(bytes) else {
                bail!(
                    "a row of {table} has a key that is not valid UTF-8, so that the rows after it cannot be asked for: fix the row"
                );
            };
            key.push(text.to_owned());
        }
        let mut column = keys;
        let mut values = Vec::with_capacity(self.table.places.len());
        for place in &self.table.places {
            if place.is_empty() {
                values.push(TupleValue::UnchangedToast);
                continue;
            }
            let text: Option<&[u8]> = row.try_get(column).context("read a row's value")?;
            let is_large: Option<bool> = row.try_get(column + 1).context("read a row's value")?;
            values.push(match (text, is_large) {
                (Some(text), _) => TupleValue::Text(Bytes::copy_from_slice(text)),
                // Longer than what is kept.
                (None, Some(true)) => TupleValue::UnchangedToast,
                (None, Some(false) | None) => TupleValue::Null,
            });
            column += 2;
        }
        let bytes = key
            .iter()
            .map(|text| Bytes::copy_from_slice(text.as_bytes()));
        Ok((
            SeedRow {
                key: bytes.collect(),
                values,
            },
            key,
        ))
    }
}

/// What values are asked for in: that of the WAL, or the bytes as they are where the
/// database does not say what they mean.
async fn encoding(client: &Client) -> anyhow::Result<&'static str> {
    let row = client.query_one("show server_encoding", &[]).await;
    let row = row.context("ask for the server's encoding")?;
    let encoding: &str = column(&row, 0)?;
    Ok(match encoding {
        "SQL_ASCII" => "SQL_ASCII",
        _ => "UTF8",
    })
}

fn size(row: &SeedRow) -> usize {
    let values = row.values.iter().map(|value| match value {
        TupleValue::Text(text) => text.len(),
        TupleValue::Null | TupleValue::UnchangedToast | TupleValue::Omitted { .. } => 0,
    });
    values.sum::<usize>() + row.key.iter().map(Bytes::len).sum::<usize>()
}

/// The rows after the last one that was seeded, in the order of the identity's index:
/// the key's values, and for each place its value and whether that may be long.
fn select(table: &SeedTable, order: &KeyOrder, encoding: &str) -> String {
    // As the type's output function writes it, and so the WAL: a cast to text would write
    // a boolean or a padded one otherwise, or be whatever the type's owner has made.
    let text = |name: &str| format!("convert_to(format('%s', {name}), '{encoding}')");
    let key: Vec<String> = table
        .key
        .iter()
        .map(|name| quote_identifier(name))
        .collect();
    let selected: Vec<String> = key.iter().map(|name| text(name)).collect();
    let mut sql = format!("select {}", selected.join(", "));
    for place in table.places.iter().filter(|place| !place.is_empty()) {
        let name = quote_identifier(place);
        // What is stored in fewer bytes is not longer than what is kept, even compressed;
        // and of the longest no text can be made at all.
        let _ = write!(
            sql,
            ", case when {name} is not distinct from null or pg_column_size({name}) > {LONGEST_VALUE} \
             or pg_column_size({name}) > {SHORT} and octet_length(format('%s', {name})) > {LONGEST_VALUE} \
             then null else {} end, pg_column_size({name}) > {SHORT}",
            text(&name)
        );
    }
    // Tables that inherit from it have changes of their own; a partitioned table has no
    // rows but its partitions'.
    let only = if table.partitioned { "" } else { "only " };
    let _ = write!(sql, " from {only}{}", catalog::sql_name(&table.table));
    if let Some(after) = &table.after {
        let _ = write!(sql, " where {}", order.after(after));
    }
    let _ = write!(sql, " order by {}", order.list());
    sql
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::TableName;

    #[test]
    fn a_chunk_begins_behind_the_last_whatever_names_and_values_hold() {
        let mut table = SeedTable {
            id: 1,
            table: TableName {
                schema: "user".to_owned(),
                name: "o\"ops".to_owned(),
            },
            partitioned: false,
            key: vec!["a".to_owned(), "B".to_owned()],
            places: vec!["c".to_owned(), String::new(), "d".to_owned()],
            after: None,
        };
        let order = KeyOrder::of_builtin(&table.table, &[("a", "integer"), ("B", "text")]);
        let first = select(&table, &order, "UTF8");
        assert!(
            first.starts_with(r#"select convert_to(format('%s', "a"), 'UTF8'), "#)
                && first.ends_with(r#" from only "user"."o""ops" order by "a", "B""#),
            "{first}"
        );
        table.after = Some(vec!["1".to_owned(), "it's \\ '".to_owned()]);
        table.partitioned = true;
        let next = select(&table, &order, "UTF8");
        assert!(
            next.ends_with(
                r#" from "user"."o""ops" where ("a", "B") operator(pg_catalog.>) ('1'::integer, 'it''s \ '''::text) order by "a", "B""#
            ),
            "{next}"
        );
    }
}
