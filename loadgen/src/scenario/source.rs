//! Ranges of local addresses to connect from. Must not know how many of them are needed.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Consecutive addresses, written as one address or as a CIDR block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRange {
    written: String,
    first: IpAddr,
    count: u128,
}

impl SourceRange {
    /// Every usable address of the range, in order.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let first = self.first;
        (0..self.count).map_while(move |step| stepped(first, step))
    }
}

fn stepped(first: IpAddr, step: u128) -> Option<IpAddr> {
    match first {
        IpAddr::V4(address) => {
            let step = u32::try_from(step).ok()?;
            Some(Ipv4Addr::from(u32::from(address).checked_add(step)?).into())
        }
        IpAddr::V6(address) => Some(Ipv6Addr::from(u128::from(address).checked_add(step)?).into()),
    }
}

impl fmt::Display for SourceRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl FromStr for SourceRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no address range; write e.g. `127.1.0.0/24` or `10.0.0.7`");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u32>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(width);
        let host_bits = width.checked_sub(prefix).ok_or_else(wrong)?;
        let (first, count) = usable(address, host_bits);
        Ok(SourceRange { written: text.to_owned(), first, count })
    }
}

/// The first usable address and their number: the first and last of an IPv4 block are not usable.
fn usable(address: IpAddr, host_bits: u32) -> (IpAddr, u128) {
    let size = 1u128.checked_shl(host_bits).unwrap_or(u128::MAX);
    let mask = size.wrapping_sub(1);
    match address {
        IpAddr::V4(v4) => {
            let base = Ipv4Addr::from(u32::from(v4) & !(mask as u32));
            match size {
                1 | 2 => (base.into(), size),
                _ => (Ipv4Addr::from(u32::from(base) + 1).into(), size - 2),
            }
        }
        IpAddr::V6(v6) => (Ipv6Addr::from(u128::from(v6) & !mask).into(), size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &str) -> Vec<String> {
        let range: SourceRange = text.parse().unwrap();
        range.addresses().take(5).map(|a| a.to_string()).collect()
    }

    #[test]
    fn blocks_yield_their_usable_addresses() {
        assert_eq!(addresses("10.0.0.7"), ["10.0.0.7"]);
        assert_eq!(addresses("127.1.0.0/30"), ["127.1.0.1", "127.1.0.2"]);
        assert_eq!(addresses("127.1.0.9/31"), ["127.1.0.8", "127.1.0.9"]);
        assert_eq!(addresses("fd00::/126").len(), 4);
        assert_eq!(addresses("0.0.0.0/0").len(), 5);
        assert_eq!(addresses("::/0").len(), 5);
    }

    #[test]
    fn nonsense_is_refused_with_an_example() {
        for wrong in ["", "127.1", "10.0.0.0/33", "10.0.0.0/x", "fd00::/129", "host"] {
            let error = wrong.parse::<SourceRange>().unwrap_err();
            assert!(error.contains("write e.g. `127.1.0.0/24`"), "{error}");
        }
    }
}
