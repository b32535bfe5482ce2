//! Servers that a connection string names: one for each host.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::ConnInfoError;
use super::settings::Settings;

/// One server that may be tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A host name, an address, or the directory of a Unix socket.
    pub host: String,
    /// Spares the lookup; `host` is still what a certificate is checked against.
    pub hostaddr: Option<IpAddr>,
    pub port: u16,
}

impl Endpoint {
    /// The socket's path, for an endpoint on this machine.
    pub fn unix_socket(&self) -> Option<PathBuf> {
        self.host
            .starts_with('/')
            .then(|| Path::new(&self.host).join(format!(".s.PGSQL.{}", self.port)))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Where a server of this machine listens: Debian's place, then PostgreSQL's own.
pub(super) const SOCKET_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// One endpoint for each host, or for each address where there are no names.
pub(super) fn endpoints(settings: &Settings) -> Result<Vec<Endpoint>, ConnInfoError> {
    let hosts = settings.list("host");
    let addresses = settings
        .list("hostaddr")
        .into_iter()
        .map(|text| match text {
            "" => Ok(None),
            text => text
                .parse::<IpAddr>()
                .map(Some)
                .map_err(|_| ConnInfoError::Invalid {
                    name: "hostaddr",
                    expected: "an IPv4 or IPv6 address for each host",
                }),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let ports = settings
        .list("port")
        .into_iter()
        .map(|text| match text {
            "" => Ok(5432),
            text => text.parse::<u16>().ok().filter(|port| *port > 0).ok_or(
                ConnInfoError::Invalid {
                    name: "port",
                    expected: "numbers from 1 to 65535 (in a URL, a `:` `/` `?` or `#` of the password is written `%3A` `%2F` `%3F` `%23`)",
                },
            ),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let count = hosts.len().max(addresses.len()).max(1);
    let fits = |length: usize| length <= 1 || length == count;
    if !(hosts.is_empty() || hosts.len() == count)
        || !(addresses.is_empty() || addresses.len() == count)
    {
        return Err(ConnInfoError::Invalid {
            name: "hostaddr",
            expected: "as many addresses as there are hosts",
        });
    }
    if !fits(ports.len()) {
        return Err(ConnInfoError::Invalid {
            name: "port",
            expected: "one port, or as many as there are hosts",
        });
    }
    Ok((0..count)
        .map(|index| {
            let hostaddr = addresses.get(index).copied().flatten();
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
            let host = match hosts.get(index).copied().filter(|host| !host.is_empty()) {
                Some(host) => host.to_owned(),
                None => hostaddr.map_or_else(|| default_host(port), |address| address.to_string()),
            };
            Endpoint {
                host,
                hostaddr,
                port,
            }
        })
        .collect())
}

/// A socket of this machine where one exists, else `localhost`.
fn default_host(port: u16) -> String {
    SOCKET_DIRECTORIES
        .into_iter()
        .find(|directory| {
            Path::new(directory)
                .join(format!(".s.PGSQL.{port}"))
                .exists()
        })
        .unwrap_or("localhost")
        .to_owned()
}
