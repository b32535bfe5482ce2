//! The rule that is proposed for a table. It is put to the same checks as `walhook check`
//! makes, and stands in comments where they refuse it.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde::Deserialize;

use crate::mapping::file::{DefaultsConfig, RuleConfig};
use crate::mapping::language::types::Type;
use crate::mapping::{RuleSet, TableName};
use crate::preflight::partitioned_root;
use crate::source::catalog::{Column, Generated, Table};
use crate::source::harm::harms;
use crate::terminal::visible;

use super::file::{bare_or_string, comment, expression, string};
use super::tenant::{Missing, Tenant};

/// Parts of names of columns that no receiver should see.
const SECRETS: [&str; 9] = [
    "password",
    "passwd",
    "token",
    "secret",
    "hash",
    "salt",
    "api_key",
    "private_key",
    "credential",
];

pub(super) struct Proposal {
    pub(super) table: TableName,
    rule: String,
    /// Why `walhook check` would refuse it, with what helps. Empty: it does not.
    objections: Vec<Objection>,
}

struct Objection {
    why: String,
    /// SQL.
    remedy: Vec<String>,
}

impl Proposal {
    /// `tables`: all that were named. `version`: the server's.
    pub(super) fn of(table: &Table, tables: &[Table], tenant: &Tenant, version: i32) -> Self {
        let mut draft = Draft {
            table,
            tenant,
            lacks_key: false,
        };
        // Columns that rules cannot name are left out first.
        let unreadable: HashMap<String, String> = draft
            .refusals(&HashMap::new())
            .into_iter()
            .filter_map(|(key, why)| Some((key.strip_prefix("data.")?.to_owned(), why)))
            .collect();
        let harms = harms(table, version);
        let mut objections = Vec::new();
        for harm in &harms {
            objections.push(Objection {
                why: format!(
                    "{} must not be published as it is: {}",
                    harm.table, harm.why
                ),
                remedy: harm.mend.clone(),
            });
        }
        let mut object = |why: String| {
            objections.push(Objection {
                why,
                remedy: Vec::new(),
            });
        };
        if let Some(root) = partitioned_root(table, tables) {
            object(format!(
                "{} is a partition of {root}, whose rule sees its changes",
                table.name()
            ));
        }
        let missing = tenant.missing_in(table);
        if let Some(Missing::Unknown { column }) = &missing {
            object(format!(
                "{} has no column `{column}`: write whose its rows are, tenant = \"another_column\", or \
                 tenant = {{ value = \"acme\" }} where all are one tenant's",
                table.name()
            ));
        }
        for (key, why) in draft.refusals(&unreadable) {
            draft.lacks_key |= key == "key";
            // A table that must not be published has been spoken of.
            if key != "table" || harms.is_empty() {
                object(format!("`{key}`: {why}"));
            }
        }
        Proposal {
            table: table.name().clone(),
            rule: draft.rule(&unreadable, "\"…\""),
            objections,
        }
    }

    pub(super) fn is_accepted(&self) -> bool {
        self.objections.is_empty()
    }

    pub(super) fn write(&self, text: &mut String) {
        if self.is_accepted() {
            text.push_str(&self.rule);
            return;
        }
        for objection in &self.objections {
            text.push_str(&comment(&objection.why));
            for statement in &objection.remedy {
                let _ = writeln!(text, "#     {}", visible(statement));
            }
        }
        let has_sql = self.objections.iter().any(|one| !one.remedy.is_empty());
        text.push_str(match has_sql {
            true => "# Once that SQL has been run, take the `#` off:\n",
            false => "# Then take the `#` off:\n",
        });
        for line in self.rule.lines() {
            let _ = writeln!(text, "# {line}");
        }
    }
}

struct Draft<'a> {
    table: &'a Table,
    tenant: &'a Tenant,
    /// The reader has to name the columns that identify a row.
    lacks_key: bool,
}

