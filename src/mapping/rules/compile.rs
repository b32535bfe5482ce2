//! Compiles one rule, collecting all that is wrong with it.

use std::sync::Arc;

use crate::mapping::file::{
    DataConfig, DataMember, DefaultsConfig, RuleConfig, RuleError, TenantConfig, suggestion,
};
use crate::mapping::names::{Names, Usage};
use crate::mapping::programs::Written;
use crate::mapping::table_name::TableName;
use crate::pgoutput::value::write_string;

use super::{Member, OldValues, Operations, Rule, Source, Tenant};

pub(super) struct Compiler {
    index: usize,
    name: String,
    names: Names,
    expressions: Vec<Written>,
    pub(super) errors: Vec<RuleError>,
}

impl Compiler {
    pub(super) fn new(index: usize, config: &RuleConfig) -> Self {
        let default_name = || match TableName::parse(&config.table) {
            Some(table) => format!("{}@{table}", config.event_type),
            None => format!("{}@{}", config.event_type, config.table),
        };
        Compiler {
            index,
            name: config.name.clone().unwrap_or_else(default_name),
            names: Names::default(),
            expressions: Vec::new(),
            errors: Vec::new(),
        }
    }

    pub(super) fn error(&mut self, key: &str, message: impl Into<String>) {
        self.errors.push(RuleError {
            rule: self.name.clone(),
            index: self.index,
            key: key.to_owned(),
            message: message.into(),
            other: None,
        });
    }

    pub(super) fn rule(&mut self, config: &RuleConfig, defaults: &DefaultsConfig) -> Option<Rule> {
        if self.name.trim().is_empty() || self.name.contains(char::is_control) {
            self.error("name", "expected a name of visible characters");
        }
        if !is_event_type(&config.event_type) {
            self.error(
                "type",
                format!(
                    "`{}` is not an event type: expected lower-case words of letters, digits and `_` with dots between, as in `payment.received`",
                    config.event_type
                ),
            );
        }
        if config.event_type.starts_with("webhook.") {
            self.error(
                "type",
                format!(
                    "`{}` is not for rules: types that begin with `webhook.` are walhook's own",
                    config.event_type
                ),
            );
        }
        let table = TableName::parse(&config.table);
        if table.is_none() {
            self.error(
                "table",
                format!(
                    "`{}` is not a table's name: expected `schema.table`, as in `public.payments`",
                    config.table
                ),
            );
        }
        let on = self.operations(&config.on);
        let old_values = match config.old_values.as_str() {
            "auto" => OldValues::Auto,
            "full" => OldValues::Full,
            "shadow" => OldValues::Shadow,
            other => {
                self.error(
                    "old_values",
                    format!(
                        "`{other}` is unknown: expected `auto`, `full` or `shadow`{}",
                        suggestion(other, ["auto", "full", "shadow"])
                    ),
                );
                OldValues::Auto
            }
        };
        let tenant = match config.tenant.as_ref().unwrap_or(&defaults.tenant) {
            TenantConfig::Value(tenant) if tenant.value.is_empty() => {
                self.error("tenant", "the tenant's value is empty");
                Tenant::Value(Arc::from(""))
            }
            TenantConfig::Value(tenant) => Tenant::Value(Arc::from(tenant.value.as_str())),
            TenantConfig::Expression(source) => match self.expression(source, "tenant") {
                Some(place) => Tenant::Expression(place),
                None => Tenant::Value(Arc::from("")),
            },
        };
        let key = config
            .key
            .iter()
            .map(|column| self.names.intern(column, Usage::Current, "key"))
            .collect();
        let when = config
            .when
            .as_deref()
            .and_then(|source| self.expression(source, "when"));
        let data = config.data.as_ref().map(|data| match data {
            DataConfig::Columns(columns) => columns
                .iter()
                .map(|column| Member {
                    label: label(column),
                    source: Source::Column(self.names.intern(column, Usage::Current, "data")),
                })
                .collect(),
            DataConfig::Members(members) => self.members(members, "data"),
        });
        if on.truncate {
            self.refuse_columns();
        }
        for (index, example) in config.examples.iter().enumerate() {
            for (key, message) in example.problems() {
                self.error(&format!("examples[{index}].{key}"), message);
            }
        }
        Some(Rule {
            index: self.index,
            name: Arc::from(self.name.as_str()),
            event_type: Arc::from(config.event_type.as_str()),
            table: table?,
            on,
            names: std::mem::take(&mut self.names),
            expressions: std::mem::take(&mut self.expressions),
            key,
            when,
            tenant,
            old_values,
            data,
        })
    }

    fn operations(&mut self, on: &[String]) -> Operations {
        let mut operations = Operations::default();
        for operation in on {
            match operation.as_str() {
                "insert" => operations.insert = true,
                "update" => operations.update = true,
                "delete" => operations.delete = true,
                "truncate" => operations.truncate = true,
                other => self.error(
                    "on",
                    format!(
                        "`{other}` is unknown: expected `insert`, `update`, `delete` or `truncate`{}",
                        suggestion(other, ["insert", "update", "delete", "truncate"])
                    ),
                ),
            }
        }
        if on.is_empty() {
            self.error(
                "on",
                "is empty, so that the rule never matches: expected `insert`, `update`, `delete` or `truncate`",
            );
        }
        operations
    }

    /// A TRUNCATE names tables and no row: nothing of it comes from a column.
    fn refuse_columns(&mut self) {
        let mut refused: Vec<(String, String)> = Vec::new();
        for one in &self.names.uses {
            let column = self.names.names.get(one.name).map_or("", String::as_str);
            let message = match one.key.as_str() {
                "key" => continue,
                "tenant" => format!(
                    "a truncate has no row, and so no `{column}`: give the rule a fixed tenant, as in tenant = {{ value = \"acme\" }}"
                ),
                _ => format!(
                    "a truncate has no row, and so no `{column}`: name constants and `tg_op` only, and give the other operations a rule of their own"
                ),
            };
            if refused.iter().all(|(key, _)| *key != one.key) {
                refused.push((one.key.clone(), message));
            }
        }
        for (key, message) in refused {
            self.error(&key, message);
        }
    }

    /// Reads an expression, and says where it stands among the rule's.
    fn expression(&mut self, source: &str, key: &str) -> Option<usize> {
        match Written::parse(source, key) {
            Ok(written) => {
                self.names.read(&written.expr, key);
                self.expressions.push(written);
                Some(self.expressions.len() - 1)
            }
            Err(message) => {
                self.error(key, message);
                None
            }
        }
    }

    fn members(&mut self, members: &[(String, DataMember)], path: &str) -> Vec<Member> {
        let mut compiled = Vec::with_capacity(members.len());
        for (name, member) in members {
            let path = format!("{path}.{name}");
            let source = match member {
                DataMember::Object(inner) => Some(Source::Object(self.members(inner, &path))),
                DataMember::Expression(source) => {
                    self.expression(source, &path).map(Source::Expression)
                }
            };
            compiled.extend(source.map(|source| Member {
                label: label(name),
                source,
            }));
        }
        compiled
    }
}

/// A member's name as JSON with its colon.
pub(in crate::mapping) fn label(name: &str) -> Vec<u8> {
    let mut label = Vec::with_capacity(name.len() + 3);
    write_string(&mut label, name);
    label.push(b':');
    label
}

fn is_event_type(text: &str) -> bool {
    let word = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    text.split('.').all(word)
}
