//! The dispatcher's part in sharing the subscriptions with other instances.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Dispatcher;
use crate::delivery::Delivery;
use crate::delivery::instance::SILENCE;
use crate::delivery::recorder::Record;
use crate::delivery::state::Transition;
use crate::event::SubscriptionId;
use crate::metrics::METRICS;

impl Dispatcher {
    /// Takes over which subscriptions the store says are this instance's to send to.
    /// Answers whether there are new ones.
    pub fn hold(&self, leased: impl Iterator<Item = SubscriptionId>) -> bool {
        let mut lanes = self.lanes();
        lanes.follow(&self.directory.snapshot(), Instant::now());
        let gained = lanes.hold(leased);
        let held = i64::try_from(lanes.held()).unwrap_or(i64::MAX);
        METRICS.subscriptions_held.set(held);
        gained
    }

    pub fn held(&self) -> usize {
        self.lanes().held()
    }

    /// Sends no more for so many subscriptions; what waits of theirs goes back into the
    /// store.
    pub fn let_go(self: &Arc<Self>, count: usize) {
        let waiting = self.lanes().let_go(count);
        self.release(
            waiting
                .into_iter()
                .map(|one| (one, Duration::ZERO))
                .collect(),
        );
    }

    /// Puts deliveries back into the schedule, each due after its time.
    pub(super) fn release(self: &Arc<Self>, refused: Vec<(Delivery, Duration)>) {
        if refused.is_empty() {
            return;
        }
        // Made here: the delays count from now, however long the recorder is busy.
        let records: Vec<Record> = refused
            .into_iter()
            .map(|(delivery, delay)| Record::unattempted(delivery, Transition::Released { delay }))
            .collect();
        let dispatcher = Arc::clone(self);
        let released = async move {
            for record in records {
                dispatcher.record(record).await;
            }
        };
        self.tasks.spawn_on(released, &self.runtime);
    }

    /// Subscriptions that may be given back: nothing of theirs is in memory.
    pub fn let_gone(&self) -> Vec<SubscriptionId> {
        self.lanes().let_gone()
    }

    pub fn given_back(&self, ids: &[SubscriptionId]) {
        self.lanes().given_back(ids);
    }

    /// Whether what waits of this subscription in the store is this instance's to settle.
    pub fn serves(&self, id: SubscriptionId) -> bool {
        self.lanes().serves(id)
    }

    /// Whether the leases still hold. Whoever was not heard of for so long may have been
    /// taken for dead, and another may send what it holds.
    pub(super) fn may_send(&self) -> bool {
        self.heard.borrow().elapsed() < SILENCE
    }
}
