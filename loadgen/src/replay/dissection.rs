//! The contents of a captured packet: a UDP datagram, a TCP segment, or neither. etherparse reads
//! the headers; the packet is untrusted input. Must not look at payloads.

use std::net::{IpAddr, SocketAddr};

use etherparse::{EtherType, NetSlice, SlicedPacket, TransportSlice};
use pcap_file::DataLink;

use crate::replay::capture_file::Packet;
use crate::replay::skipped::Skip;

/// The contents of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried<'p> {
    /// A UDP datagram.
    Datagram {
        /// The sender.
        from: IpAddr,
        /// Its payload.
        bytes: &'p [u8],
    },
    /// A TCP segment.
    Segment(Segment<'p>),
}

/// A segment of one direction of a TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'p> {
    /// The sender.
    pub from: SocketAddr,
    /// The receiver.
    pub to: SocketAddr,
    /// Its sequence number.
    pub seq: u32,
    /// Whether it starts the direction (SYN).
    pub is_first: bool,
    /// Whether it ends the direction (FIN or RST).
    pub is_last: bool,
    /// Its payload.
    pub bytes: &'p [u8],
}

/// Reads the headers of a packet.
///
/// # Errors
/// Why the packet is not used.
pub fn carried<'p>(packet: &Packet<'p>) -> Result<Carried<'p>, Skip> {
    if packet.is_cut {
        return Err(Skip::CutShort);
    }
    let sliced = sliced(packet.link, packet.bytes)?;
    if sliced.is_ip_payload_fragmented() {
        return Err(Skip::Fragment);
    }
    let (source, destination): (IpAddr, IpAddr) = match &sliced.net {
        Some(NetSlice::Ipv4(ip)) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        Some(NetSlice::Ipv6(ip)) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        _ => return Err(Skip::Other),
    };
    match sliced.transport {
        Some(TransportSlice::Udp(udp)) => {
            Ok(Carried::Datagram { from: source, bytes: udp.payload() })
        }
        Some(TransportSlice::Tcp(tcp)) => Ok(Carried::Segment(Segment {
            from: SocketAddr::new(source, tcp.source_port()),
            to: SocketAddr::new(destination, tcp.destination_port()),
            seq: tcp.sequence_number(),
            is_first: tcp.syn(),
            is_last: tcp.fin() || tcp.rst(),
            bytes: tcp.payload(),
        })),
        _ => Err(Skip::Other),
    }
}

fn sliced(link: DataLink, bytes: &[u8]) -> Result<SlicedPacket<'_>, Skip> {
    let sliced = match link {
        DataLink::ETHERNET => SlicedPacket::from_ethernet(bytes),
        DataLink::RAW | DataLink::IPV4 | DataLink::IPV6 => SlicedPacket::from_ip(bytes),
        DataLink::NULL | DataLink::LOOP => {
            SlicedPacket::from_ip(bytes.get(4..).unwrap_or_default())
        }
        // etherparse reads cooked headers of Ethernet devices only; loopback devices use them too.
        DataLink::LINUX_SLL => return cooked(bytes, 14, 16),
        DataLink::LINUX_SLL2 => return cooked(bytes, 0, 20),
        _ => return Err(Skip::Link),
    };
    sliced.map_err(|_| Skip::Malformed)
}

/// A packet whose header has its payload type at `type_at`.
fn cooked(bytes: &[u8], type_at: usize, header_bytes: usize) -> Result<SlicedPacket<'_>, Skip> {
    let kind = bytes.get(type_at..).and_then(|bytes| bytes.first_chunk::<2>());
    let (kind, payload) = kind.zip(bytes.get(header_bytes..)).ok_or(Skip::Malformed)?;
    let kind = EtherType(u16::from_be_bytes(*kind));
    SlicedPacket::from_ether_type(kind, payload).map_err(|_| Skip::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{IpNumber, PacketBuilder, VlanId};
    use proptest::prelude::*;

    const FROM: [u8; 4] = [10, 0, 0, 1];
    const TO: [u8; 4] = [10, 0, 0, 2];

    fn packet(link: DataLink, bytes: &[u8]) -> Packet<'_> {
        Packet { at_ns: Some(1), link, bytes, is_cut: false }
    }

    /// A datagram in plain IP.
    fn datagram() -> Vec<u8> {
        let mut bytes = Vec::new();
        PacketBuilder::ipv4(FROM, TO, 9).udp(4713, 4713).write(&mut bytes, b"abc").unwrap();
        bytes
    }

    #[test]
    fn datagrams_are_found_below_every_link_layer() {
        let ip = datagram();
        let mut tagged = Vec::new();
        PacketBuilder::ethernet2([1; 6], [2; 6])
            .single_vlan(VlanId::try_new(7).unwrap())
            .ipv4(FROM, TO, 9)
            .udp(4713, 4713)
            .write(&mut tagged, b"abc")
            .unwrap();
        let cooked = [&[0; 14][..], &[8, 0], &ip].concat();
        let cooked2 = [&[8, 0][..], &[0; 18], &ip].concat();
        let loopback = [&[2, 0, 0, 0][..], &ip].concat();
        for (link, bytes) in [
            (DataLink::RAW, &ip),
            (DataLink::ETHERNET, &tagged),
            (DataLink::LINUX_SLL, &cooked),
            (DataLink::LINUX_SLL2, &cooked2),
            (DataLink::NULL, &loopback),
        ] {
            let expected = Carried::Datagram { from: FROM.into(), bytes: b"abc" };
            assert_eq!(carried(&packet(link, bytes)), Ok(expected), "{link:?}");
        }
    }

    #[test]
    fn segments_come_with_their_ends_and_numbers() {
        let mut bytes = Vec::new();
        let builder = PacketBuilder::ipv6([1; 16], [2; 16], 9).tcp(4712, 5000, 77, 100);
        builder.fin().write(&mut bytes, b"abc").unwrap();
        let Ok(Carried::Segment(segment)) = carried(&packet(DataLink::RAW, &bytes)) else {
            panic!("no segment");
        };
        assert_eq!((segment.from.port(), segment.to.port(), segment.seq), (4712, 5000, 77));
        assert_eq!((segment.is_first, segment.is_last, segment.bytes), (false, true, &b"abc"[..]));
    }

    #[test]
    fn what_is_of_no_use_is_told_apart() {
        let ip = datagram();
        let cut = Packet { is_cut: true, ..packet(DataLink::RAW, &ip) };
        assert_eq!(carried(&cut), Err(Skip::CutShort));
        assert_eq!(carried(&packet(DataLink::IEEE802_11, &ip)), Err(Skip::Link));
        assert_eq!(carried(&packet(DataLink::RAW, &ip[..10])), Err(Skip::Malformed));
        let mut fragment = ip.clone();
        fragment[6] |= 0x20;
        assert_eq!(carried(&packet(DataLink::RAW, &fragment)), Err(Skip::Fragment));
        let mut other = ip;
        other[9] = IpNumber::SCTP.0;
        assert_eq!(carried(&packet(DataLink::RAW, &other)), Err(Skip::Other));
        let arp = [&[0xFF; 12][..], &[8, 6], &[0; 28]].concat();
        assert!(carried(&packet(DataLink::ETHERNET, &arp)).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            link in prop::sample::select(vec![0u32, 1, 101, 113, 276, 12345]),
            change in any::<(prop::sample::Index, u8)>(),
            tail in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut bytes = [datagram(), tail].concat();
            let at = change.0.index(bytes.len());
            bytes[at] = change.1;
            let _ = carried(&packet(DataLink::from(link), &bytes)).is_ok(); // any answer will do
        }
    }
}
