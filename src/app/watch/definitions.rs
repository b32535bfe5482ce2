//! Whether the tables of the shadow are still defined as when their old values were read. A
//! label that is renamed is in no message of the stream: only the catalog tells.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::capture::{SourceCatalog, TableDefinition};
use crate::conninfo::Client;
use crate::db::Store;
use crate::lsn::Lsn;

/// When it is recorded how far changes were mapped under a definition: an earlier end of what
/// may have been mapped under another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::app) enum Persist {
    Always,
    /// After this much WAL, as a store in the same cluster writes WAL itself.
    After(u64),
}

/// A look takes this part of the time at most: tables may have thousands of partitions …
const SHARE: u32 = 20;

/// … and comes so early all the same that a rename is found within 10 s.
const LATEST: Duration = Duration::from_secs(6);

/// What the looks before have found.
#[derive(Default)]
pub(in crate::app) struct DefinitionWatch {
    /// When the next look is due.
    due: Option<Instant>,
    /// By the shadow's id: its definition, and how far changes were mapped when it still held.
    held: HashMap<i32, (String, Lsn)>,
}

/// A row of `shadow_tables`.
struct Known {
    id: i32,
    name: String,
    oid: u32,
    definition: String,
    seen: Lsn,
    /// Read before the catalog: what was mapped by then was mapped under what is there, if that
    /// is what was there before.
    progress: Lsn,
}

impl DefinitionWatch {
    pub(super) fn is_due(&self) -> bool {
        self.due.is_none_or(|due| due <= Instant::now())
    }

    /// Compares, and returns the reason where values of a table are in doubt.
    pub(in crate::app) async fn look(
        &mut self,
        catalog: &SourceCatalog,
        source: &mut Client,
        store: &Store,
        persist: Persist,
    ) -> anyhow::Result<Option<String>> {
        let began = Instant::now();
        let store = store.get().await?;
        let known = list(&store, &catalog.slot).await?;
        if known.is_empty() {
            return Ok(None);
        }
        let oids: Vec<u32> = known.iter().map(|table| table.oid).collect();
        let definitions = catalog.read_with(source, &oids).await?;
        let mut found = None;
        for table in &known {
            // One that was dropped is not there: what became of it is said of the publication.
            let now = definitions.tables.get(&table.oid);
            let Some(now) = now.filter(|now| now.has_columns()) else {
                continue;
            };
            let doubt = self.compare(&store, table, now, persist).await?;
            found = found.or(doubt);
        }
        self.due = Some(Instant::now() + (began.elapsed() * SHARE).min(LATEST));
        Ok(found)
    }

    async fn compare(
        &mut self,
        store: &Client,
        table: &Known,
        now: &TableDefinition,
        persist: Persist,
    ) -> anyhow::Result<Option<String>> {
        // What cannot be read is judged by the session that begins next.
        let Ok(mut definition) = serde_json::from_str::<TableDefinition>(&table.definition) else {
            return Ok(None);
        };
        let doubts = definition.doubts(now);
        if let Some(doubt) = doubts.first() {
            let held = self.held.get(&table.id);
            let held = held.filter(|(definition, _)| *definition == table.definition);
            let seen = held.map_or(table.seen, |(_, progress)| *progress);
            let is_current = table.see(store, &table.definition, seen).await?;
            return Ok(is_current.then(|| format!("{}: {}", table.name, doubt.reason)));
        }
        definition.learn(now);
        let learned = serde_json::to_string(&definition)?;
        let advance = table.progress.0.saturating_sub(table.seen.0);
        let is_due = match persist {
            Persist::Always => true,
            Persist::After(bytes) => advance >= bytes,
        };
        if is_due || learned != table.definition {
            table.see(store, &learned, table.progress).await?;
        }
        self.held.insert(table.id, (learned, table.progress));
        Ok(None)
    }
}

impl Known {
    /// Records how far changes were mapped under the definition. False where the row has another
    /// definition by now.
    async fn see(&self, store: &Client, definition: &str, seen: Lsn) -> anyhow::Result<bool> {
        let query = include_str!("../../../sql/queries/app/see_definition.sql");
        let done = store
            .execute(query, &[&self.id, &self.definition, &definition, &seen])
            .await
            .context("record how a table is defined")?;
        Ok(done > 0)
    }
}

async fn list(store: &Client, slot: &str) -> anyhow::Result<Vec<Known>> {
    let query = include_str!("../../../sql/queries/app/list_definitions.sql");
    let rows = store.query(query, &[&slot]).await;
    let rows = rows.context("read how the shadow's tables are defined")?;
    let known = |row: &tokio_postgres::Row| Known {
        id: row.get("id"),
        name: row.get("name"),
        oid: row.get("table_oid"),
        definition: row.get("definition"),
        seen: row.get("seen_lsn"),
        progress: row.get("commit_lsn"),
    };
    Ok(rows.iter().map(known).collect())
}
