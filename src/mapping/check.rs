//! Checks rules against the live tables: a typo is an error at start, with its place,
//! never a silent non-match.

use std::sync::Arc;

use crate::pgoutput::value::built_in_name;
use crate::pgoutput::{Relation, ReplicaIdentity};

use super::database::Database;
use super::file::{RuleError, TENANT_HINT, suggestion};
use super::language::types::{Collation, Column, Type};
use super::names::Use;
use super::programs::programs;
use super::rules::{OldValues, Rule, RuleSet};
use super::table_name::TableName;
use super::watch::unlogged;

/// A table as the catalog describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableDescription {
    pub schema: String,
    pub name: String,
    pub columns: Vec<ColumnDescription>,
    /// In the order of the key; empty where the table has none.
    pub primary_key: Vec<String>,
    pub replica_identity: ReplicaIdentity,
    /// The columns of which the WAL carries the old values of updates and deletes:
    /// the primary key's under DEFAULT, the index's under INDEX, all under FULL.
    pub identity: Vec<String>,
    pub database: Arc<Database>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnDescription {
    pub name: String,
    pub type_oid: u32,
    /// As `format_type` writes it.
    pub type_name: String,
    /// As expressions see it; of a domain, the type beneath.
    pub r#type: Type,
    pub collation: Collation,
    /// `generated always as (…) stored`.
    pub generated: bool,
}

impl TableDescription {
    /// The columns that expressions may name.
    pub(super) fn readable_columns(&self) -> Vec<Column> {
        let readable = self.columns.iter().filter(|column| !column.generated);
        readable.map(ColumnDescription::column).collect()
    }
}

impl ColumnDescription {
    /// A column of a built-in type; of any other type's values nothing is known.
    pub fn built_in(name: &str, type_oid: u32) -> Self {
        let type_name = built_in_name(type_oid).unwrap_or_else(|| "of its own".to_owned());
        ColumnDescription {
            name: name.to_owned(),
            type_oid,
            r#type: Type::of_oid(type_oid, &type_name),
            type_name,
            collation: Collation::Default,
            generated: false,
        }
    }

    fn column(&self) -> Column {
        Column {
            name: self.name.clone(),
            r#type: self.r#type.clone(),
            type_name: self.type_name.clone(),
            collation: self.collation.clone(),
        }
    }
}

/// A relation's columns, in its order, with what the catalog said of those that are still
/// the same.
pub(super) fn columns_of(relation: &Relation, table: Option<&TableDescription>) -> Vec<Column> {
    let described = |name: &str, type_oid: u32| {
        let mut columns = table.into_iter().flat_map(|table| &table.columns);
        columns.find(|column| column.name == name && column.type_oid == type_oid)
    };
    let columns = relation.columns.iter();
    columns
        .map(|column| match described(&column.name, column.type_oid) {
            Some(described) => described.column(),
            None => ColumnDescription::built_in(&column.name, column.type_oid).column(),
        })
        .collect()
}

impl RuleSet {
    /// Checks all rules against the described tables. `existing` are the tables of the
    /// database as `schema.table`, for suggestions where a rule's is not among them.
    pub fn check(&self, described: &[TableDescription], existing: &[String]) -> Vec<RuleError> {
        let mut errors: Vec<_> = described
            .iter()
            .flat_map(|table| self.check_table(table))
            .collect();
        for rule in &self.rules {
            let known = described
                .iter()
                .any(|table| table.schema == rule.table.schema && table.name == rule.table.name);
            if !known {
                let name = rule.table.to_string();
                let near = suggestion(&name, existing.iter().map(String::as_str));
                errors.push(error(
                    rule,
                    "table",
                    format!("table `{name}` does not exist{near}"),
                ));
            }
        }
        errors.sort_by_key(|error| error.index);
        errors
    }

    /// Checks the rules of one table, and learns its primary key for [`super::Mapper`]:
    /// call it before mapping, and again when the table has changed.
    pub fn check_table(&self, table: &TableDescription) -> Vec<RuleError> {
        let name = TableName {
            schema: table.schema.clone(),
            name: table.name.clone(),
        };
        let mut errors = Vec::new();
        let columns = table.readable_columns();
        for rule in self.of_table(&name) {
            let mut check = Check {
                rule,
                table,
                errors: Vec::new(),
            };
            check.columns();
            // Without its columns the rest would only repeat what is wrong.
            if check.errors.is_empty() {
                check.key();
                check.old_values();
            }
            check.expressions(&columns, &table.database);
            errors.append(&mut check.errors);
        }
        self.learn_table(name, table);
        errors
    }
}

