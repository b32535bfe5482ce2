//! Holds a place in the dispatcher's memory for what it is about to be handed.

use std::time::Instant;

use super::batch::DeliveryRows;
use super::writer::Writer;
use crate::delivery::Delivery;
use crate::event::DeliveryId;

/// Room in the dispatcher's memory for the deliveries of one group.
pub(crate) struct Reservation {
    deliveries: Vec<Delivery>,
}

impl Reservation {
    /// Reserves what fits and marks those rows as owned; the rest goes to the schedule.
    pub(crate) fn make(
        writer: &Writer,
        rows: &mut DeliveryRows,
        deliveries: Vec<Option<Delivery>>,
    ) -> Self {
        let Some(dispatcher) = &writer.means.dispatcher else {
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
                rows.own(index, writer.means.instance.id);
                taken.push(delivery);
            }
        }
        Reservation { deliveries: taken }
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = DeliveryId> {
        self.deliveries.iter().map(|delivery| delivery.id)
    }

    /// The deliveries did not come to be, or it is not known whether they did.
    pub(crate) fn abandon(self, writer: &Writer) {
        if let Some(dispatcher) = &writer.means.dispatcher {
            let given_back = self.deliveries.iter();
            dispatcher.unreserve(
                given_back.map(|delivery| (delivery.subscription_id, delivery.body.len())),
            );
        }
    }

    pub(crate) fn hand_off(mut self, writer: &Writer) {
        if let Some(dispatcher) = &writer.means.dispatcher
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
