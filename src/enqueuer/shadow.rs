//! The shadow: old values for tables whose log does not carry them (design §7).
//!
//! It is read and written by the one session that holds the slot, in the log's order,
//! and commits with the progress: at any moment it is the tables' state at exactly that
//! place of the log. Replays therefore meet the values that they met before.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::sync::{mpsc, oneshot};
use tokio_postgres::{Client, Statement};
use uuid::Uuid;

use super::watermark::{Bound, Subject, Watermark};
use crate::lsn::Lsn;
use crate::pgoutput::{Change, Operation, StreamEvent};

pub(super) mod layout;
pub(super) mod row;
pub mod seeding;
mod table;

use row::{RowKey, Values};
use seeding::{Chunk, SeedTable, Seeding, Taken, Touched};
use table::Table;

pub(super) struct Shadow {
    slot: String,
    tables: Vec<Table>,
    by_oid: HashMap<u32, usize>,
    /// The rows that the received changes speak of, as they are after the last of them.
    rows: HashMap<(usize, RowKey), Row>,
    run: Uuid,
    chunks: mpsc::Receiver<Chunk>,
    /// Handed out once.
    sender: Option<mpsc::Sender<Chunk>>,
    /// Answered when what they wait for is durable.
    answers: Vec<oneshot::Sender<Taken>>,
    /// Rules that have become active and are not recorded yet.
    activated: Vec<Activated>,
    statements: Statements,
}

#[derive(Clone)]
struct Activated {
    index: usize,
    rule: Arc<str>,
    columns: Vec<String>,
    from: Lsn,
}

/// `None`: there is no such row.
struct Row {
    values: Option<Values>,
    changed: bool,
}

struct Statements {
    look_up: Statement,
    upsert: Statement,
    delete: Statement,
    clear: Statement,
    update_table: Statement,
    activate_rule: Statement,
}

/// The table's definition changed so that its shadow has to be made anew: the session
/// ends once that is durable, and the next one begins with the new definition.
#[derive(Debug, thiserror::Error)]
#[error("{0}: the shadow of its old values is made anew")]
pub struct Redefined(String);

impl Shadow {
    pub(super) fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// Whether the rows or the state differ from what is durable.
    pub(super) fn is_changed(&self) -> bool {
        self.rows.values().any(|row| row.changed)
            || self
                .tables
                .iter()
                .any(|table| table.changed || table.cleared)
            || !self.answers.is_empty()
    }

    /// Every seed is complete, and every rule active.
    pub(super) fn is_complete(&self) -> bool {
        self.tables.iter().all(|table| table.complete)
    }

    /// The rules, by index, that wait for a seed.
    pub(super) fn held(&self) -> impl Iterator<Item = usize> {
        let held = self.tables.iter().flat_map(|table| &table.held);
        held.map(|rule| rule.index)
    }

    /// What is left to seed; `None` where nothing is, or it was asked for already.
    pub(super) fn seeding(&mut self) -> Option<Seeding> {
        let incomplete = self.tables.iter().filter(|table| !table.complete);
        let tables: Vec<SeedTable> = incomplete
            .map(|table| SeedTable {
                id: table.id,
                table: table.watch.table.clone(),
                partitioned: table.partitioned,
                key: table.watch.key.clone(),
                places: table.places.clone(),
                after: table.seeded_key.clone(),
            })
            .collect();
        if tables.is_empty() {
            return None;
        }
        Some(Seeding {
            tables,
            run: self.run,
            chunks: self.sender.take()?,
        })
    }

    /// Reads the rows that these changes speak of, in one query. Nothing may be pending.
    pub(super) async fn look_up(
        &mut self,
        client: &Client,
        received: &[StreamEvent],
    ) -> anyhow::Result<()> {
        self.rows.clear();
        let mut wanted = HashSet::new();
        for event in received {
            let StreamEvent::Change(change) = event else {
                continue;
            };
            let Some(&index) = self.by_oid.get(&change.relation.oid) else {
                continue;
            };
            let table = &mut self.tables[index];
            if let Some(binding) = table.bind(&change.relation) {
                let (old, new) = binding.keys(&change.operation);
                wanted.extend(old.into_iter().chain(new).map(|key| (index, key)));
            }
        }
        self.fetch(client, wanted.into_iter().collect()).await
    }