/// Why the rule does not fit the table as the WAL describes it at this place: a column
/// that it names is gone.
pub(super) fn misfit(rule: &Rule, relation: &Relation) -> Option<String> {
    let columns = relation.columns.iter();
    let table = TableDescription {
        schema: relation.namespace.clone(),
        name: relation.name.clone(),
        columns: columns
            .map(|column| ColumnDescription::built_in(&column.name, column.type_oid))
            .collect(),
        primary_key: Vec::new(),
        replica_identity: relation.replica_identity,
        identity: Vec::new(),
        database: Database::unasked(),
    };
    let mut check = Check {
        rule,
        table: &table,
        errors: Vec::new(),
    };
    check.columns();
    let error = check.errors.into_iter().next()?;
    Some(format!("`{}`: {}", error.key, error.message))
}

fn error(rule: &Rule, key: &str, message: impl Into<String>) -> RuleError {
    RuleError {
        rule: rule.name.to_string(),
        index: rule.index,
        key: key.to_owned(),
        message: message.into(),
        other: None,
    }
}

struct Check<'a> {
    rule: &'a Rule,
    table: &'a TableDescription,
    errors: Vec<RuleError>,
}

impl Check<'_> {
    fn error(&mut self, key: &str, message: impl Into<String>) {
        self.errors.push(error(self.rule, key, message));
    }

    fn column(&self, name: usize) -> Option<&ColumnDescription> {
        let name = self.rule.names.names.get(name)?;
        self.table
            .columns
            .iter()
            .find(|column| column.name == *name)
    }

    fn name_of(&self, one: &Use) -> &str {
        self.rule
            .names
            .names
            .get(one.name)
            .map_or("", String::as_str)
    }

    /// Columns that are named exactly, and generated ones wherever they are named.
    fn columns(&mut self) {
        for one in &self.rule.names.uses {
            let name = self.name_of(one);
            let message = match self.column(one.name) {
                Some(column) if column.generated => format!(
                    "column `{name}` is generated: PostgreSQL before 18 leaves such columns out of the WAL; use the columns that it is computed from"
                ),
                None if matches!(one.key.as_str(), "key" | "data") => format!(
                    "table `{}` has no column `{name}`{}",
                    self.rule.table,
                    suggestion(
                        name,
                        self.table.columns.iter().map(|column| column.name.as_str())
                    )
                ),
                Some(_) | None => continue,
            };
            self.errors.push(error(self.rule, &one.key, message));
        }
    }

    fn key(&mut self) {
        let is_missing = self.rule.key.is_empty() && self.table.primary_key.is_empty();
        if is_missing && self.rule.on.has_rows() {
            let table = &self.rule.table;
            self.error(
                "key",
                format!("table `{table}` has no primary key: name the columns that identify a row, as in key = [\"id\"]"),
            );
        }
    }

    /// Rules that need what only REPLICA IDENTITY FULL writes to the WAL.
    fn old_values(&mut self) {
        let table = self.rule.table.to_sql();
        let has_identity = match self.table.replica_identity {
            ReplicaIdentity::Full => return,
            ReplicaIdentity::Nothing => false,
            ReplicaIdentity::Default | ReplicaIdentity::Index => !self.table.identity.is_empty(),
        };
        let way_out = format!(
            "run `alter table {table} replica identity full;` (updates then write about a third more WAL: 36 % measured on a row of 361 bytes)"
        );
        if !has_identity {
            self.error(
                "table",
                format!("table {table} has no replica identity: once it is published, the application's own UPDATE and DELETE would fail; add a primary key, or {way_out}"),
            );
            return;
        }
        // The others are answered by the shadow.
        if self.rule.old_values != OldValues::Full {
            return;
        }
        let missing = unlogged(self.rule, self.table);
        let Some((key, _)) = missing.first() else {
            return;
        };
        let key = (*key).to_owned();
        let mut columns: Vec<_> = missing
            .iter()
            .map(|(_, name)| format!("`{name}`"))
            .collect();
        columns.sort();
        columns.dedup();
        self.error(
            &key,
            format!(
                "needs the old values of {}, which the WAL carries only under REPLICA IDENTITY FULL: say old_values = \"auto\" or \"shadow\", and walhook keeps them itself, or {way_out}",
                columns.join(", ")
            ),
        );
    }

    /// What the expressions mean on this table.
    fn expressions(&mut self, columns: &[Column], database: &Database) {
        if let Err(errors) = programs(self.rule, columns, database) {
            for (key, message) in errors {
                // A generated column is said once, and better.
                if self.errors.iter().any(|error| error.key == key) {
                    continue;
                }
                let message = match key.as_str() {
                    "tenant" => format!("{message}{TENANT_HINT}"),
                    _ => message,
                };
                self.error(&key, message);
            }
        }
    }
}
