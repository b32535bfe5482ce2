//! The shadow's tables and rules as the store has them; a table's row is brought in line with
//! the live table.

use std::collections::HashSet;

use anyhow::Context;
use tokio_postgres::Row;

use super::{LoggedTable, Present, ShadowedTable};
use crate::capture::shadow::definition::{Doubt, TableDefinition};
use crate::capture::shadow::seeding::Touched;
use crate::capture::shadow::table::Table;
use crate::capture::shadow::unsure::Unsure;
use crate::conninfo::Client;
use crate::lsn::Lsn;
use crate::mapping::TableName;
use crate::mapping::watch::TableWatch;

/// A rule that uses the shadow.
pub struct ActiveRule {
    pub rule: String,
    /// All that it needed when it became active.
    pub columns: Vec<String>,
    pub from: Lsn,
}

impl ActiveRule {
    pub async fn list(client: &Client, slot: &str) -> anyhow::Result<Vec<Self>> {
        let list = include_str!("../../../../sql/queries/capture/shadow/list_rules.sql");
        let rows = client.query(list, &[&slot]).await;
        let rows = rows.context("list the rules that use the shadow")?;
        let rule = |row: &Row| ActiveRule {
            rule: row.get("rule"),
            columns: row.get("columns"),
            from: row.get("active_from_lsn"),
        };
        Ok(rows.iter().map(rule).collect())
    }
}

/// A row of `shadow_tables`.
pub struct StoredTable {
    pub(in crate::capture::shadow) id: i32,
    pub table: TableName,
    pub(in crate::capture::shadow) oid: u32,
    pub(in crate::capture::shadow) key: Vec<String>,
    /// By their places in a row; empty where the place is free.
    pub columns: Vec<String>,
    pub complete: bool,
    seeded_key: Option<Vec<String>>,
    pub seeded_rows: i64,
    pub complete_at: Option<Lsn>,
    /// `None`: it cannot be read, and so everything is in doubt.
    pub(in crate::capture::shadow) definition: Option<TableDefinition>,
    pub(in crate::capture::shadow) unsure: Unsure,
    /// Up to here was mapped what was mapped under this definition for sure.
    pub(super) seen: Lsn,
}

impl StoredTable {
    pub async fn list(client: &Client, slot: &str) -> anyhow::Result<Vec<Self>> {
        let list = include_str!("../../../../sql/queries/capture/shadow/list_tables.sql");
        let rows = client.query(list, &[&slot]).await;
        let rows = rows.context("list the tables of the shadow")?;
        Ok(rows.iter().map(Self::from_row).collect())
    }

    fn from_row(row: &Row) -> Self {
        StoredTable {
            id: row.get("id"),
            table: TableName {
                schema: row.get("schema_name"),
                name: row.get("table_name"),
            },
            oid: row.get("table_oid"),
            key: row.get("key_columns"),
            columns: row.get("columns"),
            complete: row.get::<_, &str>("state") == "complete",
            seeded_key: row.get("seeded_key"),
            seeded_rows: row.get("seeded_rows"),
            complete_at: row.get("complete_at_lsn"),
            definition: serde_json::from_str(row.get("definition")).ok(),
            unsure: Unsure::stored(row.get("sure_from"), row.get("unsure_columns")),
            seen: row.get("seen_lsn"),
        }
    }

    pub(super) async fn insert(
        client: &Client,
        slot: &str,
        table: &ShadowedTable,
        seen: Lsn,
    ) -> anyhow::Result<Self> {
        let TableWatch {
            table: name, key, ..
        } = &table.watch;
        let insert = include_str!("../../../../sql/queries/capture/shadow/insert_table.sql");
        let row = client
            .query_one(
                insert,
                &[&slot, &name.schema, &name.name, &table.oid, key, &seen],
            )
            .await?;
        Ok(StoredTable {
            id: row.get("id"),
            table: name.clone(),
            oid: table.oid,
            key: key.clone(),
            columns: Vec::new(),
            complete: false,
            seeded_key: None,
            seeded_rows: 0,
            complete_at: None,
            definition: Some(TableDefinition::default()),
            unsure: Unsure::default(),
            seen,
        })
    }

