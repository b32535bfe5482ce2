//! What the store's shadow consists of, brought in line with the rules and the live
//! tables when a session begins.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, bail};
use tokio::sync::mpsc;
use tokio_postgres::Row;
use uuid::Uuid;

use super::rows::Rows;
use super::seeding::Touched;
use super::statements::Statements;
use super::table::Table;
use super::{Activated, Shadow};
use crate::conninfo::Client;
use crate::lsn::Lsn;
use crate::mapping::TableName;
use crate::mapping::watch::{RuleWatch, TableWatch};

/// Where the old values that rules need come from, as the source's catalog has it.
#[derive(Clone, Debug, Default)]
pub struct OldValueTables {
    pub shadowed: Vec<ShadowedTable>,
    pub logged: Vec<LoggedTable>,
    /// Where the log ended before the catalog was read: what commits behind it may have
    /// altered the tables since.
    pub as_of: Lsn,
}

/// A table whose log carries the old values (REPLICA IDENTITY FULL).
#[derive(Clone, Debug)]
pub struct LoggedTable {
    pub oid: u32,
    pub table: TableName,
    pub partitioned: bool,
    /// Those that need old values, with all that they would need of a shadow.
    pub rules: Vec<RuleWatch>,
}

/// A table of which some rule uses the shadow, as the source has it now.
#[derive(Clone, Debug)]
pub struct ShadowedTable {
    pub oid: u32,
    pub partitioned: bool,
    pub watch: TableWatch,
}

/// Chunks that may wait for the session. One is under way at any time.
const CHUNKS: usize = 4;

impl Shadow {
    /// Brings the store in line with what is wanted, under our epoch. Rules that wait
    /// for a seed are [held](Shadow::held). What is looked up later is read by `reader`.
    pub(in crate::enqueuer) async fn begin(
        client: &Client,
        reader: &Client,
        slot: &str,
        epoch: i64,
        wanted: OldValueTables,
    ) -> anyhow::Result<Self> {
        let statements = Statements::prepare(client, reader)
            .await
            .context("prepare the shadow's statements")?;
        let (sender, chunks) = mpsc::channel(CHUNKS);
        let mut shadow = Shadow {
            slot: slot.to_owned(),
            tables: Vec::new(),
            by_oid: HashMap::new(),
            logged: HashMap::new(),
            as_of: wanted.as_of,
            rows: Rows::default(),
            run: Uuid::now_v7(),
            chunks,
            sender: Some(sender),
            answers: Vec::new(),
            activated: Vec::new(),
            statements,
        };
        client.batch_execute("begin").await?;
        let arranged = shadow.arrange(client, epoch, wanted).await;
        match arranged {
            Ok(()) => client
                .batch_execute("commit")
                .await
                .context("arrange the shadow of old values")?,
            Err(error) => {
                // What failed says more than that this did too.
                let _ = client.batch_execute("rollback").await;
                return Err(error.context("arrange the shadow of old values"));
            }
        }
        shadow.state_is_durable();
        shadow.rows = Rows::of_tables(shadow.tables.len());
        let by_oid = shadow.tables.iter().enumerate();
        shadow.by_oid = by_oid.map(|(index, table)| (table.oid, index)).collect();
        Ok(shadow)
    }

    async fn arrange(
        &mut self,
        client: &Client,
        epoch: i64,
        wanted: OldValueTables,
    ) -> anyhow::Result<()> {
        let lock = include_str!("../../../sql/queries/shadow_lock_leadership.sql");
        let Some(progress) = client.query_opt(lock, &[&self.slot, &epoch]).await? else {
            bail!("another instance has taken the slot `{}`", self.slot);
        };
        let progress: Lsn = progress.get(0);
        let list = include_str!("../../../sql/queries/shadow_list_tables.sql");
        let mut stored: HashMap<(String, String), Stored> = client
            .query(list, &[&self.slot])
            .await?
            .iter()
            .map(|row| {
                let name = (row.get("schema_name"), row.get("table_name"));
                (name, Stored::read(row))
            })
            .collect();
        let list = include_str!("../../../sql/queries/shadow_list_rules.sql");
        let rules = client.query(list, &[&self.slot]).await?;
        let active: HashMap<String, Vec<String>> = rules
            .iter()
            .map(|row| (row.get("rule"), row.get("columns")))
            .collect();
        let users: Vec<String> = wanted.rules().map(|rule| rule.name.to_string()).collect();
        for table in wanted.shadowed {
            let name = &table.watch.table;
            let known = stored.remove(&(name.schema.clone(), name.name.clone()));
            let table = self.arrange_table(client, known, table).await?;
            self.add(table, &active, progress);
        }
        for table in wanted.logged {
            let name = (table.table.schema.clone(), table.table.name.clone());
            if let Some(known) = stored.remove(&name) {
                match known.oid == table.oid {
                    true => self.tables.push(known.lingering(&table)),
                    false => drop_table(client, known.id).await?,
                }
            }
            let activated = table.rules.iter().map(|rule| activated(rule, progress));
            let new = activated.filter(|rule| !is_covered(rule, &active));
            self.activated.extend(new);
            self.logged.insert(table.oid, table.table);
        }
        for unwanted in stored.into_values() {
            drop_table(client, unwanted.id).await?;
        }
        let forget = include_str!("../../../sql/queries/shadow_forget_rules.sql");
        client.execute(forget, &[&self.slot, &users]).await?;
        self.write_state(client).await
    }

