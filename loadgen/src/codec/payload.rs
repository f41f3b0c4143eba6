//! The one seam between publishers and receivers: a publisher's tick becomes bytes, and bytes
//! become a checked claim of publisher and tick. Three forms: C37.118 data frames, simulated or
//! recorded, JSON, short or spelled out, and stamped blocks. Must not read clocks and must not know
//! WebSocket or sockets.

use std::f64::consts::TAU;
use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;
use std::sync::Arc;

use crc::{CRC_32_ISO_HDLC, Crc, Table};

use crate::codec::c37118;
use crate::codec::c37118::{Envelope, Kind, Measurement, Station, TIME_BASE, Template};
use crate::codec::claim::{Claim, Corrupt, When};
use crate::codec::track::Track;
use crate::plan::departures::{Departure, FrameKind};
use crate::plan::plan::PublisherPlan;
use crate::plan::schedule::Schedule;
use crate::time::draw::mix;

/// Smallest stamped block.
pub const FIXED_BYTES_MIN: usize = 48;

/// Largest payload of any form: what a receiver may have to hold for one message.
pub fn bytes_max(payload: Payload) -> usize {
    match payload {
        Payload::C37118 => c37118::DEFAULT_DATA_BYTES,
        Payload::Json | Payload::JsonVerbose => JSON_BYTES_MAX,
        Payload::Fixed { bytes } => (bytes as usize).max(FIXED_BYTES_MIN),
        // Room for what an envelope makes of it.
        Payload::Recorded { bytes } => bytes as usize * 2,
    }
}

/// Checks a frame and reads what it claims to be.
pub fn identify(bytes: &[u8]) -> Result<Claim, Corrupt> {
    match bytes.first() {
        Some(0xAA) => identify_c37118(bytes),
        Some(b'{') => identify_json(bytes),
        Some(&FIXED_FIRST) => identify_fixed(bytes),
        _ => Err(Corrupt),
    }
}

/// Encodes one publisher's frames.
#[derive(Debug)]
pub struct Encoder {
    id: u16,
    schedule: Schedule,
    data_rate: i16,
    waveform: Waveform,
    form: Form,
    /// A frame that has no template, or is not as it was recorded.
    rare: Vec<u8>,
}

#[derive(Debug)]
enum Form {
    C37118(Box<Template>),
    Json { write: WriteValues, text: String },
    Fixed(Vec<u8>),
    Recorded(Arc<Track>),
}

impl Encoder {
    /// The encoder of a publisher.
    pub fn new(run_id: u32, seed: u64, plan: &PublisherPlan, schedule: Schedule) -> Encoder {
        let form = match plan.payload {
            Payload::C37118 => Form::C37118(Box::new(Template::new(plan.id))),
            Payload::Json => json_form(write_short),
            Payload::JsonVerbose => json_form(write_verbose),
            Payload::Fixed { bytes } => Form::Fixed(fixed_block(run_id, plan.id, bytes as usize)),
            Payload::Recorded { .. } => Form::Recorded(plan.recorded.clone().unwrap_or_default()),
        };
        let waveform = Waveform::new(seed, plan.id);
        let data_rate = c37118::data_rate(plan.rate.per_second());
        Encoder { id: plan.id, schedule, data_rate, waveform, form, rare: Vec::new() }
    }

    /// Whether the frames are text messages.
    pub fn is_text(&self) -> bool {
        matches!(self.form, Form::Json { .. })
    }

    /// The frame of a tick. The same arguments always give the same bytes.
    pub fn encode(&mut self, seq: u32) -> &[u8] {
        let tick = self.schedule.tick(seq);
        let (soc, fracsec) = self.schedule.grid.soc_fracsec(tick, TIME_BASE);
        let mark = self.schedule.mark(seq);
        let values = || mark.on(self.waveform.at(tick, soc, fracsec));
        match &mut self.form {
            Form::C37118(_) if mark.is_changed => {
                self.rare.clear();
                c37118::encode_changed(self.id, &values(), &mut self.rare);
                &self.rare
            }
            Form::C37118(template) => template.patch(&values()),
            Form::Json { write, text } => {
                write_json(self.id, &values(), *write, text);
                text.as_bytes()
            }
            Form::Fixed(block) => {
                stamp_fixed(block, seq, self.schedule.intended_unix_ns(seq));
                block
            }
            Form::Recorded(track) => {
                let start_unix_ns = self.schedule.conduct.run.from_ns;
                track.played_frame(seq, start_unix_ns, &mut self.rare)
            }
        }
    }

