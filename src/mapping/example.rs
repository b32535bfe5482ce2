//! Examples that rules carry: a row written in TOML and what the rule is to make of it.
//! `walhook check` runs them as unit tests.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::lsn::Lsn;
use crate::pgoutput::{
    Change, Column, OldTuple, Operation, Relation, ReplicaIdentity, TransactionHeader, Tuple,
    TupleValue,
};

use super::TableDescription;
use super::file::{RuleConfig, RuleError, suggestion};
use super::mapper::explain::{Verdict, verdict_on};
use super::names::Use;
use super::row::RowChange;
use super::rules::{Rule, RuleSet};
use super::trace::Trace;

mod value;

use value::{json, text};

/// One `[[events.examples]]` as it was written.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExampleConfig {
    /// `insert`, `update`, `delete` or `truncate`.
    pub op: String,
    /// An inserted or updated row; columns that are left out are null,
    /// but for the tenant's, which is then some tenant.
    pub new: Option<toml::Table>,
    /// A deleted row; or of an updated one the columns that were different before.
    pub old: Option<toml::Table>,
    /// The columns of an updated row that were null before: TOML has no null.
    #[serde(default)]
    pub old_nulls: Vec<String>,
    /// Whether the rule is to make an event of it.
    pub expect: bool,
    /// What the event's `data` is to hold, at least.
    pub data: Option<toml::Table>,
}

impl ExampleConfig {
    /// What is wrong with the example as such: the key inside of it, and a sentence.
    pub(super) fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let (has_new, has_old) = (self.new.is_some(), self.old.is_some());
        match self.op.as_str() {
            "insert" if !has_new => problems.push(("new", "an insert has a new row".to_owned())),
            "insert" if has_old => problems.push(("old", "an insert has no old row".to_owned())),
            "update" if !has_new => problems.push(("new", "an update has a new row".to_owned())),
            "delete" if !has_old => problems.push(("old", "a delete has an old row".to_owned())),
            "delete" if has_new => problems.push(("new", "a delete has no new row".to_owned())),
            "truncate" if has_new || has_old => {
                let key = if has_new { "new" } else { "old" };
                problems.push((key, "a truncate has no row".to_owned()));
            }
            "insert" | "update" | "delete" | "truncate" => {}
            other => problems.push((
                "op",
                format!(
                    "`{other}` is unknown: expected `insert`, `update`, `delete` or `truncate`{}",
                    suggestion(other, ["insert", "update", "delete", "truncate"])
                ),
            )),
        }
        if self.op != "update" && !self.old_nulls.is_empty() {
            let message = "only an update changes values that were null";
            problems.push(("old_nulls", message.to_owned()));
        }
        if !self.expect && self.data.is_some() {
            let message = "where no event is expected there is no data to compare";
            problems.push(("data", message.to_owned()));
        }
        problems
    }
}

/// A row or a `data` as JSON.
pub(super) fn object(members: &toml::Table) -> Json {
    json(&toml::Value::Table(members.clone()))
}

/// What running the examples came to.
#[derive(Debug, Default)]
pub struct Examples {
    /// How many held.
    pub held: usize,
    /// Those that did not, with the key that is wrong.
    pub failures: Vec<RuleError>,
}

/// Runs the examples of all rules whose tables are described. The rules are to be
/// checked against the tables first. `configs` are those that the rules were compiled of.
pub fn run(rules: &RuleSet, configs: &[RuleConfig], described: &[TableDescription]) -> Examples {
    let mut examples = Examples::default();
    for (rule, config) in rules.rules.iter().zip(configs) {
        let table = described
            .iter()
            .find(|table| table.schema == rule.table.schema && table.name == rule.table.name);
        let Some(table) = table else { continue };
        let relation = relation(table);
        for (index, example) in config.examples.iter().enumerate() {
            match run_one(rules, rule, &relation, example) {
                Ok(()) => examples.held += 1,
                Err((key, message)) => examples.failures.push(RuleError {
                    rule: rule.name.to_string(),
                    index: rule.index,
                    key: format!("examples[{index}].{key}"),
                    message,
                    other: None,
                }),
            }
        }
    }
    examples
}

/// Which key of the example is wrong, and how.
type Failure = (String, String);

fn run_one(
    rules: &RuleSet,
    rule: &Rule,
    relation: &Relation,
    example: &ExampleConfig,
) -> Result<(), Failure> {
    let change = Change {
        relation: relation.clone().into(),
        ordinal: 0,
        operation: operation(relation, example)?,
    };
    let row = RowChange::of(&change);
    let header = TransactionHeader {
        xid: 0,
        commit_lsn: Lsn::ZERO,
        committed_at: Timestamp::UNIX_EPOCH,
    };
    let unexpected = |message: String| Err(("expect".to_owned(), message));
    let tenant = some_tenant(rule, example);
    let verdict = verdict_on(rules, rule, &header, row, tenant.as_ref());
    match (verdict, example.expect) {
        (Verdict::Event { event, .. }, true) => match &example.data {
            Some(expected) => compare(&event.body, expected),
            None => Ok(()),
        },
        (Verdict::ConditionFalse(_) | Verdict::OtherOperation(_), false) => Ok(()),
        (Verdict::Event { condition, .. }, false) => unexpected(match condition {
            Some(condition) => format!(
                "the rule makes an event of it, as its `when` is true: {}",
                values(&condition)
            ),
            None => "the rule makes an event of it, as it has no `when`".to_owned(),
        }),
        (Verdict::ConditionFalse(condition), true) => unexpected(format!(
            "the rule makes no event of it, as its `when` is false: {}",
            values(&condition)
        )),
        (Verdict::OtherOperation(on), true) => unexpected(format!(
            "the rule makes no event of it: it takes {} and no {}",
            on.join(" and "),
            example.op
        )),
        (Verdict::Parked { reason, detail, .. }, _) => unexpected(format!(
            "the row would be parked as {}: {detail}",
            reason.as_str()
        )),
    }
}

