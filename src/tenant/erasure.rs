//! Erases all that the store has of a tenant, but for the entries of the audit log that tell of
//! it. In small transactions; begun again after an interruption it goes on.

use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use tokio_postgres::types::ToSql;

use crate::audit::{Caller, Entry};
use crate::conninfo::{Client, quote_identifier};

/// Blocks of a table that one statement looks at: 8 MiB, some ten thousand rows.
const BLOCKS: i64 = 1_000;

/// Where each pass finds something, the tenant's rows still change in the application.
const PASSES: usize = 5;

const ACTION: &str = "tenant.erase";

pub struct Erasure<'a> {
    /// The store owner's.
    pub client: &'a mut Client,
    pub tenant: &'a str,
    pub caller: &'a Caller,
    pub reason: Option<&'a str>,
    /// What instances have in memory of the tenant is written by then: results of attempts that
    /// were under way, counts of them, and what calls of the API write.
    pub settle: Duration,
}

/// Rows of a tenant in a table, or in a day of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub table: String,
    pub rows: i64,
}

/// What was erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Erased {
    pub rows: i64,
    /// The last pass found none.
    pub is_complete: bool,
    /// Parked changes that hold the tenant's id somewhere: they have no tenant of their own.
    pub parked: i64,
}

/// A table with rows of tenants.
struct Table {
    name: String,
    blocks: i64,
}

impl Erasure<'_> {
    /// What would be erased.
    pub async fn count(&self) -> anyhow::Result<Vec<Found>> {
        let sql = include_str!("../../sql/queries/tenant/count_blocks.sql");
        let mut found = Vec::new();
        for table in self.tables().await? {
            let mut rows = 0;
            for (from, to) in table.ranges() {
                let parameters: [&(dyn ToSql + Sync); 3] = [&self.tenant, &from, &to];
                let counted = self
                    .client
                    .query_one(&table.statement(sql), &parameters)
                    .await;
                let counted = counted.with_context(|| format!("count the rows of {}", table.name));
                rows += counted?.get::<_, i64>(0);
            }
            if rows > 0 {
                found.push(Found {
                    table: table.name,
                    rows,
                });
            }
        }
        Ok(found)
    }

    /// Erases, and says of each pass how many rows there were.
    pub async fn run(&mut self, mut pass_ended: impl FnMut(i64)) -> anyhow::Result<Erased> {
        self.begin().await?;
        let mut erased = Erased {
            rows: 0,
            is_complete: false,
            parked: 0,
        };
        for pass in 0..PASSES {
            let rows = self.pass().await?;
            pass_ended(rows);
            erased.rows += rows;
            // One pass at least begins when nothing of before is in memory any more.
            if pass > 0 && rows == 0 {
                erased.is_complete = true;
                break;
            }
            if self.has_instances().await? {
                tokio::time::sleep(self.settle).await;
            }
        }
        let sql = include_str!("../../sql/queries/tenant/count_parked.sql");
        let parked = self.client.query_one(sql, &[&self.tenant]).await;
        erased.parked = parked.context("look into the parked changes")?.get(0);
        if erased.is_complete {
            self.end(&erased).await?;
        }
        Ok(erased)
    }

    async fn begin(&mut self) -> anyhow::Result<()> {
        let entry = entry(self.tenant, self.reason, json!({"state": "begun"}));
        let transaction = self.client.transaction().await?;
        let sql = include_str!("../../sql/queries/tenant/begin_erasure.sql");
        let begun = transaction.execute(sql, &[&self.tenant]).await;
        begun.context("note that the tenant is being erased")?;
        self.caller.commit(transaction, &entry).await
    }

    /// One look at everything.
    async fn pass(&self) -> anyhow::Result<i64> {
        let mut erased = 0;
        // By the tenant's subscriptions, and therefore before these.
        for (sql, what) in [
            (
                include_str!("../../sql/queries/tenant/erase_backfills.sql"),
                "backfills",
            ),
            (
                include_str!("../../sql/queries/tenant/erase_backfills_audit.sql"),
                "the entries of backfills in the audit log",
            ),
        ] {
            let rows = self.client.execute(sql, &[&self.tenant]).await;
            let rows = rows.with_context(|| format!("erase it from {what}"))?;
            erased += i64::try_from(rows).unwrap_or(i64::MAX);
        }
        let sql = include_str!("../../sql/queries/tenant/erase_blocks.sql");
        for table in self.tables().await? {
            for (from, to) in table.ranges() {
                let parameters: [&(dyn ToSql + Sync); 3] = [&self.tenant, &from, &to];
                let rows = self
                    .client
                    .execute(&table.statement(sql), &parameters)
                    .await;
                let rows = rows.with_context(|| format!("erase rows of {}", table.name))?;
                erased += i64::try_from(rows).unwrap_or(i64::MAX);
            }
        }
        for (sql, what) in [
            (
                include_str!("../../sql/queries/tenant/erase_resembling.sql"),
                "tenants that are spelt alike",
            ),
            (
                include_str!("../../sql/queries/tenant/erase_audit.sql"),
                "the audit log",
            ),
        ] {
            let rows = self.client.execute(sql, &[&self.tenant]).await;
            let rows = rows.with_context(|| format!("erase it from {what}"))?;
            erased += i64::try_from(rows).unwrap_or(i64::MAX);
        }
        Ok(erased)
    }

    async fn end(&mut self, erased: &Erased) -> anyhow::Result<()> {
        let after = json!({"state": "done", "rows": erased.rows});
        let entry = entry(self.tenant, self.reason, after);
        let transaction = self.client.transaction().await?;
        let sql = include_str!("../../sql/queries/tenant/end_erasure.sql");
        let ended = transaction.execute(sql, &[&self.tenant]).await;
        ended.context("forget the tenant")?;
        self.caller.commit(transaction, &entry).await
    }

    async fn tables(&self) -> anyhow::Result<Vec<Table>> {
        let sql = include_str!("../../sql/queries/tenant/list_tables.sql");
        let rows = self.client.query(sql, &[]).await;
        let rows = rows.context("list the tables with rows of tenants")?;
        let table = |row: &tokio_postgres::Row| Table {
            name: row.get("name"),
            blocks: row.get("blocks"),
        };
        Ok(rows.iter().map(table).collect())
    }

    async fn has_instances(&self) -> anyhow::Result<bool> {
        let sql = include_str!("../../sql/queries/tenant/has_instances.sql");
        let row = self.client.query_one(sql, &[]).await;
        Ok(row.context("ask whether an instance runs")?.get(0))
    }
}

