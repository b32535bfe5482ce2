//! Reads a table's rows in the order of its key, a chunk at a time.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use jiff::Timestamp;
use tokio_postgres::SimpleQueryRow;

use super::key::KeyOrder;
use super::source::{literal, rows};
use super::table::Table;
use crate::capture::backfill::ChunkRow;
use crate::capture::watermark::Snapshot;
use crate::conninfo::{Client, column};
use crate::db::quote_identifier;
use crate::pgoutput::TupleValue;

/// Bytes of one chunk, more or less: bounds the memory where rows are wide.
const CHUNK_BYTES: usize = 4 * 1024 * 1024;

/// Rows asked for at once, all of which are in memory: fewer than a chunk, as rows may
/// be wide.
const FETCH_ROWS: usize = 100;

/// How long one query may take, looking for the next rows that the condition admits
/// included. A role's own limit would be for other purposes.
const LIMIT: Duration = Duration::from_secs(600);

/// The operator's condition may call whatever it likes: it cannot write.
const BEGIN: &str = "begin transaction isolation level repeatable read, read only";

/// Which rows are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The operator's own SQL.
    pub condition: Option<String>,
    /// The schemas that the condition's names are looked for in, after `pg_catalog`.
    pub search_path: Vec<String>,
    /// A column, and the time that it must have reached.
    pub since: Option<(String, Timestamp)>,
    /// The key of the last row that is wanted.
    pub until: Option<Vec<String>>,
}

pub struct Reader {
    table: Table,
    order: KeyOrder,
    wanted: Wanted,
}

/// The rows that come next, as far as they are known before they are read.
pub enum Next {
    /// All after the last one.
    All,
    /// Those of these keys. Looking for what a condition admits may take long, and so is
    /// not done between two watermarks.
    Keys(Vec<Vec<String>>),
}

/// A chunk's rows.
pub struct Read {
    pub rows: Vec<ChunkRow>,
    /// The key to go on after; `None` where there was no row.
    pub cursor: Option<Vec<String>>,
    pub end: bool,
    pub snapshot: Snapshot,
}

impl Reader {
    /// A reader of the table as it is now.
    pub async fn new(client: &Client, table: Table, wanted: Wanted) -> anyhow::Result<Self> {
        let order = KeyOrder::read(client, &table.name, &table.key_names()).await?;
        Ok(Reader {
            table,
            order,
            wanted,
        })
    }

    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Prepares the session. The server parses the operator's condition by itself first:
    /// what is not one condition, but goes on after it, is refused.
    pub async fn begin(&self, client: &Client) -> Result<(), tokio_postgres::Error> {
        client.limit_statements(LIMIT).await?;
        if let Some(condition) = self.condition() {
            let sql = format!("select from {} where {condition}", self.from());
            client.batch_execute(&self.begin_condition()).await?;
            let prepared = client.prepare(&sql).await;
            client.batch_execute("rollback").await?;
            prepared?;
        }
        Ok(())
    }

    /// How many rows there are, as the planner guesses.
    pub async fn estimate(&self, client: &Client) -> anyhow::Result<i64> {
        let mut sql = format!("explain (format json) select from {}", self.from());
        if let Some(condition) = self.condition() {
            let _ = write!(sql, " where {condition}");
        }
        client.batch_execute(&self.begin_condition()).await?;
        let row = client.query_one(&sql, &[]).await;
        client.batch_execute("rollback").await?;
        let plan: serde_json::Value = column(&row?, 0)?;
        Ok(plan[0]["Plan"]["Plan Rows"]
            .as_f64()
            .unwrap_or(0.0)
            .max(0.0) as i64)
    }

    /// The highest key that there is: rows that come later may be after it for ever.
    pub async fn last_key(&self, client: &Client) -> anyhow::Result<Option<Vec<String>>> {
        let (key, table, down) = (self.order.list(), self.from(), self.order.backwards());
        let sql = format!("select {key} from {table} order by {down} limit 1");
        let found = rows(client, &sql).await.context("find the last row")?;
        let last = found.first();
        last.map(|row| self.texts(row, 0..self.table.key.len()))
            .transpose()
    }

