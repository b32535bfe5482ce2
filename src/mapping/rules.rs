//! The rules of a configuration, compiled: expressions parsed, names collected.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use super::expression::{Names, Node, Row, Usage, Vocabulary, parse};
use super::file::{
    DataConfig, DataMember, DefaultsConfig, RuleConfig, RuleError, TenantConfig, suggestion,
};
use super::row::Kind;
use crate::pgoutput::value::write_string;

/// All rules, in the order of the configuration.
#[derive(Debug)]
pub struct RuleSet {
    pub(super) rules: Vec<Rule>,
    by_table: HashMap<TableName, Vec<usize>>,
    /// Learned by [`RuleSet::check_table`]: under REPLICA IDENTITY FULL the stream
    /// marks every column as key, and only the catalog knows the primary key.
    primary_keys: RwLock<HashMap<TableName, Vec<String>>>,
}

/// A table's schema and name, unquoted. Displayed as `schema.table`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    pub schema: String,
    pub name: String,
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

impl TableName {
    /// Reads `schema.table`, or `table` in schema `public`; either part may stand in
    /// double quotes. Unquoted names are taken as written, not folded to lower case.
    pub fn parse(text: &str) -> Option<TableName> {
        fn part(text: &str) -> Option<(String, &str)> {
            match text.strip_prefix('"') {
                Some(quoted) => {
                    let end = quoted.find('"')?;
                    Some((quoted[..end].to_owned(), &quoted[end + 1..]))
                }
                None => {
                    let end = text.find('.').unwrap_or(text.len());
                    Some((text[..end].to_owned(), &text[end..]))
                }
            }
        }
        let (first, rest) = part(text)?;
        let (schema, name, rest) = match rest.strip_prefix('.') {
            Some(rest) => {
                let (name, rest) = part(rest)?;
                (first, name, rest)
            }
            None => ("public".to_owned(), first, rest),
        };
        let plain = |part: &str| !part.is_empty() && !part.contains('"') && part.trim() == part;
        (rest.is_empty() && plain(&schema) && plain(&name)).then_some(TableName { schema, name })
    }

    /// As SQL needs it, each part quoted where it must be.
    pub fn to_sql(&self) -> String {
        let quoted = |part: &str| {
            let plain = part.bytes().enumerate().all(|(at, byte)| {
                byte.is_ascii_lowercase() || byte == b'_' || (at > 0 && byte.is_ascii_digit())
            });
            match plain {
                true => part.to_owned(),
                false => format!("\"{}\"", part.replace('"', "\"\"")),
            }
        };
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }
}

