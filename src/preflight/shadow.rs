//! The tables whose old values walhook keeps itself: whether it may read them to begin.

use anyhow::Context;

use super::finding::Finding;
use crate::conninfo::{Client, column};
use crate::mapping::RuleSet;
use crate::mapping::watch::TableWatch;
use crate::source::catalog::Table;
use crate::source::rights;
use crate::source::server::Role;

/// A table with a shadow, and what our role may do there.
pub(super) struct Shadowed {
    watch: TableWatch,
    may_use_schema: bool,
    /// The columns that the seed reads and our role may not.
    unreadable: Vec<String>,
    /// A policy hides rows from our role.
    hidden_rows: bool,
}

pub(super) async fn read(
    client: &Client,
    rules: &RuleSet,
    tables: &[Table],
) -> anyhow::Result<Vec<Shadowed>> {
    let mut shadowed = Vec::new();
    for table in tables {
        let Some(watch) = rules.watch(&table.description()) else {
            continue;
        };
        let columns: Vec<&str> = seeded_columns(&watch).collect();
        let query = include_str!("../../sql/queries/preflight/shadow_rights.sql");
        let row = client.query_one(query, &[&table.oid, &columns]).await;
        let row = row.with_context(|| format!("read our rights on {}", table.name()))?;
        shadowed.push(Shadowed {
            may_use_schema: column(&row, "may_use_schema")?,
            unreadable: column(&row, "unreadable")?,
            hidden_rows: column(&row, "hidden_rows")?,
            watch,
        });
    }
    Ok(shadowed)
}

fn seeded_columns(watch: &TableWatch) -> impl Iterator<Item = &str> {
    let columns = watch.columns.iter().map(|column| column.name.as_str());
    watch.key.iter().map(String::as_str).chain(columns)
}

pub(super) fn findings(shadowed: &[Shadowed], role: &Role) -> Vec<Finding> {
    shadowed.iter().map(|one| finding(one, role)).collect()
}

fn finding(shadowed: &Shadowed, role: &Role) -> Finding {
    let watch = &shadowed.watch;
    let table = &watch.table;
    if !shadowed.may_use_schema || !shadowed.unreadable.is_empty() {
        let finding = Finding::failure(
            format!("the role `{}` may not read {table}", role.name),
            "rules need old values that its log does not carry: walhook keeps them itself, and reads the table \
             once to begin",
        );
        return match shadowed.may_use_schema {
            true => finding.mend(rights::read_table(&role.name, table)),
            false => finding.mend_all(rights::read_whole(&role.name, table)),
        };
    }
    if shadowed.hidden_rows {
        return Finding::failure(
            format!("row-level security hides rows of {table} from the role `{}`", role.name),
            "rules need old values that its log does not carry: walhook keeps them itself, and must read every row \
             once to begin",
        )
        .mend(rights::pass_policies(&role.name));
    }
    let columns: Vec<String> = watch
        .columns
        .iter()
        .map(|column| format!("`{}`", column.name))
        .collect();
    Finding::ok(format!(
        "walhook keeps the old values of {table} itself, as its log does not carry them: {}",
        columns.join(", ")
    ))
}
