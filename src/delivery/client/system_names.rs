//! What this machine says of names: /etc/hosts, and the name servers of /etc/resolv.conf
//! unless the configuration has its own.
//!
//! Endpoints' names are absolute: the `search` domains and `ndots` of resolv.conf are for
//! names that the machine's own people type. Applied to what a tenant wrote they would give
//! it a meaning inside, and ask four times in vain for each name in Kubernetes.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use serde::Deserialize;

const HOSTS: &str = "/etc/hosts";
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// As many as resolv.conf(5) lets a resolver use.
const MOST_SERVERS: usize = 3;
const PORT: u16 = 53;

/// One of `delivery.name_servers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct NameServer(pub SocketAddr);

#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is not the address of a name server: use one such as `10.0.0.2`, `10.0.0.2:5353` or `[fd00::2]:5353`"
)]
pub struct NotANameServer(String);

impl TryFrom<String> for NameServer {
    type Error = NotANameServer;

    fn try_from(text: String) -> Result<Self, NotANameServer> {
        let with_port = text.parse().ok();
        let alone = || Some(SocketAddr::new(text.parse().ok()?, PORT));
        match with_port.or_else(alone) {
            Some(address) => Ok(NameServer(address)),
            None => Err(NotANameServer(text)),
        }
    }
}

/// Read again when a file has changed: machines move between networks, and containers get
/// their files late.
pub(super) struct SystemNames {
    configured: Arc<[SocketAddr]>,
    hosts: Watched<HashMap<String, Vec<IpAddr>>>,
    servers: Watched<Arc<[SocketAddr]>>,
}

impl SystemNames {
    pub(super) fn new(configured: &[NameServer]) -> Self {
        Self::of_files(configured, HOSTS.into(), RESOLV_CONF.into())
    }

    pub(super) fn of_files(
        configured: &[NameServer],
        hosts: PathBuf,
        resolv_conf: PathBuf,
    ) -> Self {
        SystemNames {
            configured: configured.iter().map(|server| server.0).collect(),
            hosts: Watched::new(hosts, hosts_in),
            servers: Watched::new(resolv_conf, servers_in),
        }
    }

    /// The addresses of a name that no server is asked about.
    pub(super) fn host(&self, name: &str) -> Option<Vec<IpAddr>> {
        let listed = self.hosts.current().get(name).cloned();
        // RFC 6761: they mean this machine, also where the file does not say it.
        let is_local = name == "localhost" || name.ends_with(".localhost");
        let loopback = || vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        listed.or_else(|| is_local.then(loopback))
    }

    pub(super) fn servers(&self) -> Arc<[SocketAddr]> {
        if self.configured.is_empty() {
            Arc::clone(&self.servers.current())
        } else {
            Arc::clone(&self.configured)
        }
    }
}

/// What was read from a file, as of its last change.
struct Watched<T> {
    path: PathBuf,
    read: fn(&str) -> T,
    held: Mutex<(Option<Stamp>, Arc<T>)>,
}

/// When a file was changed, and how long it is; none of one that is not there.
type Stamp = Option<(SystemTime, u64)>;

impl<T> Watched<T> {
    fn new(path: PathBuf, read: fn(&str) -> T) -> Self {
        let held = Mutex::new((None, Arc::new(read(""))));
        Watched { path, read, held }
    }

    fn current(&self) -> Arc<T> {
        let described = fs::metadata(&self.path).ok();
        let stamp: Stamp = described.and_then(|file| Some((file.modified().ok()?, file.len())));
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.0 != Some(stamp) {
            let text = fs::read(&self.path).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            *held = (Some(stamp), Arc::new((self.read)(&text)));
        }
        Arc::clone(&held.1)
    }
}

/// The addresses of each name, in the order of the lines.
fn hosts_in(text: &str) -> HashMap<String, Vec<IpAddr>> {
    let mut hosts: HashMap<String, Vec<IpAddr>> = HashMap::new();
    for line in text.lines() {
        let entry = line.split('#').next().unwrap_or_default();
        let mut words = entry.split_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse) else {
            continue;
        };
        for name in words {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            hosts.entry(name).or_default().push(address);
        }
    }
    hosts
}

