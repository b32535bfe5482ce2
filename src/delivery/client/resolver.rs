//! Resolves the names of endpoints and refuses those that lead inside.
//!
//! It sits in the connector: the very addresses that passed are dialled, so that no
//! second look-up can rebind the name in between.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::vec::IntoIter;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use hyper_util::client::legacy::connect::dns::Name;
use ipnet::IpNet;
use tower::Service;

use super::address::refusal;

/// Looks names up and hands out only answers that are public as a whole.
#[derive(Clone)]
pub(super) struct GuardedResolver {
    allowed: Arc<[IpNet]>,
    under_way: Arc<Mutex<HashMap<String, LookUp>>>,
}

type LookUp = Shared<BoxFuture<'static, Result<Arc<[IpAddr]>, ResolveError>>>;

/// Why a name gives no address to connect to.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum ResolveError {
    /// The address is not named: what a name means inside is not the tenant's to know.
    #[error("resolves to an address that is not public ({0})")]
    NotPublic(&'static str),
    #[error("has no address")]
    Empty,
    #[error("cannot be resolved")]
    Failed(#[source] Arc<io::Error>),
    #[error("cannot be resolved: the look-up was stopped")]
    Stopped,
}

impl GuardedResolver {
    pub(super) fn new(allowed: &[IpNet]) -> Self {
        GuardedResolver {
            allowed: allowed.into(),
            under_way: Arc::default(),
        }
    }

    /// One look-up of a name at a time, shared by all that wait for it. A look-up
    /// blocks a thread of a limited pool until the resolver gives up, even when the
    /// attempt is long over: an endpoint whose name servers hang must not take them all.
    fn look_up(&self, name: &str) -> LookUp {
        let mut under_way = self
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(look_up) = under_way.get(name) {
            return look_up.clone();
        }
        let entries = Arc::clone(&self.under_way);
        let owned = name.to_owned();
        // A task of its own, so that it ends and leaves the map although all who
        // waited have timed out. It lives as long as the system's resolver lets it.
        let task = tokio::spawn(async move {
            let result = addresses(&owned).await;
            entries
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&owned);
            result
        });
        let look_up = task
            .map(|joined| joined.unwrap_or(Err(ResolveError::Stopped)))
            .boxed()
            .shared();
        under_way.insert(name.to_owned(), look_up.clone());
        look_up
    }
}

impl Service<Name> for GuardedResolver {
    type Response = IntoIter<SocketAddr>;
    type Error = ResolveError;
    type Future = BoxFuture<'static, Result<Self::Response, ResolveError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ResolveError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let look_up = self.look_up(name.as_str());
        let allowed = Arc::clone(&self.allowed);
        Box::pin(async move {
            let addresses = look_up.await?;
            // One inside is enough to refuse all: the connector might fall back to it.
            let refused = addresses.iter().find_map(|&ip| refusal(ip, &allowed));
            if let Some(reason) = refused {
                return Err(ResolveError::NotPublic(reason));
            }
            // Port 0 stands for the URL's.
            let sockets = addresses.iter().map(|&ip| SocketAddr::new(ip, 0));
            Ok(sockets.collect::<Vec<_>>().into_iter())
        })
    }
}

async fn addresses(name: &str) -> Result<Arc<[IpAddr]>, ResolveError> {
    let found = tokio::net::lookup_host((name, 0))
        .await
        .map_err(|error| ResolveError::Failed(Arc::new(error)))?;
    let addresses: Arc<[IpAddr]> = found.map(|socket| socket.ip()).collect();
    if addresses.is_empty() {
        return Err(ResolveError::Empty);
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn resolve(resolver: &GuardedResolver, name: &str) -> Result<Vec<SocketAddr>, String> {
        let result = resolver.clone().call(name.parse().unwrap()).await;
        result.map(Iterator::collect).map_err(|e| e.to_string())
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_refused_without_saying_where() {
        let guarded = GuardedResolver::new(&[]);
        assert_eq!(
            resolve(&guarded, "localhost").await,
            Err("resolves to an address that is not public (loopback)".to_owned())
        );
        let both = ["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        let allowed = GuardedResolver::new(&both);
        let found = resolve(&allowed, "localhost").await.unwrap();
        assert!(found.iter().all(|socket| socket.ip().is_loopback()));
        assert!(allowed.under_way.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn look_ups_of_one_name_are_shared() {
        let resolver = GuardedResolver::new(&[]);
        let first = resolver.look_up("localhost");
        let second = resolver.look_up("localhost");
        assert!(first.ptr_eq(&second));
        first.await.unwrap();
        assert!(!second.ptr_eq(&resolver.look_up("localhost")));
    }
}