    /// The frame that leaves. The same arguments always give the same bytes.
    pub fn encode_departure(&mut self, frame: Departure) -> &[u8] {
        match frame.kind {
            FrameKind::Configuration => self.configuration(frame.seq),
            FrameKind::Data | FrameKind::Copy => self.encode(frame.seq),
        }
    }

    fn configuration(&mut self, seq: u32) -> &[u8] {
        let tick = self.schedule.tick(seq);
        let (soc, fracsec) = self.schedule.grid.soc_fracsec(tick, TIME_BASE);
        let envelope = Envelope { id: self.id, soc, quality: 0, fracsec };
        self.rare.clear();
        let stations = [Station::changed(self.id)];
        c37118::encode_config2(envelope, &stations, self.data_rate, &mut self.rare);
        &self.rare
    }
}

/// A grid quantity as a PMU would see it: a slow swing of the frequency, small noise on everything,
/// all of it a function of (seed, publisher, tick).
#[derive(Debug, Clone, Copy)]
struct Waveform {
    seed: u64,
    id: u64,
    phase: f64,
}

impl Waveform {
    fn new(seed: u64, id: u16) -> Waveform {
        let id = u64::from(id);
        let phase = unit(mix(seed, id, u64::MAX)) * TAU;
        Waveform { seed, id, phase }
    }

    fn at(&self, tick: u64, soc: u32, fracsec: u32) -> Measurement {
        let t_s = f64::from(soc % SWING_WRAP_S) + f64::from(fracsec) / f64::from(TIME_BASE);
        let swing = TAU / SWING_S;
        let (sin, cos) = (swing * t_s + self.phase).sin_cos();
        // The angle is the integral of the deviation from nominal, so the three agree.
        let drift_rad = -TAU * SWING_HZ / swing * cos;
        let noise = |channel: u64| unit(mix(self.seed ^ channel, self.id, tick)) - 0.5;
        let phasor = |channel: u64, nominal: f64, angle: f64| {
            let magnitude = nominal * (1.0 + 0.002 * sin + 0.0004 * noise(channel));
            (magnitude as f32, wrap(angle + drift_rad + 0.0002 * noise(channel + 64)) as f32)
        };
        let phasors = std::array::from_fn(|index| {
            let (nominal, lag) = if index < 4 { (VOLTS, 0.0) } else { (AMPERES, 0.5) };
            phasor(index as u64, nominal, PHASE_ANGLES[index % 4] - lag)
        });
        Measurement {
            soc,
            fracsec,
            quality: 0,
            stat: 0,
            phasors,
            freq_hz: (NOMINAL_HZ + SWING_HZ * sin + 0.001 * noise(100)) as f32,
            dfreq_hz_per_s: (SWING_HZ * swing * cos + 0.001 * noise(101)) as f32,
            digital: 1,
        }
    }
}

fn wrap(angle: f64) -> f64 {
    angle - TAU * (angle / TAU).round()
}

fn unit(word: u64) -> f64 {
    (word >> 11) as f64 / (1u64 << 53) as f64
}

fn identify_c37118(bytes: &[u8]) -> Result<Claim, Corrupt> {
    match c37118::check(bytes) {
        Ok((Kind::Data, envelope)) => {
            let Envelope { id, soc, quality, fracsec } = envelope;
            Ok(Claim { id, when: When::Instant { soc, fracsec, quality } })
        }
        Ok((Kind::Config2, envelope)) => Ok(Claim { id: envelope.id, when: When::Configuration }),
        _ => Err(Corrupt),
    }
}

/// Appends the values of a tick to an open JSON object.
type WriteValues = fn(&Measurement, &mut String);

fn json_form(write: WriteValues) -> Form {
    Form::Json { write, text: String::with_capacity(JSON_BYTES_MAX) }
}

fn write_json(id: u16, values: &Measurement, write: WriteValues, text: &mut String) {
    text.clear();
    let micros = u64::from(values.soc) * u64::from(TIME_BASE) + u64::from(values.fracsec);
    // Writing to a String cannot fail.
    let _ = write!(text, "{{\"id\":{id},\"t\":{micros}");
    write(values, text);
    let sum = CHECKSUM.checksum(text.as_bytes());
    let _ = write!(text, "{JSON_SUM}{sum:08x}\"}}"); // as above
}