/// The expression and the values of its columns on one line. They are the example's,
/// which stands in the configuration.
fn values(trace: &Trace) -> String {
    fn leaves(trace: &Trace, seen: &mut BTreeSet<String>, out: &mut Vec<String>) {
        if trace.parts.is_empty() {
            if seen.insert(trace.expression.clone()) {
                let value = match (&trace.value, &trace.error) {
                    (Some(value), _) => format!("is {value}"),
                    (None, error) => error.clone().unwrap_or_default(),
                };
                out.push(format!("{} {value}", trace.expression));
            }
            return;
        }
        trace.parts.iter().for_each(|part| leaves(part, seen, out));
    }
    let mut out = Vec::new();
    leaves(trace, &mut BTreeSet::new(), &mut out);
    match trace.parts.is_empty() {
        true => trace.expression.clone(),
        false => format!("{} ({})", trace.expression, out.join(", ")),
    }
}

/// The table as the stream would describe it under REPLICA IDENTITY FULL: an example
/// knows its old values.
fn relation(table: &TableDescription) -> Relation {
    let columns = table.columns.iter().map(|column| Column {
        name: column.name.clone(),
        identity: true,
        type_oid: column.type_oid,
        type_modifier: -1,
    });
    Relation {
        oid: 0,
        namespace: table.schema.clone(),
        name: table.name.clone(),
        replica_identity: ReplicaIdentity::Full,
        columns: columns.collect(),
    }
}

/// Some tenant, for a row that names no column of it: whose it is says nothing of whether
/// the rule matches, and the column may have another name elsewhere.
fn some_tenant(rule: &Rule, example: &ExampleConfig) -> Option<Arc<str>> {
    rule.tenant_expression()?;
    let named = |one: &&Use| {
        let name = rule.names.names.get(one.name).map_or("", String::as_str);
        let has =
            |row: &Option<toml::Table>| row.as_ref().is_some_and(|row| row.contains_key(name));
        one.key == "tenant" && (has(&example.new) || has(&example.old))
    };
    match rule.names.uses.iter().any(|one| named(&one)) {
        true => None,
        false => Some(Arc::from("example")),
    }
}

fn operation(relation: &Relation, example: &ExampleConfig) -> Result<Operation, Failure> {
    let nulls = || vec![TupleValue::Null; relation.columns.len()];
    let new = match &example.new {
        Some(row) => fill(relation, nulls(), row, "new")?,
        None => nulls(),
    };
    let no_row = toml::Table::new();
    let old = example.old.as_ref().unwrap_or(&no_row);
    Ok(match example.op.as_str() {
        "insert" => Operation::Insert { new },
        "truncate" => Operation::Truncate,
        "delete" => Operation::Delete {
            old: OldTuple::Full(fill(relation, nulls(), old, "old")?),
        },
        _ => {
            let mut before = fill(relation, new.clone(), old, "old")?;
            for name in &example.old_nulls {
                let place = place(relation, name, "old_nulls")?;
                if let Some(value) = before.get_mut(place) {
                    *value = TupleValue::Null;
                }
            }
            let old = Some(OldTuple::Full(before));
            Operation::Update { old, new }
        }
    })
}

fn place(relation: &Relation, name: &str, key: &str) -> Result<usize, Failure> {
    relation.column_index(name).ok_or_else(|| {
        let columns = relation.columns.iter().map(|column| column.name.as_str());
        let near = suggestion(name, columns);
        (
            format!("{key}.{name}"),
            format!(
                "table `{}` has no column `{name}`{near}",
                relation.qualified_name()
            ),
        )
    })
}

fn fill(
    relation: &Relation,
    mut tuple: Tuple,
    row: &toml::Table,
    key: &str,
) -> Result<Tuple, Failure> {
    for (name, value) in row {
        let place = place(relation, name, key)?;
        let type_oid = relation.columns.get(place).map_or(0, |c| c.type_oid);
        let text = text(type_oid, value).map_err(|message| (format!("{key}.{name}"), message))?;
        if let Some(value) = tuple.get_mut(place) {
            *value = TupleValue::Text(Bytes::from(text));
        }
    }
    Ok(tuple)
}

fn compare(body: &[u8], expected: &toml::Table) -> Result<(), Failure> {
    let body: Json = serde_json::from_slice(body)
        .map_err(|_| ("data".to_owned(), "the event's body is not JSON".to_owned()))?;
    let data = body.get("data").unwrap_or(&Json::Null);
    for (name, expected) in expected {
        let expected = json(expected);
        let key = || format!("data.{name}");
        match data.get(name) {
            None => {
                let known = data.as_object().into_iter().flat_map(|data| data.keys());
                let near = suggestion(name, known.map(String::as_str));
                return Err((key(), format!("the event's data has no `{name}`{near}")));
            }
            Some(found) if !same(found, &expected) => {
                return Err((
                    key(),
                    format!("the event's data has {found}, not {expected}"),
                ));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Equal, `1` and `1.0` being one number.
fn same(left: &Json, right: &Json) -> bool {
    match (left, right) {
        (Json::Number(left), Json::Number(right)) => {
            left == right || left.as_f64() == right.as_f64()
        }
        (Json::Array(left), Json::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(l, r)| same(l, r))
        }
        (Json::Object(left), Json::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(name, value)| right.get(name).is_some_and(|other| same(value, other)))
        }
        _ => left == right,
    }
}
