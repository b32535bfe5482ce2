//! What the store's shadow consists of, brought in line with the rules and the live
//! tables when a session begins.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, bail};
use tokio::sync::mpsc;
use tokio_postgres::{Client, Row};
use uuid::Uuid;

use super::seeding::Touched;
use super::table::Table;
use super::{Activated, Shadow, Statements};
use crate::lsn::Lsn;
use crate::mapping::watch::{RuleWatch, TableWatch};

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
    /// for a seed are [held](Shadow::held).
    pub(in crate::enqueuer) async fn begin(
        client: &Client,
        slot: &str,
        epoch: i64,
        wanted: Vec<ShadowedTable>,
    ) -> anyhow::Result<Self> {
        let statements = Statements::prepare(client)
            .await
            .context("prepare the shadow's statements")?;
        let (sender, chunks) = mpsc::channel(CHUNKS);
        let mut shadow = Shadow {
            slot: slot.to_owned(),
            tables: Vec::new(),
            by_oid: HashMap::new(),
            rows: HashMap::new(),
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
        shadow.is_durable();
        let by_oid = shadow.tables.iter().enumerate();
        shadow.by_oid = by_oid.map(|(index, table)| (table.oid, index)).collect();
        Ok(shadow)
    }

    async fn arrange(
        &mut self,
        client: &Client,
        epoch: i64,
        wanted: Vec<ShadowedTable>,
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
        for table in wanted {
            let name = &table.watch.table;
            let known = stored.remove(&(name.schema.clone(), name.name.clone()));
            let table = self.arrange_table(client, known, table).await?;
            self.add(table, &active, progress);
        }
        for unwanted in stored.into_values() {
            drop_table(client, unwanted.id).await?;
        }
        let users: Vec<String> = self
            .tables
            .iter()
            .flat_map(|table| &table.watch.rules)
            .map(|rule| rule.name.to_string())
            .collect();
        let forget = include_str!("../../../sql/queries/shadow_forget_rules.sql");
        client.execute(forget, &[&self.slot, &users]).await?;
        self.write(client).await
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
        Ok(Table {
            id: stored.id,
            oid,
            partitioned,
            places: stored.columns,
            complete: stored.complete,
            seeded_key: stored.seeded_key,
            seeded_rows: stored.seeded_rows,
            complete_at: stored.complete_at,
            changed: false,
            cleared: false,
            bound: None,
            relation: None,
            touched: Touched::default(),
            held: Vec::new(),
            watch,
        })
    }

    /// Rules that were active before for what they need now stay so.
    fn add(&mut self, mut table: Table, active: &HashMap<String, Vec<String>>, from: Lsn) {
        for RuleWatch {
            index,
            name,
            required,
        } in &table.watch.rules
        {
            let before = active.get(&**name);
            let covered =
                before.is_some_and(|before| required.iter().all(|column| before.contains(column)));
            if covered {
                continue;
            }
            let rule = Activated {
                index: *index,
                rule: name.clone(),
                columns: required.clone(),
                from,
            };
            match table.complete {
                true => self.activated.push(rule),
                false => table.held.push(rule),
            }
        }
        self.tables.push(table);
    }
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

impl Statements {
    async fn prepare(client: &Client) -> Result<Self, tokio_postgres::Error> {
        Ok(Statements {
            look_up: client
                .prepare(include_str!("../../../sql/queries/shadow_look_up.sql"))
                .await?,
            upsert: client
                .prepare(include_str!("../../../sql/queries/shadow_upsert.sql"))
                .await?,
            delete: client
                .prepare(include_str!("../../../sql/queries/shadow_delete.sql"))
                .await?,
            clear: client
                .prepare(include_str!("../../../sql/queries/shadow_clear.sql"))
                .await?,
            update_table: client
                .prepare(include_str!("../../../sql/queries/shadow_update_table.sql"))
                .await?,
            activate_rule: client
                .prepare(include_str!(
                    "../../../sql/queries/shadow_activate_rule.sql"
                ))
                .await?,
        })
    }
}
