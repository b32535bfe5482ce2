//! Looks at the catalog where the stream has described a table again, before a change after
//! that is mapped: whether the values that the shadow holds are still what they were.
//!
//! A description says little: a column that was dropped and added again may have the place and
//! the type that it had. And it comes for little, such as an ANALYZE of the table.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::Shadow;
use super::definition::TableDefinition;
use super::definition::read::{Definitions, SourceCatalog};
use super::table::{InDoubt, Seen};
use crate::capture::session::Interrupted;
use crate::conninfo::Client;
use crate::pgoutput::Relation;

/// A change that comes with another description of its table than the one before.
pub(super) struct Described {
    pub(super) index: usize,
    pub(super) relation: Arc<Relation>,
    pub(super) xid: u32,
}

/// A transaction is in the WAL before others can see it, within microseconds, unless it waits
/// for a synchronous standby.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The session ends then, and the next one looks again.
const VISIBLE: Duration = Duration::from_secs(10);

impl Shadow {
    pub(super) async fn look_at_catalog(
        &mut self,
        store: &Client,
        catalog: &SourceCatalog,
        mut described: Vec<Described>,
    ) -> anyhow::Result<()> {
        // What the last look saw was compared then: a definition that the transaction made, or
        // met, was there.
        let tables = &self.tables;
        described.retain(|one| {
            let seen = tables.get(one.index).and_then(|table| table.seen.as_ref());
            seen.is_none_or(|seen| !seen.includes(one.xid))
        });
        if described.is_empty() {
            return Ok(());
        }
        let learned = self.learned(store, &described).await?;
        let definitions = self.read_definitions(catalog, &described).await?;
        let seen = Seen::now(Arc::new(definitions.snapshot));
        for Described {
            index, relation, ..
        } in described
        {
            let table = &mut self.tables[index];
            table.seen = Some(seen.clone());
            let Some(now) = definitions.tables.get(&table.oid) else {
                // It was dropped since; another of its name is another table.
                continue;
            };
            let doubt = table.definition.doubts(now).into_iter().next();
            let learned = learned.get(&table.id);
            let learned = learned.filter(|learned| learned.doubts(now).is_empty());
            match (doubt, learned) {
                (None, _) | (Some(_), Some(_)) => {
                    let mut definition = learned.unwrap_or(&table.definition).clone();
                    definition.learn(now);
                    table.define(definition);
                }
                (Some(doubt), None) => {
                    let doubt = table.doubt.get_or_insert(InDoubt {
                        relations: Vec::new(),
                        reason: doubt.reason,
                    });
                    doubt.relations.push(relation);
                }
            }
        }
        Ok(())
    }

    /// The watch has looked more often, and may know from step to step that nothing became
    /// another.
    async fn learned(
        &self,
        store: &Client,
        described: &[Described],
    ) -> anyhow::Result<HashMap<i32, TableDefinition>> {
        let of_table = |one: &Described| self.tables[one.index].id;
        let ids: Vec<i32> = described.iter().map(of_table).collect();
        let query = include_str!("../../../sql/queries/capture/shadow/get_definitions.sql");
        let rows = store.query(query, &[&ids]).await;
        let rows = rows.context("read how the shadow's tables are defined")?;
        let definition = |row: &tokio_postgres::Row| {
            let definition = serde_json::from_str(row.get("definition")).ok()?;
            Some((row.get("id"), definition))
        };
        Ok(rows.iter().filter_map(definition).collect())
    }

    /// As of a moment at which all these transactions are visible.
    async fn read_definitions(
        &self,
        catalog: &SourceCatalog,
        described: &[Described],
    ) -> anyhow::Result<Definitions> {
        let of_table = |one: &Described| self.tables[one.index].oid;
        let oids: Vec<u32> = described.iter().map(of_table).collect();
        let began = Instant::now();
        loop {
            let definitions = catalog.read(&oids).await?;
            let missed = described
                .iter()
                .find(|one| definitions.snapshot.may_miss(one.xid));
            match missed {
                None => return Ok(definitions),
                Some(one) if began.elapsed() >= VISIBLE => {
                    return Err(Interrupted::NotVisible { xid: one.xid }.into());
                }
                Some(_) => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }
}
