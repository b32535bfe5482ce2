//! Results as the arrays that their statement takes.

use jiff::Timestamp;
use uuid::Uuid;

use super::Record;
use crate::delivery::Hold;
use crate::delivery::attempt::Outcome;
use crate::delivery::state::Transition;

/// A batch as the columns that unnest takes.
#[derive(Default)]
pub(super) struct Columns<'a> {
    pub(super) id: Vec<Uuid>,
    pub(super) leased: Vec<bool>,
    pub(super) status: Vec<&'static str>,
    pub(super) parked_reason: Vec<Option<&'static str>>,
    pub(super) attempts: Vec<i32>,
    pub(super) http_status: Vec<Option<i16>>,
    pub(super) error: Vec<Option<&'a str>>,
    pub(super) due_at: Vec<Option<Timestamp>>,
    pub(super) delivered_at: Vec<Option<Timestamp>>,
    pub(super) started_at: Vec<Option<Timestamp>>,
    pub(super) duration_ms: Vec<Option<i32>>,
    pub(super) error_class: Vec<Option<&'static str>>,
    pub(super) response_excerpt: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(records: impl Iterator<Item = &'a Record>) -> Self {
        let mut columns = Columns::default();
        let now = Timestamp::now();
        for record in records {
            columns.push(record, now);
        }
        columns
    }

    fn push(&mut self, record: &'a Record, now: Timestamp) {
        let (status, due_at, parked) = match &record.transition {
            Transition::Delivered => ("delivered", None, None),
            Transition::Retry { due_at } | Transition::Released { due_at } => {
                ("pending", Some(*due_at), None)
            }
            Transition::Failed | Transition::Gone => ("failed", None, None),
            Transition::Parked(reason) => ("parked", None, Some(reason.as_str())),
            Transition::Cancelled => ("cancelled", None, None),
        };
        self.id.push(record.delivery.id.0);
        self.leased.push(record.delivery.hold == Hold::Leased);
        self.status.push(status);
        self.parked_reason.push(parked);
        self.attempts
            .push(i32::try_from(record.delivery.attempts).unwrap_or(i32::MAX));
        self.due_at.push(due_at);
        self.delivered_at
            .push((status == "delivered").then_some(now));
        let outcome = record.outcome.as_ref();
        self.http_status
            .push(outcome.and_then(Outcome::stored_status));
        let error = outcome.and_then(|outcome| outcome.error.as_ref());
        self.error.push(error.map(|(_, message)| message.as_str()));
        self.error_class
            .push(error.map(|(class, _)| class.as_str()));
        self.started_at
            .push(outcome.map(|outcome| outcome.started_at));
        self.duration_ms.push(outcome.map(Outcome::duration_ms));
        self.response_excerpt
            .push(outcome.and_then(|outcome| outcome.excerpt.as_deref()));
    }
}
