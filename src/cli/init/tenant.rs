//! Whose rows they are: the column that most tables have under a name that says so.

use crate::cli::UsageError;
use crate::mapping::file::{TenantConfig, TenantValue, suggestion};
use crate::source::catalog::Table;

use super::file::{expression, string};
use super::proposal::singular;

/// What a tenant's column is called, the likeliest first: a customer is often the tenant's own.
const NAMES: [&str; 8] = [
    "tenant_id",
    "account_id",
    "organization_id",
    "organisation_id",
    "org_id",
    "company_id",
    "workspace_id",
    "customer_id",
];

pub(super) enum Tenant {
    Column(String),
    /// All rows are this one's.
    One(String),
}

impl Tenant {
    pub(super) fn of(
        column: Option<&str>,
        one: Option<&str>,
        tables: &[Table],
    ) -> Result<Tenant, UsageError> {
        match (column, one) {
            (_, Some("")) => Err(UsageError(
                "--one-tenant is empty: give the tenant's id".to_owned(),
            )),
            (_, Some(one)) => Ok(Tenant::One(one.to_owned())),
            (Some(column), None) if tables.iter().any(|table| has(table, column)) => {
                Ok(Tenant::Column(column.to_owned()))
            }
            (Some(column), None) => Err(UsageError(format!(
                "--tenant {column}: no table that was named has such a column{}",
                suggestion(column, columns(tables))
            ))),
            (None, None) => found(tables).map(Tenant::Column).ok_or_else(|| {
                UsageError(format!(
                    "no table that was named has a column called {} or the like: name the column that says whose row \
                     it is (--tenant COLUMN), or the tenant of all rows (--one-tenant TENANT). There are: {}",
                    NAMES[0],
                    listed(tables)
                ))
            }),
        }
    }

    /// As `[defaults]` and a rule have it.
    pub(super) fn toml(&self) -> String {
        match self {
            Tenant::Column(column) => string(&expression(column)),
            Tenant::One(tenant) => format!("{{ value = {} }}", string(tenant)),
        }
    }

    pub(super) fn config(&self) -> TenantConfig {
        match self {
            Tenant::Column(column) => TenantConfig::Expression(expression(column)),
            Tenant::One(tenant) => TenantConfig::Value(TenantValue {
                value: tenant.clone(),
            }),
        }
    }

    /// Why the table needs a word of its own, if so.
    pub(super) fn missing_in(&self, table: &Table) -> Option<Missing> {
        let Tenant::Column(column) = self else {
            return None;
        };
        if has(table, column) {
            return None;
        }
        let stem = plain(column);
        let is_theirs = stem.strip_suffix("id") == Some(&plain(&singular(&table.name().name)));
        Some(match table.primary_key.as_slice() {
            [key] if is_theirs => Missing::IsTheirs { key: key.clone() },
            _ => Missing::Unknown {
                column: column.clone(),
            },
        })
    }
}

/// A table has no column of the tenant's name.
pub(super) enum Missing {
    /// Its rows are the tenants.
    IsTheirs {
        key: String,
    },
    Unknown {
        column: String,
    },
}

/// The name that most tables have; of several the likeliest.
fn found(tables: &[Table]) -> Option<String> {
    let shared = |name: &str| tables.iter().filter(|table| has(table, name)).count();
    let likeliest = |name: &str| NAMES.iter().position(|known| plain(known) == plain(name));
    columns(tables)
        .filter_map(|name| Some((likeliest(name)?, name)))
        .min_by_key(|(rank, name)| (std::cmp::Reverse(shared(name)), *rank))
        .map(|(_, name)| name.to_owned())
}

fn columns(tables: &[Table]) -> impl Iterator<Item = &str> {
    let columns = tables.iter().flat_map(|table| &table.columns);
    columns.map(|column| column.name.as_str())
}

fn listed(tables: &[Table]) -> String {
    let mut names: Vec<&str> = columns(tables).collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

fn has(table: &Table, name: &str) -> bool {
    table.columns.iter().any(|column| column.name == name)
}

/// `tenantId` and `tenant_id` are one name.
fn plain(name: &str) -> String {
    name.to_lowercase().replace('_', "")
}