    /// Finds the rows that come next.
    pub async fn next(
        &self,
        client: &Client,
        after: Option<&[String]>,
        limit: usize,
    ) -> anyhow::Result<Next> {
        let Some(condition) = self.condition() else {
            return Ok(Next::All);
        };
        let key = self.order.list();
        let mut sql = format!("select {key} from {} where {condition}", self.from());
        for bound in self.bounds(after) {
            let _ = write!(sql, " and {bound}");
        }
        let _ = write!(sql, " order by {key} limit {limit}");
        client.batch_execute(&self.begin_condition()).await?;
        let found = rows(client, &sql).await;
        client.batch_execute("rollback").await?;
        let found = found.with_context(|| format!("look for rows of {}", self.table.name))?;
        let keys = found
            .iter()
            .map(|row| self.texts(row, 0..self.table.key.len()));
        keys.collect::<anyhow::Result<_>>().map(Next::Keys)
    }

    /// Reads at most `limit` rows, in one snapshot.
    pub async fn read(
        &self,
        client: &Client,
        after: Option<&[String]>,
        next: &Next,
        limit: usize,
    ) -> anyhow::Result<Read> {
        client.batch_execute(BEGIN).await?;
        let read = self.read_rows(client, after, next, limit).await;
        let ended = client.batch_execute("rollback").await;
        let read = read?;
        ended?;
        Ok(read)
    }

    async fn read_rows(
        &self,
        client: &Client,
        after: Option<&[String]>,
        next: &Next,
        limit: usize,
    ) -> anyhow::Result<Read> {
        let mut read = Read {
            rows: Vec::new(),
            cursor: None,
            end: false,
            snapshot: Snapshot::read(client).await?,
        };
        let declare = match next {
            Next::Keys(keys) if keys.is_empty() => {
                read.end = true;
                return Ok(read);
            }
            Next::Keys(keys) => {
                // The keys are few, whatever the planner thinks of them.
                client
                    .batch_execute("set local enable_hashjoin = off; set local enable_mergejoin = off; set local enable_seqscan = off")
                    .await?;
                client.batch_execute(&self.set_search_path()).await?;
                self.select_keys(keys)
            }
            Next::All => self.select_behind(after),
        };
        client
            .batch_execute(&format!("declare rows no scroll cursor for {declare}"))
            .await
            .with_context(|| {
                format!(
                    "read {} (it needs SELECT on the table: `walhook setup --print-sql` has the grant)",
                    self.table.name
                )
            })?;
        let mut bytes = 0;
        loop {
            let count = FETCH_ROWS.min(limit - read.rows.len());
            let fetched = rows(client, &format!("fetch {count} from rows")).await?;
            let key = self.table.key.iter().map(|column| column.place);
            if let Some(last) = fetched.last() {
                read.cursor = Some(self.texts(last, key)?);
            }
            let exhausted = fetched.len() < count;
            for row in &fetched {
                let row = self.row(row)?;
                bytes += size(&row);
                read.rows.push(row);
            }
            if exhausted || read.rows.len() >= limit {
                // Rows of the keys that are gone were not read, but passed.
                if let Next::Keys(keys) = next {
                    read.cursor = keys.last().cloned();
                    read.end = keys.len() < limit;
                } else {
                    read.end = exhausted;
                }
                return Ok(read);
            }
            if bytes >= CHUNK_BYTES {
                return Ok(read);
            }
        }
    }

    fn row(&self, row: &SimpleQueryRow) -> anyhow::Result<ChunkRow> {
        let places = 0..self.table.relation.columns.len();
        let value = |place| match row.try_get(place) {
            Ok(Some(text)) => TupleValue::Text(Bytes::copy_from_slice(text.as_bytes())),
            Ok(None) => TupleValue::Null,
            // Not valid UTF-8: nobody can be sent it, and the rule that needs it says so.
            Err(_) => TupleValue::UnchangedToast,
        };
        let key = self.texts(row, self.table.key.iter().map(|column| column.place))?;
        Ok(ChunkRow {
            key: key.into_iter().map(Bytes::from).collect(),
            tuple: places.map(value).collect(),
        })
    }