/// The name servers; this machine where none is named, as resolv.conf(5) has it.
fn servers_in(text: &str) -> Arc<[SocketAddr]> {
    let named = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let address = words.next().filter(|word| *word == "nameserver");
        let address: IpAddr = address.and(words.next())?.parse().ok()?;
        Some(SocketAddr::new(address, PORT))
    });
    let servers: Vec<SocketAddr> = named.take(MOST_SERVERS).collect();
    match servers.is_empty() {
        true => Arc::new([(Ipv4Addr::LOCALHOST, PORT).into()]),
        false => servers.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn name_servers_have_a_port_or_that_of_dns() {
        for (text, expected) in [
            ("10.0.0.2", Some("10.0.0.2:53")),
            ("10.0.0.2:5353", Some("10.0.0.2:5353")),
            ("fd00::2", Some("[fd00::2]:53")),
            ("[fd00::2]:5353", Some("[fd00::2]:5353")),
            ("dns.example.com", None),
            ("10.0.0.2:", None),
            ("", None),
        ] {
            let server = NameServer::try_from(text.to_owned()).ok();
            let expected = expected.map(|text| NameServer(text.parse().unwrap()));
            assert_eq!(server, expected, "{text}");
        }
    }

    #[test]
    fn hosts_are_read_as_they_are_written() {
        let hosts = hosts_in(
            "# comment\n127.0.0.1\tlocalhost # not.this\n::1 localhost ip6-localhost\n\
             10.0.0.5 Hooks.Example.com hooks\nnonsense name\n10.0.0.6\n10.0.0.7 hooks.\n",
        );
        let expected = [
            ("localhost", vec![address("127.0.0.1"), address("::1")]),
            ("ip6-localhost", vec![address("::1")]),
            ("hooks.example.com", vec![address("10.0.0.5")]),
            ("hooks", vec![address("10.0.0.5"), address("10.0.0.7")]),
        ];
        assert_eq!(
            hosts,
            expected.map(|(name, of)| (name.to_owned(), of)).into()
        );
    }

    #[test]
    fn name_servers_are_read_and_nothing_else() {
        let text = "search corp.example\noptions ndots:5 timeout:1\n;nameserver 10.0.0.9\n\
            nameserver 10.0.0.1\nnameserver fd00::1 # x\nnameserver nonsense\n\
            nameserver 10.0.0.3\nnameserver 10.0.0.4\n";
        let expected = ["10.0.0.1:53", "[fd00::1]:53", "10.0.0.3:53"];
        assert_eq!(
            *servers_in(text),
            expected.map(|text| text.parse().unwrap())
        );
        assert_eq!(*servers_in(""), ["127.0.0.1:53".parse().unwrap()]);
    }

    #[test]
    fn files_are_read_again_when_they_change_come_or_go() {
        let directory = tempfile::tempdir().unwrap();
        let (hosts, resolv_conf) = (
            directory.path().join("hosts"),
            directory.path().join("resolv.conf"),
        );
        let names = SystemNames::of_files(&[], hosts.clone(), resolv_conf.clone());
        assert_eq!(names.host("hooks"), None);
        assert_eq!(*names.servers(), ["127.0.0.1:53".parse().unwrap()]);
        fs::write(&hosts, "10.0.0.5 hooks\n").unwrap();
        fs::write(&resolv_conf, "nameserver 10.0.0.1\n").unwrap();
        assert_eq!(names.host("hooks"), Some(vec![address("10.0.0.5")]));
        assert_eq!(*names.servers(), ["10.0.0.1:53".parse().unwrap()]);
        fs::write(&hosts, "10.0.0.66 hooks\n").unwrap();
        assert_eq!(names.host("hooks"), Some(vec![address("10.0.0.66")]));
        fs::remove_file(&hosts).unwrap();
        assert_eq!(names.host("hooks"), None);
        let loopback = Some(vec![address("127.0.0.1"), address("::1")]);
        assert_eq!(names.host("localhost"), loopback);
        assert_eq!(names.host("a.localhost"), loopback);
        assert_eq!(names.host("notlocalhost"), None);

        let own = [NameServer("10.9.9.9:5353".parse().unwrap())];
        let names = SystemNames::of_files(&own, hosts, resolv_conf);
        assert_eq!(*names.servers(), [own[0].0]);
    }
}
