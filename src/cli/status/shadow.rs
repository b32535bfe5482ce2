//! The tables whose old values walhook keeps itself, and the rules that read them.

use serde::Serialize;

use crate::capture::{ActiveRule, StoredTable};
use crate::conninfo::Client;

#[derive(Debug, Serialize)]
pub(super) struct Table {
    pub(super) table: String,
    pub(super) columns: Vec<String>,
    /// `seeding` or `complete`; rules wait for the second.
    pub(super) state: &'static str,
    pub(super) seeded_rows: i64,
    pub(super) complete_at_lsn: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Rule {
    pub(super) rule: String,
    pub(super) active_from_lsn: String,
}

pub(super) async fn read(client: &Client, slot: &str) -> anyhow::Result<(Vec<Table>, Vec<Rule>)> {
    let tables = StoredTable::list(client, slot).await?;
    let table = |stored: StoredTable| Table {
        table: format!("{}.{}", stored.table.schema, stored.table.name),
        columns: stored
            .columns
            .into_iter()
            .filter(|name| !name.is_empty())
            .collect(),
        state: match stored.complete {
            true => "complete",
            false => "seeding",
        },
        seeded_rows: stored.seeded_rows,
        complete_at_lsn: stored.complete_at.map(|lsn| lsn.to_string()),
    };
    let rules = ActiveRule::list(client, slot).await?;
    let rule = |active: ActiveRule| Rule {
        rule: active.rule,
        active_from_lsn: active.from.to_string(),
    };
    Ok((
        tables.into_iter().map(table).collect(),
        rules.into_iter().map(rule).collect(),
    ))
}