    /// Adds the store's rows of these keys to those in memory.
    async fn fetch(&mut self, client: &Client, keys: Vec<(usize, RowKey)>) -> anyhow::Result<()> {
        let asked = keys
            .iter()
            .filter(|(index, _)| !self.tables[*index].cleared);
        let ids: Vec<i32> = asked
            .clone()
            .map(|(index, _)| self.tables[*index].id)
            .collect();
        let row_keys: Vec<&[u8]> = asked.map(|(_, key)| key.as_slice()).collect();
        let found = match ids.is_empty() {
            true => Vec::new(),
            false => client
                .query(&self.statements.look_up, &[&ids, &row_keys])
                .await
                .context("read old values from the shadow")?,
        };
        let place_of: HashMap<i32, usize> = self
            .tables
            .iter()
            .enumerate()
            .map(|(index, table)| (table.id, index))
            .collect();
        for key in keys {
            self.rows.insert(
                key,
                Row {
                    values: None,
                    changed: false,
                },
            );
        }
        for row in found {
            let Some(&index) = place_of.get(&row.get("shadow_id")) else {
                continue;
            };
            let key: RowKey = row.get("row_key");
            let Some(values) = row::decode(row.get("row_values")) else {
                bail!(
                    "a row of the shadow of {} is damaged: run `walhook setup --recreate-slot`, or delete the table's row in shadow_tables, so that it is made anew",
                    self.tables[index].watch.table
                );
            };
            self.rows.insert(
                (index, key),
                Row {
                    values: Some(values),
                    changed: false,
                },
            );
        }
        Ok(())
    }

