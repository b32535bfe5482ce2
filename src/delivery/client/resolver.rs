//! Resolves the names of endpoints and refuses those that lead inside.
//!
//! reqwest dials from it: the very addresses that passed are connected to, so that no
//! second look-up can rebind the name in between. A host that is an address it never asks
//! about: those are judged with the URL.

use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address::{is_in, refusal};
use super::look_ups::{LookUpError, LookUps};
use super::system_names::SystemNames;

/// Hands out only answers that are public as a whole.
pub(super) struct GuardedResolver {
    allowed: Arc<[IpNet]>,
    /// Only addresses of these networks, not public ones.
    only_allowed: bool,
    look_ups: Arc<LookUps>,
}

/// Why a name gives no address to connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ResolveError {
    /// The address is not named: what a name means inside is not the tenant's to know.
    #[error("resolves to an address that is not public ({0})")]
    NotPublic(&'static str),
    /// The client of ports that are not HTTP's sends into networks that are admitted alone.
    #[error(
        "is not sent to at this port: use 443, or one that the operator admits \
         (security.allow_ports)"
    )]
    Port,
    #[error(transparent)]
    LookUp(#[from] LookUpError),
}

impl GuardedResolver {
    pub(super) fn new(allowed: &[IpNet], system: SystemNames) -> Self {
        GuardedResolver {
            allowed: allowed.into(),
            only_allowed: false,
            look_ups: LookUps::new(system),
        }
    }

    /// The same look-ups, for addresses of the allowed networks alone.
    pub(super) fn only_allowed(&self) -> Self {
        GuardedResolver {
            allowed: Arc::clone(&self.allowed),
            only_allowed: true,
            look_ups: Arc::clone(&self.look_ups),
        }
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let look_up = self.look_ups.look_up(name.as_str());
        let allowed = Arc::clone(&self.allowed);
        let only_allowed = self.only_allowed;
        Box::pin(async move {
            let addresses = look_up.await.map_err(ResolveError::from)?;
            // One inside is enough to refuse all: the connector might fall back to it.
            let refused = addresses.iter().find_map(|&ip| refusal(ip, &allowed));
            if let Some(reason) = refused {
                return Err(ResolveError::NotPublic(reason).into());
            }
            if only_allowed && !addresses.iter().all(|&ip| is_in(ip, &allowed)) {
                return Err(ResolveError::Port.into());
            }
            // Port 0 stands for the URL's.
            let sockets: Vec<_> = addresses.iter().map(|&ip| SocketAddr::new(ip, 0)).collect();
            Ok(Box::new(sockets.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    async fn resolve(resolver: &GuardedResolver, name: &str) -> Result<Vec<SocketAddr>, String> {
        let result = resolver.resolve(name.parse().unwrap()).await;
        let text = |error: Box<dyn Error + Send + Sync>| error.to_string();
        result.map(Iterator::collect).map_err(text)
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_refused_without_saying_where() {
        let directory = tempfile::tempdir().unwrap();
        let hosts = directory.path().join("hosts");
        std::fs::write(&hosts, "8.8.8.8 mixed\n10.0.0.5 mixed\n8.8.4.4 public\n").unwrap();
        let guarded = |allowed: &[&str]| {
            let allowed: Vec<IpNet> = allowed.iter().map(|net| net.parse().unwrap()).collect();
            let nowhere = directory.path().join("resolv.conf");
            let names = SystemNames::of_files(&[], hosts.clone(), nowhere);
            GuardedResolver::new(&allowed, names)
        };
        let inside = |reason| {
            let refused = format!("resolves to an address that is not public ({reason})");
            Err::<Vec<SocketAddr>, String>(refused)
        };
        let none = guarded(&[]);
        assert_eq!(resolve(&none, "localhost").await, inside("loopback"));
        assert_eq!(resolve(&none, "mixed").await, inside("private network"));
        let public = Ok(vec!["8.8.4.4:0".parse().unwrap()]);
        assert_eq!(resolve(&none, "public").await, public);

        let both = guarded(&["127.0.0.0/8", "::1/128", "10.0.0.0/8"]);
        let found = resolve(&both, "localhost").await.unwrap();
        assert!(found.iter().all(|socket| socket.ip().is_loopback()));
        assert_eq!(resolve(&both, "mixed").await.unwrap().len(), 2);
        let half = guarded(&["127.0.0.0/8"]);
        assert_eq!(resolve(&half, "localhost").await, inside("loopback"));
    }
}
