//! Says of each rule what it makes of a change, and where nothing, why.

use std::sync::Arc;

use serde_json::value::RawValue;

use crate::event::Event;
use crate::mapping::ParkedReason;
use crate::mapping::rules::Operations;
use crate::mapping::trace::{Trace, trace};
use crate::pgoutput::value::write_json;
use crate::pgoutput::{Operation, TransactionHeader};

use super::bind::places;
use super::{Change, Context, Kind, Mapper, Places, Rule, RuleSet, bound};
use crate::mapping::language::check::Scope;
use crate::mapping::language::program::Version;
use crate::mapping::row::RowChange;

/// One change as the rules see it. Holds the row's values: never to be logged.
pub struct Explanation {
    /// `schema.table`.
    pub table: Arc<str>,
    /// `insert`, `update`, `delete` or `truncate`.
    pub operation: &'static str,
    /// The row's key, where it is known: names and values as JSON.
    pub key: Vec<(String, Box<RawValue>)>,
    /// What each rule of the table says, in the order of the configuration.
    pub rules: Vec<Explained>,
}

/// One rule's word on a change.
pub struct Explained {
    pub rule: Arc<str>,
    pub event_type: Arc<str>,
    pub verdict: Verdict,
}

pub enum Verdict {
    Event {
        event: Event,
        /// Where the rule has a condition.
        condition: Option<Trace>,
    },
    /// The rule does not take this operation, but these.
    OtherOperation(Vec<&'static str>),
    ConditionFalse(Trace),
    /// The rule matches, or that is not known; the row cannot be sent.
    Parked {
        reason: ParkedReason,
        detail: String,
        condition: Option<Trace>,
    },
}

impl Mapper {
    /// What [`map`](Mapper::map) makes of the change, by the same code, with the reasons.
    pub fn explain(&mut self, header: &TransactionHeader, change: &Change) -> Explanation {
        let bound = bound(&mut self.relations, &self.rules, &change.relation);
        let row = RowChange::of(change);
        let mut rules = Vec::new();
        for bound in &bound.rules {
            let Some(rule) = self.rules.rules.get(bound.rule) else {
                continue;
            };
            rules.push(Explained {
                rule: Arc::clone(&rule.name),
                event_type: Arc::clone(&rule.event_type),
                verdict: verdict(
                    self.system_identifier,
                    rule,
                    &bound.places,
                    header,
                    row,
                    change.ordinal,
                    None,
                ),
            });
        }
        Explanation {
            table: Arc::clone(&bound.name),
            operation: operation(&change.operation),
            key: key(&self.rules, row),
            rules,
        }
    }
}

/// What a rule makes of a row of its table, on any stream; `tenant`: whose row it is taken
/// to be, where the rule's expression is not asked.
pub(in crate::mapping) fn verdict_on(
    rules: &RuleSet,
    rule: &Rule,
    header: &TransactionHeader,
    row: RowChange<'_>,
    tenant: Option<&Arc<str>>,
) -> Verdict {
    let places = places(rules, rule, row.relation);
    verdict(0, rule, &places, header, row, 0, tenant)
}

fn verdict(
    system_identifier: u64,
    rule: &Rule,
    places: &Result<Places, String>,
    header: &TransactionHeader,
    row: RowChange<'_>,
    ordinal: u64,
    tenant: Option<&Arc<str>>,
) -> Verdict {
    if !rule.on.contains(row.kind) {
        return Verdict::OtherOperation(operations(rule.on));
    }
    let places = match places {
        Ok(places) => places,
        Err(detail) => {
            return Verdict::Parked {
                reason: ParkedReason::Unmappable,
                detail: detail.clone(),
                condition: None,
            };
        }
    };
    let timestamp = super::timestamp(header);
    let context = Context {
        rule,
        row,
        system_identifier,
        header,
        timestamp: &timestamp,
        ordinal,
        existing: None,
        tenant,
    };
    let when = rule.when.and_then(|when| rule.expressions.get(when));
    let condition = when.map(|when| {
        let table = rule.table.to_string();
        let scope = Scope {
            table: &table,
            columns: &places.known,
            members: None,
            encoding: places.database.encoding,
            letters: &places.database.letters,
        };
        trace(&when.source, &when.expr, &scope, &context.values())
    });
    match (context.event(places, &mut Vec::new()), condition) {
        (Ok(Some(event)), condition) => Verdict::Event { event, condition },
        (Ok(None), Some(condition)) => Verdict::ConditionFalse(condition),
        // Without a condition there is always an event or a reason.
        (Ok(None), None) => Verdict::OtherOperation(operations(rule.on)),
        (Err(refusal), condition) => Verdict::Parked {
            reason: refusal.reason,
            detail: refusal.detail,
            condition,
        },
    }
}

fn operations(on: Operations) -> Vec<&'static str> {
    [Kind::Insert, Kind::Update, Kind::Delete, Kind::Truncate]
        .into_iter()
        .filter(|kind| on.contains(*kind))
        .map(Kind::as_str)
        .collect()
}

fn operation(operation: &Operation) -> &'static str {
    match operation {
        Operation::Insert { .. } => "insert",
        Operation::Update { .. } => "update",
        Operation::Delete { .. } => "delete",
        Operation::Truncate => "truncate",
    }
}

/// The primary key as the catalog has it, else the identity that the stream marks.
fn key(rules: &RuleSet, row: RowChange<'_>) -> Vec<(String, Box<RawValue>)> {
    let relation = row.relation;
    let table = super::TableName {
        schema: relation.namespace.clone(),
        name: relation.name.clone(),
    };
    let primary_key = rules.primary_key(&table).unwrap_or_default();
    let is_full = relation.replica_identity == super::ReplicaIdentity::Full;
    let columns = relation.columns.iter().enumerate();
    columns
        .filter(|(_, column)| match primary_key.is_empty() {
            true => column.identity && !is_full,
            false => primary_key.contains(&column.name),
        })
        .filter_map(|(place, column)| {
            let mut json = Vec::new();
            match row.value(Version::Current, place).ok()? {
                Some(text) => write_json(&mut json, column.type_oid, text).ok()?,
                None => json.extend_from_slice(b"null"),
            }
            let json = RawValue::from_string(String::from_utf8(json).ok()?).ok()?;
            Some((column.name.clone(), json))
        })
        .collect()
}
