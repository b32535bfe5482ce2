//! The rules against the live tables, and the publication that carries them.

use std::sync::Arc;

use super::finding::Finding;
use crate::config::Config;
use crate::db::quote_identifier;
use crate::mapping::{RuleSet, TableDescription, TableName};
use crate::source::catalog::{Table, TableKind};
use crate::source::harm::{harms, needs_generated_columns};
use crate::source::publication::{self, Difference, Publication};
use crate::source::server::Role;

/// What rules say against the tables, and what publishing a table would break.
/// `existing`: the database's tables, for suggestions.
pub(super) fn table_findings(
    config: &Config,
    rules: &RuleSet,
    tables: &[Table],
    existing: &[String],
    server_version: i32,
) -> Vec<Finding> {
    let descriptions: Vec<_> = tables.iter().map(Table::description).collect();
    let mut errors = rules.check(&descriptions, existing);
    // The rules' own word on a table without identity; said below of each partition, with SQL.
    let harmful: Vec<&TableName> = tables
        .iter()
        .filter(|table| !harms(table, server_version).is_empty())
        .map(Table::name)
        .collect();
    errors.retain(|error| {
        let rule = config.events.get(error.index);
        let table = rule.and_then(|rule| TableName::parse(&rule.table));
        error.key != "table" || !table.is_some_and(|table| harmful.contains(&&table))
    });
    let located = config.locate(errors);
    let mut findings: Vec<Finding> = located
        .problems
        .into_iter()
        .map(|problem| {
            Finding::failure(
                format!("{}: {}", problem.place, problem.key),
                problem.message,
            )
        })
        .collect();
    if findings.is_empty() && harmful.is_empty() {
        findings.push(Finding::ok(match tables.len() {
            1 => "the table that the rules watch exists, with the columns that they name".to_owned(),
            number => {
                format!("the {number} tables that the rules watch exist, with the columns that they name")
            }
        }));
    }
    findings.extend(
        descriptions
            .iter()
            .flat_map(|table| understood(rules, table)),
    );
    for table in tables {
        let harms = harms(table, server_version);
        if harms.is_empty() {
            findings.push(Finding::ok(format!(
                "publishing {} does the application no harm",
                table.name()
            )));
        }
        if table.has_children {
            findings.push(Finding::warning(
                format!("other tables inherit from {}", table.name()),
                "their rows are seen through it in queries and are not rows of it in the WAL: they \
                 make no event. A rule for each of them does",
            ));
        }
        findings.extend(harm_findings(table, server_version));
        findings.extend(own_operators(table));
        findings.extend(moves(rules, table));
        findings.extend(attached(table, server_version));
    }
    findings.extend(tables.iter().filter_map(|table| within(table, tables)));
    findings
}

/// What each rule's expressions are: their types, and where it helps how they were read.
fn understood(rules: &RuleSet, table: &TableDescription) -> Vec<Finding> {
    let mut told: Vec<(Arc<str>, Vec<String>)> = Vec::new();
    for one in rules.understood(table) {
        let text = match &one.form {
            Some(form) => format!("{} is {}, read as {form}", one.key, one.type_name),
            None => format!("{} is {}", one.key, one.type_name),
        };
        match told.last_mut() {
            Some((rule, texts)) if *rule == one.rule => texts.push(text),
            _ => told.push((one.rule, vec![text])),
        }
    }
    let told = told.into_iter();
    told.map(|(rule, texts)| Finding::ok(format!("the rule `{rule}`: {}", texts.join("; "))))
        .collect()
}

/// The WAL has no moves between partitions.
fn moves(rules: &RuleSet, table: &Table) -> Option<Finding> {
    if table.storage.kind != TableKind::Partitioned {
        return None;
    }
    let misled: Vec<String> = rules
        .misled_by_moves(table.name())
        .map(|rule| format!("`{rule}`"))
        .collect();
    (!misled.is_empty()).then(|| {
        Finding::warning(
            format!(
                "{} is partitioned, and an update may move a row to another partition",
                table.name()
            ),
            format!(
                "it is a delete and an insert in the WAL. A rule on deletes sees a deletion, and `became` and \
                 `changed` see a new row: {}. Where updates change the partition key, compare other columns",
                misled.join(", ")
            ),
        )
    })
}

/// PostgreSQL 14 decides once a session whether rows of a table are published.
fn attached(table: &Table, server_version: i32) -> Option<Finding> {
    let forgets = table.storage.kind == TableKind::Partitioned && server_version < 150_000;
    forgets.then(|| {
        Finding::warning(
            format!("{} is partitioned, and this is PostgreSQL 14", table.name()),
            "it does not publish the rows of a partition that held rows before it was attached, until the \
             next replication session. Attach partitions empty, or restart walhook before they are written",
        )
    })
}

/// A condition of the operator's own on such a column may mean another thing than it does in
/// the application's sessions.
fn own_operators(table: &Table) -> Option<Finding> {
    let own = table.columns.iter().filter(|column| column.own_operators);
    let columns: Vec<_> = own
        .map(|column| format!("`{}` ({})", column.name, column.type_name))
        .collect();
    (!columns.is_empty()).then(|| {
        Finding::warning(
            format!(
                "types of {} have operators of their own: {}",
                table.name(),
                columns.join(", ")
            ),
            "`walhook backfill --where` runs under an empty search path and does not find them: citext compares as \
             text there. Name their schema with --search-path",
        )
    })
}

