//! Reads the packets of a capture file, pcap or pcapng, with their capture instants. The file is
//! untrusted input. Must not know what is in a packet.

use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::ops::ControlFlow;

use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::PcapNgReader;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::{
    ENHANCED_PACKET_BLOCK, INTERFACE_DESCRIPTION_BLOCK, PACKET_BLOCK, SECTION_HEADER_BLOCK,
    SIMPLE_PACKET_BLOCK,
};
use pcap_file::{DataLink, Endianness, PcapError, TsResolution};
use thiserror::Error;

use crate::time::units::SECOND_NS;

/// A captured packet.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'p> {
    /// The capture instant, ns since the Unix epoch; `None` if the file has none.
    pub at_ns: Option<u64>,
    /// The type of its first header.
    pub link: DataLink,
    /// The captured bytes.
    pub bytes: &'p [u8],
    /// Whether the packet was truncated.
    pub is_cut: bool,
}

/// Why a file could not be read.
#[derive(Debug, Error)]
pub enum CaptureFileError {
    /// Not a capture file.
    #[error("neither pcap nor pcapng ({0})")]
    Format(PcapError),
    /// A read error.
    #[error(transparent)]
    Unreadable(#[from] std::io::Error),
}

/// How a file ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// After a complete packet.
    Whole,
    /// Inside a packet, as when the capturing program was killed.
    Torn,
    /// With invalid data; everything after it is lost.
    Damaged(String),
    /// The caller wanted no more packets.
    Enough,
}

