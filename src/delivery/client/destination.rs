//! Which URLs an endpoint may have.

use std::net::{IpAddr, Ipv4Addr};

use url::{Host, Url};

use super::SecurityConfig;
use super::address::{is_in, refusal};

/// Longer ones break on proxies and servers along the way.
const MAX_URL_BYTES: usize = 2048;

/// Why a URL is refused. Quotes no more of it than host, port and scheme.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UrlError {
    #[error("the URL has {0} bytes: use at most {MAX_URL_BYTES}")]
    TooLong(usize),
    #[error("this is not a URL ({0}): expected one like `https://example.com/webhooks`")]
    Malformed(#[from] url::ParseError),
    #[error("the URL must begin with `https://`")]
    NotHttps,
    #[error("the URL must begin with `https://` or `http://`")]
    NotHttp,
    #[error("the URL must not contain a user name or password: use a header for credentials")]
    UserInfo,
    #[error("the URL must not have a fragment (`#…`), as it would never be sent")]
    Fragment,
    #[error("port {0} belongs to another protocol than HTTP and is not sent to")]
    Port(u16),
    #[error(
        "port {0} is not sent to: use the port of `https://`, 443, or one that the operator admits \
         (security.allow_ports)"
    )]
    PortNotAdmitted(u16),
    #[error("the address {address} is not public ({reason})")]
    NotPublic {
        address: IpAddr,
        reason: &'static str,
    },
}

/// Checks the URL of an endpoint before it is saved. What a name resolves to is
/// judged when a request is sent; only `localhost` needs no asking (RFC 6761).
pub fn check_url(url: &str, security: &SecurityConfig) -> Result<Url, UrlError> {
    let url = parse_url(url, security)?;
    if let Some(Host::Domain(name)) = url.host() {
        let name = name.trim_end_matches('.');
        if name == "localhost" || name.ends_with(".localhost") {
            check_address(IpAddr::V4(Ipv4Addr::LOCALHOST), security)?;
        }
    }
    Ok(url)
}

/// Everything that the text alone can tell. The parser (WHATWG URL) has turned every
/// spelling of an IPv4 address into an address: decimal, octal, hexadecimal, short,
/// full-width digits, percent-encoded.
pub(super) fn parse_url(url: &str, security: &SecurityConfig) -> Result<Url, UrlError> {
    if url.len() > MAX_URL_BYTES {
        return Err(UrlError::TooLong(url.len()));
    }
    let url = Url::parse(url)?;
    match (url.scheme(), security.allow_http) {
        ("https", _) | ("http", true) => {}
        (_, false) => return Err(UrlError::NotHttps),
        (_, true) => return Err(UrlError::NotHttp),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlError::UserInfo);
    }
    if url.fragment().is_some() {
        return Err(UrlError::Fragment);
    }
    if let Some(port) = url.port().filter(|port| REFUSED_PORTS.contains(port)) {
        return Err(UrlError::Port(port));
    }
    let address = match url.host() {
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
        Some(Host::Domain(_)) => None,
        None => return Err(UrlError::Malformed(url::ParseError::EmptyHost)),
    };
    if let Some(address) = address {
        check_address(address, security)?;
    }
    if let Some(port) = port_not_admitted(&url, security) {
        let exempt = match address {
            Some(address) => is_in(address, &security.allow_networks),
            // Where there are such networks the name may lead into one.
            None => !security.allow_networks.is_empty(),
        };
        if !exempt {
            return Err(UrlError::PortNotAdmitted(port));
        }
    }
    Ok(url)
}

/// The URL's port, if it is sent to only at addresses of `security.allow_networks`. At other
/// addresses only HTTP's ports are, so that a tenant cannot have walhook scan ports.
pub(super) fn port_not_admitted(url: &Url, security: &SecurityConfig) -> Option<u16> {
    let port = url.port_or_known_default()?;
    let admitted =
        port == 443 || (port == 80 && security.allow_http) || security.allow_ports.contains(&port);
    (!admitted).then_some(port)
}

fn check_address(address: IpAddr, security: &SecurityConfig) -> Result<(), UrlError> {
    match refusal(address, &security.allow_networks) {
        Some(reason) => Err(UrlError::NotPublic { address, reason }),
        None => Ok(()),
    }
}