/// What publishing the table would break.
pub(super) fn harm_findings(table: &Table, server_version: i32) -> Vec<Finding> {
    let harms = harms(table, server_version).into_iter();
    harms
        .map(|harm| {
            let what = format!("{} must not be published as it is", harm.table);
            Finding::failure(what, harm.why).mend_all(harm.mend)
        })
        .collect()
}

/// PostgreSQL publishes a partition's changes under its root where both are published.
fn within(part: &Table, tables: &[Table]) -> Option<Finding> {
    let whole = partitioned_root(part, tables)?;
    Some(Finding::failure(
        format!("{} is a partition of {whole}", part.name()),
        format!(
            "rules watch both, and changes of the partition arrive under {whole} alone: those that watch \
             {part} would never match. Let them watch {whole} too",
            part = part.name()
        ),
    ))
}

/// The one of `tables` that `part` is a partition of.
pub(crate) fn partitioned_root<'a>(part: &Table, tables: &'a [Table]) -> Option<&'a TableName> {
    let names = |table: &Table| -> Vec<TableName> {
        let holders = table.holders().iter();
        holders.map(|holder| holder.name.clone()).collect()
    };
    let leaves = names(part);
    let whole = tables.iter().find(|whole| {
        let all = names(whole);
        whole.storage.kind == TableKind::Partitioned
            && whole.name() != part.name()
            && !leaves.is_empty()
            && (part.storage.kind != TableKind::Partitioned || leaves.len() < all.len())
            && leaves.iter().all(|leaf| all.contains(leaf))
    })?;
    Some(whole.name())
}

/// The publication as the source has it, and what it is measured against.
pub(super) struct PublicationCheck<'a> {
    pub(super) name: &'a str,
    pub(super) publication: Option<&'a Publication>,
    /// The watched tables that exist.
    pub(super) wanted: &'a [Table],
    /// The tables that it publishes and no rule watches.
    pub(super) extra: &'a [Table],
    /// A table that a rule watches does not exist: its name may be misspelt.
    pub(super) lacks_table: bool,
    pub(super) role: &'a Role,
    pub(super) server_version: i32,
    /// There is a slot: a publication that is missing now would be missed by it.
    pub(super) started: bool,
}

impl PublicationCheck<'_> {
    pub(super) fn findings(&self) -> Vec<Finding> {
        if self.wanted.is_empty() {
            // Whatever the rules name does not exist: that has been said.
            return Vec::new();
        }
        match self.publication {
            None => vec![self.missing()],
            Some(publication) => self.existing(publication),
        }
    }

    fn missing(&self) -> Finding {
        let what = format!("the publication `{}` does not exist", self.name);
        let create = publication::create_statement(
            self.name,
            self.wanted.iter().map(Table::name),
            needs_generated_columns(self.wanted, self.server_version),
        );
        if self.started {
            return Finding::failure(
                what,
                "the slot needs it at every change that it has not delivered yet, and creating it now does not \
                 help for those: make both again. What was committed since is not delivered",
            )
            .mend("walhook setup --accept-gap");
        }
        let foreign = self.wanted.iter().find(|table| !table.owned);
        match foreign {
            _ if self.role.superuser => Finding::setup(what),
            Some(table) => Finding::failure(
                what,
                format!(
                    "only the owner of the tables may make it, and {} belongs to `{}`: run this as that role",
                    table.name(),
                    table.owner
                ),
            )
            .mend(create),
            None if !self.role.may_create => Finding::failure(
                what,
                format!(
                    "the role `{}` may not create in this database: run this as one that may",
                    self.role.name
                ),
            )
            .mend(create),
            None => Finding::setup(what),
        }
    }

    fn existing(&self, publication: &Publication) -> Vec<Finding> {
        let differences = publication.differences(self.wanted, self.server_version);
        let others = publication.others(self.wanted);
        let subject = format!("the publication `{}`", self.name);
        let mut findings: Vec<Finding> = differences
            .iter()
            .map(|difference| {
                let one = std::slice::from_ref(difference);
                let mend = match difference {
                    Difference::Extra(tables) => vec![publication::removal(self.name, tables)],
                    _ => publication::alter_statements(self.name, self.wanted, &others, one),
                };
                let finding = match difference.is_failure() {
                    true => Finding::failure(subject.clone(), difference.to_string()),
                    false => Finding::warning(subject.clone(), difference.to_string()),
                };
                // The table that is meant may be among them.
                if self.lacks_table && matches!(difference, Difference::Extra(_)) {
                    return finding;
                }
                if mend.is_empty() {
                    return finding.mend(
                        "set source.publication to another name, then: walhook setup --accept-gap",
                    );
                }
                finding.mend_all(mend)
            })
            .collect();
        // Under the root's name, whoever published that.
        let parts = self.wanted.iter().filter_map(|part| {
            let whole = partitioned_root(part, self.extra)?;
            Some(Finding::failure(
                format!("{} is a partition of {whole}", part.name()),
                format!(
                    "{whole} is published too, and changes of its partitions arrive under {whole} alone: \
                     rules that watch {} never match. Let them watch {whole}",
                    part.name()
                ),
            ))
        });
        findings.extend(parts);
        for harm in self
            .extra
            .iter()
            .flat_map(|table| harms(table, self.server_version))
        {
            findings.push(
                Finding::failure(format!("{subject} harms {}", harm.table), harm.why).mend(
                    format!(
                        "alter publication {} drop table {};",
                        quote_identifier(self.name),
                        crate::source::catalog::sql_name(&harm.table)
                    ),
                ),
            );
        }
        if findings.is_empty() {
            findings.push(Finding::ok(format!(
                "{subject} carries exactly the tables that rules watch, whole"
            )));
        }
        findings
    }
}
