//! What is known of when something is due in the store, by subscription. It is learnt by
//! looking, and kept up by what claims find.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use jiff::Timestamp;
use uuid::Uuid;

use crate::event::SubscriptionId;

#[derive(Default)]
pub(super) struct DueTimes {
    lanes: HashMap<SubscriptionId, Known>,
    /// The same by time: whoever waits longest is served first, and then stands last.
    order: BTreeSet<(Instant, SubscriptionId)>,
}

struct Known {
    at: Instant,
    behind: Option<Behind>,
}

/// The row that was claimed last. What is before it is taken, or is met when there is
/// nothing left behind it: to begin there each time would mean to walk over the index
/// entries of all that was claimed before and not vacuumed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Behind {
    pub(super) due_at: Timestamp,
    pub(super) id: Uuid,
}

impl DueTimes {
    pub(super) fn set(&mut self, lane: SubscriptionId, at: Instant, behind: Option<Behind>) {
        self.remove(lane);
        self.lanes.insert(lane, Known { at, behind });
        self.order.insert((at, lane));
    }

    /// Something has become due for it. Whoever is due already keeps his place among
    /// those who wait.
    pub(super) fn bring_forward(&mut self, lane: SubscriptionId, now: Instant) {
        if self.lanes.get(&lane).is_none_or(|known| known.at > now) {
            self.set(lane, now, None);
        }
    }

    /// Claims begin at the front again, where what a user has asked for by hand stands.
    pub(super) fn begin_at_front_of(&mut self, lane: SubscriptionId) {
        if let Some(known) = self.lanes.get_mut(&lane) {
            known.behind = None;
        }
    }

    pub(super) fn remove(&mut self, lane: SubscriptionId) {
        if let Some(known) = self.lanes.remove(&lane) {
            self.order.remove(&(known.at, lane));
        }
    }

    pub(super) fn behind(&self, lane: SubscriptionId) -> Option<Behind> {
        self.lanes.get(&lane)?.behind
    }

    /// What was passed is met again: a lease among it may have ended.
    pub(super) fn begin_at_the_front(&mut self) {
        for known in self.lanes.values_mut() {
            known.behind = None;
        }
    }

    pub(super) fn knows(&self, lane: SubscriptionId) -> bool {
        self.lanes.contains_key(&lane)
    }

    pub(super) fn is_due(&self, lane: SubscriptionId, now: Instant) -> bool {
        self.lanes.get(&lane).is_some_and(|known| known.at <= now)
    }

    /// Those for whom something is due.
    pub(super) fn due(&self, now: Instant) -> impl Iterator<Item = SubscriptionId> {
        let due = self.order.iter().take_while(move |(at, _)| *at <= now);
        due.map(|(_, lane)| *lane)
    }

    /// When something becomes due for one for whom nothing is yet.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        let later = self.order.iter().find(|(at, _)| *at > now);
        later.map(|(at, _)| *at)
    }

    /// Takes over what a look at the whole schedule found, and answers who is not in it
    /// any more. Whoever is due already keeps his place among those who wait.
    pub(super) fn replace(
        &mut self,
        found: &HashMap<SubscriptionId, Instant>,
        now: Instant,
    ) -> Vec<SubscriptionId> {
        let gone = self.lanes.keys().filter(|lane| !found.contains_key(lane));
        let gone: Vec<SubscriptionId> = gone.copied().collect();
        gone.iter().for_each(|lane| self.remove(*lane));
        for (lane, at) in found {
            let known = self.lanes.get(lane);
            if known.is_none_or(|known| known.at > now) {
                let behind = known.and_then(|known| known.behind);
                self.set(*lane, *at, behind);
            }
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn lane(number: u128) -> SubscriptionId {
        SubscriptionId(Uuid::from_u128(number))
    }

    #[test]
    fn who_waits_longest_is_first_and_stands_last_when_served() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut times = DueTimes::default();
        times.set(lane(1), now - second, None);
        times.set(lane(2), now - 2 * second, None);
        times.set(lane(3), now + second, None);
        let due = |times: &DueTimes| times.due(now).collect::<Vec<_>>();
        assert_eq!(due(&times), [lane(2), lane(1)]);
        times.set(lane(2), now, None);
        assert_eq!(due(&times), [lane(1), lane(2)]);
        assert_eq!(times.next(now), Some(now + second));
        times.remove(lane(3));
        assert_eq!(times.next(now), None);
    }

    #[test]
    fn a_look_replaces_what_was_known_but_not_who_waits_already() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let behind = Behind {
            due_at: Timestamp::UNIX_EPOCH,
            id: Uuid::nil(),
        };
        let mut times = DueTimes::default();
        times.set(lane(1), now - second, Some(behind));
        times.set(lane(2), now + 2 * second, None);
        times.set(lane(3), now - 2 * second, None);
        let found = [
            (lane(1), now - 5 * second),
            (lane(2), now - 3 * second),
            (lane(4), now),
        ];
        assert_eq!(times.replace(&found.into(), now), [lane(3)]);
        let due: Vec<_> = times.due(now).collect();
        assert_eq!(due, [lane(2), lane(1), lane(4)]);
        assert_eq!(times.behind(lane(1)), Some(behind));
        times.begin_at_the_front();
        assert_eq!(times.behind(lane(1)), None);
    }
}
