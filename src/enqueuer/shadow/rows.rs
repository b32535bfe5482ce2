//! The rows of the shadow that are in memory: those that the changes at hand speak of,
//! and, as far as there is room, those of the changes before.

use std::collections::HashMap;

use anyhow::{Context, bail};
use bytes::Bytes;
use tokio_postgres::Client;

use super::row::{self, RowKey};
use super::statements::Statements;
use super::table::Table;

/// What the rows of changes before may hold, in bytes, more or less: some hundred
/// thousand rows. Rows that change again soon, as most do, are then not asked for.
const KEPT: usize = 16 * 1024 * 1024;

/// Of a row in memory, besides its key and values.
const OVERHEAD: usize = 128;

#[derive(Default)]
pub(super) struct Rows {
    /// By the table's place. Rows that were wanted lately …
    recent: Vec<HashMap<RowKey, Row>>,
    /// … and those that were not since `recent` was last begun anew.
    earlier: Vec<HashMap<RowKey, Row>>,
    /// Of the recent ones.
    bytes: usize,
    /// What differs from the store; each once.
    changed: Vec<(usize, RowKey)>,
    /// Rows of a seed, which nobody is likely to want soon.
    passing: Vec<(usize, RowKey)>,
}

struct Row {
    /// As the store has them; `None`: there is no such row.
    values: Option<Bytes>,
    changed: bool,
    /// The store has a row of this key, as far as is known.
    stored: bool,
}

/// Rows to be written: the tables' ids, keys and values.
type Columns<'a> = (Vec<i32>, Vec<&'a [u8]>, Vec<&'a [u8]>);

impl Rows {
    pub(super) fn of_tables(count: usize) -> Self {
        let empty = || (0..count).map(|_| HashMap::new()).collect();
        Rows {
            recent: empty(),
            earlier: empty(),
            ..Rows::default()
        }
    }

    pub(super) fn is_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// The row's values; `None` where there is no such row, or it was not asked for.
    pub(super) fn get(&self, table: usize, key: &RowKey) -> Option<&Bytes> {
        self.recent.get(table)?.get(key)?.values.as_ref()
    }

    /// The row is thus from here on; `None`: there is none.
    pub(super) fn set(&mut self, table: usize, key: RowKey, values: Option<Bytes>) {
        let Some(rows) = self.recent.get_mut(table) else {
            return;
        };
        self.bytes += size(&key, values.as_ref());
        if let Some(row) = rows.get_mut(&key) {
            row.values = values;
            if !std::mem::replace(&mut row.changed, true) {
                self.changed.push((table, key));
            }
            return;
        }
        let row = Row {
            values,
            changed: true,
            stored: false,
        };
        rows.insert(key.clone(), row);
        self.changed.push((table, key));
    }

    /// The row leaves the memory when nothing is pending.
    pub(super) fn pass(&mut self, table: usize, key: RowKey) {
        self.passing.push((table, key));
    }

    /// There are no rows of this table any more.
    pub(super) fn clear(&mut self, table: usize) {
        for rows in [&mut self.recent, &mut self.earlier] {
            if let Some(rows) = rows.get_mut(table) {
                rows.clear();
            }
        }
        self.changed.retain(|(of, _)| *of != table);
    }

    /// Makes room for what comes next. Nothing may be pending.
    pub(super) fn begin(&mut self) {
        for (table, key) in self.passing.drain(..) {
            self.recent[table].remove(&key);
        }
        if self.bytes > KEPT {
            self.bytes = 0;
            std::mem::swap(&mut self.recent, &mut self.earlier);
            self.recent.iter_mut().for_each(HashMap::clear);
        }
    }

