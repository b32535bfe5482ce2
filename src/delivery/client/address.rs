//! Which addresses a webhook may be sent to: only those that anybody could reach.
//!
//! A tenant's URL must not make walhook speak to its own network: cloud metadata,
//! databases, the application itself. IPv4 refuses what IANA's special-purpose
//! registry reserves, and clouds' own services at public addresses; IPv6 admits only
//! 2000::/3 without its reserved parts. Forms that carry an IPv4 address are judged
//! by that address where they lead to it, and refused where they are obsolete.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Why walhook does not send to this address, or none if it may. `allowed` are the
/// networks of `security.allow_networks`.
pub(super) fn refusal(address: IpAddr, allowed: &[IpNet]) -> Option<&'static str> {
    if is_in(address, allowed) {
        return None;
    }
    match reached(address) {
        IpAddr::V4(v4) => refusal_v4(v4),
        IpAddr::V6(v6) => refusal_v6(v6),
    }
}

/// Whether one of the networks has the address that a connection to it reaches.
pub(super) fn is_in(address: IpAddr, networks: &[IpNet]) -> bool {
    let reached = reached(address);
    networks.iter().any(|network| network.contains(&reached))
}

fn reached(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => embedded_v4(v6).map_or(address, IpAddr::V4),
    }
}

/// The IPv4 address that a connection to this IPv6 address reaches: of an
/// IPv4-mapped one by the socket layer, of NAT64's well-known prefix (RFC 6052) by
/// the network's translator. Behind NAT64 every IPv4-only endpoint looks like that.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, high, low] = address.segments();
    let mapped = [a, b, c, d, e, f] == [0, 0, 0, 0, 0, 0xffff];
    let nat64 = [a, b, c, d, e, f] == [0x64, 0xff9b, 0, 0, 0, 0];
    (mapped || nat64).then(|| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
}

fn refusal_v4(address: Ipv4Addr) -> Option<&'static str> {
    Some(match address.octets() {
        [0, ..] => "this network",
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => "private network",
        [100, 64..=127, ..] => "shared address space of a carrier or cloud",
        [127, ..] => "loopback",
        [169, 254, ..] => "link-local, where clouds serve their metadata",
        [168, 63, 129, 16] => "platform service of a cloud",
        [192, 0, 0, _] | [192, 88, 99, _] | [192, 52, 193, _] => "protocol assignment",
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => "documentation",
        [192, 31, 196, _] | [192, 175, 48, _] => "DNS black hole",
        [198, 18..=19, ..] => "benchmarking",
        [224..=239, ..] => "multicast",
        [240..=255, ..] => "reserved",
        _ => return None,
    })
}

fn refusal_v6(address: Ipv6Addr) -> Option<&'static str> {
    Some(match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => "unspecified",
        [0, 0, 0, 0, 0, 0, 0, 1] => "loopback",
        [0, 0, 0, 0, 0, 0, _, _] => "IPv4-compatible, obsolete",
        [0x64, 0xff9b, 1, ..] => "NAT64 of a private network",
        [0xfc00..=0xfdff, ..] => "private network",
        [0xfe80..=0xfebf, ..] => "link-local",
        [0xfec0..=0xfeff, ..] => "site-local, obsolete",
        [0xff00..=0xffff, ..] => "multicast",
        [0x2001, 0, ..] => "Teredo",
        [0x2001, 1..=0x1ff, ..] => "protocol assignment",
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => "documentation",
        [0x2002, ..] => "6to4, obsolete",
        [0x2620, 0x4f, 0x8000, ..] => "DNS black hole",
        [0x2000..=0x3fff, ..] => return None,
        _ => "not assigned to the public Internet",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(address: &str, allowed: &[&str]) -> Option<&'static str> {
        let allowed: Vec<IpNet> = allowed.iter().map(|net| net.parse().unwrap()).collect();
        refusal(address.parse().unwrap(), &allowed)
    }

    #[test]
    fn only_public_addresses_pass() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.5",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "168.63.129.16",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::8.8.8.8",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::8.8.8.8",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:808:808::1",
            "3fff::1",
            "4000::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(refused(address, &[]).is_some(), "{address}");
        }
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.1",
            "126.255.255.255",
            "128.0.0.1",
            "168.63.129.15",
            "169.253.1.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.167.1.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "2a00:1450::1",
        ] {
            assert_eq!(refused(address, &[]), None, "{address}");
        }
    }

    #[test]
    fn an_allowed_network_is_exempt_in_every_form_and_nothing_else_is() {
        assert_eq!(refused("10.1.2.3", &["10.1.0.0/16"]), None);
        assert_eq!(refused("::ffff:10.1.2.3", &["10.1.0.0/16"]), None);
        assert_eq!(refused("fd12::1", &["fd12::/16"]), None);
        assert!(refused("10.2.0.1", &["10.1.0.0/16"]).is_some());
        assert!(refused("127.0.0.1", &["10.0.0.0/8", "::/0"]).is_some());
        assert!(refused("::ffff:127.0.0.1", &["::ffff:0:0/96"]).is_some());
        assert!(refused("64:ff9b::7f00:1", &["64:ff9b::/96"]).is_some());
    }
}