/// Ports where a POST could be taken for commands of another protocol: the bad ports
/// of the Fetch standard (§2.10), which no browser sends to either, and no setting admits.
#[rustfmt::skip]
const REFUSED_PORTS: [u16; 83] = [
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101,
    102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427,
    465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990,
    993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667,
    6668, 6669, 6679, 6697, 10080,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, allow_http: bool, allowed: &[&str]) -> Result<Url, UrlError> {
        let security = SecurityConfig {
            allow_http,
            allow_networks: allowed.iter().map(|net| net.parse().unwrap()).collect(),
            ..SecurityConfig::default()
        };
        check_url(url, &security)
    }

    /// Decimal, octal, hexadecimal and short IPv4, IPv4 within IPv6, zones, other scripts'
    /// digits: every spelling that the text alone can tell.
    #[test]
    fn an_internal_address_is_refused_in_every_spelling() {
        for host in [
            "127.0.0.1",
            "127.0.0.1.",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0177.0.0.1",
            "017700000001",
            "127.1",
            "127.0.1",
            "0",
            "１２７.０.０.１",
            "127。0。0。1",
            "①②⑦.0.0.1",
            "%31%32%37.0.0.1",
            "10.0.0.5",
            "169.254.169.254",
            "0xA9FEA9FE",
            "100.100.100.200",
            "168.63.129.16",
            "198.18.0.1",
            "240.0.0.1",
            "[::1]",
            "[::]",
            "[::127.0.0.1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[0:0:0:0:0:ffff:169.254.169.254]",
            "[64:ff9b::127.0.0.1]",
            "[64:ff9b:1::10.0.0.1]",
            "[2002:7f00:1::]",
            "[2001:0:53aa:64c::1]",
            "[fec0::1]",
            "[fe80::1]",
            "[fd00:ec2::254]",
            "localhost",
            "LOCALHOST.",
            "app.localhost",
        ] {
            let result = check(&format!("https://{host}/hook"), false, &[]);
            assert!(
                matches!(result, Err(UrlError::NotPublic { .. })),
                "{host}: {result:?}"
            );
        }
        for host in [
            "[fe80::1%25eth0]",
            "[fe80::1%eth0]",
            "256.1.1.1",
            "0x100.1.1.1",
            "",
            "a b",
        ] {
            let result = check(&format!("https://{host}:443/hook"), false, &[]);
            assert!(result.is_err(), "{host}: {result:?}");
        }
    }

    #[test]
    fn the_reason_is_said() {
        let error = check("https://10.0.0.5/", false, &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the address 10.0.0.5 is not public (private network)"
        );
    }

    #[test]
    fn refuses_what_is_no_endpoint() {
        let long = format!("https://example.com/{}", "x".repeat(2048));
        for (url, allow_http, error) in [
            ("http://example.com/", false, UrlError::NotHttps),
            ("ftp://example.com/", true, UrlError::NotHttp),
            ("file:///etc/passwd", true, UrlError::NotHttp),
            ("https://user@example.com/", false, UrlError::UserInfo),
            ("https://:secret@example.com/", false, UrlError::UserInfo),
            ("https://example.com/#top", false, UrlError::Fragment),
            ("https://example.com:25/", false, UrlError::Port(25)),
            ("https://example.com:0/", false, UrlError::Port(0)),
            (&long, false, UrlError::TooLong(2068)),
            (
                "example.com",
                false,
                UrlError::Malformed(url::ParseError::RelativeUrlWithoutBase),
            ),
        ] {
            assert_eq!(check(url, allow_http, &[]), Err(error), "{url}");
        }
    }

    #[test]
    fn only_ports_of_http_and_those_admitted_are_sent_to() {
        let check = |url: &str, allow_http, ports: &[u16]| {
            let security = SecurityConfig {
                allow_http,
                allow_ports: ports.to_vec(),
                allow_networks: Vec::new(),
                ..SecurityConfig::default()
            };
            check_url(url, &security).map(drop)
        };
        for port in [80, 2375, 5432, 6379, 8080, 8443, 9200, 65535] {
            for host in ["example.com", "8.8.8.8", "[2606:4700::1111]"] {
                let url = format!("https://{host}:{port}/");
                let refused = Err(UrlError::PortNotAdmitted(port));
                assert_eq!(check(&url, false, &[]), refused, "{url}");
                assert_eq!(check(&url, false, &[port]), Ok(()), "{url}");
            }
        }
        assert_eq!(check("http://example.com/", true, &[]), Ok(()));
        assert_eq!(check("http://example.com:443/", true, &[]), Ok(()));
        let another = Err(UrlError::PortNotAdmitted(8080));
        assert_eq!(check("http://example.com:8080/", true, &[]), another);
        let never = Err(UrlError::Port(25));
        assert_eq!(check("https://example.com:25/", false, &[25]), never);
        // A name may lead into a network that is admitted: that is judged when it is sent.
        let name = |url| self::check(url, false, &["10.0.0.0/8"]).map(drop);
        assert_eq!(name("https://app.internal:8443/"), Ok(()));
        let public = Err(UrlError::PortNotAdmitted(8443));
        assert_eq!(name("https://8.8.8.8:8443/"), public);
    }

    #[test]
    fn takes_what_is_one() {
        for url in [
            "https://example.com/hook?token=x",
            "https://example.com:443/",
            "https://8.8.8.8/",
            "https://[2606:4700::1111]/",
            "https://bücher.example/",
        ] {
            assert!(check(url, false, &[]).is_ok(), "{url}");
        }
        assert!(check("http://example.com/", true, &[]).is_ok());
        assert!(check("https://10.0.0.5:5432/", false, &["10.0.0.0/8"]).is_ok());
        assert!(check("https://10.0.0.5/", false, &["10.0.0.0/8"]).is_ok());
        assert!(check("https://localhost/", false, &["127.0.0.0/8"]).is_ok());
    }
}
