//! Notices what becomes of tenants' deliveries, events and subscriptions while somebody looks:
//! one transaction a second for each tenant, however many look. Of a tenant at which nobody looks
//! nothing is asked.
//!
//! Nothing notifies: a NOTIFY for each delivery would make all commits of the store wait for each
//! other. What has changed is found by reading the first page of the list again.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::api::error::Problem;
use crate::conninfo::Transaction;
use crate::db::{Store, tenant_transaction};
use crate::delivery::listing::{
    self, Delivery, DeliverySearch, EventSearch, IdRange, Status, StoredEvent,
};
use crate::event::{id_floor, id_milliseconds, milliseconds};

/// Between two looks at a tenant.
const EVERY: Duration = Duration::from_secs(1);
/// Between two looks while the store does not answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a look may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// The newest deliveries and events that a look reads of each: more in a second are left out.
pub const NEWEST: i64 = 200;
/// How late an event may come into the list after its commit.
const LATE: SignedDuration = SignedDuration::from_mins(10);
/// Looks at once: the others wait, so that requests find connections.
const LOOKS: usize = 2;
/// Looks that one who looks may be late.
const LATE_LOOKS: usize = 16;
/// Streams of the process at most.
const STREAMS: usize = 200;
/// Streams of one session or token at most.
const OF_ONE: usize = 3;
/// Streams of one tenant at most.
const OF_TENANT: usize = 50;
/// Deliveries that a look reads beside the newest: those that are named, and the unfinished.
const OTHERS: usize = 1_000;

/// The tenants at which somebody looks.
pub struct Hub {
    tenants: Mutex<HashMap<Arc<str>, Arc<Watched>>>,
    looks: Semaphore,
    /// A permit for each stream that there may be.
    streams: Arc<Semaphore>,
    ending: CancellationToken,
}

/// A tenant at which somebody looks.
struct Watched {
    changes: broadcast::Sender<Arc<Look>>,
    viewers: Mutex<Viewers>,
}

#[derive(Default)]
struct Viewers {
    next: u64,
    of: HashMap<u64, Named>,
}

/// One of those who look at a tenant.
struct Named {
    who: String,
    deliveries: Vec<Uuid>,
}

/// What one look has found.
pub enum Look {
    /// Oldest first; none where there is nothing.
    Found(Vec<Change>),
    /// The store does not answer.
    Failed,
}

pub enum Change {
    Delivery {
        delivery: Box<Delivery>,
        news: News,
    },
    Event(Box<StoredEvent>),
    /// The settings or the state of a subscription are others, or it is deleted.
    Subscription(Uuid),
    /// There were too many to find all.
    Missed,
}

/// Why a delivery is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    IsNew,
    HasChanged,
    /// Of one that is named, as it is.
    IsNamed,
}

/// Somebody who looks, until it is dropped.
pub struct Viewer {
    id: u64,
    watched: Arc<Watched>,
    changes: broadcast::Receiver<Arc<Look>>,
    _permit: OwnedSemaphorePermit,
}