/// Passes every packet to `take`, until the file ends or is damaged.
///
/// # Errors
/// When the file is not a capture or cannot be read. Damage further on is reported in the result
/// instead.
pub fn read(
    file: impl Read,
    take: impl FnMut(Packet<'_>) -> ControlFlow<()>,
) -> Result<End, CaptureFileError> {
    let mut file = BufReader::new(file);
    let is_next_generation = file.fill_buf()?.starts_with(&SECTION_HEADER);
    if is_next_generation { read_pcapng(file, take) } else { read_pcap(file, take) }
}

fn read_pcap(
    file: impl Read,
    mut take: impl FnMut(Packet<'_>) -> ControlFlow<()>,
) -> Result<End, CaptureFileError> {
    let mut reader = PcapReader::new(file).map_err(CaptureFileError::Format)?;
    let header = reader.header();
    let unit_ns = match header.ts_resolution {
        TsResolution::MicroSecond => 1_000,
        TsResolution::NanoSecond => 1,
    };
    // Raw packets are used to compare the captured length with the header, which is often wrong.
    while let Some(packet) = reader.next_raw_packet() {
        let packet = match packet {
            Ok(packet) => packet,
            Err(error) => return ended(error),
        };
        let at_ns = u64::from(packet.ts_sec) * SECOND_NS + u64::from(packet.ts_frac) * unit_ns;
        let is_cut = packet.incl_len < packet.orig_len;
        let link = header.datalink;
        if take(Packet { at_ns: Some(at_ns), link, bytes: &packet.data, is_cut }).is_break() {
            return Ok(End::Enough);
        }
    }
    Ok(End::Whole)
}

fn read_pcapng(
    file: impl Read,
    mut take: impl FnMut(Packet<'_>) -> ControlFlow<()>,
) -> Result<End, CaptureFileError> {
    let mut reader = PcapNgReader::new(file).map_err(CaptureFileError::Format)?;
    let mut interfaces: Vec<Interface> = Vec::new();
    let mut endianness = reader.section().endianness;
    // Raw blocks are used because pcap-file 2.0 panics on some malformed name resolution blocks.
    while let Some(block) = reader.next_raw_block() {
        let block = match block {
            Ok(block) => block,
            Err(error) => return ended(error),
        };
        let packet = match block.type_ {
            SECTION_HEADER_BLOCK => {
                drop(block);
                interfaces.clear();
                endianness = reader.section().endianness;
                continue;
            }
            INTERFACE_DESCRIPTION_BLOCK if interfaces.len() == INTERFACES_MAX => {
                return Ok(End::Damaged(format!("more than {INTERFACES_MAX} interfaces")));
            }
            INTERFACE_DESCRIPTION_BLOCK => {
                drop(block);
                interfaces.extend(reader.interfaces().last().map(Interface::of));
                continue;
            }
            ENHANCED_PACKET_BLOCK => enhanced_packet(&block.body, endianness, &interfaces),
            SIMPLE_PACKET_BLOCK | PACKET_BLOCK => {
                let (link, bytes) = (DataLink::NULL, &*block.body);
                Some(Packet { at_ns: None, link, bytes, is_cut: false })
            }
            _ => continue,
        };
        let Some(packet) = packet else {
            return Ok(End::Damaged("a packet that contradicts itself".to_owned()));
        };
        if take(packet).is_break() {
            return Ok(End::Enough);
        }
    }
    Ok(End::Whole)
}

/// The packet of a block, if its lengths are valid and its interface was described.
fn enhanced_packet<'p>(
    body: &'p [u8],
    endianness: Endianness,
    interfaces: &[Interface],
) -> Option<Packet<'p>> {
    let (head, rest) = body.split_first_chunk::<20>()?;
    let (words, _) = head.as_chunks::<4>();
    let word = |at: usize| match endianness {
        Endianness::Big => words.get(at).copied().map(u32::from_be_bytes),
        Endianness::Little => words.get(at).copied().map(u32::from_le_bytes),
    };
    let interface = interfaces.get(word(0)? as usize)?;
    let units = u64::from(word(1)?) << 32 | u64::from(word(2)?);
    let (captured, original) = (word(3)?, word(4)?);
    let bytes = rest.get(..captured as usize)?;
    let at_ns = Some(interface.unix_ns(units));
    Some(Packet { at_ns, link: interface.link, bytes, is_cut: captured < original })
}

/// How to read the packets of a capture interface.
#[derive(Debug, Clone, Copy)]
struct Interface {
    link: DataLink,
    /// The time unit as in `if_tsresol`: a negative power of ten, or of two if the upper bit is
    /// set.
    resolution: u8,
    /// Added to every instant.
    offset_s: u64,
}

impl Interface {
    fn of(block: &InterfaceDescriptionBlock<'_>) -> Interface {
        let (link, resolution) = (block.linktype, MICROSECONDS);
        let mut interface = Interface { link, resolution, offset_s: 0 };
        for option in &block.options {
            match option {
                InterfaceDescriptionOption::IfTsResol(resolution) => {
                    interface.resolution = *resolution;
                }
                InterfaceDescriptionOption::IfTsOffset(seconds) => interface.offset_s = *seconds,
                _ => {}
            }
        }
        interface
    }

    fn unix_ns(self, units: u64) -> u64 {
        let (units, second_ns) = (u128::from(units), u128::from(SECOND_NS));
        let power = u32::from(self.resolution & 0x7F);
        let ns = match self.resolution & 0x80 {
            0 => 10u128.checked_pow(power).map_or(0, |per_second| units * second_ns / per_second),
            _ => (units * second_ns) >> power,
        };
        let offset_ns = self.offset_s.saturating_mul(SECOND_NS);
        u64::try_from(ns).unwrap_or(u64::MAX).saturating_add(offset_ns)
    }
}

fn ended(error: PcapError) -> Result<End, CaptureFileError> {
    match error {
        PcapError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(End::Torn),
        PcapError::IoError(error) => Err(error.into()),
        other => Ok(End::Damaged(other.to_string())),
    }
}

const SECTION_HEADER: [u8; 4] = [0x0A, 0x0D, 0x0D, 0x0A];
const MICROSECONDS: u8 = 6;
const INTERFACES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
    use pcap_file::pcapng::PcapNgWriter;
    use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
    use proptest::prelude::*;
    use std::borrow::Cow;
    use std::time::Duration;

    type Found = Vec<(Option<u64>, DataLink, Vec<u8>, bool)>;

    fn packets(file: &[u8]) -> (Found, End) {
        let mut found = Vec::new();
        let end = read(file, |packet| {
            found.push((packet.at_ns, packet.link, packet.bytes.to_vec(), packet.is_cut));
            ControlFlow::Continue(())
        });
        (found, end.unwrap())
    }

    fn pcap(ts_resolution: TsResolution, endianness: Endianness) -> Vec<u8> {
        let header = PcapHeader { ts_resolution, endianness, ..PcapHeader::default() };
        let mut writer = PcapWriter::with_header(Vec::new(), header).unwrap();
        let at = Duration::new(7, 5_000);
        writer.write_packet(&PcapPacket::new(at, 3, b"abc")).unwrap();
        writer.write_packet(&PcapPacket::new(at, 9, b"def")).unwrap();
        writer.into_writer()
    }

    fn pcapng(resolution: u8, units: u64) -> Vec<u8> {
        let mut writer = PcapNgWriter::new(Vec::new()).unwrap();
        let mut interface = InterfaceDescriptionBlock::new(DataLink::LINUX_SLL, 0);
        interface.options.push(InterfaceDescriptionOption::IfTsResol(resolution));
        writer.write_pcapng_block(interface).unwrap();
        let packet = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: Duration::from_nanos(units),
            original_len: 3,
            data: Cow::Borrowed(b"abc"),
            options: vec![],
        };
        writer.write_pcapng_block(packet).unwrap();
        writer.into_inner()
    }

    #[test]
    fn both_byte_orders_and_resolutions_are_read() {
        let expected = |bytes: &[u8], is_cut| {
            (Some(7 * SECOND_NS + 5_000), DataLink::ETHERNET, bytes.to_vec(), is_cut)
        };
        for resolution in [TsResolution::MicroSecond, TsResolution::NanoSecond] {
            for endianness in [Endianness::Big, Endianness::Little] {
                let (found, end) = packets(&pcap(resolution, endianness));
                assert_eq!(found, [expected(b"abc", false), expected(b"def", true)]);
                assert_eq!(end, End::Whole);
            }
        }
    }

    #[test]
    fn instants_of_pcapng_are_in_the_units_of_their_interface() {
        for (resolution, units) in [(6, 2_500_000), (9, 2_500_000_000), (3, 2_500), (0x81, 5)] {
            let (found, _) = packets(&pcapng(resolution, units));
            let expected = (Some(2_500_000_000), DataLink::LINUX_SLL, b"abc".to_vec(), false);
            assert_eq!(found, [expected], "{resolution}");
        }
        assert_eq!(packets(&pcapng(127, u64::MAX)).0[0].0, Some(0));
    }

    #[test]
    fn a_torn_file_gives_what_it_has() {
        let file = pcap(TsResolution::NanoSecond, Endianness::Big);
        let (found, end) = packets(&file[..file.len() - 1]);
        assert_eq!((found.len(), end), (1, End::Torn));
        let error = read(&b"GIF89a and so on, for long enough"[..], |_| ControlFlow::Continue(()));
        assert!(error.unwrap_err().to_string().starts_with("neither pcap nor pcapng"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            which in 0usize..3,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
            tail in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut file = match which {
                0 => pcap(TsResolution::NanoSecond, Endianness::Little),
                1 => pcapng(9, 5),
                _ => tail.clone(),
            };
            file.extend(tail);
            for (at, byte) in changes {
                if !file.is_empty() {
                    let at = at.index(file.len());
                    file[at] = byte;
                }
            }
            let _ = read(&file[..], |_| ControlFlow::Continue(())); // any answer will do
        }
    }
}
