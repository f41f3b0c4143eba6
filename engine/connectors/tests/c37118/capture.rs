//! Captures of real devices, cut into what each end sent: the bytes of connections in order, and
//! datagrams. Owns its reading of pcap and pcapng, of Ethernet, IPv4, TCP and UDP. Must not know
//! C37.118, but for the length of a frame.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};

/// What one end sent to another.
pub struct Flow {
    pub is_tcp: bool,
    /// Datagrams as they were, or all bytes of a connection as one.
    pub pieces: Vec<Vec<u8>>,
}

/// The folder of captures beside the repository; none where it is not there, which is told.
pub fn folder() -> Option<PathBuf> {
    let root = Path::new(&std::env::var_os("CARGO_MANIFEST_DIR")?).parent()?.parent()?.to_owned();
    let folder = root.parent()?.join("shared/captures");
    let folder = std::env::var_os("GRIDCAST_CAPTURES").map_or(folder, PathBuf::from);
    if !folder.is_dir() {
        eprintln!("SKIPPED: replaying captures of real devices needs {}", folder.display());
        return None;
    }
    Some(folder)
}

/// Everything that was sent in a capture, in the order in which each end began.
pub fn flows(path: &Path) -> Vec<Flow> {
    let mut flows: Vec<(Ends, Collected)> = Vec::new();
    for packet in packets(&std::fs::read(path).unwrap()) {
        let Some(segment) = Segment::of(&packet) else { continue };
        let at = flows.iter().position(|(ends, _)| *ends == segment.ends).unwrap_or_else(|| {
            flows.push((segment.ends, Collected::default()));
            flows.len() - 1
        });
        flows[at].1.add(&segment);
    }
    flows.into_iter().filter_map(|(ends, collected)| collected.flow(ends.is_tcp)).collect()
}

#[derive(Clone, Copy, PartialEq)]
struct Ends {
    is_tcp: bool,
    from: SocketAddrV4,
    to: SocketAddrV4,
}

#[derive(Default)]
struct Collected {
    datagrams: Vec<Vec<u8>>,
    first_seq: Option<u32>,
    /// Segments of a connection by their distance from the first.
    segments: BTreeMap<u32, Vec<u8>>,
}

impl Collected {
    fn add(&mut self, segment: &Segment<'_>) {
        let Some(seq) = segment.seq else {
            return self.datagrams.push(segment.payload.to_vec());
        };
        let first = *self.first_seq.get_or_insert(seq);
        let distance = seq.wrapping_sub(first);
        let known = self.segments.get(&distance).map_or(0, Vec::len);
        // Half of the numbers are behind: a segment of before the first.
        if distance < 1 << 31 && segment.payload.len() > known {
            self.segments.insert(distance, segment.payload.to_vec());
        }
    }

    fn flow(self, is_tcp: bool) -> Option<Flow> {
        let mut stream = Vec::new();
        let mut end = 0;
        for (at, payload) in self.segments {
            // What was sent again is there already.
            let known = u32::saturating_sub(end, at) as usize;
            if let Some(new) = payload.get(known..) {
                stream.extend_from_slice(new);
                end = at + payload.len() as u32;
            }
        }
        let pieces = if is_tcp { vec![stream] } else { self.datagrams };
        let has_bytes = pieces.iter().any(|piece| !piece.is_empty());
        has_bytes.then_some(Flow { is_tcp, pieces })
    }
}

struct Segment<'a> {
    ends: Ends,
    /// None of a datagram.
    seq: Option<u32>,
    payload: &'a [u8],
}

impl<'a> Segment<'a> {
    fn of(packet: &'a [u8]) -> Option<Self> {
        let ip = packet.get(14..).filter(|_| packet.get(12..14) == Some(&[8, 0]))?;
        let (head, total) = (usize::from(ip[0] & 0xF) * 4, usize::from(u16_at(ip, 2)?));
        // Hosts that leave the cutting to the network card capture packets without a length.
        let ip = if total == 0 { ip } else { ip.get(..total)? };
        let body = ip.get(head..)?;
        let address = |at: usize| Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]);
        let (from, to) = (u16_at(body, 0)?, u16_at(body, 2)?);
        let is_tcp = ip[9] == 6;
        let (seq, payload) = match ip[9] {
            6 => {
                let head = usize::from(body.get(12)? >> 4) * 4;
                let seq = u32::from_be_bytes(body.get(4..8)?.try_into().ok()?);
                (Some(seq), body.get(head..)?)
            }
            17 => (None, body.get(8..usize::from(u16_at(body, 4)?))?),
            _ => return None,
        };
        let from = SocketAddrV4::new(address(12), from);
        let ends = Ends { is_tcp, from, to: SocketAddrV4::new(address(16), to) };
        let is_empty = payload.is_empty();
        (!is_empty).then_some(Self { ends, seq, payload })
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_le(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize)
}

/// The packets of a little-endian capture file.
fn packets(file: &[u8]) -> Vec<Vec<u8>> {
    let is_pcapng = file.starts_with(&[0x0A, 0x0D, 0x0D, 0x0A]);
    let mut packets = Vec::new();
    let mut at = if is_pcapng { 0 } else { 24 };
    loop {
        let next = if is_pcapng { pcapng_block(file, at) } else { pcap_record(file, at) };
        let Some((packet, end)) = next else { return packets };
        packets.extend(packet.map(<[u8]>::to_vec));
        at = end;
    }
}

type Block<'a> = Option<(Option<&'a [u8]>, usize)>;

fn pcap_record(file: &[u8], at: usize) -> Block<'_> {
    let end = at + 16 + u32_le(file, at + 8)?;
    Some((Some(file.get(at + 16..end)?), end))
}

/// Of the blocks there are, those of packets are number 6.
fn pcapng_block(file: &[u8], at: usize) -> Block<'_> {
    let end = at + u32_le(file, at + 4)?;
    let is_packet = u32_le(file, at)? == 6;
    let captured = if is_packet { u32_le(file, at + 20)? } else { 0 };
    let packet = is_packet.then(|| file.get(at + 28..at + 28 + captured)).flatten();
    Some((packet, end))
}
