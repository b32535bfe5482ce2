//! The rows that one transaction of the store writes.

use uuid::Uuid;

use super::batch::{DeliveryRows, WaitsFor};
use super::parked::ParkedKey;
use super::pass::Pass;
use crate::delivery::ParkedReason;
use crate::delivery::attempt::Outcome;
use crate::delivery::recorder::Record;
use crate::event::Event;
use crate::mapping::{ParkedChange, RuleSet};
use crate::subscription::Format;

pub(super) struct Rows<'a> {
    pub(super) passes: &'a [Pass],
    /// Of first attempts that have succeeded, in the order of the deliveries.
    pub(super) results: &'a [Option<Box<Record>>],
}

pub(super) struct DeliveryRow<'a> {
    pub(super) id: Uuid,
    pub(super) event: &'a Event,
    pub(super) subscription_id: Uuid,
    pub(super) format: Format,
    /// Who has it in memory.
    pub(super) owner: Option<Uuid>,
    pub(super) parked: Option<ParkedReason>,
    pub(super) waits_for: WaitsFor,
    /// It was sent and has succeeded.
    pub(super) result: Option<&'a Outcome>,
}

impl DeliveryRow<'_> {
    /// Nobody has it in memory, nor has it been sent: it waits in the schedule.
    pub(super) fn waits(&self) -> bool {
        self.owner.is_none() && self.result.is_none()
    }
}

impl<'a> Rows<'a> {
    pub(super) fn events(&self) -> impl Iterator<Item = (&'a Event, &'a RuleSet)> {
        let of_pass = |pass: &'a Pass| pass.batch.events.iter().map(|event| (event, &*pass.rules));
        self.passes.iter().flat_map(of_pass)
    }

    /// Whether an event has deliveries among these, in the order of the events.
    pub(super) fn have_deliveries(&self) -> Vec<bool> {
        let mut have = Vec::new();
        for pass in self.passes {
            let first = have.len();
            have.resize(first + pass.batch.events.len(), false);
            for event in &pass.rows.event {
                have[first + event] = true;
            }
        }
        have
    }

    pub(super) fn deliveries(&self) -> impl Iterator<Item = DeliveryRow<'a>> {
        let of_pass = |pass: &'a Pass| {
            let row = |index: usize| row(&pass.rows, &pass.batch.events, index);
            (0..pass.rows.len()).map(row)
        };
        let results = self.results.iter().map(Option::as_deref);
        let rows = self.passes.iter().flat_map(of_pass);
        rows.zip(results).map(|(row, result)| {
            let result = result.and_then(|record| record.outcome.as_ref());
            DeliveryRow {
                owner: row.owner.filter(|_| result.is_none()),
                result,
                ..row
            }
        })
    }

    /// What the store will say that somebody has in memory.
    pub(super) fn owned(&self) -> impl Iterator<Item = Uuid> {
        let owned = self.deliveries().filter(|row| row.owner.is_some());
        owned.map(|row| row.id)
    }

    pub(super) fn parked(&self) -> impl Iterator<Item = &'a ParkedChange> {
        self.passes.iter().flat_map(|pass| &pass.batch.parked)
    }

    pub(super) fn unparked(&self) -> impl Iterator<Item = &'a ParkedKey> {
        self.passes.iter().flat_map(|pass| &pass.batch.unparked)
    }
}

fn row<'a>(rows: &'a DeliveryRows, events: &'a [Event], index: usize) -> DeliveryRow<'a> {
    DeliveryRow {
        id: rows.id[index],
        event: &events[rows.event[index]],
        subscription_id: rows.subscription_id[index],
        format: rows.format[index],
        owner: rows.owner[index],
        parked: rows.parked[index],
        waits_for: rows.waits_for[index],
        result: None,
    }
}