#[derive(Debug)]
pub(super) struct Rule {
    pub(super) index: usize,
    pub(super) name: Arc<str>,
    pub(super) event_type: Arc<str>,
    pub(super) table: TableName,
    pub(super) on: Operations,
    /// The columns that the rule names; everything below speaks of them by number.
    pub(super) names: Names,
    /// Empty: the primary key.
    pub(super) key: Vec<usize>,
    pub(super) when: Option<Node>,
    pub(super) tenant: Tenant,
    /// `None`: the whole row.
    pub(super) data: Option<Vec<Member>>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Operations {
    pub(super) insert: bool,
    pub(super) update: bool,
    pub(super) delete: bool,
}

impl Operations {
    pub(super) fn contains(self, kind: Kind) -> bool {
        match kind {
            Kind::Insert => self.insert,
            Kind::Update => self.update,
            Kind::Delete => self.delete,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) enum Tenant {
    Column(usize),
    Value(Arc<str>),
}

/// A member of the event's `data`.
#[derive(Debug)]
pub(super) struct Member {
    /// The name as JSON with its colon: `"amount":`.
    pub(super) label: Vec<u8>,
    pub(super) source: Source,
}

#[derive(Debug)]
pub(super) enum Source {
    /// Copied losslessly from the column's text.
    Column(Row, usize),
    Expression(Node),
    Object(Vec<Member>),
}

/// More rules than this do not fit the store's `rule_index`.
const MAX_RULES: usize = i16::MAX as usize;

impl RuleSet {
    /// Compiles rules in the order given, which gives each its index. All that is
    /// wrong with them is returned at once.
    pub fn compile(
        configs: &[RuleConfig],
        defaults: &DefaultsConfig,
    ) -> Result<RuleSet, Vec<RuleError>> {
        let mut errors = Vec::new();
        let mut rules = Vec::with_capacity(configs.len());
        let mut first_of_name: HashMap<Arc<str>, usize> = HashMap::new();
        for (index, config) in configs.iter().enumerate() {
            let mut compiler = Compiler::new(index, config);
            if index >= MAX_RULES {
                compiler.error("name", format!("there are more than {MAX_RULES} rules"));
            }
            let rule = compiler.rule(config, defaults);
            if let Some(rule) = &rule {
                if let Some(&first) = first_of_name.get(&rule.name) {
                    compiler.error(
                        "name",
                        "another rule has the same name; names are unique, as they enter the events' ids",
                    );
                    if let Some(error) = compiler.errors.last_mut() {
                        error.other = Some(first);
                    }
                } else {
                    first_of_name.insert(Arc::clone(&rule.name), index);
                }
            }
            errors.append(&mut compiler.errors);
            rules.extend(rule);
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut by_table: HashMap<TableName, Vec<usize>> = HashMap::new();
        for rule in &rules {
            by_table
                .entry(rule.table.clone())
                .or_default()
                .push(rule.index);
        }
        Ok(RuleSet {
            rules,
            by_table,
            primary_keys: RwLock::default(),
        })
    }

    /// The tables that rules watch, each once, in the order of their first rule.
    pub fn tables(&self) -> impl Iterator<Item = &TableName> {
        let mut seen = HashSet::new();
        self.rules
            .iter()
            .map(|rule| &rule.table)
            .filter(move |table| seen.insert(*table))
    }

    /// The types of event that rules make, each once, in the order of their first rule.
    pub fn event_types(&self) -> impl Iterator<Item = &Arc<str>> {
        let mut seen = HashSet::new();
        self.rules
            .iter()
            .map(|rule| &rule.event_type)
            .filter(move |event_type| seen.insert(&***event_type))
    }

    /// The name of the rule at its place in the configuration.
    pub fn rule_name(&self, index: u16) -> Option<&str> {
        self.rules.get(usize::from(index)).map(|rule| &*rule.name)
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub fn len(&self) -> usize {
        self.rules.len()
    }

    pub(super) fn of_table(&self, table: &TableName) -> impl Iterator<Item = &Rule> {
        let indexes = self.by_table.get(table).map_or(&[][..], Vec::as_slice);
        indexes.iter().filter_map(|index| self.rules.get(*index))
    }

    pub(super) fn primary_key(&self, table: &TableName) -> Option<Vec<String>> {
        let known = self
            .primary_keys
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        known.get(table).cloned()
    }

    pub(super) fn learn_primary_key(&self, table: TableName, columns: &[String]) {
        let mut known = self
            .primary_keys
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        known.insert(table, columns.to_vec());
    }
}

struct Compiler {
    index: usize,
    name: String,
    names: Names,
    errors: Vec<RuleError>,
}

impl Compiler {
    fn new(index: usize, config: &RuleConfig) -> Self {
        let default_name = || match TableName::parse(&config.table) {
            Some(table) => format!("{}@{table}", config.event_type),
            None => format!("{}@{}", config.event_type, config.table),
        };
        Compiler {
            index,
            name: config.name.clone().unwrap_or_else(default_name),
            names: Names::default(),
            errors: Vec::new(),
        }
    }

    fn error(&mut self, key: &str, message: impl Into<String>) {
        self.errors.push(RuleError {
            rule: self.name.clone(),
            index: self.index,
            key: key.to_owned(),
            message: message.into(),
            other: None,
        });
    }

    fn rule(&mut self, config: &RuleConfig, defaults: &DefaultsConfig) -> Option<Rule> {
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
        match config.old_values.as_str() {
            "auto" | "full" => {}
            "shadow" => self.error(
                "old_values",
                "a shadow is not available yet: expected `auto` or `full`",
            ),
            other => self.error(
                "old_values",
                format!(
                    "`{other}` is unknown: expected `auto` or `full`{}",
                    suggestion(other, ["auto", "full"])
                ),
            ),
        }
        let tenant = match config.tenant.as_ref().unwrap_or(&defaults.tenant) {
            TenantConfig::Value(tenant) if tenant.value.is_empty() => {
                self.error("tenant", "the tenant's value is empty");
                Tenant::Value(Arc::from(""))
            }
            TenantConfig::Value(tenant) => Tenant::Value(Arc::from(tenant.value.as_str())),
            TenantConfig::Column(column) => {
                Tenant::Column(self.names.intern(column, Usage::Current, "tenant"))
            }
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
                    source: Source::Column(
                        Row::Current,
                        self.names.intern(column, Usage::Current, "data"),
                    ),
                })
                .collect(),
            DataConfig::Members(members) => self.members(members, "data"),
        });
        Some(Rule {
            index: self.index,
            name: Arc::from(self.name.as_str()),
            event_type: Arc::from(config.event_type.as_str()),
            table: table?,
            on,
            names: std::mem::take(&mut self.names),
            key,
            when,
            tenant,
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
                other => self.error(
                    "on",
                    format!(
                        "`{other}` is unknown: expected `insert`, `update` or `delete`{}",
                        suggestion(other, ["insert", "update", "delete"])
                    ),
                ),
            }
        }
        if on.is_empty() {
            self.error(
                "on",
                "is empty, so that the rule never matches: expected `insert`, `update` or `delete`",
            );
        }
        operations
    }

    fn expression(&mut self, source: &str, key: &str) -> Option<Node> {
        match parse(source, Vocabulary::Row, &mut self.names, key) {
            Ok(node) => Some(node),
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
                    self.expression(source, &path).map(|node| match node {
                        Node::Column(row, column) => Source::Column(row, column),
                        node => Source::Expression(node),
                    })
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
pub(super) fn label(name: &str) -> Vec<u8> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(text: &str) -> Result<RuleSet, Vec<RuleError>> {
        #[derive(serde::Deserialize)]
        struct File {
            events: Vec<RuleConfig>,
        }
        let file: File = toml::from_str(text).unwrap();
        RuleSet::compile(&file.events, &DefaultsConfig::default())
    }

    #[test]
    fn compiles_rules_and_names_what_they_watch() {
        let rules = compile(
            "[[events]]\ntype='a.b'\ntable='t'\n[[events]]\ntype='a.c'\ntable='public.t'\n\
             [[events]]\nname='x'\ntype='a.b'\ntable='s.\"u.v\"'\n",
        )
        .unwrap();
        let tables: Vec<_> = rules.tables().map(TableName::to_sql).collect();
        assert_eq!(tables, ["public.t", "s.\"u.v\""]);
        let types: Vec<_> = rules.event_types().map(|one| one.to_string()).collect();
        assert_eq!(types, ["a.b", "a.c"]);
        assert_eq!(&*rules.rules[0].name, "a.b@public.t");
    }

    #[test]
    fn reports_everything_that_is_wrong_with_its_path() {
        let errors = compile(
            "[[events]]\ntype='A.b'\ntable=''\non=['upsert']\nwhen='status =='\nold_values='ful'\n\
             tenant={value=''}\n[events.data]\nx='became('\n[events.data.y]\nz='new'\n\
             [[events]]\nname='n'\ntype='a'\ntable='t'\non=[]\n\
             [[events]]\nname='n'\ntype='a'\ntable='t'\n",
        )
        .unwrap_err();
        let paths: Vec<_> = errors.iter().map(RuleError::path).collect();
        assert_eq!(
            paths,
            [
                "events[0].type",
                "events[0].table",
                "events[0].on",
                "events[0].old_values",
                "events[0].tenant",
                "events[0].when",
                "events[0].data.x",
                "events[0].data.y.z",
                "events[1].on",
                "events[2].name",
            ]
        );
        assert!(
            errors[3].message.contains("did you mean `full`"),
            "{}",
            errors[3]
        );
        assert_eq!(errors[9].other, Some(1));
    }
}
