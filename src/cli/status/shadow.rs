//! The tables whose old values walhook keeps itself, and the rules that read them.

use anyhow::Context;
use serde::Serialize;

use crate::conninfo::Client;
use crate::lsn::Lsn;

#[derive(Debug, Serialize)]
pub(super) struct Table {
    pub(super) table: String,
    pub(super) columns: Vec<String>,
    /// `seeding` or `complete`; rules wait for the second.
    pub(super) state: String,
    pub(super) seeded_rows: i64,
    pub(super) complete_at_lsn: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Rule {
    pub(super) rule: String,
    pub(super) active_from_lsn: String,
}

pub(super) async fn read(client: &Client, slot: &str) -> anyhow::Result<(Vec<Table>, Vec<Rule>)> {
    let query = include_str!("../../../sql/queries/cli/list_shadow_tables.sql");
    let tables = client
        .query(query, &[&slot])
        .await
        .context("list the tables of the shadow")?;
    let table = |row: &tokio_postgres::Row| Table {
        table: row.get("table"),
        columns: row.get("columns"),
        state: row.get("state"),
        seeded_rows: row.get("seeded_rows"),
        complete_at_lsn: row
            .get::<_, Option<Lsn>>("complete_at_lsn")
            .map(|lsn| lsn.to_string()),
    };
    let query = include_str!("../../../sql/queries/capture/shadow/status_rules.sql");
    let rules = client
        .query(query, &[&slot])
        .await
        .context("list the rules that use the shadow")?;
    let rule = |row: &tokio_postgres::Row| Rule {
        rule: row.get("rule"),
        active_from_lsn: row.get::<_, Lsn>("active_from_lsn").to_string(),
    };
    Ok((
        tables.iter().map(table).collect(),
        rules.iter().map(rule).collect(),
    ))
}
