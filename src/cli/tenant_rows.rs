//! Whether any row of the watched tables is a tenant's: a token for a misspelt tenant works, and
//! receives nothing for ever.

use std::time::Duration;

use tokio_postgres::error::SqlState;

use crate::config::Config;
use crate::conninfo::{Client, Purpose};
use crate::db::quote_identifier;
use crate::db::sql_text::{filled, quote_literal};
use crate::mapping::TableName;
use crate::mapping::file::{RuleConfig, TenantConfig};
use crate::source::catalog::{self, Table, sql_name};

/// A table without an index on its tenant's column is read to its end where no row is found. The
/// token is made by then, and a remark is worth no longer wait.
const LIMIT: Duration = Duration::from_secs(2);

/// What the rows say of a tenant.
pub(super) enum Rows {
    /// One of them is its.
    Some,
    /// Rows of it are spelt otherwise, and events are compared as text.
    Otherwise { column: String, spelling: String },
    /// None of these columns holds it.
    None { columns: Vec<String> },
    /// It could not be found out, with the reason where there is more to say than that a rule's
    /// tenant is an expression or a table is large.
    Unknown { why: Option<anyhow::Error> },
}

/// Looks for rows of `tenant` under the source's login.
pub(super) async fn look_up(tenant: &str, config: &Config) -> Rows {
    match search(tenant, config).await {
        Ok(rows) => rows,
        Err(error) => Rows::Unknown { why: Some(error) },
    }
}

async fn search(tenant: &str, config: &Config) -> anyhow::Result<Rows> {
    let mut asked: Vec<(TableName, String)> = Vec::new();
    let mut is_decided = !config.events.is_empty();
    for rule in &config.events {
        match tenant_of(rule, config) {
            TenantConfig::Value(fixed) if fixed.value == tenant => return Ok(Rows::Some),
            TenantConfig::Value(_) => {}
            TenantConfig::Expression(expression) => match column_of(rule, expression) {
                Some(column) if asked.contains(&column) => {}
                Some(column) => asked.push(column),
                None => is_decided = false,
            },
        }
    }
    if asked.is_empty() {
        return Ok(match is_decided {
            true => Rows::None {
                columns: Vec::new(),
            },
            false => Rows::Unknown { why: None },
        });
    }
    let conninfo = config.source_conninfo()?;
    let client = crate::source::connect(&conninfo, Purpose::Inspection("token")).await?;
    client.limit_statements(LIMIT).await?;
    let names: Vec<TableName> = asked.iter().map(|(table, _)| table.clone()).collect();
    let tables = catalog::describe(&client, &names).await?;
    let mut columns = Vec::new();
    let mut otherwise = None;
    for (name, column) in &asked {
        let table = tables.iter().find(|table| table.name() == name);
        match row_of(&client, table, column, tenant).await? {
            Found::Row(spelling) if spelling == tenant => return Ok(Rows::Some),
            Found::Row(spelling) => {
                let column = format!("{name}.{column}");
                otherwise = Some(Rows::Otherwise { column, spelling });
            }
            Found::None => columns.push(format!("{name}.{column}")),
            Found::Unknown => is_decided = false,
        }
    }
    if let Some(otherwise) = otherwise {
        return Ok(otherwise);
    }
    Ok(match is_decided {
        true => Rows::None { columns },
        false => Rows::Unknown { why: None },
    })
}

fn tenant_of<'a>(rule: &'a RuleConfig, config: &'a Config) -> &'a TenantConfig {
    rule.tenant.as_ref().unwrap_or(&config.defaults.tenant)
}

/// The table's column that is the tenant, where the expression is no more than that: it reads
/// like a name after a schema's.
fn column_of(rule: &RuleConfig, expression: &str) -> Option<(TableName, String)> {
    let table = TableName::parse(&rule.table)?;
    let column = TableName::parse(&format!("s.{}", expression.trim()))?;
    Some((table, column.name))
}

enum Found {
    /// With its tenant as it spells it.
    Row(String),
    None,
    /// There is no such column, or the table is too large to be read for this.
    Unknown,
}

async fn row_of(
    client: &Client,
    table: Option<&Table>,
    column: &str,
    tenant: &str,
) -> anyhow::Result<Found> {
    let has_column = |table: &&Table| {
        table
            .columns
            .iter()
            .any(|described| described.name == column)
    };
    let Some(table) = table.filter(has_column) else {
        return Ok(Found::Unknown);
    };
    // The text takes the column's type, so that an index serves.
    let sql = filled(
        include_str!("../../sql/queries/cli/has_row_of_tenant.sql"),
        &[
            ("{table}", &sql_name(table.name())),
            ("{column}", &quote_identifier(column)),
            ("{tenant}", &quote_literal(tenant)),
        ],
    );
    match client.query_one(&sql, &[]).await {
        Ok(row) => Ok(match row.try_get(0)? {
            Some(spelling) => Found::Row(spelling),
            None => Found::None,
        }),
        Err(error) => match error.code() {
            Some(&SqlState::QUERY_CANCELED) => Ok(Found::Unknown),
            // No value of the column's type is written like this.
            Some(
                &SqlState::INVALID_TEXT_REPRESENTATION | &SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
            ) => Ok(Found::None),
            _ => Err(error.into()),
        },
    }
}
