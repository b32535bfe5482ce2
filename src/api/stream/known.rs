//! Finds what has changed of a tenant: reads the newest page again, and compares.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::hub::{Change, NEWEST, News};
use crate::api::error::Problem;
use crate::conninfo::Transaction;
use crate::db::{Store, tenant_transaction};
use crate::delivery::listing::{
    self, Delivery, DeliverySearch, EventSearch, IdRange, Status, StoredEvent,
};
use crate::event::{id_floor, id_milliseconds, milliseconds};

/// How late an event may come into the list after its commit.
const LATE: SignedDuration = SignedDuration::from_mins(10);
/// Deliveries that a look reads beside the newest: those that are named, and the unfinished.
const OTHERS: usize = 1_000;

/// What the looks so far have found.
#[derive(Default)]
pub(super) struct Known {
    deliveries: HashMap<Uuid, Mark>,
    events: HashSet<Uuid>,
    subscriptions: HashMap<Uuid, i64>,
    /// The event that was committed last.
    newest: Option<Uuid>,
    has_begun: bool,
}

/// Where it is another, the delivery has changed.
type Mark = (Status, i32, Option<Timestamp>);

fn mark(delivery: &Delivery) -> Mark {
    (delivery.status, delivery.attempts, delivery.next_attempt_at)
}

impl Known {
    /// What is new or has changed since the last look.
    pub(super) async fn look(
        &mut self,
        store: &Store,
        tenant: &str,
        named: &HashSet<Uuid>,
    ) -> Result<Vec<Change>, Problem> {
        let mut client = store.get().await?;
        let transaction = tenant_transaction(&mut client, tenant).await?;
        let ids = IdRange {
            from: self.from(),
            to: Uuid::max(),
        };
        let marks = marks(&transaction).await?;
        // Deliveries first: what is committed meanwhile is found as an event now, and as its
        // delivery by the next look, and never the other way round.
        let all = DeliverySearch::default();
        let newest =
            listing::deliveries(&transaction, &all, ids, None, Uuid::max(), NEWEST).await?;
        let events = listing::events(&transaction, &EventSearch::default(), ids, NEWEST).await?;
        let others = self.others(&newest.rows, named);
        let others = listing::deliveries_of(&transaction, &others).await?;
        // All is read: what fails before leaves all to the next look.
        let mut changes = Vec::new();
        self.see_subscriptions(marks, &mut changes);
        self.see_events(events.rows, &mut changes);
        self.see_deliveries(newest.rows, others, &mut changes);
        self.has_begun = true;
        Ok(changes)
    }

    /// The page is looked at from here on. The first look finds how late walhook is.
    fn from(&self) -> Uuid {
        let Some(newest) = self.newest else {
            return Uuid::nil();
        };
        // A clock that is ahead must not hide what follows.
        let newest = id_milliseconds(newest).min(milliseconds(Timestamp::now()));
        let late = u64::try_from(LATE.as_millis()).unwrap_or(0);
        id_floor(newest.saturating_sub(late))
    }

    /// Those that are to be read beside the newest: what is named, and what was not finished.
    fn others(&self, newest: &[Delivery], named: &HashSet<Uuid>) -> Vec<Uuid> {
        let newest: HashSet<Uuid> = newest.iter().map(|delivery| delivery.id.0).collect();
        let unfinished = self.deliveries.iter().filter_map(|(id, (status, ..))| {
            let may_go_on = matches!(status, Status::Pending | Status::InFlight | Status::Parked);
            (may_go_on && !named.contains(id)).then_some(*id)
        });
        let others = named.iter().copied().chain(unfinished);
        let mut others: Vec<Uuid> = others.filter(|id| !newest.contains(id)).collect();
        // The same each time, the newest of those that are named first.
        others.sort_by_key(|id| std::cmp::Reverse((named.contains(id), *id)));
        others.truncate(OTHERS);
        others
    }

    fn see_deliveries(
        &mut self,
        mut newest: Vec<Delivery>,
        others: Vec<Delivery>,
        changes: &mut Vec<Change>,
    ) {
        let before = std::mem::take(&mut self.deliveries);
        let is_full = newest.len() >= usize::try_from(NEWEST).unwrap_or(usize::MAX);
        let meets = newest.iter().any(|one| before.contains_key(&one.id.0));
        if self.has_begun && is_full && !meets {
            changes.push(Change::Missed);
        }
        newest.reverse();
        self.note(newest.last().map(|one| one.event_id.0));
        let newest = newest.into_iter().map(|one| (one, true));
        let others = others.into_iter().map(|one| (one, false));
        for (delivery, is_of_page) in others.chain(newest) {
            let mark = mark(&delivery);
            self.deliveries.insert(delivery.id.0, mark);
            let news = match before.get(&delivery.id.0) {
                Some(known) if *known == mark => continue,
                Some(_) => News::HasChanged,
                None if !is_of_page => News::IsNamed,
                // The first look finds what there was before.
                None if !self.has_begun => News::IsNamed,
                None => News::IsNew,
            };
            let delivery = Box::new(delivery);
            changes.push(Change::Delivery { delivery, news });
        }
    }

    fn see_events(&mut self, events: Vec<StoredEvent>, changes: &mut Vec<Change>) {
        let before = std::mem::take(&mut self.events);
        let is_full = events.len() >= usize::try_from(NEWEST).unwrap_or(usize::MAX);
        let meets = events.iter().any(|event| before.contains(&event.id.0));
        if self.has_begun && is_full && !meets {
            changes.push(Change::Missed);
        }
        self.note(events.first().map(|event| event.id.0));
        for event in events.into_iter().rev() {
            self.events.insert(event.id.0);
            if self.has_begun && !before.contains(&event.id.0) {
                changes.push(Change::Event(Box::new(event)));
            }
        }
    }

    fn see_subscriptions(&mut self, now: HashMap<Uuid, i64>, changes: &mut Vec<Change>) {
        let before = std::mem::replace(&mut self.subscriptions, now);
        if self.has_begun {
            let changed = self.subscriptions.iter();
            let changed = changed.filter(|(id, mark)| before.get(id) != Some(mark));
            let deleted = before
                .keys()
                .filter(|id| !self.subscriptions.contains_key(id));
            let ids = changed.map(|(id, _)| id).chain(deleted);
            changes.extend(ids.map(|id| Change::Subscription(*id)));
        }
    }

    fn note(&mut self, newest: Option<Uuid>) {
        self.newest = self.newest.max(newest);
    }
}

/// What of the tenant's subscriptions may change, by their ids.
async fn marks(transaction: &Transaction<'_>) -> Result<HashMap<Uuid, i64>, Problem> {
    let sql = include_str!("../../../sql/queries/api/subscription_marks.sql");
    let rows = transaction.query(sql, &[]).await?;
    let marks = rows.iter().map(|row| (row.get("id"), row.get("mark")));
    Ok(marks.collect())
}
