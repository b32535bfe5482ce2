//! Holds a place in the dispatcher's memory for what an enqueue is about to commit.

use std::time::Instant;

use uuid::Uuid;

use super::Enqueuer;
use super::batch::DeliveryRows;
use crate::delivery::Delivery;

/// Room in the dispatcher's memory for the deliveries of one transaction.
pub(super) struct Reservation {
    deliveries: Vec<Delivery>,
}

impl Reservation {
    /// Reserves what fits and marks those rows as owned; the rest goes to the schedule.
    pub(super) fn make(
        enqueuer: &Enqueuer,
        rows: &mut DeliveryRows,
        deliveries: Vec<Option<Delivery>>,
    ) -> Self {
        let Some(dispatcher) = &enqueuer.dispatcher else {
            return Reservation {
                deliveries: Vec::new(),
            };
        };
        let wanted = deliveries.iter().flatten();
        let granted = dispatcher
            .reserve(wanted.map(|delivery| (delivery.subscription_id, delivery.body.len())));
        let mut granted = granted.into_iter();
        let mut taken = Vec::with_capacity(deliveries.len());
        for (index, delivery) in deliveries.into_iter().enumerate() {
            let Some(delivery) = delivery else { continue };
            if granted.next() == Some(true) {
                rows.own(index, enqueuer.instance.id);
                taken.push(delivery);
            }
        }
        enqueuer
            .instance
            .outstanding
            .insert(taken.iter().map(|delivery| delivery.id.0));
        Reservation { deliveries: taken }
    }

    pub(super) fn lowest(&self) -> Option<Uuid> {
        self.deliveries.iter().map(|delivery| delivery.id.0).min()
    }

    /// The commit failed or was not answered. The ids stay outstanding until it is
    /// known which.
    pub(super) fn abandon(&mut self, enqueuer: &Enqueuer) -> Vec<Uuid> {
        if let Some(dispatcher) = &enqueuer.dispatcher {
            let given_back = self.deliveries.iter();
            dispatcher.unreserve(
                given_back.map(|delivery| (delivery.subscription_id, delivery.body.len())),
            );
        }
        self.deliveries
            .drain(..)
            .map(|delivery| delivery.id.0)
            .collect()
    }

    pub(super) fn hand_off(&mut self, enqueuer: &Enqueuer) {
        if let Some(dispatcher) = &enqueuer.dispatcher
            && !self.deliveries.is_empty()
        {
            let now = Instant::now();
            let mut deliveries = std::mem::take(&mut self.deliveries);
            deliveries
                .iter_mut()
                .for_each(|delivery| delivery.queued_at = now);
            dispatcher.hand_off(deliveries);
        }
    }
}
