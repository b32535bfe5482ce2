//! What the store's shadow consists of, brought in line with the rules and the live
//! tables when a session begins.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::answered::Answered;
use super::definition::read::Definitions;
use super::definition::{Doubt, TableDefinition};
use super::rows::Rows;
use super::statements::Statements;
use super::table::{Seen, Table};
use super::{Activated, Shadow};
use crate::capture::watermark::Snapshot;
use crate::conninfo::Client;
use crate::lsn::Lsn;
use crate::mapping::TableName;
use crate::mapping::watch::{RuleWatch, TableWatch};

pub(in crate::capture) mod stored;
mod suspect;

use stored::{ActiveRule, StoredTable};

/// Where the old values that rules need come from, as the source's catalog has it.
#[derive(Clone, Debug, Default)]
pub struct OldValueTables {
    pub shadowed: Vec<ShadowedTable>,
    pub logged: Vec<LoggedTable>,
    /// Where the WAL ended before the catalog was read: what commits after it may have
    /// altered the tables since.
    pub as_of: Lsn,
    /// In which the definitions were read.
    pub snapshot: Option<Arc<Snapshot>>,
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
    /// Of the key's columns and those that are watched.
    pub definition: TableDefinition,
}

/// Where things stand when a session begins.
struct Present {
    progress: Lsn,
    /// The last commit that was mapped with old values of the table.
    answered: Lsn,
    /// In which the definitions were read.
    snapshot: Option<Arc<Snapshot>>,
}

/// Chunks that may wait for the session. One is under way at any time.
const CHUNKS: usize = 4;

impl Shadow {
    /// Brings the store in line with what is wanted, under our epoch. Rules that wait
    /// for a seed are [held](Shadow::held). What is looked up later is read by `reader`.
    pub(in crate::capture) async fn begin(
        client: &Client,
        reader: &Client,
        slot: &str,
        epoch: i64,
        wanted: OldValueTables,
        answered: &mut Answered,
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
        let arranged = shadow.arrange(client, epoch, wanted, answered).await;
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
        answered.lead(epoch);
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
        answered: &Answered,
    ) -> anyhow::Result<()> {
        let lock = include_str!("../../../sql/queries/capture/shadow/lock_leadership.sql");
        let Some(progress) = client.query_opt(lock, &[&self.slot, &epoch]).await? else {
            bail!("another instance has taken the slot `{}`", self.slot);
        };
        let progress: Lsn = progress.get(0);
        let stored = StoredTable::list(client, &self.slot).await?;
        let mut stored: HashMap<TableName, StoredTable> = stored
            .into_iter()
            .map(|stored| (stored.table.clone(), stored))
            .collect();
        let active = ActiveRule::list(client, &self.slot).await?;
        let active: HashMap<String, Vec<String>> = active
            .into_iter()
            .map(|active| (active.rule, active.columns))
            .collect();
        let snapshot = wanted.snapshot.clone();
        let users: Vec<String> = wanted.rules().map(|rule| rule.name.to_string()).collect();
        for table in wanted.shadowed {
            let known = stored.remove(&table.watch.table);
            let present = Present {
                progress,
                answered: answered.of(table.oid, epoch, progress),
                snapshot: snapshot.clone(),
            };
            let table = self.arrange_table(client, known, table, present).await?;
            self.add(table, &active, progress);
        }
        for table in wanted.logged {
            if let Some(known) = stored.remove(&table.table) {
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
        let forget = include_str!("../../../sql/queries/capture/shadow/forget_rules.sql");
        client.execute(forget, &[&self.slot, &users]).await?;
        self.write_state(client).await
    }

    async fn arrange_table(
        &self,
        client: &Client,
        known: Option<StoredTable>,
        wanted: ShadowedTable,
        present: Present,
    ) -> anyhow::Result<Table> {
        let progress = present.progress;
        let (oid, key) = (wanted.oid, &wanted.watch.key);
        let name = &wanted.watch.table;
        let mut doubts = Vec::new();
        let stored = match known {
            None => StoredTable::insert(client, &self.slot, &wanted, progress).await?,
            Some(stored) if stored.oid == oid && stored.key == *key => {
                doubts = stored.doubts(&wanted.definition);
                suspect::record(
                    client,
                    &self.slot,
                    name,
                    (stored.seen, present.answered),
                    &doubts,
                )
                .await?;
                // Rows are known by other keys then.
                let of_key =
                    |doubt: &Doubt| doubt.column.as_ref().is_some_and(|of| key.contains(of));
                match doubts.iter_mut().find(|doubt| of_key(doubt)) {
                    None => stored,
                    Some(doubt) => {
                        doubt.column = None;
                        drop_table(client, stored.id).await?;
                        StoredTable::insert(client, &self.slot, &wanted, progress).await?
                    }
                }
            }
            Some(other) => {
                tracing::warn!(
                    table = %name,
                    "another table has the name, or its replica identity changed: its shadow of old values is made again"
                );
                drop_table(client, other.id).await?;
                StoredTable::insert(client, &self.slot, &wanted, progress).await?
            }
        };
        for doubt in &doubts {
            tracing::warn!(
                table = %name,
                reason = doubt.reason,
                "old values of {name} are stale, as it was altered without a change in the WAL: its rows \
                 are read again; until that is complete, changes whose old values are not known are \
                 parked"
            );
        }
        let stored = stored.arrange(client, &wanted, &doubts, &present).await?;
        let mut table = stored.table(wanted.partitioned, wanted.watch);
        table.seen = present.snapshot.map(Seen::now);
        Ok(table)
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
    /// The tables that definitions are needed of.
    pub fn shadowed_oids(&self) -> Vec<u32> {
        self.shadowed.iter().map(|table| table.oid).collect()
    }

    /// With the definitions that these tables have.
    pub fn defined(mut self, definitions: Definitions) -> Self {
        for table in &mut self.shadowed {
            if let Some(definition) = definitions.tables.get(&table.oid) {
                let columns = table.watch.columns.iter().map(|column| &column.name);
                let names = table.watch.key.iter().chain(columns);
                table.definition = definition.of_columns(names.map(String::as_str));
            }
        }
        self.snapshot = Some(Arc::new(definitions.snapshot));
        self
    }

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

async fn drop_table(client: &Client, id: i32) -> anyhow::Result<()> {
    let query = include_str!("../../../sql/queries/capture/shadow/drop_table.sql");
    client.execute(query, &[&id]).await?;
    Ok(())
}