/// For the audit log.
fn entry<'a>(tenant: &'a str, reason: Option<&'a str>, after: serde_json::Value) -> Entry<'a> {
    Entry {
        tenant: Some(tenant),
        action: ACTION,
        object: Some(tenant.to_owned()),
        after: Some(after),
        reason,
        ..Entry::default()
    }
}

impl Table {
    /// Ranges of row versions, each of so many blocks; the last one has no end, as the table
    /// may grow meanwhile.
    fn ranges(&self) -> impl Iterator<Item = (String, String)> + use<> {
        const LAST: u32 = u32::MAX;
        let blocks = self.blocks;
        let begins = (0..blocks.max(1)).step_by(usize::try_from(BLOCKS).unwrap_or(usize::MAX));
        begins.map(move |from| {
            let to = match from + BLOCKS {
                to if to < blocks => to,
                _ => i64::from(LAST),
            };
            (format!("({from},0)"), format!("({to},0)"))
        })
    }

    fn statement(&self, template: &str) -> String {
        template.replace(":\"table\"", &quote_identifier(&self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_a_table_without_gaps_and_have_no_end() {
        let ranges = |blocks| -> Vec<(String, String)> {
            let name = String::new();
            Table { name, blocks }.ranges().collect()
        };
        let end = "(4294967295,0)".to_owned();
        assert_eq!(ranges(0), [("(0,0)".to_owned(), end.clone())]);
        assert_eq!(ranges(1_000), [("(0,0)".to_owned(), end.clone())]);
        let many = ranges(2_500);
        assert_eq!(many.len(), 3);
        assert!(many.windows(2).all(|pair| pair[0].1 == pair[1].0));
        assert_eq!(many[2], ("(2000,0)".to_owned(), end));
    }
}