/// One-letter keys, as dashboards with many values choose them.
fn write_short(values: &Measurement, text: &mut String) {
    let _ = write!(text, ",\"st\":{},\"ph\":[", values.stat); // as above
    for (index, (magnitude, angle)) in values.phasors.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(text, "{comma}[{magnitude:.2},{angle:.5}]"); // as above
    }
    let (freq, dfreq, digital) = (values.freq_hz, values.dfreq_hz_per_s, values.digital);
    let _ = write!(text, "],\"f\":{freq:.4},\"df\":{dfreq:.3},\"dg\":[{digital}]"); // as above
}

/// Every value under its name and unit.
fn write_verbose(values: &Measurement, text: &mut String) {
    let _ = write!(text, ",\"status\":{},\"phasors\":[", values.stat); // as above
    let named = PHASOR_NAMES.iter().zip(&values.phasors);
    for (index, ((name, unit), (magnitude, angle))) in named.enumerate() {
        let comma = if index == 0 { "" } else { "," };
        // As above.
        let _ = write!(text, "{comma}{{\"name\":\"{name}\",\"unit\":\"{unit}\"");
        let _ = write!(text, ",\"magnitude\":{magnitude:.2},\"angle_rad\":{angle:.5}}}");
    }
    let (freq, dfreq, digital) = (values.freq_hz, values.dfreq_hz_per_s, values.digital);
    let _ = write!(text, "],\"frequency_hz\":{freq:.4},\"rocof_hz_per_s\":{dfreq:.3}"); // as above
    let _ = write!(text, ",\"digital\":[{digital}]"); // as above
}

fn identify_json(bytes: &[u8]) -> Result<Claim, Corrupt> {
    let (covered, sum) = bytes.split_last_chunk::<JSON_SUM_BYTES>().ok_or(Corrupt)?;
    let hex = sum.strip_prefix(JSON_SUM.as_bytes()).and_then(|sum| sum.strip_suffix(b"\"}"));
    let hex = hex.and_then(|hex| std::str::from_utf8(hex).ok()).ok_or(Corrupt)?;
    // The publisher writes lower case only; any other spelling was changed on the way.
    let spelled = hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let told = u32::from_str_radix(hex, 16).map_err(|_| Corrupt)?;
    if !spelled || CHECKSUM.checksum(covered) != told {
        return Err(Corrupt);
    }
    let (id, rest) = number_after(covered, b"{\"id\":").ok_or(Corrupt)?;
    let (micros, _) = number_after(rest, b",\"t\":").ok_or(Corrupt)?;
    let base = u64::from(TIME_BASE);
    let soc = u32::try_from(micros / base).map_err(|_| Corrupt)?;
    let when = When::Instant { soc, fracsec: (micros % base) as u32, quality: 0 };
    Ok(Claim { id: u16::try_from(id).map_err(|_| Corrupt)?, when })
}

fn number_after<'b>(bytes: &'b [u8], name: &[u8]) -> Option<(u64, &'b [u8])> {
    let digits = bytes.strip_prefix(name)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    let (number, rest) = digits.split_at_checked(end)?;
    Some((std::str::from_utf8(number).ok()?.parse().ok()?, rest))
}

/// A stamped block: magic, run, publisher, size, seq, intended instant; filler; checksum.
fn fixed_block(run_id: u32, id: u16, bytes: usize) -> Vec<u8> {
    let size = bytes.max(FIXED_BYTES_MIN);
    let mut block: Vec<u8> = (0..size).map(|at| (at * 31 + usize::from(id)) as u8).collect();
    block[..4].copy_from_slice(&FIXED_MAGIC);
    block[4..8].copy_from_slice(&run_id.to_be_bytes());
    block[8..10].copy_from_slice(&id.to_be_bytes());
    block[10..12].copy_from_slice(&[0; 2]);
    block[12..16].copy_from_slice(&(size as u32).to_be_bytes());
    block
}

fn stamp_fixed(block: &mut [u8], seq: u32, intended_unix_ns: u64) {
    block[16..20].copy_from_slice(&seq.to_be_bytes());
    block[20..28].copy_from_slice(&intended_unix_ns.to_be_bytes());
    let covered = block.len() - 4;
    let sum = CHECKSUM.checksum(&block[..covered]);
    block[covered..].copy_from_slice(&sum.to_be_bytes());
}

fn identify_fixed(bytes: &[u8]) -> Result<Claim, Corrupt> {
    let (covered, sum) = bytes.split_last_chunk::<4>().ok_or(Corrupt)?;
    let (head, _) = covered.split_first_chunk::<28>().ok_or(Corrupt)?;
    let word = |at: usize| u32::from_be_bytes(std::array::from_fn(|i| head[at + i]));
    let whole = head.starts_with(&FIXED_MAGIC)
        && word(12) as usize == bytes.len()
        && CHECKSUM.checksum(covered) == u32::from_be_bytes(*sum);
    if !whole {
        return Err(Corrupt);
    }
    let intended_unix_ns = u64::from(word(20)) << 32 | u64::from(word(24));
    let when = When::Seq { run_id: word(4), seq: word(16), intended_unix_ns };
    Ok(Claim { id: u16::from_be_bytes([head[8], head[9]]), when })
}

