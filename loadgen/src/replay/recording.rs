//! A recording: the C37.118 frames of a capture by stream, each with the instant of its arrival.
//! Owns which frames belong to a stream, what is left out, and the memory limit. Must not publish.

use std::io::Read;
use std::net::IpAddr;
use std::ops::ControlFlow;

use rustc_hash::{FxHashMap, FxHashSet};
use thiserror::Error;

use crate::codec::c37118;
use crate::codec::c37118::Kind;
use crate::codec::restamped::Shift;
use crate::codec::track::{FRAME_COST_BYTES, Track};
use crate::replay::capture_file::{CaptureFileError, End, Packet};
use crate::replay::dissection::Carried;
use crate::replay::framing::{Cut, Frame};
use crate::replay::reassembly::Reassembly;
use crate::replay::skipped::{Skip, Skipped};
use crate::replay::{capture_file, dissection, framing};
use crate::scenario::limits::PUBLISHERS_MAX;
use crate::time::units::SECOND_NS;

/// The memory limit of a recording: frames and their index.
pub const RECORDING_BYTES_MAX: usize = 1 << 30;

/// Clocks that differ by more than this are not synchronised; no network delay is this long.
const CLOCKS_APART_NS_MAX: u64 = SECOND_NS;

/// The streams of a capture.
#[derive(Debug)]
pub struct Recording {
    streams: Vec<Stream>,
    skipped: Skipped,
    /// How the file was damaged, if it was.
    flaw: Option<String>,
}

/// The frames of one source with one IDCODE.
#[derive(Debug)]
pub struct Stream {
    /// The sender.
    pub source: IpAddr,
    /// The IDCODE in its frames.
    pub id: u16,
    /// Its newest configuration frame, if there was one.
    pub configuration: Option<Vec<u8>>,
    /// Its data frames, by the instant of their arrival, ns since the Unix epoch.
    pub track: Track,
}

/// Why there is no recording.
#[derive(Debug, Error)]
pub enum RecordingError {
    /// The file has no packets.
    #[error(transparent)]
    File(#[from] CaptureFileError),
    /// The packets hold nothing to replay.
    #[error("there is no C37.118 data frame in it; found instead: {0}")]
    NoFrames(String),
    /// There are more streams than publisher identifiers.
    #[error(
        "it holds more than {PUBLISHERS_MAX} streams; take some of them out, \
         e.g. with a display filter of Wireshark"
    )]
    Streams,
    /// There are more frames than the memory limit allows.
    #[error("its frames take more than the 1 GiB that is kept; cut it, e.g. with `editcap -A -B`")]
    TooMuch,
}

impl Recording {
    /// Reads a capture, pcap or pcapng.
    ///
    /// # Errors
    /// When the file is not a capture, or its contents cannot be replayed.
    pub fn read(file: impl Read) -> Result<Recording, RecordingError> {
        let mut intake = Intake::default();
        let end = capture_file::read(file, |packet| intake.packet(&packet))?;
        intake.finish(end)
    }

    /// The streams with data frames, by IDCODE and source.
    pub fn streams(&self) -> &[Stream] {
        &self.streams
    }

    /// What was left out.
    pub fn skipped(&self) -> &Skipped {
        &self.skipped
    }

    /// How the file was damaged, if it was.
    pub fn flaw(&self) -> Option<&str> {
        self.flaw.as_deref()
    }

    /// Data frames of all streams.
    pub fn frames(&self) -> u64 {
        self.streams.iter().map(|stream| stream.track.len() as u64).sum()
    }

    /// The instants of the first and of the last frame, ns since the Unix epoch.
    pub fn span_ns(&self) -> (u64, u64) {
        let spans = || self.streams.iter().map(|stream| stream.track.span_ns());
        let first_ns = spans().map(|(first_ns, _)| first_ns).min().unwrap_or(0);
        (first_ns, spans().map(|(_, last_ns)| last_ns).max().unwrap_or(0))
    }

