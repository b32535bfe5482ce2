//! The rules of a configuration, compiled: expressions parsed, names collected.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::check::TableDescription;
use super::file::{DefaultsConfig, RuleConfig, RuleError};
use super::language::evaluate::UnknownLabel;
use super::names::{Names, Usage};
use super::programs::Written;
use super::row::Kind;
use super::table_name::TableName;

mod compile;

use compile::Compiler;
pub(super) use compile::label;

/// All rules, in the order of the configuration.
#[derive(Debug)]
pub struct RuleSet {
    pub(super) rules: Vec<Rule>,
    by_table: HashMap<TableName, Vec<usize>>,
    /// Learned by [`RuleSet::check_table`]: what the stream does not say of a table, such
    /// as the primary key under REPLICA IDENTITY FULL, and the labels of enums.
    tables: RwLock<HashMap<TableName, Arc<TableDescription>>>,
    /// Labels that rows had and the catalog had not, as it was known then.
    unknown_labels: Mutex<HashSet<UnknownLabel>>,
}

#[derive(Debug)]
pub(super) struct Rule {
    pub(super) index: usize,
    pub(super) name: Arc<str>,
    pub(super) event_type: Arc<str>,
    pub(super) table: TableName,
    pub(super) on: Operations,
    /// The columns that the rule names.
    pub(super) names: Names,
    /// Empty: the primary key.
    pub(super) key: Vec<usize>,
    /// Everything below speaks of expressions by their place here.
    pub(super) expressions: Vec<Written>,
    pub(super) when: Option<usize>,
    pub(super) tenant: Tenant,
    pub(super) old_values: OldValues,
    /// `None`: the whole row.
    pub(super) data: Option<Vec<Member>>,
}

/// Where a rule's old values come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OldValues {
    /// The WAL where it carries what the rule needs, else the shadow.
    Auto,
    /// The WAL alone.
    Full,
    /// The shadow wherever the WAL does not carry everything.
    Shadow,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Operations {
    pub(super) insert: bool,
    pub(super) update: bool,
    pub(super) delete: bool,
    pub(super) truncate: bool,
}

impl Operations {
    /// Whether the rule speaks of rows at all.
    pub(super) fn has_rows(self) -> bool {
        self.insert || self.update || self.delete
    }

    pub(super) fn contains(self, kind: Kind) -> bool {
        match kind {
            Kind::Insert => self.insert,
            Kind::Update => self.update,
            Kind::Delete => self.delete,
            Kind::Truncate => self.truncate,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) enum Tenant {
    /// By its place among the rule's expressions.
    Expression(usize),
    Value(Arc<str>),
}

impl Rule {
    pub(super) fn tenant_expression(&self) -> Option<usize> {
        match self.tenant {
            Tenant::Expression(place) => Some(place),
            Tenant::Value(_) => None,
        }
    }
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
    /// A column, by its place among the rule's names: copied losslessly.
    Column(usize),
    /// By its place among the rule's expressions.
    Expression(usize),
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
            tables: RwLock::default(),
            unknown_labels: Mutex::default(),
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

    /// The members of the `data` of a type's events, of all rules that make them; none where
    /// one of these takes the whole row.
    pub fn data_members(&self, event_type: &str) -> Option<Vec<String>> {
        let mut names = Vec::new();
        for rule in self
            .rules
            .iter()
            .filter(|rule| *rule.event_type == *event_type)
        {
            for member in rule.data.as_ref()? {
                let label = member.label.strip_suffix(b":").unwrap_or_default();
                let name: String = serde_json::from_slice(label).ok()?;
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        Some(names)
    }

    /// The rules of a table that take a row which moves to another partition for one that
    /// is deleted, or for a new one: it arrives as a delete and an insert.
    pub fn misled_by_moves(&self, table: &TableName) -> impl Iterator<Item = &str> {
        let of_table = self.rules.iter().filter(move |rule| rule.table == *table);
        let misled = of_table.filter(|rule| {
            let compares = |usage| matches!(usage, Usage::Became | Usage::Changed);
            rule.on.delete || rule.names.uses.iter().any(|one| compares(one.usage))
        });
        misled.map(|rule| &*rule.name)
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

    /// What the catalog said of the table.
    pub(super) fn described(&self, table: &TableName) -> Option<Arc<TableDescription>> {
        let known = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        known.get(table).cloned()
    }

    pub(super) fn primary_key(&self, table: &TableName) -> Option<Vec<String>> {
        Some(self.described(table)?.primary_key.clone())
    }

    /// True where the label was not noted before: the catalog may have it by now and is to be
    /// read again, once for each label.
    pub fn note_unknown_label(&self, label: &UnknownLabel) -> bool {
        let known = self.unknown_labels.lock();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        known.insert(label.clone())
    }

    pub(super) fn learn_table(&self, name: TableName, table: &TableDescription) {
        let mut known = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(name, Arc::new(table.clone()));
    }
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
            "[[events]]\ntype='A.b'\ntable=''\non=['upsert']\nwhen='status ='\nold_values='ful'\n\
             tenant={value=''}\n[events.data]\nx='became('\n[events.data.y]\nz='new.'\n\
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

    #[test]
    fn an_expression_of_a_rule_has_4_kib() {
        let of = |length: usize| {
            let blanks = " ".repeat(length - "active".len());
            compile(&format!(
                "[[events]]\ntype='a'\ntable='t'\nwhen='active{blanks}'\n"
            ))
        };
        assert!(of(4096).is_ok());
        let errors = of(4097).unwrap_err();
        assert!(errors[0].message.contains("4097 bytes"), "{}", errors[0]);
    }

    #[test]
    fn a_rule_on_truncates_may_name_no_column() {
        let errors = compile(
            "[[events]]\ntype='a'\ntable='t'\non=['truncate', 'insert']\nwhen=\"status = 'x'\"\n\
             key=['id']\n[events.data]\nx='tg_op'\ny='amount'\n",
        )
        .unwrap_err();
        let paths: Vec<_> = errors.iter().map(RuleError::path).collect();
        assert_eq!(
            paths,
            ["events[0].tenant", "events[0].when", "events[0].data.y"]
        );
        assert!(errors[0].message.contains("value = \"acme\""));
        let fine = "[[events]]\ntype='a'\ntable='t'\non=['truncate']\ntenant={value='x'}\n\
             [events.data]\nx='tg_op'\ny='1'\n";
        assert!(compile(fine).is_ok());
    }
}
