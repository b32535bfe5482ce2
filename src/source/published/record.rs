//! The record of what was published, and of the gaps that the catalog shows.

use std::collections::HashMap;

use anyhow::Context;

use super::{Catalog, Change, Membership, Recorded, compare};
use crate::conninfo::{Client, Transaction};
use crate::lsn::Lsn;
use crate::mapping::TableName;
use crate::replication::GapKind;

/// Compares the catalog with the record, records the gaps that it shows and what it is
/// now. Answers the kinds of the gaps that are new.
pub async fn record(
    store: &mut Client,
    slot: &str,
    catalog: &Catalog,
) -> anyhow::Result<Vec<GapKind>> {
    let before = recorded(store, slot).await?;
    let mut found = Vec::new();
    for (table, state) in &catalog.tables {
        let name = table.to_string();
        let recorded = before.get(&name);
        let change = compare(recorded, *state);
        let noted = Noted {
            slot,
            table: &name,
            catalog,
        };
        found.extend(noted.note(store, recorded, change).await?);
    }
    Ok(found)
}

/// What was recorded of the slot's tables, by name.
async fn recorded(store: &Client, slot: &str) -> anyhow::Result<HashMap<String, Recorded>> {
    let query = include_str!("../../../sql/queries/source/list_published.sql");
    let rows = store.query(query, &[&slot]).await;
    let rows = rows.context("read what was published before")?;
    let one = |row: &tokio_postgres::Row| {
        let recorded = Recorded {
            membership: Membership {
                publication: row.get("publication_oid"),
                table: row.get("table_oid"),
                member: row.get("member_oid"),
            },
            missing: row.get("missing"),
            seen: row.get("seen_lsn"),
        };
        (row.get("table_name"), recorded)
    };
    Ok(rows.iter().map(one).collect())
}

/// Records that what is published now was so at this position: an upper end for where a
/// gap can begin that is found after a restart.
pub async fn seen(store: &Client, slot: &str, at: Lsn) -> anyhow::Result<()> {
    let query = include_str!("../../../sql/queries/source/see_published.sql");
    let done = store.execute(query, &[&slot, &at]).await;
    done.map(drop).context("record what is published")
}

/// Who says that a table is watched no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// The instance that reads the slot, of its own rules.
    Leader,
    /// A configuration: instances that run may have another.
    Setup,
}

/// Forgets tables that no rule watches any more.
pub async fn forget_others(
    store: &Client,
    slot: &str,
    tables: &[TableName],
    says: Says,
) -> anyhow::Result<()> {
    let names: Vec<String> = tables.iter().map(TableName::to_string).collect();
    let query = include_str!("../../../sql/queries/source/forget_published.sql");
    let done = store
        .execute(query, &[&slot, &names, &(says == Says::Leader)])
        .await;
    done.map(drop).context("forget tables that no rule watches")
}

/// One table of one look, to be written.
struct Noted<'a> {
    slot: &'a str,
    table: &'a str,
    catalog: &'a Catalog,
}

impl Noted<'_> {
    async fn note(
        &self,
        store: &mut Client,
        recorded: Option<&Recorded>,
        change: Change,
    ) -> anyhow::Result<Option<GapKind>> {
        let (slot, table) = (self.slot, self.table);
        if change == Change::None {
            return Ok(None);
        }
        let transaction = store.transaction().await.context("begin")?;
        if let Some(recorded) = recorded {
            let Membership {
                publication,
                table: oid,
                member,
            } = recorded.membership;
            let query = include_str!("../../../sql/queries/source/lock_published.sql");
            let row = transaction
                .query_opt(
                    query,
                    &[
                        &slot,
                        &table,
                        &publication,
                        &oid,
                        &member,
                        &recorded.missing,
                    ],
                )
                .await
                .context("lock the record of what is published")?;
            if row.is_none() {
                return Ok(None);
            }
        }
        let from = recorded.map_or(self.catalog.from, |recorded| recorded.seen);
        let to = self.catalog.to;
        let mut new = None;
        match change {
            Change::None => {}
            Change::First(membership) => self.remember(&transaction, membership).await?,
            Change::Gone { kind, what } => {
                self.gap(&transaction, kind, from, None, &what).await?;
                let query = include_str!("../../../sql/queries/source/miss_published.sql");
                let missed = transaction.execute(query, &[&slot, &table]).await;
                missed.context("record that a table is not published")?;
                new = Some(kind);
            }
            Change::Back(membership) => {
                let query = include_str!("../../../sql/queries/source/end_table_gap.sql");
                let ended = transaction.execute(query, &[&slot, &table, &to]).await;
                ended.context("record where a gap ends")?;
                self.remember(&transaction, membership).await?;
            }
            Change::Replaced {
                membership,
                kind,
                what,
            } => {
                self.gap(&transaction, kind, from, Some(to), &what).await?;
                self.remember(&transaction, membership).await?;
                new = Some(kind);
            }
        }
        transaction
            .commit()
            .await
            .context("record what is published")?;
        Ok(new)
    }

    async fn gap(
        &self,
        store: &Transaction<'_>,
        kind: GapKind,
        from: Lsn,
        to: Option<Lsn>,
        what: &str,
    ) -> anyhow::Result<()> {
        let (slot, table) = (self.slot, self.table);
        let reason =
            format!("table {table} {what}: changes of it that committed meanwhile are missing");
        let query = include_str!("../../../sql/queries/db/record_table_gap.sql");
        let done = store
            .execute(query, &[&slot, &kind.as_str(), &table, &from, &to, &reason])
            .await;
        done.context("record the gap")?;
        tracing::error!(table, kind = kind.as_str(), %from, to = to.map(tracing::field::display), "{reason}");
        Ok(())
    }

    async fn remember(
        &self,
        store: &Transaction<'_>,
        membership: Membership,
    ) -> anyhow::Result<()> {
        let query = include_str!("../../../sql/queries/source/remember_published.sql");
        let Membership {
            publication,
            table,
            member,
        } = membership;
        let done = store
            .execute(
                query,
                &[
                    &self.slot,
                    &self.table,
                    &publication,
                    &table,
                    &member,
                    &self.catalog.from,
                ],
            )
            .await;
        done.map(drop).context("record what is published")
    }
}
