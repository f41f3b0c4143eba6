//! The PROXY protocol, version 1 and 2: what a load balancer says of the client before the client's
//! own first byte. Owns the header's two forms and their bounds. Must not read or trust anything:
//! it is handed the first bytes of a connection, and its caller knows who may say this.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::{FromStr, Split};

use crate::settings::choices::Versions;

/// The longest header that is read: version 2 allows 64 KiB, but what it adds to the addresses are
/// names and a certificate, which balancers keep below this.
pub const HEADER_BYTES_MAX: usize = 4096;
/// The longest line of version 1, as its specification says.
const LINE_BYTES_MAX: usize = 107;
const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const V2_FIXED_BYTES: usize = 16;

/// What the header said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the connection that were the header.
    pub bytes: usize,
    /// Where the client is; none when the balancer speaks for itself, or does not know.
    pub source: Option<IpAddr>,
}

/// Why the first bytes of a connection are no such header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// It begins in another way.
    #[error("no PROXY header of a version that proxy.protocol allows")]
    Missing,
    /// It begins well, and then is wrong.
    #[error("a malformed PROXY header")]
    Malformed,
    /// It is longer than any that balancers send.
    #[error("a PROXY header of more than {HEADER_BYTES_MAX} bytes")]
    TooLong,
}

impl Header {
    /// The header that `bytes` begin with; none while it is not whole.
    ///
    /// # Errors
    /// [`ProxyError`] as soon as it can be no header whatever follows.
    pub fn parse(bytes: &[u8], versions: Versions) -> Result<Option<Self>, ProxyError> {
        let allows = |version| versions == Versions::Any || versions == version;
        if allows(Versions::V1) && begins(bytes, V1) {
            return if bytes.len() < V1.len() { Ok(None) } else { parse_v1(bytes) };
        }
        if allows(Versions::V2) && begins(bytes, V2) {
            return parse_v2(bytes);
        }
        Err(ProxyError::Missing)
    }
}

/// True when `bytes` and `signature` agree as far as both go.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(byte, expected)| byte == expected)
}

fn parse_v1(bytes: &[u8]) -> Result<Option<Header>, ProxyError> {
    let within = bytes.get(..LINE_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = within.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < LINE_BYTES_MAX { Ok(None) } else { Err(ProxyError::Malformed) };
    };
    let line = within.get(V1.len()..end).unwrap_or_default();
    let line = str::from_utf8(line).map_err(|_| ProxyError::Malformed)?;
    let mut words = line.split(' ');
    let source = match words.next() {
        // What follows it is to be ignored.
        Some("UNKNOWN") => None,
        Some("TCP4") => Some(IpAddr::V4(endpoints(words)?)),
        Some("TCP6") => Some(IpAddr::V6(endpoints(words)?)),
        _ => return Err(ProxyError::Malformed),
    };
    Ok(Some(Header { bytes: end + 2, source }))
}

/// The source of the four words: two addresses and two ports, all of which must be right.
fn endpoints<A: FromStr>(mut words: Split<'_, char>) -> Result<A, ProxyError> {
    let mut address = || words.next()?.parse::<A>().ok();
    let (source, target) = (address(), address());
    let mut port = || words.next()?.parse::<u16>().ok();
    let ports = (port(), port());
    match (source, target, ports, words.next()) {
        (Some(source), Some(_), (Some(_), Some(_)), None) => Ok(source),
        _ => Err(ProxyError::Malformed),
    }
}

fn parse_v2(bytes: &[u8]) -> Result<Option<Header>, ProxyError> {
    let Some((fixed, rest)) = bytes.split_at_checked(V2_FIXED_BYTES) else {
        return Ok(None);
    };
    let [.., command, family, high, low] = *fixed else { return Ok(None) };
    if command >> 4 != 2 {
        return Err(ProxyError::Malformed);
    }
    let len = usize::from(u16::from_be_bytes([high, low]));
    if V2_FIXED_BYTES + len > HEADER_BYTES_MAX {
        return Err(ProxyError::TooLong);
    }
    let source = |rest: &[u8]| match (command & 0xF, family) {
        // LOCAL: the balancer asks for itself, whatever addresses it gives.
        (0, _) => Ok(None),
        (1, 0x11) => addresses::<4>(rest, 12).map(|v4| Some(Ipv4Addr::from(v4).into())),
        (1, 0x21) => addresses::<16>(rest, 36).map(|v6| Some(Ipv6Addr::from(v6).into())),
        // Unspecified, or not of the Internet: it does not know.
        (1, 0x00 | 0x12 | 0x22 | 0x31 | 0x32) => Ok(None),
        _ => Err(ProxyError::Malformed),
    };
    match rest.get(..len) {
        Some(rest) => Ok(Some(Header { bytes: V2_FIXED_BYTES + len, source: source(rest)? })),
        None => Ok(None),
    }
}

