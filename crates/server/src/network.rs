//! A network of addresses, as the configuration names those of proxies.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

/// The bits of an IPv6 address in front of the IPv4 address that it stands for, in `::ffff:0:0/96`.
const MAPPED_PREFIX: u8 = 96;

/// One address, or all that begin with the same bits.
///
/// An IPv4 address is the same whether or not it is written as an IPv6 one (`::ffff:10.0.0.1`), as it is by sockets for both
/// families. IPv4 and IPv6 have nothing else in common: `::/0` holds no IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(IpNet);

/// Why a text is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Neither an address nor one with a length of its prefix.
    #[error("{text:?} is no address and no network: write it like 10.0.0.1, 10.0.0.0/8 or fd00::/8")]
    Malformed {
        /// What was written.
        text: String,
    },
    /// It is written as if it were one of IPv4 addresses, and has others in it.
    #[error("{text:?} mixes IPv4 and IPv6 addresses: write two networks, such as 0.0.0.0/0 and ::/0")]
    Mixed {
        /// What was written.
        text: String,
    },
}

impl Network {
    /// Whether the address is one of these.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let network = match text.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => text.parse().map_err(|_| NetworkError::Malformed { text: text.to_owned() })?,
        };
        let IpNet::V6(wide) = network else { return Ok(Self(network.trunc())) };
        let Some(address) = wide.addr().to_ipv4_mapped() else { return Ok(Self(network.trunc())) };
        let narrow = wide.prefix_len().checked_sub(MAPPED_PREFIX).and_then(|length| Ipv4Net::new(address, length).ok());
        match narrow {
            Some(narrow) => Ok(Self(IpNet::V4(narrow.trunc()))),
            None => Err(NetworkError::Mixed { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a14_a_network_holds_what_it_says_and_nothing_else() {
        let rows: [(&str, &[&str], &[&str]); 12] = [
            ("0.0.0.0/0", &["0.0.0.0", "10.1.2.3", "255.255.255.255", "::ffff:10.1.2.3"], &["::1", "::", "fd00::1"]),
            ("::/0", &["::1", "::", "fd00::1", "ffff::"], &["10.1.2.3", "0.0.0.0", "::ffff:10.1.2.3"]),
            ("10.0.0.1/32", &["10.0.0.1", "::ffff:10.0.0.1"], &["10.0.0.0", "10.0.0.2", "::10.0.0.1"]),
            ("10.0.0.1", &["10.0.0.1", "::ffff:10.0.0.1"], &["10.0.0.0", "10.0.0.2"]),
            ("10.0.0.0/8", &["10.0.0.0", "10.255.255.255"], &["9.255.255.255", "11.0.0.0"]),
            ("10.7.7.7/8", &["10.0.0.0", "10.255.255.255"], &["9.255.255.255", "11.0.0.0"]),
            ("128.0.0.0/1", &["128.0.0.0", "255.0.0.0"], &["127.255.255.255"]),
            ("::ffff:10.0.0.0/104", &["10.9.9.9", "::ffff:10.9.9.9"], &["11.0.0.0", "::10.9.9.9"]),
            ("::ffff:0:0/96", &["10.9.9.9", "0.0.0.0"], &["::1", "fd00::1"]),
            ("::ffff:10.0.0.1", &["10.0.0.1"], &["10.0.0.2"]),
            ("fd00::1/128", &["fd00::1"], &["fd00::", "fd00::2"]),
            ("fd00::/8", &["fd00::1", "fdff::1"], &["fe00::1", "fc00::1"]),
        ];
        for (text, inside, outside) in rows {
            let network: Network = text.parse().expect(text);
            for address in inside {
                assert!(network.contains(address.parse().expect("an address")), "{address} is in {text}");
            }
            for address in outside {
                assert!(!network.contains(address.parse().expect("an address")), "{address} is not in {text}");
            }
        }
    }

    #[test]
    fn a14_what_is_no_network_is_refused() {
        for text in
            ["", "*", "all", "10", "10.0.0", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "::/129", "fd00::/8 ", "a/8"]
        {
            let error = text.parse::<Network>().expect_err(text);
            assert_eq!(error, NetworkError::Malformed { text: text.to_owned() });
        }
        let error = "::ffff:0:0/80".parse::<Network>().expect_err("more than IPv4");
        assert!(error.to_string().contains("0.0.0.0/0 and ::/0"), "{error}");
        assert_eq!("::ffff:10.1.2.3/104".parse::<Network>().expect("a network").to_string(), "10.0.0.0/8");
    }
}