impl Draft<'_> {
    /// `unreadable`: columns that rules cannot name, and why. `unknown`: what stands for a tenant
    /// that the reader has to name.
    fn rule(&self, unreadable: &HashMap<String, String>, unknown: &str) -> String {
        let table = self.table;
        let event_type = event_type(table.name());
        let mut text = String::from("[[events]]\n");
        let shown = table.name().to_string();
        if shown.contains(char::is_control) {
            // By default it would be the table's own, line breaks and all.
            let name = format!("{event_type}@{}", visible(&shown));
            let _ = writeln!(text, "name = {}", string(&name));
        }
        let _ = writeln!(text, "type = {}", string(&event_type));
        let _ = writeln!(text, "table = {}", string(&table.name().to_sql()));
        if self.lacks_key {
            text.push_str("key = [\"…\"]\n");
        }
        text.push_str("on = [\"insert\"]\n");
        match self.tenant.missing_in(table) {
            Some(Missing::IsTheirs { key }) => {
                let _ = writeln!(
                    text,
                    "# Each of its rows is a tenant.\ntenant = {}",
                    string(&expression(&key))
                );
            }
            Some(Missing::Unknown { .. }) => {
                let _ = writeln!(text, "tenant = {unknown}");
            }
            None => {}
        }
        if let Some(when) = table.columns.iter().find_map(became) {
            let _ = writeln!(
                text,
                "# Of a change of state instead, with on = [\"insert\", \"update\"]:\n# when = {}",
                string(&when)
            );
        }
        text.push_str("[events.data]\n");
        for column in &table.columns {
            let member = format!(
                "{} = {}",
                bare_or_string(&column.name),
                string(&expression(&column.name))
            );
            let cannot = unreadable.get(&column.name).map(String::as_str);
            let _ = match left_out(column).or(cannot) {
                None => writeln!(text, "{member}"),
                Some(why) => writeln!(text, "# {}  # {}", visible(&member), visible(why)),
            };
        }
        text
    }

    /// What `walhook check` says against the rule: the key and why.
    fn refusals(&self, unreadable: &HashMap<String, String>) -> Vec<(String, String)> {
        #[derive(Deserialize)]
        struct Written {
            events: Vec<RuleConfig>,
        }

        let defaults = DefaultsConfig {
            tenant: self.tenant.config(),
        };
        let rule = self.rule(unreadable, "{ value = \"…\" }");
        let written: Written = match toml::from_str(&rule) {
            Ok(written) => written,
            Err(error) => return vec![("events".to_owned(), error.message().to_owned())],
        };
        let errors = match RuleSet::compile(&written.events, &defaults) {
            Ok(rules) => rules.check(&[self.table.description()], &[]),
            Err(errors) => errors,
        };
        let errors = errors.into_iter();
        errors.map(|error| (error.key, error.message)).collect()
    }
}

/// A condition for the first column that looks like a state.
fn became(column: &Column) -> Option<String> {
    let label = match &column.r#type {
        Type::Enum(of) => of.labels.last()?.replace('\'', "''"),
        Type::Text | Type::Varchar if ["status", "state"].contains(&column.name.as_str()) => {
            "…".to_owned()
        }
        _ => return None,
    };
    Some(format!("became({} = '{label}')", expression(&column.name)))
}

fn left_out(column: &Column) -> Option<&'static str> {
    let name = column.name.to_lowercase();
    if SECRETS.iter().any(|secret| name.contains(secret)) {
        return Some("by its name a secret");
    }
    match (&column.r#type, column.generated) {
        (_, Generated::Stored | Generated::Virtual) => {
            Some("generated: PostgreSQL leaves it out of the WAL")
        }
        (Type::Bytea, Generated::No) => Some("bytes, maybe many"),
        (_, Generated::No) => None,
    }
}

/// `payment.created` of `payments`.
fn event_type(table: &TableName) -> String {
    let name = table.name.to_lowercase();
    let plain = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
    let word = plain.collect::<String>();
    let word = singular(word.trim_matches('_'));
    match word.as_str() {
        // Types that begin with `webhook.` are walhook's own.
        "" | "webhook" => "row.created".to_owned(),
        word => format!("{word}.created"),
    }
}

/// By the rules of English, as far as names of tables need them.
pub(super) fn singular(word: &str) -> String {
    if let Some(stem) = word.strip_suffix("ies").filter(|stem| stem.len() > 1) {
        return format!("{stem}y");
    }
    let long = ["sses", "xes", "ches", "shes"];
    if long.iter().any(|ending| word.ends_with(ending)) {
        return word.strip_suffix("es").unwrap_or(word).to_owned();
    }
    let never = ["ss", "us", "is"];
    match word.strip_suffix('s') {
        Some(stem) if !never.iter().any(|ending| word.ends_with(ending)) => stem.to_owned(),
        _ => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_named_for_one_row() {
        for (table, expected) in [
            ("payments", "payment.created"),
            ("Order Lines", "order_line.created"),
            ("companies", "company.created"),
            ("addresses", "address.created"),
            ("boxes", "box.created"),
            ("status", "status.created"),
            ("webhooks", "row.created"),
            ("日本", "row.created"),
            ("2fa_codes", "2fa_code.created"),
        ] {
            let name = TableName {
                schema: "public".to_owned(),
                name: table.to_owned(),
            };
            assert_eq!(event_type(&name), expected);
        }
    }
}
