//! Where browsers reach this server: in links, and what the origin of a form is compared with.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize as _, Deserializer};
use url::{Host, Url};

use super::ApiConfig;

/// Scheme, host and port, as a browser sends them in `Origin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    origin: String,
    is_secure: bool,
}

/// The text is no address that browsers can use.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PublicUrlError {
    #[error("`{0}` is not a URL: expected such as `https://hooks.example.com`")]
    Malformed(String),
    #[error("`{0}` has more than a scheme, a host and a port: leave out what follows them")]
    MoreThanOrigin(String),
    #[error(
        "`{0}` is not https: over plain http cookies would be sent in the clear, which is admitted \
         for this machine's own addresses alone"
    )]
    Plain(String),
}

impl PublicUrl {
    pub fn parse(text: &str) -> Result<Self, PublicUrlError> {
        let url = Url::parse(text).map_err(|_| PublicUrlError::Malformed(text.to_owned()))?;
        let has_host = url.host().is_some() && ["http", "https"].contains(&url.scheme());
        if !has_host {
            return Err(PublicUrlError::Malformed(text.to_owned()));
        }
        let is_bare = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if !is_bare {
            return Err(PublicUrlError::MoreThanOrigin(text.to_owned()));
        }
        let is_secure = url.scheme() == "https";
        if !is_secure && !is_of_this_machine(&url) {
            return Err(PublicUrlError::Plain(text.to_owned()));
        }
        Ok(PublicUrl {
            origin: url.origin().ascii_serialization(),
            is_secure,
        })
    }

    /// Of a server that listens here: none where other machines reach it, as cookies then need
    /// https, or where the port is not known yet.
    pub fn of_listener(listen: &str) -> Option<Self> {
        let (host, port) = listen.rsplit_once(':')?;
        if port == "0" {
            return None;
        }
        let address = listen.parse::<SocketAddr>().map(|address| address.ip());
        // Every address of a machine is its loopback too.
        match address {
            Ok(ip) if ip.is_unspecified() => Self::parse(&format!("http://127.0.0.1:{port}")).ok(),
            Ok(IpAddr::V4(_) | IpAddr::V6(_)) | Err(_) => {
                Self::parse(&format!("http://{host}:{port}")).ok()
            }
        }
    }

    /// Without a slash at its end.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    pub fn is_secure(&self) -> bool {
        self.is_secure
    }
}

fn is_of_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

impl ApiConfig {
    /// `public_url`, or where it listens, at this address where it is known. None: the console
    /// is not served.
    pub fn public_url(&self, listens: Option<SocketAddr>) -> Option<PublicUrl> {
        match (self.public_url.as_str(), listens) {
            ("", Some(address)) => PublicUrl::of_listener(&address.to_string()),
            ("", None) => PublicUrl::of_listener(&self.listen),
            (set, _) => PublicUrl::parse(set).ok(),
        }
    }
}

pub(super) fn origin_or_none<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.is_empty() {
        true => Ok(text),
        false => match PublicUrl::parse(&text) {
            Ok(url) => Ok(url.origin().to_owned()),
            Err(error) => Err(serde::de::Error::custom(error)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_read_and_anything_else_is_refused() {
        for (text, origin) in [
            ("https://hooks.example.com", "https://hooks.example.com"),
            ("https://hooks.example.com/", "https://hooks.example.com"),
            ("https://Hooks.Example.com:443", "https://hooks.example.com"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("http://localhost:1", "http://localhost:1"),
        ] {
            assert_eq!(PublicUrl::parse(text).unwrap().origin(), origin, "{text}");
        }
        for text in ["", "hooks", "ftp://a", "data:x", "https://"] {
            let error = PublicUrl::parse(text).unwrap_err();
            assert!(matches!(error, PublicUrlError::Malformed(_)), "{text}");
        }
        for text in ["https://a/b", "https://a?b", "https://a#b", "https://u:p@a"] {
            let error = PublicUrl::parse(text).unwrap_err();
            assert!(matches!(error, PublicUrlError::MoreThanOrigin(_)), "{text}");
        }
        let error = PublicUrl::parse("http://hooks.example.com").unwrap_err();
        assert!(matches!(error, PublicUrlError::Plain(_)));
    }

    #[test]
    fn a_listener_of_this_machine_is_its_own_public_url() {
        let origin = |listen| PublicUrl::of_listener(listen).map(|url| url.origin().to_owned());
        let local = Some("http://127.0.0.1:8080".to_owned());
        assert_eq!(origin("127.0.0.1:8080"), local);
        assert_eq!(origin("0.0.0.0:8080"), local);
        assert_eq!(origin("[::]:8080"), local);
        assert_eq!(origin("[::1]:8080").as_deref(), Some("http://[::1]:8080"));
        assert_eq!(
            origin("localhost:8080").as_deref(),
            Some("http://localhost:8080")
        );
        assert_eq!(origin("127.0.0.1:0"), None);
        assert_eq!(origin("10.0.0.5:8080"), None);
        assert_eq!(origin("hooks.example.com:8080"), None);
    }
}