    /// Gives every frame a present-time stamp, for a run at this speed. Stamps keep their recorded
    /// distances, also between streams, so that frames of one instant stay together. The first
    /// frame's stamp is the instant at which it is due. A stream whose clock differs too much from
    /// that of the first stream is shifted by its own amount.
    pub fn restamp(&mut self, speed: f64) {
        let (start_ns, _) = self.span_ns();
        let first = self.streams.iter().min_by_key(|stream| stream.track.span_ns());
        let common_ns = first.map_or(0, |stream| stream.claimed_at(start_ns));
        for stream in &mut self.streams {
            let own_ns = stream.claimed_at(start_ns);
            let is_near = own_ns.abs_diff(common_ns) <= CLOCKS_APART_NS_MAX;
            let zero_ns = if is_near { common_ns } else { own_ns };
            let time_base = stream.time_base();
            stream.track.restamp(Shift { time_base, zero_ns, speed });
        }
    }

    /// The streams as they are replayed: distances divided by `speed`, the first frame at once. If
    /// two sources share an IDCODE, the later one gets the lowest free IDCODE, because frames are
    /// identified by it.
    pub fn played(self, speed: f64) -> Vec<Track> {
        let (start_ns, _) = self.span_ns();
        let taken: FxHashSet<u16> = self.streams.iter().map(|stream| stream.id).collect();
        let mut free = (1..u16::MAX).filter(|id| !taken.contains(id));
        let mut used = FxHashSet::default();
        let mut tracks = Vec::with_capacity(self.streams.len());
        for Stream { mut track, id, .. } in self.streams {
            if !used.insert(id)
                && let Some(free) = free.next()
            {
                track.readdress(free);
            }
            tracks.push(track.played(start_ns, speed));
        }
        tracks
    }

    /// The number of streams that share their IDCODE with another source.
    pub fn namesakes(&self) -> usize {
        let ids: FxHashSet<u16> = self.streams.iter().map(|stream| stream.id).collect();
        self.streams.len() - ids.len()
    }
}

impl Stream {
    /// Units of FRACSEC per second: 10^6, unless the configuration has another value.
    fn time_base(&self) -> u32 {
        let configuration = self.configuration.as_deref();
        configuration.and_then(c37118::time_base).unwrap_or(c37118::TIME_BASE)
    }

    /// The time its clock would have shown at an instant of the capture, at or before the arrival
    /// of its first frame; ns since the Unix epoch.
    fn claimed_at(&self, instant_ns: u64) -> u64 {
        let (soc, fracsec) = self.track.first_claim().unwrap_or_default();
        let fraction_ns = u64::from(fracsec) * SECOND_NS / u64::from(self.time_base());
        let first_ns = u64::from(soc) * SECOND_NS + fraction_ns;
        first_ns.saturating_sub(self.track.span_ns().0.saturating_sub(instant_ns))
    }
}

/// Builds streams from packets.
#[derive(Default)]
struct Intake {
    reassembly: Reassembly,
    sorter: Sorter,
    last_ns: u64,
}

impl Intake {
    fn packet(&mut self, packet: &Packet<'_>) -> ControlFlow<()> {
        let Intake { reassembly, sorter, last_ns } = self;
        let Some(at_ns) = packet.at_ns else {
            sorter.skipped.add(Skip::Untimed, 1);
            return ControlFlow::Continue(());
        };
        *last_ns = at_ns;
        match dissection::carried(packet) {
            Ok(Carried::Datagram { from, bytes }) => sorter.datagram(at_ns, from, bytes),
            Ok(Carried::Segment(segment)) => {
                reassembly.take(&segment, &mut |from, frame| sorter.frame(at_ns, from, frame));
            }
            Err(skip) => sorter.skipped.add(skip, 1),
        }
        match sorter.refusal {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    }

    fn finish(self, end: End) -> Result<Recording, RecordingError> {
        let Intake { reassembly, mut sorter, last_ns } = self;
        let strays = reassembly.finish(&mut |from, frame| sorter.frame(last_ns, from, frame));
        sorter.skipped.merge(&strays);
        match sorter.refusal.take() {
            Some(refusal) => Err(refusal),
            None => sorter.settle(flaw(end)),
        }
    }
}

fn flaw(end: End) -> Option<String> {
    match end {
        End::Whole | End::Enough => None,
        End::Torn => Some("the file ends in the middle of a packet".to_owned()),
        End::Damaged(why) => Some(format!("the file is damaged from some packet on ({why})")),
    }
}

/// Adds frames to their streams.
#[derive(Default)]
struct Sorter {
    place_of: FxHashMap<(IpAddr, u16), usize>,
    streams: Vec<Stream>,
    skipped: Skipped,
    configurations: u64,
    kept_bytes: usize,
    refusal: Option<RecordingError>,
}

impl Sorter {
    /// Handles a datagram; most hold one frame, some several.
    fn datagram(&mut self, at_ns: u64, from: IpAddr, mut bytes: &[u8]) {
        let mut is_first = true;
        while is_first || !bytes.is_empty() {
            let size = match framing::first(bytes) {
                Cut::Frame(frame) => {
                    self.frame(at_ns, from, frame);
                    frame.bytes.len()
                }
                Cut::Damaged(size) => {
                    self.skipped.add(Skip::Damaged, 1);
                    size
                }
                Cut::Partial | Cut::Other => return self.skipped.add(Skip::Other, 1),
            };
            bytes = bytes.get(size..).unwrap_or_default();
            is_first = false;
        }
    }

