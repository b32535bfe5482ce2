//! The shadow: old values for tables whose changes do not carry them in the WAL.
//!
//! It is read and written by the one session that holds the slot, in the WAL's order,
//! and commits with the progress: at any moment it is the tables' state at exactly that
//! place of the WAL. Replays therefore meet the values that they met before.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::conninfo::Client;
use crate::handoff::Changes;
use crate::lsn::Lsn;
use crate::mapping::TableName;

mod answered;
mod apply;
mod chunks;
pub(super) mod definition;
pub(super) mod layout;
mod look;
pub(super) mod reader;
pub(super) mod row;
mod rows;
pub mod seeding;
mod statements;
mod table;
mod unsure;

pub use answered::Answered;
use rows::Rows;
use seeding::{Chunk, SeedTable, Seeding, Taken};
use statements::Statements;
use table::Table;

pub(super) struct Shadow {
    slot: String,
    tables: Vec<Table>,
    by_oid: HashMap<u32, usize>,
    /// Tables whose log carries the old values that rules need, by oid: as long as they do.
    logged: HashMap<u32, TableName>,
    /// Where the WAL ended when the catalog was read that all this follows from.
    as_of: Lsn,
    rows: Rows,
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

/// The table's definition changed, or what was done to it cannot be known, so that its
/// shadow has to be made again: the session ends once that is durable, and the next one
/// begins with the new definition.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0}: the shadow of its old values is made again; until that is complete, changes whose old values are not known are parked"
)]
pub struct Redefined(String);

impl Redefined {
    /// The values of a table may be others than the shadow holds.
    pub fn in_doubt(reason: impl Into<String>) -> Self {
        Redefined(reason.into())
    }
}

impl Shadow {
    /// What is handed over now was mapped with these tables' old values.
    pub(super) fn note_answered(&self, answered: &mut Answered, epoch: i64) {
        answered.lead(epoch);
        for table in self
            .tables
            .iter()
            .filter(|table| table.answered > Lsn::ZERO)
        {
            answered.note(epoch, table.oid, table.answered);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// Rows that have changed and were not taken yet.
    pub(super) fn changed_rows(&self) -> usize {
        self.rows.changed()
    }

    /// Whether what is known of the tables differs from what is durable, their rows aside.
    pub(super) fn is_state_changed(&self) -> bool {
        !self.answers.is_empty() || self.tables.iter().any(Table::is_dirty)
    }

    /// The rows that have changed, for the group at hand: they are in memory until
    /// [they are durable](Self::rows_are_durable).
    pub(super) fn take_changes(&mut self) -> Changes {
        self.rows.take_changes(&self.tables)
    }

    pub(super) fn rows_are_durable(&mut self, number: u64) {
        self.rows.are_durable(number);
    }

    /// The tables of which a seed is under way, and for which rules may wait.
    pub(super) fn incomplete(&self) -> impl Iterator<Item = &TableName> {
        let incomplete = self.tables.iter().filter(|table| table.is_seeding());
        incomplete.map(|table| &table.watch.table)
    }

    /// The rules, by index, that wait for a seed.
    pub(super) fn held(&self) -> impl Iterator<Item = usize> {
        let held = self.tables.iter().flat_map(|table| &table.held);
        held.map(|rule| rule.index)
    }

    /// What is left to seed; `None` where nothing is, or it was asked for already.
    pub(super) fn seeding(&mut self) -> Option<Seeding> {
        let incomplete = self.tables.iter().filter(|table| table.is_seeding());
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

    /// Writes what has changed of the tables, in the transaction that is open on the
    /// client and before their rows.
    pub(super) async fn write_state(&self, client: &Client) -> anyhow::Result<()> {
        let writing = async {
            for table in &self.tables {
                if table.retired {
                    let drop = &self.statements.drop_table;
                    client.execute(drop, &[&table.id]).await?;
                } else if table.cleared {
                    let clear = &self.statements.clear;
                    client.execute(clear, &[&table.id]).await?;
                }
            }
            let changed = |table: &&Table| table.changed && !table.retired;
            for table in self.tables.iter().filter(changed) {
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

    /// The state that was written has committed.
    pub(super) fn state_is_durable(&mut self) {
        for table in &mut self.tables {
            table.changed = false;
            table.cleared = false;
            table.retired = false;
        }
        self.activated.clear();
        for answer in self.answers.drain(..) {
            // Nobody waits any more: the session is ending.
            let _ = answer.send(Taken::Durable);
        }
    }
}
