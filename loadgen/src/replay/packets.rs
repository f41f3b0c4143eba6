//! Writes a packet capture: C37.118 frames as UDP packets in plain IP, with nanosecond instants.
//! Must not know where frames come from.

use std::io::{self, Write};
use std::time::Duration;

use etherparse::PacketBuilder;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::{DataLink, PcapError, TsResolution};

/// The longest frame that fits into a UDP packet.
pub const FRAME_BYTES_MAX: usize = 65_507;

/// Writes frames to a capture.
pub struct PacketWriter<W: Write> {
    writer: PcapWriter<W>,
    packet: Vec<u8>,
}

/// The sender of a frame; each stream has its own address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// IDCODE of the stream.
    pub id: u16,
    /// A number that separates streams with the same IDCODE, from 0.
    pub rank: u8,
}

impl Sender {
    /// All addresses are used up.
    pub const RANK_MAX: u8 = u8::MAX - NETWORK;

    fn address(self) -> [u8; 4] {
        let [hi, lo] = self.id.to_be_bytes();
        [10, NETWORK.saturating_add(self.rank), hi, lo]
    }
}

impl<W: Write> PacketWriter<W> {
    /// Starts a capture.
    ///
    /// # Errors
    /// When its header cannot be written.
    pub fn new(out: W) -> io::Result<PacketWriter<W>> {
        let header = PcapHeader {
            datalink: DataLink::RAW,
            ts_resolution: TsResolution::NanoSecond,
            ..PcapHeader::default()
        };
        let writer = PcapWriter::with_header(out, header).map_err(from_pcap)?;
        Ok(PacketWriter { writer, packet: Vec::new() })
    }

    /// Writes a frame.
    ///
    /// # Errors
    /// When it cannot be written, or is longer than [`FRAME_BYTES_MAX`].
    pub fn write(&mut self, sender: Sender, at_unix_ns: u64, frame: &[u8]) -> io::Result<()> {
        let addressed = PacketBuilder::ipv4(sender.address(), CONSUMER, TIME_TO_LIVE);
        self.packet.clear();
        addressed.udp(PORT, PORT).write(&mut self.packet, frame).map_err(io::Error::other)?;
        let at = Duration::from_nanos(at_unix_ns);
        let packet = PcapPacket::new(at, self.packet.len() as u32, &self.packet);
        self.writer.write_packet(&packet).map(|_| ()).map_err(from_pcap)
    }

    /// Writes the buffered data.
    ///
    /// # Errors
    /// When that fails.
    pub fn finish(self) -> io::Result<()> {
        self.writer.into_writer().flush()
    }
}

fn from_pcap(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other),
    }
}

const NETWORK: u8 = 118;
const CONSUMER: [u8; 4] = [10, NETWORK, 0, 1];
const TIME_TO_LIVE: u8 = 64;
/// The default of the standard's UDP transport (annex F).
const PORT: u16 = 4713;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_too_long_for_a_packet_is_refused() {
        let mut out = Vec::new();
        let mut writer = PacketWriter::new(&mut out).unwrap();
        let sender = Sender { id: 7, rank: 0 };
        assert!(writer.write(sender, 0, &[0; FRAME_BYTES_MAX]).is_ok());
        assert!(writer.write(sender, 0, &[0; FRAME_BYTES_MAX + 1]).is_err());
        writer.finish().unwrap();
        assert_eq!(out.len(), 24 + 16 + 65_535);
    }
}