    /// Values of a key.
    fn texts(
        &self,
        row: &SimpleQueryRow,
        places: impl Iterator<Item = usize>,
    ) -> anyhow::Result<Vec<String>> {
        let text = |place| match row.try_get(place) {
            Ok(Some(text)) => Ok(text.to_owned()),
            Ok(None) => bail!("a row of {} has a key that is null", self.table.name),
            Err(error) => Err(error).context("read a row's key"),
        };
        places.map(text).collect()
    }

    /// Tables that inherit from it have changes of their own; a partitioned table has no
    /// rows but its partitions'.
    fn from(&self) -> String {
        let only = if self.table.partitioned { "" } else { "only " };
        let (schema, name) = (&self.table.name.schema, &self.table.name.name);
        format!(
            "{only}{}.{}",
            quote_identifier(schema),
            quote_identifier(name)
        )
    }

    /// Begins the transaction of a query with the operator's condition.
    fn begin_condition(&self) -> String {
        format!("{BEGIN}; {}", self.set_search_path())
    }

    /// For the condition alone, and so for the transaction alone.
    fn set_search_path(&self) -> String {
        let schemas = self.wanted.search_path.iter();
        let schemas: Vec<_> = schemas.map(|schema| quote_identifier(schema)).collect();
        match schemas.is_empty() {
            true => String::new(),
            false => format!("set local search_path = {}", schemas.join(", ")),
        }
    }

    fn column_list(&self) -> String {
        let columns = self.table.relation.columns.iter();
        let names: Vec<_> = columns
            .map(|column| quote_identifier(&column.name))
            .collect();
        names.join(", ")
    }

    fn condition(&self) -> Option<String> {
        // The line's end ends a comment that the condition may end with.
        let condition = self
            .wanted
            .condition
            .as_ref()
            .map(|sql| format!("({sql}\n)"));
        let since = self.wanted.since.as_ref().map(|(column, since)| {
            let column = quote_identifier(column);
            format!(
                "{column} operator(pg_catalog.>=) {}::pg_catalog.timestamptz",
                literal(&since.to_string())
            )
        });
        let both: Vec<String> = since.into_iter().chain(condition).collect();
        (!both.is_empty()).then(|| both.join(" and "))
    }

    /// Behind the last row that was read, up to the last one that is wanted.
    fn bounds(&self, after: Option<&[String]>) -> Vec<String> {
        let after = after.map(|after| self.order.after(after));
        let until = self.wanted.until.as_deref();
        let until = until.map(|until| self.order.up_to(until));
        after.into_iter().chain(until).collect()
    }

    fn select_behind(&self, after: Option<&[String]>) -> String {
        let (columns, key, table) = (self.column_list(), self.order.list(), self.from());
        let mut sql = format!("select {columns} from {table}");
        let bounds = self.bounds(after);
        if !bounds.is_empty() {
            let _ = write!(sql, " where {}", bounds.join(" and "));
        }
        let _ = write!(sql, " order by {key}");
        sql
    }

    /// The rows of these keys that the condition still admits.
    fn select_keys(&self, keys: &[Vec<String>]) -> String {
        let (columns, key, table) = (self.column_list(), self.order.list(), self.from());
        let among = self.order.among(keys);
        let mut sql = format!("select {columns} from {table} where {among}");
        if let Some(condition) = self.condition() {
            let _ = write!(sql, " and {condition}");
        }
        let _ = write!(sql, " order by {key}");
        sql
    }
}

fn size(row: &ChunkRow) -> usize {
    let values = row.tuple.iter().map(|value| match value {
        TupleValue::Text(text) => text.len(),
        TupleValue::Null | TupleValue::UnchangedToast | TupleValue::Omitted { .. } => 0,
    });
    values.sum()
}
