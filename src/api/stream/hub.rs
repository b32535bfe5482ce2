//! Finds what changes of tenants' deliveries, events and subscriptions: one transaction a second
//! for each tenant that has viewers, however many these are, and none for other tenants.
//!
//! Nothing notifies: a NOTIFY for each delivery would make all commits of the store wait for each
//! other. What has changed is found by reading the first page of the list again.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::known::Known;
use crate::api::error::Problem;
use crate::db::Store;
use crate::delivery::listing::{Delivery, StoredEvent};

/// Between two looks at a tenant.
const EVERY: Duration = Duration::from_secs(1);
/// Between two looks while the store does not answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a look may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// The newest deliveries and events that a look reads of each: more in a second are left out.
pub const NEWEST: i64 = 200;
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

    /// Looks at a tenant once a second until it has no viewer.
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

    /// The deliveries that viewers name; none where there is no viewer left: then the task ends,
    /// and the next viewer starts another.
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

/// Removes the tenant however the task ends, so that the next viewer starts another.
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
