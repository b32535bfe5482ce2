//! Lists by what no index knows: the type, the answer, the error and the row. They are walked
//! in order and looked at row by row, but only so far at a time: where that is the end of a
//! page it says how far it came, and the next goes on from there.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio_postgres::Error;
use uuid::Uuid;

use super::ids::at_millisecond;
use super::{Delivery, IdRange, Place, Status, StoredEvent, walk, walk_events};
use crate::conninfo::Transaction;
use crate::delivery::client::ErrorClass;
use crate::event::id_milliseconds;
use crate::subscription::directory::type_matches;

/// Rows that are read at once, at most.
const STEP: i64 = 500;
/// A step that took less is followed by one of twice as many rows: what a row costs depends on
/// how many subscriptions the tenant has, as each is walked by itself.
const QUICK: Duration = Duration::from_millis(100);
/// Rows that are looked at for a page at most.
const LOOKED_AT: usize = 20_000;
/// For how long they are looked at.
const TIME: Duration = Duration::from_secs(1);

/// HTTP statuses from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpStatuses {
    first: i16,
    last: i16,
}

impl HttpStatuses {
    /// Reads `404`, or `5xx` for all from 500 to 599.
    pub fn parse(text: &str) -> Option<Self> {
        let is_http = |status: i16| (100..=599).contains(&status);
        let (first, last) = match text.strip_suffix("xx") {
            Some(hundreds) if hundreds.len() == 1 => {
                let first = hundreds.parse::<i16>().ok()? * 100;
                (first, first + 99)
            }
            Some(_) => return None,
            None if text.len() == 3 => {
                let status = text.parse().ok()?;
                (status, status)
            }
            None => return None,
        };
        is_http(first).then_some(HttpStatuses { first, last })
    }

    fn contains(self, status: i16) -> bool {
        (self.first..=self.last).contains(&status)
    }
}

/// What deliveries are listed by; nothing: all of them.
#[derive(Clone, Debug, Default)]
pub struct DeliverySearch {
    pub status: Option<Status>,
    pub subscription: Option<Uuid>,
    /// A type, or `prefix.*`.
    pub event_type: Option<String>,
    /// Of the last answer.
    pub http: Option<HttpStatuses>,
    /// Of the last attempt.
    pub error: Option<ErrorClass>,
    /// The key of the event's row, with or without its table before it.
    pub row: Option<String>,
}

impl DeliverySearch {
    /// The state that the walk itself finds.
    fn walked(&self) -> Option<Status> {
        self.status
            .filter(|status| !matches!(status, Status::Delivered | Status::Cancelled))
    }

    fn is_walk(&self) -> bool {
        self.walked() == self.status
            && self.event_type.is_none()
            && self.http.is_none()
            && self.error.is_none()
            && self.row.is_none()
    }

    fn admits(&self, row: &Delivery) -> bool {
        let matches = |pattern: &String| type_matches(pattern, &row.event_type);
        let answered = |http: HttpStatuses| {
            row.last_http_status
                .is_some_and(|status| http.contains(status))
        };
        self.status.is_none_or(|status| status == row.status)
            && self.event_type.as_ref().is_none_or(matches)
            && self.http.is_none_or(answered)
    }

    /// Those of the rows that are looked for.
    async fn matching(
        &self,
        transaction: &Transaction<'_>,
        mut rows: Vec<Delivery>,
    ) -> Result<Vec<Delivery>, Error> {
        rows.retain(|row| self.admits(row));
        if rows.is_empty() || self.error.is_none() && self.row.is_none() {
            return Ok(rows);
        }
        let ids: Vec<Uuid> = rows.iter().map(|row| row.id.0).collect();
        let matching = transaction
            .query(
                include_str!("../../../sql/queries/delivery/match_deliveries.sql"),
                &[&ids, &self.error.map(ErrorClass::as_str), &self.row],
            )
            .await?;
        let matching: HashSet<Uuid> = matching.iter().map(|row| row.get("id")).collect();
        rows.retain(|row| matching.contains(&row.id.0));
        Ok(rows)
    }
}

/// What events are listed by; nothing: all of them.
#[derive(Clone, Debug, Default)]
pub struct EventSearch {
    /// Any of these: types, `prefix.*` or `*`; empty: all.
    pub types: Vec<String>,
    /// The key of its row, with or without its table before it.
    pub row: Option<String>,
}

impl EventSearch {
    fn is_walk(&self) -> bool {
        self.types.is_empty() && self.row.is_none()
    }

    fn admits(&self, event: &StoredEvent) -> bool {
        let named = |pattern: &String| type_matches(pattern, &event.event_type);
        let keyed = |row: &String| {
            let key = event.row_key.split_once(':').map(|(_table, key)| key);
            *row == event.row_key || Some(row.as_str()) == key
        };
        (self.types.is_empty() || self.types.iter().any(named))
            && self.row.as_ref().is_none_or(keyed)
    }
}

