//! Checks rules against the live tables: a typo is an error at start, with its place,
//! never a silent non-match.

use crate::pgoutput::value::built_in_name;
use crate::pgoutput::{Relation, ReplicaIdentity};

use super::expression::{Comparison, Node, Use};
use super::file::{RuleError, suggestion};
use super::rules::{Member, OldValues, Rule, RuleSet, Source, Tenant};
use super::scope::ColumnKind;
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
    /// The columns of which the log carries the old values of updates and deletes:
    /// the primary key's under DEFAULT, the index's under INDEX, all under FULL.
    pub identity: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnDescription {
    pub name: String,
    pub type_oid: u32,
    /// As `format_type` writes it.
    pub type_name: String,
    /// `generated always as (…) stored`.
    pub generated: bool,
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
                check.literals();
            }
            errors.append(&mut check.errors);
        }
        self.learn_primary_key(name, &table.primary_key);
        errors
    }
}

/// Why the rule does not fit the table as the log describes it at this place: a column
/// that it names is gone or new, or has another type than what it is compared with.
pub(super) fn misfit(rule: &Rule, relation: &Relation) -> Option<String> {
    let columns = relation.columns.iter().map(|column| ColumnDescription {
        name: column.name.clone(),
        type_oid: column.type_oid,
        type_name: built_in_name(column.type_oid).unwrap_or_else(|| "of its own".to_owned()),
        generated: false,
    });
    let table = TableDescription {
        schema: relation.namespace.clone(),
        name: relation.name.clone(),
        columns: columns.collect(),
        primary_key: Vec::new(),
        replica_identity: relation.replica_identity,
        identity: Vec::new(),
    };
    let mut check = Check {
        rule,
        table: &table,
        errors: Vec::new(),
    };
    check.columns();
    if check.errors.is_empty() {
        check.literals();
    }
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

    fn columns(&mut self) {
        for one in &self.rule.names.uses {
            let name = self.name_of(one);
            let message = match self.column(one.name) {
                Some(column) if column.generated => format!(
                    "column `{name}` is generated: PostgreSQL before 18 leaves such columns out of the log; use the columns that it is computed from"
                ),
                Some(_) => continue,
                None => format!(
                    "table `{}` has no column `{name}`{}",
                    self.rule.table,
                    suggestion(
                        name,
                        self.table.columns.iter().map(|column| column.name.as_str())
                    )
                ),
            };
            let message = match (&one.key[..], &self.rule.tenant) {
                ("tenant", Tenant::Column(_)) => format!(
                    "{message} (the tenant's column: set `tenant` here or under [defaults], or give a fixed one as {{ value = \"…\" }})"
                ),
                _ => message,
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

    /// Rules that need what only REPLICA IDENTITY FULL writes to the log.
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
                "needs the old values of {}, which the log carries only under REPLICA IDENTITY FULL: say old_values = \"auto\" or \"shadow\", and walhook keeps them itself, or {way_out}",
                columns.join(", ")
            ),
        );
    }

    /// Comparisons that can never hold, because the column and the constant differ in kind.
    fn literals(&mut self) {
        let rule = self.rule;
        if let Some(when) = &rule.when {
            self.literals_of(when, "when");
        }
        if let Some(data) = &rule.data {
            self.literals_of_members(data);
        }
    }

    fn literals_of_members(&mut self, members: &[Member]) {
        for member in members {
            match &member.source {
                Source::Column(..) => {}
                Source::Expression(node) => self.literals_of(node, "data"),
                Source::Object(members) => self.literals_of_members(members),
            }
        }
    }

    fn literals_of(&mut self, node: &Node, key: &str) {
        match node {
            Node::Null
            | Node::Bool(_)
            | Node::Integer(_)
            | Node::Float(_)
            | Node::Decimal(_)
            | Node::Text(_)
            | Node::Column(..)
            | Node::Operation
            | Node::Changed(_) => {}
            Node::List(items) => items.iter().for_each(|item| self.literals_of(item, key)),
            Node::Member(of, _) | Node::Element(of, _) | Node::Not(of) | Node::Negate(of) => {
                self.literals_of(of, key);
            }
            Node::And(left, right)
            | Node::Or(left, right)
            | Node::Arithmetic(_, left, right)
            | Node::Concatenate(left, right) => {
                self.literals_of(left, key);
                self.literals_of(right, key);
            }
            Node::Choose(test, yes, no) => {
                for node in [test, yes, no] {
                    self.literals_of(node, key);
                }
            }
            Node::Filter(_, operand, arguments) | Node::Test(_, operand, arguments) => {
                self.literals_of(operand, key);
                arguments
                    .iter()
                    .for_each(|argument| self.literals_of(argument, key));
            }
            Node::Became(column, value) => {
                self.literal(*column, value, key);
                self.literals_of(value, key);
            }
            Node::Compare(first, links) => {
                let mut left: &Node = first;
                self.literals_of(left, key);
                for (comparison, right) in links {
                    self.literals_of(right, key);
                    match (left, right, comparison) {
                        (
                            Node::Column(_, column),
                            Node::List(items),
                            Comparison::In | Comparison::NotIn,
                        ) => {
                            items
                                .iter()
                                .for_each(|item| self.literal(*column, item, key));
                        }
                        (_, _, Comparison::In | Comparison::NotIn) => {}
                        (Node::Column(_, column), other, _)
                        | (other, Node::Column(_, column), _) => {
                            self.literal(*column, other, key);
                        }
                        _ => {}
                    }
                    left = right;
                }
            }
        }
    }

    fn literal(&mut self, column: usize, value: &Node, key: &str) {
        let Some(column) = self.column(column) else {
            return;
        };
        let (expected, fits) = match (ColumnKind::of(column.type_oid), value) {
            (ColumnKind::Json, _) => return,
            (ColumnKind::Number, Node::Text(_) | Node::Bool(_)) => {
                ("a number without quotes", false)
            }
            (
                ColumnKind::Bool,
                Node::Text(_) | Node::Integer(_) | Node::Decimal(_) | Node::Float(_),
            ) => ("true or false", false),
            (
                ColumnKind::Text | ColumnKind::Padded,
                Node::Bool(_) | Node::Integer(_) | Node::Decimal(_) | Node::Float(_),
            ) => ("a text in quotes", false),
            _ => ("", true),
        };
        if !fits {
            let message = format!(
                "column `{}` is of type {}: compare it with {expected}, else the comparison never holds",
                column.name, column.type_name
            );
            self.error(key, message);
        }
    }
}
