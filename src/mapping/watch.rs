//! What rules need of a table's rows that its log does not carry: the columns that the
//! shadow keeps for them.

use std::sync::Arc;

use crate::pgoutput::ReplicaIdentity;

use super::check::TableDescription;
use super::names::Usage;
use super::rules::{OldValues, Rule, RuleSet};
use super::table_name::TableName;

/// A table of which some rule uses the shadow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableWatch {
    pub table: TableName,
    /// The replica identity's columns: what the WAL always has of a changed row.
    pub key: Vec<String>,
    /// What the shadow keeps, in the table's order; none of the key's.
    pub columns: Vec<WatchedColumn>,
    pub rules: Vec<RuleWatch>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchedColumn {
    pub name: String,
    /// As `format_type` writes it.
    pub type_name: String,
}

/// A rule that uses the shadow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleWatch {
    /// Its place in the configuration.
    pub index: usize,
    pub name: Arc<str>,
    /// Without these the rule cannot be decided. Others, such as those of `previous`,
    /// are watched where they are known.
    pub required: Vec<String>,
}

impl RuleSet {
    /// What the shadow must keep of the table; `None` where no rule needs one.
    pub fn watch(&self, table: &TableDescription) -> Option<TableWatch> {
        let name = TableName {
            schema: table.schema.clone(),
            name: table.name.clone(),
        };
        let users: Vec<&Rule> = self
            .of_table(&name)
            .filter(|rule| uses_shadow(rule, table))
            .collect();
        if users.is_empty() {
            return None;
        }
        let watched = |column: &str| {
            !is_logged(table, column) && users.iter().any(|rule| concerns(rule, table, column))
        };
        Some(TableWatch {
            key: table.identity.clone(),
            columns: table
                .columns
                .iter()
                .filter(|column| !column.generated && watched(&column.name))
                .map(|column| WatchedColumn {
                    name: column.name.clone(),
                    type_name: column.type_name.clone(),
                })
                .collect(),
            rules: users.iter().map(|rule| rule_watch(rule, table)).collect(),
            table: name,
        })
    }

    /// The rules that need old values of a table whose log carries them, each with all
    /// that it would need of a shadow.
    pub fn logged(&self, table: &TableDescription) -> Vec<RuleWatch> {
        if table.replica_identity != ReplicaIdentity::Full {
            return Vec::new();
        }
        let name = TableName {
            schema: table.schema.clone(),
            name: table.name.clone(),
        };
        // As if the WAL carried nothing.
        let bare = TableDescription {
            replica_identity: ReplicaIdentity::Default,
            identity: Vec::new(),
            ..table.clone()
        };
        let users = self
            .of_table(&name)
            .filter(|rule| !unlogged(rule, &bare).is_empty());
        users.map(|rule| rule_watch(rule, &bare)).collect()
    }

    /// Whether a rule of the table may need the shadow, as far as the rules alone say.
    pub fn may_use_shadow(&self, table: &TableName) -> bool {
        self.of_table(table).any(|rule| {
            let of_old = |usage| matches!(usage, Usage::Old | Usage::Became | Usage::Changed);
            let needs = rule.on.delete
                || rule.on.update && rule.names.uses.iter().any(|one| of_old(one.usage));
            match rule.old_values {
                OldValues::Auto => needs,
                OldValues::Full => false,
                OldValues::Shadow => true,
            }
        })
    }
}

/// The columns that the rule needs the old values of and that the WAL lacks, each with
/// the rule's key that names it.
pub(super) fn unlogged<'a>(rule: &'a Rule, table: &'a TableDescription) -> Vec<(&'a str, &'a str)> {
    let on = rule.on;
    let mut missing: Vec<(&str, &str)> = Vec::new();
    for one in &rule.names.uses {
        let of_update = matches!(one.usage, Usage::Old | Usage::Became | Usage::Changed);
        let of_delete = matches!(one.usage, Usage::Old | Usage::Current);
        let needed = (on.update && of_update) || (on.delete && of_delete);
        let name = rule.names.names.get(one.name).map_or("", String::as_str);
        if needed && !is_logged(table, name) {
            missing.push((&one.key, name));
        }
    }
    if on.delete && rule.key.is_empty() {
        let key = table.primary_key.iter().map(String::as_str);
        missing.extend(
            key.filter(|name| !is_logged(table, name))
                .map(|name| ("key", name)),
        );
    }
    missing
}

/// Whether the WAL carries the column's old value.
fn is_logged(table: &TableDescription, column: &str) -> bool {
    table.replica_identity == ReplicaIdentity::Full
        || table.identity.iter().any(|logged| logged == column)
}

fn uses_shadow(rule: &Rule, table: &TableDescription) -> bool {
    if table.replica_identity == ReplicaIdentity::Full || table.identity.is_empty() {
        return false;
    }
    match rule.old_values {
        OldValues::Full => false,
        OldValues::Shadow => rule.on.update || rule.on.delete,
        OldValues::Auto => !unlogged(rule, table).is_empty(),
    }
}

/// Whether the rule reads the column at all: for the decision, for `previous`, or
/// because an update may leave its TOASTed value out of the WAL.
fn concerns(rule: &Rule, table: &TableDescription, column: &str) -> bool {
    let key = &table.primary_key;
    rule.data.is_none()
        || rule.names.names.iter().any(|name| name == column)
        // Where the identity is another index than the primary key.
        || rule.key.is_empty() && key.iter().any(|name| name == column)
}

fn rule_watch(rule: &Rule, table: &TableDescription) -> RuleWatch {
    RuleWatch {
        index: rule.index,
        name: Arc::clone(&rule.name),
        required: required(rule, table),
    }
}

fn required(rule: &Rule, table: &TableDescription) -> Vec<String> {
    let mut required: Vec<String> = match rule.old_values {
        OldValues::Shadow => {
            let names = rule.names.names.iter();
            names
                .filter(|name| !is_logged(table, name))
                .cloned()
                .collect()
        }
        OldValues::Auto | OldValues::Full => unlogged(rule, table)
            .into_iter()
            .map(|(_, column)| column.to_owned())
            .collect(),
    };
    required.sort();
    required.dedup();
    required
}