impl Viewer {
    /// The next look; where this one was too slow for some of them, that it has missed them.
    pub async fn next(&mut self) -> Result<Arc<Look>, Change> {
        match self.changes.recv().await {
            Ok(look) => Ok(look),
            Err(RecvError::Lagged(_)) => Err(Change::Missed),
            // Never, as this holds the sender, too.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.watched.viewers().of.remove(&self.id);
    }
}

impl Watched {
    fn viewers(&self) -> MutexGuard<'_, Viewers> {
        self.viewers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hub {
    pub fn new(ending: CancellationToken) -> Self {
        Hub {
            tenants: Mutex::default(),
            looks: Semaphore::new(LOOKS),
            streams: Arc::new(Semaphore::new(STREAMS)),
            ending,
        }
    }

    /// Ends when the process does.
    pub fn ending(&self) -> &CancellationToken {
        &self.ending
    }

    /// Looks at a tenant, and at these deliveries of it wherever they stand in the list, each of
    /// which is found at once as it is, and again when it changes. None: too many look already.
    pub fn watch(
        self: &Arc<Self>,
        store: &Store,
        tenant: &Arc<str>,
        who: &str,
        deliveries: Vec<Uuid>,
    ) -> Option<Viewer> {
        let permit = Arc::clone(&self.streams).try_acquire_owned().ok()?;
        let mut tenants = self.tenants();
        let watched = tenants.entry(Arc::clone(tenant)).or_insert_with(|| {
            let watched = Arc::new(Watched {
                changes: broadcast::channel(LATE_LOOKS).0,
                viewers: Mutex::default(),
            });
            let looking =
                Arc::clone(self).look(store.clone(), Arc::clone(tenant), Arc::clone(&watched));
            tokio::spawn(looking);
            watched
        });
        let mut viewers = watched.viewers();
        let same = viewers.of.values().filter(|one| one.who == who);
        if same.count() >= OF_ONE || viewers.of.len() >= OF_TENANT {
            return None;
        }
        let id = viewers.next;
        viewers.next += 1;
        let named = Named {
            who: who.to_owned(),
            deliveries,
        };
        viewers.of.insert(id, named);
        drop(viewers);
        Some(Viewer {
            id,
            changes: watched.changes.subscribe(),
            watched: Arc::clone(watched),
            _permit: permit,
        })
    }

    /// Looks at a tenant until nobody else does.
    async fn look(self: Arc<Self>, store: Store, tenant: Arc<str>, watched: Arc<Watched>) {
        let _looking = Looking {
            hub: &self,
            tenant: &tenant,
            watched: &watched,
        };
        let mut known = Known::default();
        let mut after = Duration::ZERO;
        loop {
            tokio::select! {
                () = self.ending.cancelled() => return,
                () = sleep(after) => {}
            }
            let Some(named) = self.named(&tenant, &watched) else {
                return;
            };
            let Ok(_turn) = self.looks.acquire().await else {
                return;
            };
            let found = timeout(DEADLINE, known.look(&store, &tenant, &named)).await;
            let found = found.unwrap_or_else(|_late| {
                Err(Problem::unavailable(
                    "late",
                    "the store did not answer in time",
                ))
            });
            let look = match found {
                Ok(changes) => {
                    after = EVERY;
                    Look::Found(changes)
                }
                Err(_) => {
                    // Requests meet the same, and log it.
                    after = PATIENCE;
                    Look::Failed
                }
            };
            let _nobody = watched.changes.send(Arc::new(look));
        }
    }

    fn tenants(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Watched>>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The deliveries that are named by those who look; none where nobody does any more, and
    /// then whoever comes next begins a task of its own.
    fn named(&self, tenant: &Arc<str>, watched: &Watched) -> Option<HashSet<Uuid>> {
        let mut tenants = self.tenants();
        let viewers = watched.viewers();
        if viewers.of.is_empty() {
            tenants.remove(tenant);
            return None;
        }
        let named = viewers.of.values().flat_map(|one| &one.deliveries);
        Some(named.copied().collect())
    }
}

/// However it ends, whoever comes next begins another.
struct Looking<'a> {
    hub: &'a Hub,
    tenant: &'a Arc<str>,
    watched: &'a Arc<Watched>,
}

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        let mut tenants = self.hub.tenants();
        let current = tenants.get(self.tenant);
        if current.is_some_and(|current| Arc::ptr_eq(current, self.watched)) {
            tenants.remove(self.tenant);
        }
    }
}

/// What the looks so far have found.
#[derive(Default)]
struct Known {
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
    async fn look(
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
        let events = listing::events(&transaction, &EventSearch::default(), ids, NEWEST).await?;
        let all = DeliverySearch::default();
        let newest =
            listing::deliveries(&transaction, &all, ids, None, Uuid::max(), NEWEST).await?;
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