    async fn arrange_table(
        &self,
        client: &Client,
        known: Option<Stored>,
        wanted: ShadowedTable,
    ) -> anyhow::Result<Table> {
        let ShadowedTable {
            oid,
            partitioned,
            watch,
        } = wanted;
        let stored = match known {
            Some(stored) if stored.oid == oid && stored.key == watch.key => stored,
            other => {
                if let Some(other) = other {
                    tracing::warn!(
                        table = %watch.table,
                        "another table has the name, or its replica identity changed: its shadow of old values is made anew"
                    );
                    drop_table(client, other.id).await?;
                }
                insert_table(client, &self.slot, oid, &watch).await?
            }
        };
        let stored = stored.widen(client, &watch).await?;
        Ok(stored.table(partitioned, watch))
    }

    /// Rules that were active before for what they need now stay so.
    fn add(&mut self, mut table: Table, active: &HashMap<String, Vec<String>>, from: Lsn) {
        for rule in &table.watch.rules {
            let rule = activated(rule, from);
            if is_covered(&rule, active) {
                continue;
            }
            match table.complete {
                true => self.activated.push(rule),
                false => table.held.push(rule),
            }
        }
        self.tables.push(table);
    }
}

impl OldValueTables {
    fn rules(&self) -> impl Iterator<Item = &RuleWatch> {
        let shadowed = self.shadowed.iter().flat_map(|table| &table.watch.rules);
        shadowed.chain(self.logged.iter().flat_map(|table| &table.rules))
    }
}

fn activated(rule: &RuleWatch, from: Lsn) -> Activated {
    Activated {
        index: rule.index,
        rule: rule.name.clone(),
        columns: rule.required.clone(),
        from,
    }
}

/// Whether the rule was active before, for all that it needs now.
fn is_covered(rule: &Activated, active: &HashMap<String, Vec<String>>) -> bool {
    let before = active.get(&*rule.rule);
    before.is_some_and(|before| rule.columns.iter().all(|column| before.contains(column)))
}

/// A row of `shadow_tables`.
struct Stored {
    id: i32,
    oid: u32,
    key: Vec<String>,
    columns: Vec<String>,
    types: Vec<String>,
    complete: bool,
    seeded_key: Option<Vec<String>>,
    seeded_rows: i64,
    complete_at: Option<Lsn>,
}

impl Stored {
    fn read(row: &Row) -> Self {
        Stored {
            id: row.get("id"),
            oid: row.get("table_oid"),
            key: row.get("key_columns"),
            columns: row.get("columns"),
            types: row.get("column_types"),
            complete: row.get::<_, &str>("state") == "complete",
            seeded_key: row.get("seeded_key"),
            seeded_rows: row.get("seeded_rows"),
            complete_at: row.get("complete_at_lsn"),
        }
    }

    fn table(self, partitioned: bool, watch: TableWatch) -> Table {
        Table {
            id: self.id,
            oid: self.oid,
            partitioned,
            places: self.columns,
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
            touched: Touched::default(),
            held: Vec::new(),
            watch,
        }
    }

    /// For what the log still brings from before the table got REPLICA IDENTITY FULL.
    fn lingering(self, logged: &LoggedTable) -> Table {
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

    /// Gives a place to each watched column that has none of its type, and takes the
    /// place of each that is not watched any more: what is in it grows old.
    async fn widen(mut self, client: &Client, watch: &TableWatch) -> anyhow::Result<Self> {
        let before = (self.columns.clone(), self.types.clone());
        let mut placed = HashSet::new();
        for (column, type_name) in self.columns.iter_mut().zip(&self.types) {
            let watched = watch
                .columns
                .iter()
                .any(|one| one.name == *column && one.type_name == *type_name);
            match watched {
                true => {
                    placed.insert(column.clone());
                }
                false => column.clear(),
            }
        }
        let new = watch.columns.iter();
        for column in new.filter(|column| !placed.contains(&column.name)) {
            self.columns.push(column.name.clone());
            self.types.push(column.type_name.clone());
            self.complete = false;
            self.seeded_key = None;
            self.seeded_rows = 0;
        }
        if before == (self.columns.clone(), self.types.clone()) {
            return Ok(self);
        }
        let state = match self.complete {
            true => "complete",
            false => "seeding",
        };
        let widen = include_str!("../../../sql/queries/shadow_widen_table.sql");
        client
            .execute(
                widen,
                &[
                    &self.id,
                    &self.columns,
                    &self.types,
                    &state,
                    &self.seeded_key,
                    &self.seeded_rows,
                ],
            )
            .await?;
        Ok(self)
    }
}

async fn insert_table(
    client: &Client,
    slot: &str,
    oid: u32,
    watch: &TableWatch,
) -> anyhow::Result<Stored> {
    let columns: Vec<String> = watch.columns.iter().map(|one| one.name.clone()).collect();
    let types: Vec<String> = watch
        .columns
        .iter()
        .map(|one| one.type_name.clone())
        .collect();
    let insert = include_str!("../../../sql/queries/shadow_insert_table.sql");
    let (schema, name) = (&watch.table.schema, &watch.table.name);
    let row = client
        .query_one(
            insert,
            &[&slot, schema, name, &oid, &watch.key, &columns, &types],
        )
        .await?;
    Ok(Stored {
        id: row.get("id"),
        oid,
        key: watch.key.clone(),
        columns,
        types,
        complete: false,
        seeded_key: None,
        seeded_rows: 0,
        complete_at: None,
    })
}

async fn drop_table(client: &Client, id: i32) -> anyhow::Result<()> {
    let query = include_str!("../../../sql/queries/shadow_drop_table.sql");
    client.execute(query, &[&id]).await?;
    Ok(())
}