    /// Brings the shadow behind the change, and answers the change with what the shadow
    /// knew of the row before.
    pub(super) fn apply<'a>(
        &mut self,
        xid: u32,
        change: &'a Change,
    ) -> Result<Cow<'a, Change>, Redefined> {
        let Some(&index) = self.by_oid.get(&change.relation.oid) else {
            return Ok(Cow::Borrowed(change));
        };
        let table = &mut self.tables[index];
        if let Operation::Truncate = change.operation {
            table.touched.all(xid);
            self.clear(index);
            return Ok(Cow::Borrowed(change));
        }
        table.refuse_redefinition(&change.relation)?;
        let Some(binding) = table.bind(&change.relation) else {
            if table.is_untouched() {
                // From before the definition that the shadow is made for, and so from
                // before everything that the seed will read.
                return Ok(Cow::Borrowed(change));
            }
            let reason = format!("the replica identity of {} changed", table.watch.table);
            table.restart();
            self.clear(index);
            return Err(Redefined(reason));
        };
        let (old, new) = binding.keys(&change.operation);
        let before = old
            .as_ref()
            .and_then(|key| self.rows.get(&(index, key.clone())))
            .and_then(|row| row.values.as_ref());
        let answered = before.and_then(|before| {
            binding.with_old_values(&change.relation, &change.operation, before)
        });
        let after = new
            .as_ref()
            .map(|_| binding.values_after(&change.operation, before));
        let unchanged = old == new && before == after.as_ref();
        if !table.complete {
            table.touched.row(xid, [old.as_ref(), new.as_ref()]);
        }
        if !unchanged {
            if let Some(key) = old.filter(|old| new.as_ref() != Some(old)) {
                self.rows.insert((index, key), Row::changed(None));
            }
            if let (Some(key), Some(values)) = (new, after) {
                self.rows.insert((index, key), Row::changed(Some(values)));
            }
        }
        Ok(match answered {
            None => Cow::Borrowed(change),
            Some(operation) => Cow::Owned(Change {
                relation: Arc::clone(&change.relation),
                ordinal: change.ordinal,
                operation,
            }),
        })
    }

    /// Takes a message of ours. Answers the rules, by index, that have become active.
    pub(super) async fn message(
        &mut self,
        client: &Client,
        commit_lsn: Lsn,
        watermark: Watermark,
    ) -> anyhow::Result<Vec<usize>> {
        let Subject::Shadow(id) = watermark.subject else {
            return Ok(Vec::new());
        };
        if watermark.run != self.run {
            return Ok(Vec::new());
        }
        let of_table = |table: &Table| table.id == id;
        let Some(index) = self.tables.iter().position(of_table) else {
            return Ok(Vec::new());
        };
        match watermark.bound {
            Bound::Low => {
                self.tables[index].touched.low(watermark.chunk);
                Ok(Vec::new())
            }
            Bound::High => {
                // The chunk was sent before its second watermark was written.
                while let Ok(chunk) = self.chunks.try_recv() {
                    if (chunk.table, chunk.number) == (id, watermark.chunk) {
                        return self.take_chunk(client, index, commit_lsn, chunk).await;
                    }
                }
                Ok(Vec::new())
            }
        }
    }

    async fn take_chunk(
        &mut self,
        client: &Client,
        index: usize,
        commit_lsn: Lsn,
        chunk: Chunk,
    ) -> anyhow::Result<Vec<usize>> {
        let touched = &mut self.tables[index].touched;
        let Some(untouched) = touched.high(chunk.number, &chunk.snapshot) else {
            // Nobody waits any more: the session is ending.
            let _ = chunk.taken.send(Taken::ReadAgain);
            return Ok(Vec::new());
        };
        let rows: Vec<(RowKey, Values)> = chunk
            .rows
            .into_iter()
            .filter_map(|row| {
                let key = row::key_of(row.key.iter().map(|value| Some(&value[..])))?;
                Some((key, row.values))
            })
            .collect();
        let unknown = rows
            .iter()
            .map(|(key, _)| (index, key.clone()))
            .filter(|key| !self.rows.contains_key(key));
        self.fetch(client, unknown.collect()).await?;
        let table = &mut self.tables[index];
        table.seeded_rows += i64::try_from(rows.len()).unwrap_or(i64::MAX);
        for (key, seen) in rows {
            let untouched = untouched.contains(&key);
            let known = self
                .rows
                .get(&(index, key.clone()))
                .and_then(|row| row.values.as_ref());
            let values = match known {
                _ if untouched => seen,
                // Deleted meanwhile.
                None => continue,
                // What no change has told since is as it was when it was read.
                Some(known) => row::fill(known, seen),
            };
            if known != Some(&values) {
                self.rows.insert((index, key), Row::changed(Some(values)));
            }
        }
        table.changed = true;
        if chunk.last.is_some() {
            table.seeded_key = chunk.last;
        }
        self.answers.push(chunk.taken);
        if !chunk.end {
            return Ok(Vec::new());
        }
        table.complete = true;
        table.seeded_key = None;
        table.complete_at = Some(commit_lsn);
        table.touched = Touched::default();
        let mut active: Vec<Activated> = table.held.drain(..).collect();
        for rule in &mut active {
            rule.from = commit_lsn;
        }
        tracing::info!(
            table = %table.watch.table,
            rows = table.seeded_rows,
            rules = active.len(),
            from = %commit_lsn,
            "the shadow of old values is complete; the rules that need it are active"
        );
        let indexes = active.iter().map(|rule| rule.index).collect();
        self.activated.append(&mut active);
        Ok(indexes)
    }

    /// The table has no rows any more.
    fn clear(&mut self, index: usize) {
        self.tables[index].cleared = true;
        for ((table, _), row) in &mut self.rows {
            if *table == index {
                *row = Row {
                    values: None,
                    changed: false,
                };
            }
        }
    }

    /// Writes what has changed, in the transaction that is open on the client.
    pub(super) async fn write(&self, client: &Client) -> anyhow::Result<()> {
        let writing = async {
            for table in self.tables.iter().filter(|table| table.cleared) {
                client.execute(&self.statements.clear, &[&table.id]).await?;
            }
            let mut upserts: (Vec<i32>, Vec<&[u8]>, Vec<Vec<u8>>) = Default::default();
            let mut deletes: (Vec<i32>, Vec<&[u8]>) = Default::default();
            for ((index, key), row) in self.rows.iter().filter(|(_, row)| row.changed) {
                let id = self.tables[*index].id;
                match &row.values {
                    Some(values) => {
                        upserts.0.push(id);
                        upserts.1.push(key);
                        upserts.2.push(row::encode(values));
                    }
                    None => {
                        deletes.0.push(id);
                        deletes.1.push(key);
                    }
                }
            }
            if !deletes.0.is_empty() {
                client
                    .execute(&self.statements.delete, &[&deletes.0, &deletes.1])
                    .await?;
            }
            if !upserts.0.is_empty() {
                let values = [&upserts.0 as _, &upserts.1 as _, &upserts.2 as _];
                client.execute(&self.statements.upsert, &values).await?;
            }
            for table in self.tables.iter().filter(|table| table.changed) {
                table.write(client, &self.statements.update_table).await?;
            }
            for rule in &self.activated {
                let row = [
                    &self.slot as _,
                    &&*rule.rule as _,
                    &rule.columns as _,
                    &rule.from as _,
                ];
                client.execute(&self.statements.activate_rule, &row).await?;
            }
            Ok::<_, tokio_postgres::Error>(())
        };
        writing.await.context("write the shadow of old values")
    }

    /// What was written has committed.
    pub(super) fn is_durable(&mut self) {
        for row in self.rows.values_mut() {
            row.changed = false;
        }
        for table in &mut self.tables {
            table.changed = false;
            table.cleared = false;
        }
        self.activated.clear();
        for answer in self.answers.drain(..) {
            // Nobody waits any more: the session is ending.
            let _ = answer.send(Taken::Durable);
        }
    }
}

impl Row {
    fn changed(values: Option<Values>) -> Self {
        Row {
            values,
            changed: true,
        }
    }
}
