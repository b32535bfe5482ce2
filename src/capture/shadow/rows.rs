//! The rows of the shadow that are in memory: those that the changes at hand speak of,
//! those that are on their way into the store, and, as far as there is room, those of the
//! changes before. What is not in memory is in the store as it is.

use std::collections::HashMap;

use anyhow::{Context, bail};
use bytes::Bytes;

use super::row::{self, RowKey};
use super::statements::Statements;
use super::table::Table;
use crate::conninfo::Client;
use crate::handoff::{ChangedRow, Changes};

/// What the rows of changes before may hold, in bytes, more or less: some hundred
/// thousand rows. Rows that change again soon, as most do, are then not asked for.
const KEPT: usize = 16 * 1024 * 1024;

/// Of a row in memory, besides its key and values.
const OVERHEAD: usize = 128;

#[derive(Default)]
pub(super) struct Rows {
    /// By the table's place. Rows that were wanted lately …
    recent: Vec<HashMap<RowKey, Row>>,
    /// … and those that were not since `recent` was last begun again.
    earlier: Vec<HashMap<RowKey, Row>>,
    /// Of the recent ones.
    bytes: usize,
    /// What has changed and was not taken yet; each once.
    changed: Vec<(usize, RowKey)>,
    /// How often changes were taken …
    taken: u64,
    /// … and up to which time they have committed.
    durable: u64,
    /// Rows of a seed, which nobody is likely to want soon.
    passing: Vec<(usize, RowKey)>,
}

struct Row {
    /// `None`: there is no such row.
    values: Option<Bytes>,
    changed: bool,
    /// With what was taken the store has a row of this key, as far as is known.
    stored: bool,
    /// When its last change was taken.
    taken: u64,
}

impl Row {
    /// The store may have it as it was.
    fn is_pending(&self, durable: u64) -> bool {
        self.changed || self.taken > durable
    }
}

impl Rows {
    pub(super) fn of_tables(count: usize) -> Self {
        let empty = || (0..count).map(|_| HashMap::new()).collect();
        Rows {
            recent: empty(),
            earlier: empty(),
            ..Rows::default()
        }
    }

    /// How many have changed since changes were taken.
    pub(super) fn changed(&self) -> usize {
        self.changed.len()
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
            taken: 0,
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

    /// Makes room for what comes next. What is on its way into the store stays.
    pub(super) fn begin(&mut self) {
        let durable = self.durable;
        let recent = &mut self.recent;
        self.passing.retain(|(table, key)| {
            let row = recent[*table].get(key);
            let pending = row.is_some_and(|row| row.is_pending(durable));
            if !pending {
                recent[*table].remove(key);
            }
            pending
        });
        if self.bytes <= KEPT {
            return;
        }
        self.bytes = 0;
        std::mem::swap(&mut self.recent, &mut self.earlier);
        for (recent, earlier) in self.recent.iter_mut().zip(&self.earlier) {
            recent.retain(|key, row| row.is_pending(durable) && !earlier.contains_key(key));
            let kept = recent
                .iter()
                .map(|(key, row)| size(key, row.values.as_ref()));
            self.bytes += kept.sum::<usize>();
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
                taken: 0,
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
                    "a row of the shadow of {table} is damaged: run `walhook setup --recreate-slot`, or delete the table's row in shadow_tables, so that it is made again"
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

    /// What has changed since this was asked before, to be written with the group at hand.
    pub(super) fn take_changes(&mut self, tables: &[Table]) -> Changes {
        if self.changed.is_empty() {
            return Changes {
                number: self.taken,
                rows: Vec::new(),
            };
        }
        self.taken += 1;
        let mut rows = Vec::with_capacity(self.changed.len());
        for (index, key) in self.changed.drain(..) {
            let Some(row) = self.recent[index].get_mut(&key) else {
                continue;
            };
            row.changed = false;
            row.taken = self.taken;
            rows.push(ChangedRow {
                shadow_id: tables[index].id,
                key,
                values: row.values.clone(),
                stored: std::mem::replace(&mut row.stored, row.values.is_some()),
            });
        }
        Changes {
            number: self.taken,
            rows,
        }
    }

    /// What was taken up to this number has committed.
    pub(super) fn are_durable(&mut self, number: u64) {
        self.durable = number;
    }
}

fn size(key: &RowKey, values: Option<&Bytes>) -> usize {
    OVERHEAD + key.len() + values.map_or(0, Bytes::len)
}
