//! Maps one change at a time, with what is known of each relation kept at hand.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::event::{Event, EventPosition};
use crate::pgoutput::value::write_string;
use crate::pgoutput::{Change, Relation, ReplicaIdentity, TransactionHeader, kept};

use super::language::evaluate::{Evaluation, Failure};
use super::language::program::Version;
use super::payload::{Data, Members, PayloadError, write_head, write_rest};
use super::programs::{Values, tenant_text};
use super::row::{Kind, RowChange};
use super::rules::{Rule, RuleSet, Tenant};
use super::table_name::TableName;
use super::{Mapped, ParkedChange, ParkedReason, UnknownLabel};

mod again;
mod bind;
mod existing;
pub(super) mod explain;

use bind::{BoundRelation, Places, bound};
use existing::Existing;

/// Bytes of a tenant's id. The store's indexes take entries of some 2,700 bytes: a longer one
/// would fail the enqueue for ever, and with it all that comes behind.
const LONGEST_TENANT: usize = 1_024;
pub use existing::ExistingRow;

/// Applies rules to the changes of one stream.
pub struct Mapper {
    rules: Arc<RuleSet>,
    system_identifier: u64,
    /// Rules, by their index, that make nothing yet: what they need is not complete.
    held: HashSet<usize>,
    /// By oid. Holds the relation itself, so that another one at its address is never
    /// taken for it.
    relations: HashMap<u32, BoundRelation>,
    /// The transaction that `timestamp` was written for.
    transaction: Option<TransactionHeader>,
    timestamp: String,
    body: Vec<u8>,
}

impl Mapper {
    /// Rules are to be checked first ([`RuleSet::check_table`]), which also learns the
    /// primary keys of tables with REPLICA IDENTITY FULL.
    pub fn new(rules: Arc<RuleSet>, system_identifier: u64) -> Self {
        Mapper {
            rules,
            system_identifier,
            held: HashSet::new(),
            relations: HashMap::new(),
            transaction: None,
            timestamp: String::new(),
            body: Vec::new(),
        }
    }

    pub fn rules(&self) -> &Arc<RuleSet> {
        &self.rules
    }

    /// Lets a rule, named by its index, make nothing until it is released.
    pub fn hold(&mut self, rule: usize) {
        self.held.insert(rule);
    }

    pub fn release(&mut self, rule: usize) {
        self.held.remove(&rule);
    }

    /// Whether any rule watches the relation. Cheap: once bound, a look-up by oid.
    pub fn watches(&mut self, relation: &Arc<Relation>) -> bool {
        !bound(&mut self.relations, &self.rules, relation)
            .rules
            .is_empty()
    }

    /// Appends what each rule made of the change, in the order of the configuration.
    pub fn map(&mut self, header: &TransactionHeader, change: &Change, out: &mut Vec<Mapped>) {
        self.map_by(None, header, change, out);
    }

    fn map_by(
        &mut self,
        only: Option<&str>,
        header: &TransactionHeader,
        change: &Change,
        out: &mut Vec<Mapped>,
    ) {
        let relation = bound(&mut self.relations, &self.rules, &change.relation);
        if relation.rules.is_empty() {
            return;
        }
        let row = RowChange::of(change);
        if self.transaction.as_ref() != Some(header) {
            self.transaction = Some(*header);
            self.timestamp = timestamp(header);
        }
        for bound in &relation.rules {
            let Some(rule) = self.rules.rules.get(bound.rule) else {
                continue;
            };
            let is_asked = match only {
                None => !self.held.contains(&rule.index),
                Some(only) => *rule.name == *only,
            };
            if !rule.on.contains(row.kind) || !is_asked {
                continue;
            }
            let context = Context {
                rule,
                row,
                system_identifier: self.system_identifier,
                header,
                timestamp: &self.timestamp,
                ordinal: change.ordinal,
                existing: None,
                tenant: None,
            };
            let mapped = match &bound.places {
                Ok(places) => context
                    .event(places, &mut self.body)
                    .map_err(|refusal| (refusal, context.row_key(places).ok())),
                Err(detail) => Err((unmappable(detail), None)),
            };
            match mapped {
                Ok(event) => out.extend(event.map(Mapped::Event)),
                Err((refusal, row_key)) => out.push(Mapped::Parked(ParkedChange {
                    commit_lsn: header.commit_lsn,
                    ordinal: change.ordinal,
                    rule: Arc::clone(&rule.name),
                    relation: Arc::clone(&relation.name),
                    row_key,
                    row_bytes: (refusal.reason == ParkedReason::Oversized)
                        .then(|| u64::try_from(row.bytes()).unwrap_or(u64::MAX)),
                    change: kept::encode(header, change),
                    reason: refusal.reason,
                    detail: refusal.detail,
                    unknown_label: refusal.unknown_label,
                })),
            }
        }
    }
}

