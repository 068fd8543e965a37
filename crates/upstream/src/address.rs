//! The address guard's judgement: which addresses belong to the public Internet. A pure function over an address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether `address` is one that any host on the public Internet may have.
///
/// Everything else is refused for what an upstream leads to: loopback, private, link-local (with the metadata
/// services of clouds), carrier-grade NAT, multicast, reserved, documentation and benchmark ranges, and the
/// IPv6 forms that tunnel to an IPv4 address. An IPv4-mapped or NAT64 address is judged by the IPv4 address inside:
/// behind DNS64 every IPv4 host has one.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// The blocks of IPv4 that are not public, <https://www.iana.org/assignments/iana-ipv4-special-registry>.
const SPECIAL_V4: [(Ipv4Addr, u32); 15] = [
    // This network.
    (Ipv4Addr::UNSPECIFIED, 8),
    // Private.
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    // Carrier-grade NAT.
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    // Loopback.
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // Link-local, with the metadata services of clouds.
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    // Protocol assignments, and the retired relays of 6to4.
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    // Documentation.
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // Benchmarks.
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    // Multicast.
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    // Reserved, and broadcast.
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

fn is_public_v4(address: Ipv4Addr) -> bool {
    let is_in = |(block, length): &(Ipv4Addr, u32)| (address.to_bits() ^ block.to_bits()) >> (32 - length) == 0;
    !SPECIAL_V4.iter().any(is_in)
}

/// What of IPv6 is public, <https://www.iana.org/assignments/iana-ipv6-special-registry>.
fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            is_public_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
        }
        // Protocol assignments with Teredo, 2001::/23; documentation; 6to4.
        [0x2001, 0..0x200 | 0xdb8, ..] | [0x3fff, 0..0x1000, ..] | [0x2002, ..] => false,
        // Global unicast is 2000::/3. Loopback, unique local, link-local, multicast and everything unassigned is outside.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_public_internet_are_public() {
        let public = [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "2001:200::1",
            "2001:4860:4860::8888",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
        ];
        for address in public {
            assert!(is_public(address.parse().unwrap()), "{address} is public");
        }
    }

    #[test]
    fn every_special_range_is_refused() {
        let special = [
            ("this network", &["0.0.0.0", "0.255.255.255"][..]),
            (
                "private",
                &["10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.0", "192.168.255.255"],
            ),
            ("carrier-grade NAT", &["100.64.0.0", "100.127.255.255"]),
            ("loopback", &["127.0.0.1", "127.255.255.255", "::1"]),
            ("link-local", &["169.254.0.0", "169.254.169.254", "169.254.255.255", "fe80::1", "febf::1"]),
            ("protocol assignments", &["192.0.0.1", "192.88.99.1", "2001:1::1", "2001:1ff::1"]),
            ("documentation", &["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1", "3fff:fff::1"]),
            ("benchmark", &["198.18.0.0", "198.19.255.255", "2001:2::1"]),
            ("multicast", &["224.0.0.0", "239.255.255.255", "ff02::1"]),
            ("reserved and broadcast", &["240.0.0.0", "255.255.255.255", "4000::1", "e000::1"]),
            ("unspecified", &["::"]),
            ("unique local", &["fc00::1", "fd00:ec2::254", "fdff::1"]),
            ("site-local", &["fec0::1"]),
            ("IPv4-mapped", &["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0.0.0.0"]),
            ("IPv4-compatible", &["::127.0.0.1", "::8.8.8.8"]),
            ("NAT64", &["64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808"]),
            ("6to4", &["2002:7f00:1::1", "2002:808:808::1"]),
            ("Teredo", &["2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2"]),
            ("discard", &["100::1"]),
        ];
        for (range, addresses) in special {
            for address in addresses {
                assert!(!is_public(address.parse().unwrap()), "{address} is {range}");
            }
        }
    }
}