/// A page of what was found.
#[derive(Debug)]
pub struct Found<T, P> {
    pub rows: Vec<T>,
    /// After which the next page begins; none: this is the last.
    pub next: Option<P>,
    /// The search ended here before the page was full: whatever was committed later was
    /// looked at.
    pub searched_to: Option<Timestamp>,
}

/// Deliveries, the newest events first, after `before`.
pub async fn deliveries(
    transaction: &Transaction<'_>,
    search: &DeliverySearch,
    ids: IdRange,
    mut before: Option<Place>,
    low_water: Uuid,
    limit: i64,
) -> Result<Found<Delivery, Place>, Error> {
    let mut pages = Pages::new(limit, search.is_walk());
    loop {
        let (status, step) = (search.walked(), pages.step);
        let rows = walk(
            transaction,
            status,
            search.subscription,
            ids,
            before,
            low_water,
            step,
        )
        .await?;
        pages.looked_at(rows.len());
        before = rows.last().map(place).or(before);
        pages.add(search.matching(transaction, rows).await?);
        if pages.have_ended() {
            let at = before.map(|place| place.event);
            return Ok(pages.found(place, before, at));
        }
    }
}

fn place(row: &Delivery) -> Place {
    Place {
        event: row.event_id.0,
        delivery: row.id.0,
    }
}

/// Events without their bodies, the newest first.
pub async fn events(
    transaction: &Transaction<'_>,
    search: &EventSearch,
    mut ids: IdRange,
    limit: i64,
) -> Result<Found<StoredEvent, Uuid>, Error> {
    let mut pages = Pages::new(limit, search.is_walk());
    loop {
        let mut rows = walk_events(transaction, ids, pages.step).await?;
        pages.looked_at(rows.len());
        ids.to = rows.last().map_or(ids.to, |row| row.id.0);
        rows.retain(|row| search.admits(row));
        pages.add(rows);
        if pages.have_ended() {
            return Ok(pages.found(|row| row.id.0, Some(ids.to), Some(ids.to)));
        }
    }
}

/// The steps of a search.
struct Pages<T> {
    found: Vec<T>,
    limit: i64,
    /// Rows to read next: one more than the page has shows that there is another.
    step: i64,
    /// Each row is what is looked for.
    is_walk: bool,
    looked_at: usize,
    began: Instant,
    step_began: Instant,
    /// The last step has met the last row.
    exhausted: bool,
}

impl<T> Pages<T> {
    fn new(limit: i64, is_walk: bool) -> Self {
        Pages {
            found: Vec::new(),
            limit,
            step: limit + 1,
            is_walk,
            looked_at: 0,
            began: Instant::now(),
            step_began: Instant::now(),
            exhausted: false,
        }
    }

    fn looked_at(&mut self, rows: usize) {
        self.looked_at += rows;
        self.exhausted = i64::try_from(rows).is_ok_and(|rows| rows < self.step);
        if !self.is_walk && self.step_began.elapsed() < QUICK {
            self.step = (self.step * 2).min(STEP).max(self.step);
        }
        self.step_began = Instant::now();
    }

    fn add(&mut self, rows: Vec<T>) {
        self.found.extend(rows);
    }

    /// There is a whole page, and the first of the next.
    fn is_full(&self) -> bool {
        i64::try_from(self.found.len()).is_ok_and(|found| found > self.limit)
    }

    fn have_ended(&self) -> bool {
        self.exhausted
            || self.is_full()
            || self.looked_at >= LOOKED_AT
            || self.began.elapsed() >= TIME
    }

    /// `last` was looked at last, of an event with the id `at`.
    fn found<P>(mut self, place: fn(&T) -> P, last: Option<P>, at: Option<Uuid>) -> Found<T, P> {
        if self.is_full() {
            self.found
                .truncate(usize::try_from(self.limit).unwrap_or_default());
            let next = self.found.last().map(place);
            return Found {
                rows: self.found,
                next,
                searched_to: None,
            };
        }
        let searched_to = at.filter(|_| !self.exhausted);
        Found {
            rows: self.found,
            next: last.filter(|_| !self.exhausted),
            searched_to: searched_to.and_then(|id| at_millisecond(id_milliseconds(id))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_one_or_a_hundred() {
        let range = |first, last| Some(HttpStatuses { first, last });
        for (text, expected) in [
            ("404", range(404, 404)),
            ("5xx", range(500, 599)),
            ("1xx", range(100, 199)),
            ("0xx", None),
            ("9xx", None),
            ("xx", None),
            ("55xx", None),
            ("-1", None),
            ("-5xx", None),
            ("99", None),
            ("600", None),
            ("ok", None),
            ("", None),
        ] {
            assert_eq!(HttpStatuses::parse(text), expected, "{text}");
        }
    }
}