/// One rule against one row.
struct Context<'a> {
    rule: &'a Rule,
    row: RowChange<'a>,
    system_identifier: u64,
    header: &'a TransactionHeader,
    timestamp: &'a str,
    ordinal: u64,
    /// Where the row was not changed, but met by a backfill.
    existing: Option<Existing<'a>>,
    /// Whose row it is taken to be, instead of what the rule's expression says.
    tenant: Option<&'a Arc<str>>,
}

/// The commit's time as events carry it.
fn timestamp(header: &TransactionHeader) -> String {
    let committed_at = header.committed_at;
    committed_at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// Why a change that a rule takes makes no event.
struct Refusal {
    reason: ParkedReason,
    detail: String,
    unknown_label: Option<UnknownLabel>,
}

impl Refusal {
    /// Because of this failure, which the detail speaks of.
    fn because(self, failure: Failure) -> Self {
        let unknown_label = match failure {
            Failure::Label(label) => Some(label),
            Failure::Unknown(_) | Failure::Failed(_) | Failure::Steps | Failure::Bytes => None,
        };
        Refusal {
            unknown_label,
            ..self
        }
    }
}

fn unmappable(error: impl std::fmt::Display) -> Refusal {
    Refusal {
        reason: ParkedReason::Unmappable,
        detail: error.to_string(),
        unknown_label: None,
    }
}

impl Context<'_> {
    /// `None` where the condition does not hold.
    fn event(&self, places: &Places, body: &mut Vec<u8>) -> Result<Option<Event>, Refusal> {
        self.evaluate(places, body)
            .map_err(|refusal| match refusal.reason {
                ParkedReason::Unmappable if self.row.is_abridged() => Refusal {
                    reason: ParkedReason::Oversized,
                    ..refusal
                },
                _ => refusal,
            })
    }

    fn evaluate(&self, places: &Places, body: &mut Vec<u8>) -> Result<Option<Event>, Refusal> {
        let rule = self.rule;
        let values = self.values();
        let evaluation = Evaluation::new(&values, &places.database.letters);
        if let Some(when) = rule.when.and_then(|when| places.programs.get(when)) {
            let held = evaluation.condition(&when.node).map_err(|failure| {
                unmappable(format_args!("`when` has no answer: {failure}")).because(failure)
            })?;
            if held != Some(true) {
                return Ok(None);
            }
        }
        let (tenant_id, row) = self.tenant(places, &evaluation)?;
        // As that tenant may see it, computed values included.
        let shown = Values {
            row,
            committed_at: self.header.committed_at,
        };
        let evaluation = Evaluation::new(&shown, &places.database.letters);
        let row_key = self.row_identity(places)?;
        let position = EventPosition {
            commit_lsn: self.header.commit_lsn,
            ordinal: self.ordinal,
            // Compiling refuses more rules than fit.
            rule_index: u16::try_from(rule.index).unwrap_or(u16::MAX),
        };
        let id = self.id();
        let data = match &rule.data {
            Some(members) => Data::Members(Members {
                members,
                columns: &places.columns,
                programs: &places.programs,
                evaluation: &evaluation,
            }),
            None => Data::WholeRow(&places.whole_row),
        };
        body.clear();
        write_head(
            body,
            id,
            &rule.event_type,
            self.timestamp,
            &tenant_id,
            &position,
        );
        write_rest(body, &data, &row).map_err(|error| {
            let refusal = unmappable(format_args!("`data` cannot be written: {error}"));
            match error {
                PayloadError::Evaluation(failure) => refusal.because(failure),
                PayloadError::Missing(_) | PayloadError::Value { .. } | PayloadError::Json => {
                    refusal
                }
            }
        })?;
        if let Some(existing) = &self.existing {
            existing.mark(body);
        }
        Ok(Some(Event {
            id,
            position,
            tenant_id,
            row_key,
            event_type: Arc::clone(&rule.event_type),
            occurred_at: self.header.committed_at,
            body: Bytes::copy_from_slice(body),
        }))
    }

    fn values(&self) -> Values<'_> {
        Values {
            row: self.row,
            committed_at: self.header.committed_at,
        }
    }

    /// The row's tenant, and the row as that tenant may see it: where an update moved
    /// it here from another tenant, its old values are the other one's.
    fn tenant<'e>(
        &self,
        places: &'e Places,
        evaluation: &'e Evaluation<'e, Values<'_>>,
    ) -> Result<(Arc<str>, RowChange<'_>), Refusal> {
        if let Some(tenant) = self.tenant {
            return Ok((Arc::clone(tenant), self.row));
        }
        let place = match &self.rule.tenant {
            Tenant::Value(value) => return Ok((Arc::clone(value), self.row)),
            Tenant::Expression(place) => *place,
        };
        let source = self
            .rule
            .expressions
            .get(place)
            .map_or("", |written| &written.source);
        let unroutable = |what: std::fmt::Arguments<'_>| Refusal {
            reason: ParkedReason::Unroutable,
            detail: format!("the tenant, `{source}`, {what}"),
            unknown_label: None,
        };
        let Some(program) = places.programs.get(place) else {
            return Err(unroutable(format_args!("is not known")));
        };
        let text = match tenant_text(program, evaluation, Version::Current) {
            Ok(Some(text)) if text.len() > LONGEST_TENANT => {
                let length = text.len();
                return Err(unroutable(format_args!(
                    "has {length} bytes: at most {LONGEST_TENANT} are taken"
                )));
            }
            Ok(Some(text)) if !text.is_empty() => text,
            Ok(Some(_)) => return Err(unroutable(format_args!("is empty"))),
            Ok(None) => return Err(unroutable(format_args!("is null"))),
            Err(Failure::Unknown(missing)) => {
                return Err(unroutable(format_args!("is not known: {missing}")));
            }
            Err(failure) => {
                let refusal = unroutable(format_args!("has no value: {failure}"));
                return Err(refusal.because(failure));
            }
        };
        let moved = self.row.kind == Kind::Update
            && tenant_text(program, evaluation, Version::Old)
                .is_ok_and(|old| old.as_deref() != Some(&*text));
        let row = match moved {
            true => self.row.without_old(),
            false => self.row,
        };
        Ok((Arc::from(&*text), row))
    }

    /// The table and the row's key; equal for two events of one row, and empty for a
    /// truncate, which has no row.
    fn row_identity(&self, places: &Places) -> Result<String, Refusal> {
        match self.row.kind {
            Kind::Truncate => Ok(String::new()),
            _ => Ok(format!("{}:{}", self.rule.table, self.row_key(places)?)),
        }
    }

    /// One column's value itself, or several as a JSON array of texts. A null key, which only a key that is not the primary key can
    /// have, is the empty text: such rows share one order. So do truncates, which have
    /// no row.
    fn row_key(&self, places: &Places) -> Result<String, Refusal> {
        if self.row.kind == Kind::Truncate {
            return Ok(String::new());
        }
        let text = |column: usize| {
            let value = self.row.value(Version::Current, column);
            let value = value.map_err(|missing| unmappable(format_args!("`key`: {missing}")))?;
            value
                .map(|text| std::str::from_utf8(text))
                .transpose()
                .map_err(|_| unmappable("`key`: a column is not valid UTF-8"))
        };
        if let [column] = places.key.as_slice() {
            return Ok(text(*column)?.unwrap_or_default().to_owned());
        }
        let mut key = vec![b'['];
        for (at, column) in places.key.iter().enumerate() {
            if at > 0 {
                key.push(b',');
            }
            match text(*column)? {
                Some(text) => write_string(&mut key, text),
                None => key.extend_from_slice(b"null"),
            }
        }
        key.push(b']');
        String::from_utf8(key).map_err(|_| unmappable("`key` is not valid UTF-8"))
    }
}
