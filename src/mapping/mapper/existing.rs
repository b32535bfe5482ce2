//! Rows that exist already, as a backfill meets them. They are held against the rules as
//! if they were inserted as they stand: nothing is told of them before.

use std::collections::HashSet;
use std::sync::Arc;

use crate::event::{BackfillId, EventId};
use crate::mapping::row::RowChange;
use crate::mapping::{Mapped, ParkedChange, ParkedReason};
use crate::pgoutput::{Change, TransactionHeader};

use super::{Context, Mapper, bound, timestamp, unmappable};

/// A row that a backfill met.
pub struct ExistingRow<'a> {
    pub backfill: BackfillId,
    /// The row as an insert; its ordinal is its place after the header's position.
    pub change: &'a Change,
    /// Says of the table which row it is.
    pub key: &'a [u8],
}

/// What sets a row that exists apart from one that was changed.
pub(super) struct Existing<'a> {
    pub(super) backfill: BackfillId,
    pub(super) table: &'a str,
    pub(super) key: &'a [u8],
}

impl Existing<'_> {
    /// Says in the body, whose last byte closes the object, where the event comes from.
    pub(super) fn mark(&self, body: &mut Vec<u8>) {
        body.pop();
        body.extend_from_slice(format!(",\"backfill\":\"{}\"}}", self.backfill).as_bytes());
    }
}

impl Context<'_> {
    /// Of where the change stands; of which row it is, where it was not changed.
    pub(super) fn id(&self) -> EventId {
        let header = self.header;
        match &self.existing {
            None => EventId::of_change(
                self.system_identifier,
                header.commit_lsn,
                self.ordinal,
                &self.rule.name,
                header.committed_at,
            ),
            Some(existing) => EventId::of_row(
                self.system_identifier,
                existing.backfill,
                existing.table,
                existing.key,
                &self.rule.name,
                header.committed_at,
            ),
        }
    }
}

impl Mapper {
    /// Appends what each of `rules`, named by their indexes, made of the row, whatever
    /// operations they ask for: the index beside it.
    pub fn map_existing(
        &mut self,
        header: &TransactionHeader,
        row: &ExistingRow<'_>,
        rules: &HashSet<usize>,
        out: &mut Vec<(usize, Mapped)>,
    ) {
        let relation = bound(&mut self.relations, &self.rules, &row.change.relation);
        let inserted = RowChange::of(row.change);
        if self.transaction.as_ref() != Some(header) {
            self.transaction = Some(*header);
            self.timestamp = timestamp(header);
        }
        for bound in relation
            .rules
            .iter()
            .filter(|bound| rules.contains(&bound.rule))
        {
            let Some(rule) = self.rules.rules.get(bound.rule) else {
                continue;
            };
            let context = Context {
                rule,
                row: inserted,
                system_identifier: self.system_identifier,
                header,
                timestamp: &self.timestamp,
                ordinal: row.change.ordinal,
                existing: Some(Existing {
                    backfill: row.backfill,
                    table: &relation.name,
                    key: row.key,
                }),
                tenant: None,
            };
            let mapped = match &bound.places {
                Ok(places) => context
                    .event(places, &mut self.body)
                    .map_err(|refusal| (refusal, context.row_key(places).ok())),
                Err(detail) => Err((unmappable(detail), None)),
            };
            let mapped = match mapped {
                Ok(None) => continue,
                Ok(Some(event)) => Mapped::Event(event),
                Err((refusal, row_key)) => Mapped::Parked(ParkedChange {
                    commit_lsn: header.commit_lsn,
                    ordinal: row.change.ordinal,
                    rule: Arc::clone(&rule.name),
                    relation: Arc::clone(&relation.name),
                    row_key,
                    row_bytes: (refusal.reason == ParkedReason::Oversized)
                        .then(|| u64::try_from(inserted.bytes()).unwrap_or(u64::MAX)),
                    // It was no change: another backfill maps the row again.
                    change: None,
                    reason: refusal.reason,
                    detail: refusal.detail,
                    unknown_label: refusal.unknown_label,
                }),
            };
            out.push((rule.index, mapped));
        }
    }
}