    /// What is in doubt under the definition that the table has now.
    pub(in crate::capture::shadow) fn doubts(&self, now: &TableDefinition) -> Vec<Doubt> {
        match &self.definition {
            Some(before) => before.doubts(now),
            None => vec![Doubt {
                column: None,
                reason: "the definition that the store has cannot be read".to_owned(),
                unannounced: false,
            }],
        }
    }

    /// Gives a place to each watched column that has none, or whose values are in doubt, and
    /// takes the place of each that is not watched any more: what is in it grows old.
    pub(super) async fn arrange(
        mut self,
        client: &Client,
        wanted: &ShadowedTable,
        doubts: &[Doubt],
        present: &Present,
    ) -> anyhow::Result<Self> {
        let defined = self.definition.take().unwrap_or_default();
        let watch = &wanted.watch;
        let in_doubt = |name: &str| {
            let concerns = |doubt: &Doubt| doubt.column.as_deref().is_none_or(|of| of == name);
            doubts.iter().any(concerns)
        };
        let is_kept = |name: &str| {
            let is_watched = watch.columns.iter().any(|column| column.name == name);
            is_watched && defined.columns.contains_key(name) && !in_doubt(name)
        };
        let mut placed = HashSet::new();
        for name in &mut self.columns {
            match is_kept(name) {
                true => drop(placed.insert(name.clone())),
                false => name.clear(),
            }
        }
        self.unsure.begin(present.snapshot.as_deref(), &placed);
        let mut definition = defined;
        definition.learn(&wanted.definition);
        definition.columns.clone_from(&wanted.definition.columns);
        for column in &watch.columns {
            let name = &column.name;
            if placed.contains(name) {
                continue;
            }
            let is_recent = || {
                let column = definition.columns.get(name);
                column.is_none_or(|column| column.is_recent)
            };
            if in_doubt(name) || is_recent() {
                self.unsure.add(name);
            }
            self.columns.push(name.clone());
            self.complete = false;
            self.seeded_key = None;
            self.seeded_rows = 0;
        }
        if !doubts.is_empty() {
            self.seen = present.progress;
        }
        let state = match self.complete {
            true => "complete",
            false => "seeding",
        };
        let text = serde_json::to_string(&definition)?;
        self.definition = Some(definition);
        let (sure_from, unsure) = self.unsure.columns();
        let arrange = include_str!("../../../../sql/queries/capture/shadow/arrange_table.sql");
        client
            .execute(
                arrange,
                &[
                    &self.id,
                    &self.columns,
                    &state,
                    &self.seeded_key,
                    &self.seeded_rows,
                    &text,
                    &sure_from,
                    &unsure,
                    &self.seen,
                ],
            )
            .await?;
        Ok(self)
    }

    pub(super) fn table(self, partitioned: bool, watch: TableWatch) -> Table {
        let mut table = Table {
            id: self.id,
            oid: self.oid,
            partitioned,
            places: self.columns,
            labels: Vec::new(),
            complete: self.complete,
            seeded_key: self.seeded_key,
            seeded_rows: self.seeded_rows,
            complete_at: self.complete_at,
            changed: false,
            cleared: false,
            lingering: false,
            retired: false,
            bound: None,
            relation: None,
            definition: TableDefinition::default(),
            seen: None,
            doubt: None,
            unsure: self.unsure,
            answered: Lsn::ZERO,
            touched: Touched::default(),
            held: Vec::new(),
            watch,
        };
        table.define(self.definition.unwrap_or_default());
        table
    }

    /// For what the WAL still brings from before the table got REPLICA IDENTITY FULL.
    pub(super) fn lingering(self, logged: &LoggedTable) -> Table {
        let watch = TableWatch {
            table: logged.table.clone(),
            key: self.key.clone(),
            columns: Vec::new(),
            rules: Vec::new(),
        };
        Table {
            lingering: true,
            ..self.table(logged.partitioned, watch)
        }
    }
}
