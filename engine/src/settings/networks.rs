//! A list of networks, as a setting names them. Owns its text form and what lies inside. Must not
//! know what those inside may do.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// Networks whose addresses are treated alike; none when empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// True when `address` lies in one of them. An IPv4 address counts as itself in whatever form
    /// the kernel gives it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// True when nothing lies inside.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for Networks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(network).collect::<Result<_, _>>().map(Self)
    }
}

fn network(part: &str) -> Result<IpNet, String> {
    let whole = part.parse::<IpAddr>().map(IpNet::from);
    whole.or_else(|_| part.parse()).map_err(|_| {
        format!("`{part}` is neither an address nor a network such as 10.0.0.0/8 or 2001:db8::/32")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(networks: &str, address: &str) -> bool {
        networks.parse::<Networks>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn an_address_lies_in_one_of_them_or_not() {
        let networks = "10.0.0.0/8, 127.0.0.1,2001:db8::/32";
        for inside in ["10.255.0.1", "127.0.0.1", "::ffff:10.1.2.3", "2001:db8:5::1"] {
            assert!(contains(networks, inside), "{inside}");
        }
        for outside in ["11.0.0.1", "127.0.0.2", "::1", "2001:db9::1"] {
            assert!(!contains(networks, outside), "{outside}");
            assert!(!contains("", outside));
        }
    }

    #[test]
    fn what_is_no_network_is_named() {
        for bad in ["10.0.0.0/33", "localhost", "10.0.0", "10.0.0.0/8;::1"] {
            assert!(bad.parse::<Networks>().unwrap_err().starts_with(&format!("`{bad}`")), "{bad}");
        }
    }
}