    fn frame(&mut self, at_ns: u64, from: IpAddr, frame: Frame<'_>) {
        match frame.kind {
            Kind::Command => return self.skipped.add(Skip::Command, 1),
            Kind::Header => return self.skipped.add(Skip::Header, 1),
            Kind::Data | Kind::Config1 | Kind::Config2 | Kind::Config3 => {}
        }
        let is_data = frame.kind == Kind::Data;
        self.kept_bytes += frame.bytes.len() + FRAME_COST_BYTES;
        if self.kept_bytes > RECORDING_BYTES_MAX {
            self.refusal = Some(RecordingError::TooMuch);
            return;
        }
        let Some(stream) = self.stream(from, frame.envelope.id) else {
            self.refusal = Some(RecordingError::Streams);
            return;
        };
        if is_data {
            stream.track.push(at_ns, frame.envelope, frame.bytes);
        } else {
            let before = stream.configuration.replace(frame.bytes.to_vec());
            self.configurations += 1;
            // Only the newest configuration is kept.
            let gone = before.map_or(0, |before| before.len() + FRAME_COST_BYTES);
            self.kept_bytes = self.kept_bytes.saturating_sub(gone);
        }
    }

    /// The stream of a source; `None` if there are too many streams.
    fn stream(&mut self, source: IpAddr, id: u16) -> Option<&mut Stream> {
        let Sorter { place_of, streams, .. } = self;
        let place = match place_of.get(&(source, id)) {
            Some(place) => *place,
            None if streams.len() as u64 == PUBLISHERS_MAX => return None,
            None => {
                place_of.insert((source, id), streams.len());
                let (configuration, track) = (None, Track::new(id));
                streams.push(Stream { source, id, configuration, track });
                streams.len() - 1
            }
        };
        streams.get_mut(place)
    }

