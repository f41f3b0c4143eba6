//! `gridload capture`: the C37.118 frames that a scenario would publish, as a packet capture, so
//! that other people's tools can say what they are. Owns how frames become packets. Must not
//! publish.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::time::Duration;

use etherparse::PacketBuilder;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::{DataLink, PcapError};
use thiserror::Error;

use crate::budget::Layout;
use crate::builtin;
use crate::c37118::{self, Envelope, Station};
use crate::cli::CaptureArgs;
use crate::clock::{SECOND_NS, UtcMap};
use crate::exit::Exit;
use crate::overrides::{self, ResolveError};
use crate::payload::Encoder;
use crate::plan::{Destination, Payload, Plan, PublisherPlan};
use crate::stamp::Roster;

/// Why there is no capture.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// No scenario.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// It has no C37.118 frames.
    #[error("no publisher of this scenario sends C37.118 frames; give --payload c37118")]
    OtherPayload,
    /// The file cannot be written.
    #[error("--pcap {}: {cause}", path.display())]
    File {
        /// Where.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

impl CaptureError {
    /// The exit code that says so.
    pub fn exit(&self) -> Exit {
        Exit::Usage
    }
}

/// Writes the capture.
///
/// # Errors
/// When there is no scenario, nothing to capture, or no room.
pub fn run(args: &CaptureArgs) -> Result<Exit, CaptureError> {
    let name = args.run.scenario.as_deref().unwrap_or(builtin::DEFAULT);
    let scenario = overrides::resolve(name, &args.run.options)?;
    let target = ([127, 0, 0, 1], 1).into();
    let destination =
        Destination { target, host: String::new(), token: None, tls: None, run_id: 1 };
    let plan = Plan::build(&scenario, &Layout::default(), destination);
    let failed = |cause| CaptureError::File { path: args.pcap.clone(), cause };
    let frames = frames(&plan, args.from.0, args.seconds);
    if frames.is_empty() {
        return Err(CaptureError::OtherPayload);
    }
    let out = BufWriter::new(File::create(&args.pcap).map_err(failed)?);
    write(&frames, out).map_err(failed)?;
    println!("{} frames of {name} in {}", frames.len(), args.pcap.display());
    Ok(Exit::Ok)
}

/// A frame on its way, and when it leaves, ns since the Unix epoch.
struct Sent {
    publisher: u16,
    at_unix_ns: u64,
    bytes: Vec<u8>,
}

/// Every stream's configuration, then its data, in the order of time.
fn frames(plan: &Plan, from_unix_s: u64, seconds: u64) -> Vec<Sent> {
    let start_unix_ns = from_unix_s * SECOND_NS;
    let roster = Roster::new(plan, start_unix_ns, UtcMap::sample(), 1);
    let mut frames = Vec::new();
    for (index, publisher) in (0..).zip(&plan.publishers) {
        if publisher.payload != Payload::C37118 {
            continue;
        }
        frames.push(configuration(publisher, from_unix_s));
        let schedule = *roster.schedule(index);
        let mut encoder = Encoder::new(plan.run_id, plan.seed, publisher, schedule);
        let data = (0..schedule.ticks).map(|seq| Sent {
            publisher: publisher.id,
            at_unix_ns: schedule.intended_unix_ns(seq),
            bytes: encoder.encode(seq).to_vec(),
        });
        frames
            .extend(data.take_while(|sent| sent.at_unix_ns < start_unix_ns + seconds * SECOND_NS));
    }
    frames.sort_by_key(|sent| sent.at_unix_ns);
    frames
}

fn configuration(publisher: &PublisherPlan, soc: u64) -> Sent {
    let envelope = Envelope { id: publisher.id, soc: soc as u32, quality: 0, fracsec: 0 };
    let rate = publisher.rate.per_second();
    // Below one a second it is the seconds between two frames, negative.
    let data_rate = if rate >= 1.0 { rate.round() } else { -(1.0 / rate).round() } as i16;
    let mut bytes = Vec::new();
    c37118::encode_config2(envelope, &[Station::simulated(publisher.id)], data_rate, &mut bytes);
    Sent { publisher: publisher.id, at_unix_ns: soc * SECOND_NS, bytes }
}

/// A UDP packet for each frame, from an address of its publisher's own.
fn write(frames: &[Sent], out: impl Write) -> io::Result<()> {
    let header = PcapHeader { datalink: DataLink::RAW, ..PcapHeader::default() };
    let mut writer = PcapWriter::with_header(out, header).map_err(from_pcap)?;
    for Sent { publisher, at_unix_ns, bytes } in frames {
        let [hi, lo] = publisher.to_be_bytes();
        let packet = PacketBuilder::ipv4([10, 118, hi, lo], CONSUMER, TIME_TO_LIVE).udp(PORT, PORT);
        let mut data = Vec::with_capacity(packet.size(bytes.len()));
        packet.write(&mut data, bytes).map_err(io::Error::other)?;
        let at = Duration::from_nanos(*at_unix_ns);
        writer.write_packet(&PcapPacket::new(at, data.len() as u32, &data)).map_err(from_pcap)?;
    }
    writer.into_writer().flush()
}

fn from_pcap(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other),
    }
}

const CONSUMER: [u8; 4] = [10, 118, 0, 1];
const TIME_TO_LIVE: u8 = 64;
/// The default of the standard's UDP transport (annex F).
const PORT: u16 = 4713;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::c37118::Kind;
    use crate::fixtures;

    #[test]
    fn every_stream_is_configured_before_its_data() {
        let plan =
            fixtures::plan_of(vec![fixtures::publisher(1001, 50), fixtures::publisher(7, 10)]);
        let frames = frames(&plan, 1_767_225_600, 1);
        let of = |id: u16| frames.iter().filter(move |sent| sent.publisher == id);
        assert_eq!((of(1001).count(), of(7).count()), (51, 11));
        for id in [1001, 7] {
            let kinds: Vec<_> = of(id).map(|sent| c37118::check(&sent.bytes).unwrap().0).collect();
            assert_eq!(kinds[0], Kind::Config2);
            assert!(kinds[1..].iter().all(|kind| *kind == Kind::Data));
        }
        assert!(frames.is_sorted_by_key(|sent| sent.at_unix_ns));
        let mut out = Vec::new();
        write(&frames, &mut out).unwrap();
        let packets: usize = frames.iter().map(|sent| 16 + 28 + sent.bytes.len()).sum();
        assert_eq!(out.len(), 24 + packets);
    }
}
