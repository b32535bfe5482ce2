//! Ranges of ids, which begin with the commit's milliseconds.

use jiff::Timestamp;
use uuid::Uuid;

use crate::event::{EventId, id_floor, id_milliseconds, milliseconds};

/// A range of ids: from the first inclusive to the second exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    pub from: Uuid,
    pub to: Uuid,
}

impl IdRange {
    /// Ids of events committed from `since` up to, not including, `until`, both to the
    /// millisecond, below the cursor `before`.
    pub fn new(since: Option<Timestamp>, until: Option<Timestamp>, before: Option<Uuid>) -> Self {
        let floor = |at: Timestamp| id_floor(milliseconds(at));
        IdRange {
            from: since.map_or(Uuid::nil(), floor),
            to: until
                .map_or(Uuid::max(), floor)
                .min(before.unwrap_or(Uuid::max())),
        }
    }

    /// Of the deliveries of one event, which share its millisecond.
    pub fn of_event(event: EventId) -> Self {
        let alone = IdRange {
            from: event.0,
            to: event.0,
        };
        alone.whole_milliseconds()
    }

    /// From when on, where it has a beginning.
    pub fn since(self) -> Option<Timestamp> {
        let milliseconds = id_milliseconds(self.from);
        (self.from != Uuid::nil()).then(|| at_millisecond(milliseconds))?
    }

    /// Until when, where it has an end.
    pub fn until(self) -> Option<Timestamp> {
        let milliseconds = id_milliseconds(self.to);
        (self.to != Uuid::max()).then(|| at_millisecond(milliseconds))?
    }

    /// The same to whole milliseconds, which an event and its deliveries share: ids of the
    /// one bound those of the other.
    pub fn whole_milliseconds(self) -> Self {
        let to = id_milliseconds(self.to);
        IdRange {
            from: id_floor(id_milliseconds(self.from)),
            to: match self.to == id_floor(to) {
                true => self.to,
                false => id_floor_behind(to),
            },
        }
    }
}

pub(super) fn at_millisecond(milliseconds: u64) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(milliseconds).ok()?).ok()
}

/// The smallest id after a millisecond.
fn id_floor_behind(milliseconds: u64) -> Uuid {
    match milliseconds {
        0xFFFF_FFFF_FFFF.. => Uuid::max(),
        _ => id_floor(milliseconds + 1),
    }
}