const JSON_BYTES_MAX: usize = 1536;
/// Voltages and currents by phase, then their positive sequence; each with its unit.
const PHASOR_NAMES: [(&str, &str); 8] = [
    ("voltage_a", "volt"),
    ("voltage_b", "volt"),
    ("voltage_c", "volt"),
    ("voltage_1", "volt"),
    ("current_a", "ampere"),
    ("current_b", "ampere"),
    ("current_c", "ampere"),
    ("current_1", "ampere"),
];
const JSON_SUM: &str = ",\"ck\":\"";
const JSON_SUM_BYTES: usize = JSON_SUM.len() + 8 + 2;
const FIXED_FIRST: u8 = b'G';
const FIXED_MAGIC: [u8; 4] = [FIXED_FIRST, b'L', b'D', b'1'];
static CHECKSUM: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISO_HDLC);

const NOMINAL_HZ: f64 = 60.0;
const VOLTS: f64 = 79_674.34;
const AMPERES: f64 = 500.0;
const PHASE_ANGLES: [f64; 4] = [0.0, -TAU / 3.0, TAU / 3.0, 0.0];
/// The frequency swings by this much with this period: a slow inter-area oscillation.
const SWING_HZ: f64 = 0.02;
const SWING_S: f64 = 4.0;
/// A multiple of the period, so that wrapping the time makes no step in any waveform.
const SWING_WRAP_S: u32 = 1_000_000;

/// What a publisher sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// A C37.118.2 data frame of 92 bytes.
    C37118,
    /// A short JSON object, about 240 bytes.
    Json,
    /// The same values as a dashboard's back end would spell them out, about 750 bytes.
    JsonVerbose,
    /// A stamped block of exactly this many bytes.
    Fixed {
        /// Length of the payload, at least [`Payload::FIXED_BYTES_MIN`].
        bytes: u32,
    },
    /// C37.118 data frames as they were recorded.
    Recorded {
        /// Length of the longest.
        bytes: u32,
    },
}

impl Payload {
    /// The stamp of a fixed-size payload needs this much room.
    pub const FIXED_BYTES_MIN: u32 = 48;
    /// Engines refuse larger messages by default.
    pub const FIXED_BYTES_MAX: u32 = 1 << 20;

    /// Length in bytes; an estimate for JSON, exact otherwise.
    pub fn bytes(self) -> u64 {
        match self {
            Payload::C37118 => 92,
            Payload::Json => 240,
            Payload::JsonVerbose => 750,
            Payload::Fixed { bytes } | Payload::Recorded { bytes } => u64::from(bytes),
        }
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Payload::C37118 => f.write_str("c37118"),
            Payload::Json => f.write_str("json"),
            Payload::JsonVerbose => f.write_str("json-verbose"),
            Payload::Fixed { bytes } => write!(f, "bytes:{bytes}"),
            Payload::Recorded { .. } => f.write_str("recorded"),
        }
    }
}

