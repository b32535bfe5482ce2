//! Ranges of ids, which begin with the commit's milliseconds.

use jiff::Timestamp;
use uuid::Uuid;

use crate::event::{EventId, id_floor, id_milliseconds, milliseconds};

/// How far back a page looks first. The busiest tenants have a page in it, and of others with
/// many subscriptions one partition of each is read.
const FIRST_SPAN_MS: u64 = 15 * 60_000;
/// Each further span is so many times as long: a page takes five at most.
const FACTOR: u64 = 8;
/// The last one goes back to the beginning.
const SPANS: u32 = 5;

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

    /// The range in spans, the newest first and each longer than the one before: a page that ends
    /// in the first does not read the other days' partitions for every subscription.
    pub(super) fn newest_first(self) -> impl Iterator<Item = IdRange> {
        // What a clock that is ahead has written is above now.
        let now = milliseconds(Timestamp::now());
        let mut end = id_milliseconds(self.to).min(now);
        let mut to = self.to;
        let mut spans = 0;
        std::iter::from_fn(move || {
            if spans == SPANS || to <= self.from {
                return None;
            }
            let length = FIRST_SPAN_MS * FACTOR.pow(spans);
            spans += 1;
            end = end.saturating_sub(length);
            let from = match spans == SPANS {
                true => self.from,
                false => id_floor(end).max(self.from),
            };
            let span = IdRange { from, to };
            to = from;
            Some(span)
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_meet_and_cover_the_range() {
        let now = milliseconds(Timestamp::now());
        let day = 86_400_000;
        for (from, to) in [
            (Uuid::nil(), Uuid::max()),
            (Uuid::nil(), id_floor(now - 40 * day)),
            (id_floor(now - day), Uuid::max()),
            (id_floor(now + day), id_floor(now + 2 * day)),
            (id_floor(now - day), id_floor(now - day + 1)),
            (Uuid::nil(), id_floor(1)),
        ] {
            let range = IdRange { from, to };
            let spans: Vec<IdRange> = range.newest_first().collect();
            assert!(!spans.is_empty() && spans.len() <= SPANS as usize);
            assert_eq!((spans[0].to, spans[spans.len() - 1].from), (to, from));
            for pair in spans.windows(2) {
                assert_eq!(pair[0].from, pair[1].to, "{spans:?}");
            }
            assert!(spans.iter().all(|span| span.from < span.to), "{spans:?}");
        }
        let nothing = IdRange {
            from: id_floor(now),
            to: id_floor(now),
        };
        assert_eq!(nothing.newest_first().count(), 0);
    }
}
