//! Results as the arrays that their statement takes.

use serde_json::Value;
use uuid::Uuid;

use super::Record;
use crate::delivery::Hold;
use crate::delivery::attempt::Outcome;
use crate::delivery::state::Transition;

/// A batch as the columns that unnest takes. Of times it has how far they are from now, in
/// seconds: the statement reckons from the store's clock, which may differ from ours.
#[derive(Default)]
pub(super) struct Columns<'a> {
    pub(super) id: Vec<Uuid>,
    pub(super) leased: Vec<bool>,
    pub(super) status: Vec<&'static str>,
    pub(super) parked_reason: Vec<Option<&'static str>>,
    pub(super) attempts: Vec<i32>,
    pub(super) http_status: Vec<Option<i16>>,
    pub(super) error: Vec<Option<&'a str>>,
    pub(super) due_in: Vec<Option<f64>>,
    pub(super) started_ago: Vec<Option<f64>>,
    pub(super) ended_ago: Vec<Option<f64>>,
    pub(super) duration_ms: Vec<Option<i32>>,
    pub(super) error_class: Vec<Option<&'static str>>,
    pub(super) response_excerpt: Vec<Option<&'a str>>,
    pub(super) content_type: Vec<Option<&'a str>>,
    pub(super) response_headers: Vec<Option<&'a Value>>,
    pub(super) response_body: Vec<Option<&'a [u8]>>,
    pub(super) response_truncated: Vec<Option<bool>>,
    pub(super) trigger: Vec<Option<i16>>,
    pub(super) actor: Vec<Option<Uuid>>,
    pub(super) subscription_version: Vec<Option<i32>>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(records: impl Iterator<Item = &'a Record>) -> Self {
        let mut columns = Columns::default();
        records.for_each(|record| columns.push(record));
        columns
    }

    fn push(&mut self, record: &'a Record) {
        let (status, parked) = match &record.transition {
            Transition::Delivered => ("delivered", None),
            Transition::Retry { .. } | Transition::Released { .. } => ("pending", None),
            Transition::Failed | Transition::Gone => ("failed", None),
            Transition::Parked(reason) => ("parked", Some(reason.as_str())),
            Transition::Cancelled => ("cancelled", None),
        };
        self.id.push(record.delivery.id.0);
        self.leased.push(record.delivery.hold == Hold::Leased);
        self.status.push(status);
        self.parked_reason.push(parked);
        self.attempts
            .push(i32::try_from(record.delivery.attempts).unwrap_or(i32::MAX));
        self.due_in.push(record.due_in());
        let outcome = record.outcome.as_ref();
        self.http_status
            .push(outcome.and_then(Outcome::stored_status));
        let error = outcome.and_then(|outcome| outcome.error.as_ref());
        self.error.push(error.map(|(_, message)| message.as_str()));
        self.error_class
            .push(error.map(|(class, _)| class.as_str()));
        self.started_ago
            .push(outcome.map(|outcome| outcome.began.elapsed().as_secs_f64()));
        self.ended_ago
            .push(outcome.map(|outcome| outcome.ended().elapsed().as_secs_f64()));
        self.duration_ms.push(outcome.map(Outcome::duration_ms));
        self.response_excerpt
            .push(outcome.and_then(|outcome| outcome.excerpt.as_deref()));
        let answer = outcome.map(|outcome| &outcome.answer);
        self.content_type
            .push(answer.and_then(|answer| answer.content_type.as_deref()));
        let failure = answer.and_then(|answer| answer.failure.as_deref());
        self.response_headers
            .push(failure.and_then(|failure| failure.headers.as_ref()));
        self.response_body
            .push(failure.and_then(|failure| failure.body.as_deref()));
        self.response_truncated
            .push(failure.map(|failure| failure.is_cut_off));
        self.trigger.push(record.delivery.cause.trigger.stored());
        self.actor.push(record.delivery.cause.actor);
        self.subscription_version
            .push(outcome.map(|outcome| outcome.subscription_version));
    }
}
