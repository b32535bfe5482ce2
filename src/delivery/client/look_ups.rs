//! The addresses of names, with what is known of them: one look-up of a name at a time,
//! each with a deadline, its result kept for a while.
//!
//! What bounds look-ups is that an attempt waits for each: there are no more than requests
//! in flight (`delivery.concurrency` and `slow_concurrency`), each with one socket. A queue
//! of their own would only let names that no server answers for hold up the others. It is for
//! those names alone: after [`UNANSWERED_AT_ONCE`] of them the rest wait.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, ready};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::dns::{self, DnsError};
use super::system_names::SystemNames;

/// For one name. A resolver that finds something does so within a second or two.
pub(super) const LOOK_UP: Duration = Duration::from_secs(3);
/// An endpoint that moves says so by a short TTL, but no burst of connections asks more
/// often than this …
const SHORTEST: Duration = Duration::from_secs(5);
/// … and one that forgot to is followed within minutes.
const LONGEST: Duration = Duration::from_secs(5 * 60);
/// Less than the first retry is away, so that it finds what was fixed meanwhile.
const FAILURE: Duration = Duration::from_secs(4);
/// Look-ups at once of names whose last one failed. They occupy the name server too, of
/// which small ones (dnsmasq) take 150 questions at a time: two for each name.
const UNANSWERED_AT_ONCE: usize = 64;
/// Names that are remembered: more than a process has endpoints, and few enough that those
/// of subscriptions that are gone cost little.
const MOST: usize = 16_384;

/// Why a name has no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LookUpError {
    #[error("has no address")]
    Empty,
    #[error("cannot be resolved: {0}")]
    Failed(DnsError),
    #[error("cannot be resolved: no name server answered within {} s", LOOK_UP.as_secs())]
    Silent,
    #[error("cannot be resolved yet: too many names are not answered for")]
    Crowded,
    #[error("cannot be resolved: the look-up was stopped")]
    Stopped,
}

type Addresses = Result<Arc<[IpAddr]>, LookUpError>;
type UnderWay = Shared<BoxFuture<'static, Addresses>>;

pub(super) struct LookUps {
    system: SystemNames,
    names: Mutex<HashMap<String, Entry>>,
    unanswered: Semaphore,
}

enum Entry {
    UnderWay(UnderWay),
    /// Also what no longer holds tells whether the name is answered for.
    Known {
        found: Addresses,
        until: Instant,
    },
}

impl LookUps {
    pub(super) fn new(system: SystemNames) -> Arc<Self> {
        Arc::new(LookUps {
            system,
            names: Mutex::default(),
            unanswered: Semaphore::new(UNANSWERED_AT_ONCE),
        })
    }

    /// The addresses of a name, which are asked for once however many wait for them.
    pub(super) fn look_up(self: &Arc<Self>, name: &str) -> UnderWay {
        // The dot says that the name is absolute, which all are.
        let name = name.strip_suffix('.').unwrap_or(name);
        if let Some(addresses) = self.system.host(name) {
            return known(Ok(addresses.into()));
        }
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let is_unanswered = match names.get(name) {
            // One that has ended has put what it found in its place, unless it panicked.
            Some(Entry::UnderWay(look_up)) if look_up.peek().is_none() => return look_up.clone(),
            Some(Entry::Known { found, until }) if *until > Instant::now() => {
                return known(found.clone());
            }
            Some(Entry::Known { found, .. }) => is_unanswered(found),
            Some(Entry::UnderWay(_)) | None => false,
        };
        make_room(&mut names);
        let look_up = self.begin(name.to_owned(), is_unanswered);
        names.insert(name.to_owned(), Entry::UnderWay(look_up.clone()));
        look_up
    }

    /// A task of its own, so that it ends and is known although all who waited are gone.
    fn begin(self: &Arc<Self>, name: String, is_unanswered: bool) -> UnderWay {
        let look_ups = Arc::clone(self);
        let task = tokio::spawn(async move {
            let result = look_ups.ask(&name, is_unanswered).await;
            let found = result.clone().map(|(addresses, _)| addresses);
            let keep = result.map_or(FAILURE, |(_, ttl)| ttl.clamp(SHORTEST, LONGEST));
            let entry = Entry::Known {
                found: found.clone(),
                until: Instant::now() + keep,
            };
            let names = &look_ups.names;
            let mut names = names.lock().unwrap_or_else(PoisonError::into_inner);
            names.insert(name, entry);
            found
        });
        task.map(|joined| joined.unwrap_or(Err(LookUpError::Stopped)))
            .boxed()
            .shared()
    }

    async fn ask(
        &self,
        name: &str,
        is_unanswered: bool,
    ) -> Result<(Arc<[IpAddr]>, Duration), LookUpError> {
        let _place = if is_unanswered {
            match timeout(LOOK_UP, self.unanswered.acquire()).await {
                Ok(place) => place.ok(),
                Err(_) => return Err(LookUpError::Crowded),
            }
        } else {
            None
        };
        let servers = self.system.servers();
        match timeout(LOOK_UP, dns::look_up(name, &servers)).await {
            Ok(Ok(found)) if found.addresses.is_empty() => Err(LookUpError::Empty),
            Ok(Ok(found)) => Ok((found.addresses.into(), found.ttl)),
            Ok(Err(error)) => Err(LookUpError::Failed(error)),
            Err(_) => Err(LookUpError::Silent),
        }
    }
}

fn is_unanswered(found: &Addresses) -> bool {
    match found {
        Ok(_) | Err(LookUpError::Empty) => false,
        Err(
            LookUpError::Failed(_)
            | LookUpError::Silent
            | LookUpError::Crowded
            | LookUpError::Stopped,
        ) => true,
    }
}

fn known(found: Addresses) -> UnderWay {
    ready(found).boxed().shared()
}

/// Forgets what no longer holds where there are too many names, and if need be the rest.
fn make_room(names: &mut HashMap<String, Entry>) {
    if names.len() < MOST {
        return;
    }
    let now = Instant::now();
    names.retain(|_, entry| match entry {
        Entry::UnderWay(_) => true,
        Entry::Known { until, .. } => *until > now,
    });
    if names.len() >= MOST {
        names.retain(|_, entry| matches!(entry, Entry::UnderWay(_)));
    }
}

#[cfg(test)]
mod tests;
