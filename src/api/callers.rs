//! Who calls, by address, and how often without a valid token.
//!
//! An unknown token costs the store a look-up. The tokens of a caller that has sent many are
//! looked up together, ten times a second, and the unknown ones are answered 429. A valid
//! token is always admitted: all tenants may come through one proxy.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::Request;
use ipnet::IpNet;
use tokio::sync::oneshot;

use super::auth::{Admitted, find_tokens};
use super::error::Problem;
use super::limits::Bucket;
use super::server::Peer;
use crate::db::Store;

/// Failed authentications of one caller a second, and at once.
const RATE: f64 = 1.0;
const BURST: f64 = 20.0;
/// Callers in memory: beyond, those that have not failed lately are forgotten.
const CALLERS: usize = 10_000;
/// How long the look-ups of callers that have failed often wait, to be made together.
const TOGETHER: Duration = Duration::from_millis(100);
/// Look-ups that wait, at most.
const WAITING: usize = 10_000;

type Hash = [u8; 32];

pub struct Callers {
    trusted_proxies: Vec<IpNet>,
    failures: Mutex<HashMap<IpAddr, Bucket>>,
    waiting: Arc<Waiting>,
}

/// Tokens to be looked up together. A dropped sender: the store did not answer.
#[derive(Default)]
struct Waiting(Mutex<Vec<(Hash, oneshot::Sender<Option<Admitted>>)>>);

impl Callers {
    pub fn new(trusted_proxies: Vec<IpNet>) -> Self {
        Callers {
            trusted_proxies,
            failures: Mutex::default(),
            waiting: Arc::default(),
        }
    }

    /// Who calls, for limits: of IPv6 the network of 64 bits, which belongs to one caller.
    pub fn address(&self, request: &Request) -> IpAddr {
        network(self.origin(request))
    }

    /// The caller's address: the peer's, or the one in X-Forwarded-For where the peer is a
    /// trusted proxy.
    pub fn origin(&self, request: &Request) -> IpAddr {
        let peer = request.extensions().get::<Peer>();
        let peer = peer.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |peer| peer.0.ip());
        let forwarded = request.headers().get_all("x-forwarded-for");
        let forwarded: Vec<&str> = forwarded
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .collect();
        // Each proxy appends the address of its caller: entries before those of trusted
        // proxies are not to be relied on.
        let mut caller = peer;
        for said in forwarded.iter().rev() {
            if !self.is_trusted(caller) {
                break;
            }
            match said.trim().parse() {
                Ok(address) => caller = address,
                Err(_) => break,
            }
        }
        caller.to_canonical()
    }

    fn is_trusted(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted_proxies
            .iter()
            .any(|net| net.contains(&address))
    }

    /// Counts a failed authentication.
    pub fn failed(&self, caller: IpAddr) {
        let now = Instant::now();
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= CALLERS {
            failures.retain(|_, bucket| !bucket.is_full(now));
        }
        let bucket = failures
            .entry(caller)
            .or_insert_with(|| Bucket::full(RATE, BURST, now));
        let _beyond = bucket.take(now);
    }

    /// How long the caller is to wait where it has failed too often.
    pub fn slow_down(&self, caller: IpAddr) -> Option<Duration> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.get(&caller)?.wait(Instant::now())
    }

    /// Looks a token up together with others; `None` where it is unknown. Fails where the
    /// store does not answer or too many look-ups wait: the token may be valid.
    pub(super) async fn look_up_together(
        &self,
        store: &Store,
        hash: Hash,
    ) -> Result<Option<Admitted>, Problem> {
        let failed = || {
            Problem::unavailable(
                "store_unavailable",
                "the token cannot be looked up at the moment: try again in a few seconds",
            )
        };
        let (answer, answered) = oneshot::channel();
        let is_first = {
            let mut waiting = self
                .waiting
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if waiting.len() >= WAITING {
                return Err(failed());
            }
            waiting.push((hash, answer));
            waiting.len() == 1
        };
        if is_first {
            tokio::spawn(look_up(Arc::clone(&self.waiting), store.clone()));
        }
        answered.await.map_err(|_| failed())
    }
}

async fn look_up(waiting: Arc<Waiting>, store: Store) {
    tokio::time::sleep(TOGETHER).await;
    let waiting = {
        let mut waiting = waiting.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *waiting)
    };
    let hashes: Vec<&[u8]> = waiting.iter().map(|(hash, _)| hash.as_slice()).collect();
    let Ok(found) = find_tokens(&store, &hashes).await else {
        return;
    };
    for (hash, answer) in waiting {
        let _gone = answer.send(found.get(&hash).cloned());
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let host = u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !host))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    #[test]
    fn the_caller_is_who_the_trusted_proxies_say() {
        let callers = Callers::new(vec!["10.0.0.0/8".parse().unwrap()]);
        let address = |peer: &str, forwarded: &[&str]| {
            let mut request = Request::new(Body::empty());
            let peer = std::net::SocketAddr::new(peer.parse().unwrap(), 1);
            request.extensions_mut().insert(Peer(peer));
            for value in forwarded {
                let value = value.parse().unwrap();
                request.headers_mut().append("x-forwarded-for", value);
            }
            callers.address(&request).to_string()
        };
        assert_eq!(address("192.0.2.1", &[]), "192.0.2.1");
        assert_eq!(address("192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(address("10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        // Entries before those of trusted proxies are the caller's own.
        assert_eq!(
            address("10.0.0.1", &["1.2.3.4, 198.51.100.7", "10.0.0.2"]),
            "198.51.100.7"
        );
        assert_eq!(address("10.0.0.1", &["nonsense"]), "10.0.0.1");
        assert_eq!(
            address("::ffff:10.0.0.1", &["198.51.100.7"]),
            "198.51.100.7"
        );
        assert_eq!(address("2001:db8::1:2:3:4", &[]), "2001:db8::");
    }

    #[test]
    fn only_who_fails_often_is_slowed_down() {
        let callers = Callers::new(Vec::new());
        let one = IpAddr::V4([192, 0, 2, 1].into());
        for _ in 0..19 {
            callers.failed(one);
        }
        assert_eq!(callers.slow_down(one), None);
        callers.failed(one);
        callers.failed(one);
        assert!(callers.slow_down(one).is_some());
        assert_eq!(callers.slow_down(IpAddr::V4([192, 0, 2, 2].into())), None);
    }
}
