//! Whose turn it is: tenants take turns, and within each tenant its endpoints.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::event::SubscriptionId;

/// Lanes that wait for their turn. Whoever of `n` tenants waits is served among the next
/// `n`, however many lanes the others have.
#[derive(Default)]
pub(super) struct Turns {
    /// Those of whom a lane waits, each once.
    tenants: VecDeque<Arc<str>>,
    lanes: HashMap<Arc<str>, VecDeque<SubscriptionId>>,
    len: usize,
}

impl Turns {
    pub(super) fn push(&mut self, tenant: &Arc<str>, lane: SubscriptionId) {
        let lanes = match self.lanes.get_mut(tenant) {
            Some(lanes) => lanes,
            None => self.lanes.entry(Arc::clone(tenant)).or_default(),
        };
        if lanes.is_empty() {
            self.tenants.push_back(Arc::clone(tenant));
        }
        lanes.push_back(lane);
        self.len += 1;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn pop(&mut self) -> Option<SubscriptionId> {
        let tenant = self.tenants.pop_front()?;
        let lanes = self.lanes.get_mut(&tenant)?;
        let lane = lanes.pop_front()?;
        self.len -= 1;
        if !lanes.is_empty() {
            self.tenants.push_back(tenant);
        }
        Some(lane)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Forgets tenants of whom no lane waits. Their queues are kept until then: most are
    /// back at once.
    pub(super) fn trim(&mut self) {
        self.lanes.retain(|_, lanes| !lanes.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_tenant_with_many_lanes_gets_no_more_turns_than_one_with_one() {
        let lane = |number| SubscriptionId(Uuid::from_u128(number));
        let (large, small) = (Arc::from("large"), Arc::from("small"));
        let mut turns = Turns::default();
        (1..=3).for_each(|number| turns.push(&large, lane(number)));
        turns.push(&small, lane(9));
        let mut served = Vec::new();
        for _ in 0..6 {
            let next = turns.pop().unwrap();
            served.push(next);
            // It has more to send.
            turns.push(if next == lane(9) { &small } else { &large }, next);
        }
        assert_eq!(served, [1, 9, 2, 9, 3, 9].map(lane));
        assert_eq!(turns.len(), 4);
        while turns.pop().is_some() {}
        turns.trim();
        assert_eq!((turns.len(), turns.lanes.len()), (0, 0));
    }
}
