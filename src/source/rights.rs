//! Which role needs which right, and the SQL that gives it: said in one place, so that `check`,
//! `backfill` and `setup --print-sql` ask for the same.

use super::catalog::sql_name;
use crate::db::quote_identifier;
use crate::mapping::TableName;

/// To read a table whole, as a backfill does and the beginning of a shadow: columns alone
/// would be too few as soon as a rule names another.
pub fn read_whole(role: &str, table: &TableName) -> [String; 2] {
    [use_schema(role, table), read_table(role, table)]
}

pub fn use_schema(role: &str, table: &TableName) -> String {
    let (schema, role) = (quote_identifier(&table.schema), quote_identifier(role));
    format!("grant usage on schema {schema} to {role};")
}

pub fn read_table(role: &str, table: &TableName) -> String {
    format!(
        "grant select on {} to {};",
        sql_name(table),
        quote_identifier(role)
    )
}

/// To read every row of it, where a policy hides some.
pub fn pass_policies(role: &str) -> String {
    format!("alter role {} with bypassrls;", quote_identifier(role))
}

/// To read the WAL. Amazon RDS has no superuser, and gives the right through a role.
pub fn replicate(role: &str, on_rds: bool) -> String {
    let role = quote_identifier(role);
    match on_rds {
        true => format!("grant rds_replication to {role};"),
        false => format!("alter role {role} with replication;"),
    }
}

pub fn connect(role: &str, database: &str) -> String {
    let (database, role) = (quote_identifier(database), quote_identifier(role));
    format!("grant connect on database {database} to {role};")
}