    /// Has these rows in memory: those that are not yet are read from the store, in one
    /// query.
    pub(super) async fn fetch(
        &mut self,
        client: &Client,
        statements: &Statements,
        tables: &[Table],
        wanted: impl Iterator<Item = (usize, RowKey)>,
    ) -> anyhow::Result<()> {
        let (mut ids, mut keys): (Vec<i32>, Vec<RowKey>) = Default::default();
        for (index, key) in wanted {
            let (Some(recent), Some(table)) = (self.recent.get_mut(index), tables.get(index))
            else {
                continue;
            };
            if recent.contains_key(&key) {
                continue;
            }
            let earlier = self.earlier.get_mut(index);
            let known = earlier.and_then(|earlier| earlier.remove(&key));
            let is_asked = known.is_none() && !table.cleared;
            let row = known.unwrap_or(Row {
                values: None,
                changed: false,
                stored: false,
            });
            self.bytes += size(&key, row.values.as_ref());
            if is_asked {
                ids.push(table.id);
                keys.push(key.clone());
            }
            recent.insert(key, row);
        }
        if ids.is_empty() {
            return Ok(());
        }
        let found = client
            .query(&statements.look_up, &[&ids, &keys])
            .await
            .context("read old values from the shadow")?;
        let index_of: HashMap<i32, usize> = (0..)
            .zip(tables)
            .map(|(at, table)| (table.id, at))
            .collect();
        for found in found {
            let id: i32 = found.get("shadow_id");
            let values = Bytes::copy_from_slice(found.get("row_values"));
            let Some(&index) = index_of.get(&id) else {
                continue;
            };
            if row::decode(&values).is_none() {
                let table = &tables[index].watch.table;
                bail!(
                    "a row of the shadow of {table} is damaged: run `walhook setup --recreate-slot`, or delete the table's row in shadow_tables, so that it is made anew"
                );
            }
            self.bytes += values.len();
            let known = self.recent[index].get_mut::<[u8]>(found.get("row_key"));
            if let Some(row) = known {
                row.values = Some(values);
                row.stored = true;
            }
        }
        Ok(())
    }

    /// Writes what differs from the store, in the transaction that is open on the client.
    pub(super) async fn write(
        &self,
        client: &Client,
        statements: &Statements,
        tables: &[Table],
    ) -> Result<(), tokio_postgres::Error> {
        let (mut inserts, mut updates, mut deletes): (Columns<'_>, Columns<'_>, Columns<'_>) =
            Default::default();
        for (index, key) in &self.changed {
            let (table, row) = (&tables[*index], &self.recent[*index][key]);
            let (ids, keys, values) = match &row.values {
                Some(_) if row.stored => &mut updates,
                Some(_) => &mut inserts,
                // Where all rows are deleted, this one is.
                None if table.cleared || table.retired => continue,
                None => &mut deletes,
            };
            ids.push(table.id);
            keys.push(key);
            values.extend(row.values.as_deref());
        }
        let (deleted, updated, inserted) = tokio::join!(
            delete(client, statements, &deletes),
            update(client, statements, &updates),
            insert(client, statements, &inserts),
        );
        deleted?;
        inserted?;
        if updated? < updates.0.len() as u64 {
            // Somebody else has deleted them.
            insert(client, statements, &updates).await?;
        }
        Ok(())
    }

    /// What was written has committed.
    pub(super) fn is_durable(&mut self) {
        for (table, key) in self.changed.drain(..) {
            if let Some(row) = self.recent[table].get_mut(&key) {
                row.changed = false;
                row.stored = row.values.is_some();
            }
        }
    }
}

async fn delete(
    client: &Client,
    statements: &Statements,
    (ids, keys, _): &Columns<'_>,
) -> Result<u64, tokio_postgres::Error> {
    match ids.is_empty() {
        true => Ok(0),
        false => client.execute(&statements.delete, &[ids, keys]).await,
    }
}

async fn update(
    client: &Client,
    statements: &Statements,
    (ids, keys, values): &Columns<'_>,
) -> Result<u64, tokio_postgres::Error> {
    match ids.is_empty() {
        true => Ok(0),
        false => {
            let values = [ids as _, keys as _, values as _];
            client.execute(&statements.update, &values).await
        }
    }
}

async fn insert(
    client: &Client,
    statements: &Statements,
    (ids, keys, values): &Columns<'_>,
) -> Result<u64, tokio_postgres::Error> {
    match ids.is_empty() {
        true => Ok(0),
        false => {
            let values = [ids as _, keys as _, values as _];
            client.execute(&statements.upsert, &values).await
        }
    }
}

fn size(key: &RowKey, values: Option<&Bytes>) -> usize {
    OVERHEAD + key.len() + values.map_or(0, Bytes::len)
}
