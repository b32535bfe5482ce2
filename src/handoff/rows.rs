//! The rows that one transaction of the store writes.

use std::sync::Arc;

use uuid::Uuid;

use super::batch::{DeliveryRows, ParkedKey, WaitsFor};
use super::group::Group;
use crate::delivery::ParkedReason;
use crate::delivery::recorder::Record;
use crate::event::Event;
use crate::mapping::{ParkedChange, RuleSet};
use crate::subscription::Format;

pub(crate) struct Rows<'a> {
    pub(crate) groups: &'a [Group],
    /// Of first attempts that have succeeded, in the order of the deliveries.
    pub(crate) results: &'a [Option<Arc<Record>>],
}

pub(crate) struct DeliveryRow<'a> {
    pub(crate) id: Uuid,
    pub(crate) event: &'a Event,
    pub(crate) subscription_id: Uuid,
    pub(crate) format: Format,
    /// Who has it in memory.
    pub(crate) owner: Option<Uuid>,
    pub(crate) parked: Option<ParkedReason>,
    pub(crate) waits_for: WaitsFor,
    /// It was sent and has succeeded.
    pub(crate) result: Option<&'a Record>,
}

impl DeliveryRow<'_> {
    /// Nobody has it in memory, nor has it been sent: it waits in the schedule.
    pub(crate) fn waits(&self) -> bool {
        self.owner.is_none() && self.result.is_none()
    }
}

impl<'a> Rows<'a> {
    pub(crate) fn events(&self) -> impl Iterator<Item = (&'a Event, &'a RuleSet)> {
        let of_group = |group: &'a Group| {
            group
                .batch
                .events
                .iter()
                .map(|event| (event, &*group.rules))
        };
        self.groups.iter().flat_map(of_group)
    }

    /// Whether an event has deliveries among these, in the order of the events.
    pub(crate) fn have_deliveries(&self) -> Vec<bool> {
        let mut have = Vec::new();
        for group in self.groups {
            let first = have.len();
            have.resize(first + group.batch.events.len(), false);
            for event in &group.rows.event {
                have[first + event] = true;
            }
        }
        have
    }

    pub(crate) fn deliveries(&self) -> impl Iterator<Item = DeliveryRow<'a>> {
        let of_group = |group: &'a Group| {
            let row = |index: usize| row(&group.rows, &group.batch.events, index);
            (0..group.rows.len()).map(row)
        };
        let results = self.results.iter().map(Option::as_deref);
        let rows = self.groups.iter().flat_map(of_group);
        rows.zip(results).map(|(row, result)| {
            let result = result.filter(|record| record.outcome.is_some());
            DeliveryRow {
                owner: row.owner.filter(|_| result.is_none()),
                result,
                ..row
            }
        })
    }

    /// What the store will say that somebody has in memory.
    pub(crate) fn owned(&self) -> impl Iterator<Item = Uuid> {
        let owned = self.deliveries().filter(|row| row.owner.is_some());
        owned.map(|row| row.id)
    }

    pub(crate) fn parked(&self) -> impl Iterator<Item = &'a ParkedChange> {
        self.groups.iter().flat_map(|group| &group.batch.parked)
    }

    pub(crate) fn unparked(&self) -> impl Iterator<Item = &'a ParkedKey> {
        self.groups.iter().flat_map(|group| &group.batch.unparked)
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