impl FromStr for Payload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let range = Payload::FIXED_BYTES_MIN..=Payload::FIXED_BYTES_MAX;
        match (text, text.strip_prefix("bytes:").map(u32::from_str)) {
            ("c37118", _) => Ok(Payload::C37118),
            ("json", _) => Ok(Payload::Json),
            ("json-verbose", _) => Ok(Payload::JsonVerbose),
            (_, Some(Ok(bytes))) if range.contains(&bytes) => Ok(Payload::Fixed { bytes }),
            _ => Err(format!(
                "`{text}` is no payload; write `c37118`, `json`, `json-verbose` or `bytes:N` \
                 with N in {}..={}",
                range.start(),
                range.end()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::claim::{Claim, Corrupt, When};
    use crate::fixtures;
    use crate::plan::deviation::Conduct;
    use crate::plan::schedule::Jitter;
    use crate::time::grid::Grid;
    use proptest::prelude::*;

    const FORMS: [Payload; 5] = [
        Payload::C37118,
        Payload::Json,
        Payload::JsonVerbose,
        Payload::Fixed { bytes: 48 },
        Payload::Fixed { bytes: 5136 },
    ];

    fn encoder(id: u16, payload: Payload) -> Encoder {
        let plan = PublisherPlan { payload, ..fixtures::publisher(id, 60) };
        let grid = Grid::new(plan.rate);
        let jitter = Jitter { seed: 1, id, max_ns: 500 };
        let first_tick = 1_767_225_600 * 60;
        let (ticks, measured_from, offset_ns) = (1000, 0, 77);
        let schedule = Schedule {
            grid,
            first_tick,
            ticks,
            measured_from,
            offset_ns,
            jitter,
            conduct: Conduct::default(),
        };
        Encoder::new(9, 1, &plan, schedule)
    }

    fn expected(encoder: &Encoder, seq: u32) -> Claim {
        let schedule = encoder.schedule;
        let when = match encoder.form {
            Form::Fixed(_) => {
                let intended_unix_ns = schedule.intended_unix_ns(seq);
                When::Seq { run_id: 9, seq, intended_unix_ns }
            }
            _ => {
                let (soc, fracsec) = schedule.grid.soc_fracsec(schedule.tick(seq), TIME_BASE);
                When::Instant { soc, fracsec, quality: 0 }
            }
        };
        Claim { id: encoder.id, when }
    }

    #[test]
    fn json_is_valid_json_of_the_stated_size() {
        let mut encoder = encoder(1001, Payload::Json);
        let text = std::str::from_utf8(encoder.encode(1)).unwrap().to_string();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["id"], 1001);
        assert_eq!(value["t"], 1_767_225_600_016_667u64);
        assert_eq!(value["ph"].as_array().unwrap().len(), 8);
        assert!((220..=260).contains(&text.len()), "{} bytes: {text}", text.len());
    }

    #[test]
    fn spelled_out_json_is_valid_and_of_the_stated_size() {
        let mut encoder = encoder(1001, Payload::JsonVerbose);
        let text = std::str::from_utf8(encoder.encode(1)).unwrap().to_string();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["phasors"][7]["name"], "current_1");
        assert!((700..=860).contains(&text.len()), "{} bytes: {text}", text.len());
    }

    #[test]
    fn waveform_is_plausible_and_moves() {
        let waveform = Waveform::new(3, 1001);
        let samples: Vec<Measurement> = (0..240u32)
            .map(|n| waveform.at(u64::from(n), 1_767_225_600 + n / 60, n % 60 * 16_666))
            .collect();
        for values in &samples {
            assert!((values.freq_hz - 60.0).abs() < 0.03, "{}", values.freq_hz);
            assert!(values.phasors.iter().all(|(_, angle)| angle.abs() < 3.15));
            assert!((values.phasors[0].0 - 79_674.34).abs() < 400.0);
        }
        let (low, high) = samples.iter().fold((f32::MAX, f32::MIN), |(low, high), values| {
            (low.min(values.freq_hz), high.max(values.freq_hz))
        });
        assert!(high - low > 0.03, "the frequency swings: {low} to {high}");
    }

    #[test]
    fn encoding_is_a_function_of_its_arguments() {
        for payload in FORMS {
            let (mut once, mut again) = (encoder(7, payload), encoder(7, payload));
            let first = once.encode(5).to_vec();
            once.encode(6);
            assert_eq!(once.encode(5), first, "{payload:?}");
            assert_eq!(again.encode(5), first, "{payload:?}");
            assert_ne!(again.encode(6), first, "{payload:?}");
            assert!(first.len() <= bytes_max(payload));
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_identified(id in 1u16..65535, seq in 0u32..1000, form in 0usize..4) {
            let mut encoder = encoder(id, FORMS[form]);
            let expected = expected(&encoder, seq);
            prop_assert_eq!(identify(encoder.encode(seq)), Ok(expected));
        }

        #[test]
        fn any_flipped_bit_is_corrupt(form in 0usize..3, bit: prop::sample::Index) {
            let mut bytes = encoder(1001, FORMS[form]).encode(5).to_vec();
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(identify(&bytes), Err(Corrupt));
        }

        #[test]
        fn truncation_is_corrupt(form in 0usize..4, cut: prop::sample::Index) {
            let bytes = encoder(1001, FORMS[form]).encode(5).to_vec();
            prop_assert_eq!(identify(&bytes[..cut.index(bytes.len())]), Err(Corrupt));
        }

        #[test]
        fn no_bytes_make_it_panic(
            first in prop::sample::select(vec![0xAAu8, b'{', b'G', 0]),
            rest in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let bytes = [vec![first], rest].concat();
            prop_assert_eq!(identify(&bytes), Err(Corrupt));
        }
    }
}