/// The source that `rest` begins with, where two addresses and two ports must be.
fn addresses<const N: usize>(rest: &[u8], block_bytes: usize) -> Result<[u8; N], ProxyError> {
    let block = rest.get(..block_bytes).ok_or(ProxyError::Malformed)?;
    block.first_chunk::<N>().copied().ok_or(ProxyError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [V2, &[command, family], &len, rest].concat()
    }

    fn parse(bytes: &[u8]) -> Result<Option<Header>, ProxyError> {
        Header::parse(bytes, Versions::Any)
    }

    /// Headers that are whole, and the source they name.
    fn good() -> Vec<(Vec<u8>, Option<&'static str>)> {
        let v4 = [10, 1, 2, 3, 127, 0, 0, 1, 0, 80, 1, 187];
        let mut v6 = [0; 36];
        (v6[0], v6[1], v6[15]) = (0x20, 0x01, 9);
        let tlvs = [&v4[..], &[0x04, 0, 2, 7, 7]].concat();
        vec![
            (b"PROXY TCP4 192.0.2.1 127.0.0.1 1024 443\r\n".to_vec(), Some("192.0.2.1")),
            (b"PROXY TCP6 2001:db8::7 ::1 1024 443\r\n".to_vec(), Some("2001:db8::7")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (v2(0x21, 0x11, &v4), Some("10.1.2.3")),
            (v2(0x21, 0x11, &tlvs), Some("10.1.2.3")),
            (v2(0x21, 0x21, &v6), Some("2001::9")),
            (v2(0x20, 0x00, &[]), None),
            (v2(0x20, 0x11, &v4), None),
            (v2(0x21, 0x00, &[]), None),
            (v2(0x21, 0x31, &[0; 216]), None),
        ]
    }

    #[test]
    fn a_header_names_the_source_and_ends_where_it_ends() {
        for (bytes, source) in good() {
            let source = source.map(|text| text.parse().unwrap());
            let header = Header { bytes: bytes.len(), source };
            assert_eq!(parse(&bytes), Ok(Some(header)), "{bytes:?}");
            let followed = [&bytes[..], b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(parse(&followed), Ok(Some(header)), "what follows is not its business");
            for cut in 0..bytes.len() {
                assert_eq!(parse(&bytes[..cut]), Ok(None), "{cut} bytes of {bytes:?}");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused_at_once() {
        for (bytes, error) in [
            (&b"GET / HTTP/1.1\r\n"[..], ProxyError::Missing),
            (b"PROXYTCP4", ProxyError::Missing),
            (b"\x16\x03\x01", ProxyError::Missing),
            (b"\r\n\r\n\0\r\nQUIZ", ProxyError::Missing),
            (b"PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n", ProxyError::Malformed),
            (b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", ProxyError::Malformed),
            (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n", ProxyError::Malformed),
            (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n", ProxyError::Malformed),
            (b"PROXY TCP4 ::1 ::1 1 2\r\n", ProxyError::Malformed),
            (b"PROXY \xFF\r\n", ProxyError::Malformed),
            (b"PROXY \r\n", ProxyError::Malformed),
            (&[&b"PROXY UNKNOWN "[..], &[b'x'; 93]].concat(), ProxyError::Malformed),
            (&v2(0x11, 0x11, &[0; 12]), ProxyError::Malformed),
            (&v2(0x22, 0x11, &[0; 12]), ProxyError::Malformed),
            (&v2(0x21, 0x13, &[0; 12]), ProxyError::Malformed),
            (&v2(0x21, 0x11, &[0; 11]), ProxyError::Malformed),
            (&v2(0x21, 0x21, &[0; 35]), ProxyError::Malformed),
            (&v2(0x21, 0x11, &[0; 5000])[..16], ProxyError::TooLong),
        ] {
            assert_eq!(parse(bytes), Err(error), "{bytes:?}");
        }
    }

    #[test]
    fn a_version_that_is_not_allowed_is_none() {
        for (bytes, _) in good() {
            let (own, other) = match bytes.starts_with(V1) {
                true => (Versions::V1, Versions::V2),
                false => (Versions::V2, Versions::V1),
            };
            assert!(Header::parse(&bytes, own).unwrap().is_some());
            assert_eq!(Header::parse(&bytes, other), Err(ProxyError::Missing));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_judged_within_the_bound(
            start in prop::sample::select(vec![V1, V2, b""]),
            rest in prop::collection::vec(any::<u8>(), 0..5000),
        ) {
            let bytes = [start, &rest].concat();
            match parse(&bytes) {
                Ok(Some(header)) => prop_assert!(header.bytes <= bytes.len().min(HEADER_BYTES_MAX)),
                Ok(None) => prop_assert!(bytes.len() < HEADER_BYTES_MAX),
                Err(_) => {}
            }
        }

        /// More bytes never change a judgement.
        #[test]
        fn a_judgement_is_final(
            at in 0..good().len(),
            flips in prop::collection::vec((0..250_usize, any::<u8>()), 0..3),
        ) {
            let mut bytes = good().swap_remove(at).0;
            for (at, byte) in flips {
                if let Some(old) = bytes.get_mut(at) {
                    *old = byte;
                }
            }
            let whole = parse(&bytes);
            for cut in 0..bytes.len() {
                let judged = parse(&bytes[..cut]);
                prop_assert!(judged == Ok(None) || judged == whole, "{} of {:?}", cut, bytes);
            }
        }
    }
}