    fn settle(self, flaw: Option<String>) -> Result<Recording, RecordingError> {
        let Sorter { mut streams, mut skipped, configurations, .. } = self;
        for stream in &mut streams {
            skipped.add(Skip::Repeated, stream.track.settle());
        }
        streams.retain(|stream| !stream.track.is_empty());
        streams.sort_by_key(|stream| (stream.id, stream.source));
        if streams.is_empty() {
            let configured =
                (configurations > 0).then(|| format!(", {configurations} x configuration frame"));
            let flaw = flaw.map(|flaw| format!("; {flaw}"));
            let [configured, flaw] = [configured, flaw].map(Option::unwrap_or_default);
            return Err(RecordingError::NoFrames(format!("{skipped}{configured}{flaw}")));
        }
        Ok(Recording { streams, skipped, flaw })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::c37118::{Command, Envelope, Station};
    use crate::fixtures::data_frame;
    use crate::replay::packets::{PacketWriter, Sender};
    use etherparse::PacketBuilder;
    use pcap_file::pcap::{PcapPacket, PcapWriter};
    use proptest::prelude::*;
    use std::time::Duration;

    const START_NS: u64 = 1_767_225_600_000_000_000;

    /// A capture of these frames: sender, instant after the start, bytes.
    fn capture(frames: &[(Sender, u64, Vec<u8>)]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = PacketWriter::new(&mut out).unwrap();
        for (sender, after_ns, bytes) in frames {
            writer.write(*sender, START_NS + after_ns, bytes).unwrap();
        }
        writer.finish().unwrap();
        out
    }

    fn sender(id: u16) -> Sender {
        Sender { id, rank: 0 }
    }

    fn refused(file: &[u8]) -> String {
        Recording::read(file).unwrap_err().to_string()
    }

    #[test]
    fn configurations_are_kept_apart_and_commands_left_out() {
        let envelope = Envelope { id: 7, soc: 5, quality: 0, fracsec: 0 };
        let (mut configuration, mut command) = (Vec::new(), Vec::new());
        c37118::encode_config2(envelope, &[Station::simulated(7)], 30, &mut configuration);
        c37118::encode_command(envelope, Command::Start, &mut command);
        let mut damaged = data_frame(7, 5, 1, 0);
        damaged[17] ^= 1;
        let mut frames: Vec<_> = [command, configuration.clone(), data_frame(7, 5, 0, 1), damaged]
            .map(|bytes| (sender(7), 0, bytes))
            .to_vec();
        frames.push((sender(7), 9, data_frame(7, 5, 0, 1)));
        frames.push((sender(7), 9, b"something else".to_vec()));
        let recording = Recording::read(&capture(&frames)[..]).unwrap();
        let [stream] = recording.streams() else { panic!("{recording:?}") };
        assert_eq!((stream.id, stream.track.len()), (7, 1));
        assert_eq!(stream.configuration.as_ref(), Some(&configuration));
        assert_eq!(
            recording.skipped().to_string(),
            "1 x packet without a C37.118 frame, 1 x command, 1 x frame with a wrong checksum, \
             1 x frame with the SOC and FRACSEC of an earlier one"
        );
    }

    #[test]
    fn sources_of_one_idcode_stay_apart() {
        let frame = data_frame(7, 5, 0, 1);
        let frames =
            [0, 1].map(|rank| (Sender { id: 7, rank }, u64::from(rank) * 1_000, frame.clone()));
        let recording = Recording::read(&capture(&frames)[..]).unwrap();
        assert_eq!((recording.streams().len(), recording.namesakes()), (2, 1));
        let tracks = recording.played(10.0);
        let ids: Vec<_> = tracks.iter().map(Track::id).collect();
        assert_eq!((ids, tracks[1].after_ns(0)), (vec![7, 1], 100));
        assert_eq!(c37118::check(tracks[1].frame(0)).unwrap().1.id, 1);
    }

    /// The time stamps of the first frames of these streams after re-stamping.
    fn restamped(frames: &[(Sender, u64, Vec<u8>)]) -> Vec<(u32, u32)> {
        let mut recording = Recording::read(&capture(frames)[..]).unwrap();
        recording.restamp(1.0);
        let said = |track: Track| {
            let mut changed = Vec::new();
            let frame = track.played_frame(0, START_NS, &mut changed);
            let (_, Envelope { soc, fracsec, .. }) = c37118::check(frame).unwrap();
            (soc, fracsec)
        };
        recording.played(1.0).into_iter().map(said).collect()
    }

    #[test]
    fn frames_of_one_instant_are_of_one_instant_now() {
        let start_s = (START_NS / SECOND_NS) as u32;
        // The second frame arrives 3 ms later, and the third stream has a clock of its own.
        let frames = [(7, 5, 0), (8, 5, 3_000_000), (9, 77, 4_000_000)];
        let frames =
            frames.map(|(id, soc, late_ns)| (sender(id), late_ns, data_frame(id, soc, 500, 1)));
        assert_eq!(restamped(&frames), [(start_s, 0), (start_s, 0), (start_s, 4_000)]);
    }

    #[test]
    fn fractions_are_in_the_units_of_the_configuration() {
        let envelope = Envelope { id: 7, soc: 5, quality: 0, fracsec: 0 };
        let mut configuration = Vec::new();
        c37118::encode_config2(envelope, &[Station::simulated(7)], 30, &mut configuration);
        // 1,000 a second, of which 500 are a half.
        configuration[14..18].copy_from_slice(&[0, 0, 0x03, 0xE8]);
        c37118::readdress(&mut configuration, 7);
        let frames = [
            (sender(7), 0, configuration),
            (sender(7), 1, data_frame(7, 5, 500, 1)),
            (sender(8), 250_000_001, data_frame(8, 5, 750_000, 1)),
        ];
        let start_s = (START_NS / SECOND_NS) as u32;
        assert_eq!(restamped(&frames), [(start_s, 0), (start_s, 250_000)]);
    }

    #[test]
    fn several_frames_may_share_a_datagram() {
        let bytes = [data_frame(7, 5, 0, 1), data_frame(8, 5, 0, 1)].concat();
        let recording = Recording::read(&capture(&[(sender(7), 0, bytes)])[..]).unwrap();
        assert_eq!(recording.frames(), 2);
        assert_eq!(recording.skipped(), &Skipped::default());
    }

    #[test]
    fn a_frame_of_a_tcp_stream_came_with_its_last_byte() {
        let frames = [0, 1].map(|n| data_frame(7, 5, n, 9));
        let stream = frames.concat();
        let (middle, end) = (frames[0].len() + 7, stream.len());
        let mut writer = PcapWriter::new(Vec::new()).unwrap();
        let mut write = |at_us: u64, seq: usize, bytes: &[u8]| {
            let mut packet = Vec::new();
            let builder = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4([10; 4], [11; 4], 9);
            builder.tcp(4712, 5000, seq as u32, 9).write(&mut packet, bytes).unwrap();
            let at = Duration::from_micros(at_us);
            writer.write_packet(&PcapPacket::new(at, packet.len() as u32, &packet)).unwrap();
        };
        write(100, 0, &stream[..5]);
        write(300, middle, &stream[middle..]);
        write(400, 5, &stream[5..middle]);
        write(500, end, b"");
        let recording = Recording::read(&writer.into_writer()[..]).unwrap();
        let [stream] = recording.streams() else { panic!("{recording:?}") };
        assert_eq!(stream.source, IpAddr::from([10; 4]));
        assert_eq!(recording.skipped(), &Skipped::default());
        let track = &stream.track;
        assert_eq!([track.frame(0), track.frame(1)], [&frames[0][..], &frames[1]]);
        assert_eq!([track.after_ns(0), track.after_ns(1)], [400_000, 400_000]);
    }

    #[test]
    fn a_file_without_frames_says_what_is_in_it() {
        let other = capture(&[(sender(7), 0, b"hello".to_vec())]);
        assert!(refused(&other).ends_with("found instead: 1 x packet without a C37.118 frame"));
        assert!(refused(&other[..other.len() - 1]).contains("in the middle of a packet"));
        assert!(refused(&capture(&[])).ends_with("found instead: nothing"));
        assert!(refused(b"hello").contains("neither pcap nor pcapng"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            frames in prop::collection::vec((1u16..5, 0u64..1_000_000_000, 0usize..30), 1..60),
        ) {
            let frames: Vec<_> = (0..)
                .zip(frames)
                .map(|(n, (id, at_ns, digitals))| {
                    (sender(id), at_ns, data_frame(id, 5, n, digitals))
                })
                .collect();
            let recording = Recording::read(&capture(&frames)[..]).unwrap();
            prop_assert_eq!(recording.skipped(), &Skipped::default());
            for stream in recording.streams() {
                let mut sent: Vec<_> =
                    frames.iter().filter(|(sender, ..)| sender.id == stream.id).collect();
                sent.sort_by_key(|(_, at_ns, _)| *at_ns);
                prop_assert_eq!(stream.track.len(), sent.len());
                for (seq, (_, at_ns, bytes)) in (0..).zip(sent) {
                    prop_assert_eq!(stream.track.frame(seq), &bytes[..]);
                    prop_assert_eq!(stream.track.after_ns(seq), START_NS + at_ns);
                }
            }
        }

        #[test]
        fn no_file_makes_it_panic(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
            tail in prop::collection::vec(any::<u8>(), 0..300),
            kept in any::<prop::sample::Index>(),
        ) {
            let frames: Vec<_> =
                (0..4).map(|n| (sender(n as u16), 0, data_frame(7, 5, n, 2))).collect();
            let mut file = capture(&frames);
            file.truncate(kept.index(file.len() + 1));
            file.extend(tail);
            for (at, byte) in changes {
                if !file.is_empty() {
                    let at = at.index(file.len());
                    file[at] = byte;
                }
            }
            let _ = Recording::read(&file[..]); // any answer will do
        }
    }
}
