//! `X-Forwarded-For`: which address in the header is the client's. Must not decide which proxies
//! are trusted: it is asked only about those.

use std::net::{IpAddr, SocketAddr};

use crate::settings::networks::Networks;

/// The source of a request that came from `peer`, a trusted proxy: each proxy adds on the right
/// whom it had the request from, so the right-most address that is not trusted is the client. What
/// stands further left the client may have written itself.
#[must_use]
pub fn source(header: &str, peer: IpAddr, trusted: &Networks) -> IpAddr {
    let mut source = peer;
    for hop in header.rsplit(',').take(HOPS_MAX) {
        let Some(address) = address(hop.trim()) else { break };
        source = address;
        if !trusted.contains(address) {
            break;
        }
    }
    source
}

/// An address, as proxies write it: alone, with a port, or in brackets.
fn address(hop: &str) -> Option<IpAddr> {
    let with_port = || hop.parse::<SocketAddr>().map(|address| address.ip()).ok();
    let in_brackets = || hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let address: IpAddr = hop.parse().ok().or_else(with_port).or_else(in_brackets)?;
    Some(address.to_canonical())
}

/// Proxies one behind the other: far more than anybody has.
const HOPS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn trusted() -> Networks {
        "10.0.0.0/8, 2001:db8::/32".parse().unwrap()
    }

    fn source_of(header: &str) -> String {
        source(header, "10.0.0.1".parse().unwrap(), &trusted()).to_string()
    }

    #[test]
    fn the_right_most_that_is_not_trusted_counts() {
        for (header, expected) in [
            ("203.0.113.9", "203.0.113.9"),
            ("198.51.100.1, 203.0.113.9", "203.0.113.9"),
            ("198.51.100.1, 203.0.113.9, 10.2.3.4", "203.0.113.9"),
            ("203.0.113.9:4711", "203.0.113.9"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
            ("[2001:db9::1]:80, 2001:db8::7", "2001:db9::1"),
            ("[2001:db9::1]", "2001:db9::1"),
            ("10.9.9.9, 10.2.3.4", "10.9.9.9"),
            ("203.0.113.9, unknown, 10.2.3.4", "10.2.3.4"),
            ("unknown", "10.0.0.1"),
            ("", "10.0.0.1"),
        ] {
            assert_eq!(source_of(header), expected, "{header}");
        }
    }

    proptest! {
        /// A client may write what it likes: the proxy adds the truth behind it.
        #[test]
        fn what_a_client_writes_changes_nothing(forged in "[0-9a-z.:, \\[\\]]{0,60}") {
            prop_assert_eq!(source_of(&format!("{forged}, 203.0.113.9, 10.2.3.4")), "203.0.113.9");
        }
    }
}
